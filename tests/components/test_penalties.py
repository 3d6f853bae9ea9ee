"""What holds for every penalty, and what each of them is equal to elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from skbig._utils.component import names, resolve, stack
from skbig.components.penalties import L1, L2, ElasticNet, GroupL1, Penalty


@dataclass(frozen=True)
class SmoothL2(Penalty):
    """L2 as a user would write it: by its value only."""

    def value(self, weight: Tensor) -> Tensor:
        return 0.5 * (weight * weight).sum((-2, -1), keepdim=True)


@dataclass(frozen=True)
class Group(Penalty):
    """A smooth penalty on the rows of a matrix."""

    elementwise = False

    def value(self, weight: Tensor) -> Tensor:
        return (1 + weight.square().sum(-1, keepdim=True)).sqrt().sum(-2, keepdim=True)


PENALTIES = [L2(), L1(), ElasticNet(), ElasticNet(l1_ratio=0.6), GroupL1(), SmoothL2(), Group()]
SETTINGS = [[ElasticNet(0.1), ElasticNet(0.5), ElasticNet(1.0)], *([penalty] * 3 for penalty in PENALTIES)]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=str)
every_setting = pytest.mark.parametrize("penalties", SETTINGS, ids=lambda penalties: str(penalties[1]))


def weights(*shape: int) -> Tensor:
    """Return weights of both signs, none closer to zero than 0.2."""
    normal = torch.from_numpy(np.random.default_rng(0).normal(size=shape))
    return normal + 0.2 * normal.sign()


def gradient(penalty: Penalty, weight: Tensor, strength: float | Tensor) -> Tensor:
    grad = torch.zeros_like(weight)
    penalty.add_gradient(grad, weight, strength)
    return grad


def shrunk(penalty: Penalty, weight: Tensor, threshold: float | Tensor) -> Tensor:
    moved = weight.clone()
    penalty.shrink(moved, threshold)
    return moved


def difference(penalty: Penalty, weight: Tensor, step: float = 1e-6) -> Tensor:
    """Return the gradient of the whole penalty of one member by central differences."""
    slopes = torch.zeros_like(weight)
    for i in range(weight.numel()):
        nudge = torch.zeros_like(weight)
        nudge.view(-1)[i] = step
        slopes.view(-1)[i] = (penalty.value(weight + nudge) - penalty.value(weight - nudge)).item() / (2 * step)
    return slopes


@every_penalty
def test_gradient_and_shrinkage_are_the_finite_difference(penalty: Penalty) -> None:
    """Away from zero, the smooth gradient and what `shrink` takes per threshold are the slope of the whole penalty."""
    weight = weights(1, 3, 4)
    taken = (weight - shrunk(penalty, weight, 0.01)) / 0.01
    torch.testing.assert_close(gradient(penalty, weight, 1.0) + taken, difference(penalty, weight), rtol=0, atol=1e-7)


@every_penalty
def test_gradient_is_added_in_proportion_to_the_strength(penalty: Penalty) -> None:
    """A gradient that is there is kept, and the penalty's added `strength` times; the weights stay as they are."""
    weight = weights(2, 1, 5)
    before = weight.clone()
    grad = torch.ones_like(weight)
    with torch.no_grad():
        penalty.add_gradient(grad, weight, 0.3)
    torch.testing.assert_close(grad, 1 + 0.3 * gradient(penalty, weight, 1.0))
    assert torch.equal(weight, before)
    assert not weight.requires_grad


@every_setting
def test_members_are_apart(penalties: list[Penalty]) -> None:
    """Members of different settings and strengths have the value, gradient and step that each has alone with floats."""
    weight = weights(3, 1, 7)
    strength = torch.tensor([0.1, 0.0, 0.4], dtype=torch.float64).view(3, 1, 1)
    together = stack(penalties)
    results = together.value(weight), gradient(together, weight, strength), shrunk(together, weight, strength)
    assert results[0].shape == (3, 1, 1)
    for m, penalty in enumerate(penalties):
        alone, number = weight[m : m + 1], float(strength[m])
        expected = penalty.value(alone), gradient(penalty, alone, number), shrunk(penalty, alone, number)
        for result, wanted in zip(results, expected, strict=True):
            torch.testing.assert_close(result[m : m + 1], wanted)


