"""What surrounds a training: programs that keep the cores busy, and the import before it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.environment import is_busy
from benchmarks.options import Options
from benchmarks.pairs import Pair, PairSection, timed_pair
from benchmarks.peers import Task, make_rows, train_skbig
from benchmarks.timing import threads

ROOT = Path(__file__).parents[1]
N_THREADS = 2
N_LOOPS = 2
LOST_AT_MOST = 1.5
IMPORT_AT_MOST = 0.15
MIDDLE = Task(50, (256, 256), 256, n_rows=5_000, n_epochs=4)


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep so many cores busy, each by a program that does nothing else."""
    command = [sys.executable, "-I", "-S", "-c", "print(flush=True)\nwhile True: pass"]
    loops = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for loop in loops:
            assert loop.stdout is not None
            loop.stdout.readline()  # it runs
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.communicate()


def second_thread(name: str, n_loops: int, wanted: float, options: Options) -> Pair:
    """Time a training on two threads and on one, beside busy programs or none."""
    task = options.sized(MIDDLE)
    X, y = make_rows(task)

    def run(n_threads: int) -> None:
        with threads(n_threads):
            train_skbig(task, X, y)

    note = "others use the machine" if not n_loops and is_busy() else ""
    with busy_loops(n_loops):
        runs = (partial(run, N_THREADS), partial(run, 1))
        return timed_pair(name, *runs, "on one thread", options, wanted=wanted, note=note)


IMPORT = """
from time import perf_counter
start = perf_counter()
import torch, sklearn.neural_network
between = perf_counter()
from skbig import BigMLPClassifier, BigMLPRegressor
print(between - start, perf_counter() - between)
"""


def imported(options: Options) -> Pair:
    """Time the import of skbig in fresh processes, after torch and scikit-learn's networks, and of these."""
    found = []
    for _ in range(1 if options.quick else options.repeats + 1):
        printed = subprocess.check_output([sys.executable, "-c", IMPORT], cwd=ROOT, text=True)
        found.append(tuple(map(float, printed.split())))
    found = found if options.quick else found[1:]  # the first reads the files from the disk
    both, ours = ([pair[place] for pair in found] for place in (0, 1))
    note = f"after torch and sklearn.neural_network; with them {median(both) + median(ours):.2f} s"
    return Pair("skbig", ours, both, "torch and scikit-learn", limit=IMPORT_AT_MOST, note=note)


SECTIONS = {
    "busy": PairSection(
        f"{MIDDLE}: {MIDDLE.size()}, on {N_THREADS} threads and on one, with {N_LOOPS} busy programs beside or none",
        {
            "quiet": partial(second_thread, "quiet", 0, 1.0),
            "beside-loops": partial(second_thread, "beside-loops", N_LOOPS, 1 / LOST_AT_MOST),
        },
    ),
    "import": PairSection("the import", {"skbig": imported}),
}
