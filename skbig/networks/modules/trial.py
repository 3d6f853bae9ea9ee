"""What a module does is found out by a trial with a few rows, before anything is trained.

Legend: M members, two here; R rows, K columns of the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from skbig._utils.operations import DispatchMode, draws, looks
from skbig._utils.random import Noise, step_keys
from skbig.networks.layer import TrainingPass
from skbig.networks.modules.copies import ModuleCopies
from skbig.networks.modules.draws import CountedDraws
from skbig.networks.modules.passes import pass_of_one, passes_at_once

_aten = torch.ops.aten
ROWS = 7
"""Rows of a trial: a number that is seldom the length of another axis."""

SEEDS = (0, 1)


@dataclass(frozen=True)
class Facts:
    """What a trial has told of a module.

    Attributes
    ----------
    n_columns : int
        Columns of its result.
    draws : bool
        Whether it draws random numbers while training.
    couples_rows : bool
        Whether, while training, what a row comes to depends on the other rows of its batch.
    stacks : bool
        Whether `vmap` computes several members at once.
    replays : bool
        Whether its operations are the same whatever the values, and all torch's own.
    unused : tuple of str
        Parameters that the result does not depend on.
    written : tuple of str
        Buffers that it changes when it predicts.
    channels_last : tuple of str
        Parameters of convolutions over two axes, where it comes to the same if their channels lie last in memory.
    width, n_units, n_products : int
        Numbers of its largest tensor, of all of them, and products: for one row.
    """

    n_columns: int
    draws: bool = False
    couples_rows: bool = False
    stacks: bool = True
    replays: bool = True
    unused: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    channels_last: tuple[str, ...] = ()
    width: int = 1
    n_units: int = 1
    n_products: int = 1


class Trial:
    """A few rows go through a module.

    Parameters
    ----------
    copies : ModuleCopies
    name : str
        What errors call the module.
    parameters, statistics : mapping of Tensor
        What is trained, and what is not.
    rows : Tensor of shape (R, *shape)
    frozen : sequence of str
        What is not trained and is a parameter.
    """

    def __init__(
        self,
        copies: ModuleCopies,
        name: str,
        parameters: Mapping[str, Tensor],
        statistics: Mapping[str, Tensor],
        rows: Tensor,
        frozen: Sequence[str] = (),
    ) -> None:
        self._copies, self._name, self._rows, self._frozen = copies, name, rows, frozen
        self._parameters, self._statistics = parameters, statistics

    def facts(self) -> Facts:
        """Try, and return what has been found out.

        Raises
        ------
        ValueError
            When the module fails, or does what cannot be trained or predicted with.
        """
        facts = self._predict()
        return self._stack(self._lay_out(self._couple(self._train(facts))))

    def _predict(self) -> Facts:
        watch, statistics = _Watch(may_draw=False), _clones(self._statistics)
        with torch.no_grad(), watch:
            raw = self._pass({**self._parameters, **statistics}, self._rows, None)
        written = [name for name, value in statistics.items() if value._version]
        half = len(self._rows) // 2
        with torch.no_grad():
            some = self._pass({**self._parameters, **_clones(self._statistics)}, self._rows[:half], None)
        if not _alike(some, raw[:half]):
            raise ValueError(
                f"What {self._name} predicts for a row depends on the rows that are predicted with it, so it would "
                "change with their number. (A batch norm needs running moments: track_running_stats=True.)"
            )
        n_rows = len(self._rows)
        return Facts(
            1 if raw.dim() == 1 else raw.shape[1],
            replays=not watch.looks,
            written=tuple(written),
            width=-(-watch.width // n_rows),
            n_units=-(-watch.n_units // n_rows),
            n_products=-(-watch.n_products // n_rows),
        )

    def _train(self, facts: Facts) -> Facts:
        """Find out what it draws, which parameters it uses, and whether it leaves torch."""
        leaves = {name: value.detach().clone().requires_grad_() for name, value in self._parameters.items()}
        watch, leaving, training = _Watch(), _Leaving(), self._training(len(self._rows))
        assert training.noise is not None
        with watch, leaving, CountedDraws(training.noise, len(self._rows), stacked=False) as counted:
            with torch.enable_grad():
                raw = self._pass({**leaves, **_clones(self._statistics)}, self._rows, training)
            if not raw.requires_grad:
                raise ValueError(f"The result of {self._name} depends on no parameter, so there is nothing to train.")
            gradients = torch.autograd.grad(raw.sum(), list(leaves.values()), allow_unused=True)
        unused = tuple(name for name, each in zip(leaves, gradients, strict=True) if each is None)
        replays = facts.replays and not watch.looks and not leaving.left
        return replace(facts, draws=counted.count > 0, replays=replays, unused=unused)

    def _couple(self, facts: Facts) -> Facts:
        """Compare some rows with the same among more."""
        half = len(self._rows) // 2
        with torch.no_grad():
            whole = self._again(self._rows, facts)
            some = self._again(self._rows[:half], facts)
        return replace(facts, couples_rows=not _alike(some, whole[:half]))

    def _again(self, rows: Tensor, facts: Facts) -> Tensor:
        tensors = {**self._parameters, **_clones(self._statistics)}
        return self._pass(tensors, rows, self._training(len(rows)), facts.draws)

    def _lay_out(self, facts: Facts) -> Facts:
        """Compare parameters whose channels lie last with those as they are: some modules take a view of a result."""
        tensors = {**self._parameters, **{name: self._statistics[name] for name in self._frozen}}
        names = tuple(name for name, tensor in tensors.items() if tensor.dim() == 4 and tensor.is_floating_point())
        if not names:
            return facts
        try:
            plain = self._slopes(facts, ())
            laid_out = self._slopes(facts, names)
        except Exception:  # whatever it is that the module does with the result of a convolution
            return facts
        alike = all(_alike(one, other) for one, other in zip(laid_out, plain, strict=True))
        return replace(facts, channels_last=names if alike else ())

    def _slopes(self, facts: Facts, channels_last: tuple[str, ...]) -> list[Tensor]:
        """Return what it predicts, what it makes of the rows while it trains, and all gradients of that in one."""
        leaves = {name: value.detach().clone().requires_grad_() for name, value in self._parameters.items()}

        def passed(parameters: Mapping[str, Tensor], training: TrainingPass | None, draws: bool) -> Tensor:
            tensors = {**parameters, **_clones(self._statistics)}
            return pass_of_one(self._copies, tensors, self._rows, training, draws, channels_last)

        with torch.no_grad():
            predicted = passed(_clones(self._parameters), None, False)
        with torch.enable_grad():
            raw = passed(leaves, self._training(len(self._rows)), facts.draws)
        used = [leaf for name, leaf in leaves.items() if name not in facts.unused]
        gradients = torch.autograd.grad(raw.square().sum(), used)
        return [predicted, raw.detach(), torch.cat([gradient.flatten() for gradient in gradients])]

    def _stack(self, facts: Facts) -> Facts:
        """Compare two members with each alone."""
        parameters = {name: torch.stack([value, 0.9 * value]) for name, value in self._parameters.items()}
        statistics = {name: torch.stack([value] * 2) for name, value in self._statistics.items()}
        X, training = torch.stack([self._rows] * 2), self._training(len(self._rows), SEEDS)
        watch = _Watch()
        try:
            with torch.no_grad(), watch:
                raw = passes_at_once(self._copies, {**parameters, **statistics}, X, training, facts.draws)
            right = all(self._is_as_alone(m, raw, parameters, statistics, facts) for m in range(len(SEEDS)))
        except Exception:  # whatever it is that vmap cannot do
            right = False
        return replace(facts, stacks=right)

    def _is_as_alone(
        self, m: int, raw: Tensor, parameters: Mapping[str, Tensor], statistics: Mapping[str, Tensor], facts: Facts
    ) -> bool:
        own = _clones(self._statistics)
        tensors = {**{name: value[m] for name, value in parameters.items()}, **own}
        with torch.no_grad():
            alone = pass_of_one(
                self._copies, tensors, self._rows, self._training(len(self._rows), SEEDS[m : m + 1]), facts.draws
            )
        return _alike(raw[m], alone) and all(_alike(statistics[name][m], value) for name, value in own.items())

    def _pass(
        self, tensors: Mapping[str, Tensor], rows: Tensor, training: TrainingPass | None, draws: bool = False
    ) -> Tensor:
        try:
            raw = pass_of_one(self._copies, tensors, rows, training, draws)
        except Exception as error:
            doing = "predicts" if training is None else "trains"
            raise ValueError(
                f"{self._name} failed when it {doing}, on X of shape {tuple(rows.shape)} and "
                f"{str(rows.dtype).removeprefix('torch.')}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(raw, Tensor) or raw.shape[:1] != rows.shape[:1] or raw.dim() > 2:
            what = f"a tensor of shape {tuple(raw.shape)}" if isinstance(raw, Tensor) else f"a {type(raw).__name__}"
            raise ValueError(
                f"forward of {self._name} must return a tensor (rows, outputs). For {len(rows)} rows it returned "
                f"{what}."
            )
        return raw

    def _training(self, n_rows: int, seeds: tuple[int, ...] = SEEDS[:1]) -> TrainingPass:
        shape = (n_rows,) if len(seeds) == 1 else (len(seeds), n_rows)
        like = next(iter(self._parameters.values()))
        noise = Noise(torch.from_numpy(step_keys(seeds, 0, 1)[0]))
        return TrainingPass(noise, like.new_full(shape, 1 / n_rows), equal=True)


class _Watch(DispatchMode):
    """Sees every operation: what it costs, and whether it looks at values; and refuses those that draw.

    Attributes
    ----------
    looks : bool
    width, n_units, n_products : int
    """

    def __init__(self, *, may_draw: bool = True) -> None:
        super().__init__()
        self._may_draw, self.looks = may_draw, False
        self.width, self.n_units, self.n_products = 1, 0, 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if not self._may_draw and draws(operation, args, kwargs):
            raise ValueError(
                f"it draws random numbers by {operation.overloadpacket} although it does not train. Let it draw where "
                "self.training is true only, as by F.dropout(X, p, training=self.training)."
            )
        self.looks |= looks(operation, args)
        result = operation(*args, **kwargs)
        for made in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(made, Tensor):
                self._count(operation, args, made)
        return result

    def _count(self, operation: Any, args: tuple[Any, ...], made: Tensor) -> None:
        self.width = max(self.width, made.numel())
        self.n_units += made.numel()
        inner = _INNER.get(operation.overloadpacket) if isinstance(operation, torch._ops.OpOverload) else None
        self.n_products += made.numel() * (1 if inner is None else inner(args))


_INNER = {
    _aten.mm: lambda args: args[0].shape[-1],
    _aten.bmm: lambda args: args[0].shape[-1],
    _aten.addmm: lambda args: args[1].shape[-1],
    _aten.baddbmm: lambda args: args[1].shape[-1],
    _aten.convolution: lambda args: args[1].numel() // args[1].shape[0],
}
"""How many products make one number of the result."""


class _Leaving(TorchFunctionMode):
    """Notes whether values leave torch."""

    def __init__(self) -> None:
        super().__init__()
        self.left = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left |= getattr(function, "__name__", "") in ("numpy", "__array__", "tolist", "__dlpack__", "data_ptr")
        return function(*args, **(kwargs or {}))


def _clones(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two results are equal but for rounding."""
    if one.shape != other.shape:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    scale = float(other.abs().max()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * scale + 1e-12, equal_nan=True)
