"""What a device is asked for is there, or the error says what is: rules that a machine without a card can show."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from skbig import BigMLPClassifier, BigMLPRegressor

ASK = """
import numpy as np
from skbig import BigMLPRegressor
X = np.arange(40.0).reshape(20, 2)
for device in ("auto", "cuda"):
    model = BigMLPRegressor((2,), max_iter=1, tol=0, device=device)
    try:
        print(model.fit(X, X[:, 0]).device_)
    except ValueError as error:
        print(error)
"""


@pytest.fixture
def one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.usefixtures("one_card")
@pytest.mark.parametrize("estimator", [BigMLPClassifier, BigMLPRegressor])
def test_a_second_card_of_one(estimator: type) -> None:
    """A card that is not there is an error before anything is computed, and says which there are."""
    X, y = np.zeros((20, 2)), np.arange(20) % 2
    model = estimator(device="cuda:1")
    with pytest.raises(ValueError, match=r"device='cuda:1' is not available on this machine; torch sees cpu, cuda:0"):
        model.fit(X, y)
    assert not hasattr(model, "n_features_in_")


def test_cards_may_be_hidden() -> None:
    """Where CUDA_VISIBLE_DEVICES hides all cards there is none: "auto" is the CPU, and "cuda" an error that says so."""
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", ASK]
    done = subprocess.run(command, env=hidden, capture_output=True, text=True, timeout=120, check=True)
    auto, cuda = done.stdout.splitlines()
    assert auto == "cpu" and "torch sees cpu." in cuda
