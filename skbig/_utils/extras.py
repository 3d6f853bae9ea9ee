"""Optional packages: what they are for, and how to install them, is said when one is missing."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(module: str, extra: str, needed_by: str) -> Any:
    """Return a module of an optional package.

    Raises
    ------
    ImportError
        Naming the extra of this package that brings it.

    Examples
    --------
    >>> import_extra("no_such_module", "secure", "skbig.secure")
    Traceback (most recent call last):
        ...
    ImportError: skbig.secure needs no_such_module. Install it with: pip install "skbig[secure]"
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f'{needed_by} needs {package}. Install it with: pip install "skbig[{extra}]"') from error
