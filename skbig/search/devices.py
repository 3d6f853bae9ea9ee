"""On which devices the stacks of a search are trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from skbig._utils.device import choose_device
from skbig.search.fit_task import FitTask

MAX_THREADS = 8
"""Threads of Python that train side by side: more would wait for each other's turn."""


def devices_for(name: str) -> list[str]:
    """Return the devices that a parameter's value stands for: every GPU where it names no particular one.

    Raises
    ------
    ValueError
        When there is no such device.
    """
    device = choose_device(name)
    if device.type != "cuda" or device.index is not None:
        return [name]
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def devices_of(tasks: Sequence[FitTask]) -> list[str]:
    """Return the devices of tasks of one kind; one whose parameter is wrong fails when it is prepared."""
    names = {task.last.device for task in tasks if task.last is not None}
    try:
        return [device for name in sorted(names) for device in devices_for(name)] or ["cpu"]
    except (ValueError, TypeError):
        return ["cpu"]


def side_by_side(tasks: Sequence[FitTask], n_threads: int) -> int:
    """Return how many stacks are trained at once: one per GPU, or one per thread that torch would use."""
    devices = devices_of(tasks)
    if any(device.startswith("cuda") for device in devices):
        return len(devices)
    return min(MAX_THREADS, n_threads)
