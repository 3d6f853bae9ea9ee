"""Where ranks are: in a launch that this process is in already, or in one that it is to start, and on which devices."""

from __future__ import annotations

import torch
from torch import distributed

from skbig.distributed.backend import Backend
from skbig.launch.worker_context import WorkerContext, existing_context


def place_of(device: str, backend: Backend) -> tuple[WorkerContext | None, str]:
    """Return the launch that this process is in, if it is in one, and the kind of device that workers have.

    Raises
    ------
    ValueError
        When the workers could not have devices of their own.
    RuntimeError
        When the environment tells of other ranks that do not come.
    """
    wanted = _device_type(device, backend)
    context = existing_context(wanted, backend.timeout)
    if context is not None:
        _check_device(wanted, context.device)
        return context, context.device.type
    return None, wanted or ("cuda" if torch.cuda.is_available() else "cpu")


def _device_type(device: str, backend: Backend) -> str | None:
    """Return the kind of device that a parameter names; None leaves it open."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f"backend={backend!r} gives each worker a device of its own. Use device='auto', 'cpu' or 'cuda'. Got "
            f"{device!r} instead."
        )
    return None if device == "auto" else device


def _check_device(device_type: str | None, device: torch.device) -> None:
    if device_type not in (None, device.type):
        raise ValueError(
            f"device={device_type!r} is not what the ranks of this launch compute on, which is {device.type!r}: their "
            f"process group is one of {distributed.get_backend()!r}. Use device='auto', or start the group for it."
        )
