"""What holds for every loss, and what each of them is equal to elsewhere."""

from __future__ import annotations

import copy
import math
import re
from functools import partial

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from sklearn import metrics
from sklearn.linear_model import SGDClassifier
from sklearn.linear_model import _sgd_fast as sgd
from torch import Tensor

from skbig._utils.component import names, resolve, stack
from skbig.components.losses.base import ClassFunctionLoss, FunctionLoss, Loss, function_loss, resolve_loss
from skbig.components.losses.classification import FocalLoss, Hinge, LogLoss, ModifiedHuber, SquaredHinge
from skbig.components.losses.regression import (
    AbsoluteError,
    EpsilonInsensitive,
    Gamma,
    Huber,
    LogCosh,
    Poisson,
    Quantile,
    SquaredError,
    SquaredLogError,
)


def label(value: object) -> str:
    """Name a case without addresses, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


FOR_CLASSES = [
    LogLoss(),
    LogLoss(label_smoothing=0.2),
    FocalLoss(),
    FocalLoss(gamma=0.0),
    FocalLoss(gamma=0.5),
    Hinge(),
    SquaredHinge(),
    ModifiedHuber(),
    ClassFunctionLoss(lambda raw, y: (raw * torch.linspace(1, 2, raw.shape[-1], dtype=raw.dtype)).sin()),
]
FOR_NUMBERS = [
    SquaredError(),
    AbsoluteError(),
    Huber(),
    Huber(delta=0.3),
    LogCosh(),
    SquaredLogError(),
    Poisson(),
    Gamma(),
    Quantile(),
    Quantile(quantile=0.9),
    EpsilonInsensitive(),
    EpsilonInsensitive(epsilon=0.0),
    EpsilonInsensitive(epsilon=0.8),
    FunctionLoss(lambda raw, y: (raw - y).pow(4)),
]
CASES = [(loss, task) for loss in FOR_CLASSES for task in ("binary", "multiclass", "multilabel")]
CASES += [(loss, task) for loss in FOR_NUMBERS for task in ("one output", "three outputs")]
# The function of `FOR_CLASSES` is left out, as it gives each column a weight of its own.
BY_COLUMN = [(loss, task) for loss, task in CASES if task == "three outputs" or (task == "multilabel" and loss.name)]

every_case = pytest.mark.parametrize(("loss", "task"), CASES, ids=lambda value: str(value)[:40])


def example(task: str, *rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a raw prediction and legal targets; `rows` is (R,) or (M, R)."""
    rng = np.random.default_rng(seed)
    columns = 1 if task in ("binary", "one output") else 3
    raw = torch.from_numpy(rng.normal(size=(*rows, columns)) * 1.5)
    if task == "multiclass":
        return raw, torch.from_numpy(rng.integers(3, size=rows))
    if task in ("binary", "multilabel"):
        return raw, torch.from_numpy(rng.integers(2, size=raw.shape).astype(float))
    return raw, torch.from_numpy(rng.gamma(2.0, size=raw.shape))


