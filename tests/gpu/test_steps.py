"""On a card: steps as graphs = steps as written = steps on a CPU, for every component and network."""

from __future__ import annotations

import gc
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skbig._utils.device import SingleDevice
from skbig.components import Adam, ClipNorm, Loss, Mixup, Muon
from skbig.data.rows import Rows, place_rows
from skbig.data.stacked_rows import StackedRows
from skbig.engine.executors.capture import CudaCapture
from skbig.engine.executors.cuda_graph import GraphedExecutor
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.members import Members, make_members
from skbig.engine.recipe import Recipe
from skbig.engine.stacking import stack_recipes
from skbig.exceptions import ExecutorWarning
from tests.laws.test_member_alone import STACKS
from tests.small import CPU, assert_close, data, factors, mini_batches, networks, recipe, rows, weights

CARD = torch.device("cuda")
FACTORS = factors() | networks()
EXACT = [name for name in FACTORS if "ns_precision='bfloat16'" not in name]
N_EPOCHS = 3


def members_on(device: torch.device, what: Recipe, seeds: Any, dtype: torch.dtype) -> Members:
    network = what.network
    arrays = network.initial(list(seeds)) | network.initial_statistics(len(seeds))
    members = make_members(network, list(seeds), arrays, device, dtype)
    members.start(what.optimizer, what.average, anchored=what.anchored)
    return members


def kept(members: Members) -> dict[str, np.ndarray]:
    state = {f"{name} {i}": value for i, one in enumerate(members.state) for name, value in one.items()}
    return members.arrays() | {name: value.cpu().numpy().copy() for name, value in state.items()}


def run(
    each: list[Recipe], how: str, device: torch.device, placed: Rows | StackedRows, dtype: torch.dtype = torch.float64
) -> dict[str, np.ndarray]:
    """Return all that some epochs have changed, executed as `how` says, and their losses."""
    what = stack_recipes(each, [1] * len(each), N_EPOCHS, torch.empty(0, dtype=dtype, device=device))
    members = members_on(device, what, range(len(each)), dtype)
    epochs = mini_batches(members, placed, what)
    if how == "written":
        epochs.executor = WrittenExecutor(members, what, placed.mean_weight)
    losses = [epochs.run().loss for _ in range(N_EPOCHS)]
    assert epochs.executor.name == how
    return kept(members) | {"loss": np.array(losses)}


def assert_all_agree(each: list[Recipe], task: str, *, on_cpu: bool = True, weighted: bool = False) -> None:
    placed = rows(task, torch.float64, weights() if weighted else None)
    graphed = run(each, "graphed", CARD, placed.to(CARD))
    assert_close(graphed, run(each, "written", CARD, placed.to(CARD)), 1e-9)
    if on_cpu:
        assert_close(graphed, run(each, "written", CPU, placed), 1e-7)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("name", EXACT)
def test_every_component(name: str, n_members: int) -> None:
    """Members come to the same numbers, whichever way they are trained."""
    task, changes = FACTORS[name]
    assert_all_agree([recipe(task, **changes)] * n_members, task, weighted=n_members > 1)


@pytest.mark.parametrize(("task", "choices"), STACKS)
def test_members_that_differ(task: str, choices: dict[str, list[Any]]) -> None:
    """So do the members of a stack that differ in numbers."""
    each = [recipe(task, **{name: values[m] for name, values in choices.items()}) for m in range(3)]
    assert_all_agree(each, task)


@pytest.mark.parametrize("weighted", [True, False])
def test_members_of_several_sets(weighted: bool) -> None:
    """So do members with folds of other lengths."""
    each = [recipe("multiclass", dropout=0.3, normalization="batch")] * 6
    results = []
    for how, device in (("graphed", CARD), ("written", CARD), ("written", CPU)):
        sets = []
        for n_rows in (45, 41, 45):
            X, y = data("multiclass", n_rows)
            weight = weights(n_rows) if weighted and n_rows == 41 else None
            sets.append(place_rows(X, y, weight, device, torch.float64))
        results.append(run(each, how, device, StackedRows(tuple(sets), (2, 1, 3))))
    assert_close(results[0], results[1], 1e-9)
    assert_close(results[0], results[2], 1e-7)


