"""A step can be captured: it runs on a device alone, reads no value, draws from no generator, and copies nothing.

Torch's fake tensors stand for those of a card: they have a form and a device, and no numbers. Forward pass, clipping,
penalties and optimizer run on a fake card. The backward pass runs there only where there is a card: autograd asks the
driver for the stream of each tensor, fake or not, and what answers for a missing one ends the process. So without a
card it is the device "meta", whose tensors autograd takes as they are, that shows the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from skbig.data.batch import Batch
from skbig.data.rows import Rows, place_rows
from skbig.engine.executors.graph_loop import GraphLoop
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stacking import stack_recipes
from skbig.engine.step import StepInputs, augmented, step, weighted_loss
from skbig.engine.step_inputs import inputs_of_steps
from skbig.networks import TabularMLP
from skbig.networks.modules.network import ModuleNetwork
from tests.capturing import Forbidding, NotCapturable
from tests.laws.test_member_alone import STACKS
from tests.networks.modules import MODULES
from tests.small import (
    BATCH_SIZE,
    CPU,
    N_FEATURES,
    N_ROWS,
    data,
    factors,
    mini_batches,
    networks,
    new_members,
    recipe,
    rows,
    weights,
)

FACTORS = factors() | networks()


def take_steps(each: list[Recipe], placed: Rows, device: str) -> None:
    """Take the steps of an epoch of all members as a graph does, on a device that is not there."""
    n_members = len(each)
    what = stack_recipes(each, [1] * n_members, 3, torch.empty(0))
    members = new_members(what, range(n_members), torch.float32)
    numbers = inputs_of_steps(members, what, mini_batches(members, placed, what)._progress(np.zeros(1, dtype=int), 3))
    with nullcontext() if device == "meta" else FakeTensorMode(allow_non_fake_inputs=True):
        what = stack_recipes(each, [1] * n_members, 3, torch.empty(0, device=device))
        with unset_fake_temporarily():
            _ = what.network.layers  # modules are made on the host
        members = on_device(members, what, device)
        numbers.like = members.flat
        (steps,) = placed.to(torch.device(device)).epoch(members.seeds, 0, True, BATCH_SIZE, 1000)
        for start, stop in ((0, 2), (2, 3)):
            own = numbers.part(start, stop)
            loop = GraphLoop(members, steps[start:stop], own)
            strength = WrittenExecutor(members, what, placed.mean_weight).strength(steps[start])
            with Forbidding(device):
                losses = [
                    step(members, batch, what, numbers, strength, differentiate=DIFFERENTIATE[device])
                    for batch, numbers in loop._read(stop - start)
                ]
                assert {str(loss.device) for loss in losses} == {device}
                loop._program = lambda *_: members.flat.new_zeros(n_members)
                loop._take(stop - start)


def forwards_only(
    members: Members, batch: Batch, recipe: Recipe, numbers: StepInputs
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss, and some gradient."""
    with torch.no_grad():
        changed = augmented(batch, members, recipe, numbers)
        loss = weighted_loss(members.parameters, members, changed, recipe, numbers)
    return loss, torch.empty_like(members.flat)


HAS_CARD = torch.cuda.is_available()
DIFFERENTIATE = {"meta": None, "cuda:0": None if HAS_CARD else forwards_only}
# Torch 2.6 with CUDA asks for a driver even for a fake tensor of a card.
if cast(Any, torch.__version__) < (2, 7) and torch.version.cuda and not HAS_CARD:
    del DIFFERENTIATE["cuda:0"]


def on_device(members: Members, what: Recipe, device: str) -> Members:
    statistics = {name: value.to(device) for name, value in members.statistics.items()}
    moved = Members(what.network, members.seeds, members.flat.to(device), statistics)
    moved.start(what.optimizer, what.average, anchored=what.anchored)
    return moved


ASKS_THE_CARD = ("Embedded", "piecewise", "recurrent", "with batch norm", "convolutions", "attention")
"""Indices as in `X[..., 0]`, and torch's own choice among kernels, ask which card is current, so these need one."""


def each_of(names: Iterable[str]) -> list[tuple[str, int, str]]:
    """Return names with numbers of members and devices."""
    cases = [case for case in ((1, "meta"), (3, "meta"), (3, "cuda:0")) if case[1] in DIFFERENTIATE]
    return [
        (name, *case)
        for name in names
        for case in cases
        if case[1] == "meta" or HAS_CARD or not any(part in name for part in ASKS_THE_CARD)
    ]


