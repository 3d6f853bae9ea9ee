"""What the ranks of test_machines.py do: each is ``python -m tests.distributed.machine_jobs JOB FOLDER``."""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from skbig import DDP
from skbig.distributed.backend import Backend
from tests.laws.rank_jobs import FITS, VALUES, X, learnt, quiet, regressor

TOGETHER = DDP()
BACKENDS = [kind() for kind in Backend.__subclasses__()]
NAMES = ("weights with zeros", "held out rows, accuracy", "given rows, batch norm")
LONG: dict[str, Any] = {"max_iter": 20, "dropout": 0.2}


def fit(folder: Path) -> None:
    """Fit by every backend, as one of the ranks, and write what this one has learnt."""
    fits = [(name, backend) for name in NAMES for backend in BACKENDS]
    _write(folder, {f"{name}, {own.name}": learnt(quiet(partial(FITS[name], own))) for name, own in fits})


def fit_and_die(folder: Path) -> None:
    """Be killed in rank 1 once there are checkpoints; started again, go on."""
    saved, mark = folder / "checkpoints", folder / "killed"

    def loss(raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if distributed.get_rank() == 1 and not mark.exists() and len(list(saved.glob("checkpoint-*"))) > 1:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return (raw - y).square()

    saving = {"checkpoint_dir": saved, "checkpoint_every": 1}
    model = quiet(lambda: regressor(backend=TOGETHER, loss=loss, **LONG, **saving).fit(X, VALUES))
    _write(folder, {"long": learnt(model)})


def fit_until_told(folder: Path) -> None:
    """Fit by every backend, and then for longer than a test lasts; say when that has begun."""
    fit(folder)

    def loss(raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        (folder / f"began-{distributed.get_rank()}").touch()
        return (raw - y).square()

    endless: dict[str, Any] = {"max_iter": 10**6, "n_iter_no_change": 10**6}
    regressor(backend=TOGETHER, loss=loss, checkpoint_dir=folder / "checkpoints", **endless).fit(X, VALUES)


def fit_and_part(folder: Path) -> None:
    """Fit together, and then in rank 0 alone, as if only one process mattered; write what it is told, and when."""
    fit(folder)
    if distributed.get_rank() == 0:
        began = time.monotonic()
        try:
            FITS[NAMES[0]](TOGETHER)
        except Exception as error:
            (folder / "error").write_text(json.dumps([type(error).__name__, str(error), time.monotonic() - began]))


def as_rank(rank: int, world_size: int, job: str, folder: Path) -> None:
    """Do a job in a group that is not of skbig's making."""
    together = {"rank": rank, "world_size": world_size, "timeout": timedelta(seconds=60)}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", **together)
    globals()[job](folder)
    gc.collect()  # nothing that holds the group may outlive it: its threads would ask a dying interpreter for its lock
    distributed.destroy_process_group()


def _write(folder: Path, fitted: dict[str, Any]) -> None:
    place = (distributed.get_rank(), distributed.get_world_size())
    (folder / f"rank-{place[0]}").write_bytes(pickle.dumps((place, fitted)))


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
