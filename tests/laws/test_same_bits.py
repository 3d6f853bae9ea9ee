"""The same seed gives the same bits, wherever a model is trained; and training moves nothing but the model."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from skbig import BigMLPClassifier, BigMLPRegressor, BigModuleClassifier
from skbig._utils.component import names, resolve
from skbig._utils.device import SingleDevice
from skbig.components import Penalty
from skbig.engine.kept_recordings import forget
from skbig.estimators.mlp import LISTS
from skbig.exceptions import DivergenceError
from tests.small import data

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noisy": {"dropout": 0.3, "normalization": "batch", "augmentation": "mixup", "clipping": "norm"},
    "line search": {"optimizer": "lbfgs"},
    "ensemble": {"n_members": 3},
    "early": {"early_stopping": True, "validation_fraction": 0.3, "scoring": None},
    "half": {"precision": "bf16"},
    # These compute on as many threads as there are.
    "large": {"hidden_layer_sizes": (256, 256), "max_iter": 2},
    "large, ten classes": {"hidden_layer_sizes": (256, 256), "max_iter": 2, "batch_size": 150},
    "large line search": {"hidden_layer_sizes": (256, 256), "optimizer": "lbfgs", "alpha": 1.0},
    "large penalty": {
        "hidden_layer_sizes": (256, 256),
        "penalty": "l1",
        "alpha": 0.01,
        "clipping": "norm",
        "max_iter": 2,
    },
}


def rows(name: str) -> tuple[np.ndarray, np.ndarray]:
    if "large" not in name:
        return data("multiclass")
    generator = np.random.RandomState(5)
    X = generator.normal(size=(300, 20)).astype(np.float32)
    if "ten" in name:
        return X, np.arange(300) % 10
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


def digest(name: str, **changes: Any) -> str:
    """Train, and sum up every bit that was learnt, drawn or shown."""
    settings = {"hidden_layer_sizes": (6,), "max_iter": 3, "batch_size": 20, **SETTINGS[name], **changes}
    if settings.get("optimizer") == "lbfgs":
        del settings["batch_size"]
    X, y = rows(name)
    model = BigMLPClassifier(random_state=settings.pop("random_state", 3), **settings).fit(X, y)
    arrays = [
        *(array for name in LISTS for array in getattr(model, name)),
        model.loss_curve_,
        model.predict_proba(X),
    ]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", SETTINGS)
def test_twice(name: str) -> None:
    """A second fit is the first one again, and another seed is another model."""
    assert digest(name) == digest(name)
    assert digest(name) != digest(name, random_state=4)


@pytest.mark.parametrize("name", SETTINGS)
def test_after_other_use_of_the_generators(name: str) -> None:
    """What others draw or seed does not matter."""
    expected = digest(name)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        torch.rand(7), np.random.rand(7)
        assert digest(name) == expected
    finally:
        random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])


@pytest.mark.parametrize("name", SETTINGS)
def test_on_any_number_of_threads(name: str, two_threads: None) -> None:
    """One thread or more, as joblib may leave to its workers: the bits are the same."""
    on_two = digest(name)
    torch.set_num_threads(1)
    assert digest(name) == on_two


@pytest.mark.parametrize("name", names("penalty"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_penalty_on_any_number_of_threads(name: str, dtype: torch.dtype, two_threads: None) -> None:
    """A sum over many weights does not depend on how threads would share it."""
    weight = torch.randn(1, 1, 100_000, generator=torch.Generator().manual_seed(0), dtype=dtype)
    values = []
    for n_threads in (1, 2, 3, 4):
        torch.set_num_threads(n_threads)
        values.append(resolve(Penalty, name).value(weight).item())
    assert len(set(values)) == 1


class Small(torch.nn.Sequential):
    def __init__(self, n_features: int, n_outputs: int, width: int) -> None:
        super().__init__(torch.nn.Linear(n_features, width), torch.nn.Tanh(), torch.nn.Linear(width, n_outputs))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def autocast_on_meta() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        yield


class OwnFunctions(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "float64": lambda: default_dtype(torch.float64),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "meta": lambda: torch.device("meta"),
    "autocast on meta": autocast_on_meta,
    "a function mode": OwnFunctions,
    "a dispatch mode": lambda: FlopCounterMode(display=False),
}


@pytest.mark.parametrize("name", ["plain", "noisy", "line search"])
@pytest.mark.parametrize("mode", MODES)
def test_in_modes_of_others(name: str, mode: str) -> None:
    """A caller's gradient mode, default dtype, default device or autocast is neither used nor changed.

    The first fit records its steps, and later ones take the recording.
    """
    forget()
    expected = digest(name)
    with MODES[mode]():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()
        assert digest(name) == expected
        forget()
        assert digest(name) == expected
        assert before == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype())


@pytest.mark.parametrize("mode", sorted(MODES.keys() - {"float64"}))  # in which its author's torch draws other numbers
def test_a_module_in_modes_of_others(mode: str) -> None:
    """A module of one's own, seen for the first time, is differentiated, whatever the caller has switched off."""
    X, y = data("multiclass")
    model = BigModuleClassifier(Small, module__width=len(mode), max_iter=2, random_state=0)
    with MODES[mode]():
        predicted = model.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(predicted, model.fit(X, y).predict_proba(X))


