"""One section of the speeds of a card, in a process of its own.

``python -m benchmarks.gpu_section large --seconds 100 --out large.json``: an error of CUDA's may leave a process in
which nothing works on the card any more, and the next section must not be in it.
"""

from __future__ import annotations

import argparse
import json
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu_speed import SECTIONS


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a section, and write what it has found, or how it failed."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu_section", description=__doc__)
    made.add_argument("name")
    made.add_argument("--seconds", type=float, required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--quick", action="store_true")
    given = made.parse_args(arguments)
    try:
        table = SECTIONS[given.name](given.seconds, given.quick)
        result = {"found": table.as_dict(), "text": str(table)}
    except Exception:
        result = {"failed": traceback.format_exc()}
    given.out.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
