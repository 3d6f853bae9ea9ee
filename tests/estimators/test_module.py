"""BigModuleClassifier and BigModuleRegressor: how a module is given, what of it is kept, and what is refused."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skbig import (
    DDP,
    BigGridSearchCV,
    BigMLPClassifier,
    BigMLPRegressor,
    BigModuleClassifier,
    BigModuleRegressor,
    BigTabularRegressor,
)
from skbig.networks import MLP
from tests.networks.modules import (
    IMAGES,
    MODULES,
    TABLE,
    TOKENS,
    Convolutions,
    Deciding,
    Perceptron,
    Recurrent,
    Words,
    labels,
)

pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations")
Y = labels(TABLE)
FEW: dict[str, Any] = {"max_iter": 4, "batch_size": 16, "learning_rate": 0.02, "random_state": 0}


def classifier(module: Any = Perceptron, **parameters: Any) -> BigModuleClassifier:
    return BigModuleClassifier(module, **FEW | parameters)


def assert_same(one: Any, other: Any, tolerance: float = 0.0) -> None:
    ours, theirs = one.weights_ | one.buffers_, other.weights_ | other.buffers_
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_allclose(value, theirs[name], rtol=tolerance, atol=tolerance, err_msg=name)


# A copy of ours.


def mlp_weights(mlp: Any, n_outputs: int) -> dict[str, np.ndarray]:
    """Return the first weights of a fitted multi-layer perceptron by the names of the module."""
    (seed,) = mlp._progress["seeds"]
    first = MLP((8,)).of_shape(TABLE.shape[1], n_outputs).initial([seed])
    names = {"weight0": "hidden.0.weight", "bias0": "hidden.0.bias", "weight1": "out.weight", "bias1": "out.bias"}
    return {
        names[name]: value[0].T if value[0].ndim == 2 and "weight" in name else value[0].ravel()
        for name, value in first.items()
    }


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "adamw", "schedule": "cosine"},
        {"optimizer": "lbfgs", "batch_size": "auto"},
        {"clipping": "norm", "class_weight": "balanced"},
    ],
    ids=str,
)
def test_a_copy_of_our_perceptron_is_trained_as_ours(change: dict[str, Any]) -> None:
    """From the same weights, and with the same parameters, it comes to the same to rounding."""
    settings = FEW | {"alpha": 0.1, "learning_rate": "auto"} | change
    ours = BigMLPClassifier((8,), **settings).fit(TABLE, Y)
    copy = BigModuleClassifier(Perceptron, init_from=mlp_weights(ours, 3), **settings).fit(TABLE, Y)
    np.testing.assert_allclose(copy.loss_curve_, ours.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(copy.weights_["out.weight"].T, ours.coefs_[1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(copy.predict_proba(TABLE), ours.predict_proba(TABLE), rtol=1e-12)


def test_a_copy_of_our_perceptron_regresses_as_ours() -> None:
    """The same for two numbers, with validation rows and early stopping."""
    y = TABLE[:, :2] ** 2
    settings = FEW | {"early_stopping": True, "max_iter": 20, "n_iter_no_change": 2}
    ours = BigMLPRegressor((8,), **settings).fit(TABLE, y)
    copy = BigModuleRegressor(Perceptron, init_from=mlp_weights(ours, 2), **settings).fit(TABLE, y)
    assert copy.n_iter_ == ours.n_iter_
    np.testing.assert_allclose(copy.predict(TABLE), ours.predict(TABLE), rtol=1e-12)


# How a module is given.


def perceptron(n_features: int, n_outputs: int, width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_outputs))


def test_first_weights_are_those_of_torch() -> None:
    """A member begins as its module does after torch.manual_seed(seed); the global generator is not asked."""
    model = classifier(learning_rate=1e-30).fit(TABLE, Y)
    torch.manual_seed(model._progress["seeds"][0])
    expected = Perceptron(4, 3)
    for name, value in expected.named_parameters():
        np.testing.assert_array_equal(model.weights_[name], value.detach().numpy(), err_msg=name)


@pytest.mark.parametrize("module", [perceptron, partial(perceptron, width=5)], ids=["function", "partial"])
def test_a_function_makes_the_module(module: Any) -> None:
    """It is called with what its signature asks for, and is searched as a class."""
    search = BigGridSearchCV(classifier(module), {"module__width": [2, 6], "alpha": [0.0, 0.1]}, cv=2)
    model = search.fit(TABLE, Y).best_estimator_
    assert model.weights_["0.weight"].shape == (model.get_params()["module__width"], 4)
    assert_same(pickle.loads(pickle.dumps(model)), model)


def test_an_instance_is_copied() -> None:
    """Its weights are the first ones, and it stays as it is; also in a search, which stacks its copies."""
    module = Perceptron(4, 3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    model = classifier(module).fit(TABLE, Y)
    BigGridSearchCV(classifier(module), {"alpha": [0.0, 0.1]}, cv=2).fit(TABLE, Y)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not np.array_equal(model.weights_["out.weight"], before["out.weight"].numpy())
    assert_same(classifier(Perceptron, init_from=before).fit(TABLE, Y), model)
    assert_same(clone(model).fit(TABLE, Y), model)


def test_its_parameters_are_the_estimators() -> None:
    """They are given, got, set, cloned and shown; those that have not been set are shown by get_params."""
    model = classifier(module__width=5)
    assert model.get_params()["module__width"] == 5 == clone(model).get_params(deep=False)["module__width"]
    assert model.get_params()["module__dropout"] == 0.0
    assert "module__dropout" not in model.get_params(deep=False)
    assert "module__width=5" in repr(model)
    model.set_params(module__width=3, module__dropout=0.1).fit(TABLE, Y)
    assert model.weights_["out.weight"].shape == (3, 3)
    assert (model.module__width, model.module__dropout) == (3, 0.1)


def test_it_is_fitted_within_a_pipeline() -> None:
    """A pipeline hands its parameters on."""
    model = make_pipeline(StandardScaler(), classifier(max_iter=60, schedule="cosine"))
    search = BigGridSearchCV(model, {"bigmoduleclassifier__module__width": [4, 16]}, cv=3).fit(TABLE, Y)
    assert search.score(TABLE, Y) > 0.7


# Rows of any shape and of whole numbers.


def test_rows_may_have_any_shape() -> None:
    """It is given rows as they are, and later only rows of the same shape."""
    y = labels(IMAGES)
    model = classifier(Convolutions).fit(IMAGES, y)
    assert model.input_shape_ == IMAGES.shape[1:] and model.predict(IMAGES[:3]).shape == (3,)
    with pytest.raises(ValueError, match=r"rows of shape \(2, 6\), but .* expecting rows of shape \(2, 6, 5\)"):
        model.predict(IMAGES[..., 0])
    validated = classifier(Convolutions, early_stopping=True).fit(IMAGES, y, X_val=IMAGES[:9], y_val=y[:9])
    assert validated.validation_scores_ is not None


def test_rows_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images on disk are read block by block, and come to what they come to in memory, all in one buffer."""
    monkeypatch.setattr("skbig.estimators.row_checks.LOADED_BYTES", 0)
    y = labels(IMAGES)
    mapped = np.memmap(tmp_path / "images", IMAGES.dtype, "w+", shape=IMAGES.shape)
    mapped[:] = IMAGES
    in_memory = classifier(Convolutions, shuffle=False).fit(IMAGES, y)
    streamed = classifier(Convolutions, shuffle=False).fit(mapped, y)
    assert_same(streamed, in_memory)
    np.testing.assert_array_equal(streamed.predict_proba(mapped), in_memory.predict_proba(IMAGES))
    tokens = np.memmap(tmp_path / "tokens", TOKENS.dtype, "w+", shape=TOKENS.shape)
    tokens[:] = TOKENS
    assert_same(classifier(Words, shuffle=False).fit(tokens, y), classifier(Words, shuffle=False).fit(TOKENS, y))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_whole_numbers_come_as_they_are(dtype: Any) -> None:
    """An embedding is given whole numbers; and later others than whole ones are refused."""
    y = labels(TOKENS)
    model = classifier(Words).fit(TOKENS.astype(dtype), y)
    np.testing.assert_array_equal(model.predict(TOKENS), model.predict(TOKENS.astype(float)))
    with pytest.raises(ValueError, match=r"whole numbers.*Row 0 has the value 0.5"):
        model.predict(np.full((2, 6), 0.5))
    assert_same(model.partial_fit(TOKENS.astype(float), y), clone(model).fit(TOKENS, y).partial_fit(TOKENS, y))


