"""The estimators of tables: raw tables in, right answers out, in every way that scikit-learn fits and asks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_selection import SelectFromModel
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skbig import BigHalvingGridSearchCV, BigTabularClassifier, BigTabularRegressor
from skbig._utils.threads import thread_count
from skbig.components import Quantile
from skbig.data import open_parquet
from skbig.estimators.calibration import SPREAD
from skbig.estimators.conformal import conformity
from skbig.tables.encoding import TableEncoding
from tests.searching import assert_same_search

random = np.random.default_rng(0)
N = 160
X = pd.DataFrame(
    {
        "size": np.where(random.random(N) < 0.2, np.nan, random.normal(size=N)),
        "count": random.integers(0, 5, N),
        "colour": random.choice(["red", "green", None], N),
        "town": pd.Categorical([f"town {i % 12}" for i in range(N)]),
        "flag": random.random(N) > 0.5,
    }
)
SIGNAL = X["size"].fillna(1.0) + 2.0 * (X["colour"] == "red") - (X["town"].cat.codes > 5)
LABELS = np.where(SIGNAL > 0.5, "yes", "no")
VALUES = (9000.0 + 1000.0 * SIGNAL).to_numpy()
SMALL: dict[str, Any] = {
    **{"preset": "fast", "hidden_layer_sizes": (8,), "max_iter": 3, "n_bins": 8},
    **{"n_members": 2, "random_state": 0, "batch_size": 32},
}
KINDS = {"classifier": (BigTabularClassifier, LABELS), "regressor": (BigTabularRegressor, VALUES)}
BOTH = pytest.mark.parametrize("kind", KINDS)


def small(kind: str, **parameters: Any) -> Any:
    return KINDS[kind][0](**SMALL | parameters)


def fitted(kind: str, **parameters: Any) -> Any:
    return small(kind, **parameters).fit(X, KINDS[kind][1])


def answers(model: Any, rows: Any = X) -> np.ndarray:
    return np.asarray(model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows))


@BOTH
def test_a_table_is_learnt_as_it_is(kind: str) -> None:
    """Numbers, words, categories, booleans and missing values tell what they have to tell."""
    parameters = {"hidden_layer_sizes": (32,), "max_iter": 60, "early_stopping": False}
    assert fitted(kind, **parameters).score(X, KINDS[kind][1]) > 0.95


HOLDERS = {
    "other order": lambda frame: frame[frame.columns[::-1]],
    "polars": lambda frame: pl.from_pandas(frame),
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "numpy": lambda frame: frame.to_numpy(object),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_whatever_holds_the_table_the_model_is_the_same(holder: str) -> None:
    """Fitted to it, or asked for it, the bits are those of pandas."""
    expected, other = answers(fitted("classifier")), HOLDERS[holder](X)
    if holder != "numpy":  # which has no names
        assert answers(fitted("classifier"), other).tobytes() == expected.tobytes()
    if holder != "other order":  # other columns first are other first weights
        assert answers(small("classifier").fit(other, LABELS), other).tobytes() == expected.tobytes()


@BOTH
def test_a_network_of_an_earlier_version_goes_on_as_it_is(kind: str) -> None:
    """Calls of `partial_fit` rectify no functions of a network that has been trained without."""
    y, first = KINDS[kind][1], {"classes": np.unique(KINDS[kind][1])} if kind == "classifier" else {}
    model = small(kind).partial_fit(X, y, **first)
    assert model._network.network.rectified == 0.5
    built = model._network
    model._network = built.network.replace(rectified=0.0).of_shape(built.n_features, built.n_outputs)
    assert model.partial_fit(X, y)._network.network.rectified == 0.0


@BOTH
def test_what_was_never_met_is_predicted(kind: str) -> None:
    """Unseen categories, and missing values where none were missing, are no error."""
    other = X.assign(colour="violet", town="elsewhere", count=np.nan, flag=None)
    assert np.isfinite(answers(fitted(kind), other).astype(float)).all()


def test_errors_name_column_and_value() -> None:
    """In `fit`, in `predict` and for validation rows."""
    model = fitted("classifier")
    with pytest.raises(ValueError, match="The column 'size' of X must hold numbers. Got 'large' in row 0"):
        model.predict(X.assign(size="large"))
    with pytest.raises(ValueError, match="The column 'when' of X has the type datetime64"):
        small("classifier").fit(X.assign(when=pd.Timestamp("2020-01-01")), LABELS)
    with pytest.raises(ValueError, match="now missing:\n- size"):
        small("classifier").fit(X, LABELS, X_val=X.drop(columns="size"), y_val=LABELS)
    with pytest.raises(ValueError, match="'preset' parameter of BigTabularClassifier must be"):
        small("classifier", preset="slow").fit(X, LABELS)


@BOTH
def test_it_is_copied_and_pickled_by_value(kind: str) -> None:
    """A clone is not fitted and fits the same; a pickle predicts the same."""
    model = fitted(kind)
    assert not hasattr(clone(model), "encoding_")
    assert answers(clone(model).fit(X, KINDS[kind][1])).tobytes() == answers(model).tobytes()
    assert answers(pickle.loads(pickle.dumps(model))).tobytes() == answers(model).tobytes()


@BOTH
def test_the_first_call_fixes_the_encoding(kind: str) -> None:
    """Later calls of `partial_fit`, with other levels and another range, are encoded as the first was."""
    y = KINDS[kind][1]
    first = {"classes": ["no", "yes"]} if kind == "classifier" else {}
    model = small(kind).partial_fit(X[:80], y[:80], **first)
    encoding = model.encoding_
    model.partial_fit(X[80:].assign(colour="blue", size=9.0), y[80:])
    assert model.encoding_ is encoding
    assert model.t_ == N
    for _ in range(20):
        model.set_params(learning_rate=0.01).partial_fit(X, y)
    assert model.score(X, y) > 0.6


@BOTH
def test_a_warm_start_goes_on(kind: str) -> None:
    """It keeps encoding and members, whatever the preset would choose by now."""
    model = fitted(kind, warm_start=True)
    encoding = model.encoding_
    model.set_params(n_members="auto").fit(X, KINDS[kind][1])
    assert model.encoding_ is encoding
    assert len(next(iter(model.weights_.values()))) == 2
    assert model.t_ == 2 * 3 * (N - N // 10)


@BOTH
@pytest.mark.parametrize("early", ["auto", False])
def test_a_search_is_that_of_scikit_learn(kind: str, early: str | bool) -> None:
    """Candidates and folds are trained as stacks, each with the encoding of its own rows, to the same scores."""
    grid = {"dropout": [0.0, 0.2], "learning_rate": [0.001, 0.01]}
    estimator, y = small(kind, early_stopping=early, max_iter=2), KINDS[kind][1]
    with thread_count(1):  # with more, as many stacks are trained side by side
        largest = assert_same_search(estimator, grid, X, y, cv=2, scoring=None, refit=True)
    assert largest == 8


def test_halving_spends_epochs() -> None:
    """The most epochs are those that the rows would get."""
    search = BigHalvingGridSearchCV(small("classifier", max_iter="auto"), {"dropout": [0.0, 0.5]}, cv=2, factor=2)
    search.fit(X, LABELS)
    assert search.best_estimator_.score(X, LABELS) > 0.6


@BOTH
def test_it_is_a_step_as_any_other(kind: str) -> None:
    """Pipelines, meta-estimators and cross-validation take it with its table."""
    y = KINDS[kind][1]
    pipeline = make_pipeline(FunctionTransformer(), small(kind))
    assert len(cross_val_predict(pipeline, X, y, cv=2)) == N
    if kind == "regressor":
        assert TransformedTargetRegressor(small(kind), func=np.log, inverse_func=np.exp).fit(X, y).score(X, y) > -1


@BOTH
def test_rows_of_weight_zero_are_not_there(kind: str) -> None:
    """Also not for the encoding."""
    y, weight = KINDS[kind][1], np.r_[np.ones(100), np.zeros(N - 100)]
    strange = pd.concat([X[:100], X[100:].assign(size=1e9, colour="strange")])
    weighted = small(kind, early_stopping=False).fit(strange, y, sample_weight=weight)
    np.testing.assert_allclose(answers(weighted), answers(small(kind, early_stopping=False).fit(X[:100], y[:100])))


@pytest.mark.crossed
@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile", "huber", "epsilon_insensitive"])
def test_the_unit_of_the_target_does_not_matter(loss: str, unit: float) -> None:
    """Pounds or grams, the predictions are the same, in that unit; where a loss has a unit, it is given in it."""
    from skbig.components import EpsilonInsensitive, Huber

    losses = {"huber": lambda u: Huber(delta=500 * u), "epsilon_insensitive": lambda u: EpsilonInsensitive(100 * u)}
    make = losses.get(loss, lambda _: loss)
    one = small("regressor", loss=make(1.0)).fit(X, VALUES)
    other = small("regressor", loss=make(unit)).fit(X, VALUES * unit)
    np.testing.assert_allclose(other.predict(X), one.predict(X) * unit, rtol=1e-6)


def test_predictions_stay_within_the_training_range() -> None:
    """Rows far from all others are predicted as the most extreme target at most."""
    model = fitted("regressor", max_iter=20, learning_rate=0.05)
    far = X.assign(size=np.linspace(-1e9, 1e9, N))
    assert VALUES.min() <= model.predict(far).min() <= model.predict(far).max() <= VALUES.max()
    mean, std = model.predict(far, return_std=True)
    np.testing.assert_allclose(mean, model.predict(far))
    assert (std >= 0).all()


@pytest.mark.parametrize("loss", ["poisson", "gamma", "squared_log_error", Quantile(0.9)], ids=str)
def test_a_loss_begins_at_the_targets_mean(loss: Any) -> None:
    """A training of no steps to speak of predicts about the mean, in any unit, for losses with a link as well."""
    model = fitted("regressor", loss=loss, learning_rate=1e-9, max_iter=1)
    assert abs(model.predict(X).mean() / VALUES.mean() - 1) < 0.3


def test_probabilities_are_calibrated_on_validation_rows() -> None:
    """The temperature is the most probable one there, if its logarithm is normal; without such rows it is one."""
    model = small("classifier", max_iter=20, early_stopping=True)
    model.fit(X[:100], LABELS[:100], X_val=X[100:], y_val=LABELS[100:])
    at = model.temperature_
    losses = []
    for model.temperature_ in (at, at * 0.9, at * 1.1):
        surprise = log_loss(LABELS[100:], model.predict_proba(X[100:]), normalize=False)
        losses.append(surprise + (np.log(model.temperature_) / SPREAD) ** 2 / 2)
    assert losses[0] <= min(losses)
    assert fitted("classifier", early_stopping=False).temperature_ == 1.0


def test_a_few_rows_that_are_right_make_nobody_certain() -> None:
    """From ten of them the temperature does not go to its limit."""
    rows = np.linspace(-1, 1, 100)[:, None]
    model = small("classifier", max_iter=40, learning_rate=0.02, early_stopping=True).fit(rows, rows[:, 0] > 0)
    assert model.score(rows, rows[:, 0] > 0) > 0.9
    assert 0.5 < model.temperature_ < 2


def test_decisions_agree_with_probabilities() -> None:
    """Of an ensemble too: the order of decision values is that of the averaged probabilities."""
    for y in (LABELS, X["town"].cat.codes.to_numpy() % 3):
        model = small("classifier", n_members=5).fit(X, y)
        decision, probability = model.decision_function(X), model.predict_proba(X)
        if decision.ndim == 1:
            np.testing.assert_allclose(decision, np.log(probability[:, 1] / probability[:, 0]), rtol=1e-6, atol=1e-9)
        else:
            np.testing.assert_allclose(np.exp(decision), probability, rtol=1e-6)


def test_presets_trade_time_for_accuracy() -> None:
    """A better preset trains more and larger networks; of few rows all train the same, and any can be overruled."""
    sizes = {}
    for preset in ("fast", "default", "best"):
        model = BigTabularClassifier(preset, max_iter=1, random_state=0, early_stopping=True).fit(X, LABELS)
        sizes[preset] = sum(value.size for value in model.weights_.values())
    assert sizes["fast"] < sizes["default"] < sizes["best"]
    assert BigTabularClassifier("best", max_iter=1).fit(X, LABELS).weights_["bias2"].shape == (8, 1, 64)
    assert BigTabularClassifier("best", max_iter=1, n_members=1).fit(X, LABELS).weights_["bias3"].shape == (1, 1)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_numbers_are_learnt_with_dropout_in_the_last_layer(kind: str) -> None:
    """Where it shifts nothing; classes with dropout in all."""
    sizes = {"hidden_layer_sizes": (8, 8), "preset": "default"}
    expected = answers(small(kind, **sizes, dropout=0.1).fit(X, KINDS[kind][1]))
    model = small(kind, **sizes).fit(X, KINDS[kind][1])
    assert answers(model).tobytes() == expected.tobytes()
    assert answers(small(kind, **sizes, dropout=0.0).fit(X, KINDS[kind][1])).tobytes() != expected.tobytes()
    if kind == "regressor":
        assert small(kind).fit(X, KINDS[kind][1])._network.network.dropout == 0.0  # two members are no better for it
    dropouts = [layer.dropout for layer in model._network.layers[1:]]
    assert dropouts == ([0.1, 0.1, 0.0] if kind == "classifier" else [0.0, 0.1, 0.0])


@pytest.mark.parametrize("number_embedding", ["auto", "piecewise_linear", "periodic", None])
def test_every_embedding_learns(number_embedding: str | None) -> None:
    """Each way to read a number is one."""
    model = fitted("classifier", number_embedding=number_embedding, learning_rate=0.02, max_iter=30)
    assert model.score(X, LABELS) > 0.85


def test_a_wide_table_is_not_embedded() -> None:
    """More than 128 numbers are scaled, unless embeddings are asked for."""
    wide = random.normal(size=(60, 130))
    y = (wide[:, 0] > 0).astype(int)
    assert small("classifier").fit(wide, y).weights_["weight0"].shape == (2, 130, 8)
    assert "number_table0" in small("classifier", number_embedding="piecewise_linear").fit(wide, y).weights_


def test_sparse_rows_are_a_table_of_numbers() -> None:
    """They are read as they are: one member, no embeddings, unless told otherwise."""
    draws = np.random.default_rng(0)
    rows = sparse.csr_array(np.where(draws.random((80, 30)) < 0.1, draws.random((80, 30)), 0.0))
    y = np.where(rows.sum(axis=1) > rows.sum(axis=1).mean(), "a", "b")
    model = small("classifier", n_members="auto", max_iter=30).fit(rows, y)
    np.testing.assert_allclose(model.predict_proba(rows), model.predict_proba(rows.toarray()), rtol=1e-6)
    assert model.weights_["weight0"].shape == (30, 8)


def test_rows_elsewhere_are_encoded_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet is streamed, and the model is that of the array in memory."""
    values = random.normal(size=(200, 3)).astype(np.float32)
    values[::9, 0] = np.nan
    frame = pd.DataFrame(values, columns=["a", "b", "c"]).assign(y=(values[:, 1] > 0).astype(int))
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "rows.parquet", row_group_size=64)
    source, y = open_parquet(tmp_path / "rows.parquet", target="y")
    settings = {"early_stopping": False, "precision": "float32"}
    expected = small("classifier", **settings).fit(frame[["a", "b", "c"]], frame["y"].to_numpy())
    streamed = small("classifier", **settings).fit(source, y)
    assert isinstance(streamed.encoding_, TableEncoding)
    np.testing.assert_allclose(
        streamed.predict_proba(source), expected.predict_proba(frame[["a", "b", "c"]]), rtol=1e-5
    )
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    truly = small("classifier", **settings, max_iter=30).fit(source, y)
    assert truly.score(source, frame["y"]) > 0.9


