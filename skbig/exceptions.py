"""The errors and warnings that skbig adds to scikit-learn's.

Exception
 ├── ValueError
 │    ├── DivergenceError       the loss is not finite any more
 │    ├── ExportError           a model cannot be written in another form, or what was written predicts something else
 │    ├── IntegrityError        a file is not what was signed or encrypted
 │    └── ModelFileError        a model file is not trusted, or holds no model that can be served
 └── RuntimeError
      ├── DeviceError           a device computes nothing any more, in this process
      └── WorkerError           a worker process failed, was killed, or went silent
UserWarning
 ├── CheckpointWarning          a checkpoint is damaged and was skipped
 ├── ExecutorWarning            steps do not run as CUDA graphs, and are run as written
 ├── InterruptedWarning         Ctrl-C ended the training early; the model so far is kept
 ├── MemorySplitWarning         a batch did not fit in memory and is computed in parts
 └── PrivacyWarning             a search spends privacy with every fit, and tells scores without noise
"""

from __future__ import annotations


class DivergenceError(ValueError):
    """The loss became infinite or NaN; the estimator keeps the last finite weights."""


class ExportError(ValueError):
    """A model cannot become what was asked for, or what it became predicts something else; the sentence says why."""


class IntegrityError(ValueError):
    """A file was changed, cut or exchanged since it was signed or encrypted, or the key is another."""


class ModelFileError(ValueError):
    """A model file is not trusted, or holds no model that can be served; the sentence says what to do."""


class DeviceError(RuntimeError):
    """A device has failed so that it computes nothing any more in this process; what it held is lost."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged, or of a newer format, and was skipped; an older one serves."""


class WorkerError(RuntimeError):
    """A worker process failed, was killed, or showed no progress; all of its launch are ended.

    In a launch by others, where `fit` has joined: another rank is gone, or does not take part.

    Attributes
    ----------
    rank : int or None
        Of the worker that was the cause; None when the launcher itself failed, and in a launch by others.
    error_type : str or None
        The qualified name of the exception that the worker raised, such as "ValueError".
    traceback : str or None
        Of that exception, as text.
    signal : str or None
        The name of the signal that killed the worker, such as "SIGKILL".
    """

    # All but the message have defaults, and are attributes: so it can be pickled, as joblib does with errors.
    def __init__(
        self,
        message: str,
        *,
        rank: int | None = None,
        error_type: str | None = None,
        traceback: str | None = None,
        signal: str | None = None,
    ) -> None:
        super().__init__(message)
        self.rank = rank
        self.error_type = error_type
        self.traceback = traceback
        self.signal = signal


class ExecutorWarning(UserWarning):
    """Training steps could not be run as CUDA graphs and are run as written: the same result, more slowly."""


class InterruptedWarning(UserWarning):
    """Training was interrupted by the user; the model so far is kept."""


class MemorySplitWarning(UserWarning):
    """A batch did not fit in the device's memory; it is computed in parts, with the same result."""


class PrivacyWarning(UserWarning):
    """A search under privacy: its fits spend together, and its scores tell of rows without noise."""
