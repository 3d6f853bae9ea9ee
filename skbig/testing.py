"""The laws of components, for those who make one of their own.

Legend: M members (two here), S steps, R rows, K columns of a raw prediction, F features. A member's part of any result
is its slice along the first dim. Everything is computed in float64.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import pickle
import sys
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor
from torch.overrides import TorchFunctionMode

from skbig._random import Noise, step_keys
from skbig.components.augmentations import Augmentation
from skbig.components.clipping import Clipping
from skbig.components.component import Component, stack
from skbig.components.losses import Loss
from skbig.components.optimizers import Optimizer
from skbig.components.penalties import Penalty
from skbig.components.schedules import Progress, Schedule

__all__ = ["check_component"]

Run = Callable[[Any, slice], Tensor]
"""Takes a component for some of the two members, and returns what becomes of them, [members, ...]."""

BOTH = slice(0, 2)

_LOOKS = {"item", "tolist", "numpy", "equal", "allclose", "nonzero", "unique"}
_LOOKS |= {"__array__", "__bool__", "__contains__", "__float__", "__index__", "__int__"}


def check_component(component: Component) -> None:
    """Check that a component keeps the laws of its kind, and say which one it breaks.

    Every component is a frozen dataclass that copies, compares, pickles and stacks by value, and treats a member in a
    population as it treats it alone. What else is checked depends on the kind:

    - *optimizer*: shapes, updates in place, and goes down a quadratic bowl; `elementwise` is true to its word.
    - *loss*: one number per row, which depends on that row only, with the right gradient.
    - *penalty*: smallest at zero, the right gradient, and a proximal step that never lets a weight grow.
    - *clipping*: a gradient never grows.
    - *schedule*: finite, not negative, a function of the progress.
    - *augmentation*: new rows of the same shape, a function of the noise.

    Parameters
    ----------
    component : Component
        An instance, with the hyperparameters that it is to be checked with.

    Raises
    ------
    AssertionError
        If a law is broken; the message says which.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from skbig.components import Optimizer
    >>> from skbig.testing import check_component
    >>> @dataclass(frozen=True)
    ... class SignDescent(Optimizer, name="sign_descent"):
    ...     def init(self, param):
    ...         return {}
    ...     def update(self, param, grad, state, rate, factors):
    ...         param.addcmul_(grad.sign_(), rate, value=-1)
    >>> check_component(SignDescent())

    An optimizer that mixes its members is found out:

    >>> @dataclass(frozen=True)
    ... class Mixing(SignDescent):
    ...     def update(self, param, grad, state, rate, factors):
    ...         param.sub_(rate * grad / grad.norm())
    >>> check_component(Mixing())
    Traceback (most recent call last):
        ...
    AssertionError: Mixing must treat a member in a population as it treats it alone, but its update does not.
    """
    _check_value(component)
    for interface, check_laws in _LAWS.items():
        if isinstance(component, interface):
            return check_laws(component)
    kinds = ", ".join(interface.__name__ for interface in _LAWS)
    raise AssertionError(f"{component!r} must be an instance of one of {kinds}.")


def _expect(holds: Any, component: Component, law: str) -> None:
    if not holds:
        raise AssertionError(f"{type(component).__name__} {law}")


def _same(first: Tensor, second: Tensor, tolerance: float = 1e-7) -> bool:
    return first.shape == second.shape and torch.allclose(first, second, rtol=tolerance, atol=tolerance / 100)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    """Return normal numbers, none of them near zero, where some formulas have a corner."""
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers + numbers.sign() * 0.05


def _check_value(component: Component) -> None:
    cls = type(component)
    own = vars(cls).get("__dataclass_params__")
    _expect(own is not None and own.frozen, component, "must be decorated with @dataclass(frozen=True).")
    values = component.get_params()
    fields = [field.name for field in dataclasses.fields(component)]
    _expect(list(values) == fields, component, "must return exactly its fields from get_params.")
    made = cls(**values)
    untouched = all(getattr(made, name) is value for name, value in values.items())
    _expect(untouched, component, "must store its parameters as they are given: check() is the place to look at them.")
    copies = {"a copy": copy.copy, "a deep copy": copy.deepcopy, "a clone": clone, "a replaced one": _replaced}
    if _is_importable(cls) and all(map(_is_importable, filter(inspect.isroutine, values.values()))):
        copies["an unpickled one"] = _repickled
    for name, copied in copies.items():
        other = copied(component)
        by_value = other == component and hash(other) == hash(component) and repr(other) == repr(component)
        _expect(by_value, component, f"must go by value: {name} must be equal, with the same hash and repr.")
    component.check()


def _replaced(component: Component) -> Component:
    return component.replace(**component.get_params())


def _repickled(component: Component) -> Component:
    return pickle.loads(pickle.dumps(component))


def _is_importable(thing: Any) -> bool:
    return getattr(sys.modules.get(thing.__module__), thing.__qualname__, None) is thing


def _neighbour(component: Component) -> Component:
    """Return a component that differs in every number that may vary, where another legal one is found."""
    for field in dataclasses.fields(component):
        if field.metadata.get("varies", False):
            component = next(_legal_changes(component, field.name), component)
    return component


def _legal_changes(component: Component, name: str) -> Iterator[Component]:
    value = getattr(component, name)
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(number, Real) for number in numbers):
        return
    for factor, shift in ((0.9, 0.0), (1.1, 0.0), (1.0, 0.1), (1.0, -0.1)):
        changed = tuple(number * factor + shift for number in numbers)
        other = component.replace(**{name: changed if isinstance(value, tuple) else changed[0]})
        if changed != numbers and _is_legal(other):
            yield other


def _is_legal(component: Component) -> bool:
    try:
        component.check()
    except ValueError:
        return False
    return True


def _check_members(component: Component, run: Run, what: str) -> None:
    """Check that two members with different hyperparameters get what each gets alone."""
    pair = [component, _neighbour(component)]
    together = run(stack(pair), BOTH)
    for member, alone in enumerate(pair):
        here = slice(member, member + 1)
        law = f"must treat a member in a population as it treats it alone, but its {what} does not."
        _expect(_same(together[here], run(alone, here)), component, law)


class _Blindfold(TorchFunctionMode):
    """Lets a component do anything with tensors but look at their values: what it does is recorded once and replayed."""

    def __init__(self, component: Component, what: str) -> None:
        super().__init__()
        self._component, self._what = component, what

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        law = f"must not look at the value of a tensor in {self._what}, which is recorded once and replayed."
        _expect(getattr(function, "__name__", "") not in _LOOKS, self._component, law)
        return function(*args, **(kwargs or {}))


def _check_gradient(component: Component, function: Callable[[Tensor], Tensor], point: Tensor, gradient: Tensor) -> None:
    """Check a gradient of shape [M,a,b] along a few directions; the function's sum is what it belongs to."""
    for seed in range(3):
        step = _normal(*point.shape, seed=seed + 10) * 1e-6
        difference = (function(point + step).sum() - function(point - step).sum()) / 2
        right = math.isclose(float((gradient * step).sum()), float(difference), rel_tol=1e-4, abs_tol=1e-10)
        _expect(right, component, "must have the gradient that finite differences of its value have.")


