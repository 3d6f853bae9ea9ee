"""`check_component` passes what keeps the laws, and finds what breaks one of them."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass

import pytest
import torch

from skbig._utils.validation import Interval
from skbig.components import (
    L2,
    LBFGS,
    SGD,
    Adam,
    Augmentation,
    ClassFunctionLoss,
    Clipping,
    Component,
    FunctionLoss,
    FunctionSchedule,
    Loss,
    Mix,
    Mixup,
    Muon,
    Optimizer,
    Penalty,
    Plateau,
    Quantile,
    Schedule,
    SquaredError,
    hyperparameter,
)
from skbig.testing import check_component
from tests.shipped import shipped

SHIPPED = [cls() for cls in shipped()]
OF_FUNCTIONS = [
    FunctionLoss(lambda raw, y: (raw - y).pow(4)),
    ClassFunctionLoss(lambda raw, y: torch.nn.functional.multi_margin_loss(raw, y, reduction="none")),
    FunctionSchedule(lambda fraction: 1 - fraction),
]
SETTINGS = [
    SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
    SGD(momentum=0.9, dampening=0.5),
    SGD(momentum=0.9, rate_in_velocity=True),
    Muon(ns_precision="parameter"),
    Quantile((0.1, 0.5, 0.9)),
    Quantile((0.2, 0.8)),
]


def type_and_fields(value: object) -> str:
    """Name a case without addresses, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize("component", [*SHIPPED, *OF_FUNCTIONS, *SETTINGS], ids=type_and_fields)
def test_what_is_shipped_keeps_the_laws(component):
    """Every registered component passes."""
    check_component(component)


def test_a_check_is_quick():
    """The slowest optimizer is checked in a second of one core."""
    start = time.process_time()
    check_component(Muon())
    assert time.process_time() - start < 2


def test_no_global_state_moves(unchanged_globals):
    """Checking is without traces."""
    for component in SHIPPED:
        check_component(component)


# What follows breaks one law each.


class Undecorated(SGD):
    pass


@dataclass(frozen=True)
class Incomparable(SGD):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True)
class ChangesItsParameters(SGD):
    def __post_init__(self):
        object.__setattr__(self, "momentum", float(self.momentum) + 0.0)


@dataclass(frozen=True)
class HidesAParameter(SGD):
    def get_params(self, deep=True):
        return {"momentum": self.momentum}


@dataclass(frozen=True)
class Descent(Optimizer):
    """A sound optimizer, for others to spoil."""

    def init(self, param):
        return {}

    def update(self, param, grad, state, rate, factors):
        param.addcmul_(grad, rate, value=-1)


@dataclass(frozen=True)
class Climbs(Descent):
    def update(self, param, grad, state, rate, factors):
        param.addcmul_(grad, rate)


@dataclass(frozen=True)
class MixesMembers(Descent):
    def update(self, param, grad, state, rate, factors):
        param.addcmul_(grad / (grad.norm() + 1e-9), rate, value=-1)


@dataclass(frozen=True)
class MixesMatrices(Descent):
    elementwise = False

    def update(self, param, grad, state, rate, factors):
        param.addcmul_(grad / (grad.norm() + 1e-9), rate, value=-1)


@dataclass(frozen=True)
class OnlyLooksElementwise(Descent):
    def update(self, param, grad, state, rate, factors):
        param.addcmul_(grad / (grad.norm(dim=(1, 2), keepdim=True) + 1e-9), rate, value=-1)


@dataclass(frozen=True)
class TakesOneNumberForAll(Descent):
    scale: float = hyperparameter(0.5, varies=True)

    def update(self, param, grad, state, rate, factors):
        scale = self.scale.flatten()[0] if isinstance(self.scale, torch.Tensor) else self.scale
        param.addcmul_(grad * scale, rate, value=-1)


@dataclass(frozen=True)
class StaysInDouble(Descent):
    memory: float = hyperparameter(0.9, varies=True)

    def init(self, param):
        return {"mean": torch.zeros_like(param)}

    def update(self, param, grad, state, rate, factors):
        state["mean"].lerp_(grad, 1 - self.memory)
        param.addcmul_(state["mean"], rate, value=-1)


@dataclass(frozen=True)
class BranchesOnANumber(Descent):
    memory: float = hyperparameter(0.9, varies=True)

    def init(self, param):
        return {"mean": torch.zeros_like(param)} if self.memory > 0 else {}


