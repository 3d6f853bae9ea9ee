"""One device: which it is, and in which numbers it computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch

PRECISIONS = ("auto", "float32", "float64", "tf32", "bf16")

# The threads on which torch computes are not there in a child that is made by fork, and whoever asks them to do a part
# waits for ever. One thread needs no others.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@dataclass(frozen=True)
class SingleDevice:
    """One device.

    Attributes
    ----------
    device : torch.device
    dtype : torch.dtype
        Of the weights, and of the computation unless `bf16`.
    bf16 : bool
        Whether the forward and backward pass run in bfloat16.
    tf32 : bool
        Whether a CUDA device may round the factors of a product to TF32.
    """

    device: torch.device
    dtype: torch.dtype
    bf16: bool = False
    tf32: bool = False

    def products(self) -> AbstractContextManager[None]:
        """Allow TF32 products for a while, and put the switch back."""
        return self._products() if self.device.type == "cuda" else nullcontext()

    @contextmanager
    def _products(self) -> Iterator[None]:
        switch = torch.backends.cuda.matmul
        # torch 2.9 has a new name for it, and refuses the old one where a caller has used the new.
        new = hasattr(switch, "fp32_precision")
        name, wanted = ("fp32_precision", "tf32" if self.tf32 else "ieee") if new else ("allow_tf32", self.tf32)
        before = getattr(switch, name)
        setattr(switch, name, wanted)
        try:
            yield
        finally:
            setattr(switch, name, before)


@contextmanager
def plain_torch() -> Iterator[None]:
    """Leave aside what a caller may have switched: gradients off, inference mode, autocast, a default device."""
    elsewhere = torch.empty(0).device.type != "cpu"  # torch 2.6 would not tell of `with torch.device(...)`
    autocast = [kind for kind in ("cpu", "cuda", "mps") if torch.is_autocast_enabled(kind)]
    if torch.is_grad_enabled() and not (torch.is_inference_mode_enabled() or elsewhere or autocast):
        yield
        return
    with torch.inference_mode(False), ExitStack() as stack:  # which switches gradients on, too
        if elsewhere:
            stack.enter_context(torch.device("cpu"))
        for kind in autocast:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def choose_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is the first that exists of cuda, mps and cpu.

    Raises
    ------
    ValueError
        When the name is none of a device, or the device is not there.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    wanted = "'auto', 'cpu', 'cuda', 'cuda:<index>' or 'mps'"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"The 'device' parameter must be {wanted}. Got {name!r} instead.") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"The 'device' parameter must be {wanted}. Got {name!r} instead.")
    if not _exists(device):
        raise ValueError(
            f"device={name!r} is not available on this machine; torch sees {_visible()}. Use device='auto'."
        )
    return device


def choose_backend(device: torch.device, precision: str, float64_input: bool) -> SingleDevice:
    """Return the device with the numbers that `precision` asks for.

    "auto" follows the input on a CPU (float64 in, float64 trained) and is float32 elsewhere.
    """
    if precision == "auto":
        double = float64_input and device.type == "cpu"
        return SingleDevice(device, torch.float64 if double else torch.float32)
    if precision == "float64" and device.type == "mps":
        raise ValueError(
            "precision='float64' is not supported on device='mps'. Use precision='float32' or device='cpu'."
        )
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(
            f"precision='tf32' needs a CUDA device, and the device is {str(device)!r}. Use precision='float32'."
        )
    dtype = torch.float64 if precision == "float64" else torch.float32
    return SingleDevice(device, dtype, bf16=precision == "bf16", tf32=precision == "tf32")


def _exists(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or torch.backends.mps.is_available()


def _visible() -> str:
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ", ".join(["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])])
