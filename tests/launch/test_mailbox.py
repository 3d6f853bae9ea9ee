"""What one end of a mailbox leaves, the other finds: whole, in order, and once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from skbig.launch.mailbox import CLOSED, UNFINISHED, Mailbox
from skbig.launch.worker_context import WorkerContext

CONTEXT = WorkerContext(0, 0, 1, torch.device("cpu"))


def test_a_value_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Values keep their numbers, take the place of older ones, and one that was never finished is not seen."""
    here, there = Mailbox(tmp_path), Mailbox(tmp_path)
    (tmp_path / f"state-1{UNFINISHED}").mkdir()
    assert not there.has("state-1") and there.names("state") == []
    for rows in (np.arange(3000.0), np.arange(5000.0)):
        here.put("state-1", {"rows": rows})
        np.testing.assert_array_equal(there.get("state-1")["rows"], rows)
    assert there.names("state") == ["state-1"]
    here.remove("state-1")
    assert not there.has("state-1")


def test_lines_are_read_once_and_in_order(tmp_path: Path) -> None:
    """Each end sees every complete line once; a half one is read when it is complete."""
    here, there = Mailbox(tmp_path), Mailbox(tmp_path)
    assert there.unread("reports") == there.lines("reports") == []
    for item in ("naïve", [1, None]):
        here.append("reports", item)
    assert there.unread("reports") == ["naïve", [1, None]]
    with open(tmp_path / "reports", "a", encoding="utf-8") as file:
        file.write("{")
    assert there.unread("reports") == []
    with open(tmp_path / "reports", "a", encoding="utf-8") as file:
        file.write("}\n")
    assert there.unread("reports") == [{}]
    assert there.lines("reports") == ["naïve", [1, None], {}]


def test_tasks_are_done_as_they_come_until_the_mailbox_is_closed(tmp_path: Path) -> None:
    """A worker waits for one task after another, also for the last one, which is put just before the end."""
    here, done = Mailbox(tmp_path), []

    def work() -> None:
        for number, task in Mailbox(tmp_path).tasks(CONTEXT):
            done.append(task)
            here.append("done", number)

    worker = threading.Thread(target=work)
    worker.start()
    for number in range(3):
        here.put_task(number, f"work {number}")
        while number < 2 and len(here.lines("done")) <= number:
            time.sleep(0.001)
    here.set(CLOSED)
    worker.join()
    assert done == ["work 0", "work 1", "work 2"]


@pytest.mark.parametrize("n_tasks", [0, 1, 11])
def test_who_starts_late_or_again_begins_with_the_newest_task(n_tasks: int, tmp_path: Path) -> None:
    """Of tasks that were given before, only the last can be under way."""
    here = Mailbox(tmp_path)
    for number in range(n_tasks):
        here.put_task(number, number)
    here.set(CLOSED)
    assert list(Mailbox(tmp_path).tasks(CONTEXT)) == [(number, number) for number in range(n_tasks)][-1:]
