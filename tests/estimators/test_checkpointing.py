"""`checkpoint_dir` of an estimator: what is saved and when, what is refused, and what a signal does."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import make_scorer, mean_absolute_error, mean_squared_error
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, cross_val_predict, cross_val_score

from skbig import BigGridSearchCV, BigMLPClassifier, BigMLPRegressor
from skbig.components import DPSGD, EMA, AdamW, Cosine, GaussianNoise
from skbig.engine import checkpoint as checkpoint_module
from skbig.engine.checkpoint import CheckpointDirectory
from skbig.estimators import checkpointing as saving
from skbig.estimators.declaration import declared
from skbig.estimators.parameters import FREE
from skbig.exceptions import CheckpointWarning, DivergenceError, InterruptedWarning
from tests.fitting import BINARY, BOTH, VALUES, WORDS, X, fitted, small, state_of, target
from tests.killing import (
    Died,
    Nursery,
    assert_same,
    begun,
    bits,
    checkpoints_in,
    dying_at,
    learnt,
    needs_fork,
    nursery,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def network(path: Any, task: str = "regression", **parameters: Any) -> Any:
    """Return an estimator that saves itself after each of eight epochs."""
    return small(task, **{"checkpoint_dir": path, "checkpoint_every": 1, "max_iter": 8, "batch_size": 16} | parameters)


def without_directory(task: str = "regression", **parameters: Any) -> dict[str, Any]:
    """Return what a fit comes to that nobody disturbs."""
    return learnt(fitted(network(None, task, **parameters), X, target(task)))


def killed(path: Path, epochs: int, task: str = "regression", **parameters: Any) -> None:
    """Leave what a fit leaves in a directory that is killed in the epoch after so many."""
    rows = {name: parameters.pop(name) for name in ("X_val", "y_val") if name in parameters}
    observe = saving.Saver.__call__

    def die_after(self: Any, report: Any) -> None:
        observe(self, report)
        if report.epoch == epochs:
            raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving.Saver, "__call__", die_after)
        with pytest.raises(Died):
            network(path, task, **parameters).fit(X, target(task), **rows)
    assert facts_of(checkpoints_in(path)[-1])["counts"][1] == epochs


def facts_of(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "facts.json").read_text())["facts"])


def contents_of(path: Path) -> dict[str, bytes]:
    """Return every file of a directory by name."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.fixture
def saved_epochs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """After which epochs checkpoints are written, and why training had ended by then."""
    epochs: list[tuple[int, str]] = []
    save = CheckpointDirectory.save

    def noted(self: Any, arrays: Any, facts: Any) -> Path:
        epochs.append((facts["counts"][1], facts["stop_reason"]))
        return save(self, arrays, facts)

    monkeypatch.setattr(CheckpointDirectory, "save", noted)
    return epochs


# When a fit saves itself.


@pytest.mark.parametrize(
    ("every", "epochs"),
    [(1, range(1, 8)), (3, [3, 6]), (np.int64(5), [5]), (8, []), (1e-9, range(1, 8)), (60.0, []), (np.float32(5), [])],
)
def test_an_int_counts_epochs_and_a_float_seconds(
    every: Any, epochs: Any, saved_epochs: list[tuple[int, str]], tmp_path: Path
) -> None:
    """Checkpoints are as far apart as they should be, and the end of the training is always one."""
    fitted(network(tmp_path, checkpoint_every=every), X, VALUES)
    assert saved_epochs == [*((epoch, "") for epoch in epochs), (8, "max_iter")]


