"""Every epoch as points of curves in TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skbig._utils.extras import import_extra
from skbig.callbacks.epoch_callback import EpochCallback, TrainingRun


class TensorBoardLogger(EpochCallback):
    """Writes curves, and the parameters as text, for TensorBoard.

    Each training has a folder of its own within `log_dir`, named by its run. Look at them with
    ``tensorboard --logdir LOG_DIR``.

    Parameters
    ----------
    log_dir : path
        The folder; it is made.

    Raises
    ------
    ImportError
        From `fit`, where TensorBoard is missing: ``pip install "skbig[tensorboard]"``.

    Examples
    --------
    >>> from skbig import BigMLPClassifier
    >>> from skbig.callbacks import TensorBoardLogger
    >>> model = BigMLPClassifier().set_callbacks(TensorBoardLogger("runs"))
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.log_dir = log_dir
        self._writers: dict[str, Any] = {}

    def on_begin(self, run: TrainingRun) -> None:
        """Open the folder of a training."""
        import_extra("tensorboard", "tensorboard", "TensorBoardLogger")
        tensorboard = import_extra("torch.utils.tensorboard", "tensorboard", "TensorBoardLogger")
        writer = self._writers[run.name] = tensorboard.SummaryWriter(str(Path(self.log_dir) / run.name))
        parameters = run.estimator.get_params()
        rows = "\n".join(f"| {name} | {_cell(value)} |" for name, value in sorted(parameters.items()))
        writer.add_text("parameters", f"| parameter | value |\n|---|---|\n{rows}")

    def on_epoch(self, run: TrainingRun, epoch: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writers[run.name].add_scalar(name, value, epoch)

    def on_close(self, run: TrainingRun) -> None:
        """Write what is left, and close."""
        writer = self._writers.pop(run.name, None)
        if writer is not None:
            writer.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_writers": {}}


def _cell(value: Any) -> str:
    return repr(value).replace("|", "\\|").replace("\n", " ")