def value_and_slope(loss: Loss, raw: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    leaf = raw.detach().clone().requires_grad_()
    value = loss.per_row(leaf, y)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


def close(actual: object, expected: object, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=rtol, atol=1e-12)


# What holds for every loss


@every_case
def test_gradient_is_the_finite_difference(loss: Loss, task: str) -> None:
    """The gradient of a loss is its central finite difference."""
    raw, y = example(task, 5)
    assert torch.autograd.gradcheck(lambda leaf: loss.per_row(leaf, y), raw.requires_grad_(), eps=1e-6, atol=1e-7)


@every_case
def test_members_are_apart(loss: Loss, task: str) -> None:
    """A member's losses and gradients in a stack are those of the member alone, with and without a members dim."""
    raw, y = example(task, 3, 5)
    value, slope = value_and_slope(loss, raw, y)
    assert value.shape == (3, 5)
    for m in range(3):
        for alone, together in zip(value_and_slope(loss, raw[m], y[m]), (value[m], slope[m]), strict=True):
            close(alone, together)
        close(loss.per_row(raw[m : m + 1], y[m : m + 1]), value[m : m + 1])


@pytest.mark.parametrize(
    ("losses", "task"),
    [
        (members, task)
        for members, tasks in [
            ([LogLoss(0.0), LogLoss(0.1), LogLoss(0.6)], ("binary", "multiclass", "multilabel")),
            ([FocalLoss(0.0), FocalLoss(0.7), FocalLoss(3.0)], ("binary", "multiclass", "multilabel")),
            ([Huber(0.2), Huber(1.0), Huber(9.0)], ("one output", "three outputs")),
            ([Quantile(0.1), Quantile(0.5), Quantile(0.7)], ("one output", "three outputs")),
            (
                [EpsilonInsensitive(0.0), EpsilonInsensitive(0.3), EpsilonInsensitive(2.0)],
                ("one output", "three outputs"),
            ),
        ]
        for task in tasks
    ],
    ids=lambda value: str(value)[:40],
)
def test_hyperparameters_of_members_are_apart(losses: list[Loss], task: str) -> None:
    """Members with different hyperparameters get the losses and gradients that each gets alone, with a plain float."""
    raw, y = example(task, 3, 40)
    value, slope = value_and_slope(stack(losses), raw, y)
    for m, loss in enumerate(losses):
        alone, alone_slope = value_and_slope(loss, raw[m], y[m])
        close(value[m], alone)
        close(slope[m], alone_slope)


@pytest.mark.parametrize(("loss", "task"), BY_COLUMN, ids=lambda value: str(value)[:40])
def test_columns_are_summed(loss: Loss, task: str) -> None:
    """The loss of a row is the sum of the losses of its labels or outputs."""
    raw, y = example(task, 7)
    close(loss.per_row(raw, y), sum(loss.per_row(raw[:, k : k + 1], y[:, k : k + 1]) for k in range(3)))


@pytest.mark.parametrize("loss", [Hinge(), SquaredHinge(), ModifiedHuber()], ids=label)
def test_classes_are_set_against_the_rest(loss: Loss) -> None:
    """The loss of a row of several classes is the sum of the losses of each class against the rest."""
    raw, y = example("multiclass", 20)
    against_rest = [loss.per_row(raw[:, k : k + 1], (y == k).double().unsqueeze(-1)) for k in range(3)]
    close(loss.per_row(raw, y), sum(against_rest))


@pytest.mark.parametrize("loss", [LogLoss(), LogLoss(0.2), FocalLoss(0.5), FocalLoss()], ids=label)
def test_two_classes_in_two_columns_are_two_classes_in_one(loss: Loss) -> None:
    """The raw prediction z of two classes is that of two columns, (0, z)."""
    raw, y = example("binary", 20)
    both = torch.cat([torch.zeros_like(raw), raw], dim=1)
    close(loss.per_row(raw, y), loss.per_row(both, y.squeeze(1).long()))


@pytest.mark.crossed
@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_kept(loss: Loss, task: str, dtype: torch.dtype) -> None:
    """A loss has the dtype of the raw prediction, and about the value that it has in float64."""
    raw, y = example(task, 6)
    rough = loss.per_row(raw.to(dtype), y.to(dtype) if y.is_floating_point() else y)
    assert rough.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.15}[dtype]
    np.testing.assert_allclose(rough.double(), loss.per_row(raw, y), rtol=tolerance, atol=tolerance)


@every_case
def test_no_value_is_looked_at(loss: Loss, task: str) -> None:
    """A loss and its gradient are computed without looking at a number, so its operations can be recorded."""
    raw, y = (tensor.to("meta") for tensor in example(task, 2, 4))
    if isinstance(loss, ClassFunctionLoss):
        loss = ClassFunctionLoss(lambda raw, y: raw.sin())
    value, slope = value_and_slope(loss, raw, y)
    assert value.shape == (2, 4)
    assert slope.shape == raw.shape