PRECISE: list[tuple[str, dict[str, Any]]] = [
    ("multiclass", {"hidden_layer_sizes": (64, 48), "optimizer": Adam()}),
    ("multiclass", {"hidden_layer_sizes": (64, 48), "bf16": True, "dropout": 0.2}),
    ("regression", {"hidden_layer_sizes": (64, 48), "optimizer": Muon()}),
    (
        "multiclass",
        {
            "optimizer": Muon(),
            "clipping": ClipNorm(0.1),
            "augmentation": Mixup(),
            "normalization": "batch",
            "dropout": 0.3,
            "hidden_layer_sizes": (8, 8),
            "activation": "mish",
        },
    ),
]


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("case", PRECISE, ids=str)
def test_single_precision(case: tuple[str, dict[str, Any]], tf32: bool, n_members: int) -> None:
    """In float32, TF32 and bfloat16 a graph is taken for the step as written, too."""
    task, changes = case
    placed = rows(task, torch.float32).to(CARD)
    each = [recipe(task, **changes)] * n_members
    with SingleDevice(CARD, torch.float32, tf32=tf32).products():
        graphed = run(each, "graphed", CARD, placed, torch.float32)
        written = run(each, "written", CARD, placed, torch.float32)
    rough = tf32 or changes.get("bf16") or isinstance(changes.get("optimizer"), Muon)
    np.testing.assert_allclose(graphed["loss"], written["loss"], rtol=0.05 if rough else 1e-4)


@dataclass(frozen=True)
class FromHost(Loss):
    """Copies a number from the host in every step, which no capture allows."""

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        weight = torch.ones(raw.shape[-1], dtype=raw.dtype).to(raw.device)
        return ((raw - y).square() * weight).sum(-1)


@dataclass(frozen=True)
class Looking(Loss):
    """Looks at a value in every step."""

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        loss = (raw - y).square().sum(-1)
        return loss * 2 if float(loss.detach().sum()) > 1e9 else loss


@dataclass(frozen=True)
class Masking(Loss):
    """Makes a shape of values in every step."""

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        loss = (raw - y).square().sum(-1)
        return loss - 0 * loss[loss.detach() > 1e9].sum()


@pytest.mark.parametrize("loss", [FromHost(), Looking(), Masking()], ids=lambda loss: type(loss).__name__)
def test_what_cannot_be_captured(loss: Loss) -> None:
    """It is run as written, with one warning, and what is captured afterwards is as it would have been."""
    what, results = recipe("regression", loss=loss), []
    placed = rows("regression").to(CARD)
    for graphed in (True, False):
        members = members_on(CARD, what, [0], torch.float64)
        epochs = mini_batches(members, placed, what)
        epochs.executor = WrittenExecutor(members, what, 1.0)
        if graphed:
            epochs.executor = GraphedExecutor(members, what, 1.0, CudaCapture(CARD))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(N_EPOCHS):
                epochs.run()
        assert [entry.category for entry in caught] == [ExecutorWarning] * graphed
        assert epochs.executor.name == "written"
        results.append(kept(members))
    assert_close(*results, 1e-12)
    assert_all_agree([recipe("regression")], "regression")


def test_a_failed_capture_leaves_the_generator_as_it_was() -> None:
    """Random numbers that a user draws on the card afterwards are those that he would have drawn."""
    drawn = []
    for loss in (FromHost(), None):
        torch.cuda.manual_seed(3)
        if loss is not None:
            what = recipe("regression", loss=loss)
            members = members_on(CARD, what, [0], torch.float64)
            epochs = mini_batches(members, rows("regression").to(CARD), what)
            epochs.executor = GraphedExecutor(members, what, 1.0, CudaCapture(CARD))
            with pytest.warns(ExecutorWarning):
                epochs.run()
        drawn.append([torch.rand(3, device=CARD).cpu() for _ in range(2)])
    torch.testing.assert_close(*drawn, rtol=0, atol=0)


def test_nothing_stays_after_a_failed_capture() -> None:
    """A capture that fails leaves no memory taken."""

    def attempt() -> int:
        what = recipe("regression", loss=FromHost(), hidden_layer_sizes=(512, 512))
        members = members_on(CARD, what, [0], torch.float64)
        epochs = mini_batches(members, rows("regression").to(CARD), what)
        epochs.executor = GraphedExecutor(members, what, 1.0, CudaCapture(CARD))
        with pytest.warns(ExecutorWarning):
            epochs.run()
        del epochs, members
        gc.collect()
        return torch.cuda.memory_allocated()

    attempt()
    first = attempt()
    assert [attempt() for _ in range(3)] == [first] * 3
