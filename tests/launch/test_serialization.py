"""A value comes out of a folder as it went in, and its arrays are not copied on the way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from skbig.data.sources.open import as_source
from skbig.launch.serialization import pack, unpack

LARGE = np.random.RandomState(0).normal(size=(300, 4))
ARRAYS: dict[str, np.ndarray] = {
    "large": LARGE,
    "small": LARGE[:2],
    "empty": LARGE[:0],
    "columns first": np.asfortranarray(LARGE),
    "steps": LARGE[::2, 1:],
    "float32": LARGE.astype(np.float32),
    "bool": LARGE > 0,
    "strings": (LARGE > 0).astype(str),
    "objects": np.array(["no", "yes"], dtype=object)[(LARGE > 0).astype(int)],
    "mixed objects": np.array([None, 1, "a", 2.5] * 300, dtype=object),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str, tmp_path: Path) -> None:
    """Arrays of every kind keep their values, shapes and dtypes, and come back read-only when they are large."""
    pack({"nested": [ARRAYS[name]]}, tmp_path / "packed")
    [array] = unpack(tmp_path / "packed")["nested"]
    assert array.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(array, ARRAYS[name])
    if not array.dtype.hasobject and array.nbytes > 2000:
        assert not array.flags.writeable


def test_tensors_sparse_arrays_and_functions(tmp_path: Path) -> None:
    """Tensors, sparse arrays, and functions without a name go the same way."""
    matrix, shift = sparse.random_array((200, 50), density=0.2, format="csr"), 3
    pack((torch.from_numpy(LARGE), matrix, lambda x: x + shift), tmp_path / "packed")
    tensor, rows, function = unpack(tmp_path / "packed")
    assert torch.equal(tensor, torch.from_numpy(LARGE))
    assert (rows != matrix).nnz == 0 and rows[np.array([5, 1])].shape == (2, 50)
    assert function(1) == 4


def test_one_array_stays_one(tmp_path: Path) -> None:
    """What is the same array before is the same after."""
    value: dict[str, Any] = {"a": LARGE, "b": [LARGE]}
    pack(value, tmp_path / "packed")
    copy = unpack(tmp_path / "packed")
    assert copy["a"] is copy["b"][0]


def test_a_file_is_named_not_copied(tmp_path: Path) -> None:
    """A memory map, or a source that reads one, is opened again where it lies."""
    np.save(tmp_path / "rows.npy", LARGE)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")[100:]
    pack((mapped, as_source(mapped)), tmp_path / "packed")
    assert [path.name for path in (tmp_path / "packed").iterdir()] == ["value"]
    array, source = unpack(tmp_path / "packed")
    np.testing.assert_array_equal(array, LARGE[100:])
    np.testing.assert_array_equal(source.read(5, 20), LARGE[105:120])


def test_changes_that_are_in_no_file_are_copied(tmp_path: Path) -> None:
    """A map whose changes stay in memory does not show what its file holds, so it is written anew."""
    np.save(tmp_path / "rows.npy", LARGE)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="c")
    mapped[7] = 1.0
    pack(mapped, tmp_path / "packed")
    np.testing.assert_array_equal(unpack(tmp_path / "packed"), mapped)


def test_nobody_else_may_enter(tmp_path: Path) -> None:
    """What is packed is private, whatever the umask."""
    before = os.umask(0)
    try:
        pack(LARGE, tmp_path / "packed")
    finally:
        os.umask(before)
    assert (tmp_path / "packed").stat().st_mode & 0o077 == 0
