"""A recorded step gives what the step as written gives: recording is an execution, not another formula."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skbig import BigMLPRegressor
from skbig._utils.threads import thread_count
from skbig.components import L1, LBFGS, Adam, ClipNorm, GroupL1, Loss, Mixup, Muon
from skbig.data.rank_rows import RankRows, RankSlice
from skbig.data.rows import Rows
from skbig.engine.executors.recorded import RecordedExecutor
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.recipe import Recipe
from skbig.engine.step_inputs import inputs_of_steps
from skbig.engine.train import train
from skbig.networks import products
from tests.small import (
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
N_EPOCHS, N_STEPS = 3, 9


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A list with an entry for each step that is executed as written, recorded at the same time or not."""
    calls: list[int] = []
    as_written = WrittenExecutor.step_as_written

    def counted(self: WrittenExecutor, *args: Any) -> Tensor:
        calls.append(len(calls))
        return as_written(self, *args)

    monkeypatch.setattr(WrittenExecutor, "step_as_written", counted)
    return calls


def trained(
    case: tuple[str, dict[str, Any]], dtype: torch.dtype, n_members: int, *, records: bool, weighted: bool = False
) -> Any:
    """Return all that some epochs have changed, and their losses."""
    task, changes = case
    what = recipe(task, **changes)
    members = new_members(what, range(n_members), dtype)
    epochs = mini_batches(members, rows(task, dtype, weights() if weighted else None), what)
    assert isinstance(epochs.executor, RecordedExecutor) and epochs.executor.records
    epochs.executor.records = records
    with thread_count(1):
        losses = [epochs.run().loss for _ in range(N_EPOCHS)]
    assert epochs.executor.name == ("recorded" if records else "written")
    return kept(members) | {"loss": np.array(losses)}


@pytest.mark.crossed
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", FACTORS)
def test_one_member(name: str, dtype: torch.dtype, written: list[int]) -> None:
    """A network trains the same, replayed or as written, and a batch of each size is recorded once."""
    replayed = trained(FACTORS[name], dtype, 1, records=True)
    assert len(written) == 2
    tolerance = 1e-6 if dtype == torch.float32 else tolerance_of(FACTORS[name])
    assert_close(replayed, trained(FACTORS[name], dtype, 1, records=False), tolerance)
    assert len(written) == 2 + N_STEPS


@pytest.mark.parametrize("name", FACTORS)
def test_several_members(name: str, written: list[int]) -> None:
    """A population trains the same, whether its steps are replayed or run as written."""
    replayed = trained(FACTORS[name], torch.float64, 3, records=True)
    assert len(written) == 2
    assert_close(replayed, trained(FACTORS[name], torch.float64, 3, records=False), tolerance_of(FACTORS[name]))