def test_seconds_are_counted_from_save_to_save(
    saved_epochs: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With epochs of half a second, a checkpoint is written after every second one."""
    ticks = iter(np.arange(0.0, 1000.0, 0.25))
    now = [0.0]

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        now[0] = 2 * float(next(ticks))
        return 0.0

    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    model = network(tmp_path, checkpoint_every=1.0, scoring=scorer).fit(X, VALUES, X_val=X, y_val=VALUES)
    assert model.n_iter_ == 8
    assert [epoch for epoch, _ in saved_epochs] == [3, 5, 7, 8]


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"tol": 10.0, "n_iter_no_change": 2}, "converged"),
        ({"optimizer": "lbfgs", "tol": 10.0, "batch_size": "auto"}, "converged"),
        ({"max_time": 1e-9}, "max_time"),
        ({}, "max_iter"),
    ],
)
def test_a_fit_that_has_ended_is_not_repeated(parameters: dict[str, Any], reason: str, tmp_path: Path) -> None:
    """Repeated, also in another place and with another verbosity, it returns the model that it had come to."""
    first = fitted(network(tmp_path / "a", **parameters), X, VALUES)
    before = contents_of(tmp_path)
    os.symlink(tmp_path / "a", tmp_path / "b", target_is_directory=True)
    with dying_at(0):  # not an epoch is trained, and nothing written
        again = fitted(network(str(tmp_path / "b"), checkpoint_every=2.0, device="cpu", **parameters), X, VALUES)
    assert first.stop_reason_ == reason
    assert_same(learnt(again), learnt(first))
    os.unlink(tmp_path / "b")
    assert contents_of(tmp_path) == before


def test_the_same_model_object_may_be_fitted_again(tmp_path: Path) -> None:
    """Fitted, `fit` again is the same fit; it warns as the first one did."""
    model = fitted(network(tmp_path), X, VALUES)
    before = learnt(model)
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        model.fit(X, VALUES)
    assert_same(learnt(model), before)


def test_the_directory_is_made_when_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused fit makes none; a relative one lies where the fit began."""
    path = tmp_path / "deep" / "deeper"
    with pytest.raises(ValueError):
        network(path, alpha=-1.0).fit(X, VALUES)
    assert not path.parent.exists()
    monkeypatch.chdir(tmp_path)
    fitted(network(Path("deep") / "deeper"), X, VALUES)
    assert len(checkpoints_in(path)) == 2


def test_partial_fit_saves_nothing(tmp_path: Path) -> None:
    """Calls of `partial_fit` neither write checkpoints nor read those of a fit; the documentation says so."""
    model = network(tmp_path / "none").partial_fit(X, VALUES)
    assert not (tmp_path / "none").exists()
    expected = fitted(network(None), X, VALUES).partial_fit(X, VALUES)
    model = fitted(network(tmp_path), X, VALUES)
    before = contents_of(tmp_path)
    assert_same(learnt(model.partial_fit(X, VALUES)), learnt(expected))
    assert contents_of(tmp_path) == before
    for kind in (BigMLPClassifier, BigMLPRegressor):
        described = re.search(r"checkpoint_dir : .*?checkpoint_every", str(kind.__doc__), re.DOTALL)
        assert described is not None and "`partial_fit` saves nothing" in described[0]


def test_warm_start_and_checkpoints_are_two_things(tmp_path: Path) -> None:
    """Both go on, with different fits, so together they are refused."""
    with pytest.raises(ValueError, match="checkpoint_dir goes on .* Use one of the two"):
        network(tmp_path, warm_start=True).fit(X, VALUES)


@BOTH
def test_a_copy_of_an_estimator_goes_on(task: str, tmp_path: Path) -> None:
    """The directory is a parameter like others: a clone and a pickle have it too, and a model holds nothing else."""
    killed(tmp_path, 3, task)
    expected = without_directory(task)
    for copy in (clone, lambda model: pickle.loads(pickle.dumps(model))):
        model = fitted(copy(network(tmp_path, task)), X, target(task))
        assert_same(learnt(model), expected)
        copied = copy(model)
        assert copied.checkpoint_dir == tmp_path
        assert learnt(copied) in ({}, expected)


@pytest.mark.parametrize("form", ["list", "frame", "Fortran"])
def test_rows_are_compared_by_what_they_hold(form: str, tmp_path: Path) -> None:
    """The same numbers in another container are the same data."""
    killed(tmp_path, 3)
    rows = {"list": X.tolist(), "frame": pd.DataFrame(X), "Fortran": np.asfortranarray(X)}[form]
    assert_same(learnt(fitted(network(tmp_path), rows, VALUES.tolist())), without_directory())


def test_max_time_is_of_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that was spent before a kill is spent."""
    state_dict = saving.state_dict
    seconds: list[float] = []

    def of_a_slow_machine(training: Any) -> Any:
        arrays, facts = state_dict(training)
        seconds.append(facts["elapsed"])
        return arrays, {**facts, "elapsed": facts["elapsed"] + 1000.0}

    monkeypatch.setattr(saving, "state_dict", of_a_slow_machine)
    killed(tmp_path, 3, max_time=10_000.0)
    model = fitted(network(tmp_path, max_time=10_000.0), X, VALUES)
    assert (model.n_iter_, model.stop_reason_) == (8, "max_iter")
    assert seconds[-1] > 1000.0 > seconds[2] > seconds[1] > 0.0
    killed(tmp_path / "late", 3, max_time=900.0, batch_size=1)
    model = fitted(network(tmp_path / "late", max_time=900.0, batch_size=1), X, VALUES)
    assert (model.n_iter_, model.stop_reason_, model.t_) == (4, "max_time", 3 * len(X) + 1)


def test_an_epoch_without_a_validation_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends a fit only where there never was one, which a fit that goes on knows of its earlier runs."""
    rows: dict[str, Any] = {"X_val": X, "y_val": VALUES}
    killed(tmp_path, 3, **rows)
    values = iter([np.inf] + [1.0] * 100)
    monkeypatch.setattr(
        "skbig.estimators.validation.ValidationSet.loss", lambda *args: torch.tensor(next(values)).double()
    )
    model = fitted(network(tmp_path), X, VALUES, **rows)
    assert model.validation_loss_curve_[3:5] == [np.inf, 1.0]
    values = iter([np.inf])
    with pytest.raises(ValueError, match="The loss of the validation rows is not finite"):
        network(None).fit(X, VALUES, **rows)


# Another fit.


def cubed(progress: float) -> float:
    return (1 - progress) ** 3


def powered(power: float) -> Any:
    return lambda progress: (1 - progress) ** power


def of_errors(raw: Any, y: Any) -> Any:
    return (raw - y).square().sum(-1)


OTHER: dict[str, list[Any]] = {
    "hidden_layer_sizes": [(5,), np.arange(3, 5)],
    "activation": ["tanh"],
    "loss": ["huber", of_errors, lambda raw, y: (raw - y).abs().sum(-1), lambda raw, y: (raw - y).square().sum(-1)],
    "penalty": ["l1", None],
    "alpha": [0.5],
    "optimizer": ["sgd", AdamW(), AdamW(weight_decay=0.5)],
    "learning_rate": [0.5, 0.25],
    "schedule": ["cosine", Cosine(warmup=0.5), cubed, powered(2.0), powered(4.0)],
    "clipping": ["norm"],
    "augmentation": ["gaussian_noise", GaussianNoise(scale=0.5)],
    "dropout": [0.5],
    "normalization": ["batch"],
    "n_members": [2],
    "batch_size": [20],
    "max_iter": [9],
    "max_time": [900.0],
    "shuffle": [False],
    "early_stopping": [True],
    "standardize_target": [True],
    "validation_fraction": [0.5],
    "n_iter_no_change": [5],
    "tol": [0.5],
    "scoring": [None, "r2", make_scorer(mean_squared_error), make_scorer(mean_absolute_error)],
    "random_state": [1, None, np.random.RandomState(0), np.random.RandomState(1)],
    "precision": ["float32"],
    "param_groups": [{"bias": 0.5}, {"bias": 2.0}],
    "average": ["ema", EMA(decay=0.5)],
    "fedprox": [0.1, 0.2],
    "monotonic_cst": [[1, 0, 0, 0], [-1, 0, 0, 0]],
    "privacy": [DPSGD(noise_multiplier=1.0), DPSGD(noise_multiplier=2.0)],
}
"""Values of every parameter that matters; each differs from the default and from the others."""


@pytest.mark.parametrize("name", OTHER)
def test_another_parameter_is_refused(name: str, tmp_path: Path) -> None:
    """An error names the parameter, and neither the estimator nor the directory is changed."""
    for number, value in enumerate(OTHER[name]):
        path = tmp_path / str(number)
        killed(path, 2, **{name: value})
        before = contents_of(path)
        for other in [*OTHER[name][:number], *OTHER[name][number + 1 :], *([0.0] if name == "alpha" else [])]:
            model = network(path, **{name: clone(other, safe=False)})
            state = bits(vars(model))
            with pytest.raises(ValueError, match=f"those of another: parameter {name} is '.* there and '.* here"):
                model.fit(X, VALUES)
            assert bits(vars(model)) == state
        assert contents_of(path) == before
        if name != "random_state":
            assert_same(learnt(fitted(network(path, **{name: value}), X, VALUES)), without_directory(**{name: value}))


def test_every_parameter_matters_or_does_not() -> None:
    """No parameter is forgotten."""
    assert {*OTHER, *FREE} == {*declared(BigMLPRegressor)}


@pytest.mark.parametrize("weights", [({0: 1.0, 1: 2.0}, {0: 1.0, 1: 3.0}), ("balanced", None)], ids=str)
def test_other_class_weights_are_refused(weights: Any, tmp_path: Path) -> None:
    """The parameter that only classifiers have."""
    killed(tmp_path, 2, "binary", class_weight=weights[0])
    with pytest.raises(ValueError, match="parameter class_weight is"):
        network(tmp_path, "binary", class_weight=weights[1]).fit(X, BINARY)


def test_the_same_function_is_the_same(tmp_path: Path) -> None:
    """A function is what it computes: written again, it is no other one."""
    killed(tmp_path, 2, schedule=powered(2.0))
    assert fitted(network(tmp_path, schedule=powered(2.0)), X, VALUES).n_iter_ == 8


def test_a_seed_that_moves_is_the_same_from_the_same_start(tmp_path: Path) -> None:
    """A RandomState counts as where it stands, and after a resumed fit it stands where it would without the kill."""
    killed(tmp_path, 2, random_state=np.random.RandomState(7))
    resumed, whole = np.random.RandomState(7), np.random.RandomState(7)
    model = fitted(network(tmp_path, random_state=resumed), X, VALUES)
    assert_same(learnt(model), without_directory(random_state=whole))
    assert resumed.randint(10**9) == whole.randint(10**9)


GIVEN: dict[str, Any] = {"X": X, "y": VALUES, "sample_weight": X[:, 0] ** 2, "X_val": X[:9], "y_val": VALUES[:9]}
GIVEN["sample_weight_val"] = X[:9, 1] ** 2
CHANGED = {
    "one value less": lambda value: np.concatenate([value[:-1], value[-2:-1]]),
    "another order": lambda value: value[::-1],
    "another dtype": lambda value: value.astype(np.float32),
}


@pytest.mark.parametrize(
    ("name", "change"),  # other data than X and y takes the dtype of X, or is float64
    [(name, change) for name in GIVEN for change in CHANGED if name in "Xy" or change != "another dtype"],
)
def test_other_data_is_refused(name: str, change: str, tmp_path: Path) -> None:
    """An error names which of the data differs, and neither a fitted model nor the directory is changed."""
    model = fitted(network(tmp_path), **GIVEN)
    state, before = state_of(model), contents_of(tmp_path)
    others = {**GIVEN, name: CHANGED[change](GIVEN[name])}
    with pytest.raises(ValueError, match=rf"[:;] {name} is '\w+' there and '\w+' here") as caught:
        model.fit(**others)
    assert state_of(model) == state and contents_of(tmp_path) == before
    assert str(tmp_path) in str(caught.value) and "delete this one to begin anew" in str(caught.value)
    named = set(re.findall(r"[:;] (\w+) is ", str(caught.value)))
    assert named == ({"X", "X_val"} if change == "another dtype" and name == "X" else {name})


@pytest.mark.parametrize("name", ["sample_weight", "X_val"])
def test_data_that_was_not_there(name: str, tmp_path: Path) -> None:
    """What is given to one fit only differs too."""
    fitted(network(tmp_path), **GIVEN)
    fewer = {key: value for key, value in GIVEN.items() if not key.startswith(name) and not key.endswith("val")}
    with pytest.raises(ValueError, match=f"[:;] {name} is"):
        network(tmp_path).fit(**fewer)


def test_a_classifier_and_a_regressor_in_one_directory(tmp_path: Path) -> None:
    """The second one is told what the directory belongs to, and the first one's checkpoints stay."""
    killed(tmp_path, 3)
    before = contents_of(tmp_path)
    with pytest.raises(ValueError, match="must be of this training, got those of another"):
        network(tmp_path, "multiclass").fit(X, WORDS)
    assert contents_of(tmp_path) == before
    assert_same(learnt(fitted(network(tmp_path), X, VALUES)), without_directory())


def test_two_fits_at_once_in_one_directory(tmp_path: Path) -> None:
    """A fit whose directory is taken by another while it trains says so, and keeps what it has learnt."""
    calls = []

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        calls.append(1)
        if len(calls) == 4:
            fitted(network(tmp_path, "binary"), X, BINARY)
        return 0.0

    model = network(tmp_path, scoring=scorer, checkpoint_every=8)
    with pytest.raises(ValueError, match=r"got those of another: .*; y is"):
        model.fit(X, VALUES, X_val=X, y_val=VALUES)
    assert model.n_iter_ == 8 and np.isfinite(model.predict(X)).all()
    with dying_at(0):
        fitted(network(tmp_path, "binary"), X, BINARY)


# Damage, and a disk that fails.


@pytest.mark.parametrize("name", ["arrays.safetensors", "facts.json", "manifest.json"])
def test_a_damaged_checkpoint_costs_an_epoch(name: str, tmp_path: Path) -> None:
    """It is named in a warning, and training goes on from the one before, to the same bits."""
    killed(tmp_path, 4)
    newest = checkpoints_in(tmp_path)[-1]
    (newest / name).write_bytes((newest / name).read_bytes()[:-3])
    with dying_at(10**9) as made, pytest.warns(CheckpointWarning, match=re.escape(str(newest))):
        model = fitted(network(tmp_path), X, VALUES)
    assert made.count("epoch") == 8 - 3
    assert_same(learnt(model), without_directory())
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        fitted(network(tmp_path), X, VALUES)


def test_without_a_valid_checkpoint_a_fit_begins_anew(tmp_path: Path) -> None:
    """Every damaged one is named."""
    killed(tmp_path, 4)
    for path in checkpoints_in(tmp_path):
        (path / "arrays.safetensors").unlink()
    with pytest.warns(CheckpointWarning, match="is missing") as caught:
        model = fitted(network(tmp_path), X, VALUES)
    assert len([warning for warning in caught if warning.category is CheckpointWarning]) == 2
    assert_same(learnt(model), without_directory())


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [("write", errno.ENOSPC, "No space"), ("mkdir", errno.EROFS, "Read-only"), ("fsync", errno.EIO, "Input/output")],
)
@pytest.mark.parametrize("epoch", [1, 4])
def test_a_disk_that_fails(
    epoch: int, call: str, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the fit with an error; the last checkpoint and the model so far stay, and later the fit goes on."""
    path = tmp_path / "deeper"

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(code, os.strerror(code))

    def fails(self: Any, report: Any) -> None:
        if report.epoch == epoch:
            monkeypatch.setattr(*((checkpoint_module, "open") if call == "write" else (os, call)), full, raising=False)
        observe(self, report)

    path.mkdir()
    observe = saving.Saver.__call__
    monkeypatch.setattr(saving.Saver, "__call__", fails)
    model = network(path)
    with pytest.raises(OSError, match=f"Could not write a checkpoint to .*{words}") as caught:
        model.fit(X, VALUES)
    assert caught.value.errno == code and str(path) in str(caught.value)
    monkeypatch.undo()
    assert (model.n_iter_, model.stop_reason_) == (epoch, "") and np.isfinite(model.predict(X)).all()
    assert [facts_of(saved)["counts"][1] for saved in checkpoints_in(path)] == [1, 2, 3][: epoch - 1][-2:]
    assert len(list(path.iterdir())) == len(checkpoints_in(path))
    assert_same(learnt(fitted(network(path), X, VALUES)), without_directory())


def test_a_disk_that_fails_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model has learnt all it would, and the error says that it is not saved."""

    def full(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "open", full, raising=False)
    model = network(tmp_path, checkpoint_every=60.0)
    with pytest.raises(OSError, match="No space left"):
        model.fit(X, VALUES)
    assert_same(learnt(model), without_directory())


@pytest.mark.parametrize("is_fitted", [False, True])
def test_a_directory_that_is_a_file(is_fitted: bool, tmp_path: Path) -> None:
    """Before the first epoch there is nothing to keep: the estimator is as it was, and the file too."""
    (tmp_path / "file").write_text("mine")
    model = network(None)
    if is_fitted:
        fitted(model, X, VALUES)
    model.set_params(checkpoint_dir=tmp_path / "file")
    before = state_of(model)
    with pytest.raises(NotADirectoryError, match="must be a directory"):
        model.fit(X, VALUES)
    assert state_of(model) == before and hasattr(model, "coefs_") == is_fitted
    assert (tmp_path / "file").read_text() == "mine"


def test_a_fit_that_diverges_does_so_again(tmp_path: Path) -> None:
    """Divergence is no end: repeated from the last checkpoint, the fit fails where it did, with the same weights."""
    wild = {"optimizer": "sgd", "activation": "identity", "learning_rate": 3.0, "max_iter": 200}
    failures = []
    for path in (None, tmp_path, tmp_path):
        model = network(path, **wild)
        with pytest.raises(DivergenceError) as caught:
            model.fit(X, VALUES)
        failures.append((str(caught.value), learnt(model)))
    assert failures[0][0] == failures[1][0]
    assert_same(failures[1][1], failures[0][1])
    assert "coefs_" not in failures[2][1] or failures[2][1]["coefs_"] == failures[0][1]["coefs_"]
    assert failures[2][0].split(" in epoch")[1] == failures[0][0].split(" in epoch")[1]


# Signals.


class Stop(Exception):
    """What a handler raises."""


class Sending:
    """A scorer that stands for somebody who sends a signal in some epochs; what it sends is no part of the score."""

    def __init__(self, epochs: tuple[int, ...], number: int, times: int) -> None:
        self._epochs, self._number, self._times, self._count = epochs, number, times, 0

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        self._count += 1
        if self._count in self._epochs:
            for _ in range(self._times):
                os.kill(os.getpid(), self._number)
        return -float(np.square(estimator.predict(X) - y).mean())

    def __getstate__(self) -> None:
        return None


def sending(*epochs: int, number: int = signal.SIGTERM, times: int = 1) -> Any:
    return Sending(epochs, number, times)


def validated(model: Any) -> Any:
    return model.fit(X, VALUES, X_val=X, y_val=VALUES)


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Which signals have come to the handler of the program; a signal in the list already makes it raise."""
    caught: list[int] = []

    def handler(number: int, frame: Any) -> None:
        caught.append(number)
        if len(caught) > 1:
            raise Stop

    before = signal.signal(signal.SIGTERM, handler)
    yield caught
    assert signal.getsignal(signal.SIGTERM) is handler, "the handler is not put back"
    signal.signal(signal.SIGTERM, before)


def quiet(model: Any) -> dict[str, Any]:
    """Return what a validated fit comes to that nobody disturbs."""
    return learnt(validated(clone(model).set_params(checkpoint_dir=None, scoring=sending())))


def test_sigterm_saves_and_then_takes_effect(
    handled: list[int], saved_epochs: list[tuple[int, str]], tmp_path: Path
) -> None:
    """The program's handler is called once the checkpoint is written; what it raises ends the fit, which can go on."""
    handled.append(0)
    model = network(tmp_path, checkpoint_every=60.0, scoring=sending(3))
    with pytest.raises(Stop):
        validated(model)
    assert handled == [0, signal.SIGTERM] and saved_epochs == [(3, "")]
    assert model.n_iter_ == 3
    assert_same(learnt(validated(model.set_params(scoring=sending()))), quiet(model))


def test_a_handler_that_takes_note(handled: list[int], saved_epochs: list[tuple[int, str]], tmp_path: Path) -> None:
    """The program has decided to go on, so the fit does."""
    model = validated(network(tmp_path, checkpoint_every=60.0, scoring=sending(3)))
    assert handled == [signal.SIGTERM] and saved_epochs == [(3, ""), (8, "max_iter")]
    assert_same(learnt(model), quiet(model))


@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True, "tol": 10.0, "n_iter_no_change": 6}], ids=str)
def test_sigterm_in_the_last_epoch(
    parameters: dict[str, Any], handled: list[int], saved_epochs: list[tuple[int, str]], tmp_path: Path
) -> None:
    """The fit is done: it is saved as such, and repeated it is not trained any more."""
    handled.append(0)
    model = network(tmp_path, checkpoint_every=60.0, scoring=sending(8), **parameters)
    with pytest.raises(Stop):
        validated(model)
    assert saved_epochs == [(8, "converged" if parameters else "max_iter")]
    with dying_at(0):
        again = learnt(validated(model))
    assert_same(again, quiet(model))


