"""The tests that need a card, within a time: each failure is printed at once, and what was found is kept.

``python -m benchmarks.gpu_tests --seconds 240 --out FOLDER``
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1] / "tests" / "gpu"


N_PROCESSES = 4
"""Where pytest-xdist is installed."""


class Reporter:
    """Prints failures as they come, and keeps what was found so far in a file."""

    def __init__(self, file: Path) -> None:
        self._file, self._began = file, time.monotonic()
        self._results: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in the report of a test, or of what comes before or after it."""
        if report.when == "call" or report.outcome != "passed":
            failure = report.longreprtext if report.failed else ""
            result = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 2)}
            self._results.append({**result, "failure": failure})
            if report.failed:
                print(f"\nFAILED {report.nodeid}\n{failure}\n", flush=True)
            self.keep()

    def keep(self) -> dict[str, Any]:
        """Write down, and return, how many tests came to what."""
        results = self._results
        slowest = sorted(results, key=lambda result: -result["seconds"])[:10]
        found = {
            "counts": dict(Counter(result["outcome"] for result in results)),
            "seconds": round(time.monotonic() - self._began, 1),
            "failed": [result for result in results if result["outcome"] == "failed"],
            "slowest": [{name: result[name] for name in ("test", "seconds")} for result in slowest],
        }
        whole = self._file.with_suffix(".new")
        whole.write_text(json.dumps(found, indent=1), encoding="utf-8")
        whole.replace(self._file)  # who is stopped while he writes leaves what was there
        return found


def run(seconds: float, out: Path, chosen: str | None = None) -> dict[str, Any]:
    """Run the tests and return how many came to what; all is kept in a file.

    Those for which no time is left are skipped by tests/gpu/conftest.py, in whichever process they are.
    """
    reporter = Reporter(out / "gpu-tests.json")
    arguments = [str(TESTS), "-q", "--no-header", "--tb=short", "--show-capture=no", "-p", "no:cacheprovider"]
    arguments += ["-p", "no:benchmark"]  # which fails beside xdist where it is installed, and measures nothing here
    arguments += ["-n", str(N_PROCESSES), "--dist", "worksteal"] if find_spec("xdist") is not None else []
    arguments += ["-k", chosen] if chosen else []
    os.environ["SKBIG_GPU_TESTS_END"] = str(time.time() + seconds)
    pytest.main(arguments, plugins=[reporter])
    return reporter.keep()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tests and print the sums."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu_tests", description=__doc__)
    made.add_argument("--seconds", type=float, default=240)
    made.add_argument("--out", type=Path, default=Path())
    made.add_argument("--only", metavar="EXPRESSION", help="as pytest's -k")
    given = made.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    found = run(given.seconds, given.out, given.only)
    print(f"tests: {found['counts']} in {found['seconds']} s", flush=True)
    for result in found["failed"]:
        print(f"  failed: {result['test']}")


if __name__ == "__main__":
    main()
