"""Names of a package that are imported when they are first asked for.

What a package offers is more than one program needs, and a module costs time when it is loaded. So a package may say in
which of its modules its names are, and load none of them (PEP 562). Type checkers read the same from plain imports
beside it, under ``if TYPE_CHECKING``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def late_names(
    package: str, homes: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package, by the names that each of its modules has.

    The modules themselves are found in the package as if they were loaded. None may have the name of what it has: once
    loaded, it would be found in its place.
    """
    home_of = {name: f"{package}.{module}" for module, names in homes.items() for name in names}
    modules = {module.split(".")[0] for module in homes}

    def __getattr__(name: str) -> Any:
        if name in home_of:
            value = getattr(import_module(home_of[name]), name)
        elif name in modules:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)  # where it is found from now on
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return __getattr__, __dir__