def test_a_second_sigterm_is_not_kept(handled: list[int], saved_epochs: list[tuple[int, str]], tmp_path: Path) -> None:
    """Who sends two of them in one epoch does not wait for its end."""
    handled.append(0)
    with pytest.raises(Stop):
        validated(network(tmp_path, checkpoint_every=60.0, scoring=sending(3, times=2)))
    assert not [reason for epoch, reason in saved_epochs if epoch > 3]


def test_an_ignored_sigterm_stays_ignored(saved_epochs: list[tuple[int, str]], tmp_path: Path) -> None:
    """Where the program does not want to hear of it, the fit saves itself and goes on."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        model = validated(network(tmp_path, checkpoint_every=60.0, scoring=sending(3)))
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert_same(learnt(model), quiet(model))


def test_handlers_are_put_back_after_any_end(handled: list[int], tmp_path: Path) -> None:
    """After success, an error in the midst of training, and a refusal, SIGTERM is as it was."""
    for scorer, error in ((sending(), None), (lambda *_: 1 / 0, ZeroDivisionError), ("nonsense", ValueError)):
        path = tmp_path / str(error)
        if error is None:
            validated(network(path, scoring=scorer))
        else:
            with pytest.raises(error):
                validated(network(path, scoring=scorer))
        os.kill(os.getpid(), signal.SIGTERM)
        assert handled.pop() == signal.SIGTERM


def test_without_a_directory_signals_are_left_alone(handled: list[int]) -> None:
    """The program's own handler is there while such a fit runs."""
    handled.append(0)
    with pytest.raises(Stop):
        validated(network(None, scoring=sending(3)))


