"""Callbacks that keep what a training comes to, epoch by epoch: ``estimator.set_callbacks(...)``.

They follow scikit-learn's protocol of version 1.9, and work with older versions too. TensorBoard and MLflow are
imported when a training begins.
"""

from skbig.callbacks.csv_logger import CSVLogger
from skbig.callbacks.epoch_callback import EpochCallback, TrainingRun
from skbig.callbacks.mlflow_logger import MLflowLogger
from skbig.callbacks.tensorboard_logger import TensorBoardLogger

__all__ = ["CSVLogger", "EpochCallback", "MLflowLogger", "TensorBoardLogger", "TrainingRun"]
