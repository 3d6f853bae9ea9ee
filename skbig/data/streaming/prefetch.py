"""Work that runs ahead of its consumer, in one background thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
THREAD_NAME = "skbig-reading-ahead"


def prefetch(make: Callable[[], Iterator[Item | None]], n_ahead: int) -> Generator[Item, None, None]:
    """Yield what ``make()`` yields, while at most `n_ahead` further items are made in the background.

    The thread ends with the items, with an error of either side, and when the consumer stops early: it is gone when
    this generator has ended or was closed. An error of the thread is raised here, with its traceback.

    An item that takes long may be preceded by None, which is not passed on: there the thread can end.
    """
    ahead = _Ahead(make, n_ahead)
    try:
        ahead.start()
        while (item := ahead.next()) is not _END:
            yield item
    finally:
        try:
            ahead.stop()
        except BaseException:  # Ctrl-C, at a moment when the thread was not stopped, or not waited for
            ahead.stop()
            raise


_END: Any = object()


class _Ahead(Generic[Item]):
    """The thread, and what it has made."""

    def __init__(self, make: Callable[[], Iterator[Item | None]], n_ahead: int) -> None:
        self._make = make
        self._items: SimpleQueue[tuple[Item, BaseException | None]] = SimpleQueue()
        self._room = threading.Semaphore(n_ahead)
        self._stopped, self._ended = False, threading.Event()
        self._thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def next(self) -> Item:
        item, error = self._items.get()
        self._room.release()
        if error is None:
            return item
        try:
            raise error
        finally:
            del error  # its traceback holds this frame, and with it the items

    def stop(self) -> None:
        self._stopped = True
        self._room.release()
        if self._thread.ident is not None:
            self._ended.wait()  # which, unlike join in Python 3.11, can be interrupted and repeated
            self._thread.join()

    def _work(self) -> None:
        error = None
        try:
            self._make_items()
        except BaseException as raised:
            error = raised
        self._items.put((_END, error))
        self._ended.set()

    def _make_items(self) -> None:
        items = self._make()
        try:
            # The room is asked for first: an item that nobody has room for is not made.
            while self._wait_for_room() and (item := self._next_of(items)) is not _END:
                self._items.put((item, None))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _next_of(self, items: Iterator[Item | None]) -> Item:
        for item in items:
            if self._stopped:
                break
            if item is not None:
                return item
        return _END

    def _wait_for_room(self) -> bool:
        self._room.acquire()
        return not self._stopped
