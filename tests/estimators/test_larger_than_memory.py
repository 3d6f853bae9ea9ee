"""Rows that are read from where they lie train, predict and score as rows in memory do, a bounded part at a time."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from skbig import BigGridSearchCV, BigMLPClassifier
from skbig.data import open_csr, open_parquet, save_csr, streamed_rows
from skbig.estimators import inputs
from tests.fitting import content_of, fitted, small, state_of, weights_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # h5py and zarr on some of their versions, about NumPy's.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:h5py|zarr|dask"),
]

N_ROWS, N_FEATURES = 400, 5
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(N_ROWS, N_FEATURES))
SPARSE = np.where(np.abs(X) > 0.8, X, 0.0)
SIGNAL = X @ RANDOM.normal(size=(N_FEATURES, 3))
WEIGHT = RANDOM.choice([0.0, 0.5, 1.0, 3.0], size=N_ROWS)
NAMES = ["a", "b", "c", "d", "e"]
TARGETS: dict[str, np.ndarray] = {
    "binary": (SIGNAL[:, 0] > 0.4).astype(int),
    "multiclass": np.array(["low", "mid", "top"])[SIGNAL.argmax(axis=1)],
    "multilabel": (SIGNAL > 0.3).astype(int),
    "regression": SIGNAL[:, 0],
    "multi-output": SIGNAL[:, :2],
}
WORDS = TARGETS["multiclass"]


class Counted:
    """Rows that are not in memory, and how they are asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.ranges: list[tuple[int, int]] = []

    def __getitem__(self, rows: slice) -> np.ndarray:
        self.ranges.append((rows.start, rows.stop))
        return self.values[rows].copy()

    @property
    def most(self) -> int:
        return max(stop - start for start, stop in self.ranges)


class SparseSlices(Counted):
    """Rows whose slices are sparse."""

    def __getitem__(self, rows: slice) -> Any:
        return sparse.csr_array(super().__getitem__(rows))


def mapped(folder: Path, values: np.ndarray, name: str = "rows.npy") -> np.memmap:
    np.save(folder / name, values)
    return np.load(folder / name, mmap_mode="r")


def hdf5(folder: Path, values: np.ndarray) -> Any:
    h5py = pytest.importorskip("h5py")
    return h5py.File(folder / "rows.h5", "w").create_dataset("X", data=values, chunks=(30, 2))


def zarr_array(folder: Path, values: np.ndarray) -> Any:
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(folder / "rows.zarr", shape=values.shape, dtype=values.dtype, chunks=(30, 3))
    array[...] = values
    return array


def dask_array(folder: Path, values: np.ndarray) -> Any:
    array = pytest.importorskip("dask.array")
    return array.from_array(mapped(folder, values), chunks=(70, 2))


def columns(folder: Path, values: np.ndarray, **more: Any) -> Path:
    """Write a Parquet file of many row groups."""
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    path = folder / "rows.parquet"
    table = pyarrow.table({name: values[:, i] for i, name in enumerate(NAMES[: values.shape[1]])} | more)
    parquet.write_table(table, path, row_group_size=30)
    return path


def csr_files(folder: Path, values: np.ndarray) -> Any:
    save_csr(folder / "csr", sparse.csr_array(values))
    return open_csr(folder / "csr")


def csr_maps(folder: Path, values: np.ndarray) -> Any:
    rows = sparse.csr_array(values)
    data, indices = mapped(folder, rows.data, "data.npy"), mapped(folder, rows.indices, "indices.npy")
    return sparse.csr_array((data, indices, rows.indptr), shape=values.shape)


