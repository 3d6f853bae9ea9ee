"""On a card: estimators fit as on a CPU, tell how, keep nothing on it, and predict on machines without."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from skbig import DDP, FSDP, BigGridSearchCV, BigMLPClassifier, BigModuleClassifier
from skbig.exceptions import DivergenceError, MemorySplitWarning
from tests.estimators.test_graphed_fits import Normed
from tests.fitting import ANY_TASK, BINARY, MULTICLASS, VALUES, X, fitted, small, target, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ROOT = Path(__file__).parents[2]


def both(task: str, **parameters: Any) -> tuple[Any, Any]:
    """Return a model trained on the card, and one trained on a CPU, in double precision."""
    settings = {"precision": "float64", "batch_size": 16, **parameters}
    return tuple(fitted(small(task, device=name, **settings), X, target(task)) for name in ("cuda", "cpu"))


@ANY_TASK
def test_a_fit_is_that_of_a_cpu(task: str) -> None:
    """The same weights come out, and the model says that graphs were used."""
    card, cpu = both(task)
    assert card.device_.startswith("cuda") and (card.executor_, cpu.executor_) == ("graphed", "recorded")
    np.testing.assert_allclose(weights_of(card), weights_of(cpu), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(card.predict(X), cpu.predict(X))


CHOICES: dict[str, dict[str, Any]] = {
    "an ensemble": {"n_members": 3},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 2, "max_iter": 12},
    "early stopping of an ensemble": {"early_stopping": True, "validation_fraction": 0.25, "n_members": 3},
    "by the score": {"early_stopping": True, "validation_fraction": 0.25, "scoring": None},
    "by the loss": {"early_stopping": True, "validation_fraction": 0.25, "scoring": "loss"},
    "one batch": {"batch_size": "full"},
    "a line search": {"optimizer": "lbfgs", "batch_size": "full"},
    "all at once": {"dropout": 0.3, "normalization": "batch", "augmentation": "mixup", "clipping": "norm"},
    "a schedule": {"schedule": "one_cycle"},
    "plateau": {"schedule": "plateau", "max_iter": 20},
}


@pytest.mark.parametrize("early_stopping", [False, True])
def test_more_rows_than_the_card_holds(monkeypatch: pytest.MonkeyPatch, early_stopping: bool) -> None:
    """Rows that stay on the host train as on a CPU."""
    for place in ("inputs", "validation"):
        monkeypatch.setattr(f"skbig.estimators.{place}.fits", lambda X, device, dtype: False)
    card, cpu = both("binary", early_stopping=early_stopping)
    np.testing.assert_allclose(weights_of(card), weights_of(cpu), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(card.predict_proba(X), cpu.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_choices(name: str, task: str) -> None:
    """Whatever is chosen, the card comes to what a CPU comes to."""
    card, cpu = both(task, **CHOICES[name])
    assert card.executor_ == ("written" if name == "a line search" else "graphed")
    assert card.n_iter_ == cpu.n_iter_
    np.testing.assert_allclose(weights_of(card), weights_of(cpu), rtol=1e-5, atol=1e-7)
    if card.validation_scores_ is not None:
        np.testing.assert_allclose(card.validation_scores_, cpu.validation_scores_, rtol=1e-6)


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_module(n_members: int) -> None:
    """So does a module of one's own, whose batch norm counts its batches and whose dropout draws."""
    settings: dict[str, Any] = {"precision": "float64", "batch_size": 16, "max_iter": 3, "random_state": 0}
    card, cpu = (
        fitted(BigModuleClassifier(Normed, device=name, n_members=n_members, **settings), X, MULTICLASS)
        for name in ("cuda", "cpu")
    )
    assert card.executor_ == "graphed"
    np.testing.assert_allclose(card.predict_proba(X), cpu.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_precisions(precision: str) -> None:
    """Every precision is graphed, and comes near to double precision."""
    card = fitted(BigMLPClassifier((64, 64), device="cuda", precision=precision, random_state=0), X, MULTICLASS)
    exact = fitted(BigMLPClassifier((64, 64), device="cpu", random_state=0), X, MULTICLASS)
    assert card.executor_ == "graphed"
    np.testing.assert_allclose(card.predict_proba(X), exact.predict_proba(X), atol=0.1)


def test_the_same_bits() -> None:
    """The same seed gives the same bits."""
    one, other = (fitted(small("multiclass", device="cuda", dropout=0.2), X, MULTICLASS) for _ in range(2))
    np.testing.assert_array_equal(weights_of(one), weights_of(other))


def test_going_on() -> None:
    """partial_fit and warm_start go on from where a fit has ended, as on a CPU."""
    results = []
    for device in ("cuda", "cpu"):
        model = small("multiclass", device=device, precision="float64", batch_size=16)
        for _ in range(3):
            model.partial_fit(X, MULTICLASS, classes=[0, 1, 2])
        model.set_params(warm_start=True)
        results.append(weights_of(fitted(model, X, MULTICLASS)))
    np.testing.assert_allclose(*results, rtol=1e-7, atol=1e-9)


def test_sparse_rows_and_own_losses_run_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not captured is run as written, and says so."""
    from scipy import sparse

    monkeypatch.setattr("skbig.data.rows.DENSE_FEATURES", 0)  # short rows would train dense
    card, cpu = (
        fitted(small("binary", device=name, precision="float64"), sparse.csr_array(X), BINARY)
        for name in ("cuda", "cpu")
    )
    assert card.executor_ == "written"
    np.testing.assert_allclose(weights_of(card), weights_of(cpu), rtol=1e-7, atol=1e-9)
    own = fitted(small("regression", device="cuda", loss=lambda raw, y: (raw - y).abs()), X, VALUES)
    assert own.executor_ == "written"


def test_time_runs_out() -> None:
    """A time limit ends a training of graphs."""
    model = fitted(small("multiclass", device="cuda", max_iter=10**6, max_time=1.0, n_iter_no_change=10**6), X, BINARY)
    assert model.stop_reason_ == "max_time" and model.executor_ == "graphed"


def test_divergence() -> None:
    """A loss that is not finite any more is an error, and the finite weights are kept."""
    model = small("regression", device="cuda", optimizer="sgd", learning_rate=1e8, max_iter=50)
    with pytest.raises(DivergenceError, match=r"step \d+"):
        model.fit(X, VALUES)
    assert np.isfinite(weights_of(model)).all()


def test_a_device_that_is_not_there() -> None:
    """It is named, along with those that are."""
    name = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=rf"device='{name}' is not available on this machine; torch sees cpu, cuda:0"):
        small("binary", device=name).fit(X, BINARY)


def test_a_model_predicts_without_a_card(tmp_path: Path) -> None:
    """What was fitted on a card is loaded and used where there is none."""
    model = fitted(small("multiclass", device="cuda"), X, MULTICLASS)
    joblib.dump((model, X, model.predict_proba(X)), tmp_path / "model.joblib")
    code = (
        "import sys, joblib, numpy, torch\n"
        "assert not torch.cuda.is_available()\n"
        "model, X, expected = joblib.load(sys.argv[1])\n"
        "numpy.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-4, atol=1e-5)\n"
    )
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.joblib")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# Tensors of the card.


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many numbers each copy to the host has."""
    sizes: list[int] = []

    def noted(move: Any) -> Any:
        def moved(tensor: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
            result: torch.Tensor = move(tensor, *args, **options)
            if tensor.is_cuda and not result.is_cuda:
                sizes.append(tensor.numel())
            return result

        return moved

    for name in ("cpu", "to"):
        monkeypatch.setattr(torch.Tensor, name, noted(getattr(torch.Tensor, name)))
    return sizes


MANY = np.tile(X, (20, 1))
FEW = 400
"""Numbers that may come back at once, less than one a row: losses, scores and weights."""


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"n_members": 2}], ids=str)
@ANY_TASK
def test_tensors_stay(task: str, options: Any, returned: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, targets, weights and predictions stay on the card, and all is as of arrays."""
    monkeypatch.setattr("skbig.data.tensor_rows.COPIED_BYTES", 0)  # an index tells which rows are trained on
    arrays = MANY, np.concatenate([target(task)] * 20), np.tile(np.linspace(0.5, 1.5, len(X)), 20)
    settings: dict[str, Any] = {"device": "cuda", "precision": "float64", "batch_size": 64, **options}
    there = [torch.from_numpy(each).cuda() for each in arrays]
    returned.clear()
    model = fitted(small(task, **settings), *there)
    assert max(returned) <= FEW and model.executor_ == "graphed"
    expected = fitted(small(task, **settings), *arrays)
    np.testing.assert_allclose(weights_of(model), weights_of(expected), rtol=1e-9, atol=1e-12)
    monkeypatch.setattr("skbig.estimators.tensors.get_config", lambda: {"array_api_dispatch": True})
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(model, method):
            returned.clear()
            found = getattr(model, method)(there[0])
            assert found.is_cuda and max(returned, default=0) <= 2
            np.testing.assert_allclose(found.cpu().numpy(), getattr(model, method)(MANY), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool])
def test_dtypes_of_tensors(dtype: torch.dtype, returned: list[int]) -> None:
    """Whatever a tensor holds is read on the card, as the numbers are that it holds, also in columns."""
    rows = (torch.from_numpy(np.ascontiguousarray(MANY.T)).cuda() * 2).to(dtype).T
    rows.requires_grad_(dtype.is_floating_point)
    array, values = rows.detach().double().cpu().numpy(), np.tile(VALUES, 20)
    targets = torch.from_numpy(values).cuda()
    returned.clear()
    model = fitted(small("regression", device="cuda"), rows, targets)
    assert max(returned) <= FEW
    expected = fitted(small("regression", device="cuda"), array, values)
    np.testing.assert_allclose(weights_of(model), weights_of(expected), rtol=1e-5, atol=1e-7)


def test_wrong_tensors_are_wrong_in_the_words_of_arrays() -> None:
    """A number that is none is found on the card."""
    wrong, model = torch.from_numpy(MANY).cuda(), fitted(small("binary", device="cuda"), X, BINARY)
    wrong[7, 2] = torch.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.fit(wrong, np.tile(BINARY, 20))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(wrong)


def test_rows_are_let_go() -> None:
    """After a fit and a prediction nothing holds the memory of a tensor."""
    rows, y = torch.from_numpy(np.tile(MANY, (50, 1))).cuda(), np.tile(BINARY, 1000)
    model = fitted(small("binary", device="cuda"), rows, y)
    model.predict(rows)
    n_bytes, before = rows.nbytes, allocated()
    del rows
    assert before - allocated() >= n_bytes


# Memory.


def allocated() -> int:
    gc.collect()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()


def test_nothing_stays_after_a_fit() -> None:
    """Fifty fits take no more memory of the card than two."""

    def fit() -> int:
        fitted(small("multiclass", device="cuda", hidden_layer_sizes=(64,), batch_size=16, max_iter=2), X, MULTICLASS)
        return allocated()

    fit(), fit()
    first = fit()
    sizes = [fit() for _ in range(48)]
    assert sizes == [first] * 48, f"{first} bytes grew to {sizes[-1]}."


def test_without_collecting_garbage() -> None:
    """A fit lets go of its memory by itself: nothing of it waits for the collector of garbage."""
    before = allocated()
    gc.disable()
    try:
        for _ in range(3):
            model = small("multiclass", device="cuda", hidden_layer_sizes=(512, 512), batch_size=16, max_iter=2)
            fitted(model, X, MULTICLASS)
        torch.cuda.synchronize()
        grown = torch.cuda.memory_allocated() - before
    finally:
        gc.enable()
    assert grown < 2**20, f"{grown} bytes are still taken."


@pytest.fixture
def little_memory() -> Any:
    """Leave this process few megabytes of the card beyond what it has now."""

    def limit(n_bytes: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + n_bytes) / total)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_a_batch_that_does_not_fit_is_computed_in_parts(little_memory: Any) -> None:
    """The result is that of the whole batch."""
    rng = np.random.default_rng(0)
    many, y = rng.standard_normal((16384, 32)).astype(np.float32), rng.integers(0, 3, 16384)
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (512, 512),
        "batch_size": 16384,
        "max_iter": 2,
        "random_state": 0,
        "device": "cuda",
    }
    whole = fitted(BigMLPClassifier(**settings), many, y)
    little_memory(120 * 2**20)
    with pytest.warns(MemorySplitWarning):
        parts = BigMLPClassifier(**settings).fit(many, y)
    np.testing.assert_allclose(parts.loss_curve_, whole.loss_curve_, rtol=1e-4)


def test_a_stack_that_does_not_fit_is_halved(little_memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search goes on in smaller stacks when memory runs out, with the same scores."""
    rng = np.random.default_rng(0)
    many, y = rng.standard_normal((4096, 32)).astype(np.float32), rng.integers(0, 2, 4096)
    model = BigMLPClassifier((256, 256), batch_size=1024, max_iter=2, random_state=0, device="cuda")
    grid = {"learning_rate": [1e-4, 3e-4, 1e-3, 3e-3], "alpha": [1e-5, 1e-4, 1e-3, 1e-2]}
    whole = fitted(BigGridSearchCV(model, grid, cv=2, refit=False), many, y)
    monkeypatch.setattr("skbig.search.stack_planning._fitting_in_memory", lambda *_: 1024)
    little_memory(100 * 2**20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        halved = fitted(BigGridSearchCV(model, grid, cv=2, refit=False), many, y)
    np.testing.assert_allclose(halved.cv_results_["mean_test_score"], whole.cv_results_["mean_test_score"], atol=0.02)


def test_prediction_in_smaller_blocks(little_memory: Any) -> None:
    """Rows that do not fit on the card with their activations are predicted in smaller blocks."""
    model = fitted(BigMLPClassifier((1024, 1024), max_iter=1, device="cuda", random_state=0), X, MULTICLASS)
    many = np.tile(X, (2000, 1))
    expected = model.predict_proba(X)
    little_memory(60 * 2**20)
    np.testing.assert_allclose(model.predict_proba(many)[-len(X) :], expected, rtol=1e-3, atol=1e-5)


# Threads, searches, streams, processes.


def test_two_threads() -> None:
    """Fits in two threads at once come to what they come to one after the other."""
    alone = [weights_of(fitted(small("multiclass", device="cuda", random_state=i), X, MULTICLASS)) for i in range(4)]
    results: list[Any] = [None] * 4

    def work(first: int) -> None:
        for i in (first, first + 2):
            model = small("multiclass", device="cuda", random_state=i).fit(X, MULTICLASS)
            results[i] = weights_of(model), model.executor_

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for (weights, executor), expected in zip(results, alone, strict=True):
        assert executor == "graphed"
        np.testing.assert_array_equal(weights, expected)


def test_a_search() -> None:
    """Candidates that are stacked as graphs come to the scores of a CPU."""
    grid = {"learning_rate": [1e-3, 3e-3, 1e-2], "alpha": [1e-4, 1e-2], "optimizer__betas": [(0.9, 0.999), (0.8, 0.9)]}
    results = []
    for device in ("cuda", "cpu"):
        model = small("multiclass", device=device, precision="float64", batch_size=16, optimizer="adam", max_iter=5)
        search = fitted(BigGridSearchCV(model, grid, cv=3), X, MULTICLASS)
        results.append(search)
    card, cpu = results
    np.testing.assert_allclose(card.cv_results_["mean_test_score"], cpu.cv_results_["mean_test_score"], atol=1e-6)
    assert card.best_estimator_.executor_ == "graphed"


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_that_are_streamed(shuffle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are read from a file come to the card beside the computing, and are graphed, too."""
    monkeypatch.setattr("skbig.data.streaming.lazy_rows.LOADED_BYTES", 100)
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 100)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    models = [
        fitted(small("multiclass", device=name, precision="float64", batch_size=8, shuffle=shuffle), mapped, MULTICLASS)
        for name in ("cuda", "cpu")
    ]
    assert models[0].executor_ == "graphed"
    np.testing.assert_allclose(weights_of(models[0]), weights_of(models[1]), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("backend", [DDP(n_workers=1), FSDP(n_workers=1)], ids=lambda backend: type(backend).__name__)
def test_one_rank(backend: Any) -> None:
    """One process of NCCL comes to what this process comes to."""
    settings: dict[str, Any] = {"hidden_layer_sizes": (16,), "device": "cuda", "batch_size": 16}
    ranked, plain = (fitted(small("regression", backend=each, **settings), X, VALUES) for each in (backend, None))
    np.testing.assert_allclose(weights_of(ranked), weights_of(plain), rtol=1e-3, atol=1e-5)
