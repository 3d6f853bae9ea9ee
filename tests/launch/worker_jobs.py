"""The jobs of the launches in test_launch.py: a worker imports this file by its name."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from skbig.launch.worker_context import WorkerContext, existing_context


def add(folder: Path, context: WorkerContext) -> None:
    """Add up what the ranks have, and tell what they see."""
    print(f"rank {context.rank} speaks")
    total = torch.tensor([context.rank + 1.0])
    distributed.all_reduce(total)
    known = existing_context() is context
    says: dict[str, Any] = {"total": total.item(), "threads": int(os.environ["OMP_NUM_THREADS"]), "known": known}
    says |= {
        "outer": os.environ.get("RANK"),
        "size": context.world_size,
        "device": str(context.device),
        "directory": os.getcwd(),
    }
    write(folder / f"says-{context.rank}.json", says)


def fail(folder: Path, context: WorkerContext) -> None:
    """Raise in rank 1; rank 0 misses it in the next operation."""
    if context.rank == 1:
        write(folder / "failed.json", time.time())
        raise KeyError("a column that is not there")
    distributed.barrier()


def die(folder: Path, context: WorkerContext) -> None:
    """Kill rank 1; rank 0 does not notice, and is deaf to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if context.rank == 1:
        write(folder / "died.json", time.time())
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def die_once(folder: Path, context: WorkerContext) -> None:
    """Kill rank 1 the first time, and add up the second."""
    distributed.barrier()
    if not (folder / "died.json").exists():
        if context.rank == 1:
            write(folder / "died.json", time.time())
            os.kill(os.getpid(), signal.SIGKILL)
        distributed.barrier()
    add(folder, context)


def hang(folder: Path, context: WorkerContext) -> None:
    """Work for longer than the timeout, giving signs of life; then rank 1 keeps rank 0 waiting."""
    for _ in range(12):
        time.sleep(0.25)
        distributed.barrier()
        context.beat()
    write(folder / f"lived-{context.rank}.json", time.time())
    if context.rank == 1:
        sleep_on()
    distributed.barrier()


def sleep_on() -> None:
    time.sleep(600)


def add_and_wait(folder: Path, context: WorkerContext) -> None:
    """Add up, say that it is done, and wait until that is seen."""
    add(folder, context)
    distributed.barrier()
    write(folder / f"waits-{context.rank}.json", os.getpid())
    while not (folder / "seen").exists():
        time.sleep(0.02)


def stay(folder: Path, context: WorkerContext) -> None:
    """Stay until killed; rank 0 is deaf to SIGTERM."""
    if context.rank == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    distributed.barrier()
    write(folder / f"stays-{context.rank}.json", os.getpid())
    time.sleep(600)


def write(path: Path, content: object) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(path)
