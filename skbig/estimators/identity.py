"""Values as text: the same in every process, and another one where a value differs in anything that it holds.

Numbers, components and short containers stay readable. A callable is all that it holds: its code, defaults, enclosed
variables, the globals that it reads, and the state of its object. What comes from an installed package is told by its
name.
"""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

import joblib
import numpy as np
import torch

from skbig._utils.component import Component
from skbig.engine.fingerprint import fingerprint
from skbig.estimators.code_identity import is_found_by_name, is_users, names_in, operations, reads_of

MAX_READABLE = 1000
"""A text that is longer is cut, and ends in its hash."""

PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), type(NotImplemented))

# What a class has besides what its author wrote: made by the interpreter, or a note of its own use.
_OF_NO_MATTER = {
    "__dict__", "__weakref__", "__module__", "__doc__", "__qualname__", "__annotations__", "__annotate__",
    "__annotate_func__", "__conditional_annotations__", "__firstlineno__", "__static_attributes__", "__slotnames__",
    "__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__", "__match_args__",
}  # fmt: skip


class NotComparableError(ValueError):
    """A value holds something that has no meaning in another process."""

    def __init__(self, value: Any, where: str) -> None:
        super().__init__(f"a {type(value).__qualname__}{where}")


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as texts by name.

    Raises
    ------
    ValueError
        When one holds what cannot be compared with that of another process: an open file, say.
    """
    texts = {}
    for name, value in values.items():
        with naming(name):
            texts[name] = text_of(value)
    return texts


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Say of which parameter a part cannot be compared, and what to do."""
    try:
        yield
    except NotComparableError as error:
        raise ValueError(
            f"A checkpoint is resumed by a fit with the same parameters, and whether {name!r} is the same cannot be "
            f"said: it holds {error}. Keep it elsewhere, or in an object whose class leaves it out of `__getstate__`; "
            "or set checkpoint_dir=None."
        ) from None


def text_of(value: Any) -> str:
    """Return a value as text.

    Raises
    ------
    NotComparableError
        When a part of it cannot be compared with that of another process.

    Examples
    --------
    >>> from skbig.components import ClipNorm
    >>> text_of({"clipping": ClipNorm(), "sizes": (3, 4)})
    "{'clipping': ClipNorm(max_norm=1.0), 'sizes': (3, 4)}"
    """
    return _Texts().of(value)


def text_or_type(value: Any) -> str:
    """Return a value as text, or the name of its type where it cannot be compared."""
    try:
        return text_of(value)
    except NotComparableError:
        return type(value).__qualname__


