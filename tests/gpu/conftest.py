"""Tests that need a CUDA device: without one they are skipped."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is in this folder where there is no card."""
    if torch.cuda.is_available():
        return
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="There is no CUDA device."))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test for which `benchmarks.gpu_tests` has no time left."""
    del item
    if time.time() > float(os.environ.get("SKBIG_GPU_TESTS_END", "inf")):
        pytest.skip("No time is left.")
