"""A module of a user's as a layer: its tensors are the members', its random numbers ours.

Legend: M members, R rows, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from skbig._utils.sparse import SparseRows
from skbig.networks.layer import Layer, Parameter, TrainingPass, itself
from skbig.networks.modules.copies import ModuleCopies
from skbig.networks.modules.passes import pass_of_one, passes_at_once, passes_in_turn
from skbig.networks.modules.trial import Facts

LARGE_PASS = 10_000_000
"""Products of a member's forward pass: from here on a CPU computes members in turn as fast as together."""


@dataclass(frozen=True)
class ModuleLayer(Layer):
    """A whole module, as the only layer of its network.

    Attributes
    ----------
    copies : ModuleCopies
    facts : Facts
        What a trial has told of it.
    declared : dict of Parameter
        What is trained.
    kept : dict of ndarray
        Buffers and frozen parameters.
    row_shape : tuple of int
    n_outputs : int
        Raw outputs; one of two columns is their difference.
    frozen : tuple of str
        What is kept and is a parameter.
    first_names : dict of str
        Every name of a state dict, and the first one of the same tensor.
    """

    copies: ModuleCopies
    facts: Facts
    declared: Mapping[str, Parameter]
    kept: Mapping[str, np.ndarray]
    row_shape: tuple[int, ...]
    n_outputs: int
    frozen: tuple[str, ...] = ()
    first_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_units(self) -> int:
        return self.facts.n_units

    @property
    def most_units(self) -> int:
        return self.facts.width

    @property
    def n_products(self) -> int:
        return self.facts.n_products

    @property
    def couples_rows(self) -> bool:  # type: ignore[override]
        return self.facts.couples_rows

    @property
    def draws_noise(self) -> bool:
        return self.facts.draws

    @property
    def recordable(self) -> bool:  # type: ignore[override]
        return self.facts.replays

    @property
    def stacks(self) -> bool:  # type: ignore[override]
        """Whether several members are computed at once."""
        return self.facts.stacks

    @property
    def has_row_gradients(self) -> bool:
        return False  # a module may look at its rows together in ways that nobody has tried

    def parameters(self) -> dict[str, Parameter]:
        return dict(self.declared)

    def statistics(self) -> dict[str, np.ndarray]:
        return dict(self.kept)

    def initial(self, random: np.random.RandomState) -> dict[str, np.ndarray]:
        raise NotImplementedError("A module is made with its first weights by ModuleNetwork.first_values.")

    def forward(
        self,
        X: Tensor | SparseRows,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        training: TrainingPass | None,
    ) -> Tensor:
        assert isinstance(X, Tensor)
        rows = X.view(*X.shape[:-1], *self.row_shape)
        name, like = next(iter(parameters.items()))
        if training is None and self.facts.written:  # what is fitted is only read
            statistics = {n: v.clone() if n in self.facts.written else v for n, v in statistics.items()}
        tensors = {**parameters, **statistics}
        alone = like.dim() == len(self.declared[name].shape)
        if alone or self._in_turn(rows, training):
            passes = pass_of_one if alone else passes_in_turn
            raw = passes(self.copies, tensors, rows, training, self.facts.draws, self._channels_last(like))
        else:
            raw = passes_at_once(self.copies, tensors, rows, training, self.facts.draws)
        return self.outputs(raw, like.dtype, rows.dim() - len(self.row_shape))

    def _channels_last(self, like: Tensor) -> tuple[str, ...]:
        """Return which parameters are laid out with channels last: where that is sooner computed."""
        return self.facts.channels_last if like.device.type == "cpu" and like.dtype == torch.float32 else ()

    def _in_turn(self, rows: Tensor, training: TrainingPass | None) -> bool:
        """Whether members are computed one after another: what cannot, or need not, be done at once."""
        large = rows.device.type == "cpu" and rows.shape[1] * self.facts.n_products >= LARGE_PASS
        over_ranks = training is not None and training.total is not itself
        return not self.facts.stacks or large or (over_ranks and self.facts.couples_rows)

    def outputs(self, raw: Tensor, dtype: torch.dtype, row_axes: int) -> Tensor:
        """Return (M, R, K), or without M, from a result that may be without K, or have two columns for one output."""
        if raw.dim() == row_axes:
            raw = raw.unsqueeze(-1)
        elif raw.shape[-1] != self.n_outputs:
            first, second = raw.unbind(-1)  # log-odds: softmax of two is the logistic function of their difference
            raw = (second - first).unsqueeze(-1)
        return raw if raw.dtype == dtype else raw.to(dtype)


def numbers(tensor: Tensor) -> np.ndarray:
    """Return a copy of a tensor's numbers; of those in half precision, in single."""
    plain = tensor.detach().cpu()
    return np.array((plain.float() if plain.dtype in (torch.bfloat16, torch.float16) else plain).numpy())


def check_tensors(module: nn.Module, name: str) -> None:
    """Raise ValueError when a parameter holds complex numbers, or integers."""
    for own, tensor in module.named_parameters():
        if not tensor.is_floating_point():
            raise ValueError(f"The parameter {own} of {name} must hold real numbers, and is {tensor.dtype}.")


def as_tensors(arrays: Mapping[str, np.ndarray], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return arrays as tensors, those of real numbers in a dtype."""
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}
