"""One update of all members: the formula, written to be read.

Legend: M members (left out of batches when there is one), R rows, K raw outputs, P parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skbig._utils.random import Noise
from skbig._utils.sparse import SparseRows
from skbig.data.batch import Batch
from skbig.engine.members import Members
from skbig.engine.private_step import add_noise, clipped_gradient
from skbig.engine.recipe import Recipe
from skbig.networks.layer import Total, TrainingPass, itself
from skbig.networks.network import BuiltNetwork


class StepInputs(NamedTuple):
    """What a step needs besides its batch; every entry is a tensor, so that a recorded step can be given new ones.

    Attributes
    ----------
    rate : Tensor (1, 1, 1) or (M, 1, 1)
    keys : Tensor (2, M) of int32, or None where no noise is drawn
    optimizer, augmentation : tuple of Tensor (1, 1, 1) or (M, 1, 1)
        What these components make of the step number, and of a random number.
    average : tuple of Tensor (1, 1, 1) or (M, 1, 1)
        The share of the step in averaged weights; empty where there are none.
    private_noise : Tensor (M, 1, P) or None
        That of a private step, where it is drawn beforehand.
    """

    rate: Tensor
    keys: Tensor | None
    optimizer: tuple[Tensor, ...]
    augmentation: tuple[Tensor, ...]
    average: tuple[Tensor, ...] = ()
    private_noise: Tensor | None = None


Differentiate = Callable[[Members, Batch, Recipe, StepInputs], tuple[Tensor, Tensor]]
"""Returns loss, (M,) or () for one member, and gradient (M, 1, P)."""


def step(
    members: Members,
    batch: Batch,
    recipe: Recipe,
    numbers: StepInputs,
    strength: Tensor | float,
    n_parts: int = 1,
    differentiate: Differentiate | None = None,
) -> Tensor:
    """Update the members by one batch and return their losses, penalty included, before the update: (M,).

    `strength`, a float or a tensor (M, 1, 1), is that of the penalty over the weight of the batch.
    """
    penalty = penalty_values(members, recipe)
    loss, gradient = loss_and_gradient(members, batch, recipe, numbers, n_parts, differentiate)
    loss = with_penalty(loss, penalty, strength)
    if recipe.privacy is not None:
        add_noise(gradient, recipe, numbers.keys, numbers.private_noise, batch.counted_rows)
    add_penalty_gradient(members, recipe, gradient, strength)
    loss = with_proximal_term(loss, members, recipe)
    add_proximal_gradient(members, recipe, gradient)
    zeros = zeros_to_keep(members, recipe)
    put_zeros(zeros, members, gradient)
    if recipe.clipping is not None:
        norm = members.norm(gradient) if recipe.clipping.needs_norm else None
        recipe.clipping.apply(members.tensors(True, gradient), norm)
    update(members, recipe, gradient, numbers)
    shrink(members, recipe, numbers, strength)
    put_zeros(zeros, members, members.flat)
    for share in numbers.average:
        members.move_average(share)
    return loss


def loss_and_gradient(
    members: Members,
    batch: Batch,
    recipe: Recipe,
    numbers: StepInputs,
    n_parts: int = 1,
    differentiate: Differentiate | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the weighted mean loss, (M,) or () for one member, and its gradient (M, 1, P).

    A batch in several parts needs less memory and gives the same sum.
    """
    differentiate = differentiate_here if differentiate is None else differentiate
    total, gradient = None, None
    for part in [batch] if n_parts == 1 else batch.parts(n_parts):
        loss, part_gradient = differentiate(members, part, recipe, numbers)
        total = loss if total is None else total + loss
        gradient = part_gradient if gradient is None else gradient.add_(part_gradient)
    assert total is not None and gradient is not None
    scale = recipe.loss.reporting_scale(recipe.network.n_outputs)
    return total if scale == 1.0 else total * scale, gradient


def differentiate_here(members: Members, batch: Batch, recipe: Recipe, numbers: StepInputs) -> tuple[Tensor, Tensor]:
    """Return loss and gradient of all rows at hand, computed in this process."""
    if recipe.privacy is not None:
        return differentiate_privately(members, augmented(batch, members, recipe, numbers).batch, recipe, numbers)
    rounds = recipe.bf16 and not members.network.network.autocasts
    parameters = members.rounded(torch.bfloat16) if rounds else members.parameters
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    with torch.enable_grad():
        loss = weighted_loss(leaves, members, augmented(batch, members, recipe, numbers), recipe, numbers)
        # Summed over members, never averaged: none may feel another. (A sum also spares torch the import of sympy.)
        gradients = gradients_of(loss.sum() if loss.dim() else loss, list(leaves.values()))
    return loss.detach(), flattened(gradients, members)


