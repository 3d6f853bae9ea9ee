"""The ranks of a launch find each other, and nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from torch import distributed

from skbig.launch.rendezvous import meet, prove


def meet_all(store: distributed.Store, ranks: Sequence[int], world_size: int, seconds: float = 20) -> list[Any]:
    """Let ranks meet, each on a thread; return the name that each has got, or its error."""
    outcomes: list[Any] = [None] * len(ranks)

    def work(place: int, rank: int) -> None:
        try:
            outcomes[place] = meet(store, rank, world_size, seconds)
        except TimeoutError as error:
            outcomes[place] = str(error)

    threads = [threading.Thread(target=work, args=place) for place in enumerate(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_ranks_of_one_attempt_meet() -> None:
    """Ranks that are started again, in any order, meet each other, and nobody of before."""
    store = distributed.HashStore()
    names = [meet_all(store, ranks, 3) for ranks in ([0, 1, 2], [2, 1, 0])]
    assert [len({*attempt}) for attempt in names] == [1, 1]
    assert names[0][0] != names[1][0]


@pytest.mark.parametrize("ranks", [[0, 1, 2], [0, 2], []], ids=str)
def test_ranks_of_a_dead_attempt_do_not_count(ranks: list[int]) -> None:
    """Whoever of an earlier attempt has been there, with or without the others, nobody takes it for a present one."""
    store = distributed.HashStore()
    meet_all(store, ranks, 3, seconds=0.2)
    host, guest = meet_all(store, [0, 1], 3, seconds=0.2)
    assert host.endswith("2 did not come.") and guest.startswith("rank 0 did not come")
    assert all(error.startswith("rank 0 did not come") for error in meet_all(store, [1, 2], 3, seconds=0.2))


def test_ranks_of_different_launches_do_not_meet() -> None:
    """A rank of two and a rank of three at the same address wait for their own."""
    store = distributed.HashStore()
    threads = [threading.Thread(target=lambda: found.extend(meet_all(store, [1], 3, 0.3)))]
    found: list[Any] = []
    threads[0].start()
    assert meet_all(store, [0], 2, 0.3) == ["rank 1 did not come."]
    threads[0].join()
    assert found == ["rank 0 did not come, or missed another."]


@pytest.mark.parametrize("late", [0, 1])
def test_ranks_may_be_late(late: int) -> None:
    """A rank that comes later than others is waited for."""
    store = distributed.HashStore()
    first = threading.Thread(target=lambda: names.extend(meet_all(store, [1 - late], 2)))
    names: list[Any] = []
    first.start()
    time.sleep(0.1)
    assert first.is_alive()
    names += meet_all(store, [late], 2)
    first.join()
    assert names[0] == names[1]


def test_who_does_not_know_the_secret_is_no_rank() -> None:
    """Whoever connects in the place of a rank, and cannot prove that it is one, is refused by those that are."""
    store, refused = distributed.HashStore(), []

    def join(rank: int, secret: bytes) -> None:
        group = distributed.ProcessGroupGloo(store, rank, 3, timedelta(seconds=60))
        try:
            prove(secret, group)
        except RuntimeError as error:
            refused.append(str(error))

    secrets = (b"ours", b"ours", b"another")
    threads = [threading.Thread(target=join, args=arguments) for arguments in enumerate(secrets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = sorted(message.partition("connected to ")[2] for message in refused)
    assert names[:2] == [f"rank {rank} in the place of rank 2." for rank in range(2)]
    assert len(names) == 3 and names[2].startswith("rank 2 in the place of rank ")
