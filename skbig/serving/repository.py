"""Which models lie in files and folders.

A file is a model of its own name, version 1. A folder of folders that are called by numbers is one model of several
versions, as TensorFlow Serving has it; any other folder holds models, each a file or such a folder::

    models/
        iris.skops              "iris", version 1
        houses/
            1/model.onnx        "houses", version 1
            2/model.onnx        "houses", version 2
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from skbig.serving.loading import model_stem, model_suffix


@dataclass(frozen=True)
class ModelFile:
    """A file, and the model that it is; equal as long as nobody has changed it."""

    name: str
    version: int
    path: Path
    stamp: tuple[int, int, int]  # time of the last change, size, inode


def find_models(paths: tuple[Path, ...], name: str | None = None) -> list[ModelFile]:
    """Return the model files in files and folders; `name` is for the only model of an only path."""
    found = [file for path in paths for file in _models_in(path, name)]
    return sorted(found, key=lambda file: (file.name, file.version))


def _models_in(path: Path, name: str | None) -> Iterator[ModelFile]:
    if not path.is_dir():
        yield from _model(path, name or model_stem(path), 1)
    elif _versions(path):
        yield from _versioned(path, name or path.name)
    else:
        for each in _entries(path):
            if each.is_dir():
                yield from _versioned(each, each.name)
            elif model_suffix(each):
                yield from _model(each, model_stem(each), 1)


def _versioned(folder: Path, name: str) -> Iterator[ModelFile]:
    for version in _versions(folder):
        for path in _entries(version):
            if model_suffix(path):
                yield from _model(path, name, int(version.name))
                break


def _versions(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.name.isdecimal() and path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder; hidden files are those that somebody is writing."""
    with suppress(FileNotFoundError):  # it goes as we look
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []


def _model(path: Path, name: str, version: int) -> Iterator[ModelFile]:
    with suppress(FileNotFoundError):
        stat = path.stat()
        yield ModelFile(name, version, path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))
