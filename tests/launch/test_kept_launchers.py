"""A launcher that has loaded torch stays for the next launch in the same surroundings, and for nobody else."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from skbig.exceptions import WorkerError
from skbig.launch import kept_launchers, launcher, launcher_process
from skbig.launch.kept_launchers import LauncherHandle, end_kept, surroundings_of
from skbig.launch.launch_options import LaunchOptions
from skbig.launch.launcher import launch
from skbig.launch.launcher_process import BADLY, LaunchRequest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(autouse=True)
def none_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin and end without a launcher that waits."""
    monkeypatch.syspath_prepend(HERE)
    end_kept()
    yield
    end_kept()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that launches a job in a folder of its own, and returns what the first rank says."""

    def run(job: str = "add", **options: Any) -> Any:
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        folder.mkdir()
        launch(f"worker_jobs:{job}", folder, LaunchOptions(**{"n_workers": 2, "threads_per_worker": 1} | options))
        return json.loads((folder / "says-0.json").read_text())

    return run


def kept() -> list[int]:
    return [each.process.pid for each in kept_launchers._kept]


@pytest.mark.thorough
def test_what_a_later_launch_loads_leaves_nothing_of_an_earlier_one(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that makes a folder as it is loaded, as torch's compiler does, makes it where the launch has its own."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "making_a_folder.py").write_text(MAKING)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    run()
    earlier = tmp_path / "1" / "launch"
    shutil.rmtree(earlier)
    run(modules=("making_a_folder",))
    assert len(kept()) == 1
    assert not earlier.exists()


MAKING = """
import os
os.makedirs(os.environ["TORCHINDUCTOR_CACHE_DIR"])
"""


def test_one_launcher_serves_one_launch_after_the_other(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers have the environment, the directory and the path of their own launch; a failure does not end it.

    What they draw without a seed is not what others draw, and a launcher that waits holds no file of a launch.
    """
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")  # which is not there yet
    run()
    first = kept()
    assert len(first) == 1
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "jobs_of_now.py").write_text(DRAWING)
    with pytest.raises(WorkerError, match="KeyError: 'a column that is not there'"):
        run("fail")
    assert run(n_workers=1)["directory"] == str(tmp_path / "elsewhere")
    launch("jobs_of_now:draw", tmp_path, LaunchOptions(2, threads_per_worker=1))
    drawn = [json.loads((tmp_path / f"draws-{rank}").read_text()) for rank in range(2)]
    shutil.rmtree(tmp_path / "elsewhere")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert run()["directory"] == "/"
    assert drawn[0] != drawn[1]
    assert kept() == first
    assert not psutil.Process(first[0]).open_files() and psutil.Process(first[0]).cwd() == "/"
    assert not psutil.Process(first[0]).children()


DRAWING = """
import json
import numpy as np
def draw(folder, context):
    (folder / f"draws-{context.rank}").write_text(json.dumps(np.random.rand(3).tolist()))
"""


@pytest.mark.thorough
def test_other_surroundings_have_a_launcher_of_their_own(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libraries read when they are loaded is that of this launch; and no more than so many launchers wait."""
    monkeypatch.setattr(kept_launchers, "N_KEPT", 1)
    assert run(threads_per_worker=1)["threads"] == 1
    (first,) = kept()
    assert run(threads_per_worker=2)["threads"] == 2
    assert len(kept()) == 1 and kept() != [first]
    assert not psutil.pid_exists(first)


@pytest.mark.thorough
def test_a_launcher_that_is_gone_or_may_be_about_to_end_is_not_asked(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher that somebody has killed is missed by nobody, and one that has waited for long is left alone.

    What is printed wherever an interpreter starts is no answer; and a launch that has ended well has, whatever
    somebody else has told the launcher since.
    """
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('good morning')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with monkeypatch.context() as patch:
        keep = launcher.keep
        patch.setattr(launcher, "keep", lambda handle: (keep(handle), setattr(handle, "answer", BADLY)))
        run()
    (pid,) = kept()
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)], timeout=10)
    assert run()["total"] == 3.0
    (second,) = kept()
    monkeypatch.setattr(kept_launchers, "MARGIN", launcher_process.IDLE)
    assert second != pid and run()["total"] == 3.0
    assert second in kept() and len(kept()) == 2


