"""A member of a stack gets what it gets alone, whichever number differs, in the dtype and on the device of the step.

Legend: M members, three here; S steps; R rows; F features; K columns. The numbers of a stack are [M,1,1].
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skbig._utils.component import Component, place, stack
from skbig._utils.random import Noise, step_keys
from skbig._utils.validation import Boolean, Each, Interval, Options
from skbig.components.augmentations import Augmentation
from skbig.components.averages import Average
from skbig.components.clipping import Clipping
from skbig.components.losses.base import Loss
from skbig.components.optimizers.base import Optimizer
from skbig.components.penalties import Penalty
from skbig.components.schedules.base import Progress, Schedule
from skbig.components.schedules.decays import Plateau
from skbig.networks import Network, TrainingPass
from tests.shipped import shipped

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
# Privacy is a law of whole steps, and has tests of its own.
SHIPPED = shipped(without="privacy")
ALL = slice(0, 3)


class OnlyHere(TorchDispatchMode):
    """Stands for an accelerator: no value is looked at, and no tensor of the host takes part."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        assert all(tensor.device.type == "meta" for tensor in tensors), f"{operation} takes from the host"
        assert operation is not torch.ops.aten._local_scalar_dense.default
        return result


@dataclass(frozen=True)
class Place:
    """Where a step is computed: in which dtype, and on the CPU or beside it."""

    dtype: torch.dtype = torch.float64
    device: str = "cpu"

    def put(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else None, copy=True)

    def watched(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.device == "cpu" else OnlyHere()

    def stacked(self, members: list[Component]) -> Component:
        """Return the members in one, its numbers where the engine has them."""
        together = stack(members)
        if isinstance(together, Schedule | Average):
            return together
        in_double = isinstance(together, Optimizer | Network)
        return place(together, torch.empty((), dtype=torch.float64 if in_double else self.dtype, device=self.device))


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, none near zero."""
    normal = torch.from_numpy(np.random.default_rng(seed).normal(size=shape))
    return normal + 0.1 * normal.sign()


# What each kind does with the data of some members; every result has a leading members axis.


def play_loss(loss: Loss, own: slice, where: Place) -> Iterator[Tensor]:
    """Losses per row and their slopes, for every task; a member alone comes without an axis, as in the engine."""
    for raw, y in _tasks(loss):
        parts = [where.put(tensor[own]) for tensor in (raw, y)]
        leaf, target = [part.squeeze(0) for part in parts] if len(parts[0]) == 1 else parts
        leaf.requires_grad_()
        with where.watched():
            value = loss.per_row(leaf, target)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        yield value.detach().view(-1, 9)
        yield slope.view(-1, 9, raw.shape[-1])


def _tasks(loss: Loss) -> list[tuple[Tensor, Tensor]]:
    one, three = 1.5 * numbers(3, 9, 1), 1.5 * numbers(3, 9, 3)
    if not loss.for_classes:
        columns = loss.columns_per_target
        return [(raw.repeat(1, 1, columns), numbers(*raw.shape, seed=1).exp()) for raw in (one, three)]
    signs = [(raw, (numbers(*raw.shape, seed=1) > 0).double()) for raw in (one, three)]
    return [*signs, (three, numbers(*three.shape, seed=1).argmax(-1))]


def play_penalty(penalty: Penalty, own: slice, where: Place) -> Iterator[Tensor]:
    """The value, the gradient and the proximal step, for one strength of all and for one each."""
    weight = where.put(numbers(3, 1, 7)[own])
    strengths = where.put(torch.tensor([0.0, 0.1, 0.4], dtype=torch.float64)[own].view(-1, 1, 1))
    with where.watched():
        yield penalty.value(weight)
        for strength in (0.3, strengths):
            gradient, moved = torch.ones_like(weight), weight.clone()
            penalty.add_gradient(gradient, weight, strength)
            penalty.shrink(moved, strength)
            yield from (gradient, moved)


def play_optimizer(optimizer: Optimizer, own: slice, where: Place) -> Iterator[Tensor]:
    """Parameters and reach over some steps of given gradients, with rates of their own."""
    steps = torch.arange(1, 6, dtype=torch.float64).view(-1, 1, 1, 1)
    rates = torch.tensor([0.01, 0.02, 0.05], dtype=torch.float64)[own].view(-1, 1, 1)
    alone = optimizer if where.device == "cpu" else _brought_home(optimizer)
    table = alone.factors(steps)
    for shape in ((3, 4, 3), (3, 1, 5)):
        param = where.put(numbers(*shape)[own])
        state = optimizer.init(param)
        for s in range(len(steps)):
            factors, rate = tuple(where.put(column[s]) for column in table), where.put(rates)
            gradient = where.put(numbers(*shape, seed=s + 1)[own])
            with where.watched():
                optimizer.update(param, gradient, state, rate, factors)
                reach = optimizer.reach(state, factors)
            assert not isinstance(reach, Tensor) or reach.dtype == where.dtype
            yield param.clone()
            yield (reach if isinstance(reach, Tensor) else torch.full_like(param, reach)).expand_as(param)


def _brought_home(optimizer: Optimizer) -> Optimizer:
    """Return a stack of the same shape on the host: tensors beside it have no numbers."""
    values = {
        name: tuple(map(_of_a_half, value)) if isinstance(value, tuple) else _of_a_half(value)
        for name, value in optimizer.get_params().items()
    }
    return optimizer.replace(**values)


def _of_a_half(value: Any) -> Any:
    return torch.full(value.shape, 0.5, dtype=torch.float64) if isinstance(value, Tensor) else value


def play_clipping(clipping: Clipping, own: slice, where: Place) -> Iterator[Tensor]:
    """Gradients of several sizes."""
    for size in (0.0, 0.01, 1.0, 100.0):
        grads = [where.put(size * numbers(3, *shape)[own]) for shape in ((4, 3), (1, 3))]
        norm = torch.cat([grad.flatten(1) for grad in grads], 1).norm(dim=1).view(-1, 1, 1)
        with where.watched():
            clipping.apply(grads, norm if clipping.needs_norm else None)
        yield from grads


def play_augmentation(augmentation: Augmentation, own: slice, where: Place) -> Iterator[Tensor]:
    """Changed rows, and how their targets are blended."""
    uniform = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)[own].view(1, -1, 1, 1)
    home = augmentation if where.device == "cpu" else stack([type(augmentation)()] * 3)
    factors = tuple(where.put(factor.expand(1, uniform.shape[1], 1, 1)[0]) for factor in home.factors(uniform))
    X, keys = where.put(numbers(3, 20, 4)[own]), torch.from_numpy(step_keys([5, 6, 7][own], 0, 1)[0]).to(where.device)
    with where.watched():
        changed, mix = augmentation.apply(X, Noise(keys), factors)
    yield changed
    if mix is not None:
        yield from (mix.share, mix.partner.to(where.dtype))


def play_schedule(schedule: Schedule, own: slice, where: Place) -> Iterator[Tensor]:
    """The multipliers of a training of forty epochs, and what becomes of rates when it stalls."""
    step = torch.arange(80, dtype=torch.float64).view(-1, 1, 1, 1)
    epoch = (step / 2).floor()
    multiplier = schedule.multiplier(Progress(step / 80, (step + 1) / 80, epoch, step, epoch * 37))
    yield multiplier.expand(80, own.stop - own.start, 1, 1).transpose(0, 1)
    if isinstance(schedule, Plateau):
        for size, stalled in itertools.product((1e-9, 0.1, 2.0, 9.0), (0, 1, 2, 11)):
            rate = torch.tensor([size, size / 2, size / 3], dtype=torch.float64)[own]
            yield schedule.reduce(rate, torch.full_like(rate, stalled, dtype=torch.int64))
            yield schedule.exhausted(rate).double()


def play_average(average: Average, own: slice, where: Place) -> Iterator[Tensor]:
    """The shares of some steps."""
    del where
    share = average.share(torch.tensor([1.0, 2.0, 50.0, 10_000.0], dtype=torch.float64).view(-1, 1, 1, 1))
    yield share.expand(4, own.stop - own.start, 1, 1).transpose(0, 1)


def play_network(network: Network, own: slice, where: Place) -> Iterator[Tensor]:
    """Raw predictions, running statistics and gradients of a training pass, and a prediction after it."""
    built, seeds = network.of_shape(4, 2), [5, 6, 7][own]
    keys = torch.from_numpy(step_keys(seeds, 0, 1)[0]).to(where.device)
    share = where.put(torch.full((len(seeds), 9), 1 / 9, dtype=torch.float64))
    X = where.put(numbers(3, 9, 4)[own])
    weights = {name: where.put(torch.from_numpy(value)) for name, value in built.initial(seeds).items()}
    moments = built.initial_statistics(len(seeds))
    statistics = {name: where.put(torch.from_numpy(value)) for name, value in moments.items()}
    leaves = {name: value.requires_grad_() for name, value in weights.items()}
    with where.watched():
        raw = built.forward(leaves, statistics, X, TrainingPass(Noise(keys), share))
        gradients = torch.autograd.grad(raw.square().sum(), list(leaves.values()))
        yield from (raw.detach(), *statistics.values(), *gradients)
        yield built.forward(weights, statistics, X, None).detach()


PLAYS: dict[type[Component], Callable[[Any, slice, Place], Iterator[Tensor]]] = {
    Loss: play_loss,
    Penalty: play_penalty,
    Optimizer: play_optimizer,
    Clipping: play_clipping,
    Augmentation: play_augmentation,
    Schedule: play_schedule,
    Average: play_average,
    Network: play_network,
}


def play(component: Component, own: slice, where: Place) -> list[Tensor]:
    (run,) = [run for interface, run in PLAYS.items() if isinstance(component, interface)]
    return list(run(component, own, where))


# The stacks: every field that varies, in every form of its component.


def three_values(interval: Interval, default: float) -> list[float]:
    """Return legal numbers: the ends of the range, where they belong to it, and one within."""
    low, high = interval.low, interval.low + 3.0 if interval.high is None else interval.high
    low = low if interval.closed in ("both", "left") else low + 0.05
    high = high if interval.high is None or interval.closed in ("both", "right") else high - 0.05
    within = default if low < default < high else (low + high) / 2
    return [low, within, high]


def changes_of(field: Any, default: Any) -> dict[str, list[Any]]:
    """Return, by name, what three members may have in a field: each item of a tuple by itself, and all at once."""
    allowed = field.metadata["allowed"][0]
    if isinstance(allowed, Interval):
        return {field.name: three_values(allowed, default)}
    assert isinstance(allowed, Each)
    columns = [three_values(allowed.item, item) for item in default]
    single = {
        f"{field.name}[{i}]": [(*default[:i], value, *default[i + 1 :]) for value in column]
        for i, column in enumerate(columns)
    }
    return {**single, field.name: list(zip(*(columns[0], columns[1][::-1]), strict=True))}


def switches(component: Component) -> dict[str, tuple[Any, ...]]:
    """Return what each switch of a component may be."""
    choices = {}
    for field in dataclasses.fields(component):
        constraint = next(iter(field.metadata["allowed"]), None)
        if isinstance(constraint, Boolean):
            choices[field.name] = (False, True)
        elif isinstance(constraint, Options):
            # bfloat16 rounds matrices apart that differ in the last bit, as those of one member and of several do.
            choices[field.name] = tuple(value for value in constraint.values if value != "bfloat16")
    return choices


def forms(component: Component) -> list[Component]:
    """Return the component in every combination of its switches."""
    choices = switches(component)
    settings = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]
    return [component.replace(**setting) for setting in settings]


def is_everyday(form: Component) -> bool:
    """Whether all switches are in the same place, counted round and round: so each is met in each of its places."""
    choices = switches(form)
    n_places = max(map(len, choices.values()), default=1)
    return any(
        all(getattr(form, name) == values[i % len(values)] for name, values in choices.items()) for i in range(n_places)
    )


def stacks_of(component: Component) -> Iterator[tuple[str, list[Component]]]:
    """Yield three members that differ in one number, for each; and in all numbers, zeros beside others."""
    fields = [field for field in dataclasses.fields(component) if field.metadata.get("varies")]
    changes = {field.name: changes_of(field, getattr(component, field.name)) for field in fields}
    for name, options in changes.items():
        for what, values in options.items():
            yield what, [component.replace(**{name: value}) for value in values]
    if len(fields) > 1:
        rolled = {
            name: [options[name][(m + i) % 3] for m in range(3)] for i, (name, options) in enumerate(changes.items())
        }
        yield "all", [component.replace(**{name: rolled[name][m] for name in rolled}) for m in range(3)]


def name_of(component: Component) -> str:
    switches = [str(value) for value in component.get_params().values() if isinstance(value, bool | str)]
    return "-".join([type(component).__name__, *switches])


FORMS = [form for cls in SHIPPED for form in forms(cls())]
STACKS = {f"{name_of(form)}-{what}": members for form in FORMS for what, members in stacks_of(form)}
OF_OTHER_FORMS = {f"{name_of(form)}-{what}" for form in FORMS if not is_everyday(form) for what, _ in stacks_of(form)}


def case(name: str, *values: Any) -> Any:
    marks = [pytest.mark.thorough] if name in OF_OTHER_FORMS else []
    return pytest.param(STACKS[name], *values, marks=marks, id="-".join([name, *map(str, values)]))


every_stack = pytest.mark.parametrize("members", [case(name) for name in STACKS])
IN_DTYPES = [
    case(name, dtype)
    for name, members in STACKS.items()
    for dtype in TOLERANCE
    if dtype == torch.float64 or not isinstance(members[0], Schedule | Average)
]


@pytest.mark.crossed
@pytest.mark.parametrize(("members", "dtype"), IN_DTYPES)
def test_a_member_of_a_stack_gets_what_it_gets_alone(members: list[Component], dtype: torch.dtype) -> None:
    """Each of three members has the results, in the dtype of the step, that it has alone with plain floats."""
    where, tolerance = Place(dtype), TOLERANCE[dtype]
    together = play(where.stacked(members), ALL, where)
    assert all(result.dtype == dtype and len(result) == 3 for result in together)
    for m, member in enumerate(members):
        for result, alone in zip(together, play(member, slice(m, m + 1), where), strict=True):
            torch.testing.assert_close(result[m : m + 1], alone, rtol=tolerance, atol=tolerance)


@every_stack
def test_a_stack_leaves_the_host_alone(members: list[Component]) -> None:
    """On another device a step looks at no value, and takes nothing from the host: it may be captured and replayed."""
    where = Place(torch.float32, "meta")
    results = play(where.stacked(members), ALL, where)
    assert all(len(result) == 3 for result in results)


@pytest.mark.parametrize("members", [m for m in STACKS.values() if isinstance(m[0], Loss)], ids=str)
def test_a_stack_of_losses_keeps_bfloat16(members: list[Component]) -> None:
    """Of a raw prediction in bfloat16 the losses and slopes are bfloat16, and about what they are in float64."""
    rough, exact = Place(torch.bfloat16), Place(torch.float64)
    results = zip(play(rough.stacked(members), ALL, rough), play(exact.stacked(members), ALL, exact), strict=True)
    for result, expected in results:
        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result.double(), expected, rtol=0.1, atol=0.1)


@every_stack
def test_a_stack_is_legal(members: list[Component]) -> None:
    """The members of these tests are within their ranges, alone and together."""
    for component in (*members, stack(members)):
        component.check()


def test_every_number_may_differ() -> None:
    """Members of one stack may differ in every number of every component, but for counts and what is named here."""
    fixed = {
        f"{cls.name}.{field.name}"
        for cls in SHIPPED
        for field in dataclasses.fields(cls)
        for constraint in field.metadata["allowed"]
        if isinstance(constraint, Interval | Each) and not field.metadata["varies"]
    }
    counts = {"lbfgs.history_size", "lbfgs.max_fun", "muon.ns_steps", "mlp.hidden_layer_sizes"}
    counts |= {"mlp.monotonic_cst", "low_rank_mlp.hidden_layer_sizes", "low_rank_mlp.rank"}  # of other shapes, too
    # What encodes a table makes shapes, or the first values of a layer.
    counts |= {name for name in fixed if name.startswith("tabular_mlp.")} - {"tabular_mlp.dropout"}
    # The search of a line compares its change on the host; and a product takes its coefficients as plain floats.
    assert fixed == counts | {"lbfgs.tolerance_change", "muon.ns_coefficients"}