@every_case
def test_targets_stay_as_they_are(loss: Loss, task: str) -> None:
    """A loss changes neither the raw prediction nor the targets."""
    raw, y = example(task, 6)
    before = raw.clone(), y.clone()
    value_and_slope(loss, raw, y)
    assert torch.equal(raw, before[0])
    assert torch.equal(y, before[1])


# Far away

FAR = [
    (LogLoss(), 1e4, 0.0, 1e4, 1.0),
    (LogLoss(), 1e4, 1.0, 0.0, 0.0),
    (LogLoss(), -1e4, 1.0, 1e4, -1.0),
    (LogLoss(0.2), 1e4, 1.0, 1e3, 0.1),
    (FocalLoss(0.5), 1e4, 0.0, 1e4, 1.0),
    (FocalLoss(0.5), 1e4, 1.0, 0.0, 0.0),
    (FocalLoss(0.5), -1e4, 0.0, 0.0, 0.0),
    (FocalLoss(0.0), 1e4, 1.0, 0.0, 0.0),
    (Hinge(), 1e4, 0.0, 1e4 + 1, 1.0),
    (Hinge(), 1e4, 1.0, 0.0, 0.0),
    (SquaredHinge(), -1e4, 1.0, (1e4 + 1) ** 2, -2 * (1e4 + 1)),
    (ModifiedHuber(), -1e4, 1.0, 4e4, -4.0),
    (ModifiedHuber(), -1e4, 0.0, 0.0, 0.0),
    (SquaredError(), 1e4, 0.0, 5e7, 1e4),
    (SquaredError(), -1e4, 0.0, 5e7, -1e4),
    (AbsoluteError(), -1e4, 2.0, 1e4 + 2, -1.0),
    (Huber(2.0), 1e4, 0.0, 2e4 - 2, 2.0),
    (LogCosh(), 1e4, 0.0, 1e4 - math.log(2), 1.0),
    (LogCosh(), -1e4, 0.0, 1e4 - math.log(2), -1.0),
    (SquaredLogError(), -1e4, 0.0, 5e7, -1e4),
    (Poisson(), -1e4, 2.0, 2e4 + 2 * math.log(2) - 2, -2.0),
    (Poisson(), -1e4, 0.0, 0.0, 0.0),
    (Gamma(), 1e4, 2.0, 1e4 - math.log(2) - 1, 1.0),
    (Quantile(0.9), 1e4, 1.0, 0.1 * (1e4 - 1), 0.1),
    (Quantile(0.9), -1e4, 1.0, 0.9 * (1e4 + 1), -0.9),
    (EpsilonInsensitive(0.5), -1e4, 0.0, 1e4 - 0.5, -1.0),
]


@pytest.mark.parametrize(("loss", "raw", "y", "value", "slope"), FAR, ids=label)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=label)
def test_far_away_a_loss_is_what_it_tends_to(
    loss: Loss, raw: float, y: float, value: float, slope: float, dtype: torch.dtype
) -> None:
    """At a raw prediction of 10,000 a loss and its slope are right, in float32 too."""
    found = value_and_slope(loss, torch.tensor([[raw]], dtype=dtype), torch.tensor([[y]], dtype=dtype))
    tolerance = 1e-4 if isinstance(loss, Quantile) and dtype == torch.float32 else 1e-6
    np.testing.assert_allclose(found[0].item(), value, rtol=tolerance)
    np.testing.assert_allclose(found[1].item(), slope, rtol=tolerance)


@pytest.mark.parametrize("loss", FOR_CLASSES, ids=label)
@pytest.mark.parametrize("raw", [[1e4, -1e4, 0.0], [0.0, 0.0, 1e4], [-1e4, -1e4, -1e4], [0.0, 0.0, 0.0]], ids=label)
def test_far_away_several_classes_are_finite(loss: Loss, raw: list[float]) -> None:
    """The loss of several classes and its gradient are finite at raw predictions of 10,000 and of nothing."""
    value, slope = value_and_slope(loss, torch.tensor([raw] * 3), torch.arange(3))
    assert value.isfinite().all()
    assert slope.isfinite().all()


