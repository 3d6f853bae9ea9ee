"""Groups of parameters: by role or by name, at a rate and with a weight decay of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from skbig import BigGridSearchCV, BigMLPClassifier, BigMLPRegressor, BigModuleClassifier, BigModuleRegressor
from skbig.components import LBFGS, AdamW, Muon, Optimizer
from skbig.engine.blocks import blocks_of
from skbig.networks import MLP, TabularMLP
from skbig.networks.modules.network import ModuleNetwork
from skbig.testing import check_component
from tests.small import data

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = data("regression")
Y = Y.ravel()
SHORT = {"max_iter": 4, "random_state": 0, "n_iter_no_change": 99, "tol": 0.0}
SHAPE = {"hidden_layer_sizes": (6,), "activation": "tanh"}


def weights_of(model: Any) -> list[np.ndarray]:
    return [*model.coefs_, *model.intercepts_]


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)).double()


@pytest.mark.parametrize("optimizer", ["sgd", AdamW(weight_decay=0.1), Muon(ns_precision="parameter"), "nadam"])
def test_a_factor_of_all_is_another_rate(optimizer: Any) -> None:
    """Groups that cover all parameters with one factor train as with the rate times the factor."""
    grouped = {"weight": 0.5, "head": 0.5, "bias*": 0.5}
    ours = BigMLPRegressor(**SHAPE, optimizer=optimizer, learning_rate=0.02, param_groups=grouped, **SHORT).fit(X, Y)
    plain = BigMLPRegressor(**SHAPE, optimizer=optimizer, learning_rate=0.01, **SHORT).fit(X, Y)
    for own, other in zip(weights_of(ours), weights_of(plain), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_steps_are_those_of_groups_of_torch(optimizer: Any) -> None:
    """A module is trained as by torch's optimizer with the same groups, each with its rate and its weight decay."""
    name = optimizer.__name__.lower()
    own = {} if name == "adamw" else {"optimizer__momentum": 0.0, "optimizer__nesterov": False}
    groups = {"0.*": {"learning_rate": 0.1, "weight_decay": 0.5}, "bias": {"weight_decay": 0.0}, "head": 2.0}
    params = {"batch_size": "full", "shuffle": False, "alpha": 0.0, "learning_rate": 0.05, "loss": "squared_error"}
    ours = BigModuleRegressor(module(), optimizer=name, param_groups=groups, **params, **SHORT)
    ours.set_params(optimizer__weight_decay=0.2, **own).fit(X, Y)
    other = module()
    named = dict(other.named_parameters())
    torch_groups = [
        {"params": [named[key] for key in keys], "lr": 0.05 * rate, "weight_decay": 0.2 * decay}
        for keys, rate, decay in (
            (("0.weight", "0.bias"), 0.1, 0.5),
            (("2.bias", "4.bias"), 1.0, 0.0),
            (("4.weight",), 2.0, 1.0),
            (("2.weight",), 1.0, 1.0),
        )
    ]
    steps = optimizer(torch_groups)
    for _ in range(4):
        steps.zero_grad()
        ((other(torch.from_numpy(X)).squeeze(1) - torch.from_numpy(Y)).square().mean() / 2).backward()
        steps.step()
    for key, value in other.state_dict().items():
        np.testing.assert_allclose(ours.weights_[key], value.numpy(), rtol=1e-9, atol=1e-12)


def test_a_rate_of_zero_leaves_parameters_as_they_are() -> None:
    """What is not to move does not, and the rest does; also with several members and where calls go on."""
    model = BigMLPRegressor(**SHAPE, n_members=2, param_groups={"weight0": 0, "bias0": 0.0}, **SHORT)
    model.partial_fit(X, Y)
    first = [value.copy() for value in weights_of(model)]
    model.partial_fit(X, Y)
    moved = [not np.array_equal(*pair) for pair in zip(first, weights_of(model), strict=True)]
    assert moved == [False, True, False, True]


def test_the_first_that_fits_counts() -> None:
    """A parameter is in the first group that fits: here its name comes before its role."""
    both = BigMLPRegressor(**SHAPE, param_groups={"bias0": 1.0, "bias": 0.0}, **SHORT).fit(X, Y)
    plain = BigMLPRegressor(**SHAPE, param_groups={"bias1": 0.0}, **SHORT).fit(X, Y)
    for own, other in zip(weights_of(both), weights_of(plain), strict=True):
        np.testing.assert_array_equal(own, other)


def test_muon_moves_hidden_matrices_only() -> None:
    """The head, embeddings, biases and scales are AdamW's, as one row of numbers; each hidden matrix is a block."""
    network = TabularMLP((6, 5), n_codes=(12,), max_one_hot=0, n_bins=4, number_width=2, normalization="layer")
    built = network.of_shape(3, 2)
    blocks = blocks_of(built, Muon())
    by_muon = [name for block in blocks if block.rows is not None for name, _ in block.sizes]
    assert by_muon == ["weight1", "weight2"]
    assert built.roles["weight3"] == "head"
    rest = [name for block in blocks if block.rows is None for name, _ in block.sizes]
    assert len(blocks) == 3 and set(by_muon) | set(rest) == set(built.shapes)
    assert Muon(adam_eps=0.5, weight_decay=0.3).for_role("head") == AdamW(eps=0.5, weight_decay=0.3)


def test_the_head_of_a_module_is_its_last_weight() -> None:
    """The last weight with a row for each output is the head; muon takes torch's matrices as (in, out)."""
    built = ModuleNetwork(module()).of_shape(4, 1)
    assert [name for name, role in built.roles.items() if role == "head"] == ["4.weight"]
    shapes = {block.sizes[0][0]: block.of(torch.zeros(1, 1, 76)).shape for block in blocks_of(built, Muon())}
    assert shapes["0.weight"] == (1, 4, 6) and shapes["2.weight"] == (1, 6, 5)


