"""Workers that do one task after another, while their caller looks after them and goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from threading import Event, Thread
from typing import Any, Self

from skbig.launch.launch_options import LaunchOptions
from skbig.launch.launcher import launch
from skbig.launch.mailbox import CLOSED, INTERVAL, STOP, Mailbox
from skbig.launch.scratch_dir import scratch_dir


class _Aborted(Exception):
    """Ends the workers at once."""


class WorkerPool:
    """Workers that are started at once, and are waited for on a thread, so that they can be given several tasks.

    Each takes its tasks from the mailbox, by ``Mailbox(folder).tasks(context)``, until it is closed.

    Parameters
    ----------
    job : str
        "package.module:function", as for `launch`.
    options : LaunchOptions

    Attributes
    ----------
    mailbox : Mailbox
        Where tasks and what comes of them lie.
    """

    def __init__(self, job: str, options: LaunchOptions) -> None:
        self._job, self._options = job, options
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch_dir())
        self.mailbox = Mailbox(self._folder)
        self._n_tasks = 0
        # Events, and not the thread's own end: a `Thread.join` that Ctrl-C interrupts takes the thread for ended.
        self._aborted, self._ended = Event(), Event()
        self._error: BaseException | None = None
        Thread(target=self._run, name="skbig-workers", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def give(self, task: Any, *, last: bool = False) -> int:
        """Give a task to the workers, and return its number; after the last one they end."""
        number = self._n_tasks
        self._n_tasks += 1
        self.mailbox.put_task(number, task)
        if last:
            self.mailbox.set(CLOSED)
        return number

    def wait(self, look: Callable[[], bool]) -> bool:
        """Call `look` from time to time, until it returns true or the workers have ended.

        On Ctrl-C the workers are asked to come to an end, and are waited for; a second one is raised.

        Returns
        -------
        interrupted : bool
            Whether Ctrl-C was pressed.

        Raises
        ------
        WorkerError
            When a worker has failed.
        """
        try:
            self._wait(look)
            return False
        except KeyboardInterrupt:
            for flag in (STOP, CLOSED):
                self.mailbox.set(flag)
            self._wait(lambda: look() and False)
            return True

    def _wait(self, look: Callable[[], bool]) -> None:
        while not self._ended.is_set() and not look():
            self._ended.wait(INTERVAL)
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Let the workers end when they have done their tasks, and wait for that.

        Raises
        ------
        WorkerError
            When one of them fails.
        """
        self.mailbox.set(CLOSED)
        self._wait(lambda: False)

    def close(self) -> None:
        """Leave nothing behind, also when the workers are not done."""
        self._aborted.set()
        try:
            self._ended.wait()
        finally:
            self._stack.close()

    # On the thread.

    def _run(self) -> None:
        try:
            launch(self._job, self._folder, self._options, self._raise_if_aborted)
        except _Aborted:
            return
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def _raise_if_aborted(self) -> None:
        if self._aborted.is_set():
            raise _Aborted
