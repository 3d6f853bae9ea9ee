"""What validation rows are scored by: metrics, callables that look at the estimator, several of them, several sets."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, make_scorer, max_error, mean_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigGridSearchCV, BigLinearClassifier, BigMLPRegressor, BigNetworkClassifier
from skbig.exceptions import DivergenceError
from tests.estimators.test_validation import OVERFITS, X_VAL, noisy
from tests.fitting import ANY_TASK, BINARY, BOTH, MULTICLASS, VALUES, X, fitted, small, target, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Recording:
    """A scorer that scores as the estimator itself does, and notes down what it was given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        self.seen.append(estimator)
        return float(estimator.score(X, y))


# A plain callable looks at the estimator.


@ANY_TASK
@pytest.mark.parametrize("n_members", [1, 2])
def test_a_callable_gets_the_estimator_as_it_stands(task: str, n_members: int) -> None:
    """After each epoch it has the weights of that epoch, and predicts any rows; members are scored one by one."""
    scorer, held = Recording(), {"X_val": X_VAL, "y_val": noisy(task)}
    model = fitted(small(task, scoring=scorer, n_members=n_members, normalization="batch"), X, target(task), **held)
    own = fitted(small(task, scoring=None, n_members=n_members, normalization="batch"), X, target(task), **held)
    np.testing.assert_allclose(model.validation_scores_, own.validation_scores_, rtol=1e-12)
    assert len(scorer.seen) == 3 * n_members
    for member, seen in enumerate(scorer.seen[-n_members:]):
        assert is_classifier(seen) == is_classifier(model)
        expected = [coef if n_members == 1 else coef[member] for coef in model.coefs_]
        assert all(np.array_equal(*pair) for pair in zip(seen.coefs_, expected, strict=True))
        assert (seen.n_iter_, seen.t_, seen.n_features_in_) == (3, 180, 4)
        assert not np.array_equal(seen.predict(X_VAL), seen.predict(X_VAL + 3))


@pytest.mark.parametrize("estimator", [BigLinearClassifier, BigNetworkClassifier])
def test_every_estimator_is_shown(estimator: Any) -> None:
    """Also one that keeps its weights under other names."""
    scorer = Recording()
    model = fitted(estimator(scoring=scorer, max_iter=2), X, MULTICLASS, X_val=X_VAL, y_val=noisy("multiclass"))
    assert np.array_equal(scorer.seen[-1].predict_proba(X), model.predict_proba(X))


def sparsity(estimator: Any, X: Any, y: Any) -> float:
    """A score of the weights alone."""
    return -float(np.abs(estimator.coefs_[0]).sum())


def robustness(estimator: Any, X: Any, y: Any) -> float:
    """A score on other rows than those that it is given."""
    return float(np.mean([estimator.score(X + shift, y) for shift in (-0.5, 0.5)]))


@pytest.mark.parametrize("scoring", [sparsity, robustness])
def test_a_callable_decides_when_to_stop(scoring: Any) -> None:
    """The best weights by a score of anything are those that stay, and `partial_fit` finds the same."""
    held = {"X_val": X_VAL, "y_val": noisy("multiclass")}
    model = fitted(small("multiclass", **OVERFITS, scoring=scoring), X, MULTICLASS, **held)
    assert model.best_validation_score_ == pytest.approx(scoring(model, X_VAL, held["y_val"]), rel=1e-12)
    again = small("multiclass", **OVERFITS, scoring=scoring)
    for _ in range(model.n_iter_):
        again.partial_fit(X, MULTICLASS, np.unique(MULTICLASS), **held)
    assert weights_of(again).tobytes() == weights_of(model).tobytes()


@pytest.mark.parametrize("scoring", [robustness, ["accuracy", sparsity], None])
def test_a_search_asks_the_same(scoring: Any) -> None:
    """A callable gets the estimator of its own candidate also where candidates are trained as one stack."""
    model = small("multiclass", early_stopping=True, max_iter=6, n_iter_no_change=1, scoring=scoring)
    grid = {"learning_rate": [0.3, 0.01], "n_members": [1, 2]}
    theirs, ours = (
        fitted(kind(model, grid, cv=2, scoring="neg_log_loss"), X, MULTICLASS)
        for kind in (GridSearchCV, BigGridSearchCV)
    )
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=1e-9)
    assert ours.best_estimator_.validation_curves_ == theirs.best_estimator_.validation_curves_


