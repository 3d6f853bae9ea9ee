"""An optimizer that torch or scikit-learn has takes the steps of theirs, whatever way its parameters are laid out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from skbig._utils import component
from skbig.components.optimizers.adagrad import Adagrad
from skbig.components.optimizers.adam import Adam, AdamW, NAdam
from skbig.components.optimizers.base import Optimizer
from skbig.components.optimizers.lbfgs import LBFGS
from skbig.components.optimizers.lion import Lion
from skbig.components.optimizers.muon import Muon
from skbig.components.optimizers.rmsprop import RMSprop
from skbig.components.optimizers.sgd import SGD

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
RATES = [0.02 / (1 + 0.1 * step) for step in range(25)]

SETTINGS = [
    SGD(momentum=0.0, nesterov=False),
    SGD(momentum=0.0, weight_decay=0.1, nesterov=False),
    SGD(momentum=0.9, nesterov=False),
    SGD(momentum=0.9, dampening=0.3, weight_decay=0.1, nesterov=False),
    SGD(momentum=0.9, nesterov=True),
    SGD(momentum=0.0, dampening=0.5, nesterov=False),
    Adagrad(),
    Adagrad(lr_decay=0.1, initial_accumulator_value=0.2, eps=1e-3, weight_decay=0.1),
    RMSprop(),
    RMSprop(alpha=0.9, eps=1e-3, momentum=0.8, weight_decay=0.1),
    RMSprop(centered=True),
    RMSprop(centered=True, momentum=0.5),
    Adam(),
    Adam(betas=(0.5, 0.9), eps=1e-2, weight_decay=0.1),
    Adam(betas=(0.9, 0.5), amsgrad=True),
    AdamW(),
    AdamW(betas=(0.8, 0.6), eps=1e-2, weight_decay=0.5, amsgrad=True),
    NAdam(),
    NAdam(betas=(0.7, 0.9), eps=1e-2, weight_decay=0.1, momentum_decay=0.5),
    NAdam(weight_decay=0.5, decoupled_weight_decay=True),
    Muon(),
    Muon(momentum=0.5, nesterov=False, ns_steps=3, ns_coefficients=(2.0, -1.5, 0.5), eps=1e-3),
    Muon(adjust_rate="match_rms_adamw", weight_decay=0.5),
]
# Members of one stack: every number differs, and zeros stand beside others.
STACKS = [
    [
        SGD(momentum=m, dampening=d, weight_decay=w, nesterov=False)
        for m, d, w in [(0.0, 0.4, 0.1), (0.5, 0.0, 0.0), (0.9, 0.3, 0.2)]
    ],
    [SGD(momentum=m, nesterov=True) for m in (0.0, 0.5, 0.9)],
    [
        SGD(momentum=m, dampening=d, rate_in_velocity=True, nesterov=False)
        for m, d in [(0.0, 0.4), (0.5, 0.2), (0.9, 0.0)]
    ],
    [SGD(momentum=m, nesterov=True, rate_in_velocity=True) for m in (0.0, 0.5, 0.9)],
    [Adagrad(*numbers) for numbers in [(0.0, 0.0, 1e-10, 0.0), (0.1, 0.2, 1e-3, 0.1), (0.2, 0.1, 1e-2, 0.2)]],
    [RMSprop(a, e, m, weight_decay=w) for a, e, m, w in [(0.9, 1e-8, 0, 0), (0.99, 1e-3, 0.5, 0), (0.5, 0.1, 0.9, 1)]],
    [RMSprop(alpha, centered=True) for alpha in (0.9, 0.99, 0.5)],
    [Adam((b, 0.9 - b / 9), e, w) for b, e, w in [(0.9, 1e-8, 0.0), (0.5, 1e-3, 0.1), (0.0, 1e-2, 0.2)]],
    [Adam(eps=eps, amsgrad=True, eps_hat=True) for eps in (1e-8, 1e-3, 1e-2)],
    [AdamW((b, 0.9 - b / 9), e, w) for b, e, w in [(0.9, 1e-8, 0.0), (0.5, 1e-3, 0.1), (0.0, 1e-2, 0.2)]],
    [NAdam((b, 0.9), e, w, d) for b, e, w, d in [(0.9, 1e-8, 0, 0.0), (0.5, 1e-3, 0.1, 0.5), (0.0, 1e-2, 0.2, 0.1)]],
    [NAdam(weight_decay=w, decoupled_weight_decay=True) for w in (0.0, 0.1, 0.2)],
    [Lion(betas, w) for betas, w in [((0.9, 0.99), 0.0), ((0.5, 0.9), 0.1), ((0.0, 0.5), 0.2)]],
    [Muon(m, eps=e, weight_decay=w) for m, e, w in [(0.9, 1e-7, 0.0), (0.5, 1e-2, 0.1), (0.0, 1e-3, 0.2)]],
    [Muon(adam_betas=(b, 0.9), adam_eps=e, ns_precision="parameter") for b, e in [(0.9, 1e-8), (0.5, 0.1), (0, 1.0)]],
]
ALL = [*SETTINGS, SGD(momentum=0.9, nesterov=True, rate_in_velocity=True), Adam(eps_hat=True), Lion()]
TORCH = {SGD: "SGD", Adagrad: "Adagrad", RMSprop: "RMSprop", Adam: "Adam", AdamW: "AdamW", NAdam: "NAdam", Muon: "Muon"}
NOT_IN_TORCH = ("rate_in_velocity", "eps_hat", "ns_precision", "adam_betas", "adam_eps")


class Problem:
    """A small network with two matrices and two intercepts, for each of M members its own data."""

    shapes = ((4, 6), (1, 6), (6, 3), (1, 3))

    def __init__(self, n_members: int, dtype: torch.dtype) -> None:
        random = np.random.default_rng(0)
        self.X, self.y, self.flat = (
            torch.tensor(random.normal(size=(n_members, *shape)), dtype=dtype) for shape in [(20, 4), (20, 3), (1, 51)]
        )

    def views(self, flat: Tensor) -> list[Tensor]:
        sizes = [n * k for n, k in self.shapes]
        return [part.unflatten(2, s).squeeze(1) for part, s in zip(flat.split(sizes, 2), self.shapes, strict=True)]

    def gradients(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        first, shift, second, level = (parameter.detach().requires_grad_() for parameter in parameters)
        with torch.enable_grad():
            error = torch.tanh(self.X @ first + shift) @ second + level - self.y
            loss = error.square().mean((1, 2)).sum()
        return list(torch.autograd.grad(loss, [first, shift, second, level]))

    def member(self, m: int) -> Problem:
        alone = Problem(1, self.X.dtype)
        alone.X, alone.y, alone.flat = (tensor[m : m + 1].clone() for tensor in (self.X, self.y, self.flat))
        return alone


class Training:
    """Runs an optimizer as the engine does: factors for many steps at once, parameters in one or in several tensors."""

    def __init__(self, optimizer: Optimizer, problem: Problem, in_one: bool = False) -> None:
        self.optimizer, self.problem, self.in_one = optimizer, problem, in_one
        self.flat = problem.flat.clone()
        self.parameters = [self.flat] if in_one else problem.views(self.flat)
        self.states = [optimizer.init(parameter) for parameter in self.parameters]
        self.n_steps = 0

    def run(self, rates: Sequence[Any]) -> Iterator[Tensor]:
        """Yield all parameters (M, 1, P) after each step."""
        steps = torch.arange(self.n_steps + 1, self.n_steps + len(rates) + 1, dtype=torch.float64).view(-1, 1, 1, 1)
        table = self.optimizer.factors(steps)
        for s, rate in enumerate(rates):
            gradients = self.problem.gradients(self.problem.views(self.flat))
            if self.in_one:
                gradients = [torch.cat([gradient.flatten(1) for gradient in gradients], 1).unsqueeze(1)]
            factors = tuple(column[s].to(self.flat) for column in table)
            for parameter, gradient, state in zip(self.parameters, gradients, self.states, strict=True):
                self.optimizer.update(parameter, gradient, state, torch.as_tensor(rate).to(self.flat), factors)
            self.n_steps += 1
            yield self.flat.clone()

    def end(self, rates: Sequence[Any]) -> Tensor:
        return list(self.run(rates))[-1]


def short(value: Any) -> str:
    """Name a setting by what is not a default."""
    value = value[-1] if isinstance(value, list) else value
    changed = [f.name for f in dataclasses.fields(value) if getattr(value, f.name) != f.default]
    return "-".join([type(value).__name__, *changed])


def column(rate: float) -> Tensor:
    return torch.full((1, 1, 1), rate, dtype=torch.float64)


def torch_twin(ours: Optimizer, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Return torch's optimizer of the same name and hyperparameters."""
    if not hasattr(torch.optim, TORCH[type(ours)]):
        pytest.skip(f"this torch has no {TORCH[type(ours)]}")
    keywords = {name: value for name, value in ours.get_params().items() if name not in NOT_IN_TORCH}
    if "adjust_rate" in keywords:
        keywords["adjust_lr_fn"] = keywords.pop("adjust_rate")
    return getattr(torch.optim, TORCH[type(ours)])(parameters, lr=1.0, **keywords)


