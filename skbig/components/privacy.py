"""Differential privacy: training of which the weights say little of any single row.

Legend: M members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skbig._utils.component import Component, hyperparameter
from skbig._utils.validation import Boolean, Interval, Options

_POSITIVE = Interval(0, None, closed="neither")


@dataclass(frozen=True)
class DPSGD(Component, name="dpsgd", recordable=True):
    r"""Clip the gradient of each row, and add noise to their sum: differentially private steps [1]_.

    Each step reads a random batch into which every one of the N rows comes by itself with the probability
    ``q = batch_size / N``, and gives the optimizer

    .. math:: \frac{1}{q N} \left( \sum_i g_i \min(1, C / \|g_i\|) + \sigma C \, \mathcal{N}(0, 1) \right)

    where :math:`g_i` is the gradient of the loss of row i by all parameters, C is `max_grad_norm` and :math:`\sigma`
    is `noise_multiplier`. So what was trained on a set of rows and what was trained on the same without one of them
    are hard to tell apart: by :math:`(\varepsilon, \delta)`, which an estimator has as `epsilon_`. Give
    `noise_multiplier`, or `target_epsilon`, for which it is computed. The guide on privacy says what is
    protected and what is not.

    Parameters
    ----------
    noise_multiplier : float or None, default=None
        Standard deviation of the noise, in units of `max_grad_norm`. None is 1.0, or what `target_epsilon` asks for.
    max_grad_norm : float, default=1.0
        The greatest norm of a row's gradient, in the unit of the loss over that of a weight.
    target_epsilon : float or None, default=None
        What all `max_iter` epochs of all members may spend: the noise is computed for it, so `noise_multiplier` is left
        out. It needs the extra ``privacy``, as `epsilon_` does.
    delta : float in (0, 1), default=1e-05
        By how much the probability of an outcome may differ beyond `epsilon_`; less than one over the number of rows.
    accountant : {'pld', 'rdp'}, default='pld'
        How the steps are added up, by the library ``dp-accounting``: the tight sum of privacy loss distributions, or
        the bound by Renyi's divergence, which is quicker to compute and a tenth larger or so.
    secure : bool, default=False
        Whether batches and noise are drawn from the operating system's cryptographic generator. Otherwise they are a
        function of the seed, which the fitted estimator holds: good for experiments, and for a model that only its
        predictions leave. With ``secure=True`` no two fits are alike, and nobody can repeat the noise.

    References
    ----------
    .. [1] Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, algorithm 1; with batches of random size,
       as their analysis has them.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skbig import BigMLPClassifier
    >>> from skbig.components import DPSGD
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> privacy = DPSGD(noise_multiplier=1.0, max_grad_norm=1.0)
    >>> classifier = BigMLPClassifier(privacy=privacy, max_iter=20, learning_rate=0.01, random_state=0)
    >>> bool(classifier.fit(X / X.max(axis=0), y).score(X / X.max(axis=0), y) > 0.8)
    True
    """

    kind = "privacy"

    noise_multiplier: Any = hyperparameter(None, Options((None,)), _POSITIVE, varies=True)
    max_grad_norm: Any = hyperparameter(1.0, _POSITIVE, varies=True)
    target_epsilon: float | None = hyperparameter(None, Options((None,)), _POSITIVE)
    delta: float = hyperparameter(1e-5, Interval(0, 1, closed="neither"))
    accountant: str = hyperparameter("pld", Options(("pld", "rdp")))
    secure: bool = hyperparameter(False, Boolean())

    def check(self) -> None:
        """Raise ValueError when a hyperparameter is out of its range, or two of them say how much noise."""
        super().check()
        if self.noise_multiplier is not None and self.target_epsilon is not None:
            raise ValueError(
                "DPSGD takes noise_multiplier, or target_epsilon for which it is computed, and not both. "
                f"Got noise_multiplier={self.noise_multiplier!r} and target_epsilon={self.target_epsilon!r}."
            )

    @property
    def noise(self) -> Any:
        """The noise multiplier, a number or that of each member, (M, 1, 1); of a budget it is yet to be settled."""
        return 1.0 if self.noise_multiplier is None else self.noise_multiplier

    def settled(self, noise_multiplier: float) -> DPSGD:
        """Return what a training needs: how much noise, and nothing of what it was computed from."""
        return DPSGD(noise_multiplier, self.max_grad_norm, secure=self.secure)
