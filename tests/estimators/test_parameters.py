"""Parameters: what they may be, how they are set, and what is said when they are wrong."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import skbig.components as components
from skbig import BigMLPClassifier, BigMLPRegressor
from skbig._utils.component import names
from skbig.components import L2, SGD, Adam, AdamW, ClipNorm, Component, Cosine, ElasticNet, Huber, Plateau
from skbig.components.losses.base import resolve_loss
from tests.fitting import BINARY, BOTH, VALUES, X, fitted, small, state_of, target, trained, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = ("optimizer", "schedule", "penalty", "clipping", "augmentation", "loss")
NAMED = [(kind, name) for kind in KINDS for name in names(kind)]
EXPORTED = [getattr(components, name) for name in components.__all__]
CLASSES = [kind for kind in EXPORTED if isinstance(kind, type) and issubclass(kind, Component)]
CLASS_OF = {(kind.kind, kind.name): kind for kind in CLASSES}
POSITIVE = np.abs(VALUES) + 0.1


def task_of(kind: str, name: str) -> tuple[str, Any]:
    """Return the task that a component serves, with targets that every loss takes."""
    of_values = kind == "loss" and not CLASS_OF[kind, name].for_classes
    return ("regression", POSITIVE) if of_values else ("binary", BINARY)


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_a_name_a_class_and_an_instance_are_one_choice(kind: str, name: str) -> None:
    """A component trains the same whether it is given by its name, its class or an instance."""
    task, y = task_of(kind, name)
    component = CLASS_OF[kind, name]
    models = [fitted(small(task, max_iter=2, **{kind: value}), X, y) for value in (name, component, component())]
    for model in models[1:]:
        assert weights_of(model).tobytes() == weights_of(models[0]).tobytes()


@pytest.mark.parametrize("kind", ["penalty", "clipping", "augmentation"])
def test_none_is_a_choice(kind: str) -> None:
    """A component that may be left out is left out with None."""
    assert np.isfinite(trained("binary", **{kind: None}).loss_)


@pytest.mark.parametrize(
    ("kind", "function"),
    [("schedule", lambda fraction: 1 - fraction), ("loss", lambda raw, y: (raw - y).abs())],
    ids=["schedule", "loss"],
)
def test_a_plain_function_is_a_schedule_or_a_loss(kind: str, function: Any) -> None:
    """A callable serves as schedule or loss and survives cloning."""
    model = clone(small("regression", **{kind: function}))
    fitted(model, X, VALUES)
    assert getattr(model, kind) is function
    assert model.score(X, VALUES) < 1


@BOTH
def test_parameters_are_stored_untouched(task: str) -> None:
    """A constructor stores its arguments as they are, legal or not."""
    strange = object()
    for name in small(task).get_params(deep=False):
        assert getattr(small(task, **{name: strange}), name) is strange


def test_a_field_of_a_component_is_set() -> None:
    """A nested name changes one field and leaves the others, also of a component given by its name."""
    model = BigMLPRegressor(optimizer="sgd", loss=Huber(), schedule=Cosine(warmup=0.1), clipping=ClipNorm)
    model.set_params(optimizer__momentum=0.5, loss__delta=2.0, schedule__end=0.2, clipping__max_norm=3.0)
    assert model.optimizer == SGD(momentum=0.5)
    assert model.loss == Huber(delta=2.0)
    assert model.schedule == Cosine(warmup=0.1, end=0.2)
    assert model.clipping == ClipNorm(max_norm=3.0)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_component_and_its_field_are_set_in_one_call(backwards: bool) -> None:
    """The order of arguments does not matter: a component is set before its fields."""
    changes = [("optimizer", "sgd"), ("optimizer__momentum", 0.5)]
    changes = changes[::-1] if backwards else changes
    assert BigMLPClassifier(optimizer=AdamW()).set_params(**dict(changes)).optimizer == SGD(momentum=0.5)


def test_shared_components_are_never_changed() -> None:
    """Setting a field replaces the component, so another estimator that shares it sees nothing."""
    shared = AdamW()
    one, other = BigMLPClassifier(optimizer=shared), BigMLPClassifier(optimizer=shared)
    one.set_params(optimizer__weight_decay=0.5)
    assert other.optimizer is shared
    assert shared == AdamW()


def test_get_params_reaches_into_components() -> None:
    """Deep parameters hold the fields of components; shallow ones do not."""
    model = BigMLPClassifier(optimizer=AdamW(betas=(0.5, 0.9)), penalty=ElasticNet(0.3))
    deep = model.get_params()
    assert deep["optimizer__betas"] == (0.5, 0.9)
    assert deep["penalty__l1_ratio"] == 0.3
    assert not any("__" in name for name in model.get_params(deep=False))
    assert clone(model).set_params(**deep).get_params() == deep


@BOTH
def test_a_clone_trains_the_same(task: str) -> None:
    """A clone has equal parameters, no fitted attribute, and the same fit."""
    model = trained(task, optimizer=AdamW(betas=(0.8, 0.9)), schedule=Plateau(), clipping="norm", penalty=L2())
    copy = clone(model)
    assert not hasattr(copy, "coefs_")
    assert copy.get_params() == model.get_params()
    assert weights_of(fitted(copy, X, target(task))).tobytes() == weights_of(model).tobytes()


def test_an_unfitted_estimator_is_pickled() -> None:
    """Pickling an unfitted estimator keeps its components."""
    model = BigMLPClassifier(optimizer=AdamW(betas=(0.8, 0.9)), clipping=ClipNorm)
    assert pickle.loads(pickle.dumps(model)).get_params() == model.get_params()


def test_a_grid_over_components_is_searched_in_a_pipeline() -> None:
    """A search mixes names, instances, fields and plain numbers, and its best estimator has what won."""
    grid = [
        {"net__optimizer": ["sgd", AdamW()], "net__alpha": [1e-4, 1.0]},
        {"net__optimizer__betas": [(0.5, 0.9), (0.9, 0.99)], "net__schedule": ["cosine", Plateau()]},
    ]
    pipeline = Pipeline([("scale", StandardScaler()), ("net", small("binary", max_iter=2))])
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, BINARY)
    assert len(search.cv_results_["params"]) == 8
    best = search.best_estimator_.named_steps["net"]
    for name, value in search.best_params_.items():
        assert best.get_params()[name.removeprefix("net__")] == value
    assert grid[0]["net__optimizer"][1] == AdamW()


def test_a_grid_made_by_numpy_is_searched() -> None:
    """NumPy's own strings, numbers and bools are as good as Python's."""
    grid = {
        "activation": np.array(["relu", "tanh"]),
        "optimizer": np.array(["adam", "sgd"]),
        "hidden_layer_sizes": np.array([3, 4]),
        "alpha": np.logspace(-4, -3, 2),
        "shuffle": np.array([True, False]),
        "batch_size": np.array(["auto", "full"]),
        "n_iter_no_change": np.arange(5, 7),
    }
    for candidate in list(ParameterGrid(grid))[:: len(ParameterGrid(grid)) // 4]:
        assert fitted(small("binary").set_params(**candidate)).n_iter_ == 3


# Each parameter with wrong values, what the message says of the right ones, and what it shows.
WRONG: list[tuple[str, Any, str]] = [
    ("hidden_layer_sizes", (0,), "a sequence of ints > 0"),
    ("hidden_layer_sizes", (3.5,), "a sequence of ints > 0"),
    ("hidden_layer_sizes", "ab", "a sequence of ints > 0"),
    ("hidden_layer_sizes", None, "a sequence of ints > 0"),
    ("hidden_layer_sizes", (True,), "a sequence of ints > 0"),
    ("activation", "sinus", "one of {'identity', 'logistic'"),
    ("activation", ["relu"], "one of {'identity', 'logistic'"),
    ("penalty", "l3", "one of ['elasticnet', 'group_l1', 'l1', 'l2'], None"),
    ("penalty", Adam(), "one of ['elasticnet', 'group_l1', 'l1', 'l2'], None"),
    ("alpha", -1.0, "in the range [0, inf)"),
    ("alpha", float("nan"), "in the range [0, inf)"),
    ("alpha", float("inf"), "in the range [0, inf)"),
    ("alpha", "1", "in the range [0, inf)"),
    ("optimizer", "adm", "'adam', 'adamw'"),
    ("optimizer", None, "'adam', 'adamw'"),
    ("optimizer", ["adam"], "'adam', 'adamw'"),
    ("learning_rate", 0.0, "in the range (0, inf)"),
    ("learning_rate", None, "in the range (0, inf)"),
    ("schedule", "cosin", "'constant', 'cosine'"),
    ("privacy", "dp", "one of ['dpsgd'], None"),
    ("clipping", "nrm", "one of ['norm', 'value'], None"),
    ("augmentation", "mixdown", "'mixup'"),
    ("dropout", 1.0, "in the range [0, 1)"),
    ("normalization", "group", "{None, 'batch', 'layer'}"),
    ("n_members", 0, "in the range [1, inf)"),
    ("n_members", 2.0, "an int in the range [1, inf)"),
    ("batch_size", 0, "'auto', 'full'"),
    ("batch_size", 2.5, "'auto', 'full'"),
    ("max_iter", 0, "in the range [1, inf)"),
    ("max_time", 0, "in the range (0, inf)"),
    ("shuffle", 1, "a bool"),
    ("early_stopping", "yes", "a bool"),
    ("validation_fraction", 1.0, "in the range (0, 1)"),
    ("n_iter_no_change", -1, "in the range [0, inf)"),
    ("n_iter_no_change", 2.5, "an int in the range [0, inf)"),
    ("tol", -1e-9, "in the range [0, inf)"),
    ("tol", float("inf"), "in the range [0, inf)"),
    ("scoring", "acuracy", "get_scorer_names()"),
    ("scoring", 3, "get_scorer_names()"),
    ("warm_start", None, "a bool"),
    ("random_state", -1, "in the range [0, 4294967295]"),
    ("random_state", "0", "in the range [0, 4294967295]"),
    ("random_state", np.random, "in the range [0, 4294967295]"),
    ("random_state", np.random.default_rng(0), "in the range [0, 4294967295]"),
    ("device", "gpus", "'auto', 'cpu', 'cuda'"),
    ("device", 3, "a str"),
    ("precision", "float16x", "'float32', 'float64'"),
    ("backend", "horovod", "one of None, 'ddp', 'fsdp', 'tensor', DDP(...), FSDP(...), TensorParallel(...)"),
    ("backend", 2, "one of None, 'ddp', 'fsdp', 'tensor', DDP(...), FSDP(...), TensorParallel(...)"),
    ("verbose", -1, "in the range [0, inf)"),
    ("checkpoint_dir", 3, "a path"),
    ("checkpoint_every", 0, "in the range [1, inf)"),
    ("checkpoint_every", 0.0, "in the range (0, inf)"),
    ("checkpoint_every", "epoch", "an int in the range"),
    ("loss", "squared", "one of ["),
    ("param_groups", {"bias": -1}, "a dict whose keys are roles or patterns"),
    ("average", "sma", "one of ['ema'], None"),
    ("fedprox", -1.0, "in the range [0, inf)"),
]


@BOTH
@pytest.mark.parametrize(("name", "value", "allowed"), WRONG, ids=[f"{name}={value!r:.20}" for name, value, _ in WRONG])
def test_a_wrong_value_is_named_at_fit(task: str, name: str, value: Any, allowed: str) -> None:
    """The message names the parameter, the estimator, what it may be and what it is; the estimator stays as it was."""
    model = small(task).set_params(**{name: value})
    before = vars(model).copy()
    with pytest.raises(ValueError) as error:
        fitted(model, X, target(task))
    message = str(error.value)
    assert message.startswith(f"The {name!r} parameter of {type(model).__name__} must be ")
    assert allowed in message
    assert f"Got {value!r} instead." in message
    assert vars(model) == before


def test_every_parameter_is_checked() -> None:
    """No parameter of either estimator takes everything."""
    checked = {name for name, _, _ in WRONG} | {"class_weight", "standardize_target"}  # of one of them only
    checked |= {"monotonic_cst"}  # with the errors of HistGradientBoosting, in test_monotonic_cst.py
    assert checked == {*BigMLPClassifier().get_params(deep=False), *BigMLPRegressor().get_params(deep=False)}


@pytest.mark.parametrize(
    "value", ["balance", 3, [1.0, 2.0], {0: -1.0}, {0: np.nan}, {0: np.inf}, {0: 0.0, 1: 0.0}, {7: 1.0}, {0: 1e308}]
)
def test_a_wrong_class_weight_is_an_error(value: Any) -> None:
    """Weights of classes must be known, finite, not negative and not all zero."""
    model = small("binary", class_weight=value)
    before = state_of(model)
    with pytest.raises(ValueError, match="class_weight"):
        fitted(model)
    assert state_of(model) == before


@pytest.mark.parametrize(
    ("nested", "value", "allowed"),
    [
        ("optimizer__betas", (0.9, 1.5), "'betas' parameter of Adam must be"),
        ("optimizer__eps", -1.0, "'eps' parameter of Adam must be"),
        ("schedule__warmup", 2.0, "'warmup' parameter of Constant must be"),
    ],
)
def test_a_wrong_field_is_named_at_fit(nested: str, value: Any, allowed: str) -> None:
    """set_params accepts any value of a field; fit refuses it with the field, its component and the value."""
    model = small("binary").set_params(**{nested: value})
    with pytest.raises(ValueError) as error:
        fitted(model)
    assert allowed in str(error.value)
    assert f"Got {value!r} instead." in str(error.value)


@pytest.mark.parametrize(
    "grid",
    [{"alpha": [-1.0, 0.1]}, {"optimizer": ["nope", "sgd"]}, {"optimizer__betas": [(2.0, 3.0), (0.9, 0.99)]}],
    ids=["number", "name", "field"],
)
def test_an_invalid_candidate_costs_only_itself(grid: dict[str, list[Any]]) -> None:
    """A search gives an invalid candidate the error score and goes on with the others."""
    search = GridSearchCV(small("binary"), grid, cv=2, error_score=-7.0, refit=False)
    with pytest.warns(FitFailedWarning, match="fits failed"):
        search.fit(X, BINARY)
    assert search.cv_results_["mean_test_score"][0] == -7.0
    assert 0 <= search.cv_results_["mean_test_score"][1] <= 1


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lr", "'lr' is called learning_rate here."),
        ("n_epochs", "max_iter"),
        ("hidden_layer_size", "Did you mean 'hidden_layer_sizes'?"),
        ("solver__betas", "optimizer"),
    ],
)
@BOTH
def test_an_unknown_name_is_hinted_by_set_params(task: str, name: str, hint: str) -> None:
    """set_params refuses an unknown name, says what is meant, and changes nothing."""
    model = small(task)
    before = state_of(model)
    with pytest.raises(ValueError, match=f"Invalid parameter '{name}' for estimator {type(model).__name__}") as error:
        model.set_params(alpha=7.0, **{name: 1})
    assert hint in str(error.value)
    assert state_of(model) == before


def test_an_unknown_field_is_hinted_by_set_params() -> None:
    """A field that a component does not have is refused with the fields it has."""
    with pytest.raises(ValueError, match=r"'beta' for optimizer Adam\. Did you mean 'betas'\?.*amsgrad"):
        BigMLPClassifier().set_params(optimizer__beta=1)
    with pytest.raises(ValueError, match="alpha=0.0001 has no parameters"):
        BigMLPClassifier().set_params(alpha__x=1)
    with pytest.raises(ValueError, match="clipping=None has no parameters"):
        BigMLPClassifier().set_params(clipping__max_norm=1.0)


@BOTH
def test_representations_show_what_was_changed(task: str) -> None:
    """repr and the HTML repr show changed parameters, those of components too, and leave out the defaults."""
    model = small(task, optimizer=AdamW(betas=(0.5, 0.9)), random_state=None)
    text = " ".join(repr(model).split())
    assert text.startswith(type(model).__name__ + "(hidden_layer_sizes=(4,)")
    assert "betas=(0.5, 0.9)" in text
    assert "dropout" not in text
    html = model._repr_html_()
    assert "betas=(0.5, 0.9)" in html
    assert "Not fitted" in html
    assert "Fitted" in fitted(model, X, target(task))._repr_html_()


def test_a_loss_of_the_other_task_is_refused() -> None:
    """A classifier refuses a regressor's loss and says whose it is."""
    with pytest.raises(ValueError, match="'loss' parameter of BigMLPClassifier.*Huber is a loss of BigMLPRegressor"):
        fitted(small("binary", loss=Huber()))
    assert resolve_loss("huber", for_classes=False) == Huber()