def twins_of(ours: Optimizer, parameters: list[Tensor]) -> list[torch.optim.Optimizer]:
    """Return one optimizer of torch, or for Muon two: it leaves what is not a matrix to AdamW."""
    if not isinstance(ours, Muon):
        return [torch_twin(ours, parameters)]
    adam = AdamW(ours.adam_betas, ours.adam_eps, ours.weight_decay)
    return [torch_twin(ours, parameters[::2]), torch_twin(adam, parameters[1::2])]


@pytest.mark.crossed
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("ours", SETTINGS, ids=short)
def test_steps_are_those_of_torch(ours: Optimizer, dtype: torch.dtype) -> None:
    """An optimizer that torch has takes torch's steps, one by one, while the rate changes."""
    problem = Problem(1, dtype)
    # torch keeps a matrix as (out, in), which matters where its shape does.
    parameters = [view[0].T.clone() for view in problem.views(problem.flat)]
    twins = twins_of(ours, parameters)
    for rate, mine in zip(RATES, Training(ours, problem).run([column(rate) for rate in RATES]), strict=True):
        gradients = problem.gradients([parameter.T.unsqueeze(0) for parameter in parameters])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient[0].T.clone()
        for twin in twins:
            twin.param_groups[0]["lr"] = rate
            twin.step()
        theirs = torch.cat([parameter.T.flatten() for parameter in parameters])
        # A step is as long for a small gradient, and how that is rounded differs from one torch to the next.
        tolerance = 1e-5 if dtype == torch.float32 else TOLERANCE[dtype]
        torch.testing.assert_close(mine.flatten(), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_lion_is_the_scalar_algorithm_of_its_paper(weight_decay: float) -> None:
    """Lion moves each number as a loop over numbers, written from the paper's algorithm 2, moves it."""
    problem = Problem(1, torch.float64)
    values, memory = problem.flat.flatten().tolist(), [0.0] * 51
    training = Training(Lion(betas=(0.8, 0.9), weight_decay=weight_decay), problem)
    for rate, mine in zip(RATES, training.run([column(rate) for rate in RATES]), strict=True):
        now = problem.views(torch.tensor(values, dtype=torch.float64).view(1, 1, -1))
        gradient = torch.cat([part.flatten() for part in problem.gradients(now)]).tolist()
        for i, g in enumerate(gradient):
            blend = 0.8 * memory[i] + 0.2 * g
            sign = (blend > 0) - (blend < 0)
            values[i] = values[i] - rate * (sign + weight_decay * values[i])
            memory[i] = 0.9 * memory[i] + 0.1 * g
        np.testing.assert_allclose(mine.flatten().numpy(), values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "make"),
    [
        (Adam(eps=1e-3, eps_hat=True), lambda start: AdamOptimizer([start], epsilon=1e-3)),
        (Adam(betas=(0.7, 0.9), eps_hat=True), lambda start: AdamOptimizer([start], beta_1=0.7, beta_2=0.9)),
        (
            SGD(momentum=0.0, rate_in_velocity=True, nesterov=False),
            lambda start: SGDOptimizer([start], momentum=0.0, nesterov=False),
        ),
        (
            SGD(momentum=0.9, rate_in_velocity=True, nesterov=False),
            lambda start: SGDOptimizer([start], momentum=0.9, nesterov=False),
        ),
        (SGD(momentum=0.9, nesterov=True, rate_in_velocity=True), lambda start: SGDOptimizer([start], momentum=0.9)),
    ],
    ids=lambda value: short(value) if isinstance(value, Optimizer) else "",
)
def test_steps_are_those_of_scikit_learn(ours: Optimizer, make: Callable[[np.ndarray], Any]) -> None:
    """The forms that MLPClassifier uses take its steps while the rate changes."""
    problem = Problem(1, torch.float64)
    theirs = problem.flat.numpy().copy()
    twin = make(theirs)
    for rate, mine in zip(RATES, Training(ours, problem).run([column(rate) for rate in RATES]), strict=True):
        twin.learning_rate = twin.learning_rate_init = rate
        gradients = problem.gradients(problem.views(torch.from_numpy(theirs)))
        twin.update_params([theirs], [torch.cat([part.flatten() for part in gradients]).view(1, 1, -1).numpy()])
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", [ours for ours in ALL if ours.elementwise], ids=short)
def test_one_flat_tensor_is_as_good_as_several(optimizer: Optimizer) -> None:
    """An elementwise optimizer gives the same parameters whether they come as one tensor or each by itself."""
    rates = [column(rate) for rate in RATES]
    problem = Problem(2, torch.float64)
    in_one, apart = (Training(optimizer, problem, in_one).end(rates) for in_one in (True, False))
    torch.testing.assert_close(in_one, apart, rtol=1e-12, atol=1e-12)


