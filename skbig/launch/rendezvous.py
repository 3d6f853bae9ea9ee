"""How the ranks of a launch find each other: those that are there now, and none of an earlier attempt."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from uuid import uuid4

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore, Store

# Seconds between two looks at the store: at first, and later, where hundreds of ranks look at one.
SHORTEST, LONGEST = 0.005, 0.25


def meet(store: Store, rank: int, world_size: int, seconds: float) -> str:
    """Wait until all ranks are there at the same time, and return a name for this rendezvous, the same to all.

    A store may be older than the processes: torchrun keeps one while it starts its workers again, with all that the
    dead ones have written. What they have written is not answered, so nobody waits for them.

    Raises
    ------
    TimeoutError
        When others do not come in time.
    """
    own, last = uuid4().hex, time.monotonic() + seconds
    # Ranks that count the others differently are of different launches.
    store = PrefixStore(f"rendezvous-of-{world_size}", store)
    return _invite(store, own, world_size, last) if rank == 0 else _visit(store, own, rank, last)


def _invite(store: Store, own: str, world_size: int, last: float) -> str:
    """Write that rank 0 is here, wait for the answers of the others, and confirm them."""
    store.set("host", own)
    missing = [*range(1, world_size)]
    for _ in _looks(last):
        missing = [rank for rank in missing if not store.check([f"{own}/{rank}"])]
        if not missing:
            guests = [store.get(f"{own}/{rank}").decode() for rank in range(1, world_size)]
            store.set(f"{own}/guests", json.dumps(guests))
            return own
    raise TimeoutError(f"rank {', '.join(map(str, missing))} did not come.")


def _visit(store: Store, own: str, rank: int, last: float) -> str:
    """Answer rank 0, be it the present or an earlier one, until it confirms this very process."""
    for _ in _looks(last):
        if store.check(["host"]):
            host = store.get("host").decode()
            store.set(f"{host}/{rank}", own)
            if store.check([f"{host}/guests"]) and own in json.loads(store.get(f"{host}/guests")):
                return host
    raise TimeoutError("rank 0 did not come, or missed another.")


def _looks(last: float) -> Iterator[None]:
    """Yield until a time is reached, at growing intervals."""
    pause = SHORTEST
    while time.monotonic() < last:
        yield
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def prove(secret: bytes, group: distributed.ProcessGroup) -> None:
    """Show to all other ranks that this one knows the secret, and check that they know it.

    Gloo takes whoever connects to its port for the rank that it claims to be, and any user of the machine may connect:
    what such a one sends would be summed, or unpickled. Here all connections are made, and each carries something that
    nobody else could send, in a message of 32 bytes. A connection that is made cannot be taken over.

    Raises
    ------
    RuntimeError
        When somebody else has connected.
    """
    rank = group.rank()
    others = [other for other in range(group.size()) if other != rank]
    sent = {other: _signed(secret, rank, other) for other in others}
    received = {other: torch.empty(hashlib.sha256().digest_size, dtype=torch.uint8) for other in others}
    works = [group.send([sent[other]], other, 0) for other in others]
    works += [group.recv([received[other]], other, 0) for other in others]
    for work in works:
        work.wait()
    for other in others:
        expected = _signed(secret, other, rank)
        if not hmac.compare_digest(received[other].numpy().tobytes(), expected.numpy().tobytes()):
            raise RuntimeError(f"Another program has connected to rank {rank} in the place of rank {other}.")


def _signed(secret: bytes, sender: int, receiver: int) -> torch.Tensor:
    """Return sender and receiver in a form that takes the secret to make."""
    digest = hmac.digest(secret, f"rank {sender} to rank {receiver}".encode(), "sha256")
    return torch.frombuffer(bytearray(digest), dtype=torch.uint8)
