"""Keeps what is served equal to what lies in the folders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from skbig.exceptions import IntegrityError, ModelFileError
from skbig.serving.loading import load_model
from skbig.serving.model import ServedModel
from skbig.serving.registry import Registry, Served
from skbig.serving.repository import ModelFile, find_models
from skbig.serving.trust import Trust

_LOG = logging.getLogger("skbig.serving")


class Watcher:
    """Loads the newest versions of all models, and lets go of those that are gone.

    A file is loaded, and a model let go, when two looks have found the same, so that no file is read while it is
    written, and none is missed while it is replaced. The old model is served until the new one is ready. A file that
    cannot be loaded is logged once, and tried again when it has changed; an older version is served meanwhile.
    """

    def __init__(
        self,
        paths: tuple[Path, ...],
        registry: Registry,
        make_served: Callable[[str, int, ServedModel, ModelFile], Served],
        *,
        name: str | None,
        n_versions: int,
        trust: Trust,
        n_threads: int,
    ) -> None:
        self._paths, self._name, self._n_versions, self._trust = paths, name, n_versions, trust
        self._n_threads = n_threads
        self._registry, self._make_served = registry, make_served
        self._last_look: list[ModelFile] = []
        self._failed: dict[ModelFile, str] = {}

    async def start(self) -> None:
        """Load all that is there.

        Raises
        ------
        ModelFileError
            When a path is not there, or a file that was named cannot be served; in folders such a file is passed over.
        """
        for path in self._paths:
            if not path.exists():
                raise ModelFileError(f"There is no file or folder {path}.")
        self._last_look = await self._look()
        await self._follow(self._last_look, self._last_look)
        for file, reason in self._failed.items():
            if file.path in self._paths:
                raise ModelFileError(reason)

    async def run(self, seconds: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.update()
            except OSError as error:  # what is served stays
                _LOG.error("The models cannot be looked at: %s", error)

    async def update(self) -> None:
        """Look, and take over what the last look has found as well."""
        before, self._last_look = self._last_look, await self._look()
        await self._follow([file for file in self._last_look if file in before], [*before, *self._last_look])

    async def _look(self) -> list[ModelFile]:
        return await asyncio.to_thread(find_models, self._paths, self._name)

    async def _follow(self, settled: list[ModelFile], seen: list[ModelFile]) -> None:
        """Serve what is settled; of what is served already, keep what was seen."""
        kept = {served.key for served in self._registry.all() if served.file is None}
        for name in sorted({file.name for file in seen}):
            versions = {file.version for file in seen if file.name == name}
            files = {file.version: file for file in settled if file.name == name}
            kept |= await self._serve_newest(name, sorted(versions, reverse=True), files)
        for served in self._registry.all():
            if served.key not in kept:
                self._registry.drop(served)
                _LOG.info("Version %d of %r is not served any more.", served.version, served.name)

    async def _serve_newest(self, name: str, versions: list[int], files: dict[int, ModelFile]) -> set[tuple[str, int]]:
        """Return the newest versions that are served, when those were loaded that can be."""
        kept: set[tuple[str, int]] = set()
        for version in versions:
            if version in files:
                await self._serve(files[version])
            if version in self._registry.versions(name):
                kept.add((name, version))
            if len(kept) == self._n_versions:
                break
        return kept

    async def _serve(self, file: ModelFile) -> None:
        """Load a file and serve it, unless it is served, or is known to fail."""
        if file in self._failed or any(served.file == file for served in self._registry.all()):
            return
        try:
            model = await asyncio.to_thread(load_model, file.path, self._trust, self._n_threads)
        except (ModelFileError, IntegrityError, ImportError, OSError) as error:
            self._failed[file] = str(error)
            _LOG.error("%s", error)
            return
        self._registry.put(self._make_served(file.name, file.version, model, file))
        _LOG.info("Version %d of %r is served, from %s.", file.version, file.name, file.path)
