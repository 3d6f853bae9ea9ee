"""A module that cannot be loaded to its end in rank 1 of a launch, which says in its command which one it is."""

from __future__ import annotations

import sys
import time

from worker_jobs import add

__all__ = ["add"]


def sleep_on() -> None:
    time.sleep(600)


if sys.argv[-2] == "1":
    sleep_on()