# bfloat16 rounds gradients apart that differ in the last bit of a float32, so there the law is held in float64.
STACKS_OF_DTYPE = [(stack, torch.float64) for stack in STACKS] + [
    (stack, torch.float32) for stack in STACKS if getattr(stack[0], "ns_precision", "") != "bfloat16"
]


@pytest.mark.crossed
@pytest.mark.parametrize(
    ("members", "dtype"), STACKS_OF_DTYPE, ids=lambda v: short(v) if isinstance(v, list) else str(v)
)
def test_a_member_of_a_stack_trains_as_it_does_alone(members: list[Optimizer], dtype: torch.dtype) -> None:
    """Members with hyperparameters and rates of their own end where each ends alone."""
    problem, scale = Problem(3, dtype), [1.0, 0.5, 2.0]
    rates = [rate * torch.tensor(scale, dtype=torch.float64).view(-1, 1, 1) for rate in RATES]
    together = Training(component.stack(members), problem, members[0].elementwise).end(rates)
    for m, optimizer in enumerate(members):
        alone = Training(optimizer, problem.member(m), optimizer.elementwise)
        expected = alone.end([column(rate * scale[m]) for rate in RATES])
        torch.testing.assert_close(together[m : m + 1], expected, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("optimizer", ALL, ids=short)
def test_a_stored_state_goes_on_exactly(optimizer: Optimizer) -> None:
    """Training that is stored as NumPy arrays and put back ends with the bits of training that never stopped."""
    rates, problem = [column(rate) for rate in RATES], Problem(2, torch.float32)
    whole = Training(optimizer, problem).end(rates)
    first, second = Training(optimizer, problem), Training(optimizer, problem)
    first.end(rates[:11])
    second.flat.copy_(torch.from_numpy(first.flat.numpy().copy()))
    stored = [{name: value.numpy().copy() for name, value in state.items()} for state in first.states]
    second.states = [{name: torch.from_numpy(value) for name, value in state.items()} for state in stored]
    second.n_steps = 11
    assert torch.equal(second.end(rates[11:]), whole)


@pytest.mark.parametrize("optimizer", [*ALL, *map(component.stack, STACKS)], ids=lambda value: type(value).__name__)
def test_factors_of_a_step_do_not_depend_on_the_steps_beside_it(optimizer: Optimizer) -> None:
    """The factors of steps 300 to 336 are the same bits whether they are asked for alone or among a thousand."""
    steps = torch.arange(1, 1001, dtype=torch.float64).view(-1, 1, 1, 1)
    for all_rows, some_rows in zip(optimizer.factors(steps), optimizer.factors(steps[299:336]), strict=True):
        assert torch.equal(all_rows[299:336], some_rows)


@pytest.mark.parametrize("optimizer", ALL, ids=short)
def test_factors_stay_finite_for_a_million_steps(optimizer: Optimizer) -> None:
    """No power of a late step overflows, or divides by zero, or complains."""
    steps = torch.tensor([1.0, 1e3, 1e6], dtype=torch.float64).view(-1, 1, 1, 1)
    with np.errstate(all="raise"):
        assert all(bool(table.isfinite().all()) for table in optimizer.factors(steps))


@pytest.mark.parametrize("optimizer", [*ALL, *map(component.stack, STACKS)], ids=lambda value: type(value).__name__)
def test_an_update_never_looks_at_a_value(optimizer: Optimizer) -> None:
    """An update runs on tensors that have no values, so it may be recorded once and replayed."""
    parameter = torch.empty(3, 5, 4, device="meta")
    table = optimizer.factors(torch.ones(1, 1, 1, 1, dtype=torch.float64))
    factors = tuple(column[0].to(parameter) for column in table)
    rate = torch.empty(1, 1, 1, device="meta")
    optimizer.update(parameter, parameter.clone(), optimizer.init(parameter), rate, factors)


class Count(TorchDispatchMode):
    """Counts the operations that reach torch's kernels."""

    operations = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("optimizer", "budget"),
    [
        (SGD(momentum=0.0, nesterov=False), 1),
        (SGD(momentum=0.0, weight_decay=0.1, nesterov=False), 2),
        (SGD(momentum=0.9, nesterov=False), 3),
        (SGD(momentum=0.9, nesterov=True), 4),
        (SGD(momentum=0.9, nesterov=True, rate_in_velocity=True), 4),
        (Adagrad(), 5),
        (RMSprop(), 6),
        (Adam(), 8),
        (Adam(eps_hat=True), 8),
        (AdamW(), 9),
        (AdamW(weight_decay=0.0), 8),
        (NAdam(), 9),
        (Lion(), 4),
    ],
    ids=lambda value: short(value) if isinstance(value, Optimizer) else str(value),
)
def test_an_update_keeps_to_its_budget_of_operations(optimizer: Optimizer, budget: int) -> None:
    """A step of a small network costs what its operations are many, so none is added unseen, or for a zero."""
    parameter, rate = torch.ones(1, 1, 8), torch.ones(1, 1, 1)
    state = optimizer.init(parameter)
    factors = tuple(column[0].float() for column in optimizer.factors(torch.ones(1, 1, 1, 1, dtype=torch.float64)))
    with Count() as count:
        optimizer.update(parameter, parameter.clone(), state, rate, factors)
    assert count.operations - 1 <= budget  # less the clone


