"""Losses: what a raw prediction means, and how far it is from its row's target.

A loss is one object that knows its formula, its link (raw prediction to prediction) and its legal targets. It speaks of
single rows; weighting and adding them up is the engine's.

Legend: M members, R rows of a batch, K columns of the raw prediction.
raw is [M,R,K], or [R,K] where a member trains alone; a loss per row is [M,R] or [R]. A hyperparameter that differs
between members is [M,1,1], of raw's dtype and beside a raw of [M,R,K]. Targets have the leading dims of raw and are
    regression   float [...,R,K]: one column per output
    binary       float [...,R,1]: 0 or 1
    multilabel   float [...,R,K]: 0 or 1 per label
    multiclass   int64 [...,R]: the index of one of K >= 3 classes; told from the others by its dtype
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable as Function
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from skbig._utils.component import Component, _suggestion, hyperparameter, names, resolve
from skbig._utils.validation import Callable, shown

# From raw prediction to prediction, under scikit-learn's words for an output activation where it has one.
INVERSE_LINKS: dict[str, Function[[Tensor], Tensor]] = {
    "identity": lambda raw: raw,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "logistic": torch.sigmoid,
    "softmax": partial(torch.softmax, dim=-1),
}


@dataclass(frozen=True)
class Loss(Component):
    """How far the raw prediction of a row is from its target.

    A subclass defines `per_row`; what else is here says how a loss usually behaves, and holds for most.

    Attributes
    ----------
    for_classes : bool
        Whether the loss is for classification. If not, it is for regression.
    probabilistic : bool
        Whether raw predictions mean probabilities. If so, they are log-odds, unless `probabilities` says otherwise.
    predicts_std : bool
        Whether `std` tells how far targets are spread around a prediction.
    has_units : bool
        Whether the formula depends on the unit of y; if not, the best prediction of a scaled and shifted target is that
        of the target, scaled and shifted alike.

    Examples
    --------
    A user-made loss defines `per_row`:

    >>> from dataclasses import dataclass
    >>> import torch
    >>> from skbig.components import Loss
    >>> @dataclass(frozen=True)
    ... class Quartic(Loss):
    ...     def per_row(self, raw, y):
    ...         return (raw - y).pow(4).sum(-1)
    >>> Quartic().per_row(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.0]]))
    tensor([ 0., 16.])
    """

    kind = "loss"
    for_classes: ClassVar[bool] = False
    probabilistic: ClassVar[bool] = False
    has_units: ClassVar[bool] = True
    predicts_std: ClassVar[bool] = False

    @property
    def columns_per_target(self) -> int:
        """How many columns of the raw prediction there are for each column of y of a regressor."""
        return 1

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Which quantiles the columns of a prediction are, where there are several for one target."""
        return ()

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each row, summed over columns, [...,R]; it can be differentiated with respect to raw."""
        raise NotImplementedError(f"{type(self).__name__} must define per_row.")

    def out_activation(self, multiclass: bool = False) -> str:
        """Return the name of the inverse link, scikit-learn's ``out_activation_``; the task matters to classes only."""
        if not self.probabilistic:
            return "identity"
        return "softmax" if multiclass else "logistic"

    def predict(self, raw: Tensor) -> Tensor:
        """Return predictions in the unit of y, [...,R,K]; where there are `quantiles`, a column for each."""
        return INVERSE_LINKS[self.out_activation()](raw)

    @property
    def has_own_link(self) -> bool:
        """Whether predictions of a regressor are other than the inverse link `out_activation` makes them."""
        return type(self).predict is not Loss.predict

    def std(self, raw: Tensor) -> Tensor:
        """Return the standard deviation of the targets around each prediction; only where it `predicts_std`."""
        raise NotImplementedError(f"{type(self).__name__} must define std(raw), as it predicts it.")

    @property
    def has_log_odds(self) -> bool:
        """Whether raw predictions are the log-odds of probabilities."""
        return self.probabilistic and type(self).probabilities is Loss.probabilities

    def probabilities(self, raw: Tensor, multiclass: bool) -> Tensor:
        """Return the probability of each class or label, [...,R,K]; the positive class only, [...,R,1], for two."""
        if not self.probabilistic:
            raise TypeError(f"The loss {self!r} gives no probabilities.")
        return INVERSE_LINKS[self.out_activation(multiclass)](raw)

    def check_targets(self, y: np.ndarray) -> None:
        """Raise ValueError when a target is out of the range of the loss; here all are legal."""

    def reporting_scale(self, n_outputs: int) -> float:
        """Return what a summed loss is multiplied by before it is shown.

        Training descends the sum over outputs, as scikit-learn's MLPRegressor does, which reports their mean.
        """
        return 1.0 if self.for_classes else 1.0 / n_outputs


@dataclass(frozen=True)
class FunctionLoss(Loss):
    """A plain function as a loss of a regressor: the raw prediction is the prediction.

    Parameters
    ----------
    function : callable
        ``function(raw, y)`` takes float tensors of shape (R, K) and returns the loss of every row, of shape (R,), or of
        every row and output, of shape (R, K). The rows of several members may come in one call, so a row must not
        look at another.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import FunctionLoss
    >>> loss = FunctionLoss(lambda raw, y: (raw - y).pow(4))
    >>> loss.per_row(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.0]]))
    tensor([ 0., 16.])
    """

    function: Function[[Tensor, Tensor], Tensor] = hyperparameter(dataclasses.MISSING, Callable())

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return _call(self.function, raw, y)


