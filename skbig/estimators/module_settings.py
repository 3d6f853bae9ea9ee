"""The parameters of a module's class as parameters of the estimator: `module__width`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skbig.estimators.base import NetworkEstimator
from skbig.estimators.declaration import SETTINGS


class ModuleSettings(NetworkEstimator):
    """Keeps what the module's class is called with; given, set and searched as any parameter."""

    _takes_settings_for = "module"

    @property
    def _settings(self) -> dict[str, Any]:
        own: dict[str, Any] = self.__dict__.get(SETTINGS, {})
        return own

    def _module_defaults(self) -> Mapping[str, Any]:
        """Return the parameters of the module that have a default."""
        raise NotImplementedError

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the module included.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return also the parameters of components, and those of the module that have not been set.

        Returns
        -------
        params : dict
            Values by name.
        """
        defaults = self._module_defaults() if deep else {}
        return super().get_params(deep) | {
            f"module__{name}": value for name, value in {**defaults, **self._settings}.items()
        }

    def _set_component_param(self, name: str, value: Any) -> None:
        if name.startswith("module__"):
            self.__dict__[SETTINGS] = self._settings | {name.removeprefix("module__"): value}
        else:
            super()._set_component_param(name, value)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            own = name.removeprefix("module__")
            if own != name and own in self._settings:
                return self._settings[own]
            # What a property has raised is raised again, so that it is not taken for a name that is not there.
            return object.__getattribute__(self, name) if name == "module_" else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("module__"):
            self._set_component_param(name, value)
        else:
            super().__setattr__(name, value)
