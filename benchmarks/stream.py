"""Rows that are read from a file while training, beside rows in memory, the disk's own speed and torch's DataLoader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.options import Options
from benchmarks.peers import Task, train_skbig
from benchmarks.timing import Row, Table, in_turn
from skbig.data.sources.open import as_source
from skbig.data.streamed_rows import stream_rows
from skbig.estimators import row_checks

ROOT = Path(__file__).parents[1]
EPOCH = Task(100, (256, 256), 1024, n_rows=400_000, n_epochs=2)
READ = Task(100, (), 1024, n_rows=2_000_000, n_epochs=1)
FIT = Task(256, (64,), 1024, n_rows=0, n_epochs=1)
MOST_MEMORY = 1.5
PIECE_ROWS = 2**16
LOADED_ROWS = 100_000
"""How many rows the DataLoader hands out; it would take long with all of them."""

NO_CACHE = "The system's cache could not be emptied, so the file was read from it."


@dataclass(frozen=True)
class Stored:
    """Rows in a file, and their classes in memory."""

    path: Path
    y: np.ndarray

    @property
    def X(self) -> np.memmap:
        return np.load(self.path, mmap_mode="r")

    @property
    def n_bytes(self) -> int:
        return self.path.stat().st_size


@contextmanager
def stored(task: Task, folder: Path | None) -> Iterator[Stored]:
    """Write float32 rows into a file, a piece again and again, with the class of each by a noisy linear rule."""
    rng = np.random.default_rng(0)
    piece = rng.standard_normal((min(PIECE_ROWS, task.n_rows), task.n_features), dtype=np.float32)
    scores = piece @ rng.standard_normal((task.n_features, task.n_classes), dtype=np.float32)
    y = np.resize((scores + rng.gumbel(size=scores.shape)).argmax(1), task.n_rows)
    with TemporaryDirectory(dir=folder) as made:
        path = Path(made) / "rows.npy"
        with path.open("wb") as file:
            shape = (task.n_rows, task.n_features)
            np.lib.format.write_array_header_2_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for start in range(0, task.n_rows, len(piece)):
                piece[: task.n_rows - start].tofile(file)
            file.flush()
            os.fsync(file.fileno())  # what is not on the disk yet stays in the cache
        yield Stored(path, y)


def forget(path: Path) -> bool:
    """Empty the system's cache of a file; return whether that is possible."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


@contextmanager
def nothing_loaded() -> Iterator[None]:
    """Let estimators read sets from their files that are small enough to be loaded."""
    before, row_checks.LOADED_BYTES = row_checks.LOADED_BYTES, 0
    try:
        yield
    finally:
        row_checks.LOADED_BYTES = before


def train_from_file(options: Options) -> Table:
    """Time a training whose network is the bottleneck: from the file, and with the same rows in memory."""
    task = options.sized(EPOCH)
    with stored(task, options.scratch) as rows:
        in_memory = np.array(rows.X)

        def from_file() -> float:
            with nothing_loaded():
                return train_skbig(task, rows.X, rows.y)

        runs = {"skbig, from the file": from_file, "skbig, in memory": lambda: train_skbig(task, in_memory, rows.y)}
        timed = cold(runs, rows, options)
    wanted = {"skbig, in memory": 1 / 1.1}
    made = [Row(name, seconds, wanted.get(name), loss) for name, (seconds, loss) in timed.items()]
    return Table(f"rows in a file: {task}: {task.size()}", task.n_steps, "step", made, notes(rows))


def read_from_disk(options: Options) -> Table:
    """Time an epoch's reading, shuffled and in batches, beside reading the file from its begin to its end."""
    task = options.sized(READ)
    with stored(task, options.scratch) as rows:
        runs = {"skbig": partial(read_batches, rows, task), "the file, in order": lambda: read_in_order(rows.path)}
        timed = cold(runs, rows, options)
        n_bytes = rows.n_bytes
    made = [Row(name, seconds, None if name == "skbig" else 0.7) for name, (seconds, _) in timed.items()]
    speeds = ", ".join(f"{row.name} {n_bytes / row.median / 1e9:.2f} GB/s" for row in made)
    title = f"read {n_bytes / 1e9:.2g} GB from the disk, batches of {task.batch_size}"
    return Table(title, task.n_rows, "row", made, [f"{speeds}.", *notes(rows)])