def test_muon_trains_a_module_as_a_network_of_ours() -> None:
    """A module that copies our network takes the same steps, whatever the layout of its matrices."""
    ours = BigMLPRegressor((6, 5), activation="tanh", optimizer=Muon(ns_precision="parameter"), **SHORT)
    ours.set_params(max_iter=1).fit(X, Y)
    start = MLP((6, 5), activation="tanh").of_shape(4, 1).initial([0])
    copied = module()
    with torch.no_grad():
        for i, place in enumerate((0, 2, 4)):
            copied[place].weight.copy_(torch.from_numpy(start[f"weight{i}"][0].T))
            copied[place].bias.copy_(torch.from_numpy(start[f"bias{i}"][0, 0]))
    theirs = BigModuleRegressor(copied, optimizer=Muon(ns_precision="parameter"), **SHORT).set_params(max_iter=1)
    theirs.fit(X, Y)
    for i, place in enumerate((0, 2, 4)):
        np.testing.assert_allclose(theirs.weights_[f"{place}.weight"].T, ours.coefs_[i], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_module_with_groups_is_one_stack(optimizer: str) -> None:
    """Candidates that differ in their factors are trained as one stack, with the scores that each has alone."""
    grid = {"param_groups": [{"0.*": 0.1}, {"0.*": 1.0}, {"0.*": {"learning_rate": 0, "weight_decay": 0}}]}
    model = BigModuleRegressor(module(), optimizer=optimizer, learning_rate=0.05, **SHORT)
    search = BigGridSearchCV(model, grid, cv=2, refit=False).fit(X, Y)
    for params, score in zip(search.cv_results_["params"], search.cv_results_["split0_test_score"], strict=True):
        alone = BigGridSearchCV(model, {name: [value] for name, value in params.items()}, cv=2, refit=False).fit(X, Y)
        # Muon's default rounds to bfloat16, so that a last bit may become a thousandth.
        tolerance = 2e-2 if optimizer == "muon" else 1e-9
        np.testing.assert_allclose(alone.cv_results_["split0_test_score"][0], score, rtol=tolerance)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"param_groups": {"encoder.*": 0.1}},
            "'encoder.\\*' of the 'param_groups' parameter .* Names: weight0, weight1",
        ),
        ({"param_groups": {"bias": -1}}, "'param_groups' parameter of BigMLPClassifier must be .* Got {'bias': -1}"),
        ({"param_groups": {"bias": {"lr": 1}}}, "with the keys 'learning_rate' and 'weight_decay'"),
        ({"param_groups": {"bias": {}}}, "with the keys 'learning_rate' and 'weight_decay'"),
        ({"param_groups": 0.1}, "must be one of {None} or a dict"),
        ({"param_groups": {3: 0.1}}, "must be one of {None} or a dict"),
        ({"param_groups": {"bias": 0.1}, "optimizer": LBFGS()}, "moves all parameters at once"),
    ],
)
def test_what_cannot_be_is_named(parameters: dict[str, Any], message: str) -> None:
    """Bad groups are refused at fit, and the estimator stays as it was."""
    model = BigMLPClassifier(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y > 1)
    assert not hasattr(model, "coefs_")


def test_a_role_that_the_network_lacks_says_nothing() -> None:
    """Factors of scales are accepted where there are none: a search may go over normalizations."""
    plain = BigMLPRegressor(**SHAPE, **SHORT).fit(X, Y)
    model = BigMLPRegressor(**SHAPE, param_groups={"scale": 0.1, "embedding": 0.1}, **SHORT).fit(X, Y)
    for own, other in zip(weights_of(model), weights_of(plain), strict=True):
        np.testing.assert_array_equal(own, other)


def test_an_optimizer_without_decay_takes_no_factors_of_one() -> None:
    """A factor of a weight decay is refused where the optimizer has none."""

    class Plain(Optimizer):
        def init(self, param: torch.Tensor) -> dict[str, torch.Tensor]:
            return {}

        def update(self, param: torch.Tensor, grad: Any, state: Any, rate: Any, factors: Any) -> None:
            param.sub_(rate * grad)

    groups = {"bias": {"weight_decay": 0.0}}
    with pytest.raises(ValueError, match="changes the weight decay, and optimizer="):
        BigMLPRegressor(optimizer=Plain(), param_groups=groups).fit(X, Y)


def test_a_classifier_that_goes_on_may_have_other_groups() -> None:
    """The optimizer's state is the same whatever the groups, so a warm start may thaw what was frozen."""
    kept = {**SHORT, "warm_start": True, "learning_rate": 0.05}
    model = BigModuleClassifier(module().float(), param_groups={"0.*": 0, "2.*": 0}, **kept).fit(X, Y > 1)
    frozen = model.weights_["0.weight"].copy()
    model.set_params(param_groups=None, optimizer__weight_decay=0.1).fit(X, Y > 1)
    assert not np.array_equal(model.weights_["0.weight"], frozen)


def test_the_law_of_roles_finds_other_factors() -> None:
    """check_component says so where the optimizer of a role reads other factors."""

    @dataclass(frozen=True)
    class Odd(AdamW):
        def for_role(self, role: str) -> Optimizer:
            return self if role == "weight" else AdamW((0.5, 0.5))

    with pytest.raises(AssertionError, match="an optimizer that reads the same factors"):
        check_component(Odd())