@dataclass(frozen=True)
class ReachesInDouble(Descent):
    scale: float = hyperparameter(0.5, varies=True)

    def update(self, param, grad, state, rate, factors):
        param.addcmul_(grad * self.scale, rate, value=-1)

    def reach(self, state, factors):
        return self.scale


@dataclass(frozen=True)
class ReturnsTheParameter(Descent):
    def update(self, param, grad, state, rate, factors):
        return param - rate * grad


@dataclass(frozen=True)
class ReplacesItsState(Descent):
    def init(self, param):
        return {"mean": torch.zeros_like(param)}

    def update(self, param, grad, state, rate, factors):
        state["mean"] = 0.9 * state["mean"] + 0.1 * grad
        param.addcmul_(state["mean"], rate, value=-1)


@dataclass(frozen=True)
class DividesByZero(Descent):
    def update(self, param, grad, state, rate, factors):
        param.addcmul_(grad / grad.abs(), rate, value=-1)


@dataclass(frozen=True)
class LooksAtValues(Descent):
    def update(self, param, grad, state, rate, factors):
        if grad.abs().max() > 0:
            param.addcmul_(grad, rate, value=-1)


@dataclass(frozen=True)
class KeepsANumber(Descent):
    def init(self, param):
        return {"steps": torch.zeros(())}


@dataclass(frozen=True)
class FlatFactors(Descent):
    def factors(self, step):
        return (step.flatten(),)


@dataclass(frozen=True)
class NeverConverges(LBFGS):
    def converged(self, state, tol):
        return False


@dataclass(frozen=True)
class WrongLoss(LBFGS):
    def iterate(self, evaluate, point, state, rate):
        loss, state = LBFGS.iterate(self, evaluate, point, state, rate)
        return loss + 1, state


@dataclass(frozen=True)
class WrongGradient(SquaredError):
    def per_row(self, raw, y):
        return ((raw - y) * (raw - y).detach()).sum(-1)


@dataclass(frozen=True)
class Detached(SquaredError):
    def per_row(self, raw, y):
        return (raw.detach() - y).square().sum(-1)


@dataclass(frozen=True)
class Reduced(SquaredError):
    def per_row(self, raw, y):
        return (raw - y).square().sum()


@dataclass(frozen=True)
class ComparesRows(SquaredError):
    def per_row(self, raw, y):
        return (raw - raw.mean(-2, keepdim=True) - y).square().sum(-1)


@dataclass(frozen=True)
class ComparesMembers(SquaredError):
    def per_row(self, raw, y):
        error = (raw - y).square().sum(-1)
        return error if raw.dim() == 2 else error * len(raw) / 2


@dataclass(frozen=True)
class ChangesRaw(SquaredError):
    def per_row(self, raw, y):
        return raw.detach().sub_(y).square().sum(-1)


@dataclass(frozen=True)
class NeedsMembers(SquaredError):
    def per_row(self, raw, y):
        return (raw - y).square().sum(-1) + (0 if raw.dim() == 3 else 1)


@dataclass(frozen=True)
class RoundsUp(SquaredError):
    scale: float = hyperparameter(0.5, varies=True)

    def per_row(self, raw, y):
        return ((raw - y).square() * torch.as_tensor(self.scale, dtype=torch.float64)).sum(-1)


@dataclass(frozen=True)
class Untrained(Loss):
    def per_row(self, raw, y):
        raise ValueError("no")


@dataclass(frozen=True)
class Unlikely(Loss):
    for_classes = True
    probabilistic = True

    def per_row(self, raw, y):
        return (raw - (y if y.is_floating_point() else y.unsqueeze(-1))).square().sum(-1)

    def probabilities(self, raw, multiclass):
        return raw


@dataclass(frozen=True)
class DoubleGradient(L2):
    def add_gradient(self, grad, weight, strength):
        grad.add_(2 * strength * weight)


@dataclass(frozen=True)
class DecaysTheWeight(L2):
    def add_gradient(self, grad, weight, strength):
        grad.add_(weight * strength)
        weight.mul_(0.9)


@dataclass(frozen=True)
class SmallestElsewhere(Penalty):
    def value(self, weight):
        return (weight - 1).square().sum((1, 2), keepdim=True)


@dataclass(frozen=True)
class LengthOfRows(Penalty):
    def value(self, weight):
        return weight.norm(dim=(1, 2), keepdim=True)


