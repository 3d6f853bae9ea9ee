"""Random numbers within a module of a user's: drawn by us, so that torch's global generators stay as they are.

A mode of torch sees every operation of this thread that draws, whoever calls it: `nn.Dropout`, a functional dropout,
the attention of a transformer. While weights are made it gives the operation a generator of the member's own. In a
step it takes the operation's place: the numbers are a function of (the member's seed, the step, which draw of the
forward pass it is, the row's place in the batch), as everywhere in this package.

Legend: M members, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skbig._utils.operations import DispatchMode, draws
from skbig._utils.random import Noise, Purpose

_aten = torch.ops.aten
_SECOND = 2**16
"""How far the second purpose of a draw that needs two is from the first."""


class SeededDraws(DispatchMode):
    """Lets the operations of this thread draw from a generator that is seeded: as after `torch.manual_seed(seed)`."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if not draws(operation, args, kwargs):
            return operation(*args, **kwargs)
        if operation in _LIKE:
            filled = _aten.empty_like.default(*args, **kwargs)
            return _LIKE[operation](filled, generator=self._generator)
        if kwargs.get("generator") is not None:  # the user's own, which nobody else draws from
            return operation(*args, **kwargs)
        return _with_generator(operation)(*args, **kwargs, generator=self._generator)


def _with_generator(operation: Any) -> Any:
    """Return the overload of an operation that takes a generator."""
    if any(argument.name == "generator" for argument in operation._schema.arguments):
        return operation
    name = "generator" if operation._overloadname == "default" else f"{operation._overloadname}_generator"
    overload = getattr(operation.overloadpacket, name, None)
    if overload is None:
        raise ValueError(f"the random operation {operation} takes no generator of its own")
    return overload


_LIKE = {_aten.rand_like.default: _aten.uniform_.default, _aten.randn_like.default: _aten.normal_.default}


