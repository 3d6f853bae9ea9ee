"""The errors and warnings that skbig adds to scikit-learn's.

Exception
 └── ValueError
      └── DivergenceError       the loss is not finite any more
UserWarning
 ├── InterruptedWarning         Ctrl-C ended the training early; the model so far is kept
 └── MemorySplitWarning         a batch did not fit in memory and is computed in parts
"""


class DivergenceError(ValueError):
    """The loss became infinite or NaN; the estimator keeps the last finite weights."""


class InterruptedWarning(UserWarning):
    """Training was interrupted by the user; the model so far is kept."""


class MemorySplitWarning(UserWarning):
    """A batch did not fit in the device's memory; it is computed in parts, with the same result."""
