"""What a report of an error should say about the machine and the packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from typing import Any

import torch

from skbig._utils.extras import import_extra
from skbig._utils.version import __version__

_NEEDED = ("scikit-learn", "torch", "numpy", "scipy", "joblib", "safetensors")
_OPTIONAL = (
    *("pandas", "polars", "pyarrow", "matplotlib", "tqdm", "optuna", "dask", "distributed", "ray", "accelerate"),
    *("skops", "cryptography", "starlette", "uvicorn", "onnxruntime", "skl2onnx", "mlflow", "tensorboard"),
)


def show_versions() -> None:
    """Print the versions of skbig, Python and the packages it works with, and what torch computes on.

    For reports of errors.

    Examples
    --------
    >>> import skbig
    >>> skbig.show_versions()
    skbig: ...
    <BLANKLINE>
    System
      python: ...
    """
    print(f"skbig: {__version__}")
    for title, facts in (
        ("System", _system()),
        ("Packages", _packages()),
        ("Torch", _torch()),
        ("Threads", _threads()),
    ):
        print(f"\n{title}")
        for name, value in facts:
            print(f"  {name}: {value}")


def _system() -> Iterator[tuple[str, Any]]:
    yield "python", sys.version.replace("\n", " ")
    yield "executable", sys.executable
    yield "machine", platform.platform()
    yield "cores", os.cpu_count()


def _packages() -> Iterator[tuple[str, Any]]:
    for name in (*_NEEDED, *_OPTIONAL):
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name in _NEEDED:
                yield name, "not installed"


def _torch() -> Iterator[tuple[str, Any]]:
    yield "threads", torch.get_num_threads()
    yield "instructions", torch.backends.cpu.get_cpu_capability()
    yield "CUDA", f"{torch.version.cuda}, {'available' if torch.cuda.is_available() else 'not available'}"
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(i)
            yield f"cuda:{i}", f"{facts.name}, {facts.total_memory >> 20} MB"
    yield "MPS", "available" if torch.backends.mps.is_available() else "not available"


def _threads() -> Iterator[tuple[str, Any]]:
    for library in import_extra("threadpoolctl", "", "show_versions").threadpool_info():  # scikit-learn brings it
        yield library["prefix"], f"{library['num_threads']} threads, {library['version']}, {library['filepath']}"
