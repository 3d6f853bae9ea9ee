"""Worker processes do their job, or are missed by name; and none is left, whoever dies first."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from skbig.exceptions import WorkerError
from skbig.launch.launch_options import LaunchOptions
from skbig.launch.launcher import launch

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(autouse=True)
def jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs be found on this process's path only, and let an outer launch have left its wishes."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("RANK", "7")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nowhere0")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def wait_for(*paths: Path, seconds: float = 60) -> None:
    last = time.monotonic() + seconds
    while not all(path.exists() for path in paths):
        assert time.monotonic() < last, f"There is none of {paths}."
        time.sleep(0.02)


def processes(folder: Path) -> list[psutil.Process]:
    """Return all processes, but for this one, that hold a file of a folder open: workers and launchers hold a log."""
    return [each for each in psutil.process_iter() if each.pid != os.getpid() and holds(each, folder)]


def holds(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(str(folder) in file.path for file in process.open_files())
    except (psutil.Error, OSError):  # it has just ended, or is another user's
        return False


def listening(process: Any) -> list[tuple[str, int]]:
    """Return where a process waits for connections, or for whatever is sent to it."""
    sockets = process.net_connections("inet")
    return [tuple(each.laddr) for each in sockets if each.status in ("LISTEN", "NONE")]


def script(body: str, folder: Path) -> subprocess.Popen[str]:
    """Start Python with a program on its standard input: it has no file, and no main guard."""
    head = f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]\nfrom pathlib import Path\n"
    head += "from skbig.launch.launch_options import LaunchOptions\nfrom skbig.launch.launcher import launch\n"
    head += f"folder = Path({str(folder)!r})\n"
    program = folder / "program"
    program.write_text(head + body)
    with program.open() as file:
        return subprocess.Popen([sys.executable, "-"], stdin=file, stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("unchanged_globals")
def test_ranks_work_together(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two workers form one group, and the caller sees nothing of them but their files.

    While they work, only they listen, each at one port of this machine; the launcher and the caller do not.
    """
    before = (os.getcwd(), list(sys.path), signal.getsignal(signal.SIGTERM))
    listened, found = {*listening(psutil.Process())}, dict[int, Any]()

    def look() -> None:
        if found or not all((tmp_path / f"waits-{rank}.json").exists() for rank in range(2)):
            return
        found.update({process.pid: listening(process) for process in processes(tmp_path)})
        assert {*listening(psutil.Process())} <= listened
        (tmp_path / "seen").touch()

    launch("worker_jobs:add_and_wait", tmp_path, LaunchOptions(2, threads_per_worker=3), look)
    workers = {read(tmp_path / f"waits-{rank}.json") for rank in range(2)}
    assert workers < found.keys() and len(found) == 3
    assert {pid for pid, sockets in found.items() if sockets} == workers
    assert [len(found[pid]) for pid in workers] == [1, 1]
    assert {host for sockets in found.values() for host, _ in sockets} == {"127.0.0.1"}
    assert (os.getcwd(), list(sys.path), signal.getsignal(signal.SIGTERM)) == before
    says = [read(tmp_path / f"says-{rank}.json") for rank in range(2)]
    assert says == 2 * [
        {
            "total": 3.0,
            "threads": 3,
            "known": True,
            "outer": None,
            "size": 2,
            "device": "cpu",
            "directory": os.getcwd(),
        }
    ]
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "launch" / "rank-1.log").read_text() == "rank 1 speaks\n"
    assert processes(tmp_path) == []


TWO_AT_ONCE = """
import json, threading, time
from skbig.exceptions import WorkerError
def run(job):
    (folder / job).mkdir()
    try:
        launch(f"worker_jobs:{job}", folder / job, LaunchOptions(2))
        errors[job] = None
    except WorkerError as error:
        errors[job] = {"after": time.time(), "message": str(error), **vars(error)}
errors = {}
threads = [threading.Thread(target=run, args=[job]) for job in ["add", "fail"]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(errors))
"""


@pytest.mark.thorough
def test_two_at_once_from_threads_of_a_script_without_a_file(tmp_path: Path) -> None:
    """One launch fails with what its worker raised; the other does not notice."""
    output, _ = script(TWO_AT_ONCE, tmp_path).communicate(timeout=60)
    errors = json.loads(output)
    assert errors["add"] is None
    assert read(tmp_path / "add" / "says-0.json")["total"] == 3.0
    error = errors["fail"]
    assert error["after"] - read(tmp_path / "fail" / "failed.json") < 10
    assert (error["rank"], error["error_type"], error["signal"]) == (1, "KeyError", None)
    assert error["message"].startswith("rank 1 raised KeyError: 'a column that is not there'")
    assert "in fail" in error["traceback"]
    assert processes(tmp_path) == []


