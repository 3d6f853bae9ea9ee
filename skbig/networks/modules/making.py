"""A module of a user's, made from its class, a function or an instance."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from skbig.networks.modules.copies import emptied
from skbig.networks.modules.draws import SeededDraws

OFFERED = ("n_features", "n_outputs", "input_shape")
"""What a class or function is given where its signature asks for it, and the user has not set it."""


@dataclass(frozen=True)
class Source:
    """How a module is made.

    Attributes
    ----------
    module : type, callable or nn.Module
        A class, a function that returns a module, or a module, of which copies are made.
    settings : mapping
        What class or function is called with.
    """

    module: type[nn.Module] | Callable[..., nn.Module] | nn.Module
    settings: Mapping[str, Any]

    def check(self, parameter: str) -> None:
        """Raise ValueError unless the module can be made with the settings; `parameter` is where it comes from."""
        if not callable(self.module) or (isinstance(self.module, type) and not issubclass(self.module, nn.Module)):
            raise ValueError(
                f"The {parameter!r} parameter must be a class of torch.nn.Module, a function that returns one, or an "
                f"instance. Got {self.module!r} instead."
            )
        if isinstance(self.module, nn.Module):
            if self.settings:
                names = ", ".join(f"{parameter}__{name}" for name in self.settings)
                raise ValueError(f"{names}: an instance of {self.name} takes no parameters any more. Pass its class.")
            return
        accepted = self.accepted
        unknown = [name for name in self.settings if accepted is not None and name not in accepted]
        if unknown:
            assert accepted is not None
            close = difflib.get_close_matches(unknown[0], accepted, n=1)
            hint = f" Did you mean {parameter}__{close[0]}?" if close else ""
            raise ValueError(f"Invalid parameter {parameter}__{unknown[0]}: {self.name} takes {list(accepted)}.{hint}")

    @property
    def name(self) -> str:
        """What the module is called."""
        return type(self.module).__name__ if isinstance(self.module, nn.Module) else _name_of(self.module)

    @property
    def accepted(self) -> dict[str, Any] | None:
        """The names that class or function takes, with their defaults; None where it takes any."""
        if isinstance(self.module, nn.Module):
            return {}
        try:
            signature = inspect.signature(self.module).parameters.values()
        except (TypeError, ValueError):  # written in C
            return None
        if any(each.kind is each.VAR_KEYWORD for each in signature):
            return None
        named = [each for each in signature if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        return {each.name: each.default for each in named}

    @property
    def defaults(self) -> dict[str, Any]:
        """The parameters that have a default and are not offered."""
        empty, named = inspect.Parameter.empty, self.accepted or {}
        return {name: value for name, value in named.items() if value is not empty and name not in OFFERED}

    @property
    def form(self) -> Any:
        """What is pickled of it, without the numbers of an instance."""
        return emptied(self.module)[0] if isinstance(self.module, nn.Module) else self.module

    def make(self, offered: Mapping[str, Any], seed: int, rows: Tensor) -> nn.Module:
        """Make a module with the first weights of a seed: those that it has after ``torch.manual_seed(seed)``.

        Lazy layers see some `rows` (R, *shape).
        """
        if isinstance(self.module, nn.Module):
            return _ready(self.module)
        asked = self.accepted or {}
        arguments = {name: value for name, value in offered.items() if name in asked} | dict(self.settings)
        missing = [n for n, default in asked.items() if default is inspect.Parameter.empty and n not in arguments]
        if missing:
            raise ValueError(f"{self.name} needs {missing}: set module__{missing[0]}=..., or give it a default.")
        with SeededDraws(seed), torch.device("cpu"):
            try:
                module = self.module(**arguments)
            except Exception as error:
                raise ValueError(f"{self.name}({_as_text(arguments)}) failed: {_told(error)}") from error
            if not isinstance(module, nn.Module):
                raise ValueError(f"{self.name} must return a torch.nn.Module, and returned {type(module).__name__}.")
            _let_lazy_layers_see(module, rows, self.name)
        return module


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def _as_text(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _ready(module: nn.Module) -> nn.Module:
    lazy = [name for name, value in module.named_parameters() if is_lazy(value)]
    if lazy:
        raise ValueError(
            f"The instance of {type(module).__name__} has lazy parameters ({lazy[0]}): pass its class, so that they "
            "are made with the shape of X, or call it once with some rows."
        )
    return module


def _let_lazy_layers_see(module: nn.Module, rows: Tensor, name: str) -> None:
    tensors = (*module.parameters(), *module.buffers())
    if not any(is_lazy(tensor) for tensor in tensors):
        return
    module.eval()
    try:
        with torch.no_grad():
            module(rows.to(torch.get_default_dtype()) if rows.is_floating_point() else rows)
    except Exception as error:
        raise ValueError(
            f"The lazy layers of {name} failed on rows of shape {tuple(rows.shape)}: {_told(error)}"
        ) from error
