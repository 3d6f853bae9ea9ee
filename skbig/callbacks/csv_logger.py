"""Every epoch as a line of a file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from skbig.callbacks.epoch_callback import EpochCallback, TrainingRun

COLUMNS = ("run", "epoch", "seconds", "loss", "validation_loss", "validation_score", "learning_rate")


class CSVLogger(EpochCallback):
    """Appends a line to a CSV file after every epoch.

    The columns are run, epoch, seconds since the training began, loss, validation_loss, validation_score and
    learning_rate; what there is none of stays empty. Trainings of a search, in several processes too, and later ones
    write to the same file, and are told apart by the name of their run.

    Parameters
    ----------
    path : path
        The file. It is made with its header, or appended to.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.callbacks import CSVLogger
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((8,), max_iter=20, schedule="cosine", random_state=0)
    >>> model = model.set_callbacks(CSVLogger("iris.csv")).fit(X, y)
    >>> log = pd.read_csv("iris.csv")
    >>> np.allclose(log["loss"], model.loss_curve_)
    True
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def on_begin(self, run: TrainingRun) -> None:
        """Make the file, if there is none."""
        with suppress(FileExistsError), open(self.path, "xb") as file:
            file.write(_line(COLUMNS))

    def on_epoch(self, run: TrainingRun, epoch: int, values: Mapping[str, float]) -> None:
        """Append a line, by a single write: lines of several processes do not mix."""
        known: dict[str, Any] = {"run": run.name, "epoch": epoch, "seconds": round(run.seconds, 4), **values}
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, _line([known.get(column, "") for column in COLUMNS]))
        finally:
            os.close(descriptor)


def _line(values: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
