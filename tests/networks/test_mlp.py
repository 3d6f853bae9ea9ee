"""The network is the one that torch.nn's modules make, and begins as scikit-learn's does."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import Tensor, nn

from skbig._utils.random import Noise, step_keys
from skbig.networks import MLP, BuiltNetwork, Dense, TrainingPass
from skbig.networks.activations import ACTIVATIONS
from tests.small import data

MODULES: dict[str, nn.Module] = {
    "identity": nn.Identity(),
    "logistic": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "relu": nn.ReLU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "selu": nn.SELU(),
    "elu": nn.ELU(),
    "leaky_relu": nn.LeakyReLU(),
}
N_MEMBERS, N_ROWS, N_FEATURES, N_OUTPUTS = 3, 11, 4, 2


def begun(network: BuiltNetwork, one: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return parameters and running moments, moved away from where they begin, with a members axis unless `one`."""
    generator = torch.Generator().manual_seed(1)
    seeds = list(range(1 if one else N_MEMBERS))
    both = []
    for arrays in (network.initial(seeds), network.initial_statistics(len(seeds))):
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors = {name: value + torch.rand(value.shape, generator=generator) / 3 for name, value in tensors.items()}
        both.append({name: value.squeeze(0) if one else value for name, value in tensors.items()})
    return both[0], both[1]


def as_module(
    network: BuiltNetwork, parameters: dict[str, Tensor], statistics: dict[str, Tensor], m: int
) -> nn.Sequential:
    """Build the same network of torch's own modules, with the weights of one member."""
    layers: list[nn.Module] = []
    mlp = cast(MLP, network.network)
    for i, layer in enumerate(cast(list[Dense], network.layers)):
        linear = nn.Linear(layer.n_in, layer.n_out, dtype=torch.float64)
        linear.weight.data, linear.bias.data = parameters[f"weight{i}"][m].T, parameters[f"bias{i}"][m, 0]
        layers.append(linear)
        if i == len(mlp.hidden_layer_sizes):
            break
        if mlp.normalization is not None:
            layers.append(_normalization(mlp.normalization, layer.n_out, i, parameters, statistics, m))
        layers.append(MODULES[mlp.activation])
    return nn.Sequential(*layers)


def _normalization(
    kind: str, width: int, i: int, parameters: dict[str, Tensor], statistics: dict[str, Tensor], m: int
) -> nn.Module:
    module: Any = (nn.BatchNorm1d if kind == "batch" else nn.LayerNorm)(width, dtype=torch.float64)
    module.weight.data, module.bias.data = parameters[f"scale{i}"][m, 0].clone(), parameters[f"offset{i}"][m, 0].clone()
    if kind == "batch":
        module.running_mean = statistics[f"mean{i}"][m, 0].clone()
        module.running_var = statistics[f"variance{i}"][m, 0].clone()
    return module


def rows(n_members: int = N_MEMBERS) -> Tensor:
    shape = (n_members, N_ROWS, N_FEATURES) if n_members > 1 else (N_ROWS, N_FEATURES)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def equal_shares(n_members: int = N_MEMBERS) -> Tensor:
    shape = (n_members, N_ROWS) if n_members > 1 else (N_ROWS,)
    return torch.full(shape, 1 / N_ROWS, dtype=torch.float64)


