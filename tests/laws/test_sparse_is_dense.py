"""Sparse rows are the same rows written out, for every network, alone and with members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from skbig import BigLinearClassifier, BigModuleClassifier, BigNetworkClassifier
from skbig.components import DPSGD
from skbig.networks import MLP, LowRankMLP, TabularMLP
from tests.networks.own import Embedded, ResNet

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(60, 6)) * (RANDOM.uniform(size=(60, 6)) < 0.4)
Y = RANDOM.randint(3, size=60)


class Scaled(torch.nn.Module):
    """A module that knows nothing of sparse rows."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.scale, self.head = torch.nn.Parameter(torch.ones(n_features)), torch.nn.Linear(n_features, n_outputs)

    def forward(self, X: Any) -> Any:
        return self.head(X * self.scale)


KINDS: dict[str, Callable[..., Any]] = {
    "perceptron": lambda **how: BigNetworkClassifier(MLP((4,), normalization="batch"), **how),
    "low rank": lambda **how: BigNetworkClassifier(LowRankMLP((4,), rank=2), **how),
    "tables": lambda **how: BigNetworkClassifier(TabularMLP(), **how),
    "embedded": lambda **how: BigNetworkClassifier(Embedded(), **how),
    "residual": lambda **how: BigNetworkClassifier(ResNet(), **how),
    "linear": BigLinearClassifier,
    "module": lambda **how: BigModuleClassifier(Scaled, **how),
    "private": lambda **how: BigNetworkClassifier(MLP((4,)), privacy=DPSGD(noise_multiplier=1.0), **how),
}


@pytest.mark.crossed
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_to_sparse_rows_is_that_to_dense_ones(kind: str, n_members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits, calls of partial_fit and predictions are those of the same rows written out."""
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    how = {"max_iter": 2, "batch_size": 16, "n_members": n_members, "random_state": 0}
    of_sparse, of_dense = KINDS[kind](**how), KINDS[kind](**how)
    of_sparse.fit(sparse.csr_array(X), Y).partial_fit(sparse.csr_array(X[:20]), Y[:20])
    of_dense.fit(X, Y).partial_fit(X[:20], Y[:20])
    for ours, expected in zip(of_sparse.get_weights(), of_dense.get_weights(), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(of_sparse.predict_proba(sparse.csr_array(X)), of_dense.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("kind", ["perceptron", "tables", "private"])
def test_a_value_stored_in_parts_is_their_sum(kind: str, n_members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy adds up what is stored twice in one place, in whatever order; the norm of a private row is of the sum."""
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    whole = sparse.csr_array(X)
    parts = np.c_[0.25 * whole.data, 0.75 * whole.data].ravel()
    stored = sparse.csr_array((parts, whole.indices.repeat(2), 2 * whole.indptr), shape=X.shape)
    how = {"max_iter": 2, "batch_size": 16, "n_members": n_members, "random_state": 0}
    model, expected = KINDS[kind](**how).fit(stored, Y), KINDS[kind](**how).fit(X, Y)
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(stored), expected.predict_proba(X), atol=1e-9)
    assert stored.nnz == 2 * whole.nnz


@pytest.mark.crossed
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("kind", ["perceptron", "tables", "embedded", "linear", "module"])
def test_sparse_rows_in_bfloat16(kind: str, n_members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps in bfloat16 take sparse rows, too, and come close to those of dense ones, which it rounds."""
    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)
    how = {"max_iter": 2, "batch_size": 16, "n_members": n_members, "random_state": 0, "precision": "bf16"}
    model = KINDS[kind](**how).fit(sparse.csr_array(X), Y)
    np.testing.assert_allclose(
        model.predict_proba(sparse.csr_array(X)), KINDS[kind](**how).fit(X, Y).predict_proba(X), atol=0.02
    )
