"""Values on their way to another process of this machine: arrays as files that are mapped there, the rest pickled."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from skbig.data.rows import as_tensor
from skbig.data.sources.memmap import MemmapArray, mapping_of

try:
    import cloudpickle
except ImportError:  # joblib < 1.6 brings its own
    from joblib.externals import cloudpickle

SMALL_BYTES = 1024
"""Smaller arrays have no file of their own. (A map of nothing does not exist.)"""

VALUE = "value"


def pack(value: Any, folder: Path) -> None:
    """Write a value into a folder, which is made, and which nobody else may enter.

    Arrays and tensors become ``.npy`` files, wherever in the value they are; of a memory map only the file's name is
    written. Functions and classes of the main program are written as they are, others by their names.
    """
    folder.mkdir(0o700)
    with open(folder / VALUE, "wb") as file:
        _Packer(file, folder).dump(value)


def unpack(folder: Path) -> Any:
    """Return what was packed into a folder; its large arrays are read-only memory maps, and tensors share them.

    It may run code, as unpickling does: the folder must be one that nobody else could write to.
    """
    with open(folder / VALUE, "rb") as file:
        return _Unpacker(file, folder).load()


class _Packer(cloudpickle.Pickler):
    def __init__(self, file: Any, folder: Path) -> None:
        super().__init__(file)
        self._folder = folder
        self._packed: dict[int, tuple[np.ndarray, tuple[Any, ...] | None]] = {}  # by id, of arrays that are kept

    def persistent_id(self, item: Any) -> tuple[Any, ...] | None:
        """Return what is pickled in the place of an array, or None: it is pickled itself."""
        if isinstance(item, Tensor):
            return "tensor", item.detach().cpu().numpy()
        if type(item).__module__.startswith("h5py.") and hasattr(item, "chunks"):  # a data set of an HDF5 file
            return "hdf5", item.file.filename, item.name
        if not isinstance(item, np.ndarray) or item.nbytes < SMALL_BYTES:
            return None
        if id(item) not in self._packed:
            self._packed[id(item)] = item, self._packed_array(item)
        return self._packed[id(item)][1]

    def _packed_array(self, array: np.ndarray) -> tuple[Any, ...] | None:
        if array.dtype.hasobject:
            return _labels_of(array, len(self._packed))
        place = _place_of(array)
        if place is not None:
            return "map", *place, array.dtype.str, array.shape
        name = f"{len(self._packed)}.npy"
        np.save(self._folder / name, array)
        return "array", name


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: Any, folder: Path) -> None:
        super().__init__(file)
        self._folder = folder
        self._arrays: dict[Any, np.ndarray] = {}

    def persistent_load(self, packed: Any) -> Any:
        kind, *facts = packed
        if kind == "tensor":
            return as_tensor(facts[0])
        if kind == "hdf5":
            return _hdf5(*facts)
        if kind == "labels":
            return self._labelled(*facts)
        if packed not in self._arrays:
            self._arrays[packed] = self._opened(kind, *facts)
        return self._arrays[packed]

    def _labelled(self, number: int, labels: list[Any], codes: np.ndarray) -> np.ndarray:
        if number not in self._arrays:  # the same object, however often it was packed
            self._arrays[number] = np.fromiter(labels, dtype=object, count=len(labels))[codes]
        return self._arrays[number]

    def _opened(self, kind: str, name: str, *place: Any) -> np.ndarray:
        if kind == "array":
            return np.asarray(np.load(self._folder / name, mmap_mode="r"))
        offset, dtype, shape = place
        return np.asarray(np.memmap(name, dtype=dtype, mode="r", offset=offset, shape=shape))


def _hdf5(filename: str, name: str) -> Any:
    """Open a data set; its file is open as long as it lives."""
    import h5py

    return h5py.File(filename, "r")[name]


def _place_of(array: np.ndarray) -> tuple[str, int] | None:
    """Return where an array lies in a file, if it does."""
    mapping = mapping_of(array)
    return None if mapping is None else MemmapArray(array, mapping).place


def _labels_of(array: np.ndarray, number: int) -> tuple[Any, ...] | None:
    """Return the distinct objects of an array and their places, if they can be ordered, as labels can."""
    try:
        labels, codes = np.unique(array, return_inverse=True)
    except TypeError:
        return None
    return "labels", number, labels.tolist(), codes.reshape(array.shape)
