"""TensorBoard and MLflow read what our callbacks have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skbig
from skbig.callbacks import MLflowLogger, TensorBoardLogger
from skbig.exceptions import DivergenceError
from tests.fitting import BINARY, VALUES, X, fitted, small, trained

# Of the libraries themselves, with one another and with Python.
pytestmark = pytest.mark.filterwarnings("default")


def test_tensorboard_shows_the_curves(tmp_path: Path) -> None:
    """TensorBoard reads the curves of the fitted model, and its parameters."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = small("binary", early_stopping=True).set_callbacks(TensorBoardLogger(tmp_path))
    fitted(model, X, BINARY)
    (folder,) = tmp_path.iterdir()
    events = EventAccumulator(str(folder)).Reload()
    curves = {
        "loss": model.loss_curve_,
        "validation_loss": model.validation_loss_curve_,
        "validation_score": model.validation_scores_,
        "learning_rate": model.learning_rates_,
    }
    assert set(events.Tags()["scalars"]) == set(curves)
    for name, curve in curves.items():
        points = events.Scalars(name)
        assert [point.step for point in points] == [1, 2, 3]
        assert [point.value for point in points] == pytest.approx(curve, rel=1e-6)
    (text,) = events.Tensors("parameters/text_summary")
    assert b"hidden_layer_sizes" in text.tensor_proto.string_val[0]


def test_tensorboard_has_a_folder_for_each_training(tmp_path: Path) -> None:
    """Trainings of a search write to folders of their own."""
    pytest.importorskip("tensorboard")
    model = small("binary").set_callbacks(TensorBoardLogger(tmp_path))
    fitted(GridSearchCV(model, {"alpha": [1e-4, 1e-3]}, cv=2), X, BINARY)
    assert len({path.parent for path in tmp_path.rglob("events.*")}) == 5


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where MLflow keeps its runs: it takes seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def mlflow(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow, with an experiment of its own for each test."""
    module = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "")  # so that it is put back
    before = module.get_tracking_uri()
    module.set_tracking_uri(database)
    module.set_experiment(tmp_path.name)
    yield module
    module.set_tracking_uri(before)


def test_mlflow_has_a_run_for_a_fit(mlflow: Any) -> None:
    """A bare fit is a finished run with its parameters, its curves and how it ended."""
    model = small("binary", early_stopping=True).set_callbacks(MLflowLogger("alone", tags={"team": "blue"}))
    fitted(model, X, BINARY)
    assert mlflow.active_run() is None
    (run,) = mlflow.search_runs(experiment_names=["alone"], output_format="list")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "BigMLPClassifier"
    assert run.data.params["hidden_layer_sizes"] == "(4,)"
    assert (run.data.tags["team"], run.data.tags["stop_reason"]) == ("blue", model.stop_reason_)
    assert run.data.metrics["n_iter"] == 3
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "validation_score")
    assert [(metric.step, metric.value) for metric in history] == list(enumerate(model.validation_scores_, start=1))


def test_mlflow_gathers_a_search_in_the_active_run(mlflow: Any) -> None:
    """Trainings of a search are runs within the one that is active, which stays so."""
    model = small("binary").set_callbacks(MLflowLogger())
    with mlflow.start_run() as parent:
        fitted(GridSearchCV(model, {"alpha": [1e-4, 1e-3]}, cv=2), X, BINARY)
        assert mlflow.active_run().info.run_id == parent.info.run_id
    runs = mlflow.search_runs(experiment_ids=[parent.info.experiment_id], output_format="list")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 5
    assert sorted({run.data.params["alpha"] for run in children}) == ["0.0001", "0.001"]


def test_mlflow_knows_of_a_failure(mlflow: Any) -> None:
    """A training that diverges is a failed run."""
    model = small("regression", learning_rate=1e200, optimizer="sgd").set_callbacks(MLflowLogger("failures"))
    with pytest.raises(DivergenceError):
        model.fit(X, VALUES)
    (run,) = mlflow.search_runs(experiment_names=["failures"], output_format="list")
    assert run.info.status == "FAILED"


def test_mlflow_goes_where_it_is_told(mlflow: Any, tmp_path: Path) -> None:
    """The experiment that is set is used, or the logger's own, at its own place; neither of MLflow's settings moves."""
    experiment = mlflow.set_experiment("set before")
    fitted(small("binary").set_callbacks(MLflowLogger()), X, BINARY)
    assert len(mlflow.search_runs([experiment.experiment_id], output_format="list")) == 1
    uri = mlflow.get_tracking_uri()
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    fitted(small("binary").set_callbacks(MLflowLogger("there", tracking_uri=elsewhere)), X, BINARY)
    assert mlflow.get_tracking_uri() == uri
    client = mlflow.MlflowClient(elsewhere)
    assert len(client.search_runs([client.get_experiment_by_name("there").experiment_id])) == 1


def test_mlflow_saves_and_loads_a_pipeline(mlflow: Any, tmp_path: Path) -> None:
    """mlflow.sklearn saves our models by skops, and loads them by our list of types."""
    pipeline = make_pipeline(StandardScaler(), trained("regression")).fit(X, VALUES)
    types = skbig.trusted_types()
    mlflow.sklearn.save_model(pipeline, tmp_path / "model", serialization_format="skops", skops_trusted_types=types)
    loaded = mlflow.sklearn.load_model(str(tmp_path / "model"))
    assert (loaded.predict(X) == pipeline.predict(X)).all()


def test_mlflow_autolog_logs_a_pipeline(mlflow: Any) -> None:
    """A pipeline that holds our estimator is logged by MLflow on its own, with what our callback logs within it."""
    mlflow.sklearn.autolog(log_models=False, silent=True)
    try:
        network = small("regression").set_callbacks(MLflowLogger())
        fitted(make_pipeline(StandardScaler(), network), X, VALUES)
    finally:
        mlflow.sklearn.autolog(disable=True, silent=True)
    runs = mlflow.search_runs(output_format="list")
    ours = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) == 2
    assert ours[0].data.metrics["n_iter"] == 3
