"""A forward pass of a module with given tensors: of one member, of several in turn, or of all at once.

Legend: M members, R rows, K columns of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from skbig.networks.layer import TrainingPass
from skbig.networks.modules.copies import ModuleCopies
from skbig.networks.modules.draws import CountedDraws

Tensors = Mapping[str, Tensor]


def pass_of_one(
    copies: ModuleCopies,
    tensors: Tensors,
    X: Tensor,
    training: TrainingPass | None,
    draws: bool,
    channels_last: Sequence[str] = (),
) -> Any:
    """Return what one member makes of rows X (R, *shape); buffers are updated while training.

    The named tensors are laid out with their channels last, and so is then what convolutions by them return: with torch
    on a CPU, pooling and batch norm of single precision take half the time of it.
    """
    if channels_last:
        laid_out = {name: tensors[name].clone(memory_format=torch.channels_last) for name in channels_last}
        tensors = {**tensors, **laid_out}
    copy = copies.of(training is not None)
    copy.context.training, copy.context.share = training, None if training is None else training.share
    with _drawing(training, X.shape[0], draws, stacked=False):
        return copy(tensors, X)


def passes_in_turn(
    copies: ModuleCopies,
    tensors: Tensors,
    X: Tensor,
    training: TrainingPass | None,
    draws: bool,
    channels_last: Sequence[str] = (),
) -> Tensor:
    """Return what each member makes of its rows X (M, R, *shape), computed one after another."""
    # A gradient of `unbind` is one stack; that of as many selections would be as many sums of whole tensors.
    members = zip(*(tensor.unbind(0) for tensor in tensors.values()), strict=True)
    return torch.stack(
        [
            pass_of_one(
                copies, dict(zip(tensors, own, strict=True)), rows, _of_member(training, m), draws, channels_last
            )
            for m, (own, rows) in enumerate(zip(members, X.unbind(0), strict=True))
        ]
    )


def passes_at_once(
    copies: ModuleCopies, tensors: Tensors, X: Tensor, training: TrainingPass | None, draws: bool
) -> Tensor:
    """Return what each member makes of its rows X (M, R, *shape), computed as one stack."""
    copy = copies.of(training is not None)
    share = None if training is None else training.share

    def member(tensors: Tensors, X: Tensor, share: Tensor | None) -> Any:
        copy.context.training, copy.context.share = training, share
        return copy(tensors, X)

    dims = (0, 0, None if share is None else 0)
    with _drawing(training, X.shape[1], draws, stacked=True):
        result: Tensor = vmap(member, in_dims=dims, randomness="different" if draws else "error")(tensors, X, share)
    return result


def _of_member(training: TrainingPass | None, m: int) -> TrainingPass | None:
    if training is None:
        return None
    noise = None if training.noise is None else training.noise.member(m)
    return replace(training, noise=noise, share=training.share[m])


def _drawing(training: TrainingPass | None, n_rows: int, draws: bool, *, stacked: bool) -> AbstractContextManager[Any]:
    if training is None or not draws:
        return nullcontext()
    assert training.noise is not None
    return CountedDraws(training.noise, n_rows, stacked=stacked)
