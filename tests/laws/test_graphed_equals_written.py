"""Steps that run as graphs give what the steps as written give: for every component and network, whatever is loaded.

The graphs are those of `tests.capturing`, on a CPU; tests/gpu says the same of a card.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from skbig.components import ClipNorm, Mixup, Muon
from skbig.engine.executors.cuda_graph import GraphedExecutor
from skbig.engine.executors.threads import thread_count
from skbig.engine.executors.written import WrittenExecutor
from tests.capturing import CpuCapture
from tests.small import assert_close, factors, kept, mini_batches, new_members, recipe, rows, weights

FACTORS = factors()
N_EPOCHS = 3


def trained(
    case: tuple[str, dict[str, Any]],
    n_members: int = 1,
    *,
    graphed: bool,
    dtype: torch.dtype = torch.float64,
    weighted: bool = False,
    seeds: Any = None,
) -> tuple[Any, CpuCapture]:
    """Return all that some epochs have changed, and their losses; and the graphs."""
    task, changes = case
    what, capture = recipe(task, **changes), CpuCapture()
    members = new_members(what, range(n_members) if seeds is None else seeds, dtype)
    epochs = mini_batches(members, rows(task, dtype, weights() if weighted else None), what)
    epochs.executor = GraphedExecutor(members, what, 1.0, capture) if graphed else WrittenExecutor(members, what, 1.0)
    with thread_count(1):
        losses = [epochs.run().loss for _ in range(N_EPOCHS)]
    assert epochs.executor.name == ("graphed" if graphed else "written")
    return kept(members) | {"loss": np.array(losses)}, capture


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("n_members", [1, 3])
def test_every_component(name: str, n_members: int) -> None:
    """Members train the same, as graphs or as written: two whole batches at a launch, and the short one."""
    launched, capture = trained(FACTORS[name], n_members, graphed=True)
    assert [graph.n_replays for graph in capture.graphs] == [N_EPOCHS] * 2
    assert_close(launched, trained(FACTORS[name], n_members, graphed=False)[0], 1e-12)


@pytest.mark.parametrize("seeds", [(0,), (0, 0, 0), (0, 1, 0), (2, 1, 0)], ids=str)
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "multi-output"])
def test_weighted_rows(task: str, seeds: tuple[int, ...]) -> None:
    """Weights are read along with the rows, by members that share an order and by others."""
    case = (task, {"normalization": "batch", "augmentation": Mixup()})
    results = [trained(case, len(seeds), graphed=graphed, weighted=True, seeds=seeds)[0] for graphed in (True, False)]
    assert_close(*results, 1e-12)


@pytest.mark.parametrize("n_members", [1, 3])
def test_bfloat16(n_members: int) -> None:
    """The casts to bfloat16 and back are captured like anything else."""
    case = ("multiclass", {"bf16": True, "hidden": (6, 5), "dropout": 0.2})
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
        "hidden": (8, 8),
        "activation": "mish",
    }
    case = ("multiclass", changes)
    results = [trained(case, graphed=graphed, dtype=torch.float32, weighted=True)[0] for graphed in (True, False)]
    assert_close(*results, 1e-6)
