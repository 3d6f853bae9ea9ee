"""The training loop: when it stops and with what, and that other forms of data and numbers take the same way."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig._utils.threads import thread_count
from skbig.components import LBFGS, SGD, Adam, AdamW, Mixup, Plateau
from skbig.data.rows import place_rows
from skbig.engine.train import EpochReport, Validated, train
from skbig.exceptions import DivergenceError
from skbig.from_sklearn import from_sklearn
from tests.small import CPU, N_ROWS, assert_close, data, judge, kept, new_members, recipe, rows, weights

# Stopping.


def test_every_observer_hears_of_every_epoch() -> None:
    """An observer is told epoch, loss, score, rate and rows, also of the epoch with which another ends the training."""
    what = recipe(max_epochs=9)
    reports: list[list[EpochReport]] = [[], []]

    def stop(report: EpochReport) -> bool:
        reports[0].append(report)
        return report.epoch == 4

    def listen(report: EpochReport) -> None:
        reports[1].append(report)

    validation = judge(rows("regression"))
    history = train(new_members(what), rows("regression"), what, validation=validation, observers=[stop, listen])
    assert history.stop_reason == "callback" and len(history.loss) == 4
    assert reports[0] == reports[1]
    assert [(report.epoch, report.max_epochs, report.n_rows) for report in reports[0]] == [
        (i, 9, N_ROWS) for i in (1, 2, 3, 4)
    ]
    np.testing.assert_allclose([report.loss for report in reports[0]], np.ravel(history.loss))
    np.testing.assert_allclose([report.rate for report in reports[0]], np.ravel(history.rate))
    np.testing.assert_allclose([report.validation_score for report in reports[0]], np.ravel(history.validation_score))


@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("judged", [True, False])
def test_training_stops_when_nothing_improves(patience: int, judged: bool) -> None:
    """After more than `patience` epochs in a row without improvement by `tol`, training has converged."""
    what = recipe("binary", tol=0.005, patience=patience, max_epochs=200, rate=0.02, keep_best=judged)
    validation = judge(rows("binary", n_rows=70)) if judged else None
    history = train(new_members(what), rows("binary"), what, validation=validation)
    assert history.stop_reason == "converged"
    watched = np.ravel(history.validation_score) if judged else -np.ravel(history.loss)
    best, stalled = -np.inf, []
    for value in watched:
        stalled.append(0 if value >= best + 0.005 else stalled[-1] + 1)
        best = max(best, value)
    assert stalled[-1] == patience + 1 == max(stalled)


@pytest.mark.parametrize("normalization", [None, "batch"])
def test_early_stopping_ends_with_the_best_weights(normalization: str | None) -> None:
    """The weights and running moments are those after the epoch with the best validation score."""
    what = recipe("binary", keep_best=True, max_epochs=100, rate=0.1, patience=3, normalization=normalization)
    members, seen = new_members(what), []
    validation = judge(rows("binary", n_rows=70))
    history = train(
        members, rows("binary"), what, validation=validation, observers=[lambda report: seen.append(members.arrays())]
    )
    best = int(np.argmax(history.validation_score))
    assert history.stop_reason == "converged" and best < len(seen) - 1
    assert_close(members.arrays(), seen[best], 0.0)
    loss, score, _ = validation(members, what)
    np.testing.assert_allclose([loss, score], [history.validation_loss[best], history.validation_score[best]])


def test_a_line_search_converges() -> None:
    """On a small problem a line search stops at a vanishing gradient, long before its last epoch."""
    what = recipe(hidden_layer_sizes=(), optimizer=LBFGS(), rate=1.0, max_epochs=500, tol=1e-6, penalty=None)
    members = new_members(what)
    history = train(members, rows("regression"), what)
    X, y = data("regression")
    solution = np.linalg.lstsq(np.hstack([X, np.ones((N_ROWS, 1))]), y, rcond=None)[0]
    assert history.stop_reason == "converged" and len(history.loss) < 50
    np.testing.assert_allclose(members.flat.numpy().ravel(), solution.ravel(), atol=1e-5)


# The plateau.


def test_a_plateau_is_the_adaptive_rate_of_scikit_learn() -> None:
    """The rate of every epoch is the one that scikit-learn's MLPRegressor has reached by then."""
    X, y = data("regression")
    settings = {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.05,
        "tol": 0.02,
        "n_iter_no_change": 2,
    }
    theirs = MLPRegressor(hidden_layer_sizes=(6,), random_state=0, batch_size=20, max_iter=60, **settings)
    ours = from_sklearn(theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        rates = ours.fit(X, y.ravel()).learning_rates_
        after = [theirs.set_params(max_iter=n).fit(X, y.ravel())._optimizer.learning_rate for n in range(1, len(rates))]
    assert len(set(rates)) > 3
    np.testing.assert_allclose(rates[1:], after)


def test_a_plateau_ends_at_its_smallest_rate() -> None:
    """Training goes on as long as the rate can still be reduced, and converges when it cannot."""
    schedule = Plateau(factor=0.1, patience=1, min_rate=1e-4)
    what = recipe(schedule=schedule, tol=10.0, patience=1, max_epochs=100, rate=0.01)
    history = train(new_members(what), rows("regression"), what)
    rates = np.ravel(history.rate)
    assert history.stop_reason == "converged"
    np.testing.assert_allclose(sorted(set(rates.round(9))), [1e-4, 1e-3, 1e-2])
    assert (np.diff(rates) <= 0).all()


def test_a_plateau_watches_the_validation_score_where_there_is_one() -> None:
    """With early stopping a rate is reduced when the score, not the training loss, stays where it is."""
    schedule = Plateau(factor=0.5, patience=0)
    settings = {"schedule": schedule, "rate": 0.02, "max_epochs": 12, "patience": 100}
    falling, judged = recipe("binary", **settings), recipe("binary", keep_best=True, **settings)

    def worse(members: Any, what: Any) -> Validated:
        return Validated(np.ones(1), np.array([-float(members.epochs)]), {})

    without = train(new_members(falling), rows("binary"), falling, validation=worse)
    within = train(new_members(judged), rows("binary"), judged, validation=worse)
    assert without.rate[3] == 0.02
    np.testing.assert_allclose(np.ravel(within.rate), [0.02, *(0.02 * 0.5 ** np.arange(11))])


@pytest.mark.parametrize("optimizer", [SGD(), Adam(), AdamW()], ids=str)
def test_members_react_to_a_plateau_each_by_itself(optimizer: Any) -> None:
    """A member whose validation score stays where it is goes on at a smaller rate, and the others do not."""
    settings = {"schedule": Plateau(factor=0.5, patience=0), "rate": 0.02, "max_epochs": 4, "patience": 100}
    what = recipe(optimizer=optimizer, keep_best=True, **settings)

    def worse_for_the_second(members: Any, what: Any) -> Validated:
        return Validated(np.ones(2), np.array([1.0, -1.0]) * members.epochs, {})

    history = train(new_members(what, range(2)), rows("regression"), what, validation=worse_for_the_second)
    np.testing.assert_allclose(np.array(history.rate), [[0.02, 0.02], [0.02, 0.02], [0.02, 0.01], [0.02, 0.005]])


# Other data and numbers, the same way.


def sparse_data(task: str) -> tuple[sparse.csr_array, np.ndarray]:
    """Return sparse rows, some of them empty, with a column that is empty too and a zero that is stored."""
    X, y = data(task)
    X = np.where(np.abs(X) > 0.7, X, 0.0)
    X[5:9], X[:, 2] = 0.0, 0.0
    compressed = sparse.csr_array(X)
    compressed.data[0] = 0.0
    return compressed, y


@pytest.mark.crossed
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": (6, 5), "dropout": 0.3, "normalization": "batch", "optimizer": SGD(momentum=0.9)},
        {"normalization": "layer", "penalty": None},
        {"optimizer": LBFGS(), "rate": 1.0, "batch_size": N_ROWS},
        {"batch_size": 1, "max_epochs": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sparse_rows_train_as_dense_ones(
    changes: dict[str, Any], n_members: int, weighted: bool, dtype: torch.dtype
) -> None:
    """It does not matter in which form the zeros come."""
    X, y = sparse_data("multiclass")
    what, weight = recipe("multiclass", **changes), weights() if weighted else None
    trained = []
    for form in (X, X.toarray()):
        members = new_members(what, range(n_members), dtype)
        history = train(members, place_rows(form, y, weight, CPU, dtype), what)
        trained.append(kept(members) | {"loss": np.array(history.loss)})
    assert_close(*trained, 1e-12 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.csr_matrix])
@pytest.mark.parametrize("n_members", [1, 2])
def test_sparse_rows_are_predicted_and_validated_as_dense_ones(form: Any, n_members: int) -> None:
    """Prediction, validation and splitting take sparse rows as well."""
    X, y = sparse_data("multiclass")
    settings = {"early_stopping": True, "max_iter": 4, "batch_size": 20, "n_members": n_members, "random_state": 0}
    predicted = []
    for rows_ in (form(X), X.toarray()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = BigMLPClassifier((6,), **settings).fit(rows_, y)
        predicted.append((model.predict_proba(rows_), model.validation_scores_))
    np.testing.assert_allclose(predicted[0][0], predicted[1][0], atol=1e-12)
    np.testing.assert_allclose(predicted[0][1], predicted[1][1])


@pytest.mark.crossed
@pytest.mark.parametrize(
    "changes", [{}, {"normalization": "batch", "dropout": 0.2}, {"augmentation": Mixup()}], ids=str
)
@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_bfloat16_is_close(changes: dict[str, Any], n_members: int, form: str) -> None:
    """In bfloat16 the loss goes the same way within its three digits, and the weights themselves stay float32."""
    if form == "sparse" and "augmentation" in changes:
        pytest.skip("an augmentation needs dense rows")
    X, y = sparse_data("multiclass")
    X = X.toarray() if form == "dense" else X
    trained = []
    for bf16 in (True, False):
        what = recipe("multiclass", bf16=bf16, max_epochs=6, **changes)
        members = new_members(what, range(n_members), torch.float32)
        history = train(members, place_rows(X, y, None, CPU, torch.float32), what)
        trained.append((np.array(history.loss), kept(members)))
    assert all(value.dtype == np.float32 for value in trained[0][1].values())
    np.testing.assert_allclose(trained[0][0], trained[1][0], rtol=0.02)
    assert not np.array_equal(trained[0][0], trained[1][0])


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression", "multi-output"])
def test_an_ensemble_predicts_the_mean_of_its_members(task: str) -> None:
    """Probabilities are averaged, and predictions of values too; their spread is the disagreement."""
    X, y = data(task)
    kind = BigMLPRegressor if task in ("regression", "multi-output") else BigMLPClassifier
    y = y.ravel() if task in ("binary", "regression") else y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ensemble = kind((6,), n_members=4, max_iter=3, random_state=0).fit(X, y)
    singles = []
    for m in range(4):
        hidden = np.maximum(X @ ensemble.coefs_[0][m] + ensemble.intercepts_[0][m], 0)
        singles.append(hidden @ ensemble.coefs_[1][m] + ensemble.intercepts_[1][m])
    raw = np.array(singles)
    if kind is BigMLPRegressor:
        mean, std = ensemble.predict(X, return_std=True)
        np.testing.assert_allclose(mean, raw.mean(0).reshape(mean.shape))
        np.testing.assert_allclose(std, raw.std(0).reshape(std.shape))
        return
    exponentials = np.exp(raw)
    probabilities = (
        exponentials / exponentials.sum(-1, keepdims=True) if task == "multiclass" else 1 / (1 + 1 / exponentials)
    )
    mean = probabilities.mean(0)
    np.testing.assert_allclose(ensemble.predict_proba(X)[:, -mean.shape[1] :], mean)
    expected = mean.argmax(1) if task == "multiclass" else (mean > 0.5).astype(int)
    np.testing.assert_array_equal(ensemble.predict(X), expected.ravel() if task == "binary" else expected)


# Failing, behind the estimators.


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
def test_divergence_leaves_what_was_learnt_or_nothing(optimizer: str) -> None:
    """After the error a model that had learnt something predicts, and one that had not is not fitted."""
    X, y = data("regression")
    model = BigMLPRegressor((6,), loss="poisson", optimizer=optimizer, random_state=0, max_iter=50)
    settings = {"learning_rate": 20.0} if optimizer == "sgd" else {}
    with pytest.raises(DivergenceError):
        model.set_params(**settings).fit(X * (1 if optimizer == "sgd" else 1e6), y.ravel())
    if optimizer == "sgd":
        assert np.isfinite(model.coefs_[0]).all() and model._raw(X).isfinite().all()
        assert len(model.loss_curve_) == len(model.learning_rates_)
    else:
        assert not hasattr(model, "coefs_")


def test_the_thread_count_is_put_back() -> None:
    """The number of threads is that of before, also after an error."""
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="on purpose"), thread_count(3):
        assert torch.get_num_threads() == 3
        with thread_count(None):
            assert torch.get_num_threads() == 3
        raise RuntimeError("on purpose")
    assert torch.get_num_threads() == before
    what = recipe(optimizer=SGD())
    train(new_members(what), rows("regression"), what)
    assert torch.get_num_threads() == before
