"""A penalty of whole rows leaves features out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel
from sklearn.pipeline import make_pipeline

from skbig import BigLinearClassifier, BigLinearRegressor, BigMLPClassifier, BigMLPRegressor
from skbig.components import GroupL1

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 12))
PLANTED = [1, 4, 7]
VALUES = np.tanh(2 * X[:, 1]) + X[:, 4] - X[:, 7]
OPTIONS: dict[str, Any] = {"penalty": "group_l1", "learning_rate": 0.01, "schedule": "cosine", "random_state": 0}
MAKERS: dict[str, Any] = {
    "mlp": BigMLPRegressor((8,), alpha=6.0, max_iter=150, **OPTIONS),
    "members": BigMLPRegressor((8,), alpha=6.0, max_iter=150, n_members=2, **OPTIONS),
    "classifier": BigMLPClassifier((8,), alpha=12.0, max_iter=200, **OPTIONS),
    "linear": BigLinearRegressor(alpha=40.0, max_iter=80, **OPTIONS),
    "linear members": BigLinearClassifier(alpha=25.0, max_iter=80, n_members=2, **OPTIONS),
}


def planted(kind: str) -> Any:
    model = clone(MAKERS[kind])
    return model.fit(X, np.digitize(VALUES, [-1, 1]) if "lass" in kind or kind == "linear members" else VALUES)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_features_that_matter_are_selected(kind: str) -> None:
    """Of twelve features exactly those that the target depends on are used; all others change no prediction."""
    model = planted(kind)
    assert model.selected_features_.tolist() == PLANTED
    others = np.setdiff1d(np.arange(12), PLANTED)
    moved = X.copy()
    moved[:, others] = 7.0
    np.testing.assert_array_equal(model(moved), model(X))
    if hasattr(model, "coefs_"):
        assert model.feature_importances_.sum() == pytest.approx(1)
        assert np.flatnonzero(model.feature_importances_).tolist() == PLANTED


@pytest.mark.parametrize("kind", ["mlp", "linear"])
def test_select_from_model_takes_them(kind: str) -> None:
    """In a Pipeline SelectFromModel passes on what is selected."""
    selector = SelectFromModel(MAKERS[kind], threshold=1e-10)
    pipeline = make_pipeline(selector, BigLinearRegressor(optimizer="lbfgs")).fit(X, VALUES)
    assert pipeline[0].get_support(indices=True).tolist() == PLANTED
    assert pipeline.score(X, VALUES) > 0.8


def test_hidden_units_are_left_out_too() -> None:
    """A row of a later layer is what leaves a hidden unit: with all of it zero, the unit is not used."""
    model = planted("mlp")
    used = model.coefs_[1].any(axis=1)
    assert 0 < used.sum() < 8


def test_without_such_a_penalty_all_features_are_used() -> None:
    """An L2 penalty leaves no feature out; before a fit nothing is known."""
    model = BigMLPRegressor((4,), max_iter=5, schedule="cosine", random_state=0)
    assert not hasattr(model, "selected_features_") and not hasattr(model, "feature_importances_")
    assert model.fit(X, VALUES).selected_features_.tolist() == list(range(12))


def test_the_component_is_searched_by_its_strength() -> None:
    """The penalty may be given as a component; partial_fit goes on with its zeros."""
    model = BigMLPRegressor((8,), **OPTIONS | {"penalty": GroupL1(), "alpha": 6.0, "max_iter": 150})
    assert model.fit(X, VALUES).selected_features_.tolist() == PLANTED


@pytest.mark.parametrize(("options", "message"), [({"optimizer": "lbfgs"}, "smooth"), ({"backend": "fsdp"}, "whole")])
def test_where_rows_are_not_seen_it_is_refused(options: dict[str, Any], message: str) -> None:
    """A line search needs a smooth penalty, and a worker that has a part of a matrix has no rows."""
    with pytest.raises(ValueError, match=message):
        BigMLPRegressor((4,), penalty="group_l1", device="cpu", **options).fit(X, VALUES)