def test_in_a_thread_signals_are_left_alone(handled: list[int], tmp_path: Path) -> None:
    """Only the main thread may set handlers; a fit elsewhere works without."""
    during: list[Any] = []

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        during.append(signal.getsignal(signal.SIGTERM))
        return 0.0

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=validated, args=[network(tmp_path, scoring=scorer)])
    thread.start()
    thread.join()
    assert during == [before] * 8 and len(checkpoints_in(tmp_path)) == 2


def test_ctrl_c_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    """Interrupted, the fit returns the model so far, and repeated it goes on to the end."""
    model = network(tmp_path, checkpoint_every=2, scoring=sending(6, number=signal.SIGINT))
    with pytest.warns(InterruptedWarning):
        validated(model)
    assert model.stop_reason_ == "interrupted" and model.n_iter_ in (5, 6)
    assert facts_of(checkpoints_in(tmp_path)[-1])["counts"][1] == 4
    model.set_params(scoring=sending(number=signal.SIGINT))
    with dying_at(10**9) as made:
        again = learnt(validated(model))
    assert made.count("epoch") == 4
    assert_same(again, quiet(model))


# Processes.


def train_until_terminated(path: str, result: str, handler: str) -> None:
    """Be a process that trains for long, under one of the handlers that a program may have."""

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(7)

    if handler == "leaves":
        signal.signal(signal.SIGTERM, leave)
    begun()
    model = network(path, max_iter=3000, checkpoint_every=60.0, tol=0.0, n_iter_no_change=3000).fit(X, VALUES)
    joblib.dump(learnt(model), result)


