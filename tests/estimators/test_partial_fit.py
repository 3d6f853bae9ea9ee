"""partial_fit: one epoch a call, over classes that are known from the first call on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skbig import BigMLPClassifier
from skbig.components import SGD
from skbig.engine.executors import recorded
from skbig.engine.kept_recordings import forget
from skbig.engine.members import Members
from tests.fitting import (
    ANY_TASK,
    BINARY,
    BOTH,
    MANY_VALUES,
    MULTICLASS,
    MULTILABEL,
    VALUES,
    WORDS,
    X,
    fitted,
    small,
    state_of,
    target,
    trained,
    weights_of,
)

OPTIMIZERS = pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon", "lbfgs"])


def once(model: Any, task: str, rows: Any = slice(None), **more: Any) -> Any:
    """Call partial_fit on some rows, with the classes if it is the first call of a classifier."""
    y = target(task)
    if not hasattr(model, "coefs_") and task in ("binary", "multiclass"):
        more["classes"] = np.unique(y)
    return model.partial_fit(X[rows], y[rows], **more)


@pytest.mark.crossed
@ANY_TASK
@OPTIMIZERS
def test_calls_are_epochs(task: str, optimizer: str) -> None:
    """As many calls as epochs give the weights and the curve of one fit, shuffled or not."""
    for shuffle in (False, True):
        parameters = {"optimizer": optimizer, "shuffle": shuffle, "batch_size": "full" if optimizer == "lbfgs" else 20}
        calls, whole = small(task, **parameters), trained(task, **parameters)
        for _ in range(3):
            once(calls, task)
        assert weights_of(calls).tobytes() == weights_of(whole).tobytes()
        assert calls.loss_curve_ == whole.loss_curve_
        assert calls.t_ == whole.t_


@BOTH
@pytest.mark.parametrize(
    "changes", [{"dropout": 0.3}, {"augmentation": "mixup"}, {"normalization": "batch"}, {"n_members": 2}]
)
def test_calls_are_epochs_with_random_numbers_too(task: str, changes: dict[str, Any]) -> None:
    """Dropout, augmentation, running moments and ensembles go on between calls as they do between epochs."""
    calls, whole = small(task, batch_size=20, **changes), trained(task, batch_size=20, **changes)
    for _ in range(3):
        once(calls, task)
    assert weights_of(calls).tobytes() == weights_of(whole).tobytes()
    assert np.array_equal(calls.predict(X), whole.predict(X))


@ANY_TASK
def test_a_pickle_between_calls_changes_nothing(task: str) -> None:
    """Saved and loaded between two calls, training goes on exactly, and pickles hold no rows."""
    model = once(small(task, batch_size=20), task)
    copy = pickle.loads(pickle.dumps(model))
    assert weights_of(once(copy, task)).tobytes() == weights_of(once(model, task)).tobytes()
    many = model.partial_fit(np.tile(X, (200, 1)), np.concatenate([target(task)] * 200))
    assert len(pickle.dumps(many)) < 3 * len(pickle.dumps(copy))


@ANY_TASK
def test_a_call_goes_on_after_fit(task: str) -> None:
    """partial_fit after fit goes on from the fitted weights, and a fit after partial_fit begins anew."""
    model = once(trained(task, batch_size=20), task)
    assert weights_of(model).tobytes() == weights_of(trained(task, batch_size=20, max_iter=4)).tobytes()
    assert state_of(fitted(model, X, target(task))) == state_of(trained(task, batch_size=20))


@BOTH
def test_a_schedule_that_has_run_out_says_so(task: str, recwarn: pytest.WarningsRecorder) -> None:
    """A call at a rate of zero changes no weight, which must not pass in silence."""
    model = small(task, schedule="cosine", max_iter=2)
    once(once(model, task), task)
    assert not recwarn.list
    before = weights_of(model)
    with pytest.warns(ConvergenceWarning, match="schedule has run out"):
        once(model, task)
    assert (weights_of(model) == before).all()


@pytest.mark.parametrize("n_members", [1, 2])
@BOTH
def test_a_call_always_learns(task: str, n_members: int) -> None:
    """Without early stopping no call is refused for want of progress, not even for some members of an ensemble."""
    model = small(task, tol=100.0, n_iter_no_change=1, n_members=n_members)
    for _ in range(5):
        before = weights_of(once(model, task)).reshape(-1)
    assert (np.abs(weights_of(once(model, task)) - before) > 0).mean() > 0.9
    again = trained(task, tol=100.0, n_iter_no_change=1, n_members=n_members, max_iter=50, warm_start=True)
    before = weights_of(again)
    assert (np.abs(weights_of(fitted(again, X, target(task))) - before) > 0).mean() > 0.9


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_first_call_needs_the_classes(task: str) -> None:
    """Without classes the first call is refused; a fit, or a first call, makes them known."""
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        small(task).partial_fit(X, target(task))
    trained(task).partial_fit(X, target(task))
    once(small(task), task).partial_fit(X, target(task)).partial_fit(X, target(task), classes=np.unique(target(task)))


def test_classes_are_a_set() -> None:
    """The order of the classes, and a class named twice, make no difference."""
    models = [
        small("multiclass").partial_fit(X, WORDS, classes=names)
        for names in (["low", "mid", "top"], ["top", "mid", "low", "top"])
    ]
    assert models[0].classes_.tolist() == models[1].classes_.tolist() == ["low", "mid", "top"]
    assert weights_of(models[0]).tobytes() == weights_of(models[1]).tobytes()


def test_classes_may_be_missing_in_a_batch() -> None:
    """A class that no row has yet has its column of probabilities, and a batch may be of one class, or one row."""
    model = small("multiclass").partial_fit(X[:1], MULTICLASS[:1], classes=[0, 1, 2, 5])
    only = np.flatnonzero(MULTICLASS == 1)
    model.partial_fit(X[only], MULTICLASS[only])
    assert model.predict_proba(X).shape == (60, 4)
    assert model.classes_.tolist() == [0, 1, 2, 5]


REFUSED: list[tuple[str, Any, Any, Any, str]] = [
    ("multiclass", X, MULTICLASS + 2, None, "y has the classes [3, 4], which are not in `classes_`: [0, 1, 2]"),
    ("multiclass", X, MULTICLASS, [0, 1], "is not the same as on last call to partial_fit"),
    ("multiclass", X, MULTICLASS, [0, 1, 2, 3], "is not the same as on last call to partial_fit"),
    ("multiclass", X, WORDS, None, "which are not in `classes_`"),
    ("multiclass", X, VALUES, None, "which are not in `classes_`"),
    ("multiclass", X, MULTILABEL, None, "y should be a 1d array"),
    ("multiclass", X[:, :3], MULTICLASS, None, "X has 3 features, but BigMLPClassifier is expecting 4 features"),
    ("multiclass", X[:9], MULTICLASS, None, "inconsistent numbers of samples"),
    ("multiclass", np.where(X > 1, np.nan, X), MULTICLASS, None, "Input X contains NaN"),
    ("multilabel", X, MULTILABEL[:, :2], None, "3 columns"),
    ("multilabel", X, BINARY, None, "3 columns"),
    ("multilabel", X, MULTILABEL * 2, None, "zeros and ones"),
    ("multilabel", X, MULTILABEL, [0, 1], "is not the same as on last call to partial_fit"),
    ("regression", X, MANY_VALUES, None, "number of outputs of y"),
    ("multi-output", X, VALUES, None, "number of outputs of y"),
    ("regression", X[:, :3], VALUES, None, "X has 3 features, but BigMLPRegressor is expecting 4 features"),
    ("regression", X, np.where(VALUES > 0, np.inf, 0), None, "Input y contains infinity"),
]


@pytest.mark.parametrize(("task", "rows", "y", "classes", "message"), REFUSED)
def test_what_does_not_fit_the_first_call_is_refused(task: str, rows: Any, y: Any, classes: Any, message: str) -> None:
    """Another kind of rows or targets than before is refused, and the model stays as it was."""
    model = once(small(task), task)
    before = state_of(model)
    more = {} if classes is None else {"classes": classes}
    with pytest.raises(ValueError) as error:
        model.partial_fit(rows, y, **more)
    assert message in str(error.value)
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        (MULTICLASS, [0, 1], "y has the classes [2], which are not in `classes_`: [0, 1]"),
        (MULTICLASS, [0], "y has the classes [1, 2], which are not in `classes_`: [0]"),
        (MULTICLASS, "low", "classes must be a list of labels"),
        (MULTICLASS, ["low", "mid", "top"], "which are not in `classes_`"),
        (MULTILABEL, [0, 1], "numbers of its columns"),
        (VALUES, [0, 1], "Unknown label type: continuous"),
    ],
)
def test_a_wrong_first_call_leaves_nothing(y: Any, classes: Any, message: str) -> None:
    """A first call that fails leaves an unfitted estimator, ready for a right one."""
    model = small("multiclass")
    before = state_of(model)
    with pytest.raises(ValueError) as error:
        model.partial_fit(X, y, classes=classes)
    assert message in str(error.value)
    assert state_of(model) == before
    assert once(model, "multiclass").n_iter_ == 1


def test_multilabel_needs_no_classes() -> None:
    """The labels of an indicator are its columns, so the first call needs no classes and may be given them."""
    plain, named = small("multilabel").partial_fit(X, MULTILABEL), small("multilabel")
    named.partial_fit(X, sparse.csr_array(MULTILABEL), classes=[0, 1, 2])
    assert weights_of(plain).tobytes() == weights_of(named).tobytes()
    assert plain.predict(X).shape == MULTILABEL.shape


@ANY_TASK
def test_weights_count_rows(task: str) -> None:
    """In a call, too, a row of weight two is two rows, and a row of weight zero none."""
    weight = np.random.RandomState(1).randint(3, size=len(X))
    weighted = once(small(task, batch_size="full"), task, sample_weight=weight)
    repeated = once(small(task, batch_size="full"), task, rows=np.arange(len(X)).repeat(weight))
    np.testing.assert_allclose(weights_of(weighted), weights_of(repeated), rtol=1e-9)


def test_class_weights() -> None:
    """A dict of weights works for batches without some of its classes; "balanced" is refused, with what to do."""
    rows = np.flatnonzero(MULTICLASS != 2)
    weighted = once(small("multiclass", class_weight={1: 2.0, 2: 5.0}), "multiclass", rows)
    by_rows = once(small("multiclass"), "multiclass", rows, sample_weight=np.where(MULTICLASS[rows] == 1, 2.0, 1.0))
    np.testing.assert_allclose(weights_of(weighted), weights_of(by_rows), rtol=1e-12)
    balanced = small("binary", class_weight="balanced")
    before = state_of(balanced)
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit.*Pass a dict"):
        once(balanced, "binary")
    assert state_of(balanced) == before


@BOTH
def test_counts_go_on(task: str) -> None:
    """Epochs, rows and curves are counted over all calls, and no call warns that it has not converged."""
    model = small(task)
    for calls in (1, 2, 3):
        once(model, task, slice(0, 30))
        assert (model.n_iter_, model.t_, len(model.loss_curve_)) == (calls, calls * 30, calls)


@BOTH
def test_an_unknown_optimizer_state_begins_anew(task: str) -> None:
    """Another optimizer between two calls is used from then on, beginning with its own first state."""
    momenta = ({"optimizer": SGD(momentum=0.9, nesterov=False)}, {"optimizer": SGD(momentum=0.0)})
    models = [once(small(task, optimizer="adam", batch_size="full"), task).set_params(**one) for one in momenta]
    changed, plain = (once(model.set_params(learning_rate=0.1), task) for model in models)
    # The first step of a momentum is a plain one, if nothing is left of the steps before.
    np.testing.assert_allclose(weights_of(changed), weights_of(plain), rtol=1e-12)
    assert np.abs(weights_of(once(changed, task)) - weights_of(once(plain, task))).max() > 1e-6
    with pytest.raises(ValueError, match="other layers"):
        once(changed.set_params(hidden_layer_sizes=9), task)


def test_a_learnt_classifier_predicts_what_it_was_told() -> None:
    """Calls on small batches learn the classes."""
    model = BigMLPClassifier((20,), learning_rate=0.02, random_state=0)
    for start in [*range(0, 60, 20)] * 40:
        model.partial_fit(X[start : start + 20], WORDS[start : start + 20], classes=["low", "mid", "top"])
    assert model.score(X, WORDS) > 0.95


def test_many_calls_are_as_one_curve() -> None:
    """A call notes down its own epoch; what earlier calls have noted down is there, and is not computed again."""
    y = target("binary")
    model = small("binary", n_members=2)
    for n_calls in (1, 2, 3):
        before = list(getattr(model, "loss_curve_", []))
        model.partial_fit(X, y, classes=[0, 1])
        assert model.loss_curve_[:-1] == before
        assert len(model.loss_curve_) == len(model.learning_rates_) == n_calls
        assert model.loss_curve_ == [float(values.mean()) for values in model._curves["loss"]]
    assert len(fitted(model, X, y).loss_curve_) == 3


def test_long_curves_are_not_copied() -> None:
    """A call costs as much after ten thousand others, and a copy of the model goes on by itself."""
    model = small("binary").partial_fit(X, target("binary"), classes=[0, 1])
    other = copy.copy(model)
    model.partial_fit(X, target("binary"))
    assert all(model._curves[name]._values is curve._values for name, curve in other._curves.items() if curve)
    assert len(other._curves["loss"]) == 1
    other.partial_fit(X[::2], target("binary")[::2])
    assert len(other.loss_curve_) == len(other.learning_rates_) == 2
    assert other.loss_curve_[0] == model.loss_curve_[0]
    assert other.loss_curve_[1] != model.loss_curve_[1]
    assert model.loss_curve_ == [float(values.mean()) for values in model._curves["loss"]]


@pytest.mark.parametrize(("max_iter", "n_recorded"), [(7, 0), (8, 1)])
def test_a_few_steps_are_not_recorded(max_iter: int, n_recorded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To record a step takes the time of several, so a short training, as a call of `partial_fit`, does not."""
    made: list[int] = []
    make = recorded.recorded

    def noted(*args: Any) -> Any:
        made.append(1)
        return make(*args)

    monkeypatch.setattr(recorded, "recorded", noted)
    y = target("binary")
    model = small("binary", max_iter=max_iter, tol=0.0, batch_size=len(X), device="cpu")
    fitted(model, X, y)
    assert len(made) == n_recorded
    forget()
    model.partial_fit(X, y)
    assert len(made) == n_recorded and model.executor_ == "recorded"


