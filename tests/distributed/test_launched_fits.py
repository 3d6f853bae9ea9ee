"""`fit` with backend=DDP(...): workers are started, heard, asked and missed; what they learn is another law's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import joblib
import numpy as np
import pytest
import torch
from torch import distributed
from torch.distributed.nn.jit import instantiator

from skbig import DDP, FSDP, BigGridSearchCV, BigMLPClassifier, BigMLPRegressor, TensorParallel
from skbig.components import LBFGS
from skbig.data import open_csr, save_csr
from skbig.distributed import placement
from skbig.distributed.backend import Backend
from skbig.estimators import fit_worker
from skbig.estimators.session import Session
from skbig.exceptions import DivergenceError, InterruptedWarning, WorkerError
from skbig.launch import worker_pool
from skbig.launch.launch_options import LaunchOptions
from skbig.launch.mailbox import CLOSED, STOP, Mailbox
from skbig.launch.worker_context import WorkerContext
from tests.laws.rank_jobs import (
    CLASSES,
    FITS,
    INEXACT,
    SPARSE,
    VALUES,
    X,
    classifier,
    fitted_alone,
    learnt,
    quiet,
    regressor,
)
from tests.laws.test_ranks_agree import TOLERANCE, assert_equal

ROOT = Path(__file__).parents[2]
TWO = DDP(n_workers=2)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let temporary files lie in an own folder, of which nothing is left in the end, nor any process that names it."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert [path for path in place.iterdir() if not of_torch(path)] == []
    assert not processes(place)


def of_torch(path: Path) -> bool:
    """Whether torch has made it: old versions do so as they are imported, and a kill leaves it there."""
    names = [inner.name for inner in path.iterdir()] if path.is_dir() else [path.name]
    of_import = all(name.startswith(("_remote_module", "__pycache__")) for name in names)
    return path.name.startswith("torchinductor") or (of_import and hasattr(instantiator, "_TEMP_DIR"))


def processes(place: Path) -> list[str]:
    lines = subprocess.run(["ps", "-axo", "command="], capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if str(place) in line]


def wait_for(path: Path, seconds: float = 60) -> None:
    last = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < last, f"There is no {path}."
        time.sleep(0.01)


class Loss:
    """A squared error that does something in one rank, in the so-manieth batch."""

    def __init__(self, act: Callable[[], None], batch: int, rank: int = 1) -> None:
        self.act, self.batch, self.rank, self.count = act, batch, rank, 0

    def __call__(self, raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if distributed.is_initialized() and distributed.get_rank() == self.rank:
            self.count += 1
            if self.count == self.batch:
                self.act()
        return (raw - y).square()


# With workers: each of these starts some, which takes seconds.


OTHERS = """
import sys, tempfile, threading
import joblib
result, tempfile.tempdir, *seeds = sys.argv[1:]
from skbig import DDP
from tests.laws.rank_jobs import VALUES, X, learnt, regressor
models = {}
def fit(seed):
    models[seed] = learnt(regressor(backend=DDP(2), random_state=seed).fit(X, VALUES))
