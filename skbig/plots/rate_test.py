"""A learning-rate range test: the same network at many rates, trained as one stack.

Legend: L rates, E epochs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from skbig._utils.device import plain_torch
from skbig._utils.validation import COUNT, Options, check
from skbig.engine.population import Population
from skbig.engine.stacking import stackable
from skbig.estimators.base import NetworkEstimator
from skbig.estimators.given import Given
from skbig.estimators.preparation import prepare
from skbig.estimators.search_context import receiving_fits
from skbig.estimators.session import Session
from skbig.exceptions import DivergenceError

LIKELY_STEPS = 200
"""After so many steps it can be told which rates train."""
MOST_EPOCHS = 50
# A plain training of one member that runs to its end, and of which nothing is written or told.
PLAIN: dict[str, Any] = {
    "schedule": "constant",
    "early_stopping": False,
    "n_iter_no_change": math.inf,
    "max_time": None,
    "n_members": 1,
    "warm_start": False,
    "checkpoint_dir": None,
    "backend": None,
    "verbose": 0,
}


class RateTest(NamedTuple):
    """What a range test has found.

    Attributes
    ----------
    rates : ndarray (L,)
    losses : ndarray (E, L)
        Training loss of each epoch; NaN from where the numbers were not finite any more.
    own_rate : float
        That the estimator is set to.
    """

    rates: np.ndarray
    losses: np.ndarray
    own_rate: float


def rate_test(
    estimator: Any, X: Any, y: Any, rates: Any, n_epochs: int | None, fit_params: Mapping[str, Any]
) -> RateTest:
    """Train clones of an estimator, and of what is around it, at each rate.

    Raises
    ------
    ValueError
        When there is no network in the estimator, or it has no rate that could be set.
    """
    rates = _checked(rates, n_epochs)
    network, given = _handed_over(estimator, X, y, fit_params)
    own = prepare(_plain(network, None, 1), given, _NOTHING)
    if own.recipe.optimizer.full_batch:
        raise ValueError(f"optimizer={network.optimizer!r} finds its steps itself: no rate can be tested.")
    if own.recipe.privacy is not None:
        raise ValueError(
            f"privacy={network.privacy!r} keeps the training loss back, as it would tell of rows: no rate can be "
            "tested. Try rates on rows that are no secret, with privacy=None."
        )
    if n_epochs is None:
        steps = math.ceil(own.rows.n_rows / own.recipe.batch_size)
        n_epochs = min(max(math.ceil(LIKELY_STEPS / steps), 3), MOST_EPOCHS)
    sessions = [prepare(_plain(network, float(rate), n_epochs), given, _NOTHING) for rate in rates]
    return RateTest(rates, _trained(sessions, n_epochs), float(own.recipe.rate))


_NOTHING = Given(None, None)


def _checked(rates: Any, n_epochs: int | None) -> np.ndarray:
    found = np.unique(np.asarray(rates, dtype=float))
    if found.size < 2 or not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(
            f"The 'rates' parameter of LearningRateDisplay must be two positive numbers or more. Got {rates!r} instead."
        )
    check("n_epochs", "LearningRateDisplay", n_epochs, COUNT, Options((None,)))
    return found


def _handed_over(estimator: Any, X: Any, y: Any, fit_params: Mapping[str, Any]) -> tuple[NetworkEstimator, Given]:
    """Fit what is around the network, and return the network and what it is given."""
    received: list[tuple[NetworkEstimator, Given]] = []
    with receiving_fits(lambda network, given, held: received.append((network, given))):
        clone(estimator).fit(X, y, **fit_params)
    if len(received) != 1:
        raise ValueError(
            "The 'estimator' parameter of LearningRateDisplay.from_estimator must be one network of this package, or a "
            f"Pipeline or TransformedTargetRegressor around one. Got {estimator!r} instead."
        )
    network, given = received[0]
    if network.random_state is None:  # all begin alike
        network.set_params(random_state=int(np.random.default_rng().integers(2**31)))
    return network, given


def _plain(network: NetworkEstimator, rate: float | None, n_epochs: int) -> NetworkEstimator:
    """Return a clone that is trained for some epochs at a rate, or at its own."""
    changed = PLAIN | {"max_iter": n_epochs, "random_state": copy.deepcopy(network.random_state)}
    if rate is not None:
        changed["learning_rate"] = rate
    made: NetworkEstimator = clone(network).set_params(**changed)
    return made


def _trained(sessions: Sequence[Session], n_epochs: int) -> np.ndarray:
    """Train a stack, or one after another what cannot be stacked, and return the losses (E, L)."""
    with plain_torch(), np.errstate(all="ignore"):
        if stackable(sessions[0]):
            population = Population(sessions)
            with sessions[0].backend.products():
                population.train()
        else:
            for session in sessions:
                try:
                    session.run()
                except DivergenceError:
                    continue
    return np.stack([_losses(session, n_epochs) for session in sessions], axis=1)


def _losses(session: Session, n_epochs: int) -> np.ndarray:
    """Return the loss of each epoch, NaN from the first on that is not finite."""
    seen = np.array([float(loss.mean()) for loss in session.history.loss][:n_epochs])
    losses = np.full(n_epochs, np.nan)
    n_finite = int(np.argmin(np.append(np.isfinite(seen), False)))
    losses[:n_finite] = seen[:n_finite]
    if session.history.stop_reason == "failed" and n_finite == n_epochs:
        losses[-1] = np.nan
    return losses