def _check_optimizer(optimizer: Optimizer) -> None:
    if optimizer.full_batch:
        return _check_full_batch(optimizer)
    for shape in ((2, 4, 3), (2, 1, 3)):
        _check_update(optimizer, _normal(*shape))
        _check_members(optimizer, lambda some, members, shape=shape: _descend(some, _normal(*shape)[members]), "update")
    start = _normal(2, 4, 3)
    loss = (_descend(optimizer, start, count=20) - 1).square().sum((1, 2))
    _expect((loss < (start - 1).square().sum((1, 2))).all(), optimizer, "must go down a quadratic bowl.")
    if optimizer.elementwise:
        flat = _descend(optimizer, start.view(2, 1, 12)).view(2, 4, 3)
        _expect(_same(flat, _descend(optimizer, start)), optimizer, "is not elementwise: say `elementwise = False`.")


def _descend(optimizer: Optimizer, start: Tensor, count: int = 5) -> Tensor:
    """Go some steps down the bowl around one, each member at its own rate."""
    param = start.clone()
    state = optimizer.init(param)
    rate = torch.full((len(param), 1, 1), optimizer.default_rate, dtype=torch.float64)
    factors = optimizer.factors(torch.arange(1, count + 1, dtype=torch.float64).view(-1, 1, 1, 1))
    for step in range(count):
        with _Blindfold(optimizer, "update"):
            optimizer.update(param, param - 1, state, rate, tuple(factor[step] for factor in factors))
    return param