threads = [threading.Thread(target=fit, args=[int(seed)]) for seed in seeds]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
joblib.dump(models, result)
"""


@pytest.mark.thorough
@pytest.mark.usefixtures("unchanged_globals")
def test_fits_at_once_from_threads_and_programs(tmp_path: Path, temporary: Path) -> None:
    """Two threads of each of two programs start two workers each; every fit is that of one process, and harms none."""
    command = [sys.executable, "-c", OTHERS, str(tmp_path / "result"), str(temporary), "1", "2"]
    script = subprocess.Popen(command, cwd=ROOT)
    names = ("held out rows, accuracy", "sparse, members")
    models: dict[str, Any] = {}

    def fit(name: str) -> None:
        models[name] = FITS[name](TWO)

    threads = [threading.Thread(target=fit, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        assert_equal(learnt(models[name]), fitted_alone(name), TOLERANCE)
    assert script.wait(timeout=300) == 0
    others = joblib.load(tmp_path / "result")
    assert sorted(others) == [1, 2]
    for seed, model in others.items():
        assert_equal(model, learnt(regressor(random_state=seed).fit(X, VALUES)), TOLERANCE)


@pytest.mark.thorough
def test_a_killed_worker(tmp_path: Path) -> None:
    """The error names rank and signal, and comes soon; the estimator is what it was, and fits again."""
    mark = tmp_path / "killed"

    def die() -> None:
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    model = regressor().fit(X, VALUES)
    model.set_params(backend=TWO, loss=Loss(die, batch=4))
    before = joblib.hash(learnt(model))
    with pytest.raises(WorkerError, match="rank 1 was killed by SIGKILL") as caught:
        model.fit(X, VALUES)
    assert time.time() - mark.stat().st_mtime < 10
    assert (caught.value.rank, caught.value.signal) == (1, "SIGKILL")
    assert joblib.hash(learnt(model)) == before
    again = model.set_params(loss="squared_error", backend=None).fit(X, VALUES)
    assert_equal(learnt(again), learnt(regressor().fit(X, VALUES)), 0.0)


@pytest.mark.parametrize("kind", [DDP, pytest.param(FSDP, marks=pytest.mark.thorough)])
def test_a_killed_worker_is_started_again(kind: type[Backend], tmp_path: Path) -> None:
    """With a restart and a directory of checkpoints, a fit goes on by itself where it was last saved."""
    mark, calls = tmp_path / "killed", tmp_path / "calls"

    def die() -> None:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def count() -> None:
        calls.write_text(calls.read_text() + "." if calls.exists() else ".")

    class Counting(Loss):
        def __call__(self, raw: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            if mark.exists() and distributed.is_initialized() and distributed.get_rank() == 0:
                count()
            return super().__call__(raw, y)

    saving = {"checkpoint_dir": tmp_path / "checkpoints", "checkpoint_every": 1}
    loss = Counting(die, batch=4 * 4 + 2)
    model = regressor(backend=kind(2, max_restarts=1), loss=loss, dropout=0.2, **saving).fit(X, VALUES)
    alone = regressor(loss=lambda raw, y: (raw - y).square(), dropout=0.2).fit(X, VALUES)
    assert_equal(learnt(model), learnt(alone), TOLERANCE)
    assert mark.exists() and len(calls.read_text()) <= 2 * 4 + 2


@pytest.mark.parametrize("kind", [DDP, pytest.param(TensorParallel, marks=pytest.mark.thorough)])
def test_ctrl_c_keeps_the_model_so_far(kind: type[Backend], tmp_path: Path) -> None:
    """Interrupted once, all ranks end after the same step, and `fit` has what they learnt."""
    mark = tmp_path / "trains"

    def press() -> None:
        wait_for(mark)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    model = regressor(backend=kind(2), loss=Loss(mark.touch, batch=30), max_iter=10**6, tol=0.0, n_members=3)
    with pytest.warns(InterruptedWarning, match="so far is kept"):
        model.fit(X, VALUES)
    assert model.stop_reason_ == "interrupted"
    assert 5 < len(model.loss_curve_) == model.n_iter_ < 10**6
    assert model.loss_ < model.loss_curve_[0] and model.predict(X).shape == VALUES.shape


SCRIPT = """
import sys, tempfile
tempfile.tempdir, place = sys.argv[1:]
from skbig import DDP
from tests.distributed.test_launched_fits import LONG
from tests.laws.rank_jobs import VALUES, X, regressor
regressor(backend=DDP(2), checkpoint_dir=place, verbose=1, **LONG).fit(X, VALUES)
"""
LONG: dict[str, Any] = {"max_iter": 2000, "n_iter_no_change": 2000, "checkpoint_every": 10**6, "optimizer": "sgd"}


@pytest.mark.thorough
def test_sigterm_saves_and_ends(tmp_path: Path, temporary: Path) -> None:
    """A script on standard input, ended by SIGTERM, leaves a checkpoint from which also a fit without ranks goes on."""
    place = tmp_path / "checkpoints"
    arguments = [sys.executable, "-", str(temporary), str(place)]
    script = subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert script.stdin is not None and script.stderr is not None
    script.stdin.write(SCRIPT)
    script.stdin.close()
    said = ""
    while "loss" not in said:  # until it trains
        letter = script.stderr.read(1)
        assert letter, said
        said += letter
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=30) == -signal.SIGTERM
    script.stderr.close()
    assert [path.name for path in place.iterdir()] == ["checkpoint-0000000001"]
    began = []
    model = regressor(checkpoint_dir=place, **LONG)
    fit = Session.fit
    with mock.patch.object(Session, "fit", lambda session: (began.append(session.members.epochs), fit(session))):
        model.fit(X, VALUES)
    assert 0 < began[0] < LONG["max_iter"] == model.n_iter_
    np.testing.assert_allclose(model.coefs_[0], regressor(**LONG).fit(X, VALUES).coefs_[0], rtol=1e-6)


# Without workers: the caller's side and the worker's, on two threads of this process.


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the only worker be a thread; return how many workers each launch asked for."""
    launched: list[int] = []
    ended: list[Any] = []  # torch 2.6 may wait for ever for a thread of a group that is freed while it ends

    def launch(job: str, folder: Path, options: LaunchOptions, while_waiting: Callable[[], None]) -> None:
        launched.append(options.n_workers)
        errors: list[BaseException] = []

        def work() -> None:
            distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
            try:
                fit_worker.train_part(folder, WorkerContext(0, 0, 1, torch.device("cpu")))
            except BaseException as error:
                errors.append(error)
            finally:
                ended.append(distributed.group.WORLD)
                distributed.destroy_process_group()

        worker = threading.Thread(target=work)
        worker.start()
        try:
            while worker.is_alive():
                while_waiting()
                time.sleep(0.001)
        finally:
            for flag in (STOP, CLOSED):
                Mailbox(folder).set(flag)
            worker.join()
        if errors:
            raise WorkerError(f"rank 0 raised {errors[0]!r}", rank=0) from errors[0]

    monkeypatch.setattr(worker_pool, "launch", launch)
    # The group that this process is in is the worker's alone.
    monkeypatch.setattr(placement, "existing_context", lambda *wanted: None)
    return launched


