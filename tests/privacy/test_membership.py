"""Membership inference: what finds rows of an overfitted model finds none of a private one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigLinearClassifier, BigMLPClassifier, BigMLPRegressor
from skbig.components import DPSGD
from skbig.engine.population import Population
from skbig.privacy import MembershipAttack, membership_attack
from skbig.privacy.shadows import halves, trained_shadows

random = np.random.RandomState(0)
N = 160
X = random.normal(size=(N, 20))
y = random.randint(2, size=N)  # can only be learnt by heart
INSIDE, OUTSIDE = slice(0, N // 2), slice(N // 2, N)
ROWS = X[INSIDE], X[OUTSIDE], y[INSIDE], y[OUTSIDE]
OVERFITTED = BigMLPClassifier(
    (40,), learning_rate=0.05, max_iter=100, n_iter_no_change=1000, schedule="cosine", alpha=0.0, random_state=0
)
PRIVATE = clone(OVERFITTED).set_params(privacy=DPSGD(noise_multiplier=20.0))


def attacked(estimator: Any, **settings: Any) -> MembershipAttack:
    return membership_attack(clone(estimator).fit(X[INSIDE], y[INSIDE]), *ROWS, **settings)


def test_an_overfitted_model_is_found_out_and_a_private_one_is_not() -> None:
    """The loss tells rows of an overfitted model, and shadows more, without false alarms; of a private one none."""
    by_loss, by_shadows = attacked(OVERFITTED), attacked(OVERFITTED, n_shadows=16, random_state=0)
    assert by_loss.auc > 0.7 and by_shadows.auc > 0.8
    assert by_shadows.tpr > 0.1 > by_loss.tpr
    for private in (attacked(PRIVATE), attacked(PRIVATE, n_shadows=16, random_state=0)):
        assert abs(private.auc - 0.5) < 0.12 and private.tpr < 0.06
    assert repr(by_loss).startswith(f"MembershipAttack(auc={by_loss.auc:.3f}, tpr=")


def test_shadows_are_one_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """All shadows are trained side by side, each as it would be alone on its half, also behind a scaler of its own."""
    sizes = []

    class Noting(Population):
        def __init__(self, trainings: Any) -> None:
            sizes.append(len(trainings))
            super().__init__(trainings)

    monkeypatch.setattr("skbig.privacy.shadows.Population", Noting)
    masks = halves(N, 6, np.random.RandomState(1))
    assert (masks.sum(0) == 3).all() and (masks.sum(1) == N // 2).all()
    model = make_pipeline(StandardScaler(), BigMLPClassifier((5,), max_iter=4, batch_size=20, schedule="cosine"))
    shadows = trained_shadows(model, X, y, masks, np.random.RandomState(2))
    assert sizes == [6]
    for shadow, mask in zip(shadows, masks, strict=True):
        alone = clone(shadow).fit(X[mask], y[mask])
        np.testing.assert_allclose(shadow.predict_proba(X), alone.predict_proba(X), rtol=1e-6)
    assert len({shadow[-1].random_state for shadow in shadows}) == 6


@pytest.mark.parametrize("n_shadows", [0, 4])
@pytest.mark.parametrize("form", [sparse.csr_array, pd.DataFrame, np.asarray])
def test_forms_of_rows(form: Any, n_shadows: int) -> None:
    """Sparse rows and tables are attacked like arrays."""
    model = BigLinearClassifier(loss="squared_hinge", max_iter=5, schedule="cosine", random_state=0)
    fitted = model.fit(form(X[INSIDE]), y[INSIDE])
    attack = membership_attack(
        fitted, form(X[INSIDE]), form(X[OUTSIDE]), *ROWS[2:], n_shadows=n_shadows, random_state=0
    )
    assert attack.scores_in.shape == (N // 2,) and np.isfinite(attack.scores_out).all()


def test_any_task_and_any_estimator() -> None:
    """Regressors, labels, words, and estimators of others; without targets by how sure a classifier is."""
    words = np.array(["no", "yes"])[y]
    nearest = KNeighborsClassifier(1).fit(X[INSIDE], words[INSIDE])
    assert membership_attack(nearest, *ROWS[:2], words[INSIDE], words[OUTSIDE], n_shadows=4).auc > 0.6
    model = clone(OVERFITTED).fit(X[INSIDE], y[INSIDE])
    assert membership_attack(model, *ROWS[:2]).auc > 0.55
    values = random.normal(size=N)
    numbers = BigMLPRegressor((40,), optimizer="lbfgs", max_iter=200, tol=1e-2, alpha=0.0, random_state=0)
    numbers.fit(X[INSIDE], values[INSIDE])
    assert membership_attack(numbers, *ROWS[:2], values[INSIDE], values[OUTSIDE]).auc > 0.8
    line = LinearRegression().fit(X[INSIDE], values[INSIDE])
    assert membership_attack(line, *ROWS[:2], values[INSIDE], values[OUTSIDE], n_shadows=4, random_state=0).auc > 0.5
    labels = np.stack([y, 1 - y], axis=1)
    several = BigMLPClassifier((5,), max_iter=3, schedule="cosine").fit(X[INSIDE], labels[INSIDE])
    assert 0.2 < membership_attack(several, *ROWS[:2], labels[INSIDE], labels[OUTSIDE], n_shadows=2).auc < 0.8


def test_wrong_calls() -> None:
    """What is missing is named."""
    model = BigLinearClassifier(max_iter=2, schedule="cosine").fit(X, y)
    with pytest.raises(NotFittedError):
        membership_attack(BigLinearClassifier(), *ROWS)
    with pytest.raises(ValueError, match="y_in and y_out, or neither"):
        membership_attack(model, X, X, y)
    with pytest.raises(ValueError, match="Shadow models are attacked by the loss"):
        membership_attack(model, X, X, n_shadows=4)
    with pytest.raises(ValueError, match="A regressor is attacked by the loss"):
        membership_attack(LinearRegression().fit(X, y), X, X)
    with pytest.raises(ValueError, match="n_shadows"):
        membership_attack(model, X, X, y, y, n_shadows=-1)
    with pytest.raises(ValueError, match="n_shadows=1"):
        membership_attack(model, X, X, y, y, n_shadows=1)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        membership_attack(model, X, X, y, y[:-1])
    with pytest.raises(ValueError, match="Got none"):
        membership_attack(model, X, X[:0], y, y[:0])
