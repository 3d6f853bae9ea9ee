"""What may fail while a device takes steps, and what is left of it then."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from skbig.engine.members import Members
from skbig.exceptions import DeviceError


class NotLaunched(RuntimeError):
    """Steps that have been taken before could not be taken again; their members are somewhere between two steps."""


def first_line(error: BaseException) -> str:
    """Return what an error says in its first line, or its name."""
    return str(error).partition("\n")[0] or type(error).__name__


def go_back(members: Members, copy: Iterable[Tensor], error: BaseException) -> None:
    """Bring the members back to a copy after an error.

    Raises
    ------
    DeviceError
        Where their device does not even do that: after an illegal access, say, CUDA fails at all that it is asked for.
    """
    try:
        members.restore(copy)
        if members.flat.device.type == "cuda":  # which tells of failures later on
            torch.cuda.synchronize(members.flat.device)
    except RuntimeError as another:
        cause = error if isinstance(error, RuntimeError) else another
        raise DeviceError(
            f"{members.flat.device} has failed in epoch {members.epochs + 1}, at or after step {members.steps + 1}: "
            f"{first_line(cause)}. In this process it computes nothing any more, and the weights that it held are "
            "lost: start another one. A fit with a checkpoint_dir goes on from its last checkpoint. If it fails again, "
            "set CUDA_LAUNCH_BLOCKING=1 in the environment, which shows the operation that fails."
        ) from cause