@pytest.mark.crossed
@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (5,), (5, 7, 3)], ids=str)
def test_prediction_is_that_of_torchs_modules(
    hidden: tuple[int, ...], activation: str, normalization: str | None
) -> None:
    """Each member predicts what Linear, BatchNorm1d or LayerNorm, and the activation's module do in turn."""
    network = MLP(hidden, activation, 0.5, normalization).of_shape(N_FEATURES, N_OUTPUTS)
    parameters, statistics = begun(network)
    X = rows()
    raw = network.forward(parameters, statistics, X, None)
    for m in range(N_MEMBERS):
        module = as_module(network, parameters, statistics, m).eval()
        torch.testing.assert_close(raw[m], module(X[m]).detach())


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_training_is_that_of_torchs_modules(normalization: str | None) -> None:
    """While training too; a batch norm's running variance is the biased one, where torch's is n / (n - 1) times it."""
    network = MLP((5, 3), "tanh", 0.0, normalization).of_shape(N_FEATURES, N_OUTPUTS)
    parameters, statistics = begun(network)
    X, before = rows(), {name: value.clone() for name, value in statistics.items()}
    raw = network.forward(parameters, statistics, X, TrainingPass(None, equal_shares()))
    for m in range(N_MEMBERS):
        module = as_module(network, parameters, before, m).train()
        torch.testing.assert_close(raw[m], module(X[m]).detach())
        for i, layer in enumerate([layer for layer in module if isinstance(layer, nn.BatchNorm1d)]):
            torch.testing.assert_close(statistics[f"mean{i}"][m, 0], layer.running_mean)
            old, moved = 0.9 * before[f"variance{i}"][m, 0], statistics[f"variance{i}"][m, 0]
            torch.testing.assert_close(old + (moved - old) * N_ROWS / (N_ROWS - 1), layer.running_var)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_the_gradient_is_that_of_torchs_modules(normalization: str | None) -> None:
    """Backwards it is the same network as well."""
    network = MLP((5,), "silu", 0.0, normalization).of_shape(N_FEATURES, N_OUTPUTS)
    parameters, statistics = begun(network)
    module = as_module(network, parameters, {name: value.clone() for name, value in statistics.items()}, 1)
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    network.forward(leaves, statistics, rows(), TrainingPass(None, equal_shares())).square().sum().backward()
    module(rows()[1]).square().sum().backward()
    torch.testing.assert_close(leaves["weight0"].grad[1], module[0].weight.grad.T)
    torch.testing.assert_close(leaves["bias1"].grad[1, 0], module[-1].bias.grad)
    if normalization is not None:
        torch.testing.assert_close(leaves["scale0"].grad[1, 0], module[1].weight.grad)
        torch.testing.assert_close(leaves["offset0"].grad[1, 0], module[1].bias.grad)


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_one_member_needs_no_members_axis(normalization: str | None) -> None:
    """The same lines serve tensors with and without a members axis."""
    network = MLP((5, 3), "relu", 0.4, normalization).of_shape(N_FEATURES, N_OUTPUTS)
    parameters, statistics = begun(network, one=True)
    with_axis = [{name: value[None].clone() for name, value in each.items()} for each in (parameters, statistics)]
    noise = Noise(torch.from_numpy(step_keys([5], 0, 1)[0]))
    raw = network.forward(parameters, statistics, rows(1), TrainingPass(noise, equal_shares(1)))
    stacked = network.forward(*with_axis, rows(1)[None], TrainingPass(noise, equal_shares(1)[None]))
    torch.testing.assert_close(raw, stacked[0])
    for name, value in statistics.items():
        torch.testing.assert_close(value, with_axis[1][name][0])


def hidden_values(network: BuiltNetwork, training: TrainingPass | None) -> Tensor:
    """Return what the last layer is given, by a last layer that passes it on; the rows are all one."""
    width = network.n_outputs
    parameters = {
        "weight0": torch.zeros(N_MEMBERS, 1, width),
        "bias0": torch.ones(N_MEMBERS, 1, width),
        "weight1": torch.eye(width).expand(N_MEMBERS, width, width),
        "bias1": torch.zeros(N_MEMBERS, 1, width),
    }
    return network.forward(parameters, {}, torch.ones(N_MEMBERS, 200, 1), training)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float) -> None:
    """While training, that share of the values is zero and the others grow as Dropout's do; a prediction drops none."""
    network = MLP((100,), "identity", rate).of_shape(1, 100)
    noise = Noise(torch.from_numpy(step_keys([1, 2, 3], 0, 1)[0]))
    values = hidden_values(network, TrainingPass(noise, torch.full((N_MEMBERS, 200), 1 / 200)))
    expected = nn.Dropout(rate)(torch.ones(1000)).max()
    torch.testing.assert_close(values.unique(), torch.tensor([0.0, expected]))
    deviation = (rate * (1 - rate) / values[0].numel()) ** 0.5
    for member in values:
        assert abs((member == 0).double().mean() - rate) < 4 * deviation
    assert not torch.equal(values[0], values[1])
    torch.testing.assert_close(hidden_values(network, None), torch.ones(N_MEMBERS, 200, 100))