@pytest.mark.crossed
@ANY_TASK
@OPTIMIZERS
def test_what_a_call_leaves_is_not_changed_by_the_next(task: str, optimizer: str) -> None:
    """A copy of the model, and views of its weights, stay what they were: later calls have arrays of their own."""
    model = once(trained(task, optimizer=optimizer, max_iter=2, alpha=0.1), task)
    shallow, before = copy.copy(model), state_of(model)
    once(model, task)
    fitted(model.set_params(warm_start=True), X, target(task))
    assert state_of(shallow) == before
    assert weights_of(model).tobytes() != weights_of(shallow).tobytes()


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have whole batches run out of memory from now on, after half of a step."""
    run = recorded.RecordedExecutor.run

    def spoilt(self: Any, batches: Any, *args: Any) -> Any:
        if self.n_parts == 1:
            for tensor in self._members.changing():
                tensor.add_(1)
            raise torch.OutOfMemoryError(f"{len(batches)} batches are too many")
        return run(self, batches, *args)

    return lambda: monkeypatch.setattr(recorded.RecordedExecutor, "run", spoilt)


@pytest.mark.parametrize("forms", ["known", "unknown"])
def test_a_call_that_runs_out_of_memory_begins_anew_in_parts(forms: str, spoil: Callable[[], None]) -> None:
    """The weights of its beginning are brought back, though half of a step had been taken."""
    expected, model = (once(trained("binary", batch_size=len(X)), "binary") for _ in range(2))
    if forms == "unknown":
        forget()
    once(expected, "binary")
    spoil()
    with pytest.warns(UserWarning, match="parts"):
        once(model, "binary")
    np.testing.assert_allclose(weights_of(model), weights_of(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("changes", [{}, {"n_members": 2}, {"average": "ema"}, {"early_stopping": True}], ids=str)
def test_a_fit_that_runs_out_of_memory_begins_anew_in_parts(changes: Any, spoil: Callable[[], None]) -> None:
    """The first weights are brought back, which nobody has copied, and all that goes with them."""
    expected, model = (small("binary", batch_size=40, max_iter=3, **changes) for _ in range(2))
    fitted(expected, X, target("binary"))
    spoil()
    with pytest.warns(UserWarning, match="parts"):
        fitted(model, X, target("binary"))
    np.testing.assert_allclose(weights_of(model), weights_of(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore::skbig.exceptions.InterruptedWarning")
def test_a_second_ctrl_c_keeps_no_half_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the weights of the beginning are brought back."""
    model = once(trained("binary", batch_size=10), "binary")
    before, counts = weights_of(model).copy(), model._progress["counts"]

    def interrupted(self: Any, *args: Any) -> Any:
        for tensor in self._members.changing():
            tensor.add_(1)
        raise KeyboardInterrupt

    restore, calls = Members._restore, []

    def slow(self: Members, copied: Any) -> None:
        calls.append(len(calls))
        if len(calls) == 1:
            raise KeyboardInterrupt
        restore(self, copied)

    monkeypatch.setattr(recorded.RecordedExecutor, "run", interrupted)
    monkeypatch.setattr(Members, "_restore", slow)
    once(model, "binary")
    assert (model.stop_reason_, model._progress["counts"], len(calls)) == ("interrupted", counts, 2)
    np.testing.assert_array_equal(weights_of(model), before)
