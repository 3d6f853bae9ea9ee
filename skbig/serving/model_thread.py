"""A model on a thread of its own, which runs the requests that wait together as one batch.

Nobody waits for a batch to fill: what has come while the model was busy is the next batch. A single client is served
at once, and many are served together.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from skbig.serving.errors import RequestError
from skbig.serving.model import ServedModel
from skbig.serving.thread_count import ThreadCount

Tensors = dict[str, np.ndarray]
Answer = Tensors | BaseException


@dataclass(frozen=True)
class _Call:
    inputs: Tensors
    n_rows: int
    outputs: tuple[str, ...]
    answer: asyncio.Future[Tensors]

    def kind(self) -> Any:
        """Calls of one kind can be run together."""
        return self.outputs, [tensor.shape[1:] for tensor in self.inputs.values()]


class ModelThread:
    """Runs one model for the event loop in which its calls are made.

    Parameters
    ----------
    model : ServedModel
    max_batch_rows : int
        Calls are put together up to so many rows; 1 means that each is run by itself.
    max_waiting_rows : int
        A call that would make more rows wait is refused.
    threads : ThreadCount
        On which this model computes, whatever holds elsewhere in the process.
    observe : callable
        Told, on the thread, of each batch: how many calls and how many rows.
    """

    def __init__(
        self,
        model: ServedModel,
        *,
        max_batch_rows: int,
        max_waiting_rows: int,
        threads: ThreadCount,
        observe: Callable[[int, int], None],
    ) -> None:
        self.model = model
        fixed = any(spec.shape[0] != -1 for spec in (*model.inputs, *model.outputs))
        self._max_batch_rows = 1 if fixed else max_batch_rows
        self._max_waiting_rows, self._waiting_rows = max_waiting_rows, 0
        self._observe, self._threads = observe, threads
        self._holders, self._closing = 0, False
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="skbig-model", daemon=True)
        self._thread.start()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the thread from ending within the block, in which `run` is called."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            self._end_if_free()

    async def run(self, inputs: Tensors, outputs: tuple[str, ...]) -> Tensors:
        """Return the outputs for these rows."""
        n_rows = len(next(iter(inputs.values())))
        if self._waiting_rows and self._waiting_rows + n_rows > self._max_waiting_rows:
            raise RequestError("Too many rows wait for this model. Try again later.", 503)
        answer: asyncio.Future[Tensors] = asyncio.get_running_loop().create_future()
        self._waiting_rows += n_rows
        try:
            self._calls.put(_Call(inputs, n_rows, outputs, answer))
            return await answer
        finally:
            self._waiting_rows -= n_rows

    def close(self) -> None:
        """End the thread, when nobody holds it any more."""
        self._closing = True
        self._end_if_free()

    def _end_if_free(self) -> None:
        if self._closing and not self._holders:
            self._calls.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(seconds)

    def is_alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def _work(self) -> None:
        self._threads.apply()
        waiting: deque[_Call] = deque()
        open_ = True
        while open_ or waiting:
            if not waiting:
                open_ = self._take(self._calls.get(), waiting) and open_
            while open_:
                try:
                    open_ = self._take(self._calls.get_nowait(), waiting)
                except Empty:
                    break
            if waiting:
                self._run_batch(_next_batch(waiting, self._max_batch_rows))

    @staticmethod
    def _take(call: _Call | None, waiting: deque[_Call]) -> bool:
        """Let a call wait for its turn; False at the end of all calls."""
        if call is None:
            return False
        if not call.answer.done():  # its client has gone, or its time is over
            waiting.append(call)
        return True

    def _run_batch(self, batch: list[_Call]) -> None:
        self._observe(len(batch), sum(call.n_rows for call in batch))
        answers = self._answers(batch)
        with suppress(RuntimeError):  # the event loop has ended, and everyone who waited in it is gone
            batch[0].answer.get_loop().call_soon_threadsafe(_deliver, list(zip(batch, answers, strict=True)))

    def _answers(self, batch: list[_Call]) -> Iterable[Answer]:
        """Run the calls together, or, where that fails, each by itself: only who is at fault gets the error."""
        try:
            return list(_parts(self.model.run(_joined(batch), batch[0].outputs), batch))
        except BaseException as error:
            if len(batch) == 1:
                return [error]
            return [answer for call in batch for answer in self._answers([call])]


def _next_batch(waiting: deque[_Call], max_rows: int) -> list[_Call]:
    """Take the first call that waits, and those of its kind that fit beside it."""
    batch = [waiting.popleft()]
    n_rows, kind, others = batch[0].n_rows, batch[0].kind(), deque[_Call]()
    while waiting and n_rows < max_rows:
        call = waiting.popleft()
        if call.kind() == kind and n_rows + call.n_rows <= max_rows:
            batch.append(call)
            n_rows += call.n_rows
        else:
            others.append(call)
    waiting.extendleft(reversed(others))
    return batch


def _joined(batch: list[_Call]) -> Tensors:
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([call.inputs[name] for call in batch]) for name in batch[0].inputs}


def _parts(outputs: Tensors, batch: list[_Call]) -> Iterator[Tensors]:
    """Cut what came out into the rows of each call."""
    n_rows = sum(call.n_rows for call in batch)
    wrong = [name for name, tensor in outputs.items() if len(tensor) != n_rows]
    if wrong and len(batch) > 1:
        raise RuntimeError(f"The model gave {len(outputs[wrong[0]])} rows of {wrong[0]!r} for {n_rows}.")
    start = 0
    for call in batch:
        yield outputs if len(batch) == 1 else {k: v[start : start + call.n_rows] for k, v in outputs.items()}
        start += call.n_rows


def _deliver(answers: list[tuple[_Call, Answer]]) -> None:
    """Give each call its answer, in the event loop; nobody may wait for it any more."""
    for call, answer in answers:
        if call.answer.done():
            continue
        if isinstance(answer, BaseException):
            call.answer.set_exception(answer)
        else:
            call.answer.set_result(answer)