class CountedDraws(DispatchMode):
    """Takes the place of the operations that draw in a forward pass.

    Parameters
    ----------
    noise : Noise
        Random numbers of the step, of all members whose tensors are computed together.
    n_rows : int
        Rows at hand.
    stacked : bool
        Whether the tensors have the members as their first axis, as those that `vmap` computes.

    Attributes
    ----------
    count : int
        How often something was drawn.
    """

    def __init__(self, noise: Noise, n_rows: int, *, stacked: bool) -> None:
        super().__init__()
        self._noise, self._n_rows, self._stacked = noise, n_rows, stacked
        self.count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if not draws(operation, args, kwargs):
            return operation(*args, **kwargs)
        if operation not in _DRAWS:
            raise ValueError(
                f"it draws random numbers by {operation.overloadpacket}, which cannot be repeated for each row. Draw "
                "by nn.Dropout and its kin, torch.rand_like, torch.randn_like or torch.bernoulli, or draw before fit."
            )
        with torch.no_grad():
            result = _DRAWS[operation](self, *args, **kwargs)
        self.count += 1
        return result

    def uniform(self, like: Any) -> Tensor:
        """Return numbers in (0, 1), of shape and dtype of a tensor."""
        dtype = _precise(like.dtype)
        numbers = self._in_rows(like.shape, lambda noise, rows, width: noise.uniform(rows, width, self._purpose, dtype))
        return numbers.to(like.dtype)

    def normal(self, like: Any) -> Tensor:
        """Return standard normal numbers, of shape and dtype of a tensor."""
        dtype, purposes = _precise(like.dtype), (self._purpose, self._purpose + _SECOND)
        numbers = self._in_rows(like.shape, lambda noise, rows, width: noise.normal(rows, width, purposes, dtype))
        return numbers.to(like.dtype)

    def keep(self, like: Any, probability: Any) -> Tensor:
        """Return ones with a probability, a number or a tensor that broadcasts, else zeros."""
        dtype = _precise(like.dtype)
        numbers = self._in_rows(like.shape, lambda noise, rows, width: noise.uniform(rows, width, self._purpose, dtype))
        return numbers.lt_(probability.to(dtype) if isinstance(probability, Tensor) else probability).to(like.dtype)

    @property
    def _purpose(self) -> int:
        return Purpose.DROPOUT + self.count

    def _in_rows(self, shape: torch.Size, draw: Callable[[Noise, int, int], Tensor]) -> Tensor:
        """Return numbers of a shape, which are counted row by row whichever axis the rows are."""
        members, own = (list(shape[:1]), list(shape[1:])) if self._stacked else ([], list(shape))
        size, axis = math.prod(own), self._axis_of_rows(own)
        if axis is None:
            if self._noise.first_row:
                raise ValueError(
                    f"it draws random numbers of shape {tuple(own)}, of which no axis is that of the rows. So they "
                    "cannot be told apart where a batch is computed in parts: in several processes, or for want of "
                    "memory."
                )
            return draw(self._noise, 1, size).view(shape)
        numbers = draw(self._noise, self._n_rows, size // self._n_rows)
        if axis == 0:  # perhaps with others folded into it, as the heads of an attention
            return numbers.view(shape)
        rest = own[:axis] + own[axis + 1 :]
        first = len(members)
        return numbers.view(*members, self._n_rows, *rest).movedim(first, first + axis).contiguous()

    def _axis_of_rows(self, own: list[int]) -> int | None:
        if self._n_rows in own:
            return own.index(self._n_rows)
        return 0 if own and own[0] and own[0] % self._n_rows == 0 else None


def _precise(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which numbers are drawn: the half ones have too few bits."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


class _Form:
    """Shape and dtype of a tensor that is still to be made."""

    def __init__(self, shape: Any, dtype: torch.dtype | None) -> None:
        self.shape, self.dtype = torch.Size(shape), dtype or torch.get_default_dtype()


def _bernoulli(mode: CountedDraws, probabilities: Tensor, *, generator: Any = None) -> Tensor:
    return mode.keep(probabilities, probabilities)


def _bernoulli_p(mode: CountedDraws, like: Tensor, p: Any, *, generator: Any = None) -> Tensor:
    return mode.keep(like, p)


def _bernoulli_in_place(mode: CountedDraws, target: Tensor, p: Any = 0.5, *, generator: Any = None) -> Tensor:
    return target.copy_(mode.keep(target, p))


def _dropout(mode: CountedDraws, X: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    mask = mode.keep(X, 1.0 - p)
    return X * mask.div(1.0 - p) if p < 1.0 else X * 0.0, mask.bool()


def _uniform_in_place(
    mode: CountedDraws, target: Tensor, low: float = 0.0, high: float = 1.0, *, generator: Any = None
) -> Tensor:
    return target.copy_(mode.uniform(target).mul_(high - low).add_(low))


def _normal_in_place(
    mode: CountedDraws, target: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Any = None
) -> Tensor:
    return target.copy_(mode.normal(target).mul_(std).add_(mean))


def _exponential_in_place(mode: CountedDraws, target: Tensor, rate: float = 1.0, *, generator: Any = None) -> Tensor:
    return target.copy_(mode.uniform(target).log_().div_(-rate))


def _rand(mode: CountedDraws, shape: Any, *, dtype: Any = None, **place: Any) -> Tensor:
    return mode.uniform(_Form(shape, dtype))


def _randn(mode: CountedDraws, shape: Any, *, dtype: Any = None, **place: Any) -> Tensor:
    return mode.normal(_Form(shape, dtype))


def _rand_like(mode: CountedDraws, like: Tensor, *, dtype: Any = None, **place: Any) -> Tensor:
    return mode.uniform(_Form(like.shape, dtype or like.dtype))


def _randn_like(mode: CountedDraws, like: Tensor, *, dtype: Any = None, **place: Any) -> Tensor:
    return mode.normal(_Form(like.shape, dtype or like.dtype))


_DRAWS: dict[Any, Callable[..., Any]] = {
    _aten.bernoulli.default: _bernoulli,
    _aten.bernoulli.p: _bernoulli_p,
    _aten.bernoulli_.float: _bernoulli_in_place,
    _aten.bernoulli_.Tensor: _bernoulli_in_place,
    _aten.native_dropout.default: _dropout,
    _aten.uniform_.default: _uniform_in_place,
    _aten.normal_.default: _normal_in_place,
    _aten.exponential_.default: _exponential_in_place,
    _aten.rand.default: _rand,
    _aten.rand.generator: _rand,
    _aten.randn.default: _randn,
    _aten.randn.generator: _randn,
    _aten.rand_like.default: _rand_like,
    _aten.randn_like.default: _randn_like,
}