# How rows are opened, and the array in memory that they stand for.
Kind = tuple[Callable[[Path, np.ndarray], Any], Any]
KINDS: dict[str, Kind] = {
    "memory map": (mapped, X),
    "float32": (mapped, X.astype(np.float32)),
    "integers": (mapped, (10 * X).astype(np.int16)),
    "columns of a memory map": (lambda folder, values: mapped(folder, np.asfortranarray(values)), X),
    "view of a memory map": (lambda folder, values: mapped(folder, np.repeat(values, 2, axis=0))[::2], X),
    "hdf5": (hdf5, X),
    "hdf5, float32": (hdf5, X.astype(np.float32)),
    "zarr": (zarr_array, X),
    "dask": (dask_array, X),
    "parquet": (lambda folder, values: open_parquet(columns(folder, values))[0], X),
    "csr in files": (csr_files, SPARSE),
    "csr of memory maps": (csr_maps, SPARSE),
    "a class of one's own": (lambda folder, values: Counted(values), X),
}


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


def kinds(*names: str) -> pytest.MarkDecorator:
    """Run a test over some kinds, but for those whose library is not installed."""
    modules = {"hdf5": "h5py", "zarr": "zarr", "dask": "dask", "parquet": "pyarrow"}
    return pytest.mark.parametrize(
        "kind", [pytest.param(name, marks=needs(modules.get(name.partition(",")[0], "numpy"))) for name in names]
    )


EACH = kinds(*KINDS)
SOME = kinds("memory map", "hdf5", "parquet", "csr in files")


def opened(kind: str, folder: Path) -> tuple[Any, Any]:
    """Return rows where they lie, and the same rows in memory."""
    open_rows, values = KINDS[kind]
    source = open_rows(folder, values)
    if kind == "parquet":
        return source, pd.DataFrame(values, columns=NAMES)
    return source, sparse.csr_array(values) if kind.startswith("csr") else values


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Whatever a test does, no thread of ours outlives it."""
    yield
    assert not [thread.name for thread in threading.enumerate() if "skbig" in thread.name]


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sets are streamed however small they are, in windows of some 20 rows; a test in which none is, fails."""
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    monkeypatch.setattr(streamed_rows, "MIN_BUFFER_BYTES", 800)
    monkeypatch.setattr(streamed_rows, "CHUNK_BYTES", (400, 80))
    n_streamed = []
    read = streamed_rows.Reader._check
    monkeypatch.setattr(streamed_rows.Reader, "_check", lambda *args: (n_streamed.append(1), read(*args))[1])
    yield
    assert n_streamed


streaming = pytest.mark.usefixtures("nothing_is_loaded")


def estimator(task: str = "multiclass", **parameters: Any) -> Any:
    return small(task, **{"batch_size": 16} | parameters)


def assert_same(one: Any, other: Any) -> None:
    """Compare what two trainings came to, bit by bit; losses are sums of as many numbers, of other groups."""
    np.testing.assert_array_equal(weights_of(one), weights_of(other))
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-5)
    assert (one.n_iter_, one.t_, one.n_features_in_) == (other.n_iter_, other.t_, other.n_features_in_)


def answers(model: Any, rows: Any) -> list[np.ndarray]:
    methods = ("predict", "predict_proba", "decision_function")
    return [getattr(model, name)(rows) for name in methods if hasattr(model, name)]


# The same as in memory.


@streaming
@EACH
def test_rows_in_their_order_train_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    """Without shuffling, a fit is that of the array; so are predictions and scores, whoever was fitted."""
    source, array = opened(kind, tmp_path)
    ours, theirs = (fitted(estimator(shuffle=False), rows, WORDS) for rows in (source, array))
    assert_same(ours, theirs)
    for answer, expected in zip(answers(theirs, source), answers(theirs, array), strict=True):
        np.testing.assert_array_equal(answer, expected)
    assert theirs.score(source, WORDS) == theirs.score(array, WORDS)


CHOICES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "held-out rows": {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 1, "max_iter": 6},
    "held-out rows, scored": {"early_stopping": True, "scoring": None},
    "members": {"n_members": 3, "dropout": 0.2},
    "mixup": {"augmentation": "mixup"},
    "swap noise": {"augmentation": "swap_noise", "n_members": 2},
    "batch norm": {"normalization": "batch"},
    "layer norm": {"normalization": "layer", "optimizer": "muon"},
    "a schedule": {"schedule": "cosine", "optimizer": "sgd", "clipping": "norm", "penalty": "l1"},
    "one batch": {"batch_size": N_ROWS},
}


