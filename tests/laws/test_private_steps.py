"""A private step: the gradient of every row is clipped by itself, whatever the network, and noise is added."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from torch import Tensor
from torch.func import grad, vmap

from skbig._utils.random import step_keys
from skbig.components import DPSGD, SGD
from skbig.data.batch import Batch
from skbig.data.poisson_rows import PoissonRows, poisson_sample, secure_sample
from skbig.data.rows import place_rows
from skbig.data.stacked_rows import StackedRows
from skbig.engine.epoch import Clock
from skbig.engine.host_normals import BLOCK
from skbig.engine.members import Members
from skbig.engine.minibatch import MiniBatchEpochs
from skbig.engine.private_noise import StepNoise, normal_of, secure_normal
from skbig.engine.private_step import clipped_gradient
from skbig.engine.recipe import Recipe
from skbig.engine.step import differentiate_here
from skbig.engine.step_inputs import StepInputs
from skbig.engine.train import train
from skbig.networks import Columns, Dense, Embedding, Layer, Linear, Network, OneHot, Periodic, PiecewiseLinear
from skbig.networks.activations import ACTIVATIONS
from skbig.text.networks import VectorHead
from tests.networks.own import Embedded
from tests.small import CPU, N_FEATURES, assert_close, kept, losses, new_members, recipe, rows

BOUND = 0.05
"""So small that most rows are clipped, and not all."""


@dataclasses.dataclass(frozen=True)
class Tables(Network):
    """Every layer of a network for tables, in front of dense ones."""

    def build(self, n_features: int, n_outputs: int) -> list[Layer]:
        assert n_features == N_FEATURES
        few, category = ("few", OneHot((3,))), ("category", Embedding((5,), 2))
        number, wave = ("number", PiecewiseLinear(1, 4, 2)), ("wave", Periodic(1, 2, 3, 0.5))
        front = Columns(n_features, (few, category, number, wave))
        return [front, Dense(front.n_units, 5, "tanh", normalization="layer"), Dense(5, n_outputs)]


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{task}, {loss}": (task, {"loss": loss}) for task, loss in losses()},
    **{activation: ("multiclass", {"activation": activation}) for activation in ACTIVATIONS},
    "layer norm": ("multi-output", {"hidden_layer_sizes": (6, 5), "normalization": "layer"}),
    "three layers": ("regression", {"hidden_layer_sizes": (6, 5, 3)}),
    "no layer": ("binary", {"hidden_layer_sizes": ()}),
    **{str(network): ("multiclass", {"network": network}) for network in (Linear(), Linear(fit_intercept=False))},
    **{str(network): ("multiclass", {"network": network}) for network in (Embedded(), Embedded(normalization="layer"))},
    "tables": ("regression", {"network": Tables()}),
    "head of a pretrained model": ("multiclass", {"network": VectorHead(dropout=0.0)}),
}
every_case = pytest.mark.parametrize("name", CASES)


def private(name: str, **changes: Any) -> tuple[str, Recipe]:
    task, own = CASES[name]
    return task, recipe(task, **own, **{"privacy": DPSGD(1.0, BOUND), "penalty": None} | changes)


def batch_of(task: str, n_members: int) -> Batch:
    """Return a batch of rows of which the last two are padding, and of which members have different ones."""
    index = np.stack([np.random.default_rng(m).permutation(12) for m in range(n_members)])
    batch = rows(task).take(index)
    inside = torch.tensor([1.0] * 10 + [0.0] * 2, dtype=torch.float64)
    return batch._replace(share=(inside / 10).expand_as(batch.share).contiguous(), n_whole=10)


def each_alone(members: Members, what: Recipe, batch: Batch) -> Tensor:
    """Return the gradient of each row, as a batch of its own, by all parameters: (M, R, P)."""
    plain, numbers = dataclasses.replace(what, privacy=None), StepInputs(torch.ones(1, 1, 1), None, (), ())
    gradients = []
    for i in range(batch.n_rows):
        row = batch.part(i, i + 1)
        row = row._replace(share=torch.ones_like(row.share), n_whole=1)
        gradients.append(differentiate_here(members, row, plain, numbers)[1])
    return torch.cat(gradients, 1)


def clipped_sum(gradients: Tensor, share: Tensor, bound: float) -> Tensor:
    """Return what is asked for: gradients (M, R, P) cut to a length and summed by their shares."""
    lengths = torch.linalg.vector_norm(gradients, dim=-1, keepdim=True)
    assert int((lengths > bound).sum()) > 0, "no row is clipped"
    cut = gradients * (bound / lengths.clamp_min(1e-300)).clamp(max=1.0)
    return (cut * share.view(len(gradients), -1, 1)).sum(1, keepdim=True)


def summed(members: Members, batch: Batch, what: Recipe) -> Tensor:
    parts = clipped_gradient(members, batch, what, None)[1]
    return torch.cat([part.reshape(members.n_members, 1, -1) for part in parts], -1)


@pytest.mark.crossed
@pytest.mark.parametrize("n_members", [1, 3])
@every_case
def test_clips_each_row(name: str, n_members: int) -> None:
    """The closed form is the sum of rows' gradients, each computed alone and cut, for all layers and losses."""
    task, what = private(name)
    members, batch = new_members(what, range(n_members)), batch_of(task, n_members)
    expected = clipped_sum(each_alone(members, what, batch), batch.share, BOUND)
    torch.testing.assert_close(summed(members, batch, what), expected, rtol=1e-12, atol=1e-14)


