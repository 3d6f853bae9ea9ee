"""Other searches go on working with our estimators: scikit-learn's own, in two processes too, and Optuna's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skbig.components import SGD, AdamW
from tests.fitting import VALUES, WORDS, X, fitted, small, weights_of
from tests.search.alike import assert_alike, piped

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

GRID = {"net__learning_rate": [0.1, 0.01], "net__optimizer": ["adam", SGD(momentum=0.5), AdamW(betas=(0.8, 0.9))]}
DRAWN = {"net__learning_rate": loguniform(1e-3, 1e-1), "net__dropout": [0.0, 0.3], "net__n_members": [1, 2]}
RUNGS: dict[str, Any] = {"resource": "net__max_iter", "min_resources": 2, "max_resources": 4, "factor": 2}
SEARCHES = {
    "grid": GridSearchCV(piped(), GRID, cv=2),
    "random": RandomizedSearchCV(piped(), DRAWN, n_iter=3, random_state=0, cv=2),
    "halving": HalvingGridSearchCV(piped(), GRID, cv=2, random_state=0, **RUNGS),
    "random halving": HalvingRandomSearchCV(piped(), DRAWN, n_candidates=4, cv=2, random_state=0, **RUNGS),
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_scikit_learns_searches(kind: str) -> None:
    """scikit-learn's searches give in two processes the bits that they give in one."""
    one, two = (
        fitted(clone(SEARCHES[kind]).set_params(n_jobs=n_jobs, scoring="neg_log_loss"), X, WORDS) for n_jobs in (1, 2)
    )
    assert_alike(one, two)
    assert np.isfinite(one.cv_results_["mean_test_score"]).all()
    assert two.cv_results_["mean_test_score"].tobytes() == one.cv_results_["mean_test_score"].tobytes()
    assert weights_of(two.best_estimator_[-1]).tobytes() == weights_of(one.best_estimator_[-1]).tobytes()
    assert set(two.predict(X)) <= set(WORDS)


def test_a_search_over_values() -> None:
    """A regressor is searched in two processes too."""
    pipeline = Pipeline([("scaler", StandardScaler()), ("net", small("regression"))])
    search = GridSearchCV(pipeline, {"net__alpha": [0.0, 1.0]}, cv=2, n_jobs=2)
    assert np.isfinite(fitted(search, X, VALUES).cv_results_["mean_test_score"]).all()


@pytest.fixture
def optuna() -> Any:
    """Optuna, which says only what goes wrong."""
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield optuna
    optuna.logging.set_verbosity(before)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_study_of_optunas(optuna: Any, n_jobs: int) -> None:
    """A study tunes numbers, kinds and fields by cross-validation, in one thread or two."""

    def score(trial: Any) -> float:
        pipeline = piped(optimizer=trial.suggest_categorical("optimizer", ["adam", "sgd", "lbfgs"]))
        pipeline.set_params(net__learning_rate=trial.suggest_float("rate", 1e-3, 1e-1, log=True))
        pipeline.set_params(net__hidden_layer_sizes=(trial.suggest_int("width", 2, 6),))
        return float(cross_val_score(pipeline, X, WORDS, cv=2, scoring="neg_log_loss").mean())

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(score, n_trials=6, n_jobs=n_jobs)
    values = [trial.value for trial in study.trials]
    assert len(values) == 6 and np.isfinite(values).all()
    assert study.best_value == pytest.approx(score(optuna.trial.FixedTrial(study.best_params)), rel=1e-9)


def test_a_study_that_prunes(optuna: Any) -> None:
    """A trial is reported to after every call of partial_fit, and may be stopped there."""
    X_val, y_val = X[:20], WORDS[:20]

    def score(trial: Any) -> float:
        network = small("multiclass", learning_rate=trial.suggest_float("rate", 1e-6, 1e-1, log=True))
        for epoch in range(6):
            network.partial_fit(X[20:], WORDS[20:], classes=np.unique(WORDS))
            trial.report(network.score(X_val, y_val), epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(network.score(X_val, y_val))

    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
    study.optimize(score, n_trials=8)
    states = {trial.state.name for trial in study.trials}
    assert "COMPLETE" in states and states <= {"COMPLETE", "PRUNED"}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.filterwarnings("ignore:OptunaSearchCV is experimental", "ignore:`optuna.terminator` module:FutureWarning")
def test_optunas_search(optuna: Any, n_jobs: int) -> None:
    """Optuna's search of scikit-learn's kind tunes a Pipeline and refits the best."""
    sklearn = pytest.importorskip("optuna_integration.sklearn")
    spaces = {"net__learning_rate": optuna.distributions.FloatDistribution(1e-3, 1e-1, log=True)}
    search = sklearn.OptunaSearchCV(piped(), spaces, n_trials=3, cv=2, n_jobs=n_jobs, random_state=0)
    assert fitted(search, X, WORDS).best_estimator_[-1].learning_rate == search.best_params_["net__learning_rate"]
