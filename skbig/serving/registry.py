"""The models that are served at this moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skbig.serving.errors import RequestError
from skbig.serving.model import ServedModel
from skbig.serving.model_thread import ModelThread
from skbig.serving.repository import ModelFile


@dataclass(frozen=True)
class Served:
    """A version of a model that is being served; `file` is None for what was never a file."""

    name: str
    version: int
    thread: ModelThread
    file: ModelFile | None = None

    @property
    def model(self) -> ServedModel:
        return self.thread.model

    @property
    def key(self) -> tuple[str, int]:
        return self.name, self.version


class Registry:
    """Finds models by name and version. All is done in the event loop, so that no request sees half a change.

    A model that is replaced runs what has been asked of it, and goes.
    """

    def __init__(self, observe: Callable[[str, int, bool], None]) -> None:
        self._models: dict[str, dict[int, Served]] = {}
        self._observe = observe

    def find(self, name: str, version: str | None) -> Served:
        """Return a version of a model, by default the newest.

        Raises
        ------
        RequestError
            404 when it is not served.
        """
        versions = self._models.get(name)
        if not versions:
            names = ", ".join(map(repr, sorted(self._models)[:20])) or "none"
            raise RequestError(f"There is no model {name!r} here. Models: {names}.", 404)
        if version is None:
            return versions[max(versions)]
        if not (version.isdecimal() and len(version) < 20 and int(version) in versions):
            served = ", ".join(map(str, sorted(versions)))
            raise RequestError(f"Version {version!r} of model {name!r} is not served. Versions: {served}.", 404)
        return versions[int(version)]

    def versions(self, name: str) -> list[int]:
        """Return the versions of a model that are served."""
        return sorted(self._models.get(name, {}))

    def all(self) -> list[Served]:
        """Return all that is served."""
        return [served for versions in self._models.values() for served in versions.values()]

    def put(self, served: Served) -> None:
        """Serve this from now on, instead of what has the same name and version."""
        versions = self._models.setdefault(served.name, {})
        old = versions.get(served.version)
        versions[served.version] = served
        self._observe(served.name, served.version, True)
        if old is not None:
            old.thread.close()

    def drop(self, served: Served) -> None:
        """Serve this no more."""
        versions = self._models[served.name]
        del versions[served.version]
        if not versions:
            del self._models[served.name]
        self._observe(served.name, served.version, False)
        served.thread.close()
