"""Tensors of torch go in as arrays do, and come out where array API dispatch is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.utils.backend_registration
from torch import Tensor

from skbig import BigMLPClassifier, BigMLPRegressor, BigTabularRegressor
from tests.small import data

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SETTINGS = {"hidden_layer_sizes": (4,), "max_iter": 2, "tol": 0.0, "schedule": "cosine", "random_state": 0}

FORMS = {
    "plain": lambda tensor: tensor,
    "with a gradient": lambda tensor: tensor.clone().requires_grad_(),
    "in columns": lambda tensor: torch.from_numpy(np.asfortranarray(tensor.numpy())),
    "with its sign put off": lambda tensor: torch._neg_view(-tensor),
    "of inference mode": lambda tensor: _inferred(tensor),
}


def _inferred(tensor: Tensor) -> Tensor:
    with torch.inference_mode():
        return tensor * 1


WITH_DISPATCH = """
import numpy as np, torch, sklearn
from skbig import BigMLPClassifier, BigMLPRegressor, BigTabularRegressor
sklearn.set_config(array_api_dispatch=True)
X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
settings = {"hidden_layer_sizes": (4,), "max_iter": 2, "tol": 0.0, "schedule": "cosine", "random_state": 0}
model = BigMLPClassifier(**settings).fit(X, (X[:, 0] > 0).long())
for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
    result = getattr(model, name)(X)
    assert isinstance(result, torch.Tensor) and result.device == X.device, name
    np.testing.assert_array_equal(result.numpy(), getattr(model, name)(X.numpy()))
assert model.predict(X).dtype == torch.int64
assert model.predict_proba(X).dtype == torch.float32
assert isinstance(model.score(X, (X[:, 0] > 0).long()), float)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
chain = make_pipeline(StandardScaler(), BigMLPRegressor(**settings)).fit(X, X[:, 0])
assert isinstance(chain.predict(X), torch.Tensor) and isinstance(chain.score(X, X[:, 0]), float)
short = BigMLPClassifier(**settings).fit(X.numpy(), (X[:, 0] > 0).numpy().astype("uint16"))
assert short.predict(X).dtype == torch.uint16
named = BigMLPClassifier(**settings).fit(X, np.where(X[:, 0].numpy() > 0, "yes", "no"))
assert isinstance(named.predict(X), np.ndarray)
mean, spread = BigMLPRegressor(n_members=2, **settings).fit(X, X[:, 0]).predict(X, return_std=True)
assert isinstance(mean, torch.Tensor) and isinstance(spread, torch.Tensor)
from sklearn.preprocessing import MinMaxScaler
from skbig.estimators.base import NetworkEstimator
seen, check = [], NetworkEstimator._check_rows
def noted(self, X, *args, **kwargs):
    seen.append(X)
    return check(self, X, *args, **kwargs)
