"""Where a worker stands among the others, and how it joins them."""

from __future__ import annotations

import atexit
import gc
import os
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from skbig.launch import rank_environment
from skbig.launch.heartbeat import Heartbeat
from skbig.launch.rank_environment import RankEnvironment, rank_of_environment
from skbig.launch.rendezvous import meet, prove


@dataclass(frozen=True)
class WorkerContext:
    """One worker of a launch.

    Attributes
    ----------
    rank : int
        Among all workers, from 0.
    local_rank : int
        Among those of this machine, from 0.
    world_size : int
        The number of all workers.
    device : torch.device
        The worker's own.
    heartbeat : Heartbeat or None
        None in a launch by others.
    attempt : int
        How many times the workers of this launch had been started before.
    """

    rank: int
    local_rank: int
    world_size: int
    device: torch.device
    heartbeat: Heartbeat | None = field(default=None, repr=False, compare=False)
    attempt: int = 0

    def beat(self) -> None:
        """Report that this worker makes progress; to be called at least once in the `timeout` of the launch."""
        if self.heartbeat is not None:
            self.heartbeat.beat()


# The context that `enter` has made for this process; the process group alone does not know the heartbeat.
_entered: list[WorkerContext] = []


def enter(
    heartbeat: Heartbeat, n_workers: int, device_type: str, timeout: float, store: Path, attempt: int = 0
) -> WorkerContext:
    """Join the process group of the launch that has started this worker, whose context it is from now on.

    Parameters
    ----------
    heartbeat : Heartbeat
        This worker's, when all workers are ready.
    n_workers : int
    device_type : {"cpu", "cuda"}
    timeout : float
        Seconds that one operation of the group may take.
    store : Path
        A file that does not exist yet, in a folder that nobody else may read. By it the workers find each other, so
        that nothing listens but gloo or NCCL; and it holds a secret, by which they know each other.
    attempt : int
        How many times the workers had been started before.
    """
    rank = heartbeat.rank
    shared: Store = distributed.FileStore(str(store), n_workers)  # type: ignore[attr-defined]
    if rank == 0:
        shared.set("secret", secrets.token_hex())
    device = _device(device_type, rank)
    _init_group(shared, rank, n_workers, device, timeout)
    group = distributed.group.WORLD
    assert group is not None
    if device_type == "cpu":  # NCCL has a secret of its own, which it gets from the store, too
        prove(shared.get("secret"), group)
    distributed.barrier()
    context = WorkerContext(rank, rank, n_workers, device, heartbeat, attempt)
    _entered.append(context)
    return context


def existing_context(device_type: str | None = None, timeout: float = 1800) -> WorkerContext | None:
    """Return the context of this process, if it is a worker of a launch already.

    It is one when a process group is initialised, or when the environment says so: torchrun's (RANK, WORLD_SIZE,
    MASTER_ADDR and MASTER_PORT), or that of a SLURM step. The environment's group is then initialised.

    Parameters
    ----------
    device_type : {"cpu", "cuda"} or None, default=None
        Of the workers, if the group is to be initialised. None is "cuda" where there is a CUDA device.
    timeout : float, default=1800
        Seconds that one operation of that group may take.

    Returns
    -------
    WorkerContext or None
        None when this process stands alone.

    Raises
    ------
    RuntimeError
        When the other ranks of the environment do not come within a minute, or, after torchrun, within five.
    """
    if distributed.is_available() and distributed.is_initialized():
        return _entered[-1] if _entered else _of_group()
    rank = rank_of_environment(os.environ)
    if rank is None:
        return None
    chosen = device_type or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return _join(rank, chosen, timeout)
    except (distributed.DistError, TimeoutError) as error:
        raise RuntimeError(
            f"The environment says that this process is rank {rank.rank} of {rank.world_size}, but they did not all "
            f"meet at {rank.address!r} within {rank.seconds:g} s: {str(error).splitlines()[0]} All of them must call "
            f"fit; if there are no others, unset {rank.names}."
        ) from error


def _join(rank: RankEnvironment, device_type: str, timeout: float) -> WorkerContext:
    """Meet the other ranks of a launch by others, and make one group of them."""
    device = _device(device_type, rank.local_rank)
    timeout_to_connect = timedelta(seconds=rank_environment.JOINING)
    stores = rendezvous(rank.address, rank.rank, rank.world_size, timeout=timeout_to_connect)
    store, _, _ = next(stores)
    name = meet(store, rank.rank, rank.world_size, rank.seconds)
    store.set_timeout(timedelta(seconds=timeout))
    _init_group(PrefixStore(name, store), rank.rank, rank.world_size, device, timeout)
    atexit.register(_leave)
    return WorkerContext(rank.rank, rank.local_rank, rank.world_size, device)


def _device(device_type: str, local_rank: int) -> torch.device:
    """Return a device of its own for a rank of this machine, and make it the current one."""
    if device_type == "cpu":
        return torch.device("cpu")
    # A launcher may show each worker its own device alone.
    device = torch.device("cuda", local_rank % max(1, torch.cuda.device_count()))
    torch.cuda.set_device(device)
    return device


def _init_group(store: Store, rank: int, world_size: int, device: torch.device, timeout: float) -> None:
    on_gpu = device.type == "cuda"
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout),
        device_id=device if on_gpu else None,
    )


def _leave() -> None:
    """End the group before the interpreter ends, whose lock the threads of a group that lives on would ask for."""
    if distributed.is_initialized():
        gc.collect()  # what still holds the group
        distributed.destroy_process_group()


def _of_group() -> WorkerContext:
    """Return the context in a group that somebody else has initialised, with devices that they have chosen."""
    cuda = "nccl" in distributed.get_backend()
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    rank = distributed.get_rank()
    local_rank = int(os.environ.get("LOCAL_RANK", device.index if cuda else rank))
    return WorkerContext(rank, local_rank, distributed.get_world_size(), device)
