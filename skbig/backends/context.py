"""Where a worker stands among the others, and how it comes to stand there."""

from __future__ import annotations

import atexit
import gc
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from skbig.backends.board import Slot
from skbig.backends.meeting import meet, prove

# Seconds in which all ranks of a launch by others have to come, where nobody watches over them.
JOINING = 60.0
# The same after torchrun, which sees who dies: those who live may be as late as rows are read on a slow disk.
JOINING_WATCHED = 300.0

RANK_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


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
    slot : Slot or None
        Where signs of life are given; None in a launch by others.
    """

    rank: int
    local_rank: int
    world_size: int
    device: torch.device
    slot: Slot | None = field(default=None, repr=False, compare=False)

    def beat(self) -> None:
        """Say that this worker makes progress; to be called at least once in the `timeout` of the launch."""
        if self.slot is not None:
            self.slot.beat()


@dataclass(frozen=True)
class Rank:
    """What the environment says of this process.

    Attributes
    ----------
    rank, local_rank, world_size : int
        Which one it is, of how many.
    address : str
        Where they meet.
    seconds : float
        How long they wait for each other.
    names : str
        What says so.
    """

    rank: int
    local_rank: int
    world_size: int
    address: str
    seconds: float
    names: str


# The context that `enter` has made for this process, which a group alone cannot tell: it has the slot.
_entered: list[WorkerContext] = []


def enter(slot: Slot, n_workers: int, device_type: str, timeout: float, store: Path) -> WorkerContext:
    """Join the process group of the launch that has started this worker, whose context it is from now on.

    Parameters
    ----------
    slot : Slot
        This worker's, when all workers are ready.
    n_workers : int
    device_type : {"cpu", "cuda"}
    timeout : float
        Seconds that one operation of the group may take.
    store : Path
        A file that is not there yet, in a folder that nobody else may read. By it the workers find each other, so that
        nothing listens but gloo or NCCL; and it holds a secret, by which they know each other.
    """
    rank = slot.rank
    meeting: Store = distributed.FileStore(str(store), n_workers)  # type: ignore[attr-defined]
    if rank == 0:
        meeting.set("secret", secrets.token_hex())
    device = _device(device_type, rank)
    _init_group(meeting, rank, n_workers, device, timeout)
    group = distributed.group.WORLD
    assert group is not None
    if device_type == "cpu":  # NCCL has a secret of its own, which it gets from the store, too
        prove(meeting.get("secret"), group)
    distributed.barrier()
    context = WorkerContext(rank, rank, n_workers, device, slot)
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
    rank = rank_of_torchrun(os.environ) or rank_of_slurm(os.environ)
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


def rank_of_torchrun(environ: Mapping[str, str]) -> Rank | None:
    """Return what torchrun, and those who speak as it does, say.

    A single rank that torchrun did not start stands alone: Kubeflow says "rank 0 of 1" to a pod with eight GPUs.
    """
    if not all(environ.get(name) for name in RANK_NAMES):
        return None
    rank, world_size = int(environ["RANK"]), int(environ["WORLD_SIZE"])
    if world_size < 2 and "TORCHELASTIC_RUN_ID" not in environ:
        return None
    host = environ["MASTER_ADDR"]
    address = f"tcp://{f'[{host}]' if ':' in host else host}:{environ['MASTER_PORT']}"
    seconds = JOINING_WATCHED if "TORCHELASTIC_RUN_ID" in environ else JOINING
    return Rank(rank, int(environ.get("LOCAL_RANK", rank)), world_size, address, seconds, "RANK and WORLD_SIZE")


def rank_of_slurm(environ: Mapping[str, str]) -> Rank | None:
    """Return what SLURM says to a task of srun.

    A batch script has SLURM_PROCID and SLURM_NTASKS too, and is alone: only a step has an id.
    """
    world_size = int(environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS") or 1)
    if world_size < 2 or "SLURM_PROCID" not in environ or "SLURM_STEP_ID" not in environ:
        return None
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "localhost"
    host = environ.get("MASTER_ADDR") or first_host(nodes)
    # A job's steps may run at the same time, so the port is of both; it stays below those given out at random.
    job, step = int(environ.get("SLURM_JOB_ID", 0)), int(environ["SLURM_STEP_ID"])
    port = int(environ.get("MASTER_PORT") or 15000 + (1009 * job + step) % 15000)
    rank = int(environ["SLURM_PROCID"])
    local_rank, address = int(environ.get("SLURM_LOCALID", rank)), f"tcp://{host}:{port}"
    return Rank(rank, local_rank, world_size, address, JOINING, "SLURM_STEP_ID")


def first_host(nodes: str) -> str:
    """Return the first of a list of hosts as SLURM writes it.

    >>> first_host("gpu[007-009,12]-ib,login1")
    'gpu007-ib'
    """
    match = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes


def _join(rank: Rank, device_type: str, timeout: float) -> WorkerContext:
    """Meet the other ranks of a launch by others, and make one group of them."""
    device = _device(device_type, rank.local_rank)
    meeting = rendezvous(rank.address, rank.rank, rank.world_size, timeout=timedelta(seconds=JOINING))
    store, _, _ = next(meeting)
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
    """End the group before the interpreter ends, whose locks the threads of a group that lives on would ask for."""
    if distributed.is_initialized():
        gc.collect()  # what still holds the group
        distributed.destroy_process_group()


def _of_group() -> WorkerContext:
    """Return the context in a group that somebody else has initialised, and chosen the device for."""
    cuda = "nccl" in distributed.get_backend()
    device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    rank = distributed.get_rank()
    local_rank = int(os.environ.get("LOCAL_RANK", device.index if cuda else rank))
    return WorkerContext(rank, local_rank, distributed.get_world_size(), device)