def test_a_small_error_is_not_lost() -> None:
    """For an error of 1e-3 in float32, log cosh is half its square."""
    loss = LogCosh().per_row(torch.tensor([[1e-3]]), torch.tensor([[0.0]]))
    np.testing.assert_allclose(loss, 0.5e-6, rtol=1e-3)


def test_an_easy_row_is_not_lost() -> None:
    """The focal loss of a row of probability nearly one is as exact in float32 as in float64."""
    raw, y = torch.tensor([[12.0]]), torch.tensor([[1.0]])
    rough, exact = FocalLoss(1.0).per_row(raw, y), FocalLoss(1.0).per_row(raw.double(), y.double())
    np.testing.assert_allclose(rough, exact, rtol=1e-5)


# Known values


@pytest.mark.parametrize("n_classes", [2, 3])
def test_log_loss_is_scikit_learns(n_classes: int) -> None:
    """The mean log loss of a set is scikit-learn's of its probabilities."""
    raw, y = example("binary" if n_classes == 2 else "multiclass", 30)
    probabilities = LogLoss().probabilities(raw, multiclass=n_classes > 2).numpy()
    expected = metrics.log_loss(y.numpy().ravel(), probabilities.squeeze(), labels=list(range(n_classes)))
    close(LogLoss().per_row(raw, y).mean(), expected)


def test_label_smoothing_is_torchs() -> None:
    """Label smoothing is that of torch's cross-entropy."""
    raw, y = example("multiclass", 30)
    close(LogLoss(0.3).per_row(raw, y), F.cross_entropy(raw, y, label_smoothing=0.3, reduction="none"))


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_focal_loss_without_focus_is_the_log_loss(task: str) -> None:
    """With gamma = 0 the focal loss is the log loss, value and gradient."""
    raw, y = example(task, 30)
    for focal, log in zip(value_and_slope(FocalLoss(0.0), raw, y), value_and_slope(LogLoss(), raw, y), strict=True):
        close(focal, log)


@pytest.mark.parametrize(("probability", "times"), [(0.9, 100.0), (1 - 1000**-0.5, 1000.0), (0.5, 4.0)])
def test_focal_loss_holds_easy_rows_back(probability: float, times: float) -> None:
    """With gamma = 2 a row of probability 0.9 loses a hundredth of its log loss, one of 0.968 a thousandth."""
    raw = torch.tensor([[scipy.special.logit(probability)]])
    y = torch.ones_like(raw)
    close(FocalLoss(2.0).per_row(raw, y) * times, LogLoss().per_row(raw, y), rtol=1e-9)


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (Hinge(), sgd.Hinge(1.0)),
        (SquaredHinge(), sgd.SquaredHinge(1.0)),
        (ModifiedHuber(), sgd.ModifiedHuber()),
        (EpsilonInsensitive(0.4), sgd.EpsilonInsensitive(0.4)),
    ],
    ids=label,
)
def test_losses_of_sgd_are_scikit_learns(loss: Loss, reference: object) -> None:
    """The losses that SGDClassifier and SGDRegressor have are theirs, value and slope."""
    raw, y = example("binary" if loss.for_classes else "one output", 50)
    theirs = 2 * y - 1 if loss.for_classes else y
    pairs = list(zip(raw.flatten().tolist(), theirs.flatten().tolist(), strict=True))
    value, slope = value_and_slope(loss, raw, y)
    close(value, [reference.py_loss(z, t) for z, t in pairs])
    close(slope.flatten(), [reference.py_dloss(z, t) for z, t in pairs])


def test_hinge_loss_is_scikit_learns() -> None:
    """The mean hinge loss of a set is scikit-learn's."""
    raw, y = example("binary", 30)
    close(Hinge().per_row(raw, y).mean(), metrics.hinge_loss(y.numpy().ravel(), raw.numpy().ravel()))


