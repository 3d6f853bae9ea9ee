"""A fit joins a launch over several machines, and is that of one process. Here a machine is a group of processes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import pytest
from torch import multiprocessing

from tests.distributed.machine_jobs import BACKENDS, LONG, NAMES, as_rank
from tests.launch.test_worker_context import free_port
from tests.laws.rank_jobs import VALUES, X, fitted_alone, learnt, quiet, regressor
from tests.laws.test_ranks_agree import TOLERANCE, assert_equal

# Each machine loads torch anew, which takes longer than what it does.
pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
QUIET = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@contextmanager
def running(commands: Sequence[tuple[Sequence[str], dict[str, str]]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run modules at the same time, each with an environment of its own, and end them."""
    processes = [
        subprocess.Popen([sys.executable, "-m", *command], env=os.environ | QUIET | own, stderr=subprocess.PIPE)
        for command, own in commands
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stderr.close()


def run(commands: Sequence[tuple[Sequence[str], dict[str, str]]]) -> None:
    """Run modules at the same time until all have ended well."""
    with running(commands) as processes:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error.decode()


def results(folder: Path, n_ranks: int) -> dict[str, Any]:
    """Return what the ranks have learnt, which must be the same for all, bit for bit."""
    read = [pickle.loads((folder / f"rank-{rank}").read_bytes()) for rank in range(n_ranks)]
    assert [place for place, _ in read] == [(rank, n_ranks) for rank in range(n_ranks)]
    assert len({joblib.hash(fitted) for _, fitted in read}) == 1
    return read[0][1]


def assert_of_one_process(fitted: dict[str, Any]) -> None:
    for name in NAMES:
        for backend in BACKENDS:
            assert_equal(fitted[f"{name}, {backend.name}"], fitted_alone(name), TOLERANCE)


def test_two_machines_with_torchrun(tmp_path: Path) -> None:
    """Two machines, one of which has twice as many processes, fit what one process fits."""
    meeting = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    job = ["-m", "tests.distributed.machine_jobs", "fit", str(tmp_path)]
    run(
        [
            (["torch.distributed.run", *meeting, "--node-rank", str(node), "--nproc-per-node", str(n_ranks), *job], {})
            for node, n_ranks in enumerate((1, 2))
        ]
    )
    assert_of_one_process(results(tmp_path, 3))


def test_a_machine_whose_process_is_killed(tmp_path: Path) -> None:
    """Torchrun starts the processes of both machines again, and the fit goes on from its last checkpoint."""
    meeting = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}"]
    patience = ["--rdzv-id", "7", "--max-restarts", "1", "--monitor-interval", "0.1"]
    job = ["-m", "tests.distributed.machine_jobs", "fit_and_die", str(tmp_path)]
    run([(["torch.distributed.run", *meeting, *patience, "--nproc-per-node", "1", *job], {})] * 2)
    assert (tmp_path / "killed").exists()
    alone = quiet(lambda: regressor(loss=lambda raw, y: (raw - y).square(), **LONG).fit(X, VALUES))
    assert_equal(results(tmp_path, 2)["long"], learnt(alone), TOLERANCE)


def tasks_of_slurm(job: str, folder: Path) -> list[tuple[list[str], dict[str, str]]]:
    """Return the commands of two tasks, each the first of its own machine."""
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    step |= {"SLURM_NNODES": "2", "SLURM_LOCALID": "0", "SLURM_STEP_NODELIST": "localhost,elsewhere[1-3]"}
    command = ["tests.distributed.machine_jobs", job, str(folder)]
    return [(command, step | {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(rank)}) for rank in range(2)]


def test_two_machines_of_slurm(tmp_path: Path) -> None:
    """Two tasks of srun, on a machine each, meet at the first machine of the step, and fit what one process fits.

    When all tasks get SIGTERM, as SLURM sends it before the end of a job, the training is saved and all end by it.
    """
    with running(tasks_of_slurm("fit_until_told", tmp_path)) as tasks:
        last = time.monotonic() + 120
        while len(list(tmp_path.glob("began-*"))) < 2:
            assert time.monotonic() < last and all(task.poll() is None for task in tasks)
            time.sleep(0.05)
        for task in tasks:
            task.send_signal(signal.SIGTERM)
        assert [task.wait(timeout=60) for task in tasks] == [-signal.SIGTERM] * 2
    assert_of_one_process(results(tmp_path, 2))
    assert len(list((tmp_path / "checkpoints").glob("checkpoint-*"))) == 1


# Groups that the caller has made.


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let two processes that have made a group fit in it, and then one of them alone; return where they wrote."""
    folder = tmp_path_factory.mktemp("parted")
    multiprocessing.spawn(as_rank, (2, "fit_and_part", folder), nprocs=2)
    return folder


def test_a_group_that_the_caller_has_made(parted: Path) -> None:
    """Processes that have initialised a group by themselves fit together in it."""
    assert_of_one_process(results(parted, 2))


def test_a_rank_that_does_not_fit(parted: Path) -> None:
    """When another rank ends and has not called fit, the error says what is missing, and at once."""
    kind, message, seconds = json.loads((parted / "error").read_text())
    assert kind == "WorkerError"
    assert message.startswith("Another rank of this launch has ended, or does something else. All ranks must call fit")
    assert seconds < 30
