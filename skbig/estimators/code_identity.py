"""Code: what a function does, what it reads from outside, and whether it is the user's own."""

from __future__ import annotations

import dis
import functools
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

INSTALLED = {"skbig", "torch", "numpy", "scipy", "sklearn", "joblib"}
"""Packages that are no code of the user's, wherever they lie."""


def operations(code: CodeType) -> list[Any]:
    """What a function does, without the file and the line where it is written."""
    constants = [operations(value) if isinstance(value, CodeType) else _constant(value) for value in code.co_consts]
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return [code.co_code, code.co_names, arguments, code.co_exceptiontable, constants]


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)


def names_in(code: CodeType) -> Iterator[str]:
    """Yield every name that a function uses, of globals, of attributes and of modules."""
    yield from code.co_names
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from names_in(value)


def reads_of(code: CodeType) -> tuple[list[str], list[str]]:
    """Return the globals that a function reads and the modules that it imports, in the order of its operations."""
    loaded: dict[str, None] = {}
    imported: dict[str, None] = {}
    for operation in dis.get_instructions(code):
        if operation.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            loaded[operation.argval] = None
        elif operation.opname == "IMPORT_NAME":
            imported[operation.argval] = None
    for value in code.co_consts:
        if isinstance(value, CodeType):
            for names, more in zip((loaded, imported), reads_of(value), strict=True):
                names |= dict.fromkeys(more)
    return list(loaded), list(imported)


def is_found_by_name(function: FunctionType) -> bool:
    """Whether any process finds a function where it says that it is."""
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def is_users(module: str | None) -> bool:
    """Whether a module is one of the user's, whose code may change from run to run."""
    if module is None or module == "__main__":
        return True
    if module.partition(".")[0] in INSTALLED:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:  # the interpreter's own, unless it is gone
        return module not in sys.modules
    return not os.path.realpath(file).startswith(_places_of_packages())


@functools.cache
def _places_of_packages() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    places = [*map(sysconfig.get_path, names), *site.getsitepackages(), site.getusersitepackages()]
    return tuple(os.path.join(os.path.realpath(place), "") for place in places)
