"""Rows are read once per epoch, each by its own member's order, and never written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from skbig._utils.sparse import SparseRows
from skbig.data import rows as rows_module
from skbig.data.batch import Batch
from skbig.data.rows import Rows, as_tensor, epoch_order, place_rows
from skbig.data.steps import Order
from tests.small import CPU, N_ROWS, data, weights

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def placed(task: str = "multi-output", *, weighted: bool = False, form: Any = np.asarray) -> Any:
    X, y = data(task)
    return place_rows(form(X), y, weights() if weighted else None, CPU, torch.float64)


def order_of(rows: np.ndarray) -> Order:
    """Return the orders (M, L) of members as orders of their own."""
    return Order(rows, np.arange(len(rows)))


def dense(X: Tensor | SparseRows) -> Tensor:
    """Write sparse rows out, by multiplying them with one."""
    return (
        X.times(torch.eye(X.shape[-1], dtype=X.dtype).expand(*X.shape[:-2], -1, -1)) if isinstance(X, SparseRows) else X
    )


@pytest.fixture
def short_rows_stay_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "DENSE_FEATURES", 0)


@BOTH
@pytest.mark.parametrize("given", [np.float64, np.float32, np.int16, np.bool_])
@pytest.mark.parametrize("order", ["C", "F"])
def test_placing(given: type, order: Any, dtype: torch.dtype) -> None:
    """Whatever numbers come, they are computed with in one dtype; class indices stay whole numbers."""
    X, y = data("multiclass")
    X = np.array(X * 10, dtype=given, order=order)
    placed_rows = place_rows(X, y, weights(), CPU, dtype)
    assert placed_rows.X.dtype == placed_rows.weight.dtype == dtype and placed_rows.y.dtype == torch.int64
    np.testing.assert_allclose(placed_rows.X, X, rtol=1e-6)
    np.testing.assert_array_equal(placed_rows.y, y)
    assert place_rows(X, data("regression")[1], None, CPU, dtype).y.dtype == dtype


def test_weights_are_relative() -> None:
    """Weights are stored over their mean, which is kept: a batch of n rows has about the weight n."""
    placed_rows = placed(weighted=True)
    np.testing.assert_allclose(placed_rows.weight.mean(), 1.0)
    np.testing.assert_allclose(placed_rows.weight * placed_rows.mean_weight, weights())
    assert placed().mean_weight == 1.0


def test_targets_that_are_too_large() -> None:
    """A target that is infinite in the dtype that is computed in is refused by name."""
    X, y = data("regression")
    place_rows(X, y * 1e200, None, CPU, torch.float64)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"y contains .* too large for dtype\('float32'\)"):
        place_rows(X, y * 1e200, None, CPU, torch.float32)


def test_read_only_arrays_are_shared(tmp_path: Path) -> None:
    """A tensor takes no copy of an array, writable, read-only or mapped from a file, and asks for no warning."""
    array = np.arange(12.0).reshape(3, 4)
    read_only = array.copy()
    read_only.flags.writeable = False
    np.save(tmp_path / "rows.npy", array)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for given in (array, read_only, mapped, read_only[:, 1:], read_only.T):
        tensor = as_tensor(given)
        np.testing.assert_array_equal(tensor, given)
        assert tensor.data_ptr() == given.__array_interface__["data"][0]


@pytest.mark.crossed
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 7, 20, N_ROWS])
@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.usefixtures("short_rows_stay_sparse")
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("weighted", [True, False])
def test_every_row_is_read_once(n_members: int, batch_size: int, at_once: int, form: Any, weighted: bool) -> None:
    """The batches of an epoch are the rows in each member's order, however many batches are gathered at once."""
    all_rows = placed(weighted=weighted, form=form)
    order = epoch_order(list(range(n_members)), 0, N_ROWS, shuffle=True)
    groups = list(all_rows.batches(order_of(order), batch_size, at_once))
    assert all(1 <= len(group) <= at_once for group in groups)
    batches = [batch for group in groups for batch in group]
    assert all(isinstance(batch.X, SparseRows) == (form is not np.asarray) for batch in batches)
    sizes = [batch.n_rows for batch in batches]
    assert sizes == [batch_size] * (N_ROWS // batch_size) + [N_ROWS % batch_size] * (N_ROWS % batch_size > 0)
    X, y = data("multi-output")
    expected = order[0] if n_members == 1 else order
    axis = expected.ndim - 1
    np.testing.assert_array_equal(torch.cat([dense(batch.X) for batch in batches], axis), X[expected])
    np.testing.assert_array_equal(torch.cat([batch.y for batch in batches], axis), y[expected])
    share = torch.cat([batch.share * batch.n_rows for batch in batches], axis)
    relative = weights() / weights().mean() if weighted else np.ones(N_ROWS)
    np.testing.assert_allclose(share, relative[expected])


@pytest.fixture
def gathered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list with the number of rows of each time that rows are gathered."""
    lengths: list[int] = []
    gather_parts = Rows.gather_parts

    def counted(self: Rows, index: np.ndarray, sizes: list[int]) -> list[Batch]:
        lengths.append(index.shape[1])
        return gather_parts(self, index, sizes)

    monkeypatch.setattr(Rows, "gather_parts", counted)
    return lengths


def test_little_is_gathered_at_once(monkeypatch: pytest.MonkeyPatch, gathered: list[int]) -> None:
    """A set that is too large to be gathered at once is gathered in pieces, and the batches are the same."""
    all_rows, order = placed(), order_of(epoch_order([0], 0, N_ROWS, shuffle=True))
    whole = [batch for group in all_rows.batches(order, 4, 1000) for batch in group]
    row_bytes = data("multi-output")[0].itemsize * 4
    monkeypatch.setattr(rows_module, "GATHERED_BYTES", 10 * row_bytes)
    (group,) = all_rows.batches(order, 4, 1000)
    assert gathered == [N_ROWS]
    for one, other in zip(group, whole, strict=True):
        torch.testing.assert_close(one.X, other.X, rtol=0, atol=0)
        torch.testing.assert_close(one.share, other.share, rtol=0, atol=0)
    assert gathered == [N_ROWS, *[8] * 5, 5]


@pytest.mark.parametrize(("shape", "small"), [((50, 1000), True), ((50, 1001), False), ((51, 1000), False)])
def test_few_and_short_sparse_rows_are_made_dense(
    shape: tuple[int, int], small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sparse rows are made dense once where that takes little memory, and they are not much longer for it."""
    monkeypatch.setattr(rows_module, "DENSE_BYTES", 50 * 1000 * 8)
    X = sparse.csr_array(np.random.RandomState(0).binomial(1, 0.1, shape).astype(float))
    made = rows_module.dense_if_small(X)
    assert isinstance(made, np.ndarray) == small
    np.testing.assert_array_equal(made if small else made.toarray(), X.toarray())
    dense = X.toarray()
    assert rows_module.dense_if_small(dense) is dense


def test_little_is_made_dense_at_once(monkeypatch: pytest.MonkeyPatch, gathered: list[int]) -> None:
    """Sparse rows that are short are read in dense batches, but no more of them at once than of dense rows."""
    X, y = sparse.csr_array((N_ROWS, 1000), dtype=np.float64), np.zeros((N_ROWS, 1))
    monkeypatch.setattr(rows_module, "GATHERED_BYTES", 2 * 8 * X.shape[1] * X.dtype.itemsize)
    order = order_of(epoch_order([0, 1], 0, N_ROWS, shuffle=True))
    for group in place_rows(X, y, None, CPU, torch.float64).batches(order, 4, 1000):
        assert [batch.n_rows for batch in group] == [4] * 11 + [1]
    assert gathered == [*[8] * 5, 5]


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_batch_by_its_number(n_members: int) -> None:
    """A step's batch, or those of some steps, can be had without the others, and are the same."""
    order = order_of(epoch_order(list(range(n_members)), 0, N_ROWS, shuffle=True))
    (group,) = placed(weighted=True).batches(order, 10, 1000)
    batches = list(group)
    assert len(group) == len(batches) == 5
    for numbers in (range(5), range(1, 3), range(4, 5)):
        part = group[numbers.start : numbers.stop]
        assert len(part) == len(numbers)
        for number, one, other in zip(numbers, part, (group[number] for number in numbers), strict=True):
            for ours, theirs in zip((*one[:3], *other[:3]), batches[number][:3] * 2, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    with pytest.raises(IndexError):
        group[5]


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("n_parts", [1, 2, 4, 100])
def test_parts_are_the_batch(n_members: int, n_parts: int) -> None:
    """The parts of a batch are its rows in order, with the shares of the whole and the place where each begins."""
    order = epoch_order(list(range(n_members)), 0, N_ROWS, shuffle=True)
    batch = placed(weighted=True).take(order[:, :20])
    parts = list(batch.parts(n_parts))
    axis = batch.share.dim() - 1
    assert len(parts) == min(n_parts, 20) and all(part.n_rows > 0 for part in parts)
    for field in ("X", "y", "share"):
        joined = torch.cat([getattr(part, field) for part in parts], axis)
        torch.testing.assert_close(joined, getattr(batch, field), rtol=0, atol=0)
    assert [part.first_row for part in parts] == [0, *np.cumsum([part.n_rows for part in parts])[:-1]]


def test_parts_of_a_part_know_their_place() -> None:
    """A part that is split again begins where it did in the whole batch."""
    X, y = (torch.from_numpy(array) for array in data("regression"))
    batch = Batch(X, y, torch.full((N_ROWS,), 1 / N_ROWS), first_row=100)
    assert [part.first_row for part in batch.parts(3)] == [100, 115, 130]


def test_an_order_is_a_function_of_seed_and_epoch() -> None:
    """An order is a permutation that another epoch, another seed and other members do not share or change."""
    together = epoch_order([3, 2**32 - 1, 8], 5, 1000, shuffle=True)
    for member, seed in zip(together, [3, 2**32 - 1, 8], strict=True):
        np.testing.assert_array_equal(np.sort(member), np.arange(1000))
        np.testing.assert_array_equal(epoch_order([seed], 5, 1000, shuffle=True)[0], member)
        for other in (epoch_order([seed], 6, 1000, shuffle=True)[0], epoch_order([seed + 1], 5, 1000, shuffle=True)[0]):
            assert abs(np.corrcoef(member, other)[0, 1]) < 0.15
    np.testing.assert_array_equal(epoch_order([3, 4], 5, 10, shuffle=False), [np.arange(10)] * 2)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_rows_are_not_written_to(form: Any) -> None:
    """Batches are copies, so what an augmentation or a step does to them does not reach the rows."""
    X, _ = data("multi-output")
    all_rows = placed(form=form)
    for group in all_rows.batches(order_of(epoch_order([0], 0, N_ROWS, shuffle=False)), 10, 2):
        for batch in group:
            if isinstance(batch.X, SparseRows):
                batch.X.rows.values.zero_(), batch.X.columns.values.zero_()
            else:
                batch.X.zero_()
            batch.y.zero_()
    np.testing.assert_array_equal(all_rows.X.toarray() if all_rows.is_sparse else all_rows.X, X)
    np.testing.assert_array_equal(all_rows.y, data("multi-output")[1])