@pytest.mark.parametrize(
    "changes", [{"clipping": "norm"}, {"penalty": "l1"}, {"batch_size": 10}], ids=["clipping", "penalty", "batch_size"]
)
def test_a_line_search_refuses_what_it_would_ignore(changes: dict[str, Any]) -> None:
    """optimizer='lbfgs' refuses clipping, an edged penalty and batches, and says what to do."""
    with pytest.raises(ValueError, match=r"optimizer='lbfgs' .* Use "):
        fitted(small("binary", optimizer="lbfgs", **changes))


class Narrow(BigMLPClassifier):
    """A subclass with a parameter of its own, and few of the others."""

    def __init__(self, width: int = 3, *, max_iter: int = 3) -> None:
        super().__init__((width,), max_iter=max_iter, random_state=0)
        self.width = width


def test_a_subclass_may_have_other_parameters() -> None:
    """A subclass that fixes some parameters and adds others is cloned, searched and fitted."""
    model = fitted(clone(Narrow(width=4)))
    assert weights_of(model).tobytes() == weights_of(trained("binary")).tobytes()
    search = GridSearchCV(Narrow(), {"max_iter": [2, 3]}, cv=2, error_score="raise").fit(X, BINARY)
    assert search.best_estimator_.get_params() == {"width": 3, **search.best_params_}


def test_hidden_layers_are_read_once_from_what_can_be_read_again() -> None:
    """A generator would be empty at the second fit, so it is refused; lists, ranges, arrays and an int are not."""
    for sizes in ([3, 2], range(3, 1, -1), np.array([3, 2])):
        model = fitted(fitted(small("binary", hidden_layer_sizes=sizes)))
        assert [coef.shape for coef in model.coefs_] == [(4, 3), (3, 2), (2, 1)]
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        fitted(small("binary", hidden_layer_sizes=(size for size in (3, 2))))
