"""Callbacks hear of epochs as numbers, and keep them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigGridSearchCV
from skbig.callbacks import CSVLogger, EpochCallback, MLflowLogger, TensorBoardLogger, TrainingRun
from skbig.exceptions import DivergenceError
from tests.fitting import BINARY, BOTH, VALUES, X, fitted, small, target

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Recorder(EpochCallback):
    """Writes down what it is told."""

    def __init__(self, stop_after: int = 0) -> None:
        self.stop_after = stop_after
        self.told: list[tuple[Any, ...]] = []

    def on_begin(self, run: TrainingRun) -> None:
        self.told.append(("begin", run.path))

    def on_epoch(self, run: TrainingRun, epoch: int, values: Mapping[str, float]) -> bool:
        self.told.append(("epoch", epoch, dict(values)))
        return epoch == self.stop_after

    def on_end(self, run: TrainingRun, fitted: Any) -> None:
        self.told.append(("end", fitted.stop_reason_))

    def on_close(self, run: TrainingRun) -> None:
        self.told.append(("close", run.path))

    def epochs(self) -> list[dict[str, float]]:
        return [told[2] for told in self.told if told[0] == "epoch"]


@BOTH
@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_epoch_is_told_as_its_numbers(task: str, early_stopping: bool) -> None:
    """The values of an epoch are those that the curves of the fitted model have for it."""
    recorder = Recorder()
    model = fitted(small(task, early_stopping=early_stopping).set_callbacks(recorder), X, target(task))
    curves = {"loss": model.loss_curve_, "learning_rate": model.learning_rates_}
    if early_stopping:
        curves |= {"validation_loss": model.validation_loss_curve_, "validation_score": model.validation_scores_}
    expected = [dict(zip(curves, values, strict=True)) for values in zip(*curves.values(), strict=True)]
    assert recorder.epochs() == expected
    assert [told[0] for told in recorder.told] == ["begin", "epoch", "epoch", "epoch", "end", "close"]
    assert [told[1] for told in recorder.told[1:4]] == [1, 2, 3]


def test_epochs_are_counted_over_all_calls() -> None:
    """A model that goes on counts on."""
    recorder = Recorder()
    model = small("binary", warm_start=True).set_callbacks(recorder)
    fitted(model, X, BINARY)
    model.partial_fit(X, BINARY)
    fitted(model, X, BINARY)
    assert [told[1] for told in recorder.told if told[0] == "epoch"] == [1, 2, 3, 4, 5, 6, 7]


def test_a_callback_ends_the_training() -> None:
    """True after an epoch ends the training there."""
    recorder = Recorder(stop_after=2)
    model = small("binary", max_iter=50).set_callbacks(recorder).fit(X, BINARY)
    assert model.n_iter_ == 2
    assert recorder.told[-2:] == [("end", "callback"), ("close", ())]


def test_a_training_that_fails_is_closed() -> None:
    """A training that fails is told as such, and closed; one that is refused is never begun."""
    recorder = Recorder()
    model = small("regression", learning_rate=1e200, optimizer="sgd").set_callbacks(recorder)
    with pytest.raises(DivergenceError):
        model.fit(X, VALUES)
    assert recorder.told[-2:] == [("end", ""), ("close", ())]
    before = len(recorder.told)
    with pytest.raises(ValueError):
        model.fit(X, np.full_like(VALUES, np.nan))
    assert len(recorder.told) == before


@pytest.mark.parametrize("search_class", [GridSearchCV, BigGridSearchCV])
def test_trainings_of_a_search_are_told_apart(search_class: Any) -> None:
    """Every training of a search is heard of, from its beginning to its end."""
    recorder = Recorder()
    pipeline = make_pipeline(StandardScaler(), small("regression").set_callbacks(recorder))
    fitted(search_class(pipeline, {"bigmlpregressor__alpha": [1e-4, 1e-3]}, cv=2), X, VALUES)
    kinds = [told[0] for told in recorder.told]
    assert {kind: kinds.count(kind) for kind in kinds} == {"begin": 5, "epoch": 15, "end": 5, "close": 5}


def test_a_callback_is_pickled_without_what_it_has_open(tmp_path: Path) -> None:
    """A copy for another process has the settings, and no training."""
    for callback in (
        CSVLogger(tmp_path / "log.csv"),
        TensorBoardLogger(tmp_path),
        MLflowLogger("name", tags={"a": "b"}),
    ):
        before = dict(vars(callback))
        callback._runs = {1: TrainingRun("a", (), None)}
        assert vars(pickle.loads(pickle.dumps(callback))) == before


def test_a_csv_file_has_a_line_for_every_epoch(tmp_path: Path) -> None:
    """Loss, scores and rates are those of the model; later trainings are appended under another run."""
    path = tmp_path / "log.csv"
    logger = CSVLogger(path)
    models = [fitted(small("binary", early_stopping=early).set_callbacks(logger), X, BINARY) for early in (False, True)]
    log = pd.read_csv(path)
    assert list(log) == ["run", "epoch", "seconds", "loss", "validation_loss", "validation_score", "learning_rate"]
    for model, (_, run) in zip(models, log.groupby("run", sort=False), strict=True):
        assert run["epoch"].tolist() == [1, 2, 3]
        # pandas reads numbers to the last bit but one.
        np.testing.assert_allclose(run["loss"], model.loss_curve_, rtol=1e-15)
        np.testing.assert_allclose(run["learning_rate"], model.learning_rates_, rtol=1e-15)
        np.testing.assert_allclose(run["validation_score"].dropna(), model.validation_scores_ or [], rtol=1e-15)
        assert (run["seconds"].diff().dropna() >= 0).all()


@pytest.mark.parametrize("n_jobs", [None, pytest.param(2, marks=pytest.mark.thorough)])
def test_a_csv_file_gathers_a_search(n_jobs: int | None, tmp_path: Path) -> None:
    """Trainings of a search, in several processes too, write whole lines to one file."""
    model = small("binary").set_callbacks(CSVLogger(tmp_path / "log.csv"))
    fitted(GridSearchCV(model, {"alpha": [1e-4, 1e-3]}, cv=2, n_jobs=n_jobs), X, BINARY)
    log = pd.read_csv(tmp_path / "log.csv")
    assert len(log) == 15
    assert log["loss"].notna().all()
    assert [each for each in tmp_path.iterdir()] == [tmp_path / "log.csv"]


@pytest.mark.parametrize(
    ("make", "module", "extra"), [(TensorBoardLogger, "tensorboard", "tensorboard"), (MLflowLogger, "mlflow", "mlflow")]
)
def test_without_a_library_its_extra_is_named(
    make: Any, module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where TensorBoard or MLflow is missing, the fit says how to install it."""
    monkeypatch.setitem(sys.modules, module, None)
    model = small("binary").set_callbacks(make(str(tmp_path)))
    with pytest.raises(ImportError, match=rf'pip install "skbig\[{extra}\]"'):
        fitted(model, X, BINARY)
