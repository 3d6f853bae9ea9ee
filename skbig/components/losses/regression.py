"""The losses of regressors.

Legend: M members, R rows of a batch, K outputs. raw and y are [M,R,K] or [R,K], a loss per row is [M,R] or [R]. A row's
loss is the sum over its outputs. In the formulas z is the raw prediction.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skbig._utils.component import hyperparameter
from skbig._utils.validation import Constraint, Interval, plain
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
class GaussianNLL(Loss, name="gaussian_nll", recordable=True):
    r"""The negative log likelihood of a normal distribution [1]_: :math:`(\log \sigma^2 + (y - \mu)^2 / \sigma^2) / 2`.

    The network has two raw columns for each target, :math:`\mu` for all of them and then z, of which
    :math:`\sigma^2 = \log(1 + e^z) + \epsilon`. `predict` returns the mean :math:`\mu`, and with ``return_std=True``
    the deviation :math:`\sigma` as well; that of an ensemble is that of the mixture of its members.

    Parameters
    ----------
    eps : float, default=1e-6
        The least variance, in the square of the unit of y, or of the standardized target.

    References
    ----------
    .. [1] Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
       Ensembles", NeurIPS 2017.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import GaussianNLL
    >>> raw = torch.tensor([[1.0, 0.5413]])
    >>> GaussianNLL().per_row(raw, torch.tensor([[3.0]]))
    tensor([2.0000])
    >>> GaussianNLL().predict(raw), GaussianNLL().std(raw)
    (tensor([[1.]]), tensor([[1.0000]]))
    """

    has_units = False
    predicts_std = True

    eps: float = hyperparameter(1e-6, Interval(0, None, closed="neither"), varies=True)

    @property
    def columns_per_target(self) -> int:
        return 2

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        mean, variance = self._moments(raw)
        return over_columns((variance.log() + (y - mean).square() / variance) / 2)

    def predict(self, raw: Tensor) -> Tensor:
        return self._moments(raw)[0]

    def std(self, raw: Tensor) -> Tensor:
        return self._moments(raw)[1].sqrt()

    def _moments(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = raw.chunk(2, -1)
        return mean, F.softplus(spread) + self.eps

    def reporting_scale(self, n_outputs: int) -> float:
        """Return what makes of a sum over targets their mean."""
        return 2.0 / n_outputs


_LEVEL = Interval(0, 1, closed="neither")


class RisingQuantiles(Constraint):
    """Two quantiles or more, each larger than the one before."""

    def accepts(self, value: object) -> bool:
        levels = plain(value)
        several = isinstance(levels, tuple | list) and len(levels) > 1
        if not several or not all(map(_LEVEL.accepts, levels)):
            return False
        return all(low < high for low, high in itertools.pairwise(levels))

    def __str__(self) -> str:
        return "a list of two or more of these that rise"


@dataclass(frozen=True)
class Quantile(Loss, name="quantile", recordable=True):
    r"""The pinball loss [1]_: :math:`q (y - z)` where the target is above, :math:`(1 - q) (z - y)` where it is below.

    It estimates the quantile `q`, or several at once: then the network has a raw column for each, `predict` returns an
    array of shape (n_samples, n_quantiles), and `score` the mean of ``sklearn.metrics.d2_pinball_score``. Their
    estimates never cross, since a raw column next to the middle one is the distance, by a softplus, to the next
    quantile. The loss of a row is then the sum over the quantiles, and the loss curve shows their mean.

    Parameters
    ----------
    quantile : float or list of float, default=0.5
        The quantile to estimate, in (0, 1); 0.5 is half the absolute error. Or several that rise, for one target.

    References
    ----------
    .. [1] Koenker and Bassett, "Regression Quantiles", Econometrica 46, 1978.

    Examples
    --------
    >>> import torch
    >>> from skbig.components import Quantile
    >>> Quantile(0.75).per_row(torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0], [3.0]]))
    tensor([1.5000, 0.5000])
    >>> Quantile([0.1, 0.5, 0.9]).predict(torch.tensor([[1.0, 4.0, 2.0]]))
    tensor([[2.6867, 4.0000, 6.1269]])
    """

    has_units = False

    quantile: float | Sequence[float] = hyperparameter(0.5, _LEVEL, RisingQuantiles(), varies=True)

    @property
    def quantiles(self) -> tuple[float, ...]:
        return tuple(self.quantile) if isinstance(self.quantile, tuple | list) else ()

    @property
    def columns_per_target(self) -> int:
        return len(self.quantiles) or 1

    @property
    def has_own_link(self) -> bool:
        return bool(self.quantiles)

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        above = self.predict(raw) - y
        if not self.quantiles:
            return over_columns(F.relu(above) - above * self.quantile)  # type: ignore[operator]
        columns = zip(above.split(1, -1), self.quantiles, strict=True)
        return torch.cat([F.relu(column) - column * level for column, level in columns], -1).sum(-1)

    def predict(self, raw: Tensor) -> Tensor:
        n_quantiles = len(self.quantiles)
        if not n_quantiles:
            return raw
        middle = n_quantiles // 2
        below, centre, above = raw.split((middle, 1, n_quantiles - middle - 1), -1)
        parts = [centre - F.softplus(below).flip(-1).cumsum(-1).flip(-1), centre, centre + F.softplus(above).cumsum(-1)]
        return torch.cat(parts, -1)

    def check_targets(self, y: np.ndarray) -> None:
        if self.quantiles and y.ndim == 2 and y.shape[1] > 1:
            raise ValueError(
                f"Several quantiles are of one target, and y has {y.shape[1]} columns. Use one quantile, as "
                "Quantile(0.9), or a model for each column: sklearn.multioutput.MultiOutputRegressor."
            )

    def signature(self) -> tuple[Any, ...]:
        return (*super().signature(), ("n_quantiles", len(self.quantiles)))


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
