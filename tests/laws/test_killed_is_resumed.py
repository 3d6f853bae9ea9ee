"""A fit that was killed, wherever, and is repeated gives the bits that it would have given: nothing is lost."""

from __future__ import annotations

import json
import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import make_scorer, median_absolute_error

from skbig._utils.component import names
from skbig.components import DPSGD, SGD, AdamW, Cosine, LogLoss, Plateau
from tests.fitting import N_ROWS, X, small, target
from tests.killing import (
    Died,
    Nursery,
    assert_same,
    begun,
    checkpoints_in,
    dying_at,
    learnt,
    needs_fork,
    nursery,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WEIGHT = np.random.RandomState(1).choice([0.0, 0.5, 1.0, 3.0], size=N_ROWS)
EARLY: dict[str, Any] = {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 2}


class Case(NamedTuple):
    """A fit: its task, parameters, and which rows it is given."""

    task: str
    parameters: dict[str, Any]
    rows: str = "plain"


class Sliced:
    """Rows that are not in memory: they are streamed."""

    shape, dtype = X.shape, X.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return X[rows].copy()


NOISY: dict[str, Any] = {"normalization": "batch", "dropout": 0.3, "augmentation": "mixup"}
CASES = {
    **{f"optimizer {name}": Case("multiclass", {"optimizer": name}) for name in names("optimizer")},
    **{f"schedule {name}": Case("binary", {"schedule": name, "max_iter": 9}) for name in names("schedule")},
    **{f"augmentation {name}": Case("multiclass", {"augmentation": name}) for name in names("augmentation")},
    **{f"penalty {name}": Case("regression", {"penalty": name, "alpha": 1.0}) for name in names("penalty")},
    **{f"clipping {name}": Case("regression", {"clipping": name, "optimizer": "sgd"}) for name in names("clipping")},
    "held-out rows": Case("binary", {**EARLY, "max_iter": 50, "learning_rate": 0.1}),
    "held-out rows of strings": Case("multiclass", {**EARLY, "scoring": None}),
    "rows to validate": Case("regression", {"scoring": make_scorer(median_absolute_error)}, "validated"),
    "rows to stop by": Case("multiclass", {**EARLY, "max_iter": 50, "learning_rate": 0.1}, "validated"),
    "line search stopped early": Case("multilabel", {**EARLY, "optimizer": "lbfgs", "n_members": 2}),
    "line search that converges": Case("regression", {"optimizer": "lbfgs", "tol": 0.05, "max_iter": 100}),
    "line search with noise": Case("multiclass", {**NOISY, "optimizer": "lbfgs"}),
    "no seed": Case("multiclass", {"random_state": None, **NOISY}),
    "no seed, held-out rows": Case("binary", {"random_state": None, **EARLY}),
    "no seed, two members": Case("regression", {"random_state": None, "n_members": 2}),
    "two members": Case("binary", {"n_members": 2, "dropout": 0.2}),
    "members that stop one by one": Case(
        "multiclass", {**EARLY, "n_members": 3, "learning_rate": 0.1, "max_iter": 50, "n_iter_no_change": 1}
    ),
    "privacy": Case("multiclass", {"privacy": DPSGD(1.0), "n_members": 2}),
    "monotonic": Case("binary", {"monotonic_cst": [1, 0, -1, 0], "normalization": "batch"}),
    "batch norm": Case("multi-output", {"normalization": "batch"}),
    "layer norm": Case("multi-output", {"normalization": "layer"}),
    "dropout": Case("multiclass", {"dropout": 0.5, "hidden_layer_sizes": (6, 5)}),
    "noise of all kinds": Case("multiclass", {**NOISY, **EARLY, "n_members": 2}),
    "plateau that reduces": Case(
        "regression",
        {"schedule": Plateau(patience=0, factor=0.1, min_rate=1e-4), "tol": 0.1, "n_iter_no_change": 0, "max_iter": 30},
    ),
    "warm-up": Case("binary", {"schedule": Cosine(warmup=0.4)}),
    "momentum": Case("multiclass", {"optimizer": SGD(momentum=0.9, nesterov=True)}),
    "amsgrad": Case("regression", {"optimizer": AdamW(amsgrad=True, weight_decay=0.1)}),
    "smooth labels": Case("multiclass", {"loss": LogLoss(label_smoothing=0.1)}),
    "balanced classes": Case("multiclass", {"class_weight": "balanced"}, "weighted"),
    "weights": Case("regression", {**EARLY}, "weighted"),
    "sparse rows": Case("multiclass", {**EARLY, "n_members": 2}, "sparse"),
    "sparse line search": Case("multilabel", {"optimizer": "lbfgs"}, "sparse"),
    "rows that are read where they lie": Case("multiclass", {**EARLY, "n_members": 2}, "sliced"),
    "single precision": Case("multiclass", {"optimizer": "muon"}, "single"),
    "bfloat16": Case("multiclass", {"precision": "bf16"}),
    "held near its start": Case("multiclass", {"fedprox": 3.0}),
    "in order": Case("binary", {"shuffle": False}),
    "averaged weights": Case("binary", {**EARLY, "average": "ema", "normalization": "batch", "n_members": 2}),
    "averaged weights of the last step": Case("regression", {"average": "ema"}),
    "whole batches": Case("binary", {"batch_size": "full"}),
}
ANY_CASE = pytest.mark.parametrize("name", CASES)


def estimator_of(case: Case, **more: Any) -> Any:
    settings: dict[str, Any] = {"max_iter": 6, "checkpoint_every": 1, "learning_rate": 0.02}
    parameters = settings | case.parameters | more
    if parameters.get("optimizer") != "lbfgs":
        parameters.setdefault("batch_size", 16)
    return small(case.task, **parameters)


def fit(case: Case, **more: Any) -> Any:
    """Train in one go, or go on in a directory."""
    y, keywords = target(case.task), {}
    forms = {"sparse": sparse.csr_array(X * (X > 0)), "single": X.astype(np.float32), "sliced": Sliced()}
    rows: Any = forms.get(case.rows, X)
    if case.rows == "weighted":
        keywords = {"sample_weight": WEIGHT}
    if case.rows == "validated":
        keywords = {"X_val": X[::3] + 0.1, "y_val": y[::3]}
    model = estimator_of(case, **more).fit(rows, y, **keywords)
    model.answers_ = model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)
    return model


