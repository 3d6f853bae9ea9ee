"""How fast, beside others: ``python -m benchmarks``, or ``make bench``."""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    categories,
    increments,
    modules,
    privacy,
    ranks,
    search,
    serving,
    small,
    speed,
    stacks,
    stream,
    surroundings,
)
from benchmarks.environment import (
    begin_again_without_hobbles,
    hobbles,
    is_busy,
    kernels,
    load,
    machine,
    measured_limits,
)
from benchmarks.options import Options
from benchmarks.pairs import PairSection, PairTable
from benchmarks.timing import Table, threads

TABLES: dict[str, Callable[[Options], Table | PairTable | str]] = {
    **speed.SECTIONS,
    **search.SECTIONS,
    **stream.SECTIONS,
    **ranks.SECTIONS,
    **serving.SECTIONS,
    **privacy.SECTIONS,
}
PAIRS: dict[str, PairSection] = {
    **small.SECTIONS,
    **increments.SECTIONS,
    **stacks.SECTIONS,
    **modules.SECTIONS,
    **categories.SECTIONS,
    **surroundings.SECTIONS,
}
SECTIONS = [*TABLES, *PAIRS]
ROWS = [f"{section}/{row}" for section, pairs in PAIRS.items() for row in pairs.rows]

RULES = """\
Everybody trains the same network with Adam on the same float32 rows, for the same number of epochs and steps, in one
process and in turn; a figure is the median of the repeats, and everything is in it: construction, set-up, tracing,
shuffling. Only what a process does once (imports, starting threads or a GPU) is done before. skorch and the lean loop
leave out the L2 penalty. A ratio is the time of the other over ours; skorch is measured as it comes, and below it
with callbacks="disable", its fastest, with which we compare. "of most" is the share of the operations in products that
the machine does at most in that time.

Rows that stand alone beside one peer are timed the same way, short ones some hundred times; those of small data are
float64, as scikit-learn's sets come, with the defaults of both.

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

BUSY = "Others use this machine, so these figures mean little."
HELD_BACK = "These variables choose kernels or threads, and may hold a contender back: {}."


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for, as they come."""
    given = parser().parse_args(arguments)
    if given.list:
        print("\n".join([*SECTIONS, *ROWS]))
        return
    with threads(given.threads):
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """Say what the machine is and does, print the tables, and keep all times."""
    facts, used = machine(), kernels()
    print(", ".join(f"{name} {value}" for name, value in facts.items()), f"\nthreads: {given.threads}")
    print("\n".join(f"{name}: {kernel}" for name, kernel in used.items()))
    busy_before, names = is_busy(), hobbles()
    warnings = [BUSY] * busy_before + [HELD_BACK.format(", ".join(names))] * bool(names)
    limits = measured_limits(given.quick)
    print("\n".join([str(limits), *warnings, "", RULES]), "\n", flush=True)
    options = Options(
        repeats=1 if given.quick else given.repeats,
        validation=given.validation,
        quick=given.quick,
        data=given.data,
        scratch=given.scratch,
        gigabytes=given.gigabytes,
        servers=dict(given.server),
        opacus=given.opacus,
        limits=limits,
    )
    tables = []
    for section, rows in chosen(given.only or SECTIONS).items():
        table = table_of(section, rows, options)
        print(f"[{section}] {table}\n", flush=True)
        tables += [] if isinstance(table, str) else [{"section": section, **table.as_dict()}]
    if given.json is not None:
        report = {"machine": facts, "load after": load(), "kernels": used, "limits": limits.found}
        report |= {"held back by": names, "threads": given.threads, "tables": tables}
        given.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def table_of(section: str, rows: list[str], options: Options) -> Table | PairTable | str:
    """Measure a section: all of it, or where it has rows to ask for, some."""
    return PAIRS[section].measure(options, rows) if section in PAIRS else TABLES[section](options)


def chosen(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the sections that are named, each with the rows that are named, or none where it is meant as a whole."""
    found: dict[str, list[str]] = {}
    for name in names:
        section, _, row = name.partition("/")
        found.setdefault(section, [])
        found[section] += [row] if row else []
    return {section: [] if section in names else rows for section, rows in found.items()}


def known(name: str) -> str:
    """Return the name of a section or a row, or say which there are."""
    if name in SECTIONS or name in ROWS:
        return name
    close = difflib.get_close_matches(name, [*SECTIONS, *ROWS], n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise argparse.ArgumentTypeError(f"there is no {name!r}.{hint} --list shows all.")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument(
        "--only", nargs="+", type=known, metavar="NAME", help="some sections, or rows as small-data/iris-200"
    )
    made.add_argument("--list", action="store_true", help="the names of all sections and rows")
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
        "--data", type=Path, metavar="FOLDER", help="the letter and adult of this folder, in place of made rows"
    )
    made.add_argument(
        "--scratch", type=Path, metavar="FOLDER", help="where files are written to be read; the system's temporary one"
    )
    made.add_argument(
        "--gigabytes", type=float, default=2, help="the size of the file of stream-memory (default: %(default)s)"
    )
    made.add_argument(
        "--opacus", type=Path, metavar="PYTHON", help="for privacy: the Python of an environment that has Opacus"
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
    begin_again_without_hobbles("benchmarks")
    main()
