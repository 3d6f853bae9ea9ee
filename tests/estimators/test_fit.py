"""Fit and predict: what a fitted estimator has, says and is able to do again."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.class_weight import compute_sample_weight

from skbig import BigMLPClassifier
from skbig._utils.component import Component
from skbig.engine.curve import Curve
from skbig.estimators.attributes import TrainedAttributes
from skbig.estimators.mlp import LISTS
from skbig.networks import BuiltNetwork
from tests.fitting import (
    ANY_TASK,
    BINARY,
    BOTH,
    MULTICLASS,
    MULTILABEL,
    TASKS,
    WORDS,
    X,
    fitted,
    small,
    state_of,
    target,
    trained,
    weights_of,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CLASS_TASK = pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
OUR_OWN = {*LISTS} - {"coefs_", "intercepts_"} | {
    "validation_loss_curve_",
    "validation_curves_",
    "learning_rates_",
    "stop_reason_",
    "device_",
    "executor_",
}


def public(estimator: Any) -> dict[str, Any]:
    """Return the fitted attributes that a user sees."""
    made_on_demand = [name for name in vars(TrainedAttributes) if name[0] != "_"]
    names = [name for name in vars(estimator) if name.endswith("_") and name[0] != "_"]
    return {name: getattr(estimator, name) for name in [*names, *made_on_demand] if hasattr(estimator, name)}


def scikit_learns(task: str, **parameters: Any) -> Any:
    kind = MLPClassifier if TASKS[task][0] is BigMLPClassifier else MLPRegressor
    return kind(hidden_layer_sizes=(4,), max_iter=3, random_state=0, **parameters)


def shapes(value: Any) -> Any:
    """Return the shapes of arrays, however they are nested; of anything else its value."""
    if isinstance(value, list):
        return [shapes(item) for item in value]
    return value.shape if isinstance(value, np.ndarray) else None


@ANY_TASK
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_fitted_attributes_are_those_of_scikit_learn(task: str, early_stopping: bool) -> None:
    """Names and shapes are those of MLPClassifier and MLPRegressor, plus a few of our own."""
    changes = {"early_stopping": early_stopping, "validation_fraction": 0.2}
    ours = public(trained(task, **changes))
    theirs = public(fitted(scikit_learns(task, **changes), X, target(task)))
    assert set(ours) - OUR_OWN == set(theirs)
    assert set(ours) >= OUR_OWN
    for name, value in theirs.items():
        assert shapes(ours[name]) == shapes(value), name
    for name in ("n_features_in_", "n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_"):
        assert ours[name] == theirs[name], name
    assert [name for name in theirs if theirs[name] is None] == [name for name in theirs if ours[name] is None]


@ANY_TASK
def test_what_is_kept_is_numpy_and_plain_python(task: str) -> None:
    """No attribute, however deep, is an object of torch; a component is made of plain values."""

    def check(value: Any) -> None:
        if isinstance(value, Component | BuiltNetwork | Curve):
            value = value.__getstate__()
        assert isinstance(value, np.ndarray | bool | int | float | str | None | list | tuple | dict), type(value)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
            check(item)

    model = trained(task, n_members=2, normalization="batch", early_stopping=True, schedule="plateau")
    for name in set(vars(model)) - set(model.get_params(deep=False)):
        check(vars(model)[name])


@ANY_TASK
def test_curves_have_one_value_an_epoch(task: str) -> None:
    """Loss, rate and validation curves are as long as the training, and best values are the best of them."""
    model = trained(task, early_stopping=True, validation_fraction=0.2, max_iter=9, tol=0.0)
    curves = (model.loss_curve_, model.learning_rates_, model.validation_loss_curve_, model.validation_scores_)
    assert {len(curve) for curve in curves} == {model.n_iter_}
    assert model.loss_ == model.loss_curve_[-1]
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert trained(task).best_loss_ == min(trained(task).loss_curve_)
    assert model.device_ == "cpu" or torch.cuda.is_available()
    assert model.executor_ == ("recorded" if model.device_ == "cpu" else "graphed")


@pytest.mark.parametrize(("sizes", "widths"), [((), []), (3, [3]), ([5], [5]), ((5, 4, 3), [5, 4, 3])])
@BOTH
def test_hidden_layers_have_the_widths_asked_for(task: str, sizes: Any, widths: list[int]) -> None:
    """An int, a list or a tuple gives the widths; nothing gives a linear model."""
    model = trained(task, hidden_layer_sizes=sizes)
    assert [coef.shape for coef in model.coefs_] == list(zip([4, *widths], [*widths, 1], strict=True))
    assert [bias.shape for bias in model.intercepts_] == [(width,) for width in [*widths, 1]]
    assert model.n_layers_ == len(widths) + 2


def test_without_hidden_layers_the_model_is_linear() -> None:
    """The prediction of a sum is the sum of predictions, but for the intercept."""
    model = trained("regression", hidden_layer_sizes=())
    flat = np.zeros((1, 4))
    total = model.predict(X[:1] + X[1:2]) + model.predict(flat)
    np.testing.assert_allclose(total, model.predict(X[:1]) + model.predict(X[1:2]))


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
@BOTH
def test_a_warm_start_goes_on_exactly(task: str, optimizer: str) -> None:
    """Two fits of three epochs with warm_start are one fit of six."""
    twice = small(task, optimizer=optimizer, warm_start=True, batch_size="full" if optimizer == "lbfgs" else 20)
    for _ in range(2):
        fitted(twice, X, target(task))
        assert twice.n_iter_ == 3
    once = fitted(small(task, optimizer=optimizer, batch_size=twice.batch_size, max_iter=6), X, target(task))
    assert weights_of(twice).tobytes() == weights_of(once).tobytes()
    assert twice.loss_curve_ == once.loss_curve_
    assert twice.t_ == once.t_ == 6 * len(X)


@pytest.mark.parametrize("n_members", [1, 2])
@BOTH
def test_a_warm_start_learns_other_rows(task: str, n_members: int) -> None:
    """The best weights of the last fit are judged by the new rows, not by what they once scored on others."""
    asked = {"warm_start": True, "early_stopping": True, "validation_fraction": 0.3, "learning_rate": 0.05}
    model = trained(task, max_iter=40, n_iter_no_change=20, n_members=n_members, **asked)
    before, (values, rank) = weights_of(model), np.unique(target(task), return_inverse=True)
    fitted(model, X, values[::-1][rank])
    assert (weights_of(model) != before).mean() > 0.9
    model.set_params(scoring=lambda estimator, X, y: -1e9)
    assert fitted(model, X, target(task)).best_validation_score_ == -1e9


def test_a_batch_norm_needs_two_rows() -> None:
    """In a batch of one row a batch norm would leave nothing of it."""
    with pytest.raises(ValueError, match="two rows or more"):
        trained("binary", normalization="batch", batch_size=1)


@BOTH
def test_a_cold_start_forgets(task: str) -> None:
    """Without warm_start a second fit is the first one again, whatever was fitted before."""
    model = fitted(small(task), X[::2], target(task)[::2])
    fitted(model, X, target(task))
    assert state_of(model) == state_of(trained(task))


@pytest.mark.parametrize("changes", [{"hidden_layer_sizes": 5}, {"n_members": 2}, {"normalization": "batch"}])
def test_a_warm_start_refuses_another_network(changes: dict[str, Any]) -> None:
    """A warm start with other layers is refused and leaves the model as it was."""
    model = trained("binary", warm_start=True).set_params(**changes)
    before = state_of(model)
    with pytest.raises(ValueError, match="other layers"):
        fitted(model)
    assert state_of(model) == before


def test_a_warm_start_refuses_other_classes() -> None:
    """A warm start with more, fewer or other kinds of classes is refused."""
    for y in (MULTICLASS, WORDS, MULTILABEL):
        with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
            fitted(trained("binary", warm_start=True), X, y)


@BOTH
def test_not_converged_is_a_warning(task: str) -> None:
    """max_iter epochs without convergence warn, and say so in stop_reason_; convergence does not."""
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
        model = small(task).fit(X, target(task))
    assert (model.n_iter_, model.stop_reason_) == (3, "max_iter")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = small(task, max_iter=200, tol=10.0, n_iter_no_change=2).fit(X, target(task))
    assert (model.n_iter_, model.stop_reason_) == (4, "converged")


def test_batch_sizes() -> None:
    """The full batch has all rows, "auto" at most 200, and too large a number is clipped with a warning."""
    full = weights_of(trained("binary", batch_size="full")).tobytes()
    assert weights_of(trained("binary", batch_size=60)).tobytes() == full
    assert weights_of(trained("binary", batch_size="auto")).tobytes() == full
    assert weights_of(trained("binary", batch_size=30)).tobytes() != full
    with pytest.warns(UserWarning, match=r"`batch_size`=61, larger than the number of rows \(60\)"):
        clipped = trained("binary", batch_size=61)
    assert weights_of(clipped).tobytes() == full
    many, labels = np.tile(X, (7, 1)), np.tile(BINARY, 7)
    models = [fitted(small("binary", batch_size=size), many, labels) for size in ("auto", 200)]
    assert weights_of(models[0]).tobytes() == weights_of(models[1]).tobytes()


@BOTH
def test_rows_are_shuffled_only_when_asked_to(task: str) -> None:
    """Without shuffling the order of rows matters to the batches; with one batch it never does."""
    y, order = target(task), np.random.RandomState(1).permutation(len(X))

    def pair(**parameters: Any) -> tuple[np.ndarray, np.ndarray]:
        models = [fitted(small(task, **parameters), X[index], y[index]) for index in (np.arange(len(X)), order)]
        return weights_of(models[0]), weights_of(models[1])

    np.testing.assert_allclose(*pair(shuffle=False, batch_size="full"), rtol=1e-9)
    assert np.abs(np.subtract(*pair(shuffle=False, batch_size=10))).max() > 1e-6
    plain, mixed = (trained(task, shuffle=shuffle, batch_size=10) for shuffle in (False, True))
    assert np.abs(weights_of(plain) - weights_of(mixed)).max() > 1e-6


@ANY_TASK
@pytest.mark.usefixtures("unchanged_globals")
def test_a_fit_is_silent_and_leaves_no_trace(task: str, capfd: pytest.CaptureFixture[str]) -> None:
    """At verbose=0 nothing is printed, no global state moves, and neither parameters nor data change."""
    data, y = X.copy(), target(task).copy()
    model = small(task, early_stopping=True, dropout=0.1, validation_fraction=0.2)
    parameters = model.get_params()
    assert fitted(model, data, y, sample_weight=np.ones(len(X))) is model
    model.predict(data)
    assert capfd.readouterr() == ("", "")
    assert model.get_params() == parameters
    assert data.tobytes() == X.tobytes()
    assert y.tobytes() == target(task).tobytes()


@pytest.mark.parametrize(
    ("task", "class_weight"),
    [
        ("binary", "balanced"),
        ("multiclass", "balanced"),
        ("multilabel", "balanced"),
        ("binary", {0: 3.0}),
        ("multiclass", {0: 0.5, 1: 2.0, 2: 1.0}),
        ("multilabel", [{0: 1.0, 1: 3.0}, {0: 2.0, 1: 1.0}, {0: 1.0, 1: 1.0}]),
    ],
)
@pytest.mark.parametrize("batch_size", ["full", 20])
def test_class_weights_are_sample_weights(task: str, class_weight: Any, batch_size: Any) -> None:
    """Weighting the classes is weighting each row by its class."""
    weighted = trained(task, class_weight=class_weight, batch_size=batch_size)
    by_rows = fitted(
        small(task, batch_size=batch_size), X, target(task), compute_sample_weight(class_weight, target(task))
    )
    np.testing.assert_allclose(weights_of(weighted), weights_of(by_rows), rtol=1e-10)
    assert np.abs(weights_of(weighted) - weights_of(trained(task, batch_size=batch_size))).max() > 1e-6


@pytest.mark.parametrize("batch_size", ["full", 20])
def test_a_class_of_weight_zero_is_known_but_not_learnt(batch_size: Any) -> None:
    """With weight zero for a class, a fit is one on the rows of the others that has heard of the class."""
    rows = MULTICLASS != 0
    size = rows.sum() if batch_size == "full" else batch_size
    without = trained("multiclass", max_iter=1, class_weight={0: 0.0}, batch_size=size)
    others = small("multiclass", batch_size=size).partial_fit(X[rows], MULTICLASS[rows], classes=[0, 1, 2])
    assert weights_of(without).tobytes() == weights_of(others).tobytes()
    assert without.classes_.tolist() == [0, 1, 2]


def test_class_weights_multiply_sample_weights() -> None:
    """Both kinds of weights together are their product."""
    weight = np.random.RandomState(2).uniform(0.5, 2, size=len(X))
    both = fitted(small("binary", class_weight={0: 3.0, 1: 0.5}), X, BINARY, weight)
    product = fitted(small("binary"), X, BINARY, weight * np.where(BINARY, 0.5, 3.0))
    np.testing.assert_allclose(weights_of(both), weights_of(product), rtol=1e-10)


@BOTH
def test_a_line_search_converges_on_small_data(task: str) -> None:
    """optimizer='lbfgs' reaches a lower loss in forty iterations than Adam does in forty epochs."""
    search, adam = (trained(task, optimizer=optimizer, max_iter=40) for optimizer in ("lbfgs", "adam"))
    assert search.loss_ < adam.loss_
    assert all(after <= before for before, after in zip(search.loss_curve_, search.loss_curve_[1:], strict=False))


@BOTH
def test_time_is_a_limit(task: str) -> None:
    """max_time ends the training soon after that many seconds, however many epochs were asked for."""
    began = time.perf_counter()
    model = trained(task, max_time=0.2, max_iter=10**9, tol=0.0, n_iter_no_change=10**9)
    assert time.perf_counter() - began < 2.0
    assert model.stop_reason_ == "max_time"
    assert 1 <= model.n_iter_ == len(model.loss_curve_)
    assert trained(task, max_time=1e-9, max_iter=100).n_iter_ == 1


def test_seeds() -> None:
    """A seed, of whatever kind of int, gives the same fit; a RandomState goes on; None is new every time."""
    plain = weights_of(trained("binary", random_state=3)).tobytes()
    assert weights_of(trained("binary", random_state=np.uint8(3))).tobytes() == plain
    assert weights_of(trained("binary", random_state=2**32 - 1)).tobytes() != plain
    state = np.random.RandomState(3)
    first, second = (weights_of(trained("binary", random_state=state)).tobytes() for _ in range(2))
    assert first != second
    assert weights_of(trained("binary", random_state=np.random.RandomState(3))).tobytes() == first
    assert (
        weights_of(trained("binary", random_state=None)).tobytes()
        != weights_of(trained("binary", random_state=None)).tobytes()
    )


def test_threads_do_not_disturb_each_other() -> None:
    """Fits in several threads at once give the bits they give alone, and leave torch's threads as they were."""
    tasks = list(TASKS) * 2
    alone = [weights_of(trained(task, batch_size=10, dropout=0.2)).tobytes() for task in tasks]
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda task: weights_of(trained_quietly(task)).tobytes(), tasks)
        assert list(together) == alone
    assert torch.get_num_threads() == threads


def trained_quietly(task: str) -> Any:
    """Fit without touching the filters of warnings, which all threads share."""
    return small(task, batch_size=10, dropout=0.2).fit(X, target(task))