@pytest.mark.crossed
@streaming
@pytest.mark.parametrize(
    ("task", "choice", "weighted"),
    [
        *((task, "nothing", weighted) for task in TARGETS for weighted in (False, True)),
        *((task, "held-out rows", True) for task in TARGETS),
        *((task, choice, task == "binary") for task in ("binary", "multi-output") for choice in list(CHOICES)[2:]),
    ],
)
def test_every_choice_trains_to_the_same_bits(task: str, choice: str, weighted: bool, tmp_path: Path) -> None:
    """What is done with a batch does not depend on where it was read; rows of weight zero are left out."""
    model, weight = estimator(task, shuffle=False, **CHOICES[choice]), WEIGHT if weighted else None
    if choice == "one batch" and weighted:
        model.set_params(batch_size=int((WEIGHT > 0).sum()))
    y = TARGETS[task]
    ours = fitted(clone(model), mapped(tmp_path, X), y, weight)
    theirs = fitted(clone(model), X, y, weight)
    assert_same(ours, theirs)
    assert ours.validation_scores_ == theirs.validation_scores_
    assert ours.score(mapped(tmp_path, X, "again.npy"), y, weight) == theirs.score(X, y, weight)


@streaming
@pytest.mark.parametrize("class_weight", ["balanced", {"low": 3, "mid": 0, "top": 1}], ids=str)
def test_classes_are_weighed(class_weight: Any, tmp_path: Path) -> None:
    """A class counts as much as in memory, also one that counts nothing."""
    model = estimator(shuffle=False, class_weight=class_weight)
    ours, theirs = (fitted(clone(model), rows, WORDS, WEIGHT) for rows in (mapped(tmp_path, X), X))
    assert_same(ours, theirs)


@pytest.mark.crossed
@streaming
@SOME
@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_rows_are_read_where_they_lie(kind: str, early_stopping: bool, tmp_path: Path) -> None:
    """X_val may be a file, beside an X that is one or that is in memory."""
    source, array = opened(kind, tmp_path)
    model = estimator(shuffle=False, early_stopping=early_stopping, scoring="balanced_accuracy")
    given = {"y_val": WORDS, "sample_weight_val": WEIGHT}
    curves = [
        fitted(clone(model), rows, WORDS, X_val=held, **given).validation_loss_curve_
        for rows, held in ((source, source), (array, source), (array, array))
    ]
    np.testing.assert_allclose(curves[0], curves[2], rtol=1e-12)
    np.testing.assert_allclose(curves[1], curves[2], rtol=1e-12)


@streaming
@SOME
def test_portions_are_read_where_they_lie(kind: str, tmp_path: Path) -> None:
    """partial_fit takes a file as a portion, goes on, and stops early by a file."""
    source, array = opened(kind, tmp_path)
    models = []
    for rows in (source, array):
        model = estimator(shuffle=False, early_stopping=True, learning_rate=0.1, n_iter_no_change=1)
        for _ in range(3):
            model.partial_fit(rows, WORDS, ["low", "mid", "top"], WEIGHT, X_val=rows, y_val=WORDS)
        models.append(model)
    assert_same(*models)


@streaming
def test_a_warm_start_goes_on(tmp_path: Path) -> None:
    """A second fit begins with the weights of the first, wherever each read its rows."""
    model, source = estimator(warm_start=True, shuffle=False), mapped(tmp_path, X)
    ours, theirs = clone(model), clone(model)
    for first, second in (((source, source), (X, X)), ((X, source), (X, X))):
        for rows, expected in zip(first, second, strict=True):
            fitted(ours, rows, WORDS)
            fitted(theirs, expected, WORDS)
        assert_same(ours, theirs)