@pytest.mark.parametrize(
    ("loss", "metric"),
    [
        (SquaredError(), lambda y, p: metrics.mean_squared_error(y, p) / 2),
        (AbsoluteError(), metrics.mean_absolute_error),
        (SquaredLogError(), lambda y, p: metrics.mean_squared_log_error(y, p) / 2),
        (Poisson(), lambda y, p: metrics.mean_poisson_deviance(y, p) / 2),
        (Gamma(), lambda y, p: metrics.mean_gamma_deviance(y, p) / 2),
        (Quantile(0.9), partial(metrics.mean_pinball_loss, alpha=0.9)),
        (Huber(0.7), lambda y, p: scipy.special.huber(0.7, y - p).mean()),
        (LogCosh(), lambda y, p: np.log(np.cosh(y - p)).mean()),
    ],
    ids=label,
)
def test_losses_of_numbers_are_known_metrics(loss: Loss, metric: object) -> None:
    """The mean loss of a set is the metric of the same name between targets and predictions."""
    raw, y = example("one output", 30)
    raw = raw.abs()  # so that predictions are legal for every metric
    y[0] += loss.predict(raw)[0]  # an error beyond any bend
    close(loss.per_row(raw, y).mean(), metric(y.numpy().ravel(), loss.predict(raw).numpy().ravel()))


def test_poisson_takes_a_count_of_zero() -> None:
    """The loss of a count of zero is the prediction, as in scikit-learn's deviance."""
    raw = torch.tensor([[0.5]], dtype=torch.float64)
    close(Poisson().per_row(raw, torch.zeros_like(raw)), metrics.mean_poisson_deviance([0.0], raw.exp()[0]) / 2)


@pytest.mark.parametrize("loss", [loss for loss in FOR_NUMBERS if not isinstance(loss, Poisson)], ids=label)
def test_what_is_shown_is_the_mean_over_outputs(loss: Loss) -> None:
    """Outputs that are all the same are shown with the loss of one of them."""
    raw, y = example("one output", 8)
    many = loss.per_row(raw.expand(-1, 4).contiguous(), y.expand(-1, 4).contiguous())
    close(many * loss.reporting_scale(4), loss.per_row(raw, y))


def test_what_is_shown_of_poisson_and_of_classes_is_the_sum() -> None:
    """MLPRegressor shows the sum over outputs of the Poisson loss, MLPClassifier the sum over labels."""
    assert Poisson().reporting_scale(4) == 1.0
    assert {loss.reporting_scale(4) for loss in FOR_CLASSES} == {1.0}


@pytest.mark.parametrize(
    ("loss", "statistic"),
    [
        (SquaredError(), np.mean),
        (Poisson(), np.mean),
        (Gamma(), np.mean),
        (SquaredLogError(), lambda y: scipy.stats.gmean(1 + y) - 1),
        (AbsoluteError(), np.median),
        (Quantile(0.5), np.median),
        (Quantile(0.8), partial(np.quantile, q=0.8)),
        (EpsilonInsensitive(0.0), np.median),
        (Huber(1e-3), np.median),
        (Huber(1e3), np.mean),
    ],
    ids=label,
)
def test_best_constant_is_the_statistic_that_a_loss_estimates(loss: Loss, statistic: object) -> None:
    """The constant prediction with the least loss is the mean, the median or the quantile of the targets."""
    y = np.random.default_rng(0).gamma(1.5, size=(201, 1))
    constants = torch.linspace(-2, 4, 6001, dtype=torch.float64).view(-1, 1, 1)
    raw = constants.expand(-1, 201, 1)
    total = loss.per_row(raw, torch.from_numpy(y).expand_as(raw)).sum(-1)
    best = loss.predict(constants.flatten()[total.argmin()])
    np.testing.assert_allclose(best, statistic(y), atol=0.006)


# Links and probabilities


@pytest.mark.parametrize("loss", [loss for loss in FOR_CLASSES if loss.probabilistic], ids=label)
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_probabilities_are_probabilities(loss: Loss, task: str) -> None:
    """Probabilities keep the shape of the raw prediction, lie in [0, 1], and of several classes add up to one."""
    raw, _ = example(task, 2, 50)
    probabilities = loss.probabilities(raw, multiclass=task == "multiclass")
    assert probabilities.shape == raw.shape
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if task == "multiclass":
        close(probabilities.sum(-1), np.ones((2, 50)))


