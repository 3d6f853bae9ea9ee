"""Rows that are too many for a device stay on the host and are sent as they are read, like those of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from skbig.data.array_rows import ArrayRows
from skbig.data.streaming import host_rows
from skbig.data.streaming.host_rows import fits, left_on_host
from tests.fitting import ANY_TASK, X, content_of, fitted, small, target

N_ROWS = len(X)
WEIGHT = np.random.RandomState(1).choice([0.0, 0.5, 2.0], size=N_ROWS)
CARD = torch.device("cuda")


@pytest.fixture
def small_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine be a device that no rows fit on, and small sets be read as large ones are."""
    for place in ("inputs", "validation"):
        monkeypatch.setattr(f"skbig.estimators.{place}.fits", lambda X, device, dtype: False)
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    monkeypatch.setattr("skbig.data.streamed_rows.MIN_BUFFER_BYTES", 800)


@pytest.mark.parametrize(
    ("n_rows", "dtype", "precision", "answer"),
    [
        (100, np.float64, torch.float32, True),  # half of the memory is for rows
        (101, np.float64, torch.float32, False),
        (101, np.int8, torch.float32, True),
        (50, np.float64, torch.float64, True),
        (51, np.float64, torch.float64, False),
    ],
)
def test_what_fits(monkeypatch: pytest.MonkeyPatch, n_rows: int, dtype: Any, precision: Any, answer: bool) -> None:
    """It is the memory of the device that decides, and what rows take there."""
    monkeypatch.setattr(host_rows, "memory_of", lambda device: 2 * 100 * 5 * 4)
    rows = np.zeros((n_rows, 5), dtype)
    assert fits(rows, CARD, precision) is answer
    assert fits(rows, torch.device("cpu"), precision)  # they are there already
    assert fits(sparse.csr_array(rows), CARD, precision)
    assert fits(ArrayRows(rows, np.dtype(np.float32), np.arange(50)), CARD, precision)


@pytest.mark.usefixtures("small_device")
@ANY_TASK
@pytest.mark.parametrize("early_stopping", [False, True])
def test_they_train_as_rows_of_a_file(tmp_path: Path, task: str, early_stopping: bool) -> None:
    """Fits, scores and predictions are those of a memory map of the same rows, to the bit."""
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    settings = {"early_stopping": early_stopping, "batch_size": 16}
    model, expected = small(task, **settings), small(task, **settings)
    fitted(model, X, target(task), sample_weight=WEIGHT)
    fitted(expected, mapped, target(task), sample_weight=WEIGHT)
    assert content_of(model) == content_of(expected)
    assert model.predict(X).tobytes() == expected.predict(mapped).tobytes()


@pytest.mark.usefixtures("small_device")
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float16])
def test_dtypes_are_converted_as_they_are_sent(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    """Large arrays that are not copied give the numbers of their converted copy."""
    rows = np.round(10 * X).astype(dtype)
    expected = fitted(small("regression", batch_size=16), rows, target("regression")).predict(rows)
    monkeypatch.setattr("skbig.data.array_rows.COPIED_BYTES", 0)
    assert np.array_equal(
        fitted(small("regression", batch_size=16), rows, target("regression")).predict(rows), expected
    )


@pytest.mark.usefixtures("small_device")
@pytest.mark.parametrize("settings", [{"optimizer": "lbfgs"}, {"batch_size": "full"}])
def test_rows_that_are_read_at_once_lie_on_the_device(settings: dict[str, Any]) -> None:
    """A step that needs all rows has them there: it would read all of them each time."""
    fitted(small("binary", **settings), X, target("binary"))


def test_whole_numbers_stay_whole() -> None:
    """A module that takes whole numbers gets them; converted rows are converted when they are read."""
    whole = np.arange(12).reshape(4, 3)
    assert left_on_host(whole, torch.float32).dtype == np.int64
    converted = left_on_host(ArrayRows(whole, np.dtype(np.float32), np.array([1, 3])), torch.float32)
    np.testing.assert_array_equal(converted.load(), whole[[1, 3]].astype(np.float32), strict=True)