def test_each_member_drops_at_its_own_rate() -> None:
    """A stack may drop at rates that differ, and none at all is one of them."""
    rates = torch.tensor([0.0, 0.3, 0.8], dtype=torch.float64).view(-1, 1, 1)
    noise = Noise(torch.from_numpy(step_keys([1, 2, 3], 0, 1)[0]))
    values = hidden_values(
        MLP((100,), "identity", rates).of_shape(1, 100), TrainingPass(noise, torch.full((N_MEMBERS, 200), 1 / 200))
    )
    zeros = (values == 0).double().mean((1, 2))
    torch.testing.assert_close(zeros, rates.flatten(), atol=0.02, rtol=0)
    torch.testing.assert_close(values[0], torch.ones(200, 100))


def test_layers_drop_independently() -> None:
    """The masks of two layers, and those of two steps, are not the same."""
    parameters = {f"weight{i}": torch.eye(50)[None] for i in range(3)} | {
        f"bias{i}": torch.zeros(1, 1, 50) for i in range(3)
    }
    share = torch.full((1, 40), 1 / 40)
    kept = []
    for hidden, step in (((50,), 0), ((50, 50), 0), ((50,), 1)):
        network = MLP(hidden, "identity", 0.5).of_shape(50, 50)
        noise = Noise(torch.from_numpy(step_keys([7], step, 1)[0]))
        kept.append(network.forward(parameters, {}, torch.ones(1, 40, 50), TrainingPass(noise, share)) != 0)
    first, both, other = (mask.double() for mask in kept)
    assert abs(both.mean() - 0.25) < 0.05  # a value survives two independent masks, so a quarter of them do
    assert abs((first * other).mean() - 0.25) < 0.05


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_it_begins_with_scikit_learns_weights(task: str, activation: str) -> None:
    """The same seed gives the first weights and intercepts that scikit-learn's networks have."""
    X, y = data(task)
    kind = MLPRegressor if task == "regression" else MLPClassifier
    theirs = kind(
        hidden_layer_sizes=(5, 3), activation=activation, random_state=9, solver="sgd", learning_rate_init=1e-300
    ).partial_fit(X, y.ravel(), **({} if task == "regression" else {"classes": np.unique(y)}))
    network = MLP((5, 3), activation).of_shape(X.shape[1], theirs.n_outputs_)
    ours = network.initial([9, 10])
    for i, (coef, intercept) in enumerate(zip(theirs.coefs_, theirs.intercepts_, strict=True)):
        np.testing.assert_array_equal(ours[f"weight{i}"][0], coef)
        np.testing.assert_array_equal(ours[f"bias{i}"][0, 0], intercept)
        assert not np.isin(ours[f"weight{i}"][1], coef).any()


@pytest.mark.parametrize("normalization", [None, "batch", "layer"])
def test_shapes(normalization: str | None) -> None:
    """Parameters come in the declared shapes and order: the weights, which alone are penalised, first."""
    network = MLP((5, 3), normalization=normalization).of_shape(N_FEATURES, N_OUTPUTS)
    initial, moments = network.initial([1, 2]), network.initial_statistics(2)
    assert {name: value.shape for name, value in initial.items()} == {k: (2, *v) for k, v in network.shapes.items()}
    assert {name: value.shape for name, value in moments.items()} == {
        k: (2, *v) for k, v in network.statistics_shapes.items()
    }
    assert list(initial) == list(network.shapes)
    assert [name for name in initial if name.startswith("weight")] == list(initial)[:3]
    assert network.n_penalized == sum(value[0].size for name, value in initial.items() if name.startswith("weight"))
    assert len(initial) == (6 if normalization is None else 10)
    assert len(moments) == (4 if normalization == "batch" else 0)