@pytest.mark.parametrize("loss", [LogLoss(), FocalLoss()], ids=label)
def test_probabilities_of_log_odds_are_scipys(loss: Loss) -> None:
    """Log-odds become probabilities by the softmax for several classes, and by the logistic function otherwise."""
    raw, _ = example("multiclass", 20)
    close(loss.probabilities(raw, multiclass=True), scipy.special.softmax(raw.numpy(), axis=1))
    close(loss.probabilities(raw, multiclass=False), scipy.special.expit(raw.numpy()))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_of_modified_huber_are_scikit_learns(n_classes: int) -> None:
    """Decisions become the probabilities that SGDClassifier makes of them, also where no class claims a row."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.arange(60) % n_classes
    theirs = SGDClassifier(loss="modified_huber", random_state=0, max_iter=5, tol=None).fit(X, y)
    theirs.coef_ = rng.normal(size=theirs.coef_.shape)
    theirs.intercept_ -= theirs.intercept_ + 0.7
    decisions = torch.from_numpy(theirs.decision_function(X).reshape(60, -1))
    ours = ModifiedHuber().probabilities(decisions, multiclass=n_classes > 2)
    if n_classes > 2:
        assert (decisions <= -1).all(dim=1).any()
    close(ours, theirs.predict_proba(X)[:, -decisions.shape[1] :])


@pytest.mark.parametrize("loss", [Hinge(), SquaredHinge(), SquaredError()], ids=label)
def test_a_loss_without_probabilities_says_so(loss: Loss) -> None:
    """To ask a loss for probabilities it does not have is an error."""
    with pytest.raises(TypeError, match=f"The loss {type(loss).__name__}.* gives no probabilities"):
        loss.probabilities(torch.zeros(1, 3), multiclass=True)


@pytest.mark.parametrize(
    ("loss", "two_classes", "classes"),
    [
        (LogLoss(), "logistic", "softmax"),
        (FocalLoss(), "logistic", "softmax"),
        (ClassFunctionLoss(F.cross_entropy), "logistic", "softmax"),
        (Hinge(), "identity", "identity"),
        (SquaredHinge(), "identity", "identity"),
        (ModifiedHuber(), "identity", "identity"),
    ],
    ids=label,
)
def test_out_activation_of_classes_depends_on_their_number(loss: Loss, two_classes: str, classes: str) -> None:
    """The output activation has scikit-learn's name, and differs between two classes or labels and several classes."""
    assert (loss.out_activation(False), loss.out_activation(True)) == (two_classes, classes)


@pytest.mark.parametrize("loss", FOR_NUMBERS, ids=label)
def test_prediction_follows_from_the_out_activation(loss: Loss) -> None:
    """A prediction is the function that the output activation names, of the raw prediction."""
    raw, _ = example("three outputs", 9)
    function = {"identity": np.copy, "exp": np.exp, "expm1": np.expm1}[loss.out_activation()]
    close(loss.predict(raw), function(raw.numpy()))


# Targets


@pytest.mark.parametrize(
    ("loss", "legal", "illegal", "message"),
    [
        (SquaredLogError(), -0.9, -1.0, "greater than -1"),
        (Poisson(), 0.0, -0.5, "at least 0"),
        (Gamma(), 0.1, 0.0, "greater than 0"),
    ],
    ids=label,
)
@pytest.mark.parametrize("shape", [(6,), (6, 2)])
def test_an_illegal_target_is_named(loss: Loss, legal: float, illegal: float, message: str, shape: tuple[int]) -> None:
    """Targets at the edge of the range pass; the first row beyond it is named."""
    y = np.ones(shape)
    y[1] = legal
    loss.check_targets(y)
    y.flat[-3:] = illegal
    row = 3 if len(shape) == 1 else 4
    wanted = f"out of the valid range of the loss {loss.name!r}: each must be {message}. Got {illegal} in row {row}."
    with pytest.raises(ValueError, match=wanted):
        loss.check_targets(y)