@pytest.mark.parametrize("dtype", [np.int32, np.float32, bool])
def test_a_module_of_real_numbers_takes_any(dtype: Any) -> None:
    """Whole numbers are converted for a module that begins with a product, as for the other estimators."""
    X = TABLE.astype(dtype)
    model = classifier().fit(X, Y)
    real = X if dtype == np.float32 else X.astype(float)
    np.testing.assert_array_equal(model.predict_proba(X), classifier().fit(real, Y).predict_proba(real))


@pytest.mark.parametrize("case", ["with batch norm", "convolutions", "words", "attention"])
def test_bfloat16_is_a_precision_of_its_own(case: str) -> None:
    """In bfloat16 weights stay float32, and it learns about what it learns in full precision."""
    module, settings, X = MODULES[case]
    own = {f"module__{name}": value for name, value in settings.items()}
    half = classifier(module, precision="bf16", **own).fit(X, labels(X))
    full = classifier(module, precision="float32", **own).fit(X, labels(X))
    assert {value.dtype for value in half.weights_.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(half.loss_curve_, full.loss_curve_, rtol=0.05)
    assert half.loss_curve_ != full.loss_curve_


# Pretrained weights, and frozen ones.


def encoder_and_head(n_features: int, n_outputs: int) -> nn.Module:
    module = nn.Sequential()
    module.add_module("encoder", nn.Sequential(nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU()))
    module.add_module("head", nn.Linear(8, n_outputs))
    return module


def test_frozen_weights_stay() -> None:
    """What a pattern names is not trained, batch norms keep their moments, and the rest is."""
    free = classifier(encoder_and_head).fit(TABLE, Y)
    state = free.weights_ | free.buffers_
    model = classifier(encoder_and_head, init_from=state, freeze=["encoder.*"], n_members=2, alpha=0.1).fit(TABLE, Y)
    for name, value in (model.weights_ | model.buffers_).items():
        assert np.array_equal(value[1], state[name]) == name.startswith("encoder."), name
    assert {*model.weights_} == {*free.weights_} and {*model.buffers_} == {*free.buffers_}


def test_weights_may_be_given_in_each_form(tmp_path: Path) -> None:
    """A state dict, a file and a fitted estimator begin alike; in a grid an estimator is frozen."""
    first = classifier(encoder_and_head).fit(TABLE, Y)
    state = {name: torch.from_numpy(value) for name, value in (first.weights_ | first.buffers_).items()}
    save_file(state, tmp_path / "weights.safetensors")
    forms = [
        state,
        tmp_path / "weights.safetensors",
        str(tmp_path / "weights.safetensors"),
        first,
        FrozenEstimator(first),
    ]
    models = [clone(classifier(encoder_and_head, init_from=form, random_state=1)).fit(TABLE, Y) for form in forms]
    for model in models:
        assert_same(model, models[0])
    assert not np.array_equal(
        models[0].weights_["head.bias"],
        classifier(encoder_and_head, random_state=1).fit(TABLE, Y).weights_["head.bias"],
    )
    search = BigGridSearchCV(classifier(encoder_and_head), {"init_from": [None, FrozenEstimator(first)]}, cv=2)
    assert search.fit(TABLE, Y).cv_results_["mean_test_score"].shape == (2,)


def test_names_that_do_not_fit_are_listed() -> None:
    """Missing and unexpected names are warned of; a wrong shape, or no common name, is refused."""
    state = perceptron(4, 3).state_dict()
    with pytest.warns(UserWarning, match=r"lacks 2 tensor.*: 2.weight, 2.bias. 1 of its names.*: 7.weight"):
        classifier(
            perceptron,
            init_from={"0.weight": state["0.weight"], "0.bias": state["0.bias"], "7.weight": state["2.weight"]},
        ).fit(TABLE, Y)
    with pytest.raises(
        ValueError, match=r"2.weight of init_from has the shape \(2, 8\), and perceptron needs \(3, 8\)"
    ):
        classifier(perceptron, init_from=perceptron(4, 2).state_dict()).fit(TABLE, Y)
    with pytest.raises(ValueError, match="no weights of Perceptron. Its names are: 0.weight"):
        classifier(init_from=state).fit(TABLE, Y)


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n_features, n_features), nn.Linear(n_features, n_features)
        self.second.weight = self.first.weight
        self.out = nn.Linear(n_features, n_outputs)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.out(self.second(torch.tanh(self.first(X))))