@pytest.mark.parametrize("penalty", [penalty for penalty in PENALTIES if penalty.elementwise], ids=str)
def test_an_elementwise_penalty_does_not_see_matrices(penalty: Penalty) -> None:
    """For all matrices as one vector the value is the sum over matrices, and the gradient and the step the same."""
    matrices = [weights(2, 3, 4), 2 * weights(2, 4, 1)]
    vector = torch.cat([matrix.reshape(2, 1, -1) for matrix in matrices], dim=2)
    torch.testing.assert_close(penalty.value(vector), sum(map(penalty.value, matrices)))
    for act in (gradient, shrunk):
        pieces = [act(penalty, matrix, 0.1).reshape(2, 1, -1) for matrix in matrices]
        torch.testing.assert_close(act(penalty, vector, 0.1), torch.cat(pieces, dim=2))


def test_values_are_numpys_norms() -> None:
    """L2 is half the squared norm, L1 the sum of sizes."""
    weight = weights(1, 4, 5)
    np.testing.assert_allclose(L2().value(weight).item(), 0.5 * np.linalg.norm(weight) ** 2)
    np.testing.assert_allclose(L1().value(weight).item(), np.linalg.norm(weight.flatten(), ord=1))


def test_elasticnet_lies_between_l1_and_l2() -> None:
    """The value of an elastic net moves on a straight line from L2 to L1 as its ratio goes from 0 to 1."""
    weight = weights(2, 1, 9)
    l1, l2 = L1().value(weight), L2().value(weight)
    for ratio in (0.0, 0.25, 1.0):
        torch.testing.assert_close(ElasticNet(ratio).value(weight), torch.lerp(l2, l1, ratio))
    for end, same in ((ElasticNet(0.0), L2()), (ElasticNet(1.0), L1())):
        torch.testing.assert_close(gradient(end, weight, 0.3), gradient(same, weight, 0.3))
        torch.testing.assert_close(shrunk(end, weight, 0.3), shrunk(same, weight, 0.3))


def test_gradient_of_a_value_is_the_closed_form() -> None:
    """A penalty written by its value alone has the gradient of the one that gives its own."""
    weight = weights(3, 1, 6)
    for strength in (0.2, torch.tensor([0.2, 0.0, 3.0], dtype=torch.float64).view(3, 1, 1)):
        torch.testing.assert_close(gradient(SmoothL2(), weight, strength), gradient(L2(), weight, strength))