def _check_update(optimizer: Optimizer, param: Tensor) -> None:
    state = optimizer.init(param)
    shapes = (param.shape, (len(param), 1, 1))
    legal = all(isinstance(value, Tensor) and value.shape in shapes for value in state.values())
    _expect(legal, optimizer, "must keep a state of tensors like the parameter, or of shape [M, 1, 1].")
    factors = optimizer.factors(torch.ones(1, 1, 1, 1, dtype=torch.float64))
    legal = all(factor.dim() == 4 and factor.shape[0] == 1 and factor.shape[2:] == (1, 1) for factor in factors)
    _expect(legal, optimizer, "must return factors of shape [S, 1, 1, 1] or [S, M, 1, 1].")
    tensors, before = dict(state), param.clone()
    rate = torch.full((1, 1, 1), optimizer.default_rate, dtype=torch.float64)
    for grad in (param - 1, torch.zeros_like(param)):
        optimizer.update(param, grad, state, rate, tuple(factor[0] for factor in factors))
        finite = all(tensor.isfinite().all() for tensor in (param, *state.values()))
        _expect(finite, optimizer, "must keep parameter and state finite, also where the gradient is zero.")
    _expect(not torch.equal(param, before), optimizer, "must change the parameter in place.")
    in_place = state.keys() == tensors.keys() and all(state[name] is tensors[name] for name in state)
    _expect(in_place, optimizer, "must change the tensors of its state in place, and neither add nor drop any.")


def _check_full_batch(optimizer: Optimizer) -> None:
    def evaluate(point: Tensor) -> tuple[float, Tensor]:
        return float((point - 1).pow(4).sum()), 4 * (point - 1).pow(3)

    start = _normal(5)
    point, state, losses = start.clone(), {}, [evaluate(start)[0]]
    for _ in range(100):
        loss, state = optimizer.iterate(evaluate, point, state, optimizer.default_rate)
        losses.append(loss)
        if optimizer.converged(state, 1e-4):
            break
    _expect(math.isclose(losses[-1], evaluate(point)[0]), optimizer, "must return the loss at the point it has moved to.")
    _expect(losses == sorted(losses, reverse=True), optimizer, "must not let the loss grow.")
    _expect(losses[-1] < losses[0], optimizer, "must go down, changing the point in place.")
    _expect(optimizer.converged(state, 1e-4), optimizer, "must find that it has converged at the bottom of a bowl.")


def _check_loss(loss: Loss) -> None:
    for raw, y in _workable_tasks(loss):
        rows, raw_before, y_before = loss.per_row(raw, y), raw.clone(), y.clone()
        _expect(rows.shape == raw.shape[:2], loss, "must return one loss per row, of shape [M, R].")
        _expect(rows.isfinite().all(), loss, "must be finite.")
        unchanged = torch.equal(raw, raw_before) and torch.equal(y, y_before)
        _expect(unchanged, loss, "must not change the raw prediction or the targets.")
        _expect(_same(loss.per_row(raw[0], y[0]), rows[0]), loss, "must take a member alone, of shape [R, K], too.")
        _check_gradient(loss, lambda point, y=y: loss.per_row(point, y), raw, _loss_gradient(loss, raw, y))
        other_raw, other_y = raw.clone(), y.clone()
        other_raw[:, 0], other_y[:, 0] = raw[:, 1], y[:, 1]
        others = loss.per_row(other_raw, other_y)[:, 1:]
        _expect(_same(others, rows[:, 1:]), loss, "must not let the loss of a row depend on another row.")
        _check_members(loss, lambda some, members, raw=raw, y=y: some.per_row(raw[members], y[members]), "loss")
        _check_prediction(loss, raw, multiclass=y.dim() < raw.dim())


def _workable_tasks(loss: Loss) -> list[tuple[Tensor, Tensor]]:
    """Return raw predictions and targets of each task that the loss is made for."""
    tasks, errors = [], []
    for raw, y in _class_tasks() if loss.for_classes else _regression_tasks(loss):
        try:
            loss.per_row(raw, y)
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            tasks.append((raw, y))
    _expect(tasks, loss, f"must work for one task at least: two classes, more, labels, or regression. Got {errors}.")
    return tasks


def _class_tasks() -> Iterator[tuple[Tensor, Tensor]]:
    for columns in (1, 3):
        yield _normal(2, 6, columns), (_normal(2, 6, columns, seed=1) > 0).double()
    yield _normal(2, 6, 3), _normal(2, 6, 3, seed=1).argmax(-1)


def _regression_tasks(loss: Loss) -> Iterator[tuple[Tensor, Tensor]]:
    for columns in (1, 3):
        normal = _normal(2, 6, columns, seed=1)
        for y in (normal, normal.abs(), normal.sigmoid()):
            if _has_legal_targets(loss, y.flatten(0, 1).numpy()):
                yield _normal(2, 6, columns), y
                break


def _has_legal_targets(loss: Loss, y: np.ndarray) -> bool:
    try:
        loss.check_targets(y)
    except ValueError:
        return False
    return True