@dataclass(frozen=True)
class SumOverMembers(Penalty):
    elementwise = False

    def value(self, weight):
        return weight.square().sum().expand(len(weight), 1, 1) / 2

    def add_gradient(self, grad, weight, strength):
        grad.add_(weight * strength * len(weight))


@dataclass(frozen=True)
class UndeclaredShrinking(Penalty):
    def value(self, weight):
        return weight.abs().sum((1, 2), keepdim=True)

    def add_gradient(self, grad, weight, strength):
        pass

    def shrink(self, weight, threshold):
        weight.sub_(weight.clamp(-threshold, threshold))


@dataclass(frozen=True)
class JumpsAcrossZero(Penalty):
    proximal = True

    def value(self, weight):
        return weight.abs().sum((1, 2), keepdim=True)

    def add_gradient(self, grad, weight, strength):
        pass

    def shrink(self, weight, threshold):
        weight.sub_(weight.sign() * threshold)


@dataclass(frozen=True)
class Normalizes(Clipping):
    needs_norm = True

    def apply(self, grads, norm):
        for grad in grads:
            grad.div_(norm + 1e-9)


@dataclass(frozen=True)
class ZeroOverZero(Clipping):
    needs_norm = True

    def apply(self, grads, norm):
        for grad in grads:
            grad.mul_((1e-9 / norm).clamp(max=1) * norm / norm)


@dataclass(frozen=True)
class ZeroIsOff(Clipping):
    limit: float = hyperparameter(1.0, Interval(0, None, closed="left"), varies=True)

    def apply(self, grads, norm):
        if isinstance(self.limit, torch.Tensor) or self.limit > 0:
            for grad in grads:
                grad.clamp_(-self.limit, self.limit)


@dataclass(frozen=True)
class ClipsTogether(Clipping):
    def apply(self, grads, norm):
        for grad in grads:
            grad.div_(grad.norm() + 1)


@dataclass(frozen=True)
class Negative(Schedule):
    def shape(self, progress):
        return 1 - 2 * progress.fraction


@dataclass(frozen=True)
class Relative(Schedule):
    def shape(self, progress):
        return progress.step / (progress.step.sum() + 1)


@dataclass(frozen=True)
class OneForAll(Schedule):
    def shape(self, progress):
        return progress.fraction.mean()


@dataclass(frozen=True)
class OnTheWrongDim(Schedule):
    def shape(self, progress):
        return progress.fraction.flatten()


@dataclass(frozen=True)
class CannotStack(Schedule):
    power: float = hyperparameter(1.0, varies=True)

    def shape(self, progress):
        return (1 - progress.fraction) ** torch.as_tensor(self.power).mean()


@dataclass(frozen=True)
class PunishesProgress(Plateau):
    def reduce(self, rate, stalled):
        return torch.full_like(rate, 0.5)


@dataclass(frozen=True)
class AddsInPlace(Augmentation):
    def apply(self, X, noise, factors):
        return X.add_(noise.uniform(*X.shape[1:], 1000, X.dtype)), None


@dataclass(frozen=True)
class DrawsFromAGenerator(Augmentation):
    generator = torch.Generator()

    def apply(self, X, noise, factors):
        return X + torch.rand(X.shape, generator=self.generator, dtype=X.dtype), None


@dataclass(frozen=True)
class Narrows(Augmentation):
    def apply(self, X, noise, factors):
        return X[..., :-1], None


@dataclass(frozen=True)
class CentersMembers(Augmentation):
    def apply(self, X, noise, factors):
        return X - X.mean(), None


@dataclass(frozen=True)
class BlendsTooMuch(Mixup):
    def apply(self, X, noise, factors):
        X, mix = Mixup.apply(self, X, noise, factors)
        return X, Mix(mix.partner, mix.share * 2)


@dataclass(frozen=True)
class BlendsWithFloats(Mixup):
    def apply(self, X, noise, factors):
        X, mix = Mixup.apply(self, X, noise, factors)
        return X, Mix(mix.partner.float(), mix.share)


@dataclass(frozen=True)
class OfNoKind(Component):
    pass