@pytest.mark.parametrize(("penalty", "ratio"), [(L1(), 1.0), (ElasticNet(), 0.15), (ElasticNet(0.6), 0.6)], ids=str)
@pytest.mark.parametrize("weight", [-1.3, -0.2, 0.0, 0.05, 0.31, 2.0])
def test_shrinking_is_the_best_compromise(penalty: Penalty, ratio: float, weight: float) -> None:
    """The proximal step ends where half the squared way plus the penalty's corner part is least, by brute force."""
    threshold = 0.5
    grid = np.linspace(-3, 3, 60001)
    costs = 0.5 * (grid - weight) ** 2 + threshold * ratio * np.abs(grid)
    moved = shrunk(penalty, torch.full((1, 1, 1), weight, dtype=torch.float64), threshold)
    np.testing.assert_allclose(moved.item(), grid[costs.argmin()], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_shrinking_gives_exact_zeros(dtype: torch.dtype, as_tensor: bool) -> None:
    """Weights no larger than the threshold become zero, bit for bit; the others keep their sign and some size."""
    weight = torch.linspace(-1, 1, 201, dtype=dtype).view(1, 1, -1)
    threshold = torch.full((1, 1, 1), 0.3, dtype=dtype) if as_tensor else 0.3
    moved = shrunk(L1(), weight, threshold)
    small = weight.abs() <= torch.tensor(0.3, dtype=dtype)
    assert (moved[small] == 0).all()
    assert torch.equal(moved[~small].sign(), weight[~small].sign())
    assert (moved.abs() <= weight.abs()).all()


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_rows_are_shortened_to_the_best_compromise(spread: float) -> None:
    """Where each weight has its own threshold t, ``(u - w) / t + u / |u|`` is zero, or the row is, as |w / t| <= 1."""
    random = np.random.default_rng(0)
    weight = torch.from_numpy(random.normal(size=(2, 40, 5)))
    threshold = torch.from_numpy(1.2 * 10 ** (spread * random.uniform(-1, 1, size=(2, 40, 5))))
    moved = shrunk(GroupL1(), weight, threshold)
    length = moved.norm(dim=-1, keepdim=True)
    none = (weight / threshold).norm(dim=-1, keepdim=True) <= 1
    assert none.any() and not none.all()
    assert torch.equal(none, length == 0)
    slope = (moved - weight) / threshold + moved / length
    assert slope[~none.expand_as(slope)].abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_are_shortened_by_the_threshold(dtype: torch.dtype) -> None:
    """With one threshold a row is shortened by it, and one that is no longer becomes zero, bit for bit."""
    weight = torch.tensor([[[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]], dtype=dtype)
    moved = shrunk(GroupL1(), weight, 1.0)
    torch.testing.assert_close(moved[0, 0], torch.tensor([2.4, 3.2], dtype=dtype))
    assert (moved[0, 1:] == 0).all()
    assert torch.equal(shrunk(GroupL1(), weight, 0.0), weight)


@every_penalty
def test_only_a_proximal_penalty_shrinks(penalty: Penalty) -> None:
    """A penalty changes the weights in `shrink` if it says so, and not otherwise."""
    weight = weights(2, 1, 6)
    assert torch.equal(shrunk(penalty, weight, 0.1), weight) != penalty.proximal


@every_penalty
def test_no_value_is_looked_at(penalty: Penalty) -> None:
    """A penalty works without looking at a number, so its operations can be recorded."""
    weight = torch.empty(2, 3, 4, device="meta")
    strength = torch.empty(2, 1, 1, device="meta")
    assert penalty.value(weight).shape == (2, 1, 1)
    assert gradient(penalty, weight, strength).shape == weight.shape
    assert shrunk(penalty, weight, strength).shape == weight.shape


@every_penalty
def test_a_network_of_zeros_is_no_problem(penalty: Penalty) -> None:
    """At zero weights, where a norm has a corner, value, gradient and step are finite."""
    weight = torch.zeros(1, 2, 3)
    assert penalty.value(weight).isfinite().all()
    assert torch.equal(gradient(penalty, weight, 1.0), weight)
    assert torch.equal(shrunk(penalty, weight, 1.0), weight)


def test_names_are_the_ones_of_the_design() -> None:
    """Every penalty has its name; None is a choice, too."""
    assert {type(resolve(Penalty, name)) for name in ("l1", "l2", "elasticnet", "group_l1")} == {
        L1,
        L2,
        ElasticNet,
        GroupL1,
    }
    assert {"l1", "l2", "elasticnet", "group_l1"} <= set(names("penalty"))
    assert resolve(Penalty, None, optional=True) is None


@pytest.mark.parametrize("ratio", [-0.1, 1.1, None])
def test_the_ratio_has_a_range(ratio: float | None) -> None:
    """A ratio outside [0, 1] is an error that names it."""
    with pytest.raises(ValueError, match="The 'l1_ratio' parameter of ElasticNet must be a float in the range"):
        ElasticNet(l1_ratio=ratio).check()
    ElasticNet().check()