def expected_of(case: Case, model: Any) -> dict[str, Any]:
    """Return what one fit without a directory comes to, from the seed that a model has had."""
    return learnt(fit(case, random_state=model._progress["seeds"][0]))


@ANY_CASE
def test_a_fit_dies_and_goes_on(name: str, tmp_path: Path) -> None:
    """Killed again and again, also while a checkpoint is written, and repeated, a fit ends with the same bits."""
    case, moments = CASES[name], random.Random(zlib.crc32(name.encode()))
    with dying_at(10**9) as all_moments:
        whole = fit(case, checkpoint_dir=tmp_path / "whole")
    expected = expected_of(case, whole)
    assert_same(learnt(whole), expected)
    assert whole.n_iter_ >= 4
    first = len(all_moments) // 3  # later than the first checkpoint
    for count in (moments.randrange(first, len(all_moments)), *moments.choices(range(1, len(all_moments) // 2), k=2)):
        with dying_at(count) as made:
            try:
                fit(case, checkpoint_dir=tmp_path / "killed")
            except Died:
                assert len(made) > count
    saved = _epochs_saved(tmp_path / "killed")
    with dying_at(10**9) as made:
        model = fit(case, checkpoint_dir=tmp_path / "killed")
    assert saved > 0 and made.count("epoch") == model.n_iter_ - saved
    assert_same(learnt(model), expected_of(case, model))
    if case.parameters.get("random_state", 0) is not None:
        assert_same(learnt(model), expected)
    if "rename" in made:  # the dead are swept
        assert [path.name[:11] for path in (tmp_path / "killed").iterdir()] == ["checkpoint-"] * 2


def _epochs_saved(path: Path) -> int:
    return int(json.loads((checkpoints_in(path)[-1] / "facts.json").read_text())["facts"]["counts"][1])


@pytest.mark.parametrize("name", ["held-out rows of strings", "line search with noise"])
def test_death_at_every_moment(name: str, tmp_path: Path) -> None:
    """There is no moment at which a kill costs a bit."""
    case = CASES[name]
    expected = learnt(fit(case, max_iter=3))
    for count in range(1000):
        path = tmp_path / str(count)
        with dying_at(count):
            try:
                fit(case, checkpoint_dir=path, max_iter=3)
                break
            except Died:
                pass
        assert_same(learnt(fit(case, checkpoint_dir=path, max_iter=3)), expected)
    assert count > 30


# Processes.

LONG: dict[str, Case] = {
    "noisy": Case("multiclass", {**NOISY, **EARLY, "n_iter_no_change": np.inf, "random_state": None}),
    "line search": Case("multilabel", {"optimizer": "lbfgs", "n_members": 2, "tol": 0.0, "alpha": 1.0}),
    "sparse": Case("binary", {"schedule": "plateau", "n_iter_no_change": np.inf, "n_members": 2}, "sparse"),
}
N_KILLS = 7  # of each


def train(name: str, path: str, result: str) -> None:
    """Be a process that trains, for about a second, and writes down what it has come to."""
    begun()
    model = fit(LONG[name], checkpoint_dir=path, max_iter=80)
    joblib.dump((model._progress["seeds"][0], learnt(model)), result)


@pytest.fixture(scope="module")
def processes() -> Iterator[Nursery]:
    with nursery() as opened:
        yield opened


@needs_fork
@pytest.mark.thorough
@pytest.mark.parametrize("name", LONG)
def test_kill_9_at_random_moments(name: str, processes: Nursery, tmp_path: Path) -> None:
    """Processes that are killed at random moments, one after another, end with the bits of one that is not."""
    n_kills = n_chains = 0
    while n_kills < N_KILLS:
        n_chains += 1
        path, result = tmp_path / str(n_chains), tmp_path / f"{n_chains}.joblib"
        while not result.exists():
            processes.begin(train, name, path, result)
            if n_kills < N_KILLS:
                time.sleep(random.uniform(0.0, 0.25))
            code = processes.end(9 if n_kills < N_KILLS else 0)
            assert code in (0, -9)
            n_kills += code == -9
        seed, actual = joblib.load(result)
        assert_same(actual, learnt(fit(LONG[name], max_iter=80, random_state=seed)))
        assert checkpoints_in(path)
