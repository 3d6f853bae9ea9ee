"""Private training: ours beside a plain one of ours, and beside Opacus in a Python that has it.

Everybody trains one hidden layer with Adam at 0.001 and a noise multiplier of 1, on the same number of float32 rows and
for the same number of steps. The first row of each kind says how many times longer a private fit takes than a plain
one; Opacus is asked for in a process of its own, which has loaded what it needs before.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.options import Options
from benchmarks.pairs import Pair, PairTable, timed_pair
from benchmarks.peers import NEVER, not_converged
from skbig import BigMLPClassifier
from skbig.components import DPSGD

WORKER = Path(__file__).with_name("opacus_worker.py")
N_CLASSES = 10
NOISE = 1.0
TITLE = "private training, a whole fit"


@dataclass(frozen=True)
class PrivateTask:
    """How large the network and the batches are."""

    n_features: int
    batch_size: int
    width: int = 100
    n_steps: int = 50
    n_epochs: int = 2

    @property
    def n_rows(self) -> int:
        return self.batch_size * self.n_steps

    @property
    def name(self) -> str:
        return f"{self.n_features} features, batches of {self.batch_size}"

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 rows, and a class of each."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.n_rows, self.n_features), dtype=np.float32)
        return X, rng.integers(N_CLASSES, size=self.n_rows)


TASKS = [PrivateTask(n_features, batch_size) for n_features in (20, 100, 784) for batch_size in (32, 256)]


def train_skbig(task: PrivateTask, X: np.ndarray, y: np.ndarray, privacy: DPSGD | None) -> None:
    """Train ours, privately or not."""
    model = BigMLPClassifier(
        (task.width,),
        batch_size=task.batch_size,
        max_iter=task.n_epochs,
        tol=0.0,
        n_iter_no_change=NEVER,
        alpha=0.0,
        privacy=privacy,
        precision="float32",
        device="cpu",
        random_state=0,
    )
    with not_converged():
        model.fit(X, y)


@contextmanager
def opacus(python: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a Python that trains with Opacus."""
    with subprocess.Popen([python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def train_opacus(worker: subprocess.Popen[str], task: PrivateTask) -> None:
    """Have Opacus train, and wait until it has."""
    assert worker.stdin is not None and worker.stdout is not None
    asked = {
        "n_features": task.n_features,
        "n_rows": task.n_rows,
        "n_classes": N_CLASSES,
        "width": task.width,
        "batch_size": task.batch_size,
        "n_epochs": task.n_epochs,
        "noise_multiplier": NOISE,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(asked), file=worker.stdin, flush=True)
    if worker.stdout.readline().strip() != "done":
        raise RuntimeError("Opacus has failed: it says why above.")


def beside_plain(task: PrivateTask, options: Options) -> Pair:
    """Time a private fit and a plain one."""
    X, y = task.rows()
    private, plain = (partial(train_skbig, task, X, y, privacy) for privacy in (DPSGD(noise_multiplier=NOISE), None))
    return timed_pair(f"{task.name}, plain", private, plain, "plain", options, wanted=0.5)


def beside_opacus(task: PrivateTask, options: Options, worker: subprocess.Popen[str]) -> Pair:
    """Time a private fit of ours and Opacus's."""
    X, y = task.rows()
    ours = partial(train_skbig, task, X, y, DPSGD(noise_multiplier=NOISE))
    return timed_pair(f"{task.name}, Opacus", ours, partial(train_opacus, worker, task), "Opacus", options, wanted=1.0)


def measure(options: Options) -> PairTable:
    """Time all tasks, beside Opacus where its Python is given."""
    tasks = [PrivateTask(20, 32, n_steps=2, n_epochs=1)] if options.quick else TASKS
    rows = [beside_plain(task, options) for task in tasks]
    if options.opacus is not None:
        with opacus(options.opacus) as worker:
            rows += [beside_opacus(task, options, worker) for task in tasks]
    return PairTable(TITLE, rows)


SECTIONS = {"privacy": measure}
