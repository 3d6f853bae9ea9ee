"""What holds of every call, whatever it is given."""

from __future__ import annotations

import copy
import pickle
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skbig.exceptions import DivergenceError

ERRORS = (ValueError, TypeError, MemoryError, OSError, NotFittedError, DivergenceError, AttributeError)
"""What a call may fail with. Nothing else says what was wrong: an IndexError, a KeyError, an error of torch's."""

HOMES = ("skbig", "sklearn")
"""Who may raise it: the last line that is not of NumPy's, SciPy's or pandas' conversions is of one of them."""

CONVERSIONS = ("numpy", "scipy", "pandas", "copy.py")


class Broken(AssertionError):
    """A law that does not hold."""


def state_of(value: Any) -> str:
    """Return what is the same when a value and all that it holds are."""
    try:
        return str(joblib.hash(value))
    except Exception:  # what cannot be pickled, as a function written here
        return str(joblib.hash({name: repr(part) for name, part in vars(value).items()}))


def outcome_of(call: Callable[[], Any]) -> Exception | None:
    """Make a call; return the error with which it has failed, if it names what is wrong.

    Raises
    ------
    Broken
        When it does not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except ERRORS as error:
        _check_named(error)
        return error
    except Exception as error:
        raise Broken(f"an error that names nothing: {error!r}") from error
    return None


def _check_named(error: Exception) -> None:
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    homes = [name for name in frames if not any(part in name for part in CONVERSIONS)]
    last = homes[-1] if homes else ""
    ours = any(f"/{home}/" in last for home in HOMES)
    if not (ours and str(error)):
        raise Broken(f"an error that nobody has raised on purpose: {error!r} in {last}") from error


def check_failed(error: Exception, before: tuple[str, Any], estimator: Any, given: str, now: Any) -> None:
    """What has failed leaves the input as it was, and the estimator too, unless it had begun to learn."""
    if state_of(now) != given:
        raise Broken("the input was changed by a call that failed")
    state, curves = before
    learnt = isinstance(error, DivergenceError) or vars(estimator).get("_curves") is not curves
    if not learnt and state_of(estimator) != state:
        raise Broken(f"the estimator was changed by a call that failed with {error!r}")


def check_fitted(model: Any, X: Any) -> None:
    """A fitted model predicts numbers, and so do its copies, to the bit."""
    predicted = predictions_of(model, X)
    for name, values in predicted.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all() and not _is_meant(name, model):
            raise Broken(f"{name} is not finite")
    copies = {"deepcopy": copy.deepcopy(model)}
    if _pickles(model):
        copies["pickle"] = pickle.loads(pickle.dumps(model))
    for name, other in copies.items():
        if state_of(predictions_of(other, X)) != state_of(predicted):
            raise Broken(f"a copy by {name} predicts something else")
    clone(model)


def _is_meant(name: str, model: Any) -> bool:
    """Whether a loss has probabilities of exactly zero, whose logarithm is infinite."""
    own = model._loss.out_activation(len(getattr(model, "classes_", ())) > 2) == "identity"
    return name == "predict_log_proba" and own


def predictions_of(model: Any, X: Any) -> dict[str, np.ndarray]:
    methods = ("predict", "predict_proba", "predict_log_proba", "decision_function")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: np.asarray(getattr(model, name)(X)) for name in methods if hasattr(model, name)}


def _pickles(model: Any) -> bool:
    try:
        pickle.dumps(model)
    except Exception:  # a function written here is one of its parameters
        return False
    return True


def check_same(one: Any, other: Any) -> None:
    """Two fits of the same are the same to the bit."""
    kept = [
        {name: value for name, value in vars(model).items() if name[-1] == "_" or "_curves" in name}
        for model in (one, other)
    ]
    if state_of(kept[0]) != state_of(kept[1]):
        differ = [name for name in kept[0] if state_of(kept[0][name]) != state_of(kept[1].get(name))]
        raise Broken(f"two fits of the same differ in {differ}")