def _loss_gradient(loss: Loss, raw: Tensor, y: Tensor) -> Tensor:
    leaf = raw.clone().requires_grad_()
    with torch.enable_grad(), _Blindfold(loss, "per_row"):
        rows = loss.per_row(leaf, y)
    _expect(rows.requires_grad, loss, "must be differentiable: a formula of torch operations on raw.")
    return torch.autograd.grad(rows.sum(), leaf)[0]


def _check_prediction(loss: Loss, raw: Tensor, multiclass: bool) -> None:
    if not loss.for_classes:
        prediction = loss.predict(raw)
        _expect(prediction.shape == raw.shape, loss, "must predict a value for every row and column.")
        _expect(prediction.isfinite().all(), loss, "must predict finite values.")
    elif loss.probabilistic:
        share = loss.probabilities(raw, multiclass)
        legal = share.shape == raw.shape and ((share >= 0) & (share <= 1)).all()
        _expect(legal, loss, "must give probabilities between zero and one, of the shape of raw.")
        sums_to_one = not multiclass or _same(share.sum(-1), torch.ones_like(share[..., 0]))
        _expect(sums_to_one, loss, "must give probabilities of several classes that sum to one.")


def _check_penalty(penalty: Penalty) -> None:
    weight = _normal(2, 1, 12) if penalty.elementwise else _normal(2, 4, 3)
    value = penalty.value(weight)
    _expect(value.shape == (2, 1, 1), penalty, "must have a value of shape [M, 1, 1].")
    smallest = value.isfinite().all() and (penalty.value(torch.zeros_like(weight)) <= value).all()
    _expect(smallest, penalty, "must be finite, and smallest at zero.")
    step = _shrunk(penalty, weight, 1e-7)
    _check_gradient(penalty, penalty.value, weight, _added(penalty, weight, 1.0) + (weight - step) / 1e-7)
    for strength in (0.3, torch.full((2, 1, 1), 0.3, dtype=torch.float64)):
        right = _same(_added(penalty, weight, strength), 0.3 * _added(penalty, weight, 1.0))
        _expect(right, penalty, "must add its gradient times the strength, a float or a tensor [M, 1, 1].")
        shrunk = _shrunk(penalty, weight, strength)
        _expect((shrunk.abs() <= weight.abs()).all(), penalty, "must not let a weight grow in its proximal step.")
        moved = penalty.proximal or torch.equal(shrunk, weight)
        _expect(moved, penalty, "must say `proximal = True` if it has a proximal step.")
    _check_members(penalty, lambda some, members: some.value(weight[members]), "value")
    _check_members(penalty, lambda some, members: _added(some, weight[members], 0.3), "gradient")
    _check_members(penalty, lambda some, members: _shrunk(some, weight[members], 0.3), "proximal step")
    if penalty.elementwise:
        parts = penalty.value(weight[..., :5]) + penalty.value(weight[..., 5:])
        _expect(_same(parts, value), penalty, "is not elementwise: say `elementwise = False`.")


def _added(penalty: Penalty, weight: Tensor, strength: Any) -> Tensor:
    """Return what a penalty adds to a gradient, and see that it touches nothing else."""
    grad, before = torch.ones_like(weight), weight.clone()
    with _Blindfold(penalty, "add_gradient"):
        penalty.add_gradient(grad, weight, strength)
    _expect(torch.equal(weight, before), penalty, "must not change the weight in add_gradient.")
    return grad - 1


def _shrunk(penalty: Penalty, weight: Tensor, threshold: Any) -> Tensor:
    weight = weight.clone()
    with _Blindfold(penalty, "shrink"):
        penalty.shrink(weight, threshold)
    return weight


def _check_clipping(clipping: Clipping) -> None:
    for scale in (0.0, 1e-3, 1.0, 1e3):
        grads = [_normal(2, 4, 3) * scale, _normal(2, 1, 3) * scale]
        before, after = _norm(grads), _norm(clipped := _clip(clipping, grads))
        _expect(all(grad.isfinite().all() for grad in clipped), clipping, "must keep gradients finite, zeros too.")
        _expect((after <= before * (1 + 1e-9)).all(), clipping, "must not let a gradient grow.")
        _check_members(clipping, lambda some, members, grads=grads: _clip_flat(some, grads, members), "clipping")


def _norm(grads: list[Tensor]) -> Tensor:
    flat = torch.cat([grad.flatten(1) for grad in grads], dim=1)
    return torch.linalg.vector_norm(flat, dim=1).view(-1, 1, 1)