@pytest.fixture(scope="module")
def processes() -> Iterator[Nursery]:
    with nursery() as opened:
        yield opened


@needs_fork
@pytest.mark.parametrize(
    ("handler", "code"), [("default", -signal.SIGTERM), pytest.param("leaves", 7, marks=pytest.mark.thorough)]
)
def test_sigterm_ends_a_process(handler: str, code: int, processes: Nursery, tmp_path: Path) -> None:
    """It has saved where it stood, and it is ended as it would be without a checkpoint."""
    path, result = tmp_path / "checkpoints", tmp_path / "result"
    reached = []
    for _ in range(2):
        processes.begin(train_until_terminated, path, result, handler)
        time.sleep(0.25)
        assert processes.end(signal.SIGTERM) == code
        reached.append(facts_of(checkpoints_in(path)[-1])["counts"][1])
    assert 0 < reached[0] < reached[1] < 3000 and not result.exists()


# Around a fit.


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("kind", [GridSearchCV, BigGridSearchCV])
def test_a_search_has_a_directory_of_its_own(kind: Any, n_jobs: int, tmp_path: Path) -> None:
    """The fits of a search cannot share a directory; the error says where to give one, and nothing is written."""
    search = kind(network(tmp_path / "one", "binary"), {"alpha": [0.1, 0.2]}, cv=2, n_jobs=n_jobs)
    with joblib.parallel_config("threading"), pytest.raises(ValueError) as caught:
        search.fit(X, BINARY)
    assert "checkpoint_dir=None on the estimator" in str(caught.value)
    assert "BigGridSearchCV(..., checkpoint_dir=...)" in str(caught.value)
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("cross", [cross_val_score, cross_val_predict])
def test_a_cross_validation_has_no_directory(cross: Any, tmp_path: Path) -> None:
    """Its fits cannot share one either."""
    with pytest.raises(ValueError, match="holds the checkpoints of one fit"):
        cross(network(tmp_path / "one", "binary"), X, BINARY, cv=2)
    assert not (tmp_path / "one").exists()