def test_a_launcher_with_other_rights_is_not_asked(tmp_path: Path) -> None:
    """What a process passes on to those that it starts is that of now: a umask, limits, and who it is."""
    launched = LaunchRequest("job", str(tmp_path), 1, "cpu", 1.0, 0, "/", {}, [], forks=True, modules=[])
    before = surroundings_of(launched)
    assert before == surroundings_of(launched) != surroundings_of(replace(launched, environment={"A": "B"}))
    umask = os.umask(0o077)
    try:
        assert surroundings_of(launched) != before
    finally:
        os.umask(umask)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard if soft != hard else 0, hard))
    try:
        assert surroundings_of(launched) != before
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    assert surroundings_of(launched) == before
    assert surroundings_of(replace(launched, forks=False)) is None


@pytest.mark.thorough
def test_where_a_fork_would_not_do_workers_are_interpreters_and_nothing_stays(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS, and for CUDA devices, each worker is started anew, with all that it has on Linux."""
    monkeypatch.setattr(LaunchOptions, "forks", False)
    before = {child.pid for child in psutil.Process().children()}
    says = run()
    assert (says["total"], says["threads"], says["size"], says["known"]) == (3.0, 1, 2, True)
    assert says["directory"] == os.getcwd() and says["outer"] is None
    assert not kept() and {child.pid for child in psutil.Process().children()} <= before


@pytest.mark.parametrize(("parent", "idle"), [("this", 0.0), ("gone", 300.0)])
def test_a_launcher_that_nobody_asks_ends(parent: str, idle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for so long, and not at all when the caller is gone, though a fork of that holds the pipe."""
    reading, writing = os.pipe()
    monkeypatch.setattr(launcher_process, "IDLE", idle)
    with open(reading) as stdin, open(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", stdout)
        caller = launcher_process.Caller(os.getppid() if parent == "this" else 0)
        assert caller.next_launch() is None
        os.close(caller.answers)


ENDING_BEFORE_ITS_CHILD = "import os, time; os.fork() and os._exit(0); time.sleep(60)"


def test_the_end_of_a_launcher_is_seen_though_its_pipe_is_held() -> None:
    """A process that some thread has forked may hold the other end for long."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-S", "-c", ENDING_BEFORE_ITS_CHILD], **pipes) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        handle = LauncherHandle(process, None)
        last = time.monotonic() + 10
        while not handle.has_answered() and time.monotonic() < last:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert handle.answer == b""


CALLER = f"""
import os, sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]
from pathlib import Path
from skbig.launch import kept_launchers
from skbig.launch.launch_options import LaunchOptions
from skbig.launch.launcher import launch
launch("worker_jobs:add", Path(sys.argv[1]), LaunchOptions(1))
pid = kept_launchers._kept[0].process.pid
child = os.fork()
if child == 0:  # it does not talk to its parent's launcher, nor does its end end it
    sys.exit(len(kept_launchers._kept))
assert os.waitpid(child, 0)[1] == 0
launch("worker_jobs:add", Path(sys.argv[1]), LaunchOptions(1))
assert kept_launchers._kept[0].process.pid == pid
print(pid, flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [pytest.param(None, marks=pytest.mark.thorough), signal.SIGKILL])
def test_a_launcher_ends_with_its_caller(tmp_path: Path, number: signal.Signals | None) -> None:
    """However the caller ends, nothing that it has kept stays."""
    words = [sys.executable, "-W", "error", "-c", CALLER, str(tmp_path), "0" if number is None else "600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        if number is not None:
            caller.send_signal(number)
        assert caller.communicate(timeout=60) == ("", "")
    last = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < last:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
