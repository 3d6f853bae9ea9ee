"""Death in tests: of a process by a signal, and of a fit at a moment between two changes of the disk."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skbig.engine import checkpoint as checkpoint_module
from skbig.engine.curve import Curve
from skbig.engine.line_search import LineSearchEpochs
from skbig.engine.minibatch import MiniBatchEpochs
from skbig.exceptions import CheckpointWarning

ROOT = Path(__file__).parents[1]
CHANGES_OF_THE_DISK = ("mkdir", "open", "fsync", "rename", "rmdir", "unlink")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")


class Died(BaseException):
    """Stands for SIGKILL: nobody cleans up."""


@contextmanager
def dying_at(count: int) -> Iterator[list[str]]:
    """Let a fit die before its so-manieth moment; after that nothing reaches the disk any more.

    A moment is a call that changes the disk, or an epoch. Between two of them only memory changes, which is lost with
    the process, so these are all the moments that can make a difference.
    """
    made: list[str] = []

    def wrapped(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) > count:
                raise Died
            return original(*args, **options)

        return function

    write = wrapped("write", open)

    def opened(path: Any, mode: str) -> Any:
        return open(path, mode) if mode == "rb" else write(path, mode)

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES_OF_THE_DISK:
            patch.setattr(os, name, wrapped(name, getattr(os, name)))
        patch.setattr(checkpoint_module, "open", opened, raising=False)
        for epochs in (MiniBatchEpochs, LineSearchEpochs):
            patch.setattr(epochs, "run", wrapped("epoch", epochs.run))
        patch.setattr(checkpoint_module, "_TOKEN", uuid.uuid4().hex)  # each is a process of its own
        yield made


def bits(value: Any) -> Any:
    """Return a value in which arrays are their dtype, shape and bits, so that == compares all of them."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: bits(item) for name, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple | Curve) else value


def learnt(estimator: Any) -> dict[str, Any]:
    """Return every bit of what a fit has come to, by name."""
    # A few steps that are left are not worth a recording, which has the bits of what is written.
    others = {*estimator.get_params(deep=False), "_skl_callbacks", "executor_"}
    return {name: bits(value) for name, value in vars(estimator).items() if name not in others}


def assert_same(actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Name what differs, rather than show all bits."""
    assert actual.keys() == expected.keys()
    assert not [name for name in expected if actual[name] != expected[name]]


def checkpoints_in(path: Path) -> list[Path]:
    return sorted(path.glob("checkpoint-*"))


class Nursery:
    """A process that has imported everything, and forks a child for each job: a fresh process within milliseconds."""

    def __init__(self) -> None:
        options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
        # A group of its own, so that its children end with it.
        self._process = subprocess.Popen([sys.executable, "-m", "tests.killing"], start_new_session=True, **options)

    def begin(self, job: Callable[..., None], *args: Any) -> None:
        """Start a function of a test module, and wait until it says that it begins."""
        self._write([job.__module__, job.__name__, *map(str, args)])
        assert self._read() == "begun"

    def end(self, number: int = 0) -> int:
        """Send a signal to the child, or 0, and return its exit code once it has ended: -9 after SIGKILL."""
        self._write([number])
        return int(self._read())

    def _write(self, message: list[Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], 120.0)  # each line answers one of ours
        assert ready, "a child says nothing"
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def begun() -> None:
    """Said by a job, where from now on it may be killed."""
    print("begun", flush=True)


def _serve() -> None:
    """Be a nursery: two lines per job, what to do and by which signal to end it."""
    while line := sys.stdin.readline():
        module, name, *args = json.loads(line)
        job = getattr(importlib.import_module(module), name)
        child = os.fork()
        if child == 0:
            _do(job, args)
        (number,) = json.loads(sys.stdin.readline())
        if number:
            os.kill(child, number)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _do(job: Callable[..., None], args: list[str]) -> None:
    """Do a job and end the process, so that nothing of the nursery runs twice."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", CheckpointWarning)  # a kill leaves nothing damaged
    code = 1
    try:
        job(*args)
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        if code == 1:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)


@contextmanager
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    try:
        yield opened
    finally:
        opened.close()


if __name__ == "__main__":
    _serve()