@pytest.mark.parametrize("task", ["multiclass", "multi-output"])
def test_batches_that_lie_otherwise_in_memory(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was gathered alone, and one that was gathered beside others, are told apart."""
    results = []
    for records in (True, False):
        gathered_at_once = itertools.chain([1], itertools.repeat(8))
        monkeypatch.setattr(Rows, "steps_gathered", lambda *_, n=gathered_at_once: next(n))
        results.append(trained((task, {}), torch.float64, 3, records=records))
    assert_close(*results, 1e-12)


def test_parts_of_other_batches() -> None:
    """Parts of the same length are told apart where they begin elsewhere, in batches of other lengths."""
    what, results = recipe("regression", dropout=0.5), []
    for records in (True, False):
        members = new_members(what)
        parts = RankRows(rows("regression", n_rows=39), RankSlice(1, 2, local=True))
        executor = (RecordedExecutor if records else WrittenExecutor)(members, what, 1.0)
        with thread_count(1):
            for batches in parts.epoch(members.seeds, 0, True, 20, 8):
                assert [(batch.n_rows, batch.first_row) for batch in batches] == [(10, 10), (10, 9)]
                progress = mini_batches(members, rows("regression"), what)._progress(np.zeros(1, dtype=int), 2)
                executor.run(batches, inputs_of_steps(members, what, progress))
        results.append(kept(members))
    assert_close(*results, 1e-12)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "multi-output"])
def test_weighted_rows(task: str, n_members: int) -> None:
    """Weights of the rows are an input of a recording, not a part of it."""
    case = (task, {"normalization": "batch"})
    results = [trained(case, torch.float64, n_members, records=records, weighted=True) for records in (True, False)]
    assert_close(*results, 1e-12)


@pytest.mark.parametrize("hidden", [(), (6, 5)])
@pytest.mark.parametrize("n_members", [1, 3])
def test_bfloat16(hidden: tuple[int, ...], n_members: int) -> None:
    """The casts to bfloat16 and back are recorded like anything else."""
    case = ("multiclass", {"bf16": True, "hidden_layer_sizes": hidden, "dropout": 0.2})
    assert_close(*[trained(case, torch.float32, n_members, records=records) for records in (True, False)], 1e-6)


def test_everything_at_once() -> None:
    """Choices that change the same tensors in place do not disturb one another in a recording."""
    changes = {
        "optimizer": Muon(),
        "clipping": ClipNorm(0.1),
        "augmentation": Mixup(),
        "normalization": "batch",
        "dropout": 0.3,
        "hidden_layer_sizes": (8, 8),
        "activation": "mish",
    }
    results = [
        trained(("multiclass", changes), torch.float32, 1, records=records, weighted=True) for records in (True, False)
    ]
    assert_close(*results, 1e-6)


@pytest.mark.parametrize("processor", ["Intel", "AMD", "AMD since Zen 5"])
@pytest.mark.parametrize(
    ("case", "is_large"),
    [
        (("regression", {"hidden_layer_sizes": (800, 700)}), False),
        (("regression", {"hidden_layer_sizes": (1400, 1000)}), True),
        (("multiclass", {"hidden_layer_sizes": (900,)}), None),
    ],
    ids=str,
)
def test_every_kernel(
    case: tuple[str, dict[str, Any]],
    is_large: bool | None,
    processor: str,
    written: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large layers, and those with few outputs, are recorded with the kernels that some processors have for them."""
    by_onednn: list[int] = []
    product = products._onednn_product
    monkeypatch.setattr(products, "_mkl_is_slow", lambda: processor != "Intel")
    monkeypatch.setattr(products, "_mkl_takes_twice_as_long", lambda: processor == "AMD since Zen 5")
    monkeypatch.setattr(products, "_onednn_product", lambda *each: by_onednn.append(1) or product(*each))
    replayed = trained(case, torch.float32, 1, records=True)
    assert len(written) == 2
    takes_it = {"Intel": False, "AMD": bool(is_large), "AMD since Zen 5": is_large is not None}[processor]
    assert bool(by_onednn) == (takes_it and products._has_onednn())
    assert_close(replayed, trained(case, torch.float32, 1, records=False), 1e-6)


@dataclass(frozen=True)
class Trimmed(Loss):
    """Looks at the values of its rows: the worst one is left out when it is far worse than the mean."""

    def per_row(self, raw: Tensor, y: Tensor) -> Tensor:
        loss = (raw - y).square().sum(-1)
        if float(loss.detach().max()) > 3 * float(loss.detach().mean()):
            return loss * (loss < loss.max())
        return loss


@pytest.mark.parametrize("records", [True, False])
def test_a_loss_that_looks_at_values_is_executed_as_written(records: bool) -> None:
    """A step that depends on values is never replayed, and the attempt to record it leaves no trace."""
    what = recipe(loss=Trimmed(), optimizer=Adam(), normalization="batch")
    expected, members = new_members(what), new_members(what)
    by_step = mini_batches(expected, rows("regression"), what)
    by_step.executor = WrittenExecutor(expected, what, 1.0)
    epochs = mini_batches(members, rows("regression"), what)
    epochs.executor = (RecordedExecutor if records else WrittenExecutor)(members, what, 1.0)
    losses = [(by_step.run().loss, epochs.run().loss) for _ in range(N_EPOCHS)]
    assert epochs.executor.name == "written"
    np.testing.assert_array_equal(*zip(*losses, strict=True))
    assert_close(kept(members), kept(expected), 0.0)


def test_a_users_function_is_called_at_every_step() -> None:
    """A user's own code is run each time: it may count, branch or draw."""
    calls = []

    def loss(raw: Tensor, y: Tensor) -> Tensor:
        calls.append(len(raw))
        return (raw - y).square() if len(calls) % 2 else (raw - y).abs()

    X, y = data("regression")
    model = BigMLPRegressor((6,), loss=loss, batch_size=20, max_iter=N_EPOCHS, random_state=0, n_iter_no_change=50)
    with pytest.warns(Warning, match="Maximum iterations"):
        model.fit(X, y[:, 0])
    assert calls == [20, 20, 5] * N_EPOCHS


LINE_SEARCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "bfloat16": {"bf16": True},
    "moments": {"normalization": "batch"},
    "lasso": {"penalty": L1()},
    "group lasso": {"penalty": GroupL1()},
    "no penalty": {"penalty": None},
    "held near its start": {"fedprox": 5.0},
    "zeros": {"keeps_zeros": True},
}


def searched(task: str, n_members: int, changes: dict[str, Any], dtype: torch.dtype) -> tuple[str, dict[str, Any]]:
    """Return how a line search was executed, and all that it has come to."""
    what = recipe(task, optimizer=LBFGS(), rate=1.0, max_epochs=8, **changes)
    members = new_members(what, range(n_members), dtype)
    history = train(members, rows(task, dtype), what)
    return history.executor, kept(members) | {"loss": np.array(history.loss)}


@pytest.mark.crossed
@pytest.mark.parametrize("name", LINE_SEARCHES)
@pytest.mark.parametrize(("task", "n_members"), [("multiclass", 1), ("multi-output", 2)])
def test_a_line_search(name: str, task: str, n_members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line search goes to the same points, whether its objective is replayed or computed as written."""
    dtype = torch.float32 if name == "bfloat16" else torch.float64
    executor, replayed = searched(task, n_members, LINE_SEARCHES[name], dtype)
    monkeypatch.setattr(Recipe, "gradient_recordable", False)
    as_written, expected = searched(task, n_members, LINE_SEARCHES[name], dtype)
    assert (executor, as_written) == ("recorded", "written")
    assert_close(replayed, expected, 0.0)


@dataclass(frozen=True)
class Mistaken(Trimmed, recordable=True):
    """Says that it does not look at values."""


@pytest.mark.parametrize("changes", [{"dropout": 0.2}, {"loss": Trimmed()}, {"loss": Mistaken()}], ids=str)
def test_a_line_search_that_cannot_be_replayed(changes: dict[str, Any]) -> None:
    """Where numbers are drawn for each iteration, or a loss looks at values, the objective is computed as written."""
    executor, result = searched("regression", 1, changes, torch.float64)
    assert executor == "written"
    assert np.isfinite(result["loss"]).all()
