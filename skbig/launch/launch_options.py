"""How the workers of a launch are started: how many, on what, and in which environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import torch

from skbig.launch.rank_environment import RANK_NAMES

# Beginnings of names in the environment that an outer launch has left: what the workers start is no rank of it.
OUTER = (*RANK_NAMES, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_")


@dataclass(frozen=True)
class LaunchOptions:
    """How workers are started.

    Attributes
    ----------
    n_workers : int
        The number of processes.
    device_type : {"cpu", "cuda"}
        "cuda" gives each worker a device of its own, and NCCL; "cpu" has gloo.
    timeout : float
        Seconds that a worker may take from one ``context.beat()`` to the next, or to the first; and, before that, from
        one module that it loads to the next.
    max_restarts : int
        How many times all workers are started again after one has failed; the function must find what was reached.
    threads_per_worker : int or None
        None shares the threads that torch would use here between the workers.
    modules : tuple of str
        What all workers need beside the package, and is worth to be loaded once, before they are forked.
    """

    n_workers: int
    device_type: str = "cpu"
    timeout: float = 1800
    max_restarts: int = 0
    threads_per_worker: int | None = None
    modules: tuple[str, ...] = ()

    @property
    def n_threads(self) -> int:
        """Threads of each worker."""
        if self.threads_per_worker is not None:
            return self.threads_per_worker
        return max(1, min(joblib.cpu_count(), torch.get_num_threads()) // max(1, self.n_workers))

    def with_workers(self, n_workers: int) -> LaunchOptions:
        """Return the same options for another number of workers."""
        return replace(self, n_workers=n_workers)

    def check(self) -> None:
        """Raise ValueError for what cannot be started."""
        if os.name != "posix":
            raise NotImplementedError(
                "Workers are started on Linux and macOS only; elsewhere start them with torchrun."
            )
        if self.n_workers < 1 or self.n_threads < 1 or self.timeout <= 0 or self.max_restarts < 0:
            raise ValueError(
                "n_workers and threads_per_worker must be at least 1, timeout positive and max_restarts at least 0. "
                f"Got {self.n_workers!r}, {self.n_threads!r}, {self.timeout!r} and {self.max_restarts!r} instead."
            )
        if self.device_type not in ("cpu", "cuda"):
            raise ValueError(f"device_type must be 'cpu' or 'cuda'. Got {self.device_type!r} instead.")
        if self.device_type == "cuda" and self.n_workers > (there := torch.cuda.device_count()):
            raise ValueError(f"n_workers={self.n_workers} on CUDA needs as many devices; there are {there}.")

    @property
    def forks(self) -> bool:
        """Whether workers are forked from a launcher that has loaded what they need.

        On macOS what the system's libraries hold does not survive a fork, nor does what a CUDA driver holds anywhere.
        """
        return sys.platform == "linux" and self.device_type == "cpu"

    @staticmethod
    def directory() -> str:
        """Return where the workers work: where the caller does, unless that folder is gone."""
        try:
            return os.getcwd()
        except FileNotFoundError:
            return os.sep

    def path(self) -> list[str]:
        """Return where the workers look for modules: where the caller does, whatever the current directory is."""
        home = self.directory()
        return [os.path.normpath(os.path.join(home, entry)) for entry in sys.path if isinstance(entry, str)]

    def environment(self, home: Path) -> dict[str, str]:
        """Return the caller's environment without an outer launch, and with what the workers need."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(OUTER)}
        # Torch makes a folder for what it may compile, and would leave it behind.
        own.setdefault("TORCHINDUCTOR_CACHE_DIR", str(home / "compiled"))
        loopback = "lo0" if sys.platform == "darwin" else "lo"
        return own | {
            # The workers import what the caller does, and nothing from the current directory before it.
            "PYTHONPATH": os.pathsep.join(self.path()),
            "PYTHONSAFEPATH": "1",
            "OMP_NUM_THREADS": str(self.n_threads),
            "MKL_NUM_THREADS": str(self.n_threads),
            # All are on this machine, whatever the environment says of a network between machines.
            "GLOO_SOCKET_IFNAME": loopback,
            "NCCL_SOCKET_IFNAME": loopback,
            "NCCL_RAS_ENABLE": "0",  # NCCL's server for its own diagnosis
        }