def test_poisson_takes_a_batch_without_a_count() -> None:
    """A batch of partial_fit may hold zeros only."""
    Poisson().check_targets(np.zeros(4))


@pytest.mark.parametrize("loss", [*FOR_CLASSES, *FOR_NUMBERS], ids=label)
def test_other_losses_take_any_target(loss: Loss) -> None:
    """A loss without a range of its own takes all numbers."""
    if loss.out_activation() in ("identity", "logistic"):
        loss.check_targets(np.array([-1e9, 0.0, 1e9]))


# Choosing a loss


def test_names_are_the_ones_of_the_design() -> None:
    """Every loss has its name, and each name its loss."""
    expected = {"log_loss", "focal", "hinge", "squared_hinge", "modified_huber", "squared_error", "absolute_error"}
    expected |= {"huber", "log_cosh", "squared_log_error", "poisson", "gamma", "quantile", "epsilon_insensitive"}
    assert expected <= set(names("loss"))
    named = {type(loss) for loss in [*FOR_CLASSES, *FOR_NUMBERS] if loss.name}
    assert {type(resolve(Loss, name)) for name in expected} == named


@pytest.mark.parametrize("loss", [LogLoss(), Hinge(), Quantile(), Poisson()], ids=label)
def test_a_name_a_class_and_an_instance_are_one_choice(loss: Loss) -> None:
    """A loss is chosen by name, class or instance, with its own settings kept."""
    for value in (loss.name, type(loss), loss):
        assert resolve_loss(value, loss.for_classes) == loss


@pytest.mark.parametrize(
    ("value", "for_classes", "owner"),
    [
        ("hinge", False, "Hinge is a loss of BigMLPClassifier"),
        (FocalLoss, False, "FocalLoss is a loss of BigMLPClassifier"),
        (FocalLoss(), False, "FocalLoss is a loss of BigMLPClassifier"),
        ("huber", True, "Huber is a loss of BigMLPRegressor"),
        pytest.param(FunctionLoss(F.mse_loss), True, "FunctionLoss is a loss of BigMLPRegressor", id="function"),
    ],
    ids=label,
)
def test_a_loss_of_the_other_task_is_named_as_such(value: object, for_classes: bool, owner: str) -> None:
    """To choose a loss of the other task is an error that says whose it is, and lists only what can be chosen."""
    with pytest.raises(ValueError, match=owner) as caught:
        resolve_loss(value, for_classes)
    assert ("'log_loss'" in str(caught.value)) == for_classes
    assert ("'squared_error'" in str(caught.value)) != for_classes
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "for_classes", "hint"),
    [("logloss", True, "'log_loss'"), ("entropy", False, None), ("squared_eror", False, "'squared_error'")],
)
def test_an_unknown_name_gets_a_hint(value: str, for_classes: bool, hint: str | None) -> None:
    """An unknown name is answered with the nearest loss of the same task."""
    with pytest.raises(ValueError, match=r"The 'loss' parameter of a .* must be one of") as caught:
        resolve_loss(value, for_classes)
    assert ("Did you mean" in str(caught.value)) == (hint is not None)
    assert hint is None or f"Did you mean {hint}?" in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, torch.nn.MSELoss, ["log_loss"]], ids=label)
def test_what_is_no_loss_is_refused(value: object) -> None:
    """What is neither a name, a loss nor a function is refused."""
    with pytest.raises(ValueError, match="The 'loss' parameter must be one of"):
        resolve_loss(value, True)


@pytest.mark.parametrize(
    "bad",
    [LogLoss(1.0), LogLoss(-0.1), FocalLoss(-1.0), Huber(0.0), Quantile(0.0), Quantile(1.0), EpsilonInsensitive(-0.1)],
    ids=label,
)
def test_hyperparameters_have_a_range(bad: Loss) -> None:
    """A hyperparameter out of its range is an error that names it."""
    with pytest.raises(ValueError, match=f"parameter of {type(bad).__name__} must be"):
        bad.check()
    type(bad)().check()


