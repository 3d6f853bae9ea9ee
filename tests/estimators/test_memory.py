"""What can never fit in memory is refused at once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import FitFailedWarning

from skbig import DDP, FSDP, BigGridSearchCV, BigMLPClassifier, BigMLPRegressor
from skbig._utils import memory


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_members": 10**9},
        {"n_members": 10**9, "optimizer": "lbfgs"},
        {"n_members": 10**9, "warm_start": True},
        {"n_members": 10**9, "early_stopping": True},
        {"hidden_layer_sizes": (10**9,)},
        {"hidden_layer_sizes": (10**5, 10**6)},
        {"hidden_layer_sizes": (10**40,)},
        {"backend": DDP(n_workers=10**6)},
        {"backend": DDP(n_workers=2), "n_members": 10**9},
        {"backend": FSDP(n_workers=2), "hidden_layer_sizes": (10**5, 10**6)},
    ],
    ids=lambda parameters: str({name: str(value)[:20] for name, value in parameters.items()}),
)
def test_what_can_never_fit_in_memory_is_refused(parameters: dict[str, Any]) -> None:
    """Before a seed is drawn or a process is started, the error says how much is wanted, and how much is there."""
    model = BigMLPRegressor(device="cpu", **parameters)
    tracemalloc.start()
    try:
        with pytest.raises(MemoryError, match=r"(need|more than) .* (TB|GB|EB) of memory.* has [\d.]+ GB"):
            model.fit(np.ones((4, 2)), np.ones(4))
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
    assert not hasattr(model, "coefs_")


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite:UserWarning")
def test_a_candidate_that_can_never_fit_fails_alone() -> None:
    """In a search the others are trained, as for any candidate that fails."""
    X, y = np.random.RandomState(0).normal(size=(30, 2)), np.arange(30) % 3
    search = BigGridSearchCV(
        BigMLPClassifier(max_iter=2, device="cpu", schedule="cosine"), {"n_members": [1, 10**9]}, cv=2, refit=False
    )
    with pytest.warns(FitFailedWarning, match="MemoryError"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


def test_a_container_has_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Memory is what the machine has, or what a container may take of it."""
    limit = tmp_path / "limit"
    monkeypatch.setattr(memory, "LIMITS", (str(limit), str(tmp_path / "none")))
    found = []
    for text in (None, "max", str(2**30)):
        if text is not None:
            limit.write_text(f"{text}\n")
        found.append(memory.memory_of(torch.device("cpu")))
    assert found[0] == found[1] > found[2] == 2**30
