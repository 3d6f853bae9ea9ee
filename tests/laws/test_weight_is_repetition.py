"""A row of weight two counts as two rows, and a row of weight zero as none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from skbig import BigMLPClassifier, BigMLPRegressor
from skbig.components import Loss
from skbig.estimators.mlp import LISTS
from tests.small import CLASS_TASKS, data, losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COUNTS = np.random.RandomState(11).randint(0, 4, size=45)
"""How often each row occurs: some never."""

SETTINGS: list[dict[str, Any]] = [
    {},
    {"alpha": 2.0},
    {"alpha": 2.0, "penalty": "l1"},
    {"alpha": 2.0, "penalty": "elasticnet"},
    {"alpha": 0.0},
    {"optimizer": "sgd", "learning_rate": 0.1},
    {"optimizer": "sgd", "learning_rate": 0.1, "optimizer__momentum": 0.9, "alpha": 2.0},
    {"optimizer": "lbfgs"},
    {"optimizer": "lbfgs", "alpha": 2.0},
    {"normalization": "batch"},
    {"normalization": "batch", "optimizer": "lbfgs", "max_iter": 5},
    {"normalization": "layer"},
    {"clipping": "norm", "clipping__max_norm": 0.01},
    {"n_members": 2},
    {"hidden_layer_sizes": ()},
    {"shuffle": False},
]


def model(task: str, **changes: Any) -> Any:
    kind = BigMLPClassifier if task in CLASS_TASKS else BigMLPRegressor
    parameters = {
        "hidden_layer_sizes": (5,),
        "activation": "tanh",
        "learning_rate": 0.01,
        "batch_size": "full",
        "max_iter": 15,
    }
    made = kind(random_state=1, **parameters | {name: value for name, value in changes.items() if "__" not in name})
    return made.set_params(**{name: value for name, value in changes.items() if "__" in name})


def training(task: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = data(task)
    if task == "binary":
        return X, np.array(["no", "yes"])[y[:, 0].astype(int)]
    return X, y[:, 0] if task == "regression" else y


def assert_same(actual: Any, expected: Any, tolerance: float = 1e-7) -> None:
    """Two fitted models agree in weights, running moments and losses."""
    for name in LISTS:
        for one, other in zip(getattr(actual, name), getattr(expected, name), strict=True):
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(actual.loss_curve_, expected.loss_curve_, rtol=tolerance)


@pytest.mark.parametrize(("task", "loss"), losses())
def test_of_every_loss(task: str, loss: Loss) -> None:
    """Weights that are counts train as the rows repeated, whatever the loss."""
    X, y = training(task)
    repeated = np.repeat(np.arange(len(X)), COUNTS)
    expected = model(task, loss=loss).fit(X[repeated], y[repeated])
    assert_same(model(task, loss=loss).fit(X, y, sample_weight=COUNTS), expected)


@pytest.mark.crossed
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_of_every_setting(task: str, settings: dict[str, Any]) -> None:
    """Weights that are counts train as the rows repeated, whatever else is chosen."""
    X, y = training(task)
    repeated = np.repeat(np.arange(len(X)), COUNTS)
    expected = model(task, **settings).fit(X[repeated], y[repeated])
    tolerance = 1e-5 if settings.get("optimizer") == "lbfgs" else 1e-7  # a line search makes more of the last bit
    assert_same(model(task, **settings).fit(X, y, sample_weight=COUNTS), expected, tolerance)


@pytest.mark.parametrize("task", CLASS_TASKS)
@pytest.mark.parametrize("settings", [{}, {"optimizer": "lbfgs"}, {"alpha": 2.0}], ids=str)
def test_of_balanced_classes(task: str, settings: dict[str, Any]) -> None:
    """Balancing the classes counts a row of weight two as two."""
    X, y = training(task)
    repeated = np.repeat(np.arange(len(X)), COUNTS)
    expected = model(task, class_weight="balanced", **settings).fit(X[repeated], y[repeated])
    weighted = model(task, class_weight="balanced", **settings).fit(X, y, sample_weight=COUNTS)
    assert_same(weighted, expected, 1e-5 if "optimizer" in settings else 1e-7)


def test_of_class_weights() -> None:
    """The weight of a class is that of each of its rows."""
    X, y = training("multiclass")
    factors = {0: 1, 1: 3, 2: 2}
    repeated = np.repeat(np.arange(len(X)), [factors[label] * count for label, count in zip(y, COUNTS, strict=True)])
    expected = model("multiclass").fit(X[repeated], y[repeated])
    assert_same(model("multiclass", class_weight=factors).fit(X, y, sample_weight=COUNTS), expected)


@pytest.mark.parametrize("settings", [{}, {"normalization": "batch"}], ids=str)
def test_of_a_class_of_weight_zero(settings: dict[str, Any]) -> None:
    """A class of weight zero is known, but its rows are not trained on."""
    X, y = training("multiclass")
    trained = np.flatnonzero(y != 1)
    settings = {"batch_size": 7, "shuffle": False, **settings}
    weighted = model("multiclass", class_weight={1: 0.0}, max_iter=1, **settings).fit(X, y)
    expected = model("multiclass", **settings).partial_fit(X[trained], y[trained], classes=[0, 1, 2])
    assert_same(weighted, expected)


@pytest.mark.parametrize("weights", [{0: 0.0, 1: 0.0, 2: 0.0}, {0: -1.0}])
def test_of_impossible_class_weights(weights: dict[int, float]) -> None:
    """Weights of classes are as legal as those of rows."""
    X, y = training("multiclass")
    with pytest.raises(ValueError, match="class_weight"):
        model("multiclass", class_weight=weights).fit(X, y)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.csc_matrix])
def test_of_sparse_rows(form: Any) -> None:
    """A weight meets its own row, in whatever form the rows come."""
    X, y = training("regression")
    X = np.where(np.abs(X) > 0.5, X, 0.0)
    repeated = np.repeat(np.arange(len(X)), COUNTS)
    expected = model("regression").fit(X[repeated], y[repeated])
    assert_same(model("regression").fit(form(X), y, sample_weight=COUNTS), expected)


def test_of_partial_fit() -> None:
    """Each call of partial_fit weighs its rows alike."""
    X, y = training("regression")
    repeated = np.repeat(np.arange(len(X)), COUNTS)
    weighted, expected = model("regression", alpha=1.0), model("regression", alpha=1.0)
    for _ in range(5):
        weighted.partial_fit(X, y, sample_weight=COUNTS)
        expected.partial_fit(X[repeated], y[repeated])
    assert_same(weighted, expected)


@pytest.mark.parametrize("scoring", ["loss", None])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_of_validation_rows(task: str, scoring: str | None) -> None:
    """A validation row of weight two is scored as two rows."""
    X, y = training(task)
    repeated = np.repeat(np.arange(len(X)), COUNTS)
    settings = {"early_stopping": True, "scoring": scoring, "learning_rate": 0.1, "n_iter_no_change": 2}
    weighted = model(task, **settings).fit(X, y, X_val=X + 1, y_val=y, sample_weight_val=COUNTS)
    expected = model(task, **settings).fit(X, y, X_val=X[repeated] + 1, y_val=y[repeated])
    np.testing.assert_allclose(weighted.validation_scores_, expected.validation_scores_)
    np.testing.assert_allclose(weighted.validation_loss_curve_, expected.validation_loss_curve_)
    assert_same(weighted, expected)


@pytest.mark.crossed
@pytest.mark.parametrize("batch_size", [7, 20, "full"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalization": "batch", "dropout": 0.3},
        {"augmentation": "mixup"},
        {"early_stopping": True},
        {"n_members": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_weight_zero_is_no_row(task: str, settings: dict[str, Any], batch_size: Any) -> None:
    """Rows of weight zero are as good as removed, to the last bit and at any batch size."""
    X, y = training(task)
    weight = COUNTS.astype(float)
    settings = {"batch_size": batch_size, **settings}
    weighted = model(task, **settings).fit(X, y, sample_weight=weight)
    assert_same(
        weighted, model(task, **settings).fit(X[weight > 0], y[weight > 0], sample_weight=weight[weight > 0]), 0.0
    )


@pytest.mark.parametrize("batch_size", [20, "full"])
@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "lbfgs"}, {"normalization": "batch"}, {"class_weight": "balanced"}], ids=str
)
def test_only_the_ratio_of_weights_counts(settings: dict[str, Any], batch_size: Any) -> None:
    """All weights times three change nothing where nothing is penalised."""
    X, y = training("multiclass")
    if settings.get("optimizer") == "lbfgs":
        batch_size = "full"
    settings = {"alpha": 0.0, "batch_size": batch_size, **settings}
    expected = model("multiclass", **settings).fit(X, y, sample_weight=COUNTS)
    tolerance = 1e-5 if settings.get("optimizer") == "lbfgs" else 1e-7
    assert_same(model("multiclass", **settings).fit(X, y, sample_weight=3.0 * COUNTS), expected, tolerance)


@pytest.mark.crossed
@pytest.mark.parametrize("penalty", ["l1", "l2", "elasticnet", "group_l1"])
@pytest.mark.parametrize("batch_size", [20, "full"])
def test_the_penalty_is_set_against_the_sum_of_weights(penalty: str, batch_size: Any) -> None:
    """As in scikit-learn, alpha is per set: three times the weights take three times the alpha."""
    X, y = training("regression")
    fits = [
        model("regression", penalty=penalty, alpha=factor, batch_size=batch_size).fit(
            X, y, sample_weight=factor * COUNTS
        )
        for factor in (1.0, 3.0)
    ]
    assert_same(*fits)


def test_weight_one_is_no_weight() -> None:
    """Rows of weight one train as rows without weights, at any batch size."""
    X, y = training("multi-output")
    expected = model("multi-output", batch_size=20).fit(X, y)
    assert_same(model("multi-output", batch_size=20).fit(X, y, sample_weight=np.ones(len(X))), expected, 1e-12)