def test_beside_the_new_name_of_tf32() -> None:
    """A caller may set TF32 by the name that torch 2.9 gave it, after which torch refuses to read the old one."""
    switch = torch.backends.cuda.matmul
    if not hasattr(switch, "fp32_precision"):
        pytest.skip("this torch has the old name only")
    before, switch.fp32_precision = switch.fp32_precision, "tf32"
    try:
        digest("plain")
        with SingleDevice(torch.device("cuda"), torch.float32).products():
            assert switch.fp32_precision == "ieee"
        assert switch.fp32_precision == "tf32"
    finally:
        switch.fp32_precision = before


def test_in_another_process() -> None:
    """A fresh process, on another number of threads and after other work with torch, trains the same model."""
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import torch; torch.manual_seed(9); torch.set_num_threads(1)\n"
        "torch.rand(5, requires_grad=True).sum().backward()\n"
        "from tests.laws.test_same_bits import SETTINGS, digest\n"
        "print(*[digest(name) for name in SETTINGS])\n"
    )
    root = Path(__file__).parents[2]
    output = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert output.split() == [digest(name) for name in SETTINGS]


@pytest.mark.parametrize("backend", [pytest.param("loky", marks=pytest.mark.thorough), "threading"])
def test_in_parallel(backend: str) -> None:
    """A search over two workers finds what a search in one process finds."""
    X, y = data("multiclass")
    grid = {"learning_rate": [0.01, 0.1], "dropout": [0.0, 0.2]}
    scores = []
    for n_jobs in (1, 2):
        model = BigMLPClassifier((6,), max_iter=5, batch_size=10, random_state=0)
        with joblib.parallel_backend(backend):
            search = GridSearchCV(model, grid, cv=2, n_jobs=n_jobs, scoring="neg_log_loss").fit(X, y)
        scores.append([search.cv_results_["mean_test_score"], search.best_estimator_.coefs_[0]])
    for one, other in zip(*scores, strict=True):
        np.testing.assert_array_equal(one, other)


# Nothing else moves.


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.usefixtures("two_threads", "unchanged_globals")
def test_training_leaves_the_world_alone(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """No generator, thread count, mode, filter, handler or variable of the process moves, and nothing is printed."""
    digest(name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("two_threads", "unchanged_globals")
def test_an_estimator_without_a_seed_draws_from_nobody() -> None:
    """Without a seed fits differ, and still no generator of the process moves."""
    assert digest("plain", random_state=None) != digest("plain", random_state=None)


@pytest.mark.parametrize("optimizer", ["sgd", "lbfgs"])
@pytest.mark.usefixtures("two_threads", "unchanged_globals")
def test_divergence_leaves_the_world_alone(optimizer: str) -> None:
    """Nothing has moved when a fit ends in an error in the midst of training."""
    X, y = data("regression")
    model = BigMLPRegressor((6,), loss="poisson", optimizer=optimizer, batch_size="full", random_state=0)
    with pytest.raises(DivergenceError):
        model.fit(X * 1e5, y.ravel())


@pytest.mark.parametrize(
    "wrong", [{"learning_rate": -1.0}, {"device": "cuda:99"}, {"optimizer": "none"}, {"X": np.nan}], ids=str
)
@pytest.mark.usefixtures("two_threads", "unchanged_globals")
def test_refusal_leaves_the_world_alone(wrong: dict[str, Any]) -> None:
    """Nothing has moved when a fit is refused."""
    X, y = data("multiclass")
    X = X * wrong.pop("X", 1.0)
    with pytest.raises(ValueError):
        BigMLPClassifier(**wrong).fit(X, y)


@pytest.mark.usefixtures("two_threads", "unchanged_globals")
def test_a_failing_scorer_leaves_the_world_alone() -> None:
    """Nothing has moved when a user's own code fails in the midst of training."""

    def scorer(estimator: Any, X: Any, y: Any) -> float:
        raise RuntimeError("no score today")

    X, y = data("multiclass")
    with pytest.raises(RuntimeError, match="no score today"):
        BigMLPClassifier((6,), early_stopping=True, scoring=scorer).fit(X, y)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["noisy", "line search", "ensemble"])
def test_training_leaves_its_input_alone(name: str, dtype: type, order: Any) -> None:
    """Rows, targets and weights are only read, so they may be read-only."""
    X, y = data("multi-output")
    arrays = [np.array(array, dtype=dtype, order=order) for array in (X, y, np.ones(len(X)))]
    for array in arrays:
        array.flags.writeable = False
    before = [array.tobytes() for array in arrays]
    model = BigMLPRegressor((6,), random_state=0, max_iter=2, **SETTINGS[name]).fit(*arrays)
    model.predict(arrays[0])
    model.partial_fit(*arrays)
    assert [array.tobytes() for array in arrays] == before