NetworkEstimator._check_rows = noted
chain = make_pipeline(MinMaxScaler(), BigMLPClassifier(**settings)).fit(X, (X[:, 0] > 0).long())
scaled = chain[0].transform(X)
assert isinstance(scaled, torch.Tensor) and isinstance(chain.predict_proba(X), torch.Tensor)
arrays = make_pipeline(MinMaxScaler(), BigMLPClassifier(**settings)).fit(X.numpy(), (X[:, 0] > 0).numpy())
np.testing.assert_array_equal(chain.predict_proba(X).numpy(), arrays.predict_proba(X.numpy()))
seen.clear()
chain[-1].predict_proba(scaled)
assert np.shares_memory(seen[0], scaled.numpy())  # read where it lies
print("fine")
"""


@pytest.mark.parametrize("form", FORMS)
def test_tensors_are_read_as_arrays(form: str) -> None:
    """A tensor gives the bits of the array that it holds, whatever else it carries, and stays as it is."""
    X, y = data("multiclass")
    rows, labels, weight = (
        FORMS[form](torch.from_numpy(np.array(a, dtype=np.float64))) for a in (X, y, np.ones(len(y)))
    )
    expected = BigMLPClassifier(**SETTINGS).fit(X, y.astype(np.float64), np.ones(len(y)), X_val=X, y_val=y)
    model = BigMLPClassifier(**SETTINGS).fit(rows, labels, weight, X_val=rows, y_val=labels)
    np.testing.assert_array_equal(model.predict_proba(rows), expected.predict_proba(X))
    assert isinstance(model.predict(rows), np.ndarray)
    np.testing.assert_array_equal(rows.detach().resolve_neg().numpy(), X)
    assert rows.requires_grad == (form == "with a gradient")


def test_bfloat16_is_read_as_float32() -> None:
    """NumPy has no such numbers; float32 holds all of them."""
    X, y = data("regression")
    half = torch.from_numpy(X).bfloat16()
    model = BigMLPRegressor(**SETTINGS).fit(half, y)
    expected = BigMLPRegressor(**SETTINGS).fit(half.float().numpy(), y)
    np.testing.assert_array_equal(model.predict(half), expected.predict(half.float().numpy()))


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        (lambda X: X.to("meta"), ValueError, "X is a tensor on the 'meta' device, which holds no numbers"),
        (
            lambda X: X.byte().view(torch.bits8),
            TypeError,
            "X is a tensor of dtype torch.bits8, which NumPy does not have",
        ),
        (Tensor.to_sparse, TypeError, r"layout torch.sparse_coo, which is not read. Give a scipy.sparse.csr_array"),
    ],
)
def test_tensors_without_numbers_are_refused(wrong: object, error: type[Exception], match: str) -> None:
    """The error names the argument, and the estimator stays as it was."""
    X, y = data("regression")
    rows = wrong(torch.from_numpy(X))  # type: ignore[operator]
    model = BigMLPRegressor(**SETTINGS)
    with pytest.raises(error, match=match):
        model.fit(rows, y)
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(error, match=match):
        model.fit(X, y).predict(rows)
    with pytest.raises(error, match=match.replace("X is", "X_val is")[:8]):
        model.fit(X, y, X_val=rows, y_val=y)


def test_predictions_are_tensors_under_dispatch() -> None:
    """They are on the device of the rows, through a Pipeline too, whose rows nobody copies; words stay an array."""
    if find_spec("sklearn.externals.array_api_compat") is None:  # scikit-learn 1.6 does not bring it
        pytest.importorskip("array_api_compat")
    # SciPy asks for the variable when it is imported.
    switched = {**os.environ, "SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", WITH_DISPATCH]
    done = subprocess.run(command, env=switched, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.thorough
def test_tensors_of_a_device_stay_there() -> None:
    """What `on_a_card.py` says of a device holds; it makes one, so it has a process of its own."""
    if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("This version of torch has no devices that are written in Python.")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "on_a_card.py")]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=settings, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-5000:]


def test_several_sets_of_validation_rows_may_be_tensors() -> None:
    """In a list of sets each tensor is read as the array that it holds."""
    X, y = data("regression")
    sets = [X[:20], X[20:40]], [y[:20], y[20:40]]
    settings = SETTINGS | {"hidden_layer_sizes": (3,)}
    expected = BigMLPRegressor(**settings).fit(X, y, X_val=sets[0], y_val=sets[1])
    tensors = [[torch.from_numpy(each) for each in arrays] for arrays in sets]
    model = BigMLPRegressor(**settings).fit(X, y, X_val=tensors[0], y_val=tensors[1])
    assert model.validation_curves_ == expected.validation_curves_


def test_an_interval_is_of_tensors_under_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends come as the rows came."""
    monkeypatch.setattr("skbig.estimators.tensors.get_config", lambda: {"array_api_dispatch": True})
    X, y = data("regression")
    model = BigTabularRegressor(preset="fast", max_iter=1, early_stopping=True, random_state=0).fit(X, y)
    rows = torch.from_numpy(X)
    for ours, theirs in zip(model.predict_interval(rows, 0.5), model.predict_interval(X, 0.5), strict=True):
        assert isinstance(ours, Tensor)
        np.testing.assert_array_equal(ours.numpy(), theirs)