class _Texts:
    """Walks through a value; what it holds twice is read once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}  # with the object itself, so that no other gets its place
        self._open: dict[int, int] = {}  # what is being read, and how deep: a cycle comes back to it
        self._trail: list[str] = []

    def of(self, value: Any, where: str = "") -> str:
        if isinstance(value, PLAIN) and type(value) in PLAIN:
            return repr(value)
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._open:
            return f"<{len(self._open) - self._open[id(value)]} up>"
        self._open[id(value)] = len(self._open)
        self._trail.append(where)
        try:
            text = self._shortened(self._read(value))
        except RecursionError:
            raise self._refused(value) from None
        finally:
            del self._open[id(value)]
            self._trail.pop()
        self._known[id(value)] = value, text
        return text

    def _read(self, value: Any) -> str:
        for kinds, read in _READERS:
            if isinstance(value, kinds):
                return read(self, value)
        return self._object(value)

    # Data.

    def _sequence(self, value: Iterable[Any]) -> str:
        if type(value) not in _CONTAINERS:
            return self._object(value)
        texts = [self.of(item, f"item {i}") for i, item in enumerate(value)]
        if isinstance(value, set | frozenset):
            return f"{type(value).__name__}({', '.join(sorted(texts))})"
        return f"[{', '.join(texts)}]" if isinstance(value, list) else f"({', '.join(texts)})"

    def _mapping(self, value: Mapping[Any, Any]) -> str:
        if type(value) not in (dict, MappingProxyType):
            return self._object(value)
        return f"{{{', '.join(f'{self.of(key)}: {self.of(item, str(key))}' for key, item in value.items())}}}"

    def _array(self, value: np.ndarray) -> str:
        if value.dtype.hasobject:
            return f"array {value.dtype} {value.shape} {self._sequence(value.ravel().tolist())}"
        return f"array {fingerprint(value)}"

    def _tensor(self, value: torch.Tensor) -> str:
        if value.layout != torch.strided:
            return self._object(value)
        bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"tensor {value.dtype} {tuple(value.shape)} {fingerprint(bits)}"

    def _random_state(self, value: np.random.RandomState) -> str:
        return f"RandomState {joblib.hash(value.get_state())}"

    def _component(self, value: Component) -> str:
        fields = [field.name for field in dataclasses.fields(value)]
        own = ", ".join(f"{name}={self.of(getattr(value, name), name)}" for name in fields)
        return f"{self._class(type(value)).removeprefix(type(value).__module__ + '.')}({own})"

    def _scalar(self, value: np.generic) -> str:
        plain = value.item()
        return repr(value) if isinstance(plain, np.generic) else self.of(plain)

    def _by_words(self, value: Any) -> str:
        return repr(value)

    # Code.

    def _function(self, function: FunctionType) -> str:
        path, users = f"{function.__module__}.{function.__qualname__}", is_users(function.__module__)
        if not users and is_found_by_name(function):
            return path
        code = function.__code__
        held = [self.of((function.__defaults__, function.__kwdefaults__), "defaults")]
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        held += [self.of(cell, f"enclosed {name}") for name, cell in cells]
        held += [self.of(vars(function))]
        if users:
            held += self._globals(code, function.__globals__)
        return f"{path} {_hash(repr(operations(code)), *held)}"

    def _globals(self, code: CodeType, known: Mapping[str, Any]) -> Iterator[str]:
        """Yield what a function of the user's reads from outside."""
        names, loaded, imported = set(names_in(code)), *reads_of(code)
        for name in loaded:
            if name in known:
                value = known[name]
                text = self._module(value, names) if isinstance(value, ModuleType) else self.of(value, f"global {name}")
                yield f"{name}={text}"
        for name in imported:
            if name in sys.modules:
                yield self._module(sys.modules[name], names)

    def _module(self, module: ModuleType, names: Iterable[str] = ()) -> str:
        """Name a module; of one of the user's, also read what is used of it."""
        if not is_users(module.__name__) or id(module) in self._open:
            return module.__name__
        self._open[id(module)] = len(self._open)
        try:
            used = {name: vars(module)[name] for name in sorted(names) if name in vars(module)}
            texts = [self._module(v, names) if isinstance(v, ModuleType) else self.of(v, n) for n, v in used.items()]
        finally:
            del self._open[id(module)]
        return f"{module.__name__} {_hash(*texts)}"

    def _class(self, cls: type) -> str:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if not is_users(cls.__module__):
            return name
        own = {n: value for n, value in vars(cls).items() if n not in _OF_NO_MATTER}
        held = [f"{n}={self.of(value, n)}" for n, value in own.items()]
        return f"{name} {_hash(*map(self.of, cls.__bases__), *held)}"

    def _builtin(self, value: Any) -> str:
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, ModuleType):
            return f"{value.__module__}.{value.__qualname__}"
        return f"{value.__qualname__} of {self.of(owner)}"

    def _wrapped(self, value: Any) -> str:
        """A function within a descriptor of a class, or in a memory of its results, which are no part of it."""
        inner = value.func if isinstance(value, functools.cached_property) else value.__wrapped__
        return f"{type(value).__name__} {self.of(inner)}"

    def _property(self, value: property) -> str:
        return f"property {self.of((value.fget, value.fset, value.fdel))}"

    def _cell(self, value: CellType) -> str:
        return "empty" if value == CellType() else self.of(value.cell_contents)

    # All else is what it would be made again from.

    def _object(self, value: Any) -> str:
        cls = type(value)
        try:
            reduced = copyreg.dispatch_table[cls](value) if cls in copyreg.dispatch_table else value.__reduce_ex__(4)
        except Exception:
            raise self._refused(value) from None
        if isinstance(reduced, str):
            return f"{getattr(value, '__module__', cls.__module__)}.{reduced}"
        make, args, state, items, pairs = (*reduced, None, None, None)[:5]
        held = [self.of(make), self.of(args), self.of(state, cls.__name__)]
        held += [self.of(list(each or ())) for each in (items, pairs)]
        return f"{cls.__qualname__} {_hash(*held)}"

    def _refused(self, value: Any) -> NotComparableError:
        trail = [place for place in self._trail if place]
        return NotComparableError(value, f", in {' > '.join(trail)}" if trail else "")

    @staticmethod
    def _shortened(text: str) -> str:
        return text if len(text) <= MAX_READABLE else f"{text[: MAX_READABLE // 2]}... {_hash(text)}"


_CONTAINERS = (list, tuple, set, frozenset)

_READERS: tuple[tuple[Any, Callable[[_Texts, Any], str]], ...] = (
    (_CONTAINERS, _Texts._sequence),
    ((dict, MappingProxyType), _Texts._mapping),
    (np.ndarray, _Texts._array),
    (np.generic, _Texts._scalar),
    (torch.Tensor, _Texts._tensor),
    (np.random.RandomState, _Texts._random_state),
    (Component, _Texts._component),
    ((np.dtype, torch.dtype, torch.device, os.PathLike), _Texts._by_words),
    (FunctionType, _Texts._function),
    (type, _Texts._class),
    (ModuleType, _Texts._module),
    (BuiltinFunctionType, _Texts._builtin),
    ((staticmethod, classmethod, functools.cached_property, type(functools.lru_cache(len))), _Texts._wrapped),
    (property, _Texts._property),
    (CellType, _Texts._cell),
)


def _hash(*texts: str) -> str:
    return fingerprint(texts)[:32]