class Cautious(BigMLPRegressor):
    """A subclass whose predictions are not those of its network."""

    def predict(self, X: Any, return_std: bool = False) -> Any:
        return super().predict(X, return_std) / 2


class OwnScore(BigMLPRegressor):
    """A subclass with a score of its own."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        return float(len(X))


@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error"])
def test_a_subclass_answers_for_itself(scoring: Any) -> None:
    """What a subclass predicts is what is scored, also by a metric."""
    model = fitted(Cautious((4,), max_iter=2, scoring=scoring), X, VALUES, X_val=X_VAL, y_val=noisy("regression"))
    predicted = model.predict(X_VAL)
    expected = (
        -mean_absolute_error(noisy("regression"), predicted) if scoring else model.score(X_VAL, noisy("regression"))
    )
    assert model.validation_scores_[-1] == pytest.approx(expected)
    own = fitted(OwnScore((4,), max_iter=2, scoring=None), X, VALUES, X_val=X_VAL, y_val=noisy("regression"))
    assert own.validation_scores_ == [40.0, 40.0]


# Several metrics, several sets.

SEVERAL: dict[str, tuple[Any, list[str]]] = {
    "names": (["accuracy", "neg_log_loss"], ["accuracy", "neg_log_loss"]),
    "the loss first": (("loss", "accuracy"), ["accuracy"]),
    "the loss last": (("accuracy", "loss"), ["accuracy"]),
    "a dict": ({"right": "accuracy", "weights": sparsity, "own": None}, ["right", "weights", "own"]),
    "callables": ([sparsity, make_scorer(accuracy_score), None], ["sparsity", "accuracy_score", "score"]),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_the_first_metric_decides(name: str) -> None:
    """Of several metrics the first stops training as it does alone, and each has the curve that it has alone."""
    scoring, names = SEVERAL[name]
    held = {"X_val": X_VAL, "y_val": noisy("multiclass")}
    model = fitted(small("multiclass", **OVERFITS, scoring=scoring), X, MULTICLASS, **held)
    values = list(scoring.values()) if isinstance(scoring, dict) else list(scoring)
    alone = fitted(small("multiclass", **OVERFITS, scoring=values[0]), X, MULTICLASS, **held)
    assert weights_of(model).tobytes() == weights_of(alone).tobytes()
    assert model.validation_scores_ == alone.validation_scores_
    curves = model.validation_curves_["validation"]
    assert list(curves) == ["loss", *names]
    assert curves["loss"] == model.validation_loss_curve_
    rest = {"max_iter": model.n_iter_, "n_iter_no_change": 10**6}
    for metric, value in zip(names, [value for value in values if value != "loss"], strict=True):
        other = fitted(small("multiclass", **OVERFITS | rest, scoring=value), X, MULTICLASS, **held)
        np.testing.assert_allclose(curves[metric], other.validation_scores_, rtol=1e-12)


@BOTH
@pytest.mark.parametrize("form", ["dict", "list", "tuple"])
def test_several_sets_are_watched(task: str, form: str) -> None:
    """The first set decides as it does alone; every set has its curves, weighted by its own weights, under its name."""
    weight = np.random.RandomState(1).uniform(size=60)
    rows = {"validation_0": (X_VAL, noisy(task), None), "validation_1": (X, target(task), weight)}
    X_val, y_val, weights = ({name: one[i] for name, one in rows.items()} for i in range(3))
    del weights["validation_0"]
    given: Any = (X_val, y_val, weights)
    if form != "dict":
        of = {"list": list, "tuple": tuple}[form]
        given = of(X_val.values()), of(y_val.values()), of([None, weight])
    model = small(task, **OVERFITS, scoring=["loss", None])
    fitted(model, X, target(task), X_val=given[0], y_val=given[1], sample_weight_val=given[2])
    alone = fitted(small(task, **OVERFITS), X, target(task), X_val=X_VAL, y_val=noisy(task))
    assert weights_of(model).tobytes() == weights_of(alone).tobytes()
    assert list(model.validation_curves_) == list(rows)
    assert model.validation_curves_["validation_0"]["loss"] == alone.validation_loss_curve_
    watched = small(task, **OVERFITS | {"max_iter": model.n_iter_, "early_stopping": False, "scoring": None})
    watched.set_params(n_iter_no_change=10**6)
    fitted(watched, X, target(task), X_val=X, y_val=target(task), sample_weight_val=weight)
    curves = model.validation_curves_["validation_1"]
    np.testing.assert_allclose(curves["loss"], watched.validation_loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(curves["score"], watched.validation_scores_, rtol=1e-12)


def test_without_validation_there_are_no_curves() -> None:
    """And with rows held out they are those of one set."""
    assert fitted(small("binary"), X, BINARY).validation_curves_ is None
    model = fitted(small("binary", early_stopping=True), X, BINARY)
    assert model.validation_curves_ == {"validation": {"loss": model.validation_loss_curve_}}


@pytest.mark.parametrize(
    ("X_val", "y_val", "message"),
    [
        ({"a": X_VAL}, BINARY[:40], "y_val with a ndarray"),
        ({"a": X_VAL}, {"b": BINARY[:40]}, r"X_val with \['a'\], y_val with \['b'\]"),
        ([X_VAL, X_VAL], [BINARY[:40]], r"y_val with \['validation_0'\]"),
        ({}, {}, "must hold as many"),
        ({"a": X_VAL, "b": X_VAL[:, :2]}, {"a": BINARY[:40], "b": BINARY[:40]}, "X has 2 features"),
        ({"a": X_VAL, "b": X_VAL}, {"a": BINARY[:40], "b": BINARY[:9]}, r"X_val\['b'\] and y_val\['b'\] have incons"),
        ({"a": X_VAL, "b": X_VAL * np.nan}, {"a": BINARY[:40], "b": BINARY[:40]}, r"Input X_val\['b'\] contains NaN"),
    ],
)
def test_sets_that_do_not_belong_together_are_refused(X_val: Any, y_val: Any, message: str) -> None:
    """The error names the set."""
    with pytest.raises(ValueError, match=message):
        fitted(small("binary"), X, BINARY, X_val=X_val, y_val=y_val)


def test_rows_in_lists_are_one_set() -> None:
    """A list of rows is a table, as anywhere, however it is nested."""
    for rows in (X_VAL.tolist(), list(X_VAL), sparse.csr_array(X_VAL)):
        model = fitted(small("binary"), X, BINARY, X_val=rows, y_val=noisy("binary").tolist())
        assert list(model.validation_curves_) == ["validation"]


@pytest.mark.parametrize("scoring", [[], {}, ["accuracy", "nonsense"], ["accuracy", 3], {"a": {"b": "r2"}}])
def test_what_is_no_metric_is_refused(scoring: Any) -> None:
    """Several metrics are each one that is accepted alone."""
    with pytest.raises(ValueError, match="'scoring' parameter of BigMLPClassifier must be"):
        fitted(small("binary", scoring=scoring), X, BINARY)


def test_metrics_have_different_names() -> None:
    """Two of the same name would have one curve."""
    with pytest.raises(ValueError, match="different names"):
        fitted(small("binary", scoring=["accuracy", "accuracy"], early_stopping=True), X, BINARY)


def test_curves_go_on() -> None:
    """With `warm_start` curves go on; one that is new begins with NaN, and one that is not asked for any more ends."""
    held = {"X_val": X_VAL, "y_val": noisy("binary")}
    model = fitted(small("binary", warm_start=True, scoring=["accuracy", "roc_auc"]), X, BINARY, **held)
    first = model.validation_curves_["validation"]
    fitted(model, X, BINARY, **held)
    assert model.validation_curves_["validation"]["roc_auc"][:3] == first["roc_auc"]
    fitted(model.set_params(scoring=["accuracy", "f1"]), X, BINARY, **held)
    curves = model.validation_curves_["validation"]
    assert list(curves) == ["loss", "accuracy", "f1"]
    assert np.isnan(curves["f1"][:6]).all() and np.isfinite(curves["f1"][6:]).all() and len(curves["f1"]) == 9


def test_a_search_watches_several_sets() -> None:
    """Sets and metrics are those of every candidate, whether it is trained alone or in a stack."""
    held = {"X_val": {"one": X_VAL, "two": X}, "y_val": {"one": noisy("binary"), "two": BINARY}}
    model = small("binary", scoring=["accuracy", "roc_auc"])
    theirs, ours = (
        fitted(kind(model, {"alpha": [0.0, 10.0]}, cv=2), X, BINARY, **held) for kind in (GridSearchCV, BigGridSearchCV)
    )
    assert ours.best_estimator_.validation_curves_ == theirs.best_estimator_.validation_curves_
    assert [*ours.best_estimator_.validation_curves_] == ["one", "two"]


def test_a_killed_fit_keeps_all_curves(tmp_path: Any) -> None:
    """Curves of every metric come back from a checkpoint."""
    model = small("binary", scoring=["accuracy", "roc_auc"], checkpoint_dir=tmp_path, early_stopping=True)
    first = fitted(model, X, BINARY).validation_curves_
    assert fitted(model, X, BINARY).validation_curves_ == first
    assert list(first["validation"]) == ["loss", "accuracy", "roc_auc"]


def test_a_pipeline_transforms_every_set() -> None:
    """With transform_input a pipeline scales a tuple of sets as it scales one."""
    from sklearn import config_context

    with config_context(enable_metadata_routing=True):
        net = small("binary").set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline([("scale", StandardScaler()), ("net", net)], transform_input=["X_val"])
        fitted(pipeline, X * 5 + 3, BINARY, X_val=(X_VAL * 5 + 3, X * 5 + 3), y_val=(noisy("binary"), BINARY))
    scaler = StandardScaler().fit(X * 5 + 3)
    by_hand = fitted(
        small("binary"), scaler.transform(X * 5 + 3), BINARY,
        X_val=[scaler.transform(X_VAL * 5 + 3), scaler.transform(X * 5 + 3)], y_val=[noisy("binary"), BINARY],
    )  # fmt: skip
    assert pipeline[-1].validation_curves_ == by_hand.validation_curves_


# Weights that a scorer does not take.


def unweighted(estimator: Any, X: Any, y: Any) -> float:
    return -float(np.abs(estimator.predict(X) - y).mean())


@pytest.mark.parametrize("scoring", [unweighted, make_scorer(max_error, greater_is_better=False), "neg_max_error"])
def test_a_scorer_without_weights_scores_without(scoring: Any) -> None:
    """It scores as without weights, and one warning says so; what can be weighted is."""
    weight = np.random.RandomState(1).uniform(0.5, 2, size=60)
    held = {"X_val": X_VAL, "y_val": noisy("regression")}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = small("regression", early_stopping=True, scoring=[scoring, "r2"])
        model.fit(X, VALUES, weight, **held, sample_weight_val=weight[:40])
        small("regression", early_stopping=True, scoring=scoring).fit(X, VALUES, weight)
    said = [entry for entry in caught if "takes no sample_weight" in str(entry.message)]
    assert len(said) == 2 and all(entry.filename == __file__ for entry in said)
    plain = fitted(small("regression", early_stopping=True, scoring=[scoring, "r2"]), X, VALUES, weight, **held)
    ours, theirs = (one.validation_curves_["validation"] for one in (model, plain))
    name = [*ours][1]
    assert ours[name] == theirs[name]
    assert ours["r2"] != theirs["r2"]


# Divergence.


@pytest.mark.parametrize("scoring", ["loss", None, "neg_mean_absolute_error", unweighted])
def test_predictions_that_are_not_finite_are_a_divergence(scoring: Any) -> None:
    """Where the validation rows are the first to go, the error says when, at which rate, and what to do."""
    far = X_VAL.astype(np.float32)
    far[0] = 1e19
    model = small("regression", scoring=scoring, early_stopping=True, learning_rate=1e3, optimizer="sgd", max_iter=90)
    model.set_params(hidden_layer_sizes=(4,) * 4, activation="identity", loss="absolute_error")
    model.set_params(clipping="value", n_iter_no_change=1000)
    with pytest.raises(DivergenceError, match=r"after epoch \d+, step \d+, at the learning rate 1000.*X_val"):
        model.fit(X.astype(np.float32), VALUES, X_val=far, y_val=noisy("regression"))
    assert np.isfinite(weights_of(model)).all()


@pytest.mark.parametrize("scoring", ["loss", None])
def test_a_diverging_fit_says_so_under_early_stopping(scoring: Any) -> None:
    """scikit-learn's own test of a diverging loss, with early stopping: the error is ours."""
    y = np.linspace(1e3, 1e6, 60)
    model = BigMLPRegressor((100,), optimizer="sgd", learning_rate=10.0, early_stopping=True, scoring=scoring)
    with pytest.raises(DivergenceError, match="learning rate 10"):
        model.fit(X * 1e3, y)