def test_few_rows_are_all_trained_on() -> None:
    """Under fifty rows none are held out, and one step is all of them."""
    model = BigTabularClassifier("fast", max_iter=2, random_state=0).fit(X[:40], LABELS[:40])
    assert model.validation_scores_ is None
    assert model.t_ == 80


def test_a_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    """A training with checkpoints comes to the same, and its folder is used."""
    settings = {"checkpoint_dir": tmp_path / "here"}
    assert answers(fitted("classifier", **settings)).tobytes() == answers(fitted("classifier")).tobytes()
    assert answers(fitted("classifier", **settings)).tobytes() == answers(fitted("classifier")).tobytes()


@BOTH
@pytest.mark.parametrize("early", ["auto", False])
def test_planted_columns_are_important(kind: str, early: str | bool) -> None:
    """Columns that say something share what there is; those that say nothing have about nothing."""
    rows = X.assign(noise=random.normal(size=N), words=random.choice(["a", "b", "c"], N), one=1.0)
    model = small(kind, hidden_layer_sizes=(32,), max_iter=40, early_stopping=early).fit(rows, KINDS[kind][1])
    importance = dict(zip(rows.columns, model.feature_importances_, strict=True))
    assert model.feature_importances_.sum() == pytest.approx(1)
    assert sum(importance[name] for name in ("size", "colour", "town")) > 0.8
    assert min(importance[name] for name in ("size", "colour")) > 0.1
    assert importance["one"] == 0


