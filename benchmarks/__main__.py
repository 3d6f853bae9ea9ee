"""How fast, beside others: ``python -m benchmarks``, or ``make bench``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ranks, search, serving, speed, stream
from benchmarks.speed import Options
from benchmarks.timing import Table, machine, threads

SECTIONS = {**speed.SECTIONS, **search.SECTIONS, **stream.SECTIONS, **ranks.SECTIONS, **serving.SECTIONS}

RULES = """\
Everybody trains the same network with Adam on the same float32 rows, for the same number of epochs and steps, in one
process and in turn; a figure is the median of the repeats, and everything is in it: construction, set-up, tracing,
shuffling. Only what a process does once (imports, starting threads or a GPU) is done before. skorch and the lean loop
leave out the L2 penalty. A ratio is the time of the other over ours; skorch is measured as it comes, and below it
with callbacks="disable", its fastest.

Searches are those of scikit-learn but for ours, and all is in their time, too: splitting, scoring, the last fit on all
rows, and with n_jobs=2 the start of two processes, which share the threads. Those are fresh in the first run of each,
and load what they need; later runs find them warm, so the first has a column of its own. Where a search would take very
long (~), some of its candidates are run, with warm processes and without the last fit, and the rest is extrapolated.
skorch's penalty is the optimizer's weight decay there.

Rows of a file are read from the disk, not from the system's cache; but beside the DataLoader, which would be slower
still, from the cache.

Processes that train together do it epoch by epoch, all contenders in turn in the same processes, and an epoch's time is
that of the slower one. The first epoch is left out, and so is all that comes before it. Independent ones have half of
the rows and of the batch each, and do not talk: what two processes could do at best."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for, as they come."""
    given = parser().parse_args(arguments)
    options = Options(
        repeats=1 if given.quick else given.repeats,
        validation=given.validation,
        quick=given.quick,
        data=given.data,
        scratch=given.scratch,
        gigabytes=given.gigabytes,
        servers=dict(given.server),
    )
    facts = machine()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), f"\nthreads: {given.threads}")
    print(f"{RULES}\n", flush=True)
    tables = []
    with threads(given.threads):
        for name in given.only or SECTIONS:
            table = SECTIONS[name](options)
            print(f"[{name}] {table}\n", flush=True)
            tables += [{"section": name, **table.as_dict()}] if isinstance(table, Table) else []
    if given.json is not None:
        report = {"machine": facts, "threads": given.threads, "tables": tables}
        given.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"some of: {', '.join(SECTIONS)}")
    made.add_argument("--repeats", type=int, default=5, help="how often each contender runs (default: %(default)s)")
    made.add_argument("--threads", type=int, default=2, help="for torch and for NumPy's BLAS (default: %(default)s)")
    made.add_argument(
        "--validation", action="store_true", help="in single trainings, hold out a tenth and keep the best weights"
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="a few steps of narrow networks, to see that it runs; its figures mean nothing",
    )
    made.add_argument(
        "--data", type=Path, metavar="FOLDER", help="search on the letter and adult of this folder, not on made rows"
    )
    made.add_argument(
        "--scratch", type=Path, metavar="FOLDER", help="where files are written to be read; the system's temporary one"
    )
    made.add_argument(
        "--gigabytes", type=float, default=2, help="the size of the file of stream-memory (default: %(default)s)"
    )
    made.add_argument(
        "--server",
        type=server,
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="for serving-peers: mlserver or bentoml, and the Python of an environment that has it",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="keep every single time")
    return made


def server(text: str) -> tuple[str, Path]:
    """Return the name of a server, and the Python that runs it."""
    name, _, python = text.partition("=")
    if name not in serving.PEERS or not Path(python).exists():
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(serving.PEERS)}, and a Python: {text}")
    return name, Path(python)


if __name__ == "__main__":
    main()
