"""What the environment says of a process that torchrun, SLURM or Ray has started: which rank it is, of how many."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Seconds in which all ranks of a launch by others have to come, where nobody watches over them.
JOINING = 60.0
# The same after torchrun, which notices when one dies: the others may be late, as when they read from a slow disk.
JOINING_WATCHED = 300.0

RANK_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class RankEnvironment:
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
        The variables that say so.
    """

    rank: int
    local_rank: int
    world_size: int
    address: str
    seconds: float
    names: str


def rank_of_environment(environ: Mapping[str, str]) -> RankEnvironment | None:
    """Return what the environment says of this process; None when it stands alone."""
    return rank_of_torchrun(environ) or rank_of_slurm(environ)


def rank_of_torchrun(environ: Mapping[str, str]) -> RankEnvironment | None:
    """Return what torchrun says, and whatever sets the same variables.

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
    local_rank = int(environ.get("LOCAL_RANK", rank))
    return RankEnvironment(rank, local_rank, world_size, address, seconds, "RANK and WORLD_SIZE")


def rank_of_slurm(environ: Mapping[str, str]) -> RankEnvironment | None:
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
    return RankEnvironment(rank, local_rank, world_size, address, JOINING, "SLURM_STEP_ID")


def first_host(nodes: str) -> str:
    """Return the first of a list of hosts as SLURM writes it.

    >>> first_host("gpu[007-009,12]-ib,login1")
    'gpu007-ib'
    """
    match = re.match(r"([^\[,]*)(?:\[(\w+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes
