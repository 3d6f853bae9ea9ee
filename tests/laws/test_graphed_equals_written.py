"""Steps that run as graphs give what the steps as written give: for every component and network, whatever is loaded.

The graphs are those of `tests.capturing`, on a CPU; tests/gpu says the same of a card.
"""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
import torch

from skbig._utils.threads import thread_count
from skbig.components import ClipNorm, Cosine, Mixup, Muon, NAdam
from skbig.data.rows import place_rows
from skbig.data.sources.array import ArraySource
from skbig.data.stacked_rows import StackedRows
from skbig.data.streamed_rows import stream_rows
from skbig.data.tensor_rows import TensorRows
from skbig.engine.executors import agreement
from skbig.engine.executors.cuda_graph import GraphedExecutor
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.members import Members
from skbig.engine.minibatch import MiniBatchEpochs
from skbig.engine.recipe import Recipe
from tests.capturing import CpuCapture
from tests.small import (
    CPU,
    assert_close,
    data,
    factors,
    kept,
    mini_batches,
    networks,
    new_members,
    recipe,
    rows,
    tolerance_of,
    weights,
)

FACTORS = factors() | networks()
N_EPOCHS = 3


def executor_of(members: Members, recipe: Recipe, capture: CpuCapture, mean_weight: Any = 1.0, *, graphed: bool) -> Any:
    if graphed:
        return GraphedExecutor(members, recipe, mean_weight, capture)
    return WrittenExecutor(members, recipe, mean_weight)


def epochs_of(
    case: tuple[str, dict[str, Any]],
    n_members: int = 1,
    *,
    graphed: bool,
    dtype: torch.dtype = torch.float64,
    weighted: bool = False,
    seeds: Any = None,
) -> tuple[MiniBatchEpochs, CpuCapture]:
    """Return epochs that are ready to run, and what captures their graphs."""
    task, changes = case
    what, capture = recipe(task, **changes), CpuCapture()
    members = new_members(what, range(n_members) if seeds is None else seeds, dtype)
    epochs = mini_batches(members, rows(task, dtype, weights() if weighted else None), what)
    epochs.executor = executor_of(members, what, capture, graphed=graphed)
    return epochs, capture


def trained(
    case: tuple[str, dict[str, Any]],
    n_members: int = 1,
    *,
    graphed: bool,
    **options: Any,
) -> tuple[Any, CpuCapture]:
    """Return all that some epochs have changed, and their losses; and the graphs."""
    epochs, capture = epochs_of(case, n_members, graphed=graphed, **options)
    with thread_count(1):
        losses = [epochs.run().loss for _ in range(N_EPOCHS)]
    assert epochs.executor.name == ("graphed" if graphed else "written")
    return kept(epochs._members) | {"loss": np.array(losses)}, capture


@pytest.mark.crossed
@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("n_members", [1, 3])
def test_every_component(name: str, n_members: int) -> None:
    """Members train the same, as graphs or as written: two whole batches at a launch, and the short one."""
    launched, capture = trained(FACTORS[name], n_members, graphed=True)
    # Each is launched once to be compared; that of one whole batch is what that of two is compared with.
    assert [graph.n_replays for graph in capture.graphs] == [3, 1 + N_EPOCHS, 1 + N_EPOCHS]
    assert capture.branches.n_calls > 0
    assert_close(launched, trained(FACTORS[name], n_members, graphed=False)[0], tolerance_of(FACTORS[name]))


@pytest.mark.crossed
@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("n_members", [1, 3])
def test_single_precision(name: str, n_members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernels are the same a millionth of the moves is enough: what a recording rewrites rounds no worse."""
    monkeypatch.setattr(agreement, "TOLERANCE", {torch.float32: 1e-6})
    monkeypatch.setattr(agreement, "COARSE", 1e-6)
    trained(FACTORS[name], n_members, graphed=True, dtype=torch.float32)


@pytest.mark.crossed
@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("n_members", [1, 3])
def test_memory_of_graphs(name: str, n_members: int) -> None:
    """What a capture makes is the pool's, where other graphs write, too: nobody keeps it. All else that a graph reads
    or writes is kept by others as long as there are graphs, which know addresses alone.
    """
    epochs, capture = epochs_of(FACTORS[name], n_members, graphed=True)
    epochs.run()
    assert epochs.executor.name == "graphed" and len(capture.graphs) == 3
    for graph in capture.graphs:
        graph.forget()
    gc.collect()
    for graph in capture.graphs:
        assert graph.made and all(memory.expired() for memory in graph.made)
        assert graph.lasting and not any(memory.expired() for memory in graph.lasting)


@pytest.mark.crossed
@pytest.mark.parametrize("seeds", [(0,), (0, 0, 0), (0, 1, 0), (2, 1, 0)], ids=str)
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "multi-output"])
def test_weighted_rows(task: str, seeds: tuple[int, ...]) -> None:
    """Weights are read along with the rows, by members that share an order and by others."""
    case = (task, {"normalization": "batch", "augmentation": Mixup()})
    results = [trained(case, len(seeds), graphed=graphed, weighted=True, seeds=seeds)[0] for graphed in (True, False)]
    assert_close(*results, tolerance_of(case))


@pytest.mark.parametrize("n_members", [1, 3])
def test_bfloat16(n_members: int) -> None:
    """The casts to bfloat16 and back are captured like anything else."""
    case = ("multiclass", {"bf16": True, "hidden_layer_sizes": (6, 5), "dropout": 0.2})
    results = [trained(case, n_members, graphed=graphed, dtype=torch.float32)[0] for graphed in (True, False)]
    assert_close(*results, 1e-6)


def test_everything_at_once() -> None:
    """Choices that change the same tensors in place do not disturb one another in a graph."""
    changes = {
        "optimizer": Muon(),
        "clipping": ClipNorm(0.1),
        "augmentation": Mixup(),
        "normalization": "batch",
        "dropout": 0.3,
        "hidden_layer_sizes": (8, 8),
        "activation": "mish",
    }
    case = ("multiclass", changes)
    results = [trained(case, graphed=graphed, dtype=torch.float32, weighted=True)[0] for graphed in (True, False)]
    assert_close(*results, 1e-6)


def three_sets(weighted: bool) -> StackedRows:
    """Sets of 45, 41 and 45 rows, of which the last batches have other lengths, read by six members."""
    sets = []
    for n_rows in (45, 41, 45):
        X, y = data("multiclass", n_rows)
        weight = weights(n_rows) if weighted and n_rows == 41 else None
        sets.append(place_rows(X, y, weight, CPU, torch.float64))
    return StackedRows(tuple(sets), (2, 1, 3))


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_members_of_several_sets(weighted: bool, shuffle: bool) -> None:
    """Each member of a stack reads the rows of its own fold, also where the folds' last batches differ in length."""
    what, results = recipe("multiclass", dropout=0.3, normalization="batch", shuffle=shuffle), []
    for graphed in (True, False):
        members, stack = new_members(what, (0, 1, 0, 2, 2, 0)), three_sets(weighted)
        capture = CpuCapture()
        epochs = mini_batches(members, stack, what)
        epochs.executor = executor_of(members, what, capture, stack.mean_weight, graphed=graphed)
        losses = [epochs.run().loss for _ in range(N_EPOCHS)]
        assert len(capture.graphs) == 3 * graphed
        results.append(kept(members) | {"loss": np.array(losses)})
    assert_close(*results, 1e-12)


@pytest.mark.parametrize("n_members", [1, 3])
def test_rows_by_their_numbers(n_members: int) -> None:
    """Rows that are meant by an index into a tensor are those of a tensor that holds no others."""
    (X, y), what, results = data("multiclass", 90), recipe("multiclass"), []
    every = TensorRows(torch.from_numpy(X), X.dtype).take(torch.arange(0, 90, 2))
    for some in (every, every.load()):
        for graphed in (True, False):
            placed = place_rows(some, y[::2], None, CPU, torch.float64)
            assert (placed.index is None) == (some.rows is None)
            members, capture = new_members(what, range(n_members)), CpuCapture()
            epochs = mini_batches(members, placed, what)
            epochs.executor = executor_of(members, what, capture, graphed=graphed)
            losses = [epochs.run().loss for _ in range(N_EPOCHS)]
            assert bool(capture.graphs) == graphed
            results.append(kept(members) | {"loss": np.array(losses)})
    for other in results[1:]:
        assert_close(results[0], other, 1e-12)


@pytest.mark.crossed
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_rows_that_are_streamed(n_members: int, at_once: int) -> None:
    """Batches that come from elsewhere are copied to where the graph reads them."""
    what, results = recipe("multi-output", batch_size=4, dropout=0.2), []
    X, y = data("multi-output")
    for graphed in (True, False):
        members = new_members(what, [5] * n_members)
        streamed = stream_rows(ArraySource(X), y, weights(), CPU, torch.float64, buffer=0.5)
        epochs = mini_batches(members, streamed, what)
        capture = CpuCapture()
        epochs.executor = executor_of(members, what, capture, graphed=graphed)
        epochs.executor.steps_at_once = at_once
        losses = [epochs.run().loss for _ in range(N_EPOCHS)]
        assert bool(capture.graphs) == graphed and epochs.executor.name == ("graphed" if graphed else "written")
        results.append(kept(members) | {"loss": np.array(losses)})
    assert_close(*results, 1e-12)


@pytest.mark.crossed
@pytest.mark.parametrize("n_rows", [20 * 16, 20 * 17, 20 * 35 + 7])
@pytest.mark.parametrize("at_once", [5, 18, 1000])
def test_any_number_of_steps(n_rows: int, at_once: int) -> None:
    """However many steps there are, and however many are loaded at once, each is taken once and in its order."""
    what, results = recipe("regression", schedule=Cosine(), optimizer=NAdam(), dropout=0.2), []
    for graphed in (True, False):
        members = new_members(what)
        epochs = mini_batches(members, rows("regression", n_rows=n_rows), what)
        capture = CpuCapture()
        epochs.executor = executor_of(members, what, capture, graphed=graphed)
        epochs.executor.steps_at_once = at_once
        losses = [epochs.run().loss for _ in range(2)]
        results.append(kept(members) | {"loss": np.array(losses)})
    assert_close(*results, 1e-12)
