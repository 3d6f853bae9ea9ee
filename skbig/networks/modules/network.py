"""A module of a user's as a network: made from its class, a function or an instance."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from torch import Tensor, nn

from skbig.networks.layer import Layer, Parameter
from skbig.networks.modules.copies import ModuleCopies
from skbig.networks.modules.layer import ModuleLayer, as_tensors, check_tensors, numbers
from skbig.networks.modules.making import Source
from skbig.networks.modules.naming import first_names, matched, parameters_of
from skbig.networks.modules.trial import ROWS, Facts, Trial
from skbig.networks.network import Network


@dataclass(frozen=True, eq=False)
class ModuleNetwork(Network, recordable=True):
    """A module of a user's, whose tensors keep their names.

    Parameters
    ----------
    module : type, callable or nn.Module
        A class, a function that returns a module, or an instance, whose numbers are then the first ones.
    settings : tuple of (str, object)
        What class or function is called with.
    frozen : tuple of str
        Patterns of the names of parameters and buffers that training leaves as they are.
    row_shape : tuple of int or None
        The shape of a row of X; None: ``(n_features,)``.
    row_dtype : str
        In which dtype the module takes rows: that of the parameters, '', or an integer one by its name.
    two_columns : bool
        Whether a module may give two columns for one output: their difference is the raw output.
    facts : Facts or None
        What a trial has told of it; None: it is tried when it is built.
    """

    module: Any = None
    settings: tuple[tuple[str, Any], ...] = ()
    frozen: tuple[str, ...] = ()
    row_shape: tuple[int, ...] | None = None
    row_dtype: str = ""
    two_columns: bool = False
    facts: Facts | None = field(default=None, compare=False)

    autocasts = True

    @property
    def source(self) -> Source:
        """How the module is made."""
        return Source(self.module, dict(self.settings))

    def check(self) -> None:
        self.source.check("module")

    def name_of(self, name: str, i: int) -> str:
        del i  # the only layer
        return name

    def tried(self, rows: Tensor, n_outputs: int, dtype: torch.dtype) -> ModuleNetwork:
        """Return the network with what a trial tells of it, in which some rows (R, *shape) were computed in a dtype.

        Raises
        ------
        ValueError
            When the module fails on these rows, or its result has not a column for each raw output.
        """
        shaped = replace(self, row_shape=tuple(rows.shape[1:]))
        key = shaped._identity(rows.dtype, n_outputs, dtype)
        facts = _KNOWN.get(key)
        if facts is None:
            facts = shaped._try(shaped._made(rows.shape[1], n_outputs, seed=0), rows, dtype)
            if key is not None:
                _remember(key, facts)
        shaped._check_columns(facts.n_columns, n_outputs)
        return replace(shaped, facts=facts)

    def build(self, n_features: int, n_outputs: int) -> Sequence[Layer]:
        made = self._made(n_features, n_outputs, seed=0)
        facts = self.facts
        if facts is None:
            facts = self._try(made, _rows_for(self._shape(n_features), self.row_dtype), torch.float64)
            self._check_columns(facts.n_columns, n_outputs)
        shape = self._shape(n_features)
        return [
            ModuleLayer(made.copies, facts, made.trained, made.kept, shape, n_outputs, made.frozen, made.first_names)
        ]

    def first_values(self, layers: Sequence[Layer], seed: int) -> list[dict[str, np.ndarray]]:
        (layer,) = layers
        assert isinstance(layer, ModuleLayer)
        made = self._made(layer.row_shape[0], layer.n_outputs, seed)
        return [made.values | made.kept]

    def module_with(self, arrays: Mapping[str, np.ndarray], n_outputs: int) -> nn.Module:
        """Return a module of the user's, ready to predict, with given parameters and buffers."""
        shape = self._shape(0)
        module = copy.deepcopy(self._module(shape, n_outputs, seed=0)).eval()
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            tensor.data = torch.from_numpy(np.array(arrays[name]))
        return module

    def signature(self) -> tuple[Any, ...]:
        """What two networks share that can be stacked; of an instance all but its numbers, which are each member's."""
        own = (self.frozen, self.row_shape, self.row_dtype, self.two_columns)
        return (type(self), ("module", self._form), *(("form", value) for value in own))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModuleNetwork) and self.signature() == other.signature()

    def __hash__(self) -> int:
        return hash(self.signature())

    def likely_size(self) -> float:
        return 0.0  # it would have to be made, and with rows that are not known

    @functools.cached_property
    def _form(self) -> Any:
        """How the module is made, as a value that can be compared."""
        if isinstance(self.module, type | FunctionType):
            with suppress(TypeError):
                hash(self.settings)
                return (self.module, self.settings)
        try:
            return joblib.hash((self.source.form, self.settings))
        except Exception:  # it cannot be pickled, which is refused elsewhere
            return id(self.module)

    def _identity(self, row_dtype: torch.dtype, n_outputs: int, dtype: torch.dtype) -> Any:
        """What two trials share that tell the same; None for an instance, whose numbers may do."""
        if isinstance(self.module, nn.Module):
            return None
        return (self.signature(), row_dtype, n_outputs, dtype)

    def _shape(self, n_features: int) -> tuple[int, ...]:
        return (n_features,) if self.row_shape is None else self.row_shape

    def _made(self, n_features: int, n_outputs: int, seed: int) -> _Made:
        module = self._module(self._shape(n_features), n_outputs, seed)
        check_tensors(module, self.source.name)
        n_columns = (n_outputs, 2) if self.two_columns and n_outputs == 1 else (n_outputs,)
        return _made_of(module, self.frozen, self.source.name, n_columns)

    def _module(self, shape: tuple[int, ...], n_outputs: int, seed: int) -> nn.Module:
        """Return a new module, or the instance itself."""
        offered = {"n_features": shape[0], "n_outputs": n_outputs, "input_shape": shape}
        return self.source.make(offered, seed, _rows_for(shape, self.row_dtype))

    def _try(self, made: _Made, rows: Tensor, dtype: torch.dtype) -> Facts:
        parameters, kept = (as_tensors(arrays, dtype) for arrays in (made.values, made.kept))
        own = rows.to(dtype) if rows.is_floating_point() else rows
        repeated = torch.cat([own] * -(-ROWS // len(own)))[:ROWS]
        return Trial(made.copies, self.source.name, parameters, kept, repeated, made.frozen).facts()

    def _check_columns(self, n_columns: int, n_outputs: int) -> None:
        if n_columns == n_outputs or (self.two_columns and (n_columns, n_outputs) == (2, 1)):
            return
        raise ValueError(
            f"forward of {self.source.name} must return {n_outputs} column(s), one for each class or target, and "
            f"returned {n_columns}. Let its class take n_outputs, which is then handed over."
        )


MOST_KNOWN = 64
_KNOWN: dict[Any, Facts] = {}
"""What trials of classes and functions have told: the candidates of a search, and calls of partial_fit, need one."""
_CHANGING = threading.Lock()


def _remember(key: Any, facts: Facts) -> None:
    """Know what a trial has told, and forget the oldest where there are too many; fits may be on several threads."""
    with _CHANGING:
        _KNOWN[key] = facts
        while len(_KNOWN) > MOST_KNOWN:
            del _KNOWN[next(iter(_KNOWN))]


class _Made(NamedTuple):
    copies: ModuleCopies
    trained: dict[str, Parameter]
    values: dict[str, np.ndarray]
    kept: dict[str, np.ndarray]
    frozen: tuple[str, ...]
    first_names: dict[str, str]


def _made_of(module: nn.Module, patterns: Sequence[str], name: str, n_columns: Sequence[int]) -> _Made:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    frozen = matched(list(tensors), patterns, "freeze")
    trained = {
        name: declared
        for name, declared in parameters_of(module, n_columns).items()
        if name not in frozen and tensors[name].requires_grad
    }
    if not trained:
        raise ValueError(f"{name} has no parameter to train: all are frozen, or there are none.")
    try:
        copies = ModuleCopies(module, frozen)
    except Exception as error:
        raise ValueError(f"{name} cannot be copied: {type(error).__name__}: {error}") from error
    arrays = {name: numbers(tensor) for name, tensor in tensors.items()}
    values = {name: arrays.pop(name) for name in trained}
    not_trained = tuple(name for name, _ in module.named_parameters() if name not in trained)
    return _Made(copies, trained, values, arrays, not_trained, first_names(module))


@functools.cache
def _rows_for(shape: tuple[int, ...], dtype: str) -> Tensor:
    """Return some rows of a shape: zeros for whole numbers, as any module with an embedding takes them."""
    if dtype:
        return torch.zeros((ROWS, *shape), dtype=getattr(torch, dtype))
    generator = torch.Generator().manual_seed(0)
    return torch.randn((ROWS, *shape), generator=generator, dtype=torch.float64)
