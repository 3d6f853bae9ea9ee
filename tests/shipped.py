"""The components that the package brings, also those that are loaded when they are asked for."""

from __future__ import annotations

from skbig._utils.component import _LATE, _REGISTRY, Component, names, registered


def shipped(*, without: str = "") -> list[type[Component]]:
    """Return the classes of all registered names that are the package's own, but for those of one kind."""
    kinds = [kind for kind in sorted({*_REGISTRY, *_LATE}) if kind != without]
    classes = [registered(kind, name) for kind in kinds for name in names(kind)]
    return [cls for cls in classes if cls.__module__.startswith("skbig.")]