def test_a_killed_worker_is_named(tmp_path: Path) -> None:
    """The error has the rank and the signal, and comes soon, though the other worker neither notices nor obeys."""
    with pytest.raises(WorkerError, match="rank 1 was killed by SIGKILL") as caught:
        launch("worker_jobs:die", tmp_path, LaunchOptions(2))
    assert time.time() - read(tmp_path / "died.json") < 10
    assert (caught.value.rank, caught.value.signal, caught.value.traceback) == (1, "SIGKILL", None)
    assert processes(tmp_path) == []


def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    """With a restart left, all workers begin again, and end well."""
    launch("worker_jobs:die_once", tmp_path, LaunchOptions(2, max_restarts=1))
    assert (tmp_path / "died.json").exists()
    says = [read(tmp_path / f"says-{rank}.json") for rank in range(2)]
    assert [each["total"] for each in says] == [3.0, 3.0]
    # Unless told otherwise, they share what torch would use in this process.
    assert 2 <= sum(each["threads"] for each in says) <= max(2, torch.get_num_threads())


def test_a_silent_worker_is_named(tmp_path: Path) -> None:
    """Of two that give no sign of life, the one that the other waits for is named, with the place where it is."""
    with pytest.raises(WorkerError, match="rank 1 has shown no progress for 2 s") as caught:
        launch("worker_jobs:hang", tmp_path, LaunchOptions(2, timeout=2))
    assert caught.value.rank == 1
    assert "in sleep_on" in str(caught.value)
    assert processes(tmp_path) == []


@pytest.mark.thorough
def test_a_worker_that_stops_while_it_starts_is_named(tmp_path: Path) -> None:
    """Who does not go on before its function begins is missed as soon as who does not later, and the others are not."""
    with pytest.raises(WorkerError, match="rank 1 has not started, or not ended, within 5 s") as caught:
        launch("worker_jobs_hanging:add", tmp_path, LaunchOptions(2, timeout=5))
    assert caught.value.rank == 1
    assert "in sleep_on" in str(caught.value)
    assert processes(tmp_path) == []


def test_an_interrupted_caller_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C ends the workers, also one that is deaf to SIGTERM, and is a KeyboardInterrupt of the caller."""

    def interrupt() -> None:
        wait_for(tmp_path / "stays-0.json")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        launch("worker_jobs:stay", tmp_path, LaunchOptions(1))
    assert processes(tmp_path) == []


@pytest.mark.thorough
def test_a_killed_caller_leaves_no_process(tmp_path: Path) -> None:
    """Launcher and workers are gone within five seconds, also one that is deaf to SIGTERM."""
    signals = (signal.SIGKILL, signal.SIGTERM)
    folders = [tmp_path / number.name for number in signals]
    for folder in folders:
        folder.mkdir()
    sizes = (2, 1)
    callers = [
        script(f"launch('worker_jobs:stay', folder, LaunchOptions({size}))", folder)
        for folder, size in zip(folders, sizes, strict=True)
    ]
    wait_for(*(folder / f"stays-{size - 1}.json" for folder, size in zip(folders, sizes, strict=True)))
    for caller, number in zip(callers, signals, strict=True):
        caller.send_signal(number)
    last = time.monotonic() + 5
    while processes(tmp_path) and time.monotonic() < last:
        time.sleep(0.05)
    assert processes(tmp_path) == []
    assert [caller.wait() for caller in callers] == [-number for number in signals]
    for caller in callers:
        caller.communicate()


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_workers": 0},
        {"n_workers": 1, "timeout": 0},
        {"n_workers": 1, "threads_per_worker": 0},
        {"n_workers": 1, "device_type": "tpu"},
    ],
)
def test_wrong_parameters_start_nothing(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """What cannot be launched is an error before anything is written."""
    with pytest.raises(ValueError, match="must be"):
        launch("worker_jobs:add", tmp_path, LaunchOptions(**wrong))
    assert list(tmp_path.iterdir()) == []


def test_the_error_is_the_same_after_pickling() -> None:
    """A WorkerError comes out of a joblib worker whole."""
    error = WorkerError("rank 1 was killed by SIGKILL.", rank=1, signal="SIGKILL")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), vars(copy)) == (str(error), vars(error))