def test_equals_vmap() -> None:
    """The closed form is what torch.func's vmap of a gradient comes to, to 1e-12."""
    task, what = private("layer norm")
    members, batch = new_members(what), batch_of(task, 1)

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        raw = members.network.forward(parameters, {}, x.unsqueeze(0), None)
        return what.loss.per_row(raw, y.unsqueeze(0)).sum()

    by_row = vmap(grad(loss), in_dims=(None, 0, 0))(members.parameters, batch.X, batch.y)
    gradients = torch.cat([by_row[name].flatten(1) for name in members.parameters], 1).unsqueeze(0)
    expected = clipped_sum(gradients, batch.share, BOUND)
    torch.testing.assert_close(summed(members, batch, what), expected, rtol=1e-12, atol=1e-14)


def test_sparse_rows_are_clipped_alike() -> None:
    """Sparse rows, also empty ones, have the gradient of the same rows as dense ones."""
    what = recipe("regression", privacy=DPSGD(1.0, BOUND), penalty=None)
    network = what.network.network.of_shape(1500, 1)
    what = dataclasses.replace(what, network=network)
    random = np.random.default_rng(0)
    X = random.normal(size=(9, 1500)) * (random.uniform(size=(9, 1500)) < 0.01)
    X[3] = 0
    y, members = np.arange(9.0)[:, None], new_members(what)
    index = np.arange(9)[None]
    of_sparse, of_dense = (
        place_rows(data, y, None, CPU, torch.float64).take(index) for data in (sparse.csr_array(X), X)
    )
    assert not isinstance(of_sparse.X, Tensor)
    one, other = summed(members, of_sparse, what), summed(members, of_dense, what)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["layer norm", "tables", "multiclass, LogLoss(label_smoothing=0.0)"])
def test_one_row_moves_the_sum_by_the_bound_at_most(name: str) -> None:
    """Whatever the numbers of one row, the sum moves by no more than the greatest norm of a row times its share."""
    task, what = private(name)
    members, batch = new_members(what), batch_of(task, 1)
    wild, share = batch.X.clone(), batch.share.clone()
    wild[0], share[0] = wild[0] * 1e4, 0.0
    for X in (batch.X, wild):
        with_it = summed(members, batch._replace(X=X), what)
        without = summed(members, batch._replace(X=X, share=share), what)
        assert torch.linalg.vector_norm(with_it - without) <= BOUND * 0.1 * (1 + 1e-9)


def test_a_step_without_rows_is_noise() -> None:
    """A batch into which no row came still adds noise, of the deviation that belongs to the rows expected of it."""
    noisy = {"privacy": DPSGD(2.0, 0.5), "optimizer": SGD(momentum=0.0), "penalty": None}
    what = recipe("regression", hidden_layer_sizes=(200,), **noisy, rate=1.0, batch_size=20, max_epochs=1)
    members = new_members(what)
    before = members.flat.clone()

    class Empty(PoissonRows):
        def _step(self, owners: Any, draws: Any) -> list[np.ndarray]:
            return [np.array([], dtype=int) for _ in owners]

    MiniBatchEpochs(members, Empty(rows("regression", n_rows=20), 20), what, Clock(0.0, None), 0).run()
    moved = (members.flat - before).numpy().ravel()
    assert stats.kstest(moved / (2.0 * 0.5 / 20), "norm").pvalue > 0.01


