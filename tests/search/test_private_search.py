"""A search under privacy: candidates are trained as one stack, and what all fits have spent is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbig import BigGridSearchCV, BigHalvingGridSearchCV, BigMLPClassifier
from skbig.components import DPSGD
from skbig.exceptions import PrivacyWarning
from tests.searching import assert_alike, noting

X, y = make_classification(90, 6, n_informative=4, random_state=0)
NETWORK = BigMLPClassifier((5,), privacy=DPSGD(noise_multiplier=1.0), max_iter=3, batch_size=20, random_state=0)
GRID = {"privacy__noise_multiplier": [0.1, 1.0, 1.0], "privacy__max_grad_norm": [0.1, 1.0]}


def spent_by(search: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return all that is added up at the end of a search."""
    told: list[Any] = []
    monkeypatch.setattr("skbig.search.privacy_spent.epsilon_of", lambda spent, *_: told.extend(spent) or 7.0)
    with pytest.warns(PrivacyWarning, match="spend together on the same rows: epsilon=7 at delta=1e-05"):
        search.fit(X, y)
    assert search.epsilon_ == 7.0
    return told


@pytest.mark.parametrize("wrapped", [False, True])
def test_candidates_share_a_stack(wrapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise and bounds differ within a stack, each fit has the scores that it has alone, and all are counted."""
    sizes: list[int] = []
    monkeypatch.setattr("skbig.search.stack_scheduler.Population", noting(sizes))
    estimator = make_pipeline(FunctionTransformer(), NETWORK) if wrapped else NETWORK
    grid = {f"bigmlpclassifier__{name}": values for name, values in GRID.items()} if wrapped else GRID
    ours = BigGridSearchCV(estimator, grid, cv=3)
    spent = spent_by(ours, monkeypatch)
    assert_alike(GridSearchCV(estimator, grid, cv=3).fit(X, y), ours)
    assert max(sizes) == 18
    assert len(spent) == 18 + 1  # and the last fit, on all rows
    assert sum(each.n_steps for each in spent) == 18 * 3 * 3 + 3 * 5
    assert {each.sample_rate for each in spent} == {20 / 60, 20 / 90}
    assert {each.noise_multiplier for each in spent} == {0.1, 1.0}


def test_rungs_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates that go on from rung to rung are counted by the steps that each rung adds."""
    rungs = {"resource": "max_iter", "max_resources": 6, "min_resources": 2, "factor": 3}
    search = BigHalvingGridSearchCV(NETWORK, GRID, cv=3, refit=False, random_state=0, **rungs)
    spent = spent_by(search, monkeypatch)
    assert sum(each.n_steps for each in spent) == 3 * 3 * (6 * 2 + 2 * 4)


def test_without_privacy_nothing_is_said() -> None:
    """A search without privacy has no epsilon_, also where one before it had."""
    search = BigGridSearchCV(NETWORK, {"alpha": [0.1]}, cv=3, refit=False)
    with pytest.warns(PrivacyWarning):
        search.fit(X, y)
    assert np.isnan(search.epsilon_) or search.epsilon_ > 0
    search.set_params(estimator__privacy=None, estimator__schedule="cosine").fit(X, y)
    assert not hasattr(search, "epsilon_")