BROKEN = {
    Undecorated: "@dataclass",
    Incomparable: "go by value: a copy",
    HidesAParameter: "its fields from get_params",
    Climbs: "go down a quadratic bowl",
    MixesMembers: "in a population as it treats it alone, but its update",
    MixesMatrices: "in a population as it treats it alone, but its update",
    OnlyLooksElementwise: "is not elementwise",
    TakesOneNumberForAll: "in a population as it treats it alone, but its update",
    StaysInDouble: r"take a tensor \[M, 1, 1\] .* but its update fails in torch.float32: expected dtype",
    BranchesOnANumber: r"take a tensor \[M, 1, 1\] .* but its update fails in torch.float64: Boolean",
    ReachesInDouble: "compute in the dtype .* but its reach is torch.float64 for torch.float32",
    ReturnsTheParameter: "change the parameter in place",
    ReplacesItsState: "change the tensors of its state in place",
    DividesByZero: "also where the gradient is zero",
    LooksAtValues: "look at the value of a tensor in update",
    KeepsANumber: "a state of tensors like the parameter",
    FlatFactors: r"factors of shape \[S, 1, 1, 1\]",
    NeverConverges: "must find that it has converged",
    WrongLoss: "must return the loss at the point",
    WrongGradient: "must have the gradient",
    Detached: "must be differentiable",
    Reduced: "one loss per row",
    ComparesRows: "depend on another row",
    ComparesMembers: "in a population as it treats it alone, but its loss",
    ChangesRaw: "must not change the raw prediction",
    NeedsMembers: "must take a member alone",
    RoundsUp: "compute in the dtype .* but its loss is torch.float64 for torch.float32",
    Untrained: "one task at least.*ValueError: no",
    Unlikely: "probabilities between zero and one",
    DoubleGradient: "must have the gradient",
    DecaysTheWeight: "must not change the weight in add_gradient",
    SmallestElsewhere: "smallest at zero",
    LengthOfRows: "is not elementwise",
    SumOverMembers: "in a population as it treats it alone, but its value",
    UndeclaredShrinking: "proximal = True",
    JumpsAcrossZero: "must not let a weight grow",
    Normalizes: "must not let a gradient grow",
    ZeroOverZero: "zeros too",
    ZeroIsOff: "in a population as it treats it alone, but its clipping",
    ClipsTogether: "in a population as it treats it alone, but its clipping",
    Negative: "not negative",
    Relative: "a function of the progress",
    OneForAll: "a function of the progress",
    OnTheWrongDim: "one multiplier per step",
    CannotStack: "in a population as it treats it alone, but its multiplier",
    PunishesProgress: "and 1 for one that improves",
    AddsInPlace: "must leave the rows",
    DrawsFromAGenerator: "the same noise, the same rows",
    Narrows: "rows of the same shape",
    CentersMembers: "in a population as it treats it alone, but its change",
    BlendsTooMuch: "shares between zero and one",
    BlendsWithFloats: "partners by their places",
}


@pytest.mark.parametrize(("broken", "law"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", "by"))
def test_what_breaks_a_law_is_found(broken, law):
    """The message names the component and the law that it breaks."""
    with pytest.raises(AssertionError, match=f"^{broken.__name__} .*{law}"):
        check_component(broken())


def test_a_parameter_that_is_changed_in_the_constructor_is_found():
    """A whole number given for a real one stays a whole number."""
    with pytest.raises(AssertionError, match="must store its parameters as they are given"):
        check_component(ChangesItsParameters(momentum=0))


def test_a_parameter_out_of_its_range_is_found():
    """A component that does not accept itself cannot be used."""
    with pytest.raises(AssertionError, match="must accept itself in check.*'betas' parameter of Adam"):
        check_component(Adam(betas=(0.9, 1.5)))


def test_a_component_of_no_kind_is_found():
    """Only the kinds that an estimator takes have laws."""
    with pytest.raises(AssertionError, match="must be an instance of one of Optimizer, Loss"):
        check_component(OfNoKind())


def test_an_interface_says_what_is_missing():
    """What a component has to define is named when it is first needed."""
    for interface, method in [(Optimizer, "init"), (Loss, "per_row"), (Penalty, "value"), (Clipping, "apply")]:
        unfinished = dataclass(frozen=True)(type("Unfinished", (interface,), {}))
        with pytest.raises(NotImplementedError, match=f"Unfinished must define {method}"):
            check_component(unfinished())


def test_every_kind_has_laws():
    """No registered component is of a kind without laws."""
    assert {type(component).kind for component in SHIPPED} == {
        *("optimizer", "loss", "penalty", "clipping", "schedule", "average", "augmentation", "network", "privacy")
    }
    assert all(dataclasses.is_dataclass(component) for component in SHIPPED)
