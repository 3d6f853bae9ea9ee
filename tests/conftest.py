"""What all tests share: a quiet machine, and a witness of the global state."""

from __future__ import annotations

import os

# Before torch and matplotlib are imported: no window is opened, and tests that run side by side do not fight for cores.
os.environ.setdefault("MPLBACKEND", "Agg")
# Before polars is imported: older ones warn of every fork, also of those of joblib, after which another program begins.
os.environ.setdefault("POLARS_ALLOW_FORKING_THREAD", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from skbig.engine import kept_recordings
from tests.tiers import mark_thorough


def pytest_configure() -> None:
    """Let Ctrl-C interrupt, as tests want it to; a shell makes what it starts in the background ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before those are chosen that have a mark
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    mark_thorough(items)


def global_state() -> dict[str, Any]:
    """Return what a library could move behind its user's back, by name."""
    name, keys, position, *gauss = np.random.get_state()
    return {
        "random's generator": random.getstate(),
        "NumPy's generator": (name, keys.tobytes(), position, *gauss),
        "torch's generator": torch.get_rng_state().numpy().tobytes(),
        "torch's CUDA generators": [state.numpy().tobytes() for state in _cuda_generators()],
        "torch's threads": torch.get_num_threads(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's deterministic mode": torch.get_deterministic_debug_mode(),
        "torch's matrix product precision": torch.get_float32_matmul_precision(),
        "torch's gradient mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "cuDNN's choices": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "NumPy's floating point errors": np.geterr(),
        "the filters of warnings": [each for each in warnings.filters if not _of_an_import(each[2])],
        "the handler of Ctrl-C": signal.getsignal(signal.SIGINT),
        "the environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
    }


def _of_an_import(category: type[Warning]) -> bool:
    """Whether it is by what torch 2.6 imports in the midst of a first fit that a filter is there."""
    return category.__module__.startswith(("sympy", "pkg_resources"))


def _cuda_generators() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


@pytest.fixture(autouse=True)
def no_recordings_of_other_tests() -> None:
    """Begin without what other tests have recorded, so that a test says the same alone and among others."""
    kept_recordings.forget()


@pytest.fixture
def unchanged_globals() -> Iterator[None]:
    """Fail the test that asks for it when the global state is not the same after it, and say what moved."""
    before = global_state()
    yield
    after = global_state()
    moved = [name for name in before if before[name] != after[name]]
    assert not moved, f"Global state has moved: {', '.join(moved)}."