def test_tied_weights_are_one() -> None:
    """They are trained as one, and a state dict with both names fits."""
    model = classifier(Tied, n_members=2).fit(TABLE, Y)
    assert "second.weight" not in model.weights_
    module = model.module_[0]
    assert module.second.weight is module.first.weight
    again = classifier(Tied, init_from=module.state_dict(), max_iter=1, learning_rate=1e-30).fit(TABLE, Y)
    np.testing.assert_array_equal(again.weights_["first.weight"], model.weights_["first.weight"][0])


# What is refused.


class Wrong(nn.Module):
    """Fails, draws or mixes rows as it is told."""

    def __init__(self, n_features: int, n_outputs: int, fault: str) -> None:
        super().__init__()
        self.inner, self.fault = nn.Linear(n_features, n_outputs), fault

    def forward(self, X: torch.Tensor) -> Any:
        raw = self.inner(X)
        if self.fault == "draws when it predicts":
            return raw + torch.rand_like(raw)
        if self.fault == "mixes rows":
            return raw - raw.mean(0)
        if self.fault == "shape":
            return raw[:, :1]
        if self.fault == "rows":
            return raw.sum()
        return raw.nonsense if self.fault == "fails" else raw.detach()


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        (None, {}, "The 'module' parameter must be a class of torch.nn.Module"),
        (nn.Linear(4, 2), {}, r"forward of Linear must return 3 column\(s\).* returned 2"),
        (nn.Linear(4, 3), {"module__width": 3}, "module__width: an instance of Linear takes no parameters"),
        (Perceptron, {"module__widht": 3}, "module__widht: Perceptron takes.*Did you mean module__width"),
        (
            Perceptron,
            {"module__width": "wide"},
            r"Perceptron\(n_features=4, n_outputs=3, width='wide'\) failed: TypeError",
        ),
        (Perceptron, {"freeze": ["encoder.*"]}, r"'encoder.\*' of the 'freeze' parameter matches no.*hidden.0.weight"),
        (Perceptron, {"freeze": ["*"]}, "no parameter to train"),
        (Perceptron, {"init_from": 3}, "The 'init_from' parameter of BigModuleClassifier must be"),
        (
            Perceptron,
            {"init_from": BigModuleClassifier(Perceptron)},
            "The 'init_from' parameter of .* a fitted estimator",
        ),
        (Perceptron, {"init_from": "nowhere.safetensors"}, "there is no such file"),
        (Wrong, {}, r"Wrong needs \['fault'\]: set module__fault"),
        (partial(Wrong, fault="draws when it predicts"), {}, "draws random numbers .* although it does not train"),
        (partial(Wrong, fault="mixes rows"), {}, "predicts for a row depends on the rows that are predicted with it"),
        (partial(Wrong, fault="shape"), {}, r"must return 3 column\(s\), one for each class or target, and returned 1"),
        (partial(Wrong, fault="rows"), {}, r"must return a tensor \(rows, outputs\).* shape \(\)"),
        (partial(Wrong, fault="fails"), {}, r"failed when it predicts, on X of shape \(7, 4\) and float64.*nonsense"),
        (partial(Wrong, fault="detached"), {}, "depends on no parameter"),
        (lambda n_features, n_outputs: nn.Linear(n_features, n_outputs), {}, "must be picklable.*top level"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_trained_is_refused(module: Any, settings: dict[str, Any], message: str) -> None:
    """The error says what is wrong and what to do, and nothing is learnt."""
    model = classifier(module, **settings)
    with pytest.raises(ValueError, match=message):
        model.fit(TABLE, Y)
    assert not model.__sklearn_is_fitted__()


@pytest.mark.thorough
@pytest.mark.parametrize("module", [Deciding, Recurrent], ids=lambda module: module.__name__)
def test_two_processes_come_to_what_one_does(module: Any) -> None:
    """A module over two workers is the module in one process, to rounding."""
    from tests.networks.modules import SEQUENCES

    X = SEQUENCES if module is Recurrent else TABLE
    one = classifier(module).fit(X, Y)
    two = classifier(module, backend=DDP(n_workers=2)).fit(X, Y)
    assert_same(two, one, 1e-10)


@pytest.mark.parametrize(("module", "in_turn"), [(Deciding, True), (Perceptron, False)], ids=["deciding", "perceptron"])
def test_what_is_computed_in_turn_is_said(module: Any, in_turn: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """Members that cannot be computed at once are computed one after another, and the line of progress says so."""
    classifier(module, n_members=2, verbose=1).fit(TABLE, Y)
    assert ("members in turn" in capfd.readouterr().err) == in_turn


@pytest.mark.parametrize("model", [BigModuleRegressor(nn.Linear(4, 1)), BigTabularRegressor("fast")], ids=str)
def test_what_tensor_parallel_cannot_split_is_refused_at_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that cannot be split is refused before any worker is started, with the way out."""
    monkeypatch.setattr("skbig.launch.worker_pool.WorkerPool.__init__", lambda *_, **__: pytest.fail("started"))
    X = np.random.RandomState(0).normal(size=(30, 4))
    with pytest.raises(ValueError, match=r"(Linear|Columns) does not say how it is split. Use backend='fsdp'"):
        model.set_params(backend="tensor", device="cpu").fit(X, X[:, 0])
