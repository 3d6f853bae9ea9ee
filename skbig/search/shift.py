"""Workers from their launch to their end: they wait for one errand of a search after another."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Event, Thread
from typing import Any

from skbig.backends.folder import private_folder
from skbig.backends.launch import launch
from skbig.data.packing import hand_over

JOB = "skbig.search.labour:train_shares"

# What lies in the folder of a launch. The caller writes ERRAND, with its number, and OVER; workers REPORTS and DONE,
# with the errand's number and one of their own; both write STOP.
ERRAND = "errand"
DONE = "done"
STOP = "stop"
OVER = "over"
REPORTS = "reports"

# Seconds between two looks.
INTERVAL = 0.05


class Aborted(Exception):
    """Ends the workers at once."""


class Shift:
    """Workers that are started, and waited for on a thread, so that several errands can be handed to them.

    Parameters
    ----------
    backend : Backend
        One that spreads searches; it has `timeout` and `max_restarts`.
    device_type : {"cpu", "cuda"}
    n_workers : int

    Attributes
    ----------
    folder : Path
        Where errands and what comes of them lie.
    """

    def __init__(self, backend: Any, device_type: str, n_workers: int) -> None:
        self._stack = ExitStack()
        self.folder = self._stack.enter_context(private_folder())
        self._options: dict[str, Any] = {"n_workers": n_workers, "device_type": device_type}
        self._options |= {"timeout": backend.timeout, "max_restarts": backend.max_restarts}
        self._n_errands = 0
        self._aborted = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._wait, name="skbig-shift", daemon=True)
        self._thread.start()

    @property
    def is_on(self) -> bool:
        """Whether the workers have not ended."""
        return self._thread.is_alive()

    def hand(self, errand: Any) -> str:
        """Hand an errand to the workers; return how the names begin of what comes of it."""
        number = self._n_errands
        self._n_errands += 1
        hand_over(errand, self.folder / f"{ERRAND}-{number}")
        return f"{DONE}-{number}-"

    def stop(self) -> None:
        """Have the trainings end after their epoch."""
        (self.folder / STOP).touch()

    def end(self) -> None:
        """Let the workers go home when they are done, and wait; Ctrl-C ends them at once.

        Raises
        ------
        WorkerError
            When one of them has died.
        """
        (self.folder / OVER).touch()
        try:
            self._join()
        except KeyboardInterrupt:
            self._abort()
            raise
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Leave nothing behind, also when they are not done."""
        self._abort()
        self._stack.close()

    def _abort(self) -> None:
        self._aborted.set()
        self._join()

    def _join(self) -> None:
        while self._thread.is_alive():
            self._thread.join(INTERVAL)

    # In the thread; the first two are for the launch, whose attendant this is.

    def look(self) -> None:
        if self._aborted.is_set():
            raise Aborted

    def interrupted(self) -> None:
        """Not called: Ctrl-C reaches the main thread."""

    def _wait(self) -> None:
        try:
            launch(JOB, self.folder, **self._options, attendant=self)
        except Aborted:
            return
        except BaseException as error:
            self._error = error