def differentiate_privately(
    members: Members, batch: Batch, recipe: Recipe, numbers: StepInputs
) -> tuple[Tensor, Tensor]:
    """Return loss and gradient of all rows at hand, none of which counts more than the privacy allows."""
    loss, gradients = clipped_gradient(members, batch, recipe, numbers.keys)
    return loss, flattened(gradients, members)


def gradients_of(loss: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradient of a loss by each leaf; zeros by one that it does not depend on."""
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)


def flattened(gradients: Sequence[Tensor], members: Members, out: Tensor | None = None) -> Tensor:
    """Lay out the gradients of all parameters as the members do theirs, (M, 1, P), in the memory of `out` if given."""
    side_by_side = torch.cat([gradient.reshape(members.n_members, 1, -1) for gradient in gradients], -1, out=out)
    return side_by_side.to(members.flat.dtype)


class Augmented(NamedTuple):
    """A batch as the network sees it while training.

    Attributes
    ----------
    batch : Batch
    partner_y : Tensor of the shape of the batch's y, or None
        Targets with which those of the batch are blended, if they are.
    blend : Tensor (M, 1), or (1,) for one member, or None
        How much of each row's loss is that of its own target.
    """

    batch: Batch
    partner_y: Tensor | None = None
    blend: Tensor | None = None

    def part_by(self, part: Callable[[Batch], Batch]) -> Augmented:
        """Return some of the rows."""
        if self.partner_y is None:
            return Augmented(part(self.batch))
        return Augmented(part(self.batch), part(self.batch._replace(y=self.partner_y)).y, self.blend)


def augmented(batch: Batch, members: Members, recipe: Recipe, numbers: StepInputs) -> Augmented:
    """Let the augmentation change a batch."""
    if recipe.augmentation is None:
        return Augmented(batch)
    assert numbers.keys is not None and isinstance(batch.X, Tensor)
    X, noise = batch.X, Noise(numbers.keys, batch.first_row)
    changed, mix = recipe.augmentation.apply(X.view(members.n_members, *X.shape[-2:]), noise, numbers.augmentation)
    batch = batch._replace(X=changed.view(X.shape))
    if mix is None:
        return Augmented(batch)
    partner_y = _rows_of(batch.y, mix.partner.view(batch.share.shape))
    return Augmented(batch, partner_y, mix.share.view(-1, *[1] * (batch.share.dim() - 1)))


def weighted_loss(
    parameters: Mapping[str, Tensor],
    members: Members,
    augmented: Augmented,
    recipe: Recipe,
    numbers: StepInputs,
    total: Total = itself,
) -> Tensor:
    """Return the sum of the rows' losses by their shares, (M,) or () for one member.

    Of a part of a batch it is the part's share of the loss; `total` then sums over the parts.
    """
    batch = augmented.batch
    noise = None if numbers.keys is None else Noise(numbers.keys, batch.first_row)
    training = TrainingPass(noise, batch.share, total=total, equal=batch.equal)
    raw = forward(members.network, parameters, members.statistics, batch.X, training, bf16=recipe.bf16)
    per_row = recipe.loss.per_row(raw, batch.y)
    if augmented.partner_y is not None and augmented.blend is not None:
        partner = recipe.loss.per_row(raw, augmented.partner_y)
        per_row = augmented.blend * per_row + (1 - augmented.blend) * partner
    return torch.dot(per_row, batch.share) if per_row.dim() == 1 else (per_row * batch.share).sum(-1)


def forward(
    network: BuiltNetwork,
    parameters: Mapping[str, Tensor],
    statistics: Mapping[str, Tensor],
    X: Tensor | SparseRows,
    training: TrainingPass | None = None,
    *,
    bf16: bool = False,
) -> Tensor:
    """Return the raw prediction in the dtype of the weights, computed in bfloat16 where asked for."""
    if not bf16:
        return network.forward(parameters, statistics, X, training)
    if network.network.autocasts:
        device = next(iter(parameters.values())).device.type
        with torch.autocast(device, torch.bfloat16):
            return network.forward(parameters, statistics, X, training)
    halves = {name: value.bfloat16() for name, value in parameters.items()}
    X_half = X if isinstance(X, SparseRows) else X.bfloat16()
    return network.forward(halves, statistics, X_half, training).to(X.dtype)


def penalty_values(members: Members, recipe: Recipe) -> list[Tensor]:
    """Return the values of the penalty, (M,) or () for one member, which a device may compute beside the network."""
    penalty = recipe.active_penalty
    if penalty is None:
        return []
    of_members = () if members.n_members == 1 else (members.n_members,)
    values = [penalty.value(weight).view(of_members) for weight in members.weight_tensors(penalty.elementwise)]
    return [members.reductions.total(value) for value in values]


def with_penalty(loss: Tensor, values: Sequence[Tensor], strength: Tensor | float) -> Tensor:
    """Return the loss of each member, (M,) or () for one, with its penalty added, (M,)."""
    for value in values:
        loss = (
            torch.add(loss, value, alpha=strength) if isinstance(strength, float) else loss + value * strength.view(-1)
        )
    return loss.view(-1)


def add_penalty_gradient(members: Members, recipe: Recipe, gradient: Tensor, strength: Tensor | float) -> None:
    """Add the gradient of the smooth part of the penalty."""
    if recipe.active_penalty is None:
        return
    gradients = members.weight_tensors(recipe.active_penalty.elementwise, gradient)
    for part, weight in zip(gradients, members.weight_tensors(recipe.active_penalty.elementwise), strict=True):
        recipe.active_penalty.add_gradient(part, weight, strength)


def with_proximal_term(loss: Tensor, members: Members, recipe: Recipe) -> Tensor:
    """Return the losses, (M,), with ``fedprox / 2 * |w - w0|^2`` added, where w0 is the members' anchor."""
    if members.anchor is None:
        return loss
    return loss + (members.norm(members.flat - members.anchor).square() * (recipe.fedprox / 2)).view(-1)


def add_proximal_gradient(members: Members, recipe: Recipe, gradient: Tensor) -> None:
    """Add the gradient of that term, ``fedprox * (w - w0)``."""
    if members.anchor is not None:
        gradient.add_((members.flat - members.anchor) * recipe.fedprox)


def zeros_to_keep(members: Members, recipe: Recipe) -> Tensor | None:
    """Return which penalized parameters are zero and shall stay so, (M, 1, W) of bool, or None."""
    return members.weight_tensors(True)[0] == 0 if recipe.keeps_zeros else None


def put_zeros(zeros: Tensor | None, members: Members, flat: Tensor) -> None:
    """Put zeros back into parameters, or what is laid out like them."""
    if zeros is not None:
        members.weight_tensors(True, flat)[0].masked_fill_(zeros, 0.0)


def update(members: Members, recipe: Recipe, gradient: Tensor, numbers: StepInputs) -> None:
    """Let the optimizer change the parameters."""
    for move in members.moves(recipe.optimizer, recipe.param_groups, numbers.rate):
        parameter, slope = move.of(members.flat), move.of(gradient)
        move.optimizer.update(parameter, slope, move.state, move.rate, numbers.optimizer)


def shrink(members: Members, recipe: Recipe, numbers: StepInputs, strength: Tensor | float) -> None:
    """Take the proximal step of a penalty with a non-smooth part, in the measure of the optimizer: exact zeros."""
    if recipe.active_penalty is None or not recipe.active_penalty.proximal:
        return
    penalty, n_penalized = recipe.active_penalty, members.network.n_penalized
    reaches = []
    for move in members.moves(recipe.optimizer, recipe.param_groups, numbers.rate):
        weight = move.of(members.flat)
        reach = move.rate * strength * move.optimizer.reach(move.state, numbers.optimizer)
        if not penalty.elementwise:  # it takes whole matrices, whatever the optimizer does
            reaches.append(reach.to(weight).expand(weight.shape).reshape(members.n_members, 1, -1))
        elif move.start < n_penalized:  # the weights come first
            size = min(weight.shape[2], n_penalized - move.start) if move.block.rows is None else weight.shape[2]
            penalty.shrink(weight.narrow(2, 0, size), reach if reach.shape[2] == 1 else reach.narrow(2, 0, size))
    if reaches:
        matrices = members.weight_tensors(False), members.weight_tensors(False, torch.cat(reaches, 2))
        for weight, reach in zip(*matrices, strict=True):
            penalty.shrink(weight, reach)


def _rows_of(y: Tensor, partner: Tensor) -> Tensor:
    """Return ``y[partner]`` within each member: y (M, R) or (M, R, K), partner (M, R); or without M."""
    axis = partner.dim() - 1
    if y.dim() == partner.dim():
        return y.gather(axis, partner)
    return y.gather(axis, partner.unsqueeze(-1).expand(y.shape))
