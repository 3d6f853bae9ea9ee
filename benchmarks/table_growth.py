"""How time and memory of a table grow with its rows: ``python -m benchmarks.table_growth``.

Each size is fitted in a process of its own: two classes by 25 numbers, of which one in ten is missing, and categories
of 2, 8, 50, 1,000 and 100,000 levels. The peak is that of the whole process, libraries and the table itself included.
The time of an epoch is that of the fit over the number of its epochs, so that the encoding is in it.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.timing import threads
from skbig import BigTabularClassifier

SIZES = (62_500, 250_000, 1_000_000)
LEVELS = (2, 8, 50, 1_000, 100_000)
N_NUMBERS = 25


def made(n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table and its classes."""
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((n_rows, N_NUMBERS), dtype=np.float32)
    signal = numbers[:, :4].sum(axis=1)
    for column in numbers.T:
        column[rng.random(n_rows) < 0.1] = np.nan
    table = pd.DataFrame(np.exp(numbers, out=numbers), columns=[f"number {i}" for i in range(N_NUMBERS)])
    for n_levels in LEVELS:
        codes = np.minimum(rng.geometric(min(0.5, 20 / n_levels), n_rows) - 1, n_levels - 1)
        signal += rng.normal(size=n_levels)[codes]
        table[f"{n_levels} levels"] = pd.Categorical.from_codes(codes, [f"level {i}" for i in range(n_levels)])
    return table, (signal + rng.normal(size=n_rows) > np.median(signal)).astype(int)


def peak_memory() -> int:
    """Return the most memory that this process alone has had, in bytes: getrusage begins with that of its parent."""
    try:
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(n_rows: int, preset: str, n_threads: int) -> dict[str, float]:
    """Fit once, and return seconds, epochs and bytes."""
    X, y = made(n_rows)
    with threads(n_threads):
        BigTabularClassifier(preset, max_iter=1, random_state=0).fit(X.head(200), y[:200])  # loads all that a fit needs
        start = time.perf_counter()
        model = BigTabularClassifier(preset, random_state=0).fit(X, y)
        seconds = time.perf_counter() - start
    table = float(X.memory_usage(deep=True).sum())
    return {"seconds": seconds, "epochs": model.n_iter_, "table": table, "peak": peak_memory()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each size, as they come."""
    given = parser().parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.one, given.preset, given.threads)))
        return
    columns = f"{'rows':>10}{'seconds':>10}{'epochs':>8}{'s/epoch/million':>17}{'table MB':>10}{'peak MB':>9}"
    print(columns, flush=True)
    for n_rows in given.rows:
        words = ["--one", str(n_rows), "--preset", given.preset, "--threads", str(given.threads)]
        command = [sys.executable, "-m", "benchmarks.table_growth", *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(line(n_rows, json.loads(done.stdout.splitlines()[-1])), flush=True)


def line(n_rows: int, found: dict[str, float]) -> str:
    """Return a line of the printed table."""
    epoch = found["seconds"] / found["epochs"] / n_rows * 1e6
    memory = f"{found['table'] / 1e6:>10.0f}{found['peak'] / 1e6:>9.0f}"
    return f"{n_rows:>10,}{found['seconds']:>10.1f}{found['epochs']:>8.0f}{epoch:>17.1f}{memory}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.table_growth", description=__doc__.splitlines()[0])
    made.add_argument("--rows", nargs="+", type=int, default=SIZES, help=f"default: {' '.join(map(str, SIZES))}")
    made.add_argument("--preset", default="fast", choices=["fast", "default", "best"])
    made.add_argument("--threads", type=int, default=2, help="for torch and for NumPy's BLAS (default: %(default)s)")
    made.add_argument("--one", type=int, metavar="ROWS", help="measure one size in this process, and print it as JSON")
    return made


if __name__ == "__main__":
    main()