def test_importances_choose_features() -> None:
    """`SelectFromModel` takes them."""
    rows = np.c_[random.normal(size=(N, 3)), VALUES]
    selected = SelectFromModel(small("regressor", max_iter=20), max_features=1).fit(rows, VALUES)
    assert selected.get_support().tolist() == [False, False, False, True]


def test_intervals_hold_what_they_promise() -> None:
    """Of new rows about the share that was asked for lies in its interval, and larger shares take wider ones."""
    rows = random.normal(size=(3000, 2))
    y = 1e3 * (rows[:, 0] + (0.2 + np.abs(rows[:, 1])) * random.normal(size=3000))
    model = small("regressor", max_iter=5).fit(rows[:600], y[:600], X_val=rows[600:1600], y_val=y[600:1600])
    widths = []
    for coverage in (0.5, 0.9):
        low, high = model.predict_interval(rows[1600:], coverage)
        assert np.mean((low <= y[1600:]) & (y[1600:] <= high)) == pytest.approx(coverage, abs=0.04)
        widths.append(np.mean(high - low))
        np.testing.assert_allclose((low + high) / 2, model.predict(rows[1600:]), rtol=1e-4, atol=1e-2)
    assert widths[0] < widths[1]


def test_an_interval_has_the_shape_of_the_targets() -> None:
    """Several targets have an interval each."""
    two = np.c_[VALUES, VALUES / 1000]
    low, high = small("regressor").fit(X, two).predict_interval(X, 0.8)
    assert low.shape == high.shape == two.shape
    assert (low < high).all()