def test_a_meta_estimator_with_one_fit(tmp_path: Path) -> None:
    """Where only one fit is made, its directory is its own."""
    killed(tmp_path, 3, "binary")
    model = FixedThresholdClassifier(network(tmp_path, "binary"))
    with dying_at(10**9) as made:
        model.fit(X, BINARY)
    assert made.count("epoch") == 5
    assert_same(learnt(model.estimator_), without_directory("binary"))


def test_fits_side_by_side(tmp_path: Path) -> None:
    """Each in its own directory, fits run in the threads of joblib as elsewhere."""
    models = [network(tmp_path / str(seed), random_state=seed) for seed in range(3)]
    done = joblib.Parallel(2, backend="threading")(joblib.delayed(model.fit)(X, VALUES) for model in models)
    for seed, model in enumerate(done):
        assert_same(learnt(model), without_directory(random_state=seed))


def test_the_progress_line_counts_all_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It goes on where it was killed; a fit that has nothing left to do shows none."""
    killed(tmp_path, 3)
    fitted(network(tmp_path, verbose=1), X, VALUES)
    shown = capsys.readouterr().err
    assert re.search(r"\b4/8\b", shown) and re.search(r"\b8/8\b", shown)
    assert not re.search(r"\b[123]/", shown)
    fitted(network(tmp_path, verbose=1), X, VALUES)
    assert capsys.readouterr().err == ""


def test_callbacks_hear_of_the_epochs_that_are_left(tmp_path: Path) -> None:
    """scikit-learn's callbacks get a task for each epoch of this run, and of a fit that has ended none."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from version 1.9 on")
    from tests.estimators.test_callbacks import Witness, tasks

    killed(tmp_path, 3)
    for n_left in (5, 0):
        witness = Witness()
        model = fitted(network(tmp_path).set_callbacks(witness), X, VALUES)
        assert witness.events == tasks(n_left)
    assert_same(learnt(model), without_directory())


def test_a_callback_ends_a_fit_for_good(tmp_path: Path) -> None:
    """Ended by a callback, a fit is over; repeated, it returns the same model."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from version 1.9 on")
    from tests.estimators.test_callbacks import Witness

    first = fitted(network(tmp_path).set_callbacks(Witness(stop_after=3)), X, VALUES)
    assert (first.n_iter_, first.stop_reason_) == (3, "callback")
    with dying_at(0):
        assert_same(learnt(fitted(network(tmp_path), X, VALUES)), learnt(first))
