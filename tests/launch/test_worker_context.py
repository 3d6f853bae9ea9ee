"""A process that somebody else has launched joins the others; one that stands alone is told so."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed

from skbig.launch import rank_environment
from skbig.launch.rank_environment import first_host, rank_of_slurm, rank_of_torchrun
from skbig.launch.worker_context import existing_context

ROOT = Path(__file__).parents[2]

# What a batch script of SLURM sees, which runs once however many tasks it may start.
BATCH = {"SLURM_JOB_ID": "12", "SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "localhost"}
STEP = BATCH | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}

ALONE = {
    "nothing": {},
    "a batch script": BATCH,
    "an interactive shell": BATCH | {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},
    "a single pod": TORCHRUN | {"WORLD_SIZE": "1"},
    "half a launch": {"RANK": "0", "WORLD_SIZE": "2"},
}

PROGRAM = """
import json, os, sys
import torch
from skbig.launch.worker_context import existing_context
def join(environ):
    os.environ.update(environ)
    context = existing_context()
    total = torch.tensor([context.rank + 1.0])
    torch.distributed.all_reduce(total)
    again = existing_context()
    context.beat()
    torch.distributed.destroy_process_group()
    for name in environ:
        del os.environ[name]
    return [context.rank, context.local_rank, context.world_size, total.item(), again == context]
print(json.dumps([join(environ) for environ in json.loads(sys.argv[1])]))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ranks_of_torchrun() -> list[dict[str, str]]:
    common = TORCHRUN | {"MASTER_PORT": str(free_port())}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def ranks_of_slurm() -> list[dict[str, str]]:
    common = STEP | {"SLURM_JOB_ID": str(os.getpid())}
    return [common | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]


@pytest.mark.thorough
def test_ranks_of_a_launch_by_others_join() -> None:
    """Processes that the environment makes ranks, torchrun's or SLURM's, form one group, once."""
    launches = zip(ranks_of_torchrun(), ranks_of_slurm(), strict=True)
    workers = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, json.dumps(environs)], cwd=ROOT, stdout=subprocess.PIPE)
        for environs in launches
    ]
    answers = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    assert answers == [2 * [[rank, rank, 2, 3.0, True]] for rank in range(2)]


@pytest.mark.parametrize("environ", ALONE.values(), ids=ALONE)
def test_a_process_that_stands_alone(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a launch of several ranks there is no context, and no group is initialised."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert existing_context() is None
    assert not distributed.is_initialized()


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize(
    ("environ", "rank_name", "names"),
    [(TORCHRUN, "RANK", "RANK and WORLD_SIZE"), (STEP, "SLURM_PROCID", "SLURM_STEP_ID")],
    ids=["torchrun", "slurm"],
)
def test_ranks_that_do_not_come(
    environ: dict[str, str], rank_name: str, names: str, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment left over from another launch is an error that says what to unset, in any rank."""
    monkeypatch.setattr(rank_environment, "JOINING", 0.5)
    for name, value in (environ | {"MASTER_PORT": str(free_port()), rank_name: rank}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=f"rank {rank} of 2, but they did not all meet at .* unset {names}"):
        existing_context()
    assert not distributed.is_initialized()


def test_a_single_rank_of_torchrun_is_a_launch() -> None:
    """Who asked torchrun for one process gets one."""
    rank = rank_of_torchrun(TORCHRUN | {"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "none"})
    assert rank is not None
    assert rank.world_size == 1


def test_steps_of_slurm_meet_apart() -> None:
    """Two steps of one job, and two jobs, do not meet at the same port; all tasks of a step do."""
    tasks = [STEP, STEP | {"SLURM_PROCID": "1"}, STEP | {"SLURM_STEP_ID": "1"}, STEP | {"SLURM_JOB_ID": "13"}]
    addresses = [rank.address for rank in map(rank_of_slurm, tasks) if rank]
    assert addresses[0] == addresses[1]
    assert len({*addresses}) == 3


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("node7", "node7"), ("a[01-03,7],b2", "a01"), ("n1,n[2-4]", "n1"), ("gpu[9]-ib,x", "gpu9-ib")],
)
def test_the_first_host_of_a_list(nodes: str, host: str) -> None:
    """SLURM's lists of nodes begin with rank 0's."""
    assert first_host(nodes) == host
