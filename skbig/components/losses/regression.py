"""The losses of regressors.

Legend: M members, R rows of a batch, K outputs. raw and y are [M,R,K] or [R,K], a loss per row is [M,R] or [R]. A row's
loss is the sum over its outputs. In the formulas z is the raw prediction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Interval
from skbig.components.losses.base import Loss, over_columns, require_targets


@dataclass(frozen=True)
class SquaredError(Loss, name="squared_error", recordable=True):
    r"""Half the squared error: :math:`(y - z)^2 / 2`, as in scikit-learn's ``MLPRegressor``. It estimates the mean.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import SquaredError
    >>> SquaredError().per_row(torch.tensor([[1.0], [5.0]]), torch.tensor([[1.0], [2.0]]))
    tensor([0.0000, 4.5000])
    """

    has_units = False

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return over_columns(_half_square(raw, y))


@dataclass(frozen=True)
class AbsoluteError(Loss, name="absolute_error", recordable=True):
    r"""The absolute error: :math:`|y - z|`. It estimates the median.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import AbsoluteError
    >>> AbsoluteError().per_row(torch.tensor([[1.0], [5.0]]), torch.tensor([[1.0], [2.0]]))
    tensor([0., 3.])
    """

    has_units = False

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return over_columns(F.l1_loss(raw, y, reduction="none"))


@dataclass(frozen=True)
class Huber(Loss, name="huber", recordable=True):
    r"""Huber's loss [1]_: half the square of a small error, a straight line for a large one.

    It is :math:`d^2 / 2` for an error :math:`d = |y - z|` of at most `delta`, else :math:`\delta (d - \delta / 2)`. It
    estimates something between the mean and the median, and forgives outliers.

    Parameters
    ----------
    delta : float, default=1.35
        The error, in the unit of y, from which on the loss is a straight line. scikit-learn's ``HuberRegressor`` calls
        it epsilon.

    References
    ----------
    .. [1] Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import Huber
    >>> Huber(delta=1.0).per_row(torch.tensor([[1.5], [5.0]]), torch.tensor([[1.0], [2.0]]))
    tensor([0.1250, 2.5000])
    """

    delta: float = hyperparameter(1.35, Interval(0, None, closed="neither"), varies=True)

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        if not isinstance(self.delta, Tensor):
            return over_columns(F.huber_loss(raw, y, reduction="none", delta=self.delta))
        # The kernel takes one delta only. Beyond a member's own, the error's square grows no more than its line.
        error = (raw - y).abs()
        bent = error.clamp(max=self.delta)
        return over_columns(bent * (error - bent / 2))


@dataclass(frozen=True)
class LogCosh(Loss, name="log_cosh", recordable=True):
    r"""The logarithm of the hyperbolic cosine: :math:`\log\, \cosh(y - z)`, like Huber's loss but smooth everywhere.

    It is near :math:`d^2 / 2` for a small error d, and near :math:`d - \log 2` for a large one.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import LogCosh
    >>> LogCosh().per_row(torch.tensor([[1.0], [5.0]]), torch.tensor([[1.0], [2.0]]))
    tensor([0.0000, 2.3093])
    """

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        # log cosh d = d + log((1 + exp(-2 d)) / 2): neither overflows nor cancels.
        error = (raw - y).abs()
        return over_columns(error + torch.log1p(torch.expm1(error * -2) / 2))


@dataclass(frozen=True)
class SquaredLogError(Loss, name="squared_log_error", recordable=True):
    r"""Half the squared error of logarithms: :math:`(\log(1 + y) - z)^2 / 2`; the prediction is :math:`e^z - 1`.

    It weighs relative errors, and needs targets greater than -1.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import SquaredLogError
    >>> loss = SquaredLogError()
    >>> loss.per_row(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [0.0]]))
    tensor([0., 2.])
    >>> loss.predict(torch.tensor([[0.0], [2.0]]))
    tensor([[0.0000],
            [6.3891]])
    """

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return over_columns(_half_square(raw, y.log1p()))

    def out_activation(self, multiclass: bool = False) -> str:
        return "expm1"

    def check_targets(self, y: np.ndarray) -> None:
        require_targets(y > -1, y, self, "greater than -1")


@dataclass(frozen=True)
class Poisson(Loss, name="poisson", recordable=True):
    r"""Half the Poisson deviance, for counts: :math:`y \log(y / \mu) - y + \mu` with the prediction :math:`\mu = e^z`.

    As in scikit-learn's ``MLPRegressor``. It estimates the mean, and needs targets of at least 0 that are not all 0.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import Poisson
    >>> Poisson().per_row(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [3.0]]))
    tensor([0.0000, 1.2958])
    """

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return over_columns(torch.addcmul(raw.exp(), y, raw, value=-1) + (torch.xlogy(y, y) - y))

    def out_activation(self, multiclass: bool = False) -> str:
        return "exp"

    def check_targets(self, y: np.ndarray) -> None:
        require_targets(y >= 0, y, self, "at least 0")

    def reporting_scale(self, n_outputs: int) -> float:
        """Return 1: of this loss MLPRegressor reports the sum over outputs."""
        return 1.0


@dataclass(frozen=True)
class Gamma(Loss, name="gamma", recordable=True):
    r"""Half the Gamma deviance: :math:`\log(\mu / y) + y / \mu - 1` with the prediction :math:`\mu = e^z`.

    It estimates the mean, weighs relative errors, and needs targets greater than 0.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import Gamma
    >>> Gamma().per_row(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [3.0]]))
    tensor([0.0000, 0.9014])
    """

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return over_columns(torch.addcmul(raw, y, torch.exp(-raw)) - (y.log() + 1))

    def out_activation(self, multiclass: bool = False) -> str:
        return "exp"

    def check_targets(self, y: np.ndarray) -> None:
        require_targets(y > 0, y, self, "greater than 0")


@dataclass(frozen=True)
class Quantile(Loss, name="quantile", recordable=True):
    r"""The pinball loss [1]_: :math:`q (y - z)` where the target is above, :math:`(1 - q) (z - y)` where it is below.

    It estimates the quantile `q`.

    Parameters
    ----------
    quantile : float, default=0.5
        The quantile to estimate, in (0, 1); 0.5 is half the absolute error.

    References
    ----------
    .. [1] Koenker and Bassett, "Regression Quantiles", Econometrica 46, 1978.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import Quantile
    >>> Quantile(0.75).per_row(torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0], [3.0]]))
    tensor([1.5000, 0.5000])
    """

    has_units = False

    quantile: float = hyperparameter(0.5, Interval(0, 1, closed="neither"), varies=True)

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        above = raw - y
        return over_columns(F.relu(above) - above * self.quantile)


@dataclass(frozen=True)
class EpsilonInsensitive(Loss, name="epsilon_insensitive", recordable=True):
    r"""The loss of support vector regression: :math:`\max(0, |y - z| - \epsilon)`.

    Parameters
    ----------
    epsilon : float, default=0.1
        The error, in the unit of y, that costs nothing.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import EpsilonInsensitive
    >>> EpsilonInsensitive(epsilon=0.5).per_row(torch.tensor([[1.0], [5.0]]), torch.tensor([[1.2], [2.0]]))
    tensor([0.0000, 2.5000])
    """

    epsilon: float = hyperparameter(0.1, Interval(0, None, closed="left"), varies=True)

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        return over_columns(F.relu(F.l1_loss(raw, y, reduction="none") - self.epsilon))


def _half_square(raw: Tensor, y: Tensor) -> Tensor:
    """Return half the squared error: Huber's loss with its bend out of reach, which is one fused kernel each way."""
    return F.huber_loss(raw, y, reduction="none", delta=math.inf)
