"""What several trainings on the same rows have spent together."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from sklearn.utils.validation import check_is_fitted

from skbig._utils.validation import Interval, Options, check
from skbig.engine.privacy_ledger import Spent, epsilon_of
from skbig.estimators.private_fit import Accounted, spent_of


def epsilon(estimators: Iterable[Any], *, delta: float = 1e-5, accountant: str = "pld") -> float:
    """Return what the trainings of several estimators on the same rows have spent in all.

    Every model that is trained on the same rows spends of the same budget, also those that are thrown away afterwards.
    It needs the extra ``privacy``.

    Parameters
    ----------
    estimators : iterable of estimator
        Fitted ones; of one without privacy the result is infinite.
    delta : float in (0, 1), default=1e-05
        By how much the probability of an outcome may differ beyond the result.
    accountant : {'pld', 'rdp'}, default='pld'
        As of :class:`~skbig.components.DPSGD`.

    Returns
    -------
    epsilon : float

    Examples
    --------
    >>> from sklearn.base import clone
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.components import DPSGD
    >>> from skbig.privacy import epsilon
    >>> X, y = load_iris(return_X_y=True)
    >>> network = BigMLPClassifier(privacy=DPSGD(noise_multiplier=2.0), batch_size=30, max_iter=5)
    >>> first, second = clone(network).fit(X, y), clone(network).fit(X, y)
    >>> first.epsilon_ < epsilon([first, second]) < 2 * first.epsilon_
    True
    """
    check("delta", "epsilon", delta, Interval(0, 1, "neither"))
    check("accountant", "epsilon", accountant, Options(("pld", "rdp")))
    spent: list[Spent] = []
    for estimator in estimators:
        if not isinstance(estimator, Accounted):
            raise TypeError(f"epsilon takes a list of fitted estimators of skbig. Got {estimator!r} among them.")
        check_is_fitted(estimator)
        if not hasattr(estimator, "noise_multiplier_"):
            return inf
        spent += spent_of(estimator._private_ledger())
    return epsilon_of(spent, delta, accountant)
