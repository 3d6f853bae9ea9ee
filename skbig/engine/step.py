"""One update of all members: the formula, written to be read.

Legend: M members (left out of batches when there is one), R rows, K raw outputs, P parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skbig._random import Noise
from skbig._sparse import SparseRows
from skbig.data.rows import Batch
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.networks.mlp import MLP, Training

NORM_BLOCK = 2**15 - 1
"""Sums this long run on one thread, so that a norm has the same bits on any number of threads."""


class Numbers(NamedTuple):
    """What a step needs besides its batch; every entry is a tensor, so that a recorded step can be given new ones.

    Attributes
    ----------
    rate : Tensor (1, 1, 1) or (M, 1, 1)
    keys : Tensor (2, M) of int32, or None where no noise is drawn
    optimizer, augmentation : tuple of Tensor (1, 1, 1) or (M, 1, 1)
        What these components make of the step number, and of a random number.
    """

    rate: Tensor
    keys: Tensor | None
    optimizer: tuple[Tensor, ...]
    augmentation: tuple[Tensor, ...]


def step(
    members: Members, batch: Batch, recipe: Recipe, numbers: Numbers, strength: Tensor | float, n_parts: int = 1
) -> Tensor:
    """Update the members by one batch and return their losses, penalty included, before the update: (M,).

    `strength`, a float or a tensor (M, 1, 1), is that of the penalty over the weight of the batch.
    """
    loss, gradient = loss_and_gradient(members, batch, recipe, numbers, n_parts)
    loss = with_penalty(loss, members, recipe, strength)
    add_penalty_gradient(members, recipe, gradient, strength)
    if recipe.clipping is not None:
        norm = norm_per_member(gradient) if recipe.clipping.needs_norm else None
        recipe.clipping.apply(members.tensors(True, gradient), norm)
    update(members, recipe, gradient, numbers)
    shrink(members, recipe, numbers, strength)
    return loss


def loss_and_gradient(
    members: Members, batch: Batch, recipe: Recipe, numbers: Numbers, n_parts: int = 1
) -> tuple[Tensor, Tensor]:
    """Return the weighted mean loss, (M,) or () for one member, and its gradient (M, 1, P).

    A batch in several parts needs less memory and gives the same sum.
    """
    total, gradient = None, None
    for part in [batch] if n_parts == 1 else batch.parts(n_parts):
        loss, part_gradient = _differentiate(members, part, recipe, numbers)
        total = loss if total is None else total + loss
        gradient = part_gradient if gradient is None else gradient.add_(part_gradient)
    assert total is not None and gradient is not None
    scale = recipe.loss.reporting_scale(recipe.network.n_outputs)
    return total if scale == 1.0 else total * scale, gradient


def _differentiate(members: Members, batch: Batch, recipe: Recipe, numbers: Numbers) -> tuple[Tensor, Tensor]:
    leaves = {name: value.detach().requires_grad_() for name, value in members.parameters.items()}
    with torch.enable_grad():
        per_row = _loss_per_row(leaves, members, batch, recipe, numbers)
        loss = torch.dot(per_row, batch.share) if per_row.dim() == 1 else (per_row * batch.share).sum(-1)
        # Summed over members, never averaged: none may feel another. (A sum also spares torch the import of sympy.)
        gradients = torch.autograd.grad(loss.sum() if loss.dim() else loss, list(leaves.values()))
    flat = [gradient.reshape(members.n_members, 1, -1) for gradient in gradients]
    return loss.detach(), torch.cat(flat, -1)


def _loss_per_row(
    leaves: dict[str, Tensor], members: Members, batch: Batch, recipe: Recipe, numbers: Numbers
) -> Tensor:
    noise = None if numbers.keys is None else Noise(numbers.keys, batch.first_row)
    X, y, mix = batch.X, batch.y, None
    if recipe.augmentation is not None:
        assert noise is not None and isinstance(X, Tensor) and isinstance(batch.X, Tensor)
        X, mix = recipe.augmentation.apply(X.view(members.n_members, *X.shape[-2:]), noise, numbers.augmentation)
        X = X.view(batch.X.shape)
    training = Training(noise, batch.share)
    raw = forward(members.network, leaves, members.statistics, X, training, bf16=recipe.bf16)
    if mix is None:
        return recipe.loss.per_row(raw, y)
    partner_y = _rows_of(y, mix.partner.view(batch.share.shape))
    share = mix.share.view(-1, *[1] * (batch.share.dim() - 1))
    return share * recipe.loss.per_row(raw, y) + (1 - share) * recipe.loss.per_row(raw, partner_y)


def forward(
    network: MLP,
    parameters: Mapping[str, Tensor],
    statistics: Mapping[str, Tensor],
    X: Tensor | SparseRows,
    training: Training | None = None,
    *,
    bf16: bool = False,
) -> Tensor:
    """Return the raw prediction in the dtype of X, computed in bfloat16 where asked for."""
    if not bf16:
        return network.forward(parameters, statistics, X, training)
    halves = {name: value.bfloat16() for name, value in parameters.items()}
    X_half = X if isinstance(X, SparseRows) else X.bfloat16()
    return network.forward(halves, statistics, X_half, training).to(X.dtype)


def with_penalty(loss: Tensor, members: Members, recipe: Recipe, strength: Tensor | float) -> Tensor:
    """Return the loss of each member with its penalty added, (M,)."""
    if recipe.active_penalty is None:
        return loss.view(-1)
    for weight in members.weight_tensors(recipe.active_penalty.elementwise):
        value = recipe.active_penalty.value(weight).view(-1)
        loss = (
            torch.add(loss, value, alpha=strength) if isinstance(strength, float) else loss + value * strength.view(-1)
        )
    return loss


def add_penalty_gradient(members: Members, recipe: Recipe, gradient: Tensor, strength: Tensor | float) -> None:
    """Add the gradient of the smooth part of the penalty."""
    if recipe.active_penalty is None:
        return
    gradients = members.weight_tensors(recipe.active_penalty.elementwise, gradient)
    for part, weight in zip(gradients, members.weight_tensors(recipe.active_penalty.elementwise), strict=True):
        recipe.active_penalty.add_gradient(part, weight, strength)


def update(members: Members, recipe: Recipe, gradient: Tensor, numbers: Numbers) -> None:
    """Let the optimizer change the parameters."""
    elementwise = recipe.optimizer.elementwise
    parameters, gradients = members.tensors(elementwise), members.tensors(elementwise, gradient)
    for parameter, part, state in zip(parameters, gradients, members.state, strict=True):
        recipe.optimizer.update(parameter, part, state, numbers.rate, numbers.optimizer)


def shrink(members: Members, recipe: Recipe, numbers: Numbers, strength: Tensor | float) -> None:
    """Take the proximal step of a penalty with a non-smooth part, in the measure of the optimizer: exact zeros."""
    if recipe.active_penalty is None or not recipe.active_penalty.proximal:
        return
    weights = members.weight_tensors(recipe.active_penalty.elementwise and recipe.optimizer.elementwise)
    reaches: Sequence[Tensor | float] = [recipe.optimizer.reach(state, numbers.optimizer) for state in members.state]
    if recipe.optimizer.elementwise:
        reaches = members.weight_tensors(recipe.active_penalty.elementwise, _spread(reaches[0], members.flat))
    for weight, reach in zip(weights, reaches, strict=False):  # the weights come first
        recipe.active_penalty.shrink(weight, numbers.rate * strength * reach)


def _spread(reach: Tensor | float, flat: Tensor) -> Tensor:
    if isinstance(reach, Tensor):
        return reach.to(flat).expand(flat.shape)
    return flat.new_full((1, 1, 1), reach).expand(flat.shape)


def norm_per_member(gradient: Tensor) -> Tensor:
    """Return the 2-norm of each member's gradient, (M, 1, 1)."""
    blocks = [torch.linalg.vector_norm(block, dim=2, keepdim=True) for block in gradient.split(NORM_BLOCK, 2)]
    return blocks[0] if len(blocks) == 1 else torch.linalg.vector_norm(torch.cat(blocks, 2), dim=2, keepdim=True)


def _rows_of(y: Tensor, partner: Tensor) -> Tensor:
    """Return ``y[partner]`` within each member: y (M, R) or (M, R, K), partner (M, R); or without M."""
    axis = partner.dim() - 1
    if y.dim() == partner.dim():
        return y.gather(axis, partner)
    return y.gather(axis, partner.unsqueeze(-1).expand(y.shape))
