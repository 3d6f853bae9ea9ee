"""Every card that is there trains stacks of a search, as large as its memory and the work in a step allow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from skbig.search import stack_planning
from skbig.search.devices import devices_for, devices_of, side_by_side
from skbig.search.stack_planning import MAX_ON_GPU, WORK_OF_STACK_ON_GPU, stack_size
from tests.search.test_stack_planning import X, session_of


@pytest.fixture
def three_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)


ALL = ["cuda:0", "cuda:1", "cuda:2"]


@pytest.mark.usefixtures("three_cards")
@pytest.mark.parametrize(
    ("name", "devices"), [("auto", ALL), ("cuda", ALL), ("cuda:1", ["cuda:1"]), ("cpu", ["cpu"]), ("cuda:3", ["cpu"])]
)
def test_which_devices(name: str, devices: list[str]) -> None:
    """All cards, where none is named; a stack at a time on each. One that is not there fails when it is asked for."""
    tasks: Any = [SimpleNamespace(last=SimpleNamespace(device=name)), SimpleNamespace(last=None)]
    assert devices_of(tasks) == devices
    assert side_by_side(tasks, 5) == (5 if devices == ["cpu"] else len(devices))
    if name == "cuda:3":
        with pytest.raises(ValueError, match=r"torch sees cpu, cuda:0, cuda:1, cuda:2"):
            devices_for(name)


def on_a_card(monkeypatch: pytest.MonkeyPatch, free: int, **parameters: Any) -> Any:
    """Return a prepared training, of which the planning believes that it is on a card with so much free memory."""
    session = session_of(X, **parameters)
    device = torch.device("cuda")
    flat = SimpleNamespace(device=device, numel=session.members.flat.numel, element_size=lambda: 4)
    facts = {name: getattr(session.members, name) for name in ("n_members", "state", "averaged")}
    monkeypatch.setattr(stack_planning, "stackable", lambda session: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda which: (free, 2**40) if which == device else None)
    return SimpleNamespace(recipe=session.recipe, rows=session.rows, members=SimpleNamespace(flat=flat, **facts))


def test_small_steps_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of little work is shared by all that there are, up to a limit."""
    session = on_a_card(monkeypatch, 2**40, hidden_layer_sizes=(8,), batch_size=32)
    assert stack_size(session, 1, 320, 1) == 320
    assert stack_size(session, 1, 4 * MAX_ON_GPU, 1) == MAX_ON_GPU
    assert stack_size(session, 1, 320, 2) == 160


def test_large_steps_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large steps as many as are worth it: the same on each card and every day."""
    session = on_a_card(monkeypatch, 2**40, hidden_layer_sizes=(256, 256), batch_size=256)
    work = session.recipe.batch_size * session.recipe.network.n_products
    assert stack_size(session, 1, 10**6, 1) <= WORK_OF_STACK_ON_GPU // work < MAX_ON_GPU


@pytest.mark.parametrize("share", [1, 2])
def test_memory_is_a_limit(monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    """What a stack takes is at most half of what is free; where nothing is, a training is tried alone."""
    settings = {"hidden_layer_sizes": (100,), "batch_size": 100}
    session = on_a_card(monkeypatch, 2**24 // share, **settings)
    size = stack_size(session, 1, 512, 1)
    n_parameters = session.members.flat.numel()
    numbers = 12 * n_parameters + 2 * 100 * 4 * session.recipe.network.n_units  # and activations
    assert 1 < size <= 2**23 // share // (4 * numbers) < 2 * size
    assert stack_size(on_a_card(monkeypatch, 0, **settings), 1, 512, 1) == 1
