"""Every training as a run in MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from skbig._utils.extras import import_extra
from skbig.callbacks.epoch_callback import EpochCallback, TrainingRun

_PARENT, _NAME = "mlflow.parentRunId", "mlflow.runName"
_STATUS = {"": "FAILED", "interrupted": "KILLED"}
_MAX_CHARACTERS = 6000  # of a parameter, in every store of MLflow


class MLflowLogger(EpochCallback):
    """Logs each training as a run of its own: parameters, the values of each epoch, and how it ended.

    A run is made within the one that is active (``with mlflow.start_run():``), if there is one: so the trainings of a
    search are gathered. MLflow's active run, experiment and tracking URI stay as they are.

    Parameters
    ----------
    experiment : str, default=None
        Its name; it is made if there is none. None means the experiment that is set in MLflow.
    tracking_uri : str, default=None
        Where MLflow keeps its runs. None means the one that is set.
    tags : dict of str to str, default=None
        For all runs.

    Raises
    ------
    ImportError
        From `fit`, where MLflow is missing: ``pip install "skbig[mlflow]"``.

    Notes
    -----
    `mlflow.sklearn.autolog` logs pipelines and searches that hold our estimators, but not a fit of one on its own,
    since it knows scikit-learn's classes only. This callback does.

    Examples
    --------
    >>> from skbig import BigMLPClassifier
    >>> from skbig.callbacks import MLflowLogger
    >>> model = BigMLPClassifier().set_callbacks(MLflowLogger(experiment="iris"))
    """

    def __init__(
        self, experiment: str | None = None, *, tracking_uri: str | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        self.experiment, self.tracking_uri = experiment, tracking_uri
        self.tags = dict(tags or {})
        self._mlflow_runs: dict[str, str] = {}  # the id of MLflow's run, by the name of ours
        self._statuses: dict[str, str] = {}

    def on_begin(self, run: TrainingRun) -> None:
        """Make a run, with the parameters of the estimator."""
        mlflow = import_extra("mlflow", "mlflow", "MLflowLogger")
        client = self._client()
        active = mlflow.active_run()
        name = "-".join([type(run.estimator).__name__, *map(str, run.path)])
        tags = {**self.tags, _NAME: name, **({} if active is None else {_PARENT: active.info.run_id})}
        made = client.create_run(self._experiment_id(client, active), tags=tags)
        self._mlflow_runs[run.name] = made.info.run_id
        parameters = [
            mlflow.entities.Param(key, str(value)[:_MAX_CHARACTERS])
            for key, value in run.estimator.get_params().items()
        ]
        client.log_batch(made.info.run_id, params=parameters)

    def on_epoch(self, run: TrainingRun, epoch: int, values: Mapping[str, float]) -> None:
        """Log the values of an epoch; its number is the step."""
        self._log(run, values, epoch)

    def on_end(self, run: TrainingRun, fitted: Any) -> None:
        """Log how the training ended, and why."""
        reason = str(getattr(fitted, "stop_reason_", "unknown"))
        self._statuses[run.name] = _STATUS.get(reason, "FINISHED")
        facts = {name: getattr(fitted, f"{name}_", None) for name in ("n_iter", "best_loss", "best_validation_score")}
        self._log(run, {name: float(value) for name, value in facts.items() if value is not None}, 0)
        for name in ("stop_reason", "device"):
            value = getattr(fitted, f"{name}_", None)
            if value is not None:
                self._client().set_tag(self._mlflow_runs[run.name], name, value)

    def on_close(self, run: TrainingRun) -> None:
        """End the run."""
        made = self._mlflow_runs.pop(run.name, None)
        if made is not None:
            self._client().set_terminated(made, self._statuses.pop(run.name, "FAILED"))

    def _log(self, run: TrainingRun, values: Mapping[str, float], step: int) -> None:
        entities = import_extra("mlflow.entities", "mlflow", "MLflowLogger")
        now = int(1000 * time.time())
        metrics = [entities.Metric(name, value, now, step) for name, value in values.items()]
        self._client().log_batch(self._mlflow_runs[run.name], metrics=metrics)

    def _client(self) -> Any:
        return import_extra("mlflow", "mlflow", "MLflowLogger").MlflowClient(self.tracking_uri)

    def _experiment_id(self, client: Any, active: Any) -> str:
        if self.experiment is None and active is not None:
            return str(active.info.experiment_id)
        if self.experiment is None and "MLFLOW_EXPERIMENT_ID" in os.environ:  # where mlflow.set_experiment notes it
            return os.environ["MLFLOW_EXPERIMENT_ID"]
        name = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
        found = client.get_experiment_by_name(name)
        return str(client.create_experiment(name) if found is None else found.experiment_id)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_mlflow_runs": {}, "_statuses": {}}
