"""What private training spends, as dp-accounting and Opacus add it up."""

from __future__ import annotations

import numpy as np
import pytest

from skbig import BigMLPClassifier
from skbig.components import DPSGD
from skbig.engine.privacy_ledger import Spent, epsilon_of, noise_multiplier_for

dp_accounting = pytest.importorskip("dp_accounting")
DELTA = 1e-5
X = np.random.RandomState(0).normal(size=(120, 4))
y = (X[:, 0] > 0).astype(int)

# Sample rate, noise, steps: by Renyi's divergence; by privacy loss distributions; and by Opacus's PRV accountant.
KNOWN = [
    (0.01, 1.0, 1000, 2.10137, 1.82824, 1.83837),
    (256 / 60000, 1.1, 14062, 2.59656, 2.38169, 2.39174),
    (0.1, 2.0, 300, 4.5643, 4.18331, 4.19355),
    (1.0, 4.0, 100, 14.13223, 13.20671, 13.21728),
]


@pytest.mark.parametrize(("rate", "noise", "n_steps", "rdp", "pld", "prv"), KNOWN)
def test_known_values(rate: float, noise: float, n_steps: int, rdp: float, pld: float, prv: float) -> None:
    """Both accountants come to values that were computed apart, and the tight one to no more than Opacus's PRV."""
    spent = [Spent(noise, rate, n_steps // 2), Spent(noise, rate, n_steps - n_steps // 2)]
    assert epsilon_of(spent, DELTA, "rdp") == pytest.approx(rdp, abs=1e-4)
    assert epsilon_of(spent, DELTA, "pld") == pytest.approx(pld, abs=1e-3)
    assert epsilon_of(spent, DELTA, "pld") <= prv


@pytest.mark.parametrize(("rate", "noise", "n_steps"), [case[:3] for case in KNOWN if case[0] < 1])
def test_equals_opacus(rate: float, noise: float, n_steps: int) -> None:
    """The bound by Renyi's divergence is Opacus's to 1e-4, and the tight sum is no more than that of its PRV."""
    accountants = pytest.importorskip("opacus.accountants")
    theirs = {}
    for name, accountant in (("rdp", accountants.RDPAccountant()), ("prv", accountants.PRVAccountant())):
        accountant.history = [(noise, rate, n_steps)]
        theirs[name] = accountant.get_epsilon(delta=DELTA)
    spent = [Spent(noise, rate, n_steps)]
    assert epsilon_of(spent, DELTA, "rdp") == pytest.approx(theirs["rdp"], abs=1e-4)
    assert epsilon_of(spent, DELTA, "pld") <= theirs["prv"]


def test_different_steps_add_up() -> None:
    """Steps of several kinds spend more than those of each, and less than the sum; none at all spend nothing."""
    one, other = Spent(1.0, 0.01, 500), Spent(2.0, 0.1, 50)
    both = epsilon_of([one, other], DELTA)
    parts = epsilon_of([one], DELTA), epsilon_of([other], DELTA)
    assert max(parts) < both < sum(parts)
    assert epsilon_of([one, other, one], DELTA) == epsilon_of([Spent(1.0, 0.01, 1000), other], DELTA)
    assert epsilon_of([], DELTA) == 0.0
    assert epsilon_of([one, Spent(0.0, 0.5, 1)], DELTA) == np.inf


@pytest.mark.parametrize(("accountant", "target"), [("rdp", 0.3), ("rdp", 20.0), ("pld", 3.0)])
def test_a_budget_is_kept(accountant: str, target: float) -> None:
    """The noise for a budget spends no more than it, and not much less."""
    noise = noise_multiplier_for(target, DELTA, 0.05, 200, accountant)
    assert target * 0.998 <= epsilon_of([Spent(noise, 0.05, 200)], DELTA, accountant) <= target


def private(**changes: object) -> BigMLPClassifier:
    settled = {"hidden_layer_sizes": (5,), "max_iter": 4, "batch_size": 40, "random_state": 0}
    return BigMLPClassifier(**settled | changes)  # type: ignore[arg-type]


def test_epsilon_of_an_estimator() -> None:
    """An estimator tells what its steps have spent, members counted, after a fit and after each `partial_fit`."""
    estimator = private(privacy=DPSGD(1.5), n_members=2).fit(X, y)
    assert estimator.epsilon_ == epsilon_of([Spent(1.5, 1 / 3, 2 * 4 * 3)], DELTA)
    before = estimator.epsilon_
    assert estimator.partial_fit(X, y).epsilon_ == epsilon_of([Spent(1.5, 1 / 3, 2 * 5 * 3)], DELTA) > before
    quick = private(privacy=DPSGD(1.5, accountant="rdp", delta=1e-6), n_members=2).fit(X, y)
    assert quick.epsilon_ == epsilon_of([Spent(1.5, 1 / 3, 2 * 4 * 3)], 1e-6, "rdp")


def test_a_target_is_what_all_epochs_spend() -> None:
    """A target is spent by `max_iter` epochs of all members, or by as many calls of `partial_fit`, and no more."""
    privacy = DPSGD(target_epsilon=2.0, accountant="rdp")
    estimator = private(privacy=privacy, n_members=2).fit(X, y)
    assert 1.99 < estimator.epsilon_ <= 2.0
    with pytest.raises(ValueError, match=r"would spend epsilon=2\.\d+ in all"):
        estimator.partial_fit(X, y)
    assert estimator.epsilon_ <= 2.0
    by_calls = private(privacy=privacy, n_members=2)
    for _ in range(4):
        by_calls.partial_fit(X, y, classes=[0, 1])
    assert by_calls.noise_multiplier_ == estimator.noise_multiplier_
    with pytest.raises(ValueError, match="Set a larger target_epsilon"):
        by_calls.partial_fit(X, y)
