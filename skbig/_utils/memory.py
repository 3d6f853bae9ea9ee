"""How much memory there is, and whether what is wanted can ever fit in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

# Where a container's limit is written, in the two versions of Linux's control groups.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_of(device: torch.device) -> int:
    """Return the bytes of memory that a device has in all, free or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if not hasattr(os, "sysconf"):  # Windows does not say; nothing is refused there
        return sys.maxsize
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_limits()])


def _limits() -> list[int]:
    texts = [Path(path).read_text().strip() for path in LIMITS if os.access(path, os.R_OK)]
    return [int(text) for text in texts if text.isdecimal()]  # "max" where there is none


TELL_OF_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What an error of torch's says that has no class of its own."""


def has_run_out(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of a device or of the host."""
    by_text = isinstance(error, RuntimeError) and any(text in str(error) for text in TELL_OF_MEMORY)
    return by_text or isinstance(error, (torch.OutOfMemoryError, MemoryError))


def readable(n_bytes: int) -> str:
    """Return a number of bytes as text.

    >>> readable(1_240_000_000)
    '1.2 GB'
    """
    units = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
    power = (len(str(n_bytes)) - 1) // 3
    if power >= len(units):
        return f"more than 1000 {units[-1]}"
    return f"{n_bytes / 1000**power:.1f} {units[power]}"
