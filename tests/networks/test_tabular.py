"""Embeddings of numbers and categories: what they compute, and that the network of tables keeps every law."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from skbig.networks import Columns, Embedding, Layer, OneHot, Periodic, PiecewiseLinear, TabularMLP
from skbig.testing import check_component

LAYERS = {
    "piecewise linear": PiecewiseLinear(3, n_bins=4, width=2),
    "rectified": PiecewiseLinear(3, n_bins=4, width=3, n_rectified=2),
    "periodic": Periodic(3, n_frequencies=5, width=2),
    "one-hot": OneHot((2, 4, 3)),
    "embedding": Embedding((2, 4, 3), width=2),
    "side by side": Columns(4, (("few", OneHot((3,))), ("number", Periodic(2, 3, 1)))),
}
NETWORKS = {
    "piecewise linear": TabularMLP((6,), n_bins=4, number_width=3, rectified=0.0),
    "rectified": TabularMLP((6,), n_bins=4, number_width=3, rectified=0.7),
    "periodic": TabularMLP((6,), number_embedding="periodic"),
    "categories": TabularMLP((6,), n_bins=4, n_codes=(2, 4), max_one_hot=2),
    "passed on": TabularMLP((6,), number_embedding=None, n_codes=(3,), n_passed=1),
    "dropout, norm": TabularMLP((6,), n_bins=4, dropout=0.2, normalization="layer"),
}
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
random = np.random.default_rng(0)


def drawn(layer: Layer) -> dict[str, Tensor]:
    initial = layer.initial(np.random.RandomState(0))
    return {name: torch.from_numpy(value) for name, value in initial.items()}


def rows_for(layer: Layer, n_rows: int = 5) -> Tensor:
    """Return rows whose columns may be codes as well as numbers."""
    return torch.from_numpy(random.integers(0, 2, (n_rows, layer.n_in)).astype(float))  # type: ignore[attr-defined]


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_network_keeps_the_laws(network: TabularMLP) -> None:
    """`check_component` has nothing to say."""
    check_component(network)


@every_layer
def test_shapes_are_as_declared(layer: Layer) -> None:
    """First parameters have the declared shapes, and rows become as many numbers as `n_units` says."""
    assert {name: value.shape for name, value in drawn(layer).items()} == {
        name: each.shape for name, each in layer.parameters().items()
    }
    assert layer.forward(rows_for(layer), drawn(layer), {}, None).shape == (5, layer.n_units)


@every_layer
def test_members_do_not_mix(layer: Layer) -> None:
    """Several members side by side give what each gives alone, and so do their gradients."""
    own = [drawn(layer), {name: value + 0.1 for name, value in drawn(layer).items()}]
    stacked = {name: torch.stack([each[name] for each in own]).requires_grad_() for name in own[0]}
    X = torch.stack([rows_for(layer), rows_for(layer)])
    together = layer.forward(X, stacked, {}, None)
    for i, alone in enumerate(own):
        one = {name: value.clone().requires_grad_() for name, value in alone.items()}
        result = layer.forward(X[i], one, {}, None)
        torch.testing.assert_close(together[i], result)
        if one:
            expected = torch.autograd.grad(result.square().sum(), list(one.values()))
            found = torch.autograd.grad(together.square().sum(), list(stacked.values()), retain_graph=True)
            torch.testing.assert_close([value[i] for value in found], list(expected))


def test_a_piecewise_linear_function_is_one() -> None:
    """It is linear in each bin, joined at the edges, and goes on beyond the ends."""
    layer = PiecewiseLinear(2, n_bins=4, width=3)
    parameters = drawn(layer)
    X = torch.from_numpy(random.uniform(-0.5, 1.5, (40, 2)))
    places = X.unsqueeze(-1) * 4 - torch.arange(4)
    low, high = torch.tensor([-math.inf, 0, 0, 0]), torch.tensor([1, 1, 1, math.inf])
    expected = torch.einsum("rfb,fbd->rfd", places.clamp(low, high), parameters["table"]).flatten(-2)
    torch.testing.assert_close(layer.forward(X, parameters, {}, None), expected + parameters["bias"])


def test_some_functions_are_rectified() -> None:
    """The first ones of each number are never negative, and the others as they were."""
    plain, layer = (PiecewiseLinear(2, n_bins=4, width=3, n_rectified=n) for n in (0, 2))
    parameters, X = drawn(layer), torch.from_numpy(random.uniform(-0.5, 1.5, (40, 2)))
    expected = plain.forward(X, parameters, {}, None).unflatten(-1, (2, 3)).clone()
    assert bool((expected < 0).any((0, 1)).all())
    expected[..., :2].clamp_(min=0)
    torch.testing.assert_close(layer.forward(X, parameters, {}, None), expected.flatten(-2))


def test_a_network_that_was_pickled_before_there_were_rectified_functions_has_none() -> None:
    """What a pickle does not name is as it was."""
    network = TabularMLP((6,))
    vars(network).pop("rectified", None)
    assert network.of_shape(2, 1).network.build(2, 1)[0].parts[0][1].n_rectified == 0  # type: ignore[attr-defined]


def test_what_a_gpu_computes_is_what_a_cpu_reads() -> None:
    """Both ways to a piecewise linear function agree, for one member and for two."""
    layer = PiecewiseLinear(2, n_bins=4, width=3)
    one = drawn(layer)
    two = {name: torch.stack([value, -value]) for name, value in one.items()}
    X = torch.from_numpy(random.uniform(-0.5, 1.5, (40, 2)))
    for rows, parameters in ((X, one), (X.expand(2, 40, 2), two)):
        torch.testing.assert_close(layer._multiplied(rows, parameters), layer._read(rows, parameters["table"]))


def test_a_periodic_function_is_a_sum_of_waves() -> None:
    """The formula of the docstring, and the number itself."""
    layer = Periodic(2, n_frequencies=3, width=2, sigma=1.0)
    p = drawn(layer)
    X = torch.from_numpy(random.normal(size=(6, 2)))
    result = layer.forward(X, p, {}, None)
    torch.testing.assert_close(result[:, :2], X)
    for number in range(2):
        for d in range(2):
            inner = X[:, number, None] * p["frequency"][number, 0] + p["shift"][number, 0]
            value = p["bias"][0, number * 2 + d] + torch.cos(2 * math.pi * inner) @ p["wave"][number, :, d]
            torch.testing.assert_close(result[:, 2 + number * 2 + d], value)


def test_an_unknown_code_is_nothing_at_first() -> None:
    """Its vector begins at zero; codes that no column has are the last one's."""
    layer = Embedding((3, 2), width=4)
    result = layer.forward(
        torch.tensor([[0.0, 0.0], [7.0, 7.0], [2.0, 1.0]], dtype=torch.float64), drawn(layer), {}, None
    )
    assert result[0].tolist() == [0.0] * 8
    torch.testing.assert_close(result[1], result[2])


def test_wrong_columns_are_refused() -> None:
    """The network says what it reads, and what X has."""
    with pytest.raises(ValueError, match="reads 2 categories and passes on 1 features, and X has 2 features"):
        _ = TabularMLP(n_codes=(2, 3), n_passed=1).of_shape(2, 1).shapes
    with pytest.raises(ValueError, match="'n_codes' parameter of TabularMLP must rise"):
        _ = TabularMLP(n_codes=(3, 2)).of_shape(2, 1).shapes


def test_a_function_that_begins_straight_bends_nowhere() -> None:
    """Each is a line at first, and rises as far, in the mean, as one whose bins have random slopes."""
    draws = np.random.RandomState(0)
    straight, bent = (PiecewiseLinear(40, 16, 8, begins).initial(draws)["table"] for begins in (True, False))
    assert np.ptp(straight, axis=1).max() == 0
    assert abs(straight.sum(1).std() / bent.sum(1).std() - 1) < 0.15
