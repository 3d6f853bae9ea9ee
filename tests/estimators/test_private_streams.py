"""Private training on rows that do not fit in memory draws from all of them, and is that of the same rows in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skbig import BigMLPClassifier
from skbig.components import DPSGD
from skbig.data.drawn_rows import DrawnRows
from skbig.data.sources.array import ArraySource
from skbig.data.sources.open import as_source
from skbig.data.streamed_rows import stream_rows
from tests.small import CPU

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 7)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int) + 2 * (X[:, 1] > 0.5)


def memory_map(folder: Path) -> Any:
    mapped = np.lib.format.open_memmap(folder / "X.npy", "w+", X.dtype, X.shape)
    mapped[:] = X
    mapped.flush()
    return np.load(folder / "X.npy", mmap_mode="r")


def hdf5(folder: Path, **options: Any) -> Any:
    h5py = pytest.importorskip("h5py")
    return h5py.File(folder / "X.h5", "w").create_dataset("X", data=X, **options)


STORES: dict[str, Callable[[Path], Any]] = {
    "memory map": memory_map,
    "HDF5": hdf5,
    "HDF5 in small chunks": lambda folder: hdf5(folder, chunks=(16, 7)),
}


def private(**parameters: Any) -> BigMLPClassifier:
    settings: dict[str, Any] = {"max_iter": 2, "batch_size": 32, "random_state": 0, "device": "cpu"}
    return BigMLPClassifier((5,), privacy=DPSGD(noise_multiplier=1.0, delta=1e-4), **settings | parameters)


@pytest.mark.crossed
@pytest.mark.parametrize("parameters", [{}, {"n_members": 2}, {"partial": True}, {"weight": True}], ids=str)
@pytest.mark.parametrize("store", STORES)
def test_it_is_the_training_in_memory(
    store: str, parameters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same bits, same spending: alone, as an ensemble, by partial_fit, and where rows of weight zero are left out."""
    settings = dict(parameters)
    calls = 2 if settings.pop("partial", False) else 1
    weight = np.repeat([0.0, 1.0], [11, 289]) if settings.pop("weight", False) else None
    drawn: list[int] = []
    read = DrawnRows._read
    monkeypatch.setattr(DrawnRows, "_read", lambda self, rows: drawn.append(len(rows)) or read(self, rows))
    fitted = []
    for rows in (X, STORES[store](tmp_path)):
        model = private(**settings)
        for _ in range(calls):
            model = model.partial_fit(rows, Y, [0, 1, 2, 3]) if calls > 1 else model.fit(rows, Y, sample_weight=weight)
        fitted.append(model)
        monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    assert drawn, "rows were loaded"
    in_memory, streamed = fitted
    for one, other in zip(in_memory.coefs_, streamed.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert in_memory._ledger == streamed._ledger
    assert in_memory._ledger["spent"][0][1] == pytest.approx(32 / (300 if weight is None else 289))


def test_what_is_read_in_order_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet gives no single rows, nor do large chunks, nor columns: the reason and what to pass are told."""
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    from skbig.data import open_parquet

    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    monkeypatch.setattr("skbig.data.drawn_rows.MOST_BYTES", 1000)
    pandas.DataFrame(X).rename(columns=str).to_parquet(tmp_path / "X.parquet")
    for rows in (open_parquet(tmp_path / "X.parquet")[0], hdf5(tmp_path, chunks=(150, 7))):
        with pytest.raises(ValueError, match=r"read in order, or by large pieces, .* memory map in C order"):
            private().fit(rows, Y)
        with pytest.raises(ValueError, match="these are read in order"):
            DrawnRows.of(stream_rows(as_source(rows), Y, None, CPU, torch.float32))


def test_any_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rows are asked for, near and far ones, each is read: those of a part of a source, too."""
    for part in (None, np.arange(3, 300, 2)):
        labels = Y if part is None else Y[part]
        streamed = stream_rows(ArraySource(X), labels, None, CPU, torch.float32, rows=part)
        for bridged in (1, 64, 2**14):
            monkeypatch.setattr("skbig.data.drawn_rows.BRIDGED_BYTES", bridged)
            rows = np.unique(RANDOM.integers(len(labels), size=40))
            expected = X[rows] if part is None else X[part][rows]
            np.testing.assert_array_equal(DrawnRows.of(streamed)._read(rows), expected)


def test_a_value_that_is_no_number_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found when its row is drawn, with its place in the whole set."""
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    rows = memory_map(tmp_path)
    np.lib.format.open_memmap(tmp_path / "X.npy", "r+")[123, 4] = np.nan
    with pytest.raises(ValueError, match="contains NaN. It is in row 123, column 4"):
        private(batch_size=100).fit(rows, Y)
