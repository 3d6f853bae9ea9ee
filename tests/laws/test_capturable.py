"""A step can be captured: it runs on a device alone, reads no value, draws from no generator, and copies nothing.

Torch's fake tensors stand for those of a card: they have a form and a device, and no numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from skbig.data.batch import Batch
from skbig.engine.executors.graph_loop import GraphLoop
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.engine.stacking import stack_recipes
from skbig.engine.step import StepInputs, augmented, step, weighted_loss
from skbig.engine.step_inputs import inputs_of_steps
from tests.capturing import Forbidding, NotCapturable
from tests.laws.test_member_alone import STACKS
from tests.small import BATCH_SIZE, factors, mini_batches, networks, new_members, recipe, rows, weights

FACTORS = factors() | networks()


def take_steps(each: list[Recipe], task: str, device: str, *, weighted: bool = False) -> None:
    """Take the steps of an epoch of all members as a graph does, on a device that is not there."""
    n_members = len(each)
    what = stack_recipes(each, [1] * n_members, 3, torch.empty(0))
    members = new_members(what, range(n_members), torch.float32)
    placed = rows(task, torch.float32, weights() if weighted else None)
    numbers = inputs_of_steps(members, what, mini_batches(members, placed, what)._progress(np.zeros(1, dtype=int), 3))
    with nullcontext() if device == "meta" else FakeTensorMode(allow_non_fake_inputs=True):
        what = stack_recipes(each, [1] * n_members, 3, torch.empty(0, device=device))
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
    """Return the loss, and some gradient: a torch that was built without CUDA has no backward pass for its tensors."""
    with torch.no_grad():
        changed = augmented(batch, members, recipe, numbers)
        loss = weighted_loss(members.parameters, members, changed, recipe, numbers)
    return loss, torch.empty_like(members.flat)


DIFFERENTIATE = {"meta": None, "cuda:0": forwards_only}
# Torch 2.6 with CUDA asks for a driver even for a fake tensor of a card.
if cast(Any, torch.__version__) < (2, 7) and torch.version.cuda and not torch.cuda.is_available():
    del DIFFERENTIATE["cuda:0"]


def on_device(members: Members, what: Recipe, device: str) -> Members:
    statistics = {name: value.to(device) for name, value in members.statistics.items()}
    moved = Members(what.network, members.seeds, members.flat.to(device), statistics)
    moved.start(what.optimizer, what.average, anchored=what.anchored)
    return moved


# Indices as in `X[..., 0]` go through what a torch built without CUDA lacks, so own networks are taken on meta alone.
@pytest.mark.crossed
@pytest.mark.parametrize(
    ("name", "n_members", "device"),
    [
        (name, n_members, device)
        for name in FACTORS
        for n_members, device in ((1, "meta"), (3, "meta"), (3, "cuda:0"))
        if device == "meta" or (device in DIFFERENTIATE and "Embedded" not in name)
    ],
)
def test_every_component(name: str, n_members: int, device: str) -> None:
    """A step of any choice, and all that brings it its rows and numbers, can be captured."""
    task, changes = FACTORS[name]
    take_steps([recipe(task, **changes)] * n_members, task, device, weighted=n_members > 1)


@pytest.mark.crossed
@pytest.mark.parametrize("device", DIFFERENTIATE)
@pytest.mark.parametrize(("task", "choices"), STACKS)
def test_members_that_differ(task: str, choices: dict[str, list[Any]], device: str) -> None:
    """So can the step of a stack, whose members differ in numbers."""
    each = []
    for m in range(3):
        own = {name: values[m] for name, values in choices.items()}
        each.append(recipe(task, **own))
    take_steps(each, task, device)


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
