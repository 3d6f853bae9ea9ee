"""A network is found, and trained with others, wherever it is last: in Pipelines and in what fits one estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from skbig import BigGridSearchCV, BigHalvingGridSearchCV
from tests.fitting import BINARY, MANY_VALUES, VALUES, X, fitted, small
from tests.search.alike import assert_alike, both
from tests.searching import noting

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUANTILES = QuantileTransformer(n_quantiles=10, subsample=30, random_state=0)


def scaled(net: Any) -> Pipeline:
    return Pipeline([("scaler", StandardScaler()), ("net", net)])


NETWORK = small("regression")
NESTED: dict[str, tuple[Any, str, Any]] = {
    "scaled target": (TransformedTargetRegressor(NETWORK, transformer=StandardScaler()), "regressor__", VALUES),
    "functions": (
        TransformedTargetRegressor(NETWORK, func=np.arcsinh, inverse_func=np.sinh),
        "regressor__",
        VALUES,
    ),
    "several targets": (
        TransformedTargetRegressor(NETWORK, transformer=QUANTILES, check_inverse=False),
        "regressor__",
        MANY_VALUES,
    ),
    "a target within a pipeline": (
        make_pipeline(StandardScaler(), TransformedTargetRegressor(NETWORK, transformer=StandardScaler())),
        "transformedtargetregressor__regressor__",
        VALUES,
    ),
    "a pipeline within a target": (
        TransformedTargetRegressor(scaled(NETWORK), transformer=StandardScaler()),
        "regressor__net__",
        VALUES,
    ),
    "a threshold": (FixedThresholdClassifier(small("binary"), threshold=0.3), "estimator__", BINARY),
    "a threshold over a pipeline": (FixedThresholdClassifier(scaled(small("binary"))), "estimator__net__", BINARY),
}


@pytest.mark.parametrize("name", NESTED)
def test_what_holds_a_network_is_searched_as_a_stack(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All candidates are trained together, score as in scikit-learn's search, and the best is the same."""
    estimator, prefix, y = NESTED[name]
    sizes: list[int] = []
    monkeypatch.setattr("skbig.search.stack_scheduler.Population", noting(sizes))
    monkeypatch.setattr("skbig.search.work_queue.side_by_side", lambda tasks, n_threads: 1)
    grid = {f"{prefix}alpha": [0.0, 1.0], f"{prefix}learning_rate": [0.01, 0.03]}
    theirs, ours = both(estimator, grid, y=y, cv=3, return_train_score=True)
    assert sizes == [4 * 3]
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_what_is_around_the_network_is_searched_too() -> None:
    """Settings of what transforms the target, and whole regressors, are candidates as any others."""
    estimator = TransformedTargetRegressor(scaled(NETWORK), transformer=StandardScaler())
    grid = [
        {"transformer": [StandardScaler(), QUANTILES], "regressor__net__alpha": [0.0, 1.0]},
        {"transformer__with_mean": [True, False]},
        {"regressor": [NETWORK, clone(NETWORK).set_params(alpha=1.0), scaled(NETWORK)]},
    ]
    both(estimator, grid, y=VALUES)


def test_weights_reach_the_network() -> None:
    """Parameters of `fit` go the way that they go in scikit-learn's search."""
    estimator = TransformedTargetRegressor(NETWORK, transformer=StandardScaler())
    weight = {"sample_weight": np.linspace(0.5, 2.0, len(X))}
    _, weighted = both(estimator, {"regressor__alpha": [0.0, 1.0]}, y=VALUES, fit=weight)
    _, plain = both(estimator, {"regressor__alpha": [0.0, 1.0]}, y=VALUES)
    assert (weighted.cv_results_["mean_test_score"] != plain.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("name", ["scaled target", "a pipeline within a target"])
def test_rungs(name: str) -> None:
    """Its epochs are the resource of a halving search, without their full name."""
    estimator, prefix, y = NESTED[name]
    grid = {f"{prefix}alpha": [0.0, 0.1, 1.0, 2.0]}
    settings: dict[str, Any] = {"cv": 2, "factor": 2, "min_resources": 2, "max_resources": 8}
    theirs = HalvingGridSearchCV(estimator, grid, resource=f"{prefix}max_iter", **settings)
    ours = BigHalvingGridSearchCV(estimator, grid, **settings)
    assert_alike(fitted(theirs, X, y), fitted(ours, X, y))


def test_nothing_of_a_search_is_left() -> None:
    """Fitted clones have no memory but their own, and a random state, device and methods as they were given."""
    seen: list[Any] = []

    def keep(estimator: Any, X: Any, y: Any) -> float:
        seen.append(estimator)
        return 0.0

    estimator = TransformedTargetRegressor(scaled(small("regression", random_state=None)))
    fitted(BigGridSearchCV(estimator, {"regressor__net__alpha": [0.0, 1.0]}, cv=2, scoring=keep), X, VALUES)
    for one in seen:
        assert one.regressor_.memory is None and one.regressor.memory is None
        for network in (one.regressor_[-1], one.regressor[-1]):
            assert (network.random_state, network.device) == (None, "auto")
        assert not {"fit", "set_params"} & vars(one).keys()


def test_a_regressor_of_others() -> None:
    """Without a network in it, it is searched as scikit-learn does."""
    theirs, ours = (
        kind(TransformedTargetRegressor(), {"check_inverse": [True]}) for kind in (GridSearchCV, BigGridSearchCV)
    )
    assert_alike(fitted(theirs, X, VALUES), fitted(ours, X, VALUES))
