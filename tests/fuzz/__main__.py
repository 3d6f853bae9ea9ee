"""Run the fuzzer: ``python -m tests.fuzz --seconds 60``; it tells the seed of each case that breaks a law."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import traceback
from collections import Counter

from tests.fuzz.cases import Case


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--seed", type=int, default=None, help="the first seed; by default the time")
    parser.add_argument("--only", type=int, default=None, help="one seed, with its traceback")
    options = parser.parse_args()
    if options.only is not None:
        case = Case(options.only)
        print(case)
        print(case.run())
        return 0
    first = int(time.time()) * 1000 if options.seed is None else options.seed
    ended, broken, until = Counter[str](), 0, time.monotonic() + options.seconds
    for seed in itertools.count(first):
        if time.monotonic() > until:
            break
        try:
            ended[Case(seed).run()] += 1
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                break
            broken += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(
                f"seed {seed}: {type(error).__name__}: {str(error)[:300]} ({where.filename}:{where.lineno})", flush=True
            )
            print(f"    python -m tests.fuzz --only {seed}", flush=True)
    print(f"{seed - first} cases from seed {first}: {dict(ended)}, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