@dataclass(frozen=True)
class ClassFunctionLoss(Loss):
    """A plain function as a loss of a classifier: the raw prediction is log-odds.

    Parameters
    ----------
    function : callable
        ``function(raw, y)`` takes a float tensor of shape (R, K) and the targets: class indices of shape (R,) for three
        classes or more, else zeros and ones of shape (R, K). It returns the loss of every row, of shape (R,), or of
        every row and column, of shape (R, K). The rows of several members may come in one call, so a row must not
        look at another.

    Examples
    --------
    >>> from functools import partial
    >>> import torch
    >>> from skbig.components import ClassFunctionLoss
    >>> loss = ClassFunctionLoss(partial(torch.nn.functional.multi_margin_loss, reduction="none"))
    >>> loss.per_row(torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([1]))
    tensor([1.6667])
    """

    for_classes = True
    probabilistic = True

    function: Function[[Tensor, Tensor], Tensor] = hyperparameter(dataclasses.MISSING, Callable())

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return _call(self.function, raw, y)


def function_loss(function: Function[[Tensor, Tensor], Tensor], for_classes: bool) -> Loss:
    """Return a plain function as a loss of the task."""
    return ClassFunctionLoss(function) if for_classes else FunctionLoss(function)


def resolve_loss(value: Any, for_classes: bool) -> Loss:
    """Turn a name, a class, an instance or a plain function into a loss of the task."""
    if isinstance(value, nn.Module):
        return _module_loss(value, for_classes)
    if callable(value) and not isinstance(value, type | Loss):
        return function_loss(value, for_classes)
    if isinstance(value, str) and value not in names("loss"):
        raise ValueError(_unsuitable(value, for_classes, _suggestion(value, _names_of_task(for_classes))))
    loss = resolve(Loss, value)
    assert loss is not None  # not optional
    if loss.for_classes != for_classes:
        owner = "BigMLPClassifier" if loss.for_classes else "BigMLPRegressor"
        raise ValueError(_unsuitable(value, for_classes, f"{type(loss).__name__} is a loss of {owner}. "))
    return loss


# These read another raw prediction than ours, or want other targets: they are losses of ours under another name.
_WITH_A_LINK = (
    *(nn.CrossEntropyLoss, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss, nn.PoissonNLLLoss),
    *(nn.GaussianNLLLoss, nn.KLDivLoss),
)


def _module_loss(module: nn.Module, for_classes: bool) -> Loss:
    """Return a loss of torch's as one of the task: not reduced, whatever it was made for, since rows have weights."""
    if isinstance(module, _WITH_A_LINK):
        raise ValueError(_unsuitable(module, for_classes, f"{type(module).__name__} brings a link of its own. "))
    if getattr(module, "reduction", "none") != "none":
        module = copy.copy(module)
        vars(module)["reduction"] = "none"
    return function_loss(module, for_classes)


def over_columns(loss: Tensor) -> Tensor:
    """Sum the last dim; a single column is only dropped, which costs nothing forwards or backwards."""
    return loss.squeeze(-1) if loss.shape[-1] == 1 else loss.sum(-1)


def rows_of_members(raw: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return raw as [R,K], and its targets alike: the rows of the members one below the other."""
    return (raw, y) if raw.dim() == 2 else (raw.flatten(0, 1), y.flatten(0, 1))


def along_rows(value: Any) -> Any:
    """Return a hyperparameter `[M,1,1]` as `[M,1]`, to meet a loss per row; a number stays one."""
    return value.squeeze(-1) if isinstance(value, Tensor) else value


def require_targets(legal: Any, y: Any, loss: Loss, wanted: str) -> None:
    """Raise ValueError, in scikit-learn's words, for the first row that is not `legal`; of arrays, or of tensors."""
    if not legal.all():
        legal, y = (each.cpu().numpy() if isinstance(each, Tensor) else each for each in (legal, y))
        first = np.unravel_index(int(np.argmin(legal)), legal.shape)
        raise ValueError(
            f"Some value(s) of y are out of the valid range of the loss {loss.name!r}: "
            f"each must be {wanted}. Got {y[first]} in row {first[0]}."
        )


def _call(function: Function[[Tensor, Tensor], Tensor], raw: Tensor, y: Tensor) -> Tensor:
    """Return the loss per row of a user's function, which sees the rows of all members as one table."""
    rows, targets = rows_of_members(raw, y)
    loss = function(rows, targets)
    if not isinstance(loss, Tensor) or loss.shape not in (rows.shape, rows.shape[:1]):
        got = tuple(loss.shape) if isinstance(loss, Tensor) else repr(loss)
        raise ValueError(
            "The function given as the 'loss' parameter must return a loss per row, a tensor of shape (R,) or (R, K), "
            f"which is {tuple(rows.shape[:1])} or {tuple(rows.shape)} here. Got {got} instead."
        )
    if torch.is_grad_enabled() and raw.requires_grad and not loss.requires_grad:
        raise ValueError(
            "The function given as the 'loss' parameter must return what torch can differentiate: computed from raw by "
            "torch's functions, without detach, item or numpy."
        )
    loss = loss.to(raw.dtype)
    loss = over_columns(loss) if loss.dim() == 2 else loss
    return loss if raw.dim() == 2 else loss.reshape(raw.shape[:-1])


def _names_of_task(for_classes: bool) -> list[str]:
    return [name for name in names("loss") if resolve(Loss, name).for_classes == for_classes]  # type: ignore[union-attr]


def _unsuitable(value: Any, for_classes: bool, hint: str) -> str:
    task = "a classifier" if for_classes else "a regressor"
    return (
        f"The 'loss' parameter of {task} must be one of {_names_of_task(for_classes)}, a callable, or an instance of "
        f"Loss. {hint}Got {shown(value)} instead."
    )