@EACH
def test_small_sets_are_loaded(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that fit into memory are read into it: training is that of the array, in the same order."""
    monkeypatch.setattr(inputs, "stream_rows", None)
    source, array = opened(kind, tmp_path)
    ours, theirs = (fitted(estimator(early_stopping=True), rows, WORDS) for rows in (source, array))
    assert_same(ours, theirs)
    for answer, expected in zip(answers(ours, source), answers(ours, array), strict=True):
        np.testing.assert_array_equal(answer, expected)


# Shuffled.


@streaming
@EACH
def test_a_seed_is_an_order(kind: str, tmp_path: Path) -> None:
    """The same seed gives the same bits, also to a clone; another seed reads in another order."""
    source, _ = opened(kind, tmp_path)
    model = fitted(estimator(), source, WORDS)
    before = weights_of(model)
    assert_same(fitted(clone(model), source, WORDS), model)
    assert (weights_of(fitted(clone(model).set_params(shuffle=False), source, WORDS)) != before).any()
    assert (weights_of(model) == before).all()


@streaming
def test_labels_in_their_order_are_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On rows sorted by their labels, a buffer of 5% costs no more than 0.3 points of the accuracy."""
    random, n_rows = np.random.RandomState(1), 20_000
    centres = random.normal(size=(6, 8))
    label = random.randint(6, size=2 * n_rows)
    rows = (centres[label] + 1.2 * random.normal(size=(2 * n_rows, 8))).astype(np.float32)
    order = np.argsort(label[:n_rows], kind="stable")
    train, y = rows[:n_rows][order], label[:n_rows][order]
    # A model of a file some hundred times as large: its buffer has 5% of the rows, in as many blocks.
    monkeypatch.setattr(streamed_rows, "MIN_BUFFER_BYTES", 0)
    monkeypatch.setattr(streamed_rows, "CHUNK_BYTES", (2**20, 2**8))
    source = mapped(tmp_path, train)
    model = BigMLPClassifier((16,), batch_size=64, learning_rate=0.01, max_iter=3, schedule="cosine")
    scores = {"mixed": [], "in memory": [], "sorted": []}
    for seed in range(3):
        model.set_params(random_state=seed)
        for name, X, shuffle in (("mixed", source, True), ("in memory", train, True), ("sorted", train, False)):
            fitted(model.set_params(shuffle=shuffle), X, y)
            scores[name].append(model.score(rows[n_rows:], label[n_rows:]))
    means = {name: 100 * np.mean(values) for name, values in scores.items()}
    assert means["sorted"] < means["in memory"] - 5, "the task does not ask for mixed rows"
    assert means["mixed"] > means["in memory"] - 0.3, means


# A part at a time.


@streaming
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_bounded_part_is_asked_for_at_once(early_stopping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows there are, no more are read at once than the buffer asks for; held-out rows stay there too."""
    monkeypatch.setattr("skbig.estimators.prediction.PREDICT_BYTES", 2**12)
    source = Counted(np.tile(X, (20, 1)))
    model = estimator("regression", early_stopping=early_stopping, max_iter=2)
    fitted(model, source, np.tile(SIGNAL[:, 0], 20), np.tile(WEIGHT, 20))
    assert source.most <= (256 if early_stopping else 10)  # the least that is predicted at once; 400 bytes, in rows
    n_epochs = 2 * (1 + early_stopping)  # an epoch reads the rest of the rows, a validation those that were held out
    n_read = sum(stop - start for start, stop in source.ranges)
    assert 2 * len(source.values) <= n_read <= n_epochs * len(source.values)


@streaming
def test_prediction_reads_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read once for a prediction, in their order, a block at a time."""
    monkeypatch.setattr("skbig.estimators.prediction.PREDICT_BYTES", 2**12)
    source = Counted(np.tile(X, (20, 1)))
    model = fitted(estimator("regression"), X, SIGNAL[:, 0])
    np.testing.assert_array_equal(model.predict(source), model.predict(source.values))
    assert source.ranges == sorted(source.ranges)
    assert sum(stop - start for start, stop in source.ranges) == len(source.values)
    assert source.most <= 256


MEMORY = """
import re, sys, warnings
import numpy as np
from skbig import BigMLPClassifier
from skbig.estimators import row_checks

warnings.simplefilter("ignore")
row_checks.LOADED_BYTES = 2**20

def peak():  # of this process: getrusage begins with that of its parent
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

def run(n_rows, columns_first):
    path = f"{sys.argv[1]}/{n_rows}-{columns_first}.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, 200), fortran_order=columns_first)
    y = np.arange(n_rows) % 2
    model = BigMLPClassifier((8,), batch_size=1000, max_iter=2, early_stopping=True, device="cpu").fit(X, y)
    assert model.score(X, y) > 0.4

run(20_000, False)
before = peak()
for columns_first in (False, True):
    run(300_000, columns_first)
    print(peak() - before)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """Training, validating and predicting with a file of 240 MB takes its buffers, and not the file."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # The buffer of 5% is there twice; labels, predictions and what the allocator keeps come on top.
    assert max(map(float, run.stdout.split())) < 180, run.stdout


# Names.


@streaming
@needs("pyarrow")
def test_columns_have_names(tmp_path: Path) -> None:
    """The columns of a Parquet file are the names of the features; labels may be words."""
    source, y = open_parquet(columns(tmp_path, X, kind=WORDS), target="kind")
    model = fitted(estimator(shuffle=False), source, y)
    frame = pd.DataFrame(X, columns=NAMES)
    assert model.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(model.predict_proba(frame), model.predict_proba(source))
    assert_same(model, fitted(estimator(shuffle=False), frame, WORDS))
    assert not hasattr(fitted(model, X, WORDS), "feature_names_in_")


@streaming
@needs("pyarrow")
def test_columns_in_another_order_are_refused(tmp_path: Path) -> None:
    """Features are known by their names: the same ones in another order are an error, missing names a warning."""
    path = columns(tmp_path, X)
    source, other = open_parquet(path)[0], open_parquet(path, features=["b", "a", "c", "d", "e"])[0]
    model = fitted(estimator(), source, WORDS)
    for call in (model.predict, lambda rows: model.partial_fit(rows, WORDS), lambda rows: model.score(rows, WORDS)):
        with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
            call(other)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted(estimator(), source, WORDS, X_val=other, y_val=WORDS)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(mapped(tmp_path, X))
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        fitted(estimator(), X, WORDS).predict(source)


# Errors.


def spoiled(value: float) -> np.ndarray:
    array = X.copy()
    array[273, 2] = value
    return array


BAD = {"NaN": np.nan, "infinity": -np.inf, "too large to train on in dtype.'float64'.: 1e.300": 1e300}


@pytest.mark.crossed
@streaming
@pytest.mark.parametrize("early_stopping", [False, True])
@kinds("memory map", "columns of a memory map", "hdf5", "parquet", "csr in files")
@pytest.mark.parametrize("what", BAD)
def test_bad_rows_are_named(kind: str, what: str, early_stopping: bool, tmp_path: Path) -> None:
    """A bad value is named by its row and column, and the estimator stays as it was: unfitted, or fitted before."""
    source = KINDS[kind][0](tmp_path, spoiled(BAD[what]))
    words = f"Input X contains .*{what}.*row 273, column 2"
    array = pd.DataFrame(X, columns=NAMES) if kind == "parquet" else X
    fresh, model = estimator(early_stopping=early_stopping), fitted(estimator(warm_start=True), array, WORDS)
    for each, fit in ((fresh, fresh.fit), (model, model.fit), (model, model.partial_fit)):
        before = state_of(each)
        with pytest.raises(ValueError, match=words):
            fit(source, WORDS)
        assert state_of(each) == before


@streaming
@pytest.mark.parametrize("what", ["NaN", "infinity"])
def test_bad_rows_of_other_sets_are_named(what: str, tmp_path: Path) -> None:
    """The same holds for rows to predict, and for X_val, which is called so."""
    source, model = mapped(tmp_path, spoiled(BAD[what])), estimator()
    with pytest.raises(ValueError, match=rf"Input X_val contains {what}.*row 273, column 2"):
        model.fit(X, WORDS, X_val=source, y_val=WORDS)
    assert not hasattr(model, "coefs_")
    fitted(model, X, WORDS)
    for call in (
        lambda: model.predict(source),
        lambda: model.predict_proba(source),
        lambda: model.score(source, WORDS),
    ):
        with pytest.raises(ValueError, match=rf"Input X contains {what}.*row 273, column 2"):
            call()


def cut_off(folder: Path) -> np.memmap:
    """Return a map of a file that has lost its end since."""
    array = mapped(folder, np.tile(X, (10, 1)))
    os.truncate(folder / "rows.npy", 9 * X.nbytes)
    return array


def closed(folder: Path) -> Any:
    dataset = hdf5(folder, X)
    dataset.file.close()
    return dataset


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a file that was cut off": (cut_off, "shorter than its header says: 144000 bytes"),
    "other features": (lambda folder: mapped(folder, X[:, :3]), "X has 3 features, .* expecting 5 features"),
    "other features, hdf5": (lambda folder: hdf5(folder, X[:, :3]), "X has 3 features, .* expecting 5 features"),
    "one row": (lambda folder: mapped(folder, X[:, 0]), "Expected 2D array, got 1D array"),
    "one row, hdf5": (
        lambda folder: pytest.importorskip("h5py").File(folder / "1.h5", "w").create_dataset("X", data=X[:, 0]),
        "Expected 2D array, got 1D array",
    ),
    "three dimensions": (lambda folder: Counted(X[:, :, None]), "Expected 2D array, got 3D array"),
    "no rows": (lambda folder: Counted(X[:0]), r"Found array with 0 sample\(s\)"),
    "no rows of a map": (lambda folder: mapped(folder, X)[:0], r"Found array with 0 sample\(s\)"),
    "no features": (lambda folder: Counted(X[:, :0]), r"Found array with 0 feature\(s\)"),
    "a closed file": (closed, "data set of an HDF5 file that is closed. Keep the file open"),
    "complex": (lambda folder: Counted(X + 1j), "real numbers.*complex128"),
    "words": (lambda folder: Counted(np.full((9, 5), "word")), "real numbers.*<U4"),
    "sparse slices": (lambda folder: SparseSlices(X), "is sparse, .* skbig.data.save_csr, and open them with open_csr"),
}


@pytest.mark.crossed
@pytest.mark.parametrize("loaded", [0, 2**30], ids=["streamed", "loaded"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused(
    case: str, loaded: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with a source is said before anything is trained, and the estimator stays as it was."""
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", loaded)
    make, message = REFUSED[case]
    source, model = make(tmp_path), fitted(estimator(), X, WORDS)
    before = state_of(model)
    calls = [model.predict, lambda rows: model.partial_fit(rows, WORDS)]
    calls += [lambda rows: model.fit(X, WORDS, X_val=rows, y_val=WORDS)]
    calls += [] if case.startswith("other features") else [lambda rows: model.fit(rows, WORDS)]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(source)
        assert state_of(model) == before


@streaming
@needs("h5py")
def test_a_file_that_is_closed_while_it_is_read(tmp_path: Path) -> None:
    """A fit whose file is closed by somebody ends with an error that says so, and not within HDF5."""
    source = hdf5(tmp_path, X)

    def loss(raw: Any, y: Any) -> Any:
        source.file.close() if source else None
        return (raw - y).square().sum(-1)

    with pytest.raises(ValueError, match="data set of an HDF5 file that is closed"):
        fitted(estimator("regression", loss=loss), source, SIGNAL[:, 0])


@streaming
def test_steps_of_a_pipeline_load_what_they_can(tmp_path: Path) -> None:
    """A scaler before the network loads a file, with the result of the array; what gives slices only is refused."""
    ours, theirs = (make_pipeline(StandardScaler(), estimator()).fit(rows, WORDS) for rows in (mapped(tmp_path, X), X))
    np.testing.assert_array_equal(ours.predict_proba(mapped(tmp_path, X)), theirs.predict_proba(X))
    source = csr_files(tmp_path, SPARSE)
    with pytest.raises(TypeError, match=r"or another step of a pipeline needs rows in memory: pass X\[:\]"):
        make_pipeline(MaxAbsScaler(), estimator()).fit(source, WORDS)
    make_pipeline(estimator()).fit(source, WORDS).predict(source)  # alone it streams


@pytest.mark.parametrize(
    "y", [WORDS[:-1], None, np.full(N_ROWS, np.nan), SIGNAL[:, 0]], ids=["short", "", "NaN", "real"]
)
def test_targets_are_checked_as_in_memory(y: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that do not fit are refused in scikit-learn's words, before a row is read."""
    messages, source = [], Counted(X)
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    for rows in (source, X):
        with pytest.raises(ValueError) as raised:
            estimator().fit(rows, y)
        messages.append(str(raised.value)[:40])
    assert messages[0] == messages[1]
    assert not source.ranges


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer": "lbfgs"}, "optimizer='lbfgs' needs all rows in memory.*optimizer='adam'"),
        ({"batch_size": "full"}, "batch_size='full' needs all rows in memory"),
    ],
    ids=str,
)
def test_what_needs_all_rows_says_so(parameters: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large sets are refused before a row is read; small ones are loaded."""
    source = Counted(X)
    assert_same(*(fitted(small("multiclass", **parameters), rows, WORDS) for rows in (source, X)))
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    source.ranges.clear()
    with pytest.raises(ValueError, match=message):
        small("multiclass", **parameters).fit(source, WORDS)
    assert not source.ranges


@streaming
def test_sparse_rows_are_not_augmented(tmp_path: Path) -> None:
    """Augmentations refuse sparse rows in files as they do those in memory."""
    source = csr_files(tmp_path, SPARSE)
    with pytest.raises(ValueError, match="augmentation='mixup' needs dense rows"):
        estimator(augmentation="mixup").fit(source, WORDS)
    fitted(estimator(), source, WORDS)


# Life around a fit.


@streaming
@EACH
def test_nothing_of_the_rows_is_kept(kind: str, tmp_path: Path) -> None:
    """A fitted model is pickled without its rows, and predicts them when it is back."""
    source, _ = opened(kind, tmp_path)
    model = fitted(estimator(), source, WORDS)
    again = pickle.loads(pickle.dumps(model))
    assert str(joblib.hash(vars(again))) == state_of(model)
    np.testing.assert_array_equal(again.predict(source), model.predict(source))


@streaming
@EACH
def test_rows_are_not_written_to(kind: str, tmp_path: Path) -> None:
    """Rows and weights are after training and predicting what they were before."""
    source, array = opened(kind, tmp_path)
    weight = WEIGHT.copy()
    fitted(estimator(augmentation=None if sparse.issparse(array) else "swap_noise"), source, WORDS, weight).predict(
        source
    )
    rows = source[0:N_ROWS]
    rows = rows.compute() if hasattr(rows, "compute") else rows
    assert content_of(rows.toarray() if sparse.issparse(rows) else rows) == content_of(KINDS[kind][1])
    np.testing.assert_array_equal(weight, WEIGHT)


@streaming
@SOME
def test_threads_share_a_source(kind: str, tmp_path: Path) -> None:
    """Fits side by side, each at its own place of one source, come to what each comes to alone."""
    source, _ = opened(kind, tmp_path)
    results: dict[int, Any] = {}

    def fit(seed: int) -> None:
        try:
            results[seed] = estimator(random_state=seed, max_iter=8).fit(source, WORDS)
        except Exception as error:
            results[seed] = error

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, model in results.items():
        assert not isinstance(model, Exception), model
        assert_same(model, fitted(estimator(random_state=seed, max_iter=8), source, WORDS))


@streaming
@SOME
def test_a_killed_fit_goes_on(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit that breaks off while reading goes on from its checkpoint, to the bits of one that did not."""
    source, _ = opened(kind, tmp_path)
    model = estimator(max_iter=6, checkpoint_dir=tmp_path / "checkpoints", checkpoint_every=1)
    whole = fitted(estimator(max_iter=6), source, WORDS)
    epoch, begun = streamed_rows.StreamedRows.epoch, []

    def breaking_off(rows: Any, seeds: Any, number: int, *args: Any) -> Any:
        begun.append(number)
        if len(begun) == 4:
            raise OSError("the disk is gone")
        return epoch(rows, seeds, number, *args)

    monkeypatch.setattr(streamed_rows.StreamedRows, "epoch", breaking_off)
    with pytest.raises(OSError, match="the disk is gone"):
        fitted(clone(model), source, WORDS)
    assert_same(fitted(model, source, WORDS), whole)
    assert begun == [0, 1, 2, 3, 3, 4, 5]


@pytest.mark.crossed
@streaming
@kinds("memory map", "csr in files")
@pytest.mark.parametrize("change", ["a value", "the last row", "which rows count"])
def test_checkpoints_are_of_their_rows(kind: str, change: str, tmp_path: Path) -> None:
    """Checkpoints of other rows are refused: other values, or others of weight zero."""
    values = SPARSE.copy()
    weight, y = np.ones(N_ROWS), np.arange(N_ROWS) // 2 % 2
    weight[10] = 0
    model = estimator("binary", checkpoint_dir=tmp_path / "checkpoints")
    open_rows = KINDS[kind][0]
    fitted(clone(model), open_rows(tmp_path, values), y, weight)
    if change == "which rows count":
        weight[[10, 11]] = weight[[11, 10]]  # two rows with the same label
    else:
        row, column = (20 if change == "a value" else N_ROWS - 1), 1
        values[row, column] = 7.0
    with pytest.raises(ValueError, match="of this training, got those of another: X is"):
        model.fit(open_rows(tmp_path, values), y, weight)


@pytest.mark.crossed
@kinds("memory map", "view of a memory map", "hdf5", "dask", "csr of memory maps")
@pytest.mark.parametrize("search", [GridSearchCV, BigGridSearchCV])
def test_a_search_reads_small_sets(search: Any, kind: str, tmp_path: Path) -> None:
    """A search over rows in a file that fit into memory gives the scores of the array."""
    source, array = opened(kind, tmp_path)
    grid = {"alpha": [1e-4, 1.0]}
    ours, theirs = (search(estimator(), grid, cv=2).fit(rows, WORDS) for rows in (source, array))
    for name in ("mean_test_score", "split0_test_score"):
        np.testing.assert_array_equal(ours.cv_results_[name], theirs.cv_results_[name])
    np.testing.assert_array_equal(ours.predict(source), theirs.predict(array))


def test_a_search_over_slices_says_what_it_needs(tmp_path: Path) -> None:
    """A source that gives slices only cannot be cut in folds; what was read of it can."""
    source = csr_files(tmp_path, SPARSE)
    search = BigGridSearchCV(estimator(), {"alpha": [1e-4, 1.0]}, cv=2)
    with pytest.raises(TypeError, match=r"A search, .*needs rows in memory: pass X\[:\]"):
        search.fit(source, WORDS)
    assert search.fit(source[:], WORDS).predict(source).shape == (N_ROWS,)


def test_files_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fit, a prediction and an error, no file is open that was not before."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are counted as Linux tells them")
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    source, bad = mapped(tmp_path, X), mapped(tmp_path, spoiled(np.nan), "bad.npy")
    fitted(estimator(), source, WORDS).predict(source)  # what opens files once has done so
    gc.collect()
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        fitted(estimator(early_stopping=True), source, WORDS).predict(source)
        with pytest.raises(ValueError, match="NaN"):
            estimator().fit(bad, WORDS)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= len(before)
