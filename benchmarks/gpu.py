"""What a card shows within minutes: that all is right on it, and how fast.

``python -m benchmarks.gpu --out FOLDER``, with the interpreter available: nothing is installed. First the tests of
tests/gpu, then the speeds, each section in a process of its own: one that fails is told of, and the next begins, even
where the card was lost to the process. It ends by itself, and what was found by then lies in the folder, as text and as
JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import machine
from benchmarks.gpu_speed import SECTIONS
from benchmarks.groups import run_group

SHARE_OF_TESTS = 0.45

SECTION = [sys.executable, "-m", "benchmarks.gpu_section"]


@dataclass
class Report:
    """What has been found, on paper at once.

    Attributes
    ----------
    folder : Path
    deadline : float
        On the clock of `time.monotonic`.
    """

    folder: Path
    deadline: float

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.found: dict[str, Any] = {"machine": machine()}

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def say(self, text: str) -> None:
        """Print a text and add it to the report."""
        print(text, flush=True)
        with open(self.folder / "gpu.txt", "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def keep(self, name: str, value: Any) -> None:
        """Add what a section has found."""
        self.found[name] = value
        whole = self.folder / "gpu.new"
        whole.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        whole.replace(self.folder / "gpu.json")  # who is stopped while he writes leaves what was there


def run_tests(report: Report) -> None:
    """Run the tests in a process of their own, which no failure of theirs can take along."""
    seconds, file = report.seconds_left * SHARE_OF_TESTS, report.folder / "gpu-tests.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.gpu_tests", "--seconds", f"{seconds:.0f}"]
    code = run_group([*command, "--out", str(report.folder)], min(seconds + 60, report.seconds_left))
    if code is None:
        report.say("The tests were stopped: one of them takes too long.")
    elif code:
        report.say(f"The tests did not come to their end: their process ended with {code}.")
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        report.keep("tests", found)
        report.say(f"[tests] {found['counts']} in {found['seconds']} s")
        for result in found["failed"]:
            report.say(f"  failed: {result['test']}: {result['failure'].strip().splitlines()[-1:]}")


def run_section(report: Report, name: str, quick: bool) -> bool:
    """Run a section and print what it has found, or how it failed; return whether time was left for it."""
    began, file = time.monotonic(), report.folder / "gpu-section.json"
    file.unlink(missing_ok=True)
    command = [*SECTION, name, "--seconds", f"{report.seconds_left:.0f}", "--out", str(file)]
    code = run_group([*command, "--quick"] if quick else command, report.seconds_left)
    if code is None:
        report.say(f"[{name}] was stopped, and what comes after it was left out: no time was left.")
        return False
    result = {"failed": f"its process ended with {code}"} if code else json.loads(file.read_text(encoding="utf-8"))
    file.unlink(missing_ok=True)
    if "failed" in result:
        report.say(f"[{name}] failed:\n{result['failed']}")
        return True
    report.keep(name, result["found"])
    report.say(f"[{name}, {time.monotonic() - began:.0f} s] {result['text']}\n")
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what was asked for until the time is over."""
    given = parser().parse_args(arguments)
    report = Report(given.out, time.monotonic() + 60 * given.minutes)
    report.say(", ".join(f"{name} {value}" for name, value in report.found["machine"].items()))
    if not torch.cuda.is_available():
        report.say("There is no CUDA device.")
        return
    if not given.no_tests:
        run_tests(report)
    all(run_section(report, name, given.quick) for name in given.only or SECTIONS)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    made.add_argument("--out", type=Path, default=Path("gpu-report"), help="the folder of the report")
    made.add_argument("--minutes", type=float, default=9, help="when to end (default: %(default)s)")
    made.add_argument("--no-tests", action="store_true", help="measure only")
    made.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"some of: {', '.join(SECTIONS)}")
    made.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    return made


if __name__ == "__main__":
    main()