@pytest.mark.parametrize(
    ("parameters", "coverage", "message"),
    [
        ({}, 1.0, r"coverage must be a float in \(0, 1\). Got 1.0"),
        ({}, 0.99, r"coverage=0.99 needs more rows than the 16 that were held out. Ask for at most 0.941"),
        ({"early_stopping": False}, 0.9, "predict_interval needs rows that were held out"),
    ],
)
def test_intervals_that_cannot_be_are_refused(parameters: dict[str, Any], coverage: float, message: str) -> None:
    """The error says what to do."""
    with pytest.raises(ValueError, match=message):
        fitted("regressor", **parameters).predict_interval(X, coverage)


def test_held_out_rows_that_are_streamed_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration, intervals and importances take what they need of rows that are not in memory."""
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    values = random.normal(size=(200, 3)).astype(np.float32)
    frame = pd.DataFrame(values, columns=["a", "b", "c"]).assign(y=values[:, 0])
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "rows.parquet", row_group_size=64)
    source, y = open_parquet(tmp_path / "rows.parquet", target="y")
    regressor = small("regressor", max_iter=20).fit(source, y)
    assert regressor.feature_importances_.argmax() == 0
    low, high = regressor.predict_interval(source, 0.8)
    assert np.mean((low <= y) & (y <= high)) > 0.5
    classifier = small("classifier", max_iter=20).fit(source, np.where(y > 0, "yes", "no"))
    assert classifier.temperature_ != 1.0


def test_held_out_rows_without_an_error_have_intervals_without_a_width() -> None:
    """Where most errors and all spreads are zero nothing is divided by zero."""
    y, zero = np.array([[0.0], [0.0], [0.0], [5.0]]), np.zeros((4, 1))
    widths = [conformity(y, zero, zero, None).half_width(zero, coverage)[0, 0] for coverage in (0.5, 0.8)]
    np.testing.assert_allclose(widths, [0, 5])
