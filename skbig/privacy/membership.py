"""Membership inference: telling from a model whether a row was among those that it was trained on.

Legend: N rows, S shadows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse, stats
from sklearn.base import is_classifier
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skbig._utils.validation import Interval, check
from skbig.privacy.shadows import halves, trained_shadows

LOW_RATE = 0.001
"""The rate of false alarms at which an attack is judged."""

MANY_SHADOWS = 64
"""From so many on each row has a variance of its own; with fewer all share one."""

TINY = 1e-12


@dataclass(frozen=True, eq=False)
class MembershipAttack:
    """How well an attack tells rows that a model was trained on from others.

    Parameters
    ----------
    scores_in : ndarray of shape (n_in,)
        Of the rows that the model was trained on; higher is likelier to be one.
    scores_out : ndarray of shape (n_out,)
        Of the others.

    Attributes
    ----------
    auc : float
        The probability that the score of a row of the model is higher than that of another: .5 is a guess.
    tpr : float
        The share of the model's rows that are found where one of a thousand others is taken for one.

    Examples
    --------
    >>> import numpy as np
    >>> from skbig.privacy import MembershipAttack
    >>> attack = MembershipAttack(np.array([0.2, 0.9]), np.array([0.1, 0.3]))
    >>> attack.auc, attack.tpr
    (0.75, 0.5)
    """

    scores_in: np.ndarray
    scores_out: np.ndarray

    @property
    def _both(self) -> tuple[np.ndarray, np.ndarray]:
        members = np.r_[np.ones(len(self.scores_in)), np.zeros(len(self.scores_out))]
        return members, np.r_[self.scores_in, self.scores_out]

    @property
    def auc(self) -> float:
        """The area under the curve of found rows over false alarms."""
        return float(roc_auc_score(*self._both))

    @property
    def tpr(self) -> float:
        """The share of rows found at a rate of false alarms of 0.1%."""
        return self.tpr_at(LOW_RATE)

    def tpr_at(self, fpr: float) -> float:
        """Return the share of rows found at another rate of false alarms."""
        false, true, _ = roc_curve(*self._both, drop_intermediate=False)
        return float(true[false <= fpr].max())

    def __repr__(self) -> str:
        sizes = f"{len(self.scores_in)} rows in, {len(self.scores_out)} out"
        return f"MembershipAttack(auc={self.auc:.3f}, tpr={self.tpr:.3f}; {sizes})"


def membership_attack(
    estimator: Any,
    X_in: Any,
    X_out: Any,
    y_in: Any = None,
    y_out: Any = None,
    *,
    n_shadows: int = 0,
    random_state: Any = None,
) -> MembershipAttack:
    r"""Attack a model: tell the rows that it was trained on from others that are like them.

    Without shadows by its loss: a row whose target is predicted well was probably among them [1]_. With `n_shadows` by
    the likelihood ratio attack (LiRA) [2]_: the same estimator is trained on many halves of all rows, so that for each
    row it is known how sure a model is of it that has seen it, and one that has not. The score is
    :math:`\log p(\phi \mid in) - \log p(\phi \mid out)`, where :math:`\phi` is the logit of the probability of the
    target under the attacked model, and both densities are normal ones over the shadows. It finds few rows with hardly
    a false alarm, which is what harms. Shadows of networks are trained as one stack.

    An attack says what one attacker may find out. A bound for all is `epsilon_` of training under
    :class:`~skbig.components.DPSGD`.

    Parameters
    ----------
    estimator : estimator
        The fitted classifier or regressor that is attacked; also a Pipeline, or one of another package.
    X_in : {array-like, sparse matrix} of shape (n_in, n_features)
        Rows that it was trained on.
    X_out : {array-like, sparse matrix} of shape (n_out, n_features)
        Rows of the same kind that it was not trained on.
    y_in, y_out : array-like of shape (n_in,) and (n_out,), default=None
        Their targets. Without them a classifier is attacked by how sure it is of its prediction; a regressor, and
        shadows, need them.
    n_shadows : int, default=0
        Models that are trained for the likelihood ratio; 16 are a beginning, 64 and more are better. 0 looks at the
        loss alone.
    random_state : int, RandomState instance or None, default=None
        Draws the halves, and the seeds of the shadows.

    Returns
    -------
    attack : MembershipAttack
        With `auc`, and `tpr` at a rate of false alarms of 0.1%.

    References
    ----------
    .. [1] Yeom, Giacomelli, Fredrikson and Jha, "Privacy Risk in Machine Learning", CSF 2018.
    .. [2] Carlini, Chien, Nasr, Song, Terzis and Tramer, "Membership Inference Attacks From First Principles",
       S&P 2022, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skbig import BigMLPClassifier
    >>> from skbig.privacy import membership_attack
    >>> random = np.random.default_rng(0)
    >>> X, y = random.normal(size=(200, 20)), random.integers(2, size=200)  # nothing can be learnt but the rows
    >>> model = BigMLPClassifier((50,), optimizer="lbfgs", alpha=0, random_state=0).fit(X[:100], y[:100])
    >>> membership_attack(model, X[:100], X[100:], y[:100], y[100:]).auc > 0.7
    True
    """
    check("n_shadows", "membership_attack", n_shadows, Interval(0, None, integer=True))
    check_is_fitted(estimator)
    _check_targets(estimator, X_in, X_out, y_in, y_out, n_shadows)
    n_in, X = _n_rows(X_in), _together(X_in, X_out)
    y = None if y_in is None else np.concatenate([np.asarray(y_in), np.asarray(y_out)])
    scores = _confidence(estimator, X, y)
    if n_shadows:
        assert y is not None
        random = check_random_state(random_state)
        masks = halves(len(y), n_shadows, random)
        shadows = trained_shadows(estimator, X, y, masks, random)
        scores = _likelihood_ratio(scores, np.stack([_confidence(shadow, X, y) for shadow in shadows]), masks)
    return MembershipAttack(scores[:n_in], scores[n_in:])


def _check_targets(estimator: Any, X_in: Any, X_out: Any, y_in: Any, y_out: Any, n_shadows: int) -> None:
    if (y_in is None) != (y_out is None):
        raise ValueError("membership_attack takes y_in and y_out, or neither of them.")
    if y_in is None and (n_shadows or not is_classifier(estimator)):
        who = "Shadow models are" if n_shadows else "A regressor is"
        raise ValueError(f"{who} attacked by the loss of each row: pass y_in and y_out to membership_attack.")
    if n_shadows == 1:
        raise ValueError("n_shadows=1 has seen half of the rows only, and says nothing of the others. Use 2 or more.")
    for X, y in ((X_in, y_in), (X_out, y_out)):
        check_consistent_length(X, y)
        if not _n_rows(X):
            raise ValueError("membership_attack needs rows that the model was trained on, and others. Got none.")


def _confidence(estimator: Any, X: Any, y: np.ndarray | None) -> np.ndarray:
    """Return how sure a model is of the target of each row, (N,), on a scale on which it is about normal."""
    if not is_classifier(estimator):
        assert y is not None
        errors = np.asarray(estimator.predict(X), dtype=float).reshape(len(y), -1) - y.reshape(len(y), -1)
        return -np.log((errors**2).mean(axis=1) + TINY)
    if not hasattr(estimator, "predict_proba"):
        return _margin(estimator, np.asarray(estimator.decision_function(X), dtype=float), y)
    probabilities = np.asarray(estimator.predict_proba(X), dtype=float)
    if y is not None and y.ndim == 2:  # labels
        probabilities = np.where(y.astype(bool), probabilities, 1 - probabilities)
        return _logit(probabilities).mean(axis=1)
    if y is None:
        return _logit(probabilities.max(axis=1))
    own = _is_own(estimator, y)
    return _logit((probabilities * own).sum(axis=1), (probabilities * ~own).sum(axis=1))


def _margin(estimator: Any, decision: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """Return by how much the value of the own class is larger than the largest of another."""
    values = np.stack([-decision, decision], axis=1) / 2 if decision.ndim == 1 else decision
    own = values == values.max(axis=1, keepdims=True) if y is None else _is_own(estimator, y)
    return np.where(own, values, -np.inf).max(axis=1) - np.where(own, -np.inf, values).max(axis=1)


def _is_own(estimator: Any, y: np.ndarray) -> np.ndarray:
    """Return which class each row has, (N, K); one that is not known to the model has none."""
    return np.asarray(y[:, None] == estimator.classes_[None, :])


def _logit(probability: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    others = 1 - probability if others is None else others  # near one a sum of the others has more digits
    return np.log(probability.clip(TINY)) - np.log(others.clip(TINY))


def _likelihood_ratio(scores: np.ndarray, of_shadows: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the log likelihood ratio of each row, (N,), from scores of the shadows (S, N)."""
    log = []
    for inside in (masks, ~masks):
        counts = np.maximum(inside.sum(0), 1)
        mean = (of_shadows * inside).sum(0) / counts
        squares = ((of_shadows - mean) ** 2 * inside).sum(0)
        variance = squares / counts if len(masks) >= MANY_SHADOWS else np.full_like(mean, squares.sum() / inside.sum())
        log.append(stats.norm.logpdf(scores, mean, np.sqrt(variance + TINY)))
    return log[0] - log[1]


def _together(one: Any, other: Any) -> Any:
    """Return rows below rows: arrays, sparse matrices, or tables of pandas with the same columns."""
    if sparse.issparse(one) or sparse.issparse(other):
        return sparse.csr_array(sparse.vstack([sparse.csr_array(one), sparse.csr_array(other)]))
    if hasattr(one, "iloc"):
        import pandas as pd

        return pd.concat([one, other], ignore_index=True)
    return np.concatenate([np.asarray(one), np.asarray(other)])


def _n_rows(X: Any) -> int:
    return int(X.shape[0] if hasattr(X, "shape") else len(X))