@pytest.mark.parametrize("optimizer", ALL, ids=short)
def test_a_convex_quadratic_goes_down(optimizer: Optimizer) -> None:
    """At its default rate every optimizer lowers a convex quadratic that it does not start at the bottom of."""
    scale = torch.linspace(0.5, 1.5, 12).view(1, 4, 3)
    parameter = torch.ones(1, 4, 3)
    state, rate = optimizer.init(parameter), torch.full((1, 1, 1), optimizer.default_rate)
    table = optimizer.factors(torch.arange(1, 51, dtype=torch.float64).view(-1, 1, 1, 1))
    for s in range(50):
        optimizer.update(parameter, scale * parameter, state, rate, tuple(column[s].float() for column in table))
    assert (scale * parameter.square()).sum() < 0.999 * scale.sum()
    assert parameter.isfinite().all()


@pytest.mark.parametrize(
    "optimizer",
    [
        *(optimizer for optimizer in ALL if optimizer.elementwise),
        SGD(momentum=0.9, dampening=0.5),
        SGD(momentum=0.9, dampening=0.5, rate_in_velocity=True),
        SGD(momentum=0.9, dampening=0.5, nesterov=False, rate_in_velocity=True),
    ],
    ids=short,
)
def test_reach_is_how_far_a_lasting_gradient_moves(optimizer: Optimizer) -> None:
    """After many gradients of one the move of a step is the reach times the rate, which a proximal step builds on."""
    optimizer = optimizer.replace(weight_decay=0.0)
    parameter, rate, count = torch.zeros(1, 1, 3, dtype=torch.float64), column(1e-3), 400
    state = optimizer.init(parameter)
    table = optimizer.factors(torch.arange(1, count + 1, dtype=torch.float64).view(-1, 1, 1, 1))
    for s in range(count):
        before, factors = parameter.clone(), tuple(values[s] for values in table)
        optimizer.update(parameter, torch.ones_like(parameter), state, rate, factors)
    expected = (rate * optimizer.reach(state, factors)).expand_as(parameter)
    torch.testing.assert_close(before - parameter, expected, rtol=0.01, atol=0)