@pytest.mark.crossed
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in FITS for kind in (DDP, FSDP, TensorParallel) if kind is DDP or name != "privacy"],
)
def test_a_fit_by_a_worker_is_that_of_this_process(name: str, kind: type[Backend], near: list[int]) -> None:
    """Nothing is lost on the way to a worker and back."""
    actual = learnt(quiet(lambda: FITS[name](kind(2))))
    assert_equal(actual, fitted_alone(name), INEXACT.get(name, TOLERANCE))
    assert set(near) == {2}


@pytest.mark.parametrize("kind", ["dense", "sparse", "hdf5"])
def test_rows_that_are_read_from_where_they_lie(
    kind: str, near: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker reads what does not fit in memory itself, in the order in which this process would."""
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    rows: Any
    if kind == "sparse":
        save_csr(tmp_path / "rows", SPARSE)
        rows = open_csr(tmp_path / "rows")
    elif kind == "dense":
        np.save(tmp_path / "rows.npy", X)
        rows = np.load(tmp_path / "rows.npy", mmap_mode="r")[1:]
    else:
        h5py = pytest.importorskip("h5py")
        h5py.File(tmp_path / "rows.h5", "w").create_dataset("group/X", data=X)
        rows = h5py.File(tmp_path / "rows.h5", "r")["group/X"]
    y, early = VALUES[len(VALUES) - rows.shape[0] :], {"early_stopping": True, "scoring": None}
    fits = [regressor(backend=backend, **early).fit(rows, y) for backend in (TWO, None)]
    assert_equal(learnt(fits[0]), learnt(fits[1]), TOLERANCE)
    assert near == [2]


@pytest.mark.usefixtures("near")
def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The progress line is shown where `fit` was called, up to the last epoch."""
    regressor(backend=TWO, verbose=1).fit(X, VALUES)
    assert "6/6" in capsys.readouterr().err


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("kind", [DDP, FSDP, TensorParallel])
def test_callbacks_hear_of_each_epoch_and_end_the_training(kind: type[Backend]) -> None:
    """A callback of scikit-learn gets the model of each epoch, and none after it has asked to stop."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from version 1.9 on")
    models: dict[bool, list[np.ndarray]] = {True: [], False: []}

    class Stop:
        def __init__(self, by_workers: bool) -> None:
            self.seen = models[by_workers]

        def setup(self, estimator: Any, context: Any) -> None: ...

        def teardown(self, estimator: Any, context: Any) -> None: ...

        def on_fit_task_begin(self, estimator: Any, context: Any) -> None: ...

        def on_fit_task_end(self, estimator: Any, context: Any, *, fitted_estimator: Any = None) -> bool:
            if context.task_name == "epoch" and fitted_estimator is not None:
                self.seen.append(fitted_estimator.coefs_[0])
            return len(self.seen) == 3

    for by_workers in models:
        model = regressor(backend=kind(2) if by_workers else None).set_callbacks(Stop(by_workers)).fit(X, VALUES)
        assert (model.n_iter_, model.stop_reason_) == (3, "callback")
    np.testing.assert_allclose(models[True], models[False], rtol=TOLERANCE)


@pytest.mark.usefixtures("near")
def test_an_error_is_that_of_one_process() -> None:
    """What a scorer raises in a worker is raised by `fit`, and says where it was."""

    def failing(estimator: Any, X: Any, y: Any) -> float:
        raise KeyError("a column that is not there")

    model = classifier(backend=TWO, early_stopping=True, scoring=failing)
    with pytest.raises(KeyError, match="a column that is not there") as caught:
        model.fit(X, CLASSES)
    assert "in failing" in caught.value.__notes__[0]


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("kind", [DDP, FSDP, TensorParallel])
def test_a_divergence_keeps_the_last_finite_weights(kind: type[Backend]) -> None:
    """A training that diverges leaves the estimator as it would in one process."""
    models = [regressor(backend=backend, learning_rate=1e200) for backend in (kind(2), None)]
    for model in models:
        with pytest.raises(DivergenceError, match="not finite any more: loss .* in epoch 1, step"):
            model.fit(X, VALUES)
    assert_equal(learnt(models[0]), learnt(models[1]), TOLERANCE)


@pytest.mark.usefixtures("near")
def test_a_warning_is_passed_on() -> None:
    """What a worker is warned of, the caller is."""

    def warning(estimator: Any, X: Any, y: Any) -> float:
        warnings.warn("few rows", UserWarning, stacklevel=1)
        return 1.0

    with pytest.warns(UserWarning, match="few rows"):
        classifier(backend=TWO, early_stopping=True, scoring=warning, max_iter=1).fit(X, CLASSES)


def test_a_search_that_is_not_spread_starts_workers_for_each_fit(
    near: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates whose backend does not spread searches are trained by it, one by one, and have the same scores."""
    monkeypatch.setattr(DDP, "spreads_searches", False)
    searches = [
        BigGridSearchCV(classifier(backend=backend), {"alpha": [0.1, 1.0]}, cv=2).fit(X, CLASSES)
        for backend in (None, DDP(n_workers=3))
    ]
    scores = [search.cv_results_["split0_test_score"] for search in searches]
    np.testing.assert_allclose(scores[0], scores[1])
    assert near == [3] * 5


def test_a_field_of_the_backend_is_set() -> None:
    """Settings of a backend are parameters, as those of components are."""
    model = BigMLPClassifier(backend="ddp").set_params(backend__n_workers=3)
    assert model.backend == DDP(n_workers=3)
    assert model.get_params()["backend__sync_every"] == 1
    with pytest.raises(ValueError, match=r"'sync_evry' for backend DDP\. Did you mean 'sync_every'\?"):
        model.set_params(backend__sync_evry=2)


# Parameters.

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"backend": DDP(n_workers=0)}, "'n_workers' parameter of DDP must be one of {None} or an int in the range"),
    ({"backend": DDP(n_workers=2.0)}, "'n_workers' parameter of DDP"),
    ({"backend": DDP(timeout=0)}, "'timeout' parameter of DDP"),
    ({"backend": DDP(max_restarts=-1)}, "'max_restarts' parameter of DDP"),
    ({"backend": DDP(sync_every=0)}, "'sync_every' parameter of DDP"),
    ({"backend": "DDP"}, "'DDP' is backend='ddp' here"),
    ({"backend": TWO, "device": "cuda:0"}, "gives each worker a device of its own"),
    ({"backend": TWO, "optimizer": LBFGS()}, "searches along lines in one process"),
    ({"backend": FSDP(2), "optimizer": LBFGS()}, "searches along lines in one process"),
    ({"backend": FSDP(2), "optimizer": "muon"}, "optimizer='muon' needs whole matrices, and with backend=FSDP(n_wo"),
    ({"backend": TensorParallel(n_workers=-1)}, "'n_workers' parameter of TensorParallel must be"),
    ({"backend": DDP(4, sync_every=2), "normalization": "batch", "batch_size": 7}, "needs two rows of a batch or more"),
]


@pytest.mark.parametrize(("parameters", "message"), WRONG, ids=str)
def test_what_cannot_be_done_starts_nothing(parameters: dict[str, Any], message: str, near: list[int]) -> None:
    """A wrong setting, or one that contradicts another parameter, is an error before anything is started."""
    model = BigMLPRegressor(**{"device": "cpu", "max_iter": 2} | parameters)
    before = vars(model).copy()
    with pytest.raises(ValueError) as error:
        model.fit(X, VALUES)
    assert message in str(error.value)
    assert vars(model) == before and near == []


def test_how_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one worker for each GPU, or for four threads of a CPU but at least two; more than GPUs is an error."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for threads, expected in {1: 2, 8: 2, 16: 4, 128: 8}.items():
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert DDP().count("cpu") == expected
    assert (DDP().count("cuda"), DDP(2).count("cuda"), DDP(9).count("cpu")) == (3, 2, 9)
    with pytest.raises(ValueError, match="needs 4 GPUs, one for each worker, and torch sees 3"):
        DDP(4).count("cuda")