# Noise.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("secure", [False, True])
def test_noise_is_standard_normal(dtype: torch.dtype, secure: bool) -> None:
    """The noise has the distribution of a standard normal number, out to its tails, and no neighbours alike."""
    keys = torch.from_numpy(step_keys([5], 3, 1)[0])
    noise = secure_normal(1, 200_001, dtype) if secure else normal_of(keys, 200_001, dtype)
    assert noise.shape == (1, 1, 200_001) and noise.dtype == dtype
    values = noise.double().numpy().ravel()
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(values)) < 0.06 and 4.0 < np.abs(values).max() < 7.0
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(values[:100_000], values[-100_000:])[0, 1]) < 0.015


@pytest.mark.parametrize("width", [1, 33, 5_000, 2 * BLOCK + 1_001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_a_function_of_member_and_step(width: int, dtype: torch.dtype) -> None:
    """A member's noise in a step is the same alone, among others, and among other steps; another step's is another.

    It is what a device draws, but for rounding.
    """
    noise = StepNoise(width, torch.zeros(1, dtype=dtype), secure=False)
    together = torch.stack(list(noise.of_steps(torch.from_numpy(step_keys([3, 8], 10, 5)))))
    assert together.shape == (5, 2, 1, width) and together.dtype == dtype
    for s, m in ((0, 0), (3, 1), (4, 0)):
        keys = torch.from_numpy(step_keys([(3, 8)[m]], 10 + s, 1))
        (alone,) = noise.of_steps(keys)
        assert torch.equal(alone[0], together[s, m])
        torch.testing.assert_close(alone, normal_of(keys[0], width, dtype), rtol=1e-5, atol=2e-6)
    assert len({value for value in together[:, :, 0, 0].flatten().tolist()}) == 10


# Rows.


@pytest.mark.parametrize("secure", [False, True])
def test_rows_come_by_themselves(secure: bool) -> None:
    """Each row comes with the same probability, by itself: sizes are binomial, and two rows come together as often."""
    random = np.random.default_rng(0)
    draws = [secure_sample(50, 0.2) if secure else poisson_sample(random, 50, 0.2) for _ in range(3000)]
    came = np.stack([np.bincount(draw, minlength=50) for draw in draws])
    assert came.max() == 1
    assert np.abs(came.mean(0) - 0.2).max() < 0.035
    sizes = came.sum(1)
    assert abs(sizes.var() - 50 * 0.2 * 0.8) < 1.0
    assert abs((came[:, 0] * came[:, 1]).mean() - 0.04) < 0.02


def test_members_and_sets_have_rows_of_their_own() -> None:
    """A member reads in a stack of several sets what it reads alone, in every step; padding has the share zero."""
    sets = rows("regression", n_rows=40), rows("regression", n_rows=33)
    stack = PoissonRows(StackedRows(sets, (2, 1)), 10)
    alone = [(PoissonRows(own, 10), [seed]) for own, seed in ((sets[0], 1), (sets[0], 2), (sets[1], 1))]
    read = [
        [batch for some in rows.epoch(seeds, 4, True, 10, 100) for batch in some]
        for rows, seeds in [(stack, [1, 2, 1]), *alone]
    ]
    for batch, *each in zip(*(read[0:1] + [own[: len(read[0])] for own in read[1:]]), strict=True):
        for m, one in enumerate(each):
            inside, other = batch.share[m] > 0, one.share > 0
            assert torch.equal(batch.X[m][inside], one.X[other]) and torch.equal(batch.y[m][inside], one.y[other])
            assert one.counted_rows == batch.counted_rows == 10
            assert set(one.share.tolist()) <= {0.0, 0.1}


# Training.


@pytest.mark.parametrize("name", ["layer norm", "three layers", "tables", "multiclass, LogLoss(label_smoothing=0.0)"])
def test_a_stack_trains_what_each_would_alone(name: str) -> None:
    """Members with rows, noise and bounds of their own train as each does alone, recorded or not."""
    task, what = private(name, privacy=DPSGD(torch.tensor([0.5, 2.0, 1.0]).double().view(-1, 1, 1), BOUND))
    what = dataclasses.replace(what, max_epochs=12, batch_size=8)
    members = new_members(what, (4, 9, 4))
    train(members, rows(task), what)
    for m, noise in enumerate((0.5, 2.0, 1.0)):
        one = new_members(what, (4, 9, 4)[m : m + 1])
        train(one, rows(task), dataclasses.replace(what, privacy=DPSGD(noise, BOUND)))
        assert_close({k: v[m : m + 1] for k, v in kept(members).items()}, kept(one), 1e-8)