# Plain functions


@pytest.mark.parametrize(
    ("function", "task", "same"),
    [
        (partial(F.mse_loss, reduction="none"), "one output", lambda loss: loss * 2),
        (torch.nn.MSELoss(reduction="none"), "three outputs", lambda loss: loss * 2),
        (lambda raw, y: (raw - y).square().sum(-1), "three outputs", lambda loss: loss * 2),
        (partial(F.binary_cross_entropy_with_logits, reduction="none"), "multilabel", lambda loss: loss),
        (partial(F.cross_entropy, reduction="none"), "multiclass", lambda loss: loss),
    ],
    ids=["row and output", "module", "row", "labels", "classes"],
)
@pytest.mark.parametrize("rows", [(6,), (3, 6)])
def test_a_function_is_a_loss(function: object, task: str, same: object, rows: tuple[int, ...]) -> None:
    """A function of a table of rows that torch has is the loss of the same name, for one member and for several."""
    for_classes = task in ("multilabel", "multiclass")
    raw, y = example(task, *rows)
    loss = resolve_loss(function, for_classes)
    assert loss == function_loss(function, for_classes)
    assert loss.for_classes == for_classes
    close(loss.per_row(raw, y), same((LogLoss() if for_classes else SquaredError()).per_row(raw, y)))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(
    ("module", "task", "ours"),
    [
        (torch.nn.SmoothL1Loss(beta=1.0), "three outputs", Huber(1.0)),
        (torch.nn.HuberLoss(delta=0.5), "one output", Huber(0.5)),
        (torch.nn.L1Loss(), "three outputs", AbsoluteError()),
    ],
    ids=["smooth", "huber", "absolute"],
)
@pytest.mark.parametrize("rows", [(6,), (3, 6)])
def test_a_loss_of_torch_is_taken_by_rows(
    module: torch.nn.Module, task: str, ours: Loss, rows: tuple[int, ...], reduction: str
) -> None:
    """A loss module of torch gives a loss per row, whatever its reduction, and is not changed itself."""
    module = copy.copy(module)
    module.reduction = reduction
    raw, y = example(task, *rows)
    close(resolve_loss(module, for_classes=False).per_row(raw, y), ours.per_row(raw, y))
    assert module.reduction == reduction


@pytest.mark.parametrize(
    ("module", "for_classes"),
    [
        (torch.nn.CrossEntropyLoss(), True),
        (torch.nn.BCEWithLogitsLoss(reduction="none"), True),
        (torch.nn.NLLLoss(), True),
        (torch.nn.PoissonNLLLoss(), False),
    ],
    ids=str,
)
def test_a_loss_of_torch_with_a_link_is_refused(module: torch.nn.Module, for_classes: bool) -> None:
    """A loss whose raw prediction is no prediction would train a network that predicts something else."""
    with pytest.raises(ValueError, match=f"{type(module).__name__} brings a link of its own"):
        resolve_loss(module, for_classes)


@pytest.mark.parametrize(
    "function", [F.mse_loss, lambda raw, y: raw.sum(0), lambda raw, y: raw.T], ids=["mean", "by-column", "transposed"]
)
def test_a_function_must_return_a_loss_per_row(function: object) -> None:
    """A function that has already averaged over rows, or over anything else, is told what to return."""
    raw, y = example("three outputs", 6)
    with pytest.raises(
        ValueError,
        match=r"must return a loss per row, a tensor of shape \(R,\) or \(R, K\), which is \(6,\) or \(6, 3\)",
    ):
        FunctionLoss(function).per_row(raw, y)


def test_a_squared_error_is_infinite_where_its_square_is() -> None:
    """An error whose square is too large is not mistaken for a smaller one: training must notice."""
    raw = torch.tensor([[1e200], [1e150]], dtype=torch.float64)
    assert SquaredError().per_row(raw, torch.zeros_like(raw)).tolist() == [float("inf"), pytest.approx(5e299)]
