"""Requests that wait are run together, and nobody notices but the clock."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
import torch

from skbig.serving import TensorSpec
from skbig.serving.errors import RequestError
from skbig.serving.model_thread import ModelThread
from skbig.serving.thread_count import ThreadCount

ONE = ThreadCount(1)


class Gate:
    """A model that waits until it is let go, and notes down what it was run with."""

    platform, classes = "python", None
    inputs: tuple[TensorSpec, ...] = (TensorSpec("X", "FP64", (-1, -1)),)
    outputs = (TensorSpec("sum", "FP64", (-1,)), TensorSpec("double", "FP64", (-1, -1)))

    def __init__(self) -> None:
        self.started, self.open = threading.Event(), threading.Event()
        self.runs: list[tuple[list[float], tuple[str, ...]]] = []

    def run(self, inputs: Any, outputs: Any) -> Any:
        self.runs.append((inputs["X"][:, 0].tolist(), tuple(outputs)))
        self.started.set()
        assert self.open.wait(30)
        if (inputs["X"] < 0).any():
            raise ValueError("a negative number")
        given = {"sum": inputs["X"].sum(axis=1), "double": 2 * inputs["X"]}
        return {name: given[name] for name in outputs}


def rows(*values: float, width: int = 2) -> dict[str, np.ndarray]:
    return {"X": np.repeat(np.array(values, dtype=float)[:, np.newaxis], width, axis=1)}


def thread_of(model: Any, max_batch_rows: int = 100, max_waiting_rows: int = 1000) -> ModelThread:
    return ModelThread(
        model,
        max_batch_rows=max_batch_rows,
        max_waiting_rows=max_waiting_rows,
        threads=ONE,
        observe=lambda calls, rows: None,
    )


async def together(model: Gate, thread: ModelThread, *calls: Any, first: Any = None) -> list[Any]:
    """Let calls come while the model is busy with the first one; return the answers to them."""
    with thread.held():
        busy = asyncio.create_task(thread.run(*(first or (rows(0), ("sum",)))))
        await asyncio.to_thread(model.started.wait, 30)
        tasks = [asyncio.create_task(thread.run(*call)) for call in calls]
        await asyncio.sleep(0)  # they are called
        model.open.set()
        answers = await asyncio.gather(busy, *tasks, return_exceptions=True)
    thread.close()
    thread.join(30)
    return answers[1:]


def test_calls_that_wait_are_run_together() -> None:
    """What has come while the model was busy is one batch, and each call gets its own rows."""
    model = Gate()
    calls = [(rows(1, 2), ("sum",)), (rows(3), ("sum",)), (rows(4, 5, 6), ("sum",))]
    answers = asyncio.run(together(model, thread_of(model), *calls))
    assert [run[0] for run in model.runs] == [[0], [1, 2, 3, 4, 5, 6]]
    assert [answer["sum"].tolist() for answer in answers] == [[2, 4], [6], [8, 10, 12]]


def test_calls_of_another_kind_are_not_mixed() -> None:
    """Rows of another width, and other outputs, are run by themselves, and nobody is overtaken by his own kind."""
    model = Gate()
    calls = [
        (rows(1), ("sum",)),
        (rows(2, width=3), ("sum",)),
        (rows(3), ("double",)),
        (rows(4), ("sum",)),
        (rows(5), ("double",)),
    ]
    answers = asyncio.run(together(model, thread_of(model), *calls))
    assert model.runs[1:] == [([1, 4], ("sum",)), ([2], ("sum",)), ([3, 5], ("double",))]
    assert [next(iter(answer.values())).ravel().tolist() for answer in answers] == [[2], [6], [6, 6], [8], [10, 10]]


@pytest.mark.parametrize(("max_rows", "runs"), [(1, [[1, 2], [3], [4]]), (2, [[1, 2], [3, 4]]), (3, [[1, 2, 3], [4]])])
def test_a_batch_has_no_more_rows_than_it_may(max_rows: int, runs: list[list[float]]) -> None:
    """Calls are put together up to a number of rows; a single one may have more."""
    model = Gate()
    calls = [(rows(1, 2), ("sum",)), (rows(3), ("sum",)), (rows(4), ("sum",))]
    asyncio.run(together(model, thread_of(model, max_batch_rows=max_rows), *calls))
    assert [run[0] for run in model.runs[1:]] == runs


def test_only_who_is_at_fault_gets_the_error() -> None:
    """When a batch fails, its calls are run one by one."""
    model = Gate()
    calls = [(rows(1), ("sum",)), (rows(-1), ("sum",)), (rows(2), ("sum",))]
    first, second, third = asyncio.run(together(model, thread_of(model), *calls))
    assert (first["sum"].tolist(), third["sum"].tolist()) == ([2], [4])
    assert isinstance(second, ValueError)
    assert [run[0] for run in model.runs] == [[0], [1, -1, 2], [1], [-1], [2]]


def test_a_graph_of_fixed_rows_runs_each_call_alone() -> None:
    """A model whose number of rows is fixed is never given more."""

    class Fixed(Gate):
        inputs = (TensorSpec("X", "FP64", (1, 2)),)

    model = Fixed()
    asyncio.run(together(model, thread_of(model), (rows(1), ("sum",)), (rows(2), ("sum",))))
    assert [run[0] for run in model.runs] == [[0], [1], [2]]


def test_a_call_that_nobody_waits_for_is_not_run() -> None:
    """A call that was cancelled while it waited costs nothing, and takes no answer from others."""

    async def impatient(model: Gate, thread: ModelThread) -> dict[str, np.ndarray]:
        with thread.held():
            busy = asyncio.create_task(thread.run(rows(0), ("sum",)))
            await asyncio.to_thread(model.started.wait, 30)
            gone, stays = (asyncio.create_task(thread.run(rows(n), ("sum",))) for n in (1, 2))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            model.open.set()
            await busy
            answer = await stays
        thread.close()
        thread.join(30)
        return answer

    model = Gate()
    assert asyncio.run(impatient(model, thread_of(model)))["sum"].tolist() == [4]
    assert [run[0] for run in model.runs] == [[0], [2]]


def test_too_many_rows_are_refused_at_once() -> None:
    """A call that would make too many rows wait is refused, and a single large one is not."""
    model = Gate()
    thread = thread_of(model, max_waiting_rows=3)
    large = (rows(0, 0, 0, 0, 0), ("sum",))
    answers = asyncio.run(together(model, thread, (rows(1), ("sum",)), first=large))
    assert isinstance(answers[0], RequestError)
    assert answers[0].status == 503
    model = Gate()
    answers = asyncio.run(
        together(model, thread_of(model, max_waiting_rows=3), (rows(1, 2), ("sum",)), (rows(3), ("sum",)))
    )
    assert answers[0]["sum"].tolist() == [2, 4]
    assert answers[1].status == 503


def test_a_thread_that_is_held_runs_what_it_is_asked_after_it_was_closed() -> None:
    """A model that is replaced answers to everyone who has found it before, and then its thread ends."""

    async def replaced(model: Gate, thread: ModelThread) -> dict[str, np.ndarray]:
        model.open.set()
        with thread.held():
            thread.close()
            answer = await thread.run(rows(1), ("sum",))
        thread.join(30)
        return answer

    model = Gate()
    thread = thread_of(model)
    assert asyncio.run(replaced(model, thread))["sum"].tolist() == [2]
    assert not thread.is_alive()


def test_a_model_computes_on_threads_of_its_own(unchanged_globals: None) -> None:
    """A model has its number of threads, and nobody else's changes."""

    class Counting(Gate):
        def run(self, inputs: Any, outputs: Any) -> Any:
            product = torch.ones(64, 64) @ torch.ones(64, 64)
            return {"sum": np.full(len(inputs["X"]), torch.get_num_threads() + 0 * product[0, 0].item())}

    async def count(n_threads: int) -> float:
        thread = ModelThread(
            Counting(),
            max_batch_rows=1,
            max_waiting_rows=1,
            threads=ThreadCount(n_threads),
            observe=lambda calls, rows: None,
        )
        with thread.held():
            answer = await thread.run(rows(1), ("sum",))
        thread.close()
        thread.join(30)
        return float(answer["sum"][0])

    assert [asyncio.run(count(n)) for n in (1, 3, 1)] == [1, 3, 1]


def test_a_model_that_mixes_up_rows_is_run_one_by_one() -> None:
    """A model that gives another number of rows than it got does not give one client the rows of another."""

    class Wrong(Gate):
        def run(self, inputs: Any, outputs: Any) -> Any:
            return {"sum": super().run(inputs, outputs)["sum"][:1]}

    model = Wrong()
    answers = asyncio.run(together(model, thread_of(model), (rows(1), ("sum",)), (rows(2), ("sum",))))
    assert [answer["sum"].tolist() for answer in answers] == [[2], [4]]