@pytest.mark.parametrize("optimizer", [SGD(momentum=1.0), RMSprop(momentum=1.0)], ids=short)
def test_a_momentum_that_never_fades_has_a_reach(optimizer: Optimizer) -> None:
    """Where a lasting gradient moves a parameter ever faster the reach is finite, so that no strength is no step."""
    parameter = torch.ones(1, 1, 3)
    state = optimizer.init(parameter)
    optimizer.update(parameter, torch.ones_like(parameter), state, column(1e-3).float(), ())
    reach = torch.as_tensor(optimizer.reach(state, ()))
    assert (reach > 1e6).all()
    assert (reach * 0.0 == 0.0).all()


def test_a_constant_gradient_has_no_variance_to_fall_below_zero() -> None:
    """The centered RMSprop stays finite where rounding leaves a variance below zero."""
    parameter, optimizer = torch.zeros(1, 1, 500), RMSprop(alpha=0.5, centered=True)
    gradient, state = torch.rand(1, 1, 500, generator=torch.Generator().manual_seed(0)), optimizer.init(parameter)
    for _ in range(100):
        optimizer.update(parameter, gradient.clone(), state, torch.full((1, 1, 1), 1e-3), ())
    assert parameter.isfinite().all()


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (SGD(momentum=1.5, nesterov=False), "momentum"),
        (SGD(momentum=0.0, dampening=-0.1, nesterov=False), "dampening"),
        (SGD(momentum=0.0, nesterov=1), "nesterov"),  # type: ignore[arg-type]
        (SGD(momentum=0.0, rate_in_velocity="yes", nesterov=False), "rate_in_velocity"),  # type: ignore[arg-type]
        (Adagrad(lr_decay=-1.0), "lr_decay"),
        (Adagrad(initial_accumulator_value=-1.0), "initial_accumulator_value"),
        (RMSprop(alpha=1.0), "alpha"),
        (RMSprop(centered=None), "centered"),  # type: ignore[arg-type]
        (Adam(betas=(0.9, 1.0)), "betas"),
        (Adam(betas=(0.9,)), "betas"),  # type: ignore[arg-type]
        (Adam(eps=-1e-8), "eps"),
        (AdamW(weight_decay=-0.1), "weight_decay"),
        (AdamW(amsgrad=0), "amsgrad"),  # type: ignore[arg-type]
        (NAdam(momentum_decay=-0.1), "momentum_decay"),
        (Lion(betas=0.9), "betas"),  # type: ignore[arg-type]
        (Muon(ns_steps=0), "ns_steps"),
        (Muon(ns_coefficients=(1.0, 2.0)), "ns_coefficients"),  # type: ignore[arg-type]
        (Muon(adjust_rate="none"), "adjust_rate"),
        (Muon(ns_precision="float16"), "ns_precision"),
        (LBFGS(history_size=0), "history_size"),
        (LBFGS(max_fun=1.5), "max_fun"),  # type: ignore[arg-type]
        (LBFGS(tolerance_change=-1.0), "tolerance_change"),
        (component.stack([Adam(eps=1.0), Adam(eps=-1.0)]), "eps"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_value_out_of_range_is_named(optimizer: Optimizer, name: str) -> None:
    """`check` says which hyperparameter of which optimizer is out of its range."""
    with pytest.raises(ValueError, match=f"The '{name}' parameter of {type(optimizer).__name__} must be"):
        optimizer.check()


@pytest.mark.parametrize("optimizer", [*ALL, LBFGS(), *map(component.stack, STACKS)], ids=lambda o: type(o).__name__)
def test_settings_of_these_tests_are_in_range(optimizer: Optimizer) -> None:
    """`check` lets valid settings pass, those of a stack too."""
    optimizer.check()


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "adam", "adamw", "nadam", "lion", "muon", "lbfgs"])
def test_every_name_is_an_optimizer_with_the_default_rate_of_torch(name: str) -> None:
    """A name resolves to its optimizer, whose automatic rate is the default of torch's, or of Lion's authors."""
    optimizer = component.resolve(Optimizer, name)
    assert optimizer is not None and optimizer.name == name
    theirs = {n.lower(): getattr(torch.optim, n) for n in [*TORCH.values(), "LBFGS"] if hasattr(torch.optim, n)}
    if name in theirs:
        assert theirs[name]([torch.zeros(2, 2)]).defaults["lr"] == optimizer.default_rate
    elif name == "lion":
        assert optimizer.default_rate == 1e-4


def test_an_optimizer_without_a_formula_says_what_to_define() -> None:
    """A subclass that forgot a method is told which, and with which arguments."""

    class Bare(Optimizer):
        pass

    with pytest.raises(NotImplementedError, match=r"Bare must define init\(param\)"):
        Bare().init(torch.zeros(1, 1, 1))
    with pytest.raises(NotImplementedError, match=r"Bare must define update\(param, grad, state, rate, factors\)"):
        Bare().update(torch.zeros(1), torch.zeros(1), {}, torch.zeros(1), ())
    with pytest.raises(NotImplementedError, match=r"Bare must define iterate\(evaluate, point, state, rate\)"):
        Bare().iterate(lambda point: (0.0, point), torch.zeros(1), {}, 1.0)