def _clip(clipping: Clipping, grads: list[Tensor]) -> list[Tensor]:
    grads = [grad.clone() for grad in grads]
    norm = _norm(grads) if clipping.needs_norm else None
    with _Blindfold(clipping, "apply"):
        clipping.apply(grads, norm)
    return grads


def _clip_flat(clipping: Clipping, grads: list[Tensor], members: slice) -> Tensor:
    return torch.cat([grad.flatten(1) for grad in _clip(clipping, [grad[members] for grad in grads])], dim=1)


def _check_schedule(schedule: Schedule) -> None:
    whole = _progress(torch.arange(40, dtype=torch.float64))
    result = schedule.multiplier(whole)
    _expect(result.shape == (40, 1, 1, 1), schedule, "must return one multiplier per step, of shape [S, 1, 1, 1].")
    _expect(result.isfinite().all() and (result >= 0).all(), schedule, "must be finite, and not negative.")
    alone = [schedule.multiplier(_progress(torch.tensor([step], dtype=torch.float64))) for step in (3.0, 31.0)]
    right = _same(torch.cat(alone), result[[3, 31]])
    _expect(right, schedule, "must be a function of the progress of each step, whichever steps it is asked for.")
    _check_members(schedule, lambda some, members: _by_member(some.multiplier(whole), members), "multiplier")
    if schedule.reacts:
        rate, stalled = torch.tensor([0.1, 0.2], dtype=torch.float64), torch.tensor([0, 10**6])
        ratio = schedule.reduce(rate, stalled)
        legal = ratio.shape == (2,) and bool(ratio[0] == 1) and 0 < ratio[1] <= 1
        _expect(legal, schedule, "must return a ratio in (0, 1] per member from reduce, 1 for one that improves.")
        _expect(schedule.exhausted(rate).shape == (2,), schedule, "must say of each member whether it is exhausted.")
        _check_members(schedule, lambda some, members: some.reduce(rate[members], stalled[members]), "reduce")


def _progress(step: Tensor) -> Progress:
    """The progress at some steps of a training of forty, four an epoch of a hundred rows."""
    step = step.view(-1, 1, 1, 1)
    epoch = (step / 4).floor()
    return Progress(step / 40, (step + 1) / 40, epoch, step, epoch * 100)


def _by_member(multiplier: Tensor, members: slice) -> Tensor:
    """Return [S,M,1,1] with the members first."""
    return multiplier.expand(-1, members.stop - members.start, 1, 1).transpose(0, 1)


def _check_augmentation(augmentation: Augmentation) -> None:
    X = _normal(2, 10, 3)
    before, changed = X.clone(), _augment(augmentation, X, BOTH)
    _expect(torch.equal(X, before), augmentation, "must leave the rows it is given as they are.")
    _expect(changed.isfinite().all(), augmentation, "must keep the rows finite.")
    again = _same(_augment(augmentation, X, BOTH), changed)
    _expect(again, augmentation, "must be a function of the noise it is given: the same noise, the same rows.")
    _check_members(augmentation, lambda some, members: _augment(some, X, members), "change")


def _augment(augmentation: Augmentation, X: Tensor, members: slice) -> Tensor:
    """Return the changed rows of some members and, where targets are blended, how, as two columns more."""
    uniform = torch.tensor([0.3, 0.8], dtype=torch.float64)[members].view(1, -1, 1, 1)
    noise = Noise(torch.from_numpy(step_keys([3, 4][members], 0, 1)[0]))
    factors = tuple(factor[0] for factor in augmentation.factors(uniform))
    rows = X[members]
    with _Blindfold(augmentation, "apply"):
        changed, mix = augmentation.apply(rows, noise, factors)
    legal = changed.shape == rows.shape and changed.dtype == rows.dtype
    _expect(legal, augmentation, "must return rows of the same shape and dtype.")
    if mix is None:
        return changed
    legal = mix.partner.shape == rows.shape[:2] and mix.partner.dtype == torch.int64
    _expect(legal, augmentation, "must name the partners by their places in the batch, int64 [M, R].")
    legal = ((mix.share >= 0) & (mix.share <= 1)).all()
    _expect(legal, augmentation, "must blend targets with shares between zero and one.")
    return torch.cat([changed, torch.stack([mix.partner.to(X), mix.share.expand(rows.shape[:2])], dim=-1)], dim=-1)


_LAWS: dict[type[Component], Callable[[Any], None]] = {
    Optimizer: _check_optimizer,
    Loss: _check_loss,
    Penalty: _check_penalty,
    Clipping: _check_clipping,
    Schedule: _check_schedule,
    Augmentation: _check_augmentation,
}