def read_beside_loader(options: Options) -> Table:
    """Time the same reading, of a file that is in the system's cache, beside torch's DataLoader."""
    task = options.sized(READ)
    n_loaded = min(LOADED_ROWS, task.n_rows)
    workers = (0,) if options.quick else (0, 2)
    names = {f"DataLoader, num_workers={n}": n for n in workers}
    with stored(task, options.scratch) as rows:
        runs: dict[str, Callable[[], Any]] = {"skbig": partial(read_batches, rows, task)}
        runs |= {name: partial(read_by_loader, rows, task, n_loaded, n) for name, n in names.items()}
        timed = in_turn(runs, options.repeats, collect=not options.quick)
    scale, wanted = task.n_rows / n_loaded, {0: 20}
    made = [Row("skbig", timed["skbig"][0])]
    made += [Row(name, timed[name][0], wanted.get(n), scale=scale) for name, n in names.items()]
    note = f"DataLoader: extrapolated from {n_loaded:,} rows."
    return Table(f"read {task.n_rows:,} rows of {task.n_features} float32", task.n_rows, "row", made, [note])


def fit_large_file(options: Options) -> Table | str:
    """Fit to a large file in a process of its own, and say how much memory that took at most."""
    n_bytes = 2e6 if options.quick else options.gigabytes * 1e9
    if disk_usage(options.scratch or Path.cwd()).free < 1.2 * n_bytes:
        return f"There is no room for {n_bytes / 1e9:g} GB (--gigabytes, --scratch), so this is left out."
    task = replace(FIT, n_rows=int(n_bytes / 4 / FIT.n_features))
    with stored(task, options.scratch) as rows:
        forget(rows.path)
        np.save(rows.path.with_name("y.npy"), rows.y)
        command = [sys.executable, "-c", FIT_ALONE, rows.path.parent]
        fitted = json.loads(subprocess.check_output(command, cwd=ROOT, text=True))
        forget(rows.path)
        start = time.perf_counter()
        read_in_order(rows.path)
        made = [Row("fit and predict", [fitted["seconds"]]), Row("the file, in order", [time.perf_counter() - start])]
        size, more = rows.n_bytes / 1e9, notes(rows)
    peak = fitted["peak"]
    verdict = "ok" if peak < MOST_MEMORY else "short"
    memory = f"most memory of the process: {peak:.2f} GB, wanted < {MOST_MEMORY} GB: {verdict}"
    return Table(f"a file of {size:.3g} GB: {task}", task.n_rows, "row", made, [memory, *more])


FIT_ALONE = """
import json, re, sys, time, warnings
import numpy as np
from skbig import BigMLPClassifier
warnings.simplefilter("ignore")
X, y = np.load(sys.argv[1] + "/rows.npy", mmap_mode="r"), np.load(sys.argv[1] + "/y.npy")
start = time.perf_counter()
BigMLPClassifier((64,), batch_size=1024, max_iter=1, early_stopping=True, device="cpu").fit(X, y).predict(X)
seconds = time.perf_counter() - start
try:  # that of the process alone: getrusage begins with that of the process which started this one
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
except FileNotFoundError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"seconds": seconds, "peak": peak / 1e9}))
"""


def cold(runs: dict[str, Callable[[], Any]], rows: Stored, options: Options) -> dict[str, tuple[list[float], Any]]:
    """Run all in turn; before each, the system forgets what it has read of the file."""
    return in_turn(runs, options.repeats, collect=not options.quick, before_each=lambda name: forget(rows.path))


def notes(rows: Stored) -> list[str]:
    return [] if hasattr(os, "posix_fadvise") else [NO_CACHE]


def read_batches(rows: Stored, task: Task) -> None:
    """Read an epoch as a training does."""
    source = as_source(rows.X)
    assert source is not None
    streamed = stream_rows(source, rows.y, None, torch.device("cpu"), torch.float32)
    n_read = sum(batch.n_rows for group in streamed.epoch([0], 0, True, task.batch_size, 256) for batch in group)
    assert n_read == task.n_rows


def read_in_order(path: Path, n_bytes: int = 2**23) -> None:
    """Read a file from its begin to its end."""
    piece = memoryview(bytearray(n_bytes))
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


class LoadedRows(Dataset):
    """Rows of a memory map for a DataLoader, as one writes it by hand."""

    def __init__(self, path: Path, y: np.ndarray) -> None:
        self.X, self.y = np.load(path, mmap_mode="c"), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.X[index]), self.y[index]


def read_by_loader(rows: Stored, task: Task, n_rows: int, n_workers: int) -> None:
    """Read so many rows by a DataLoader that shuffles."""
    order = torch.randperm(task.n_rows, generator=torch.Generator().manual_seed(0))[:n_rows]
    loader = DataLoader(LoadedRows(rows.path, rows.y), task.batch_size, sampler=order.tolist(), num_workers=n_workers)
    assert sum(len(X) for X, _ in loader) == n_rows


SECTIONS: dict[str, Callable[[Options], Table | str]] = {
    "stream-epoch": train_from_file,
    "stream-reading": read_from_disk,
    "stream-loader": read_beside_loader,
    "stream-memory": fit_large_file,
}
