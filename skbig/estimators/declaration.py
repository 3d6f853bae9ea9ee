"""How an estimator declares its parameters: once, in its class body, with range, meaning and what they may do.

Constructor, documentation, validation, hints, the identity of a checkpoint and the stacks of a search all read the
declaration; another parameter is declared, used, and nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import textwrap
from collections.abc import Collection
from typing import Any, TypeVar, dataclass_transform

from skbig._utils.component import Component
from skbig._utils.validation import Constraint
from skbig.estimators.hints import hint_for

E = TypeVar("E", bound=type)

SETTINGS = "_settings"
"""Where an estimator keeps the parameters of the one of its parameters that takes any, as those of a module."""


def parameter(
    default: Any,
    *allowed: Constraint,
    words: str,
    doc: str,
    kind: type[Component] | None = None,
    stacks: bool = False,
    identifies: bool = True,
    kw_only: bool = True,
) -> Any:
    """Declare a parameter of an estimator.

    Parameters
    ----------
    default : object
    *allowed : Constraint
        What it may be; none for a component, which checks itself, and for what the estimator checks on its own.
    words : str
        Its type in words, as the documentation has it.
    doc : str
        What it does.
    kind : type of Component or None
        The interface of the components that it takes.
    stacks : bool
        Whether candidates of a search that differ in it may be trained as one stack.
    identifies : bool
        Whether a checkpoint that was written under another value is one of another training.
    kw_only : bool
        Whether it is given by its name only.
    """
    metadata = {"allowed": allowed, "words": words, "doc": doc, "kind": kind, "stacks": stacks}
    return dataclasses.field(default=default, kw_only=kw_only, metadata=metadata | {"identifies": identifies})


def positional(*allowed: Constraint, default: Any, kw_only: bool, **facts: Any) -> Any:
    """Declare a parameter that is given by its place, too; as `parameter`.

    Type checkers look at the call for the names `default` and ``kw_only=False``. For a parameter that is given by its
    name the plain value that `parameter` seems to be tells them all.
    """
    return parameter(default, *allowed, kw_only=kw_only, **facts)


@dataclass_transform(kw_only_default=True, field_specifiers=(positional,))
def estimator(cls: E) -> E:
    """Give a class the constructor and the documentation of its declared parameters.

    In the docstring a line ``...`` under "Parameters" stands for them.
    """
    _take_over(cls)
    made: Any = dataclasses.dataclass(repr=False, eq=False, match_args=False)(cls)
    made.__init__ = _hinting(made.__init__, declared(made))
    made.__doc__ = _documented(made.__doc__ or "", declared(made))
    return cls


def _take_over(cls: Any) -> None:
    """Take each inherited parameter as the first class in the order of resolution declares it, as Python would.

    A dataclass takes it from its first base, also where that one has only inherited it.
    """
    cls._declares = frozenset(vars(cls).get("__annotations__", {}))
    taken = set(cls._declares)
    inherited: dict[str, dataclasses.Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited |= vars(base).get("__dataclass_fields__", {})
    for base in cls.__mro__[1:]:
        for name in vars(base).get("_declares", frozenset()) - taken:
            taken.add(name)
            field = vars(base)["__dataclass_fields__"][name]
            if inherited[name] is field:
                continue
            setattr(cls, name, dataclasses.field(default=field.default, kw_only=field.kw_only, metadata=field.metadata))
            cls.__annotations__ = {**vars(cls).get("__annotations__", {}), name: field.type}


def declared(cls: Any) -> dict[str, dataclasses.Field[Any]]:
    """Return the declared parameters of an estimator or of its class; those given by position come first."""
    return _declared(cls if isinstance(cls, type) else type(cls))


@functools.lru_cache(maxsize=256)
def _declared(cls: type) -> dict[str, dataclasses.Field[Any]]:
    fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    return {field.name: field for field in sorted(fields, key=lambda field: bool(field.kw_only))}


def parameters_of(estimator: Any) -> dict[str, Any]:
    """Return the values of an estimator's declared parameters; a subclass with another constructor may lack some."""
    values = vars(estimator)
    return {name: values[name] for name in declared(estimator) if name in values}


def identifying_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that tell one training from another; not where it runs, or what is shown of it."""
    fields = declared(estimator)
    free = {name for name, field in fields.items() if not field.metadata["identifies"]}
    return {name: value for name, value in given_parameters(estimator).items() if name not in free}


def given_parameters(estimator: Any) -> dict[str, Any]:
    """Return what an estimator was given by its user, and nothing that it has learnt; also what a subclass adds."""
    values = vars(estimator).items()
    return {name: value for name, value in values if (name[0] != "_" and name[-1] != "_") or name == SETTINGS}


def _hinting(init: Any, known: Collection[str]) -> Any:
    """Let a constructor answer an unknown keyword with a hint; its signature stays what it is."""

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        owner_of = getattr(type(self), "_takes_settings_for", None)
        if owner_of is not None:
            names = [name for name in kwargs if name.startswith(f"{owner_of}__")]
            vars(self)[SETTINGS] = {name.removeprefix(f"{owner_of}__"): kwargs.pop(name) for name in names}
        unknown = [name for name in kwargs if name not in known]
        if unknown:
            owner, hint = type(self).__name__, hint_for(unknown[0], known)
            raise TypeError(f"{owner}.__init__() got an unexpected keyword argument {unknown[0]!r}. {hint}".rstrip())
        init(self, *args, **kwargs)

    return __init__


def _documented(text: str, fields: dict[str, dataclasses.Field[Any]]) -> str:
    """Put the documentation of parameters where a docstring has a line of three dots for it."""
    entries = "\n".join(_entry(field) for field in fields.values())
    head, line, rest = text.partition("    Parameters\n    ----------\n    ...\n")
    return head + line.removesuffix("    ...\n") + textwrap.indent(entries, "    ") + "\n" + rest if line else text


def _entry(field: dataclasses.Field[Any]) -> str:
    return _entry_of(field.name, field.metadata["words"], field.metadata["doc"], repr(field.default))


@functools.lru_cache(maxsize=1024)
def _entry_of(name: str, words: str, doc: str, default: str) -> str:
    """Return the entry of a parameter, which most estimators share: to wrap all of them takes a part of the import."""
    body = textwrap.fill(re.sub(r"\s+", " ", doc).strip(), 112, break_long_words=False)
    words = re.sub(r"\s+", " ", words)
    return f"{name} : {words}, default={default}\n{textwrap.indent(body, '    ')}"