TABLES = {
    "piecewise linear": TabularMLP((6,), n_bins=4, number_width=3, rectified=0.7),
    "periodic": TabularMLP((6,), number_embedding="periodic"),
    "categories": TabularMLP(
        (6,), number_embedding="periodic", n_codes=(2, 4), max_one_hot=2, dropout=0.2, normalization="batch"
    ),
}


@pytest.mark.crossed
@pytest.mark.parametrize(("name", "n_members", "device"), each_of(FACTORS))
def test_every_component(name: str, n_members: int, device: str) -> None:
    """A step of any choice, and all that brings it its rows and numbers, can be captured."""
    task, changes = FACTORS[name]
    placed = rows(task, torch.float32, weights() if n_members > 1 else None)
    take_steps([recipe(task, **changes)] * n_members, placed, device)


@pytest.mark.crossed
@pytest.mark.parametrize(("name", "n_members", "device"), each_of(TABLES))
def test_every_front(name: str, n_members: int, device: str) -> None:
    """So can that of a network for tables, whatever becomes of numbers and categories."""
    network = TABLES[name]
    X = np.column_stack([np.arange(N_ROWS) % n for n in network.n_codes] + [data("multiclass")[0]])
    placed = place_rows(X[:, :N_FEATURES], data("multiclass")[1], None, CPU, torch.float32)
    take_steps([recipe("multiclass", network=network)] * n_members, placed, device)


@pytest.mark.crossed
@pytest.mark.parametrize(("name", "n_members", "device"), each_of(name for name in MODULES if name != "deciding"))
def test_every_module(name: str, n_members: int, device: str) -> None:
    """And that of a module of one's own, with all that it keeps of its batches."""
    take_steps_of_module(name, n_members, device)


def test_a_module_that_looks_at_values() -> None:
    """What a module asks of a tensor is noticed there."""
    with pytest.raises(NotCapturable, match="reads a value"):
        take_steps_of_module("deciding", 1, "meta")


def take_steps_of_module(name: str, n_members: int, device: str) -> None:
    module, settings, X = MODULES[name]
    network = ModuleNetwork(module, tuple(settings.items())).tried(torch.from_numpy(X[:7]), 3, torch.float32)
    flat = X.reshape(len(X), -1)[np.arange(N_ROWS) % len(X)]
    placed = place_rows(flat, data("multiclass")[1], None, CPU, torch.float32)
    take_steps([recipe("multiclass", network=network)] * n_members, placed, device)


@pytest.mark.crossed
@pytest.mark.parametrize("device", DIFFERENTIATE)
@pytest.mark.parametrize(("task", "choices"), STACKS)
def test_members_that_differ(task: str, choices: dict[str, list[Any]], device: str) -> None:
    """So can the step of a stack, whose members differ in numbers."""
    each = []
    for m in range(3):
        own = {name: values[m] for name, values in choices.items()}
        each.append(recipe(task, **own))
    take_steps(each, rows(task, torch.float32), device)


ROWS = torch.ones(3, 2)
REFUSED: dict[str, Callable[[], Any]] = {
    "a value": lambda: bool(ROWS.sum() > 0),
    "a mask": lambda: ROWS[ROWS > 0],
    "places": lambda: ROWS.nonzero(),
    "values that differ": lambda: ROWS.unique_consecutive(),
    "a number of the host": lambda: torch.tensor(1.0),
    "memory of the host": lambda: ROWS.pin_memory(),
    "dropout": lambda: torch.nn.functional.dropout(ROWS, 0.5),
    "noise": lambda: torch.randn_like(ROWS),
    "an order": lambda: torch.randperm(3),
    "rows of the host": lambda: ROWS.to("meta"),
    "one number of the host": lambda: ROWS.sum().to("meta"),
}


def test_what_is_made_outside_the_pool() -> None:
    """A tensor of the host that a step makes for itself is noticed, too: a graph would read what it was at first."""
    with Forbidding("meta"):
        torch.zeros(3, device="meta")
        with pytest.raises(NotCapturable, match="outside the pool"):
            torch.zeros(3)


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_capture_allows(name: str) -> None:
    """What a step must not do is noticed where it does it."""
    with Forbidding(), pytest.raises(NotCapturable, match="not permitted when stream is capturing"):
        REFUSED[name]()
