"""A recording repeats a function: on other inputs, with all that it changes in place, and with nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from skbig.engine.recorder import NotReplayable, record
from tests.capturing import LateBranches


def tensors(*shapes: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes]


def several_losses(X: Tensor, weight: Tensor) -> Tensor:
    """A forward and a backward pass with respect to three leaves of other shapes, gathered in one vector."""
    leaves = [
        weight.detach().requires_grad_(),
        torch.ones(1, 3, dtype=X.dtype).requires_grad_(),
        X.detach().requires_grad_(),
    ]
    with torch.enable_grad():
        hidden = torch.tanh(torch.addmm(leaves[1], leaves[2], leaves[0]))
        gradients = torch.autograd.grad((hidden * hidden).sum(), leaves)
    return torch.cat([gradient.reshape(1, 1, -1) for gradient in gradients], -1)


def one_of_a_list(X: Tensor, weight: Tensor) -> Tensor:
    (only,) = (X + 1).split(10, 0)
    return only @ weight


def beside_its_activation(product: Tensor) -> Tensor:
    return torch.tanh(product) + product


def a_half_of_what_changes(X: Tensor, weight: Tensor) -> Tensor:
    product = X @ weight
    half = product * 0.5
    product.add_(1)
    return torch.add(X, half, alpha=0.3) + product


def gradients_of_a_sum(X: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the one term is that of the other, and twice as much."""
    leaves = [weight.detach().requires_grad_(), weight.sin().detach().requires_grad_()]
    with torch.enable_grad():
        gradients = torch.autograd.grad((X @ (leaves[0] + 2 * leaves[1])).square().sum(), leaves)
    return torch.cat([gradient.reshape(1, 1, -1) for gradient in gradients], -1)


def gathered(product: Tensor) -> Tensor:
    return torch.cat([product.reshape(1, 1, -1)], -1)


def gathered_and_changed(X: Tensor, weight: Tensor) -> Tensor:
    """What lies side by side is a copy: a change of it is none of its parts, and the other way round."""
    product, other = X.t() @ X, X.t() @ (X @ weight)
    beside, before = gathered(product).add_(1), torch.tanh(product)
    other.add_(1)
    changed = gathered(other)
    other.add_(1)
    return (beside + changed).view(3, 3) + product * 3 + before + other


def gathered_and_viewed(X: Tensor, weight: Tensor) -> Tensor:
    beside = gathered(X.t() @ X)
    view = beside.view(3, 3)
    return (beside * 2).view(3, 3) + view


def gathered_later(X: Tensor, weight: Tensor) -> Tensor:
    whole = X @ weight
    rows = whole[:3].view(1, 1, -1)
    whole.mul_(2)
    return torch.cat([rows], -1).view(3, 3) + whole[:3]


def a_mask(X: Tensor, weight: Tensor) -> Tensor:
    mask = torch.ones_like(X)
    mask[:, 1:] = 0
    return (mask * X) @ weight


def beside_ones(X: Tensor, weight: Tensor) -> Tensor:
    product = X @ weight
    before = torch.ones_like(product) * product
    product.add_(1)
    return before + 3 * product


def counts_that_change(X: Tensor, weight: Tensor) -> Tensor:
    counts = torch.arange(3).add_(1)
    return X * counts + (torch.arange(3, dtype=X.dtype) * 0.1 + 1) - weight[0] * (torch.arange(3) + 1)


def a_product_of_what_changes(X: Tensor, weight: Tensor) -> Tensor:
    rows = X * 1.5
    product = torch.addmm(weight[0], rows, weight)
    rows.add_(1)
    return torch.relu(product) + rows


def a_product_that_others_need(X: Tensor, weight: Tensor) -> Tensor:
    product, total = torch.addmm(weight[0], X, weight), torch.zeros_like(X)
    total.add_(torch.relu(product))
    return product


def turned_later(X: Tensor, weight: Tensor) -> Tensor:
    """A form that changes in place is another before than it is after."""
    square = X.t() @ X @ weight
    other, line = square.t(), square.view(9)
    square.t_()
    row = (X @ weight).view(1, 4, 3)
    total = row.sum(0)
    row.squeeze_(0)
    return (other.t() + 2 * square + line.view(3, 3))[0] + total + row


def of_sparse_numbers(X: Tensor, weight: Tensor) -> Tensor:
    """A sparse tensor holds the very numbers that it is made of."""
    before = X.exp()
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 1, 2], [2, 0, 1]]), X[0], (3, 3), check_invariants=False)
    return before + X @ torch.relu(sparse).to_dense() @ weight + torch.tanh(sparse._values())


def a_part_of_what_is_read(X: Tensor, weight: Tensor) -> Tensor:
    """Of parts that `unsafe_split` makes torch does not say that they lie in the memory of the whole."""
    product = X @ weight
    first, *_ = torch.unsafe_split(product, 2, 0)
    return torch.tanh(first) + product[:2]


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a product": lambda X, weight: X @ weight,
    "views": lambda X, weight: X.t().reshape(-1, 2).t().contiguous().view(-1)[:3] + weight.flatten()[:3],
    "transposes that undo each other": lambda X, weight: X.t().t() @ weight.t().contiguous().t(),
    "gradients": several_losses,
    "a list of one": one_of_a_list,
    "a list of several": lambda X, weight: X.unbind(0)[2] * X.unbind(0)[0] + X.split(2, 1)[1].sum(),
    "a tuple": lambda X, weight: torch.topk(X, 2, dim=1)[0] + X.max(dim=1, keepdim=True)[1],
    "infinite numbers": lambda X, weight: X.clamp(-math.inf, math.inf) + torch.full_like(X, math.inf).reciprocal(),
    "not a number": lambda X, weight: torch.nan_to_num(torch.full_like(X, math.nan), nan=0.5) * X,
    "other dtypes": lambda X, weight: (X.float().to(torch.bfloat16) > 0).to(X.dtype) * X.double(),
    "integers": lambda X, weight: X[torch.arange(X.shape[0]).flip(0)],
    "keywords": lambda X, weight: torch.add(X, X, alpha=0.1).sum(dim=0, keepdim=True).softmax(dim=-1),
    "an index that is computed": lambda X, weight: X.gather(1, X.argsort(dim=1)),
    "a tensor that is changed in place": lambda X, weight: torch.zeros_like(X).add_(X).mul_(2).clamp_(-1, 1),
    "a part times ones": lambda X, weight: (torch.ones_like(X[:, :2]) * X[:, :2]).view(-1),
    "an input passed on": lambda X, weight: X,
    "a product with ones that lays out anew": lambda X, weight: (X[:, :2] * torch.ones_like(X[:, :2])).view(-1),
    "a view of an input": lambda X, weight: X.view(-1),
    "a product that is activated": lambda X, weight: torch.relu(X @ weight) + 1,
    "an activated product as the result": lambda X, weight: torch.relu(X @ weight),
    "a product read beside its activation": lambda X, weight: (lambda product: torch.tanh(product) + product)(
        X @ weight
    ),
    "a view of a product beside its activation": lambda X, weight: (
        torch.tanh(product := X @ weight).view(-1) + product.view(-1)
    ),
    "a product that is changed twice": lambda X, weight: torch.relu((X @ weight) * X[:, :1]) + 1,
    "a product changed and read again": lambda X, weight: beside_its_activation((X @ weight) * X[:, :1]),
    "a product of another dtype than what it becomes": lambda X, weight: (X.float() @ weight.float()) * X,
    "a product times itself": lambda X, weight: beside_its_activation(X @ weight) * (X @ weight),
    "a difference with a factor": lambda X, weight: torch.sub(X @ weight, X, alpha=2.0) / (X.exp() + X),
    "a part of what is read": a_part_of_what_is_read,
    "numbers": lambda X, weight: ((X.float() * 0.1 + 1 / 3) / 3 - 16_777_217) * math.inf + X / 3 - 2 * X.bfloat16(),
    "numbers beside integers": lambda X, weight: (X > 0).long() * 3 + (X > 0).long() * 0.5 + X * True,
    "a complex number": lambda X, weight: (X * 1j + 0.5).abs(),
    "a half that is added": lambda X, weight: torch.add(X, (X @ weight) * 0.5, alpha=0.3),
    "a third that is added": lambda X, weight: torch.add(X, (X @ weight) * 0.3, alpha=0.3),
    "a half that is added and read": lambda X, weight: torch.add(X, half := (X @ weight) * 0.5, alpha=0.3) * half,
    "a half of an input": lambda X, weight: torch.add(X, X * 0.5, alpha=0.3),
    "a half of integers": lambda X, weight: torch.add(X.float(), (X > 0).long() * 0.5, alpha=0.3),
    "a half of a row": lambda X, weight: torch.add(X, (X[:1] @ weight) * 0.25) + torch.add(X, X[:1] * -0.5),
    "a half of what changes": a_half_of_what_changes,
    "a half that rounds": lambda X, weight: torch.add(X.float() * 1e-6, (X * 1e-4).half().abs() * 0.5),
    "a number that is added": lambda X, weight: torch.add((X @ weight).float(), X.float().sum(), alpha=3),
    "twice what is large": lambda X, weight: torch.add(X.float(), X.float().sign() * 3e38 * 2.0, alpha=0.25),
    "gradients of a sum": gradients_of_a_sum,
    "gathered and changed": gathered_and_changed,
    "gathered and viewed": gathered_and_viewed,
    "gathered later": gathered_later,
    "gathered of two dtypes": lambda X, weight: torch.cat(
        [(X.float().t() @ X.float()).view(1, 1, -1), (X @ weight).view(1, 1, -1)], -1
    ),
    "a mask of ones": a_mask,
    "a factor of ones that changes": beside_ones,
    "ones of another dtype": lambda X, weight: torch.ones_like(X) * X.float() * 0.1,
    "counts": counts_that_change,
    "a product of what changes": a_product_of_what_changes,
    "a product that others need": a_product_that_others_need,
    "turned later": turned_later,
    "sparse numbers": of_sparse_numbers,
    "views of views": lambda X, weight: (X @ weight).view(2, 6).view(-1).view(4, 3)[:2].t().reshape(-1).view(3, 2),
    "views of what has gaps": lambda X, weight: (X[:, :2].view(4, 1, 2).view(2, 2, 2) * 2).view(2, 4).view(8),
    "an input that is one factor of a product with ones": lambda X, weight: (
        torch.tanh((torch.ones_like(X) * X).unsqueeze(0)) + X
    ),
    "an activation of another layout": lambda X, weight: torch.relu((X @ weight).t()).t(),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_replay_is_the_function(name: str) -> None:
    """Recording returns what the function returns, and a replay does so for inputs it has not seen."""
    function = FUNCTIONS[name]
    first, second = tensors((4, 3), (3, 3)), tensors((4, 3), (3, 3), seed=1)
    result, replay = record(function, first)
    torch.testing.assert_close(result, function(*first), rtol=0, atol=0)
    for inputs in (second, first, second):
        torch.testing.assert_close(replay(*inputs), function(*inputs), rtol=0, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_replay_without_autograd(name: str) -> None:
    """A recording runs where autograd does not, and gives the same."""
    inputs = tensors((4, 3), (3, 3), seed=1)
    _, replay = record(FUNCTIONS[name], tensors((4, 3), (3, 3)))
    with torch.inference_mode():
        result = replay(*inputs).clone()
    torch.testing.assert_close(result, FUNCTIONS[name](*inputs), rtol=0, atol=0)


def test_lasting_tensors_change_once_per_call() -> None:
    """What the function changes in place is changed while recording and by every replay, and a view of it sees that."""
    total, view = torch.zeros(6), torch.zeros(0)
    view = total.view(2, 3)

    def function(X: Tensor) -> Tensor:
        total.view(3, 2).add_(X)
        return view.sum(0) * 2

    (X,) = tensors((3, 2), dtype=torch.float32)
    result, replay = record(function, [X])
    torch.testing.assert_close(total, X.flatten())
    torch.testing.assert_close(result, 2 * X.view(2, 3).sum(0))
    torch.testing.assert_close(replay(X), 4 * X.view(2, 3).sum(0))
    torch.testing.assert_close(total, 2 * X.flatten())


def test_lasting_tensors_are_read_before_they_change() -> None:
    """A half of a lasting tensor is that of what it was, though it is added after a view has changed it."""
    total = torch.ones(6)
    view = total.view(2, 3)

    def function(X: Tensor) -> Tensor:
        half = total * 0.5
        view.add_(1)
        return torch.add(X, half, alpha=0.5)

    (X,) = tensors((6,), dtype=torch.float32)
    result, replay = record(function, [X])
    torch.testing.assert_close(result, X + 0.25)
    torch.testing.assert_close(replay(X), X + 0.5)


@pytest.mark.parametrize("inference", [True, False])
def test_lasting_tensors_are_cast_anew(inference: bool) -> None:
    """What `to` makes in another dtype is no view, though torch's schema says so: it follows what is cast."""
    (X, weight), (other, _) = tensors((4, 3), (3,)), tensors((4, 3), (3,), seed=1)
    with torch.inference_mode(inference), torch.no_grad():
        weight = weight.clone()
        _, replay = record(lambda X: X.float() * weight.to(torch.float32), [X])
        weight.mul_(2)
        torch.testing.assert_close(replay(other), other.float() * weight.float())


@pytest.mark.parametrize("operation", [torch.ops.aten._unsafe_view.default, torch.ops.aten.view.default], ids=str)
def test_views_of_lasting_tensors_are_taken_once(operation: Any) -> None:
    """Also those of which torch's schema does not say that they are views."""
    (X, weight) = tensors((4, 3), (2, 3))
    result, replay = record(lambda X: X.view(-1)[:6] * operation(weight, [6]), [X])
    assert torch.equal(replay(X), result)
    assert replay.source.count("view") == 1  # type: ignore[attr-defined]
    weight.mul_(2)
    torch.testing.assert_close(replay(X), X.view(-1)[:6] * weight.view(-1))


def test_lasting_tensors_are_read_anew() -> None:
    """A lasting tensor that others change between two replays is read as it is then."""
    weight = torch.ones(3)
    _, replay = record(lambda X: X * weight.view(1, 3), [torch.ones(2, 3)])
    weight.fill_(5.0)
    torch.testing.assert_close(replay(torch.ones(2, 3)), torch.full((2, 3), 5.0))


@pytest.mark.parametrize(
    "look",
    [lambda X: X.sum().item(), lambda X: float(X.max()), lambda X: bool((X > 0).any()), lambda X: int(X.argmax())],
)
def test_a_look_at_a_value_is_noticed(look: Callable[[Tensor], Any]) -> None:
    """A function that looks at values is not recorded: it may do otherwise the next time. It has run all the same."""
    ran = []

    def function(X: Tensor) -> Tensor:
        value = look(X)
        ran.append(value)
        return X * 2

    with pytest.raises(NotReplayable):
        record(function, tensors((4, 3)))
    assert len(ran) == 1


@pytest.mark.parametrize("numbers", [0.0, [1.0, 2.0, 3.0]], ids=str)
def test_a_literal_that_changes_is_noticed(numbers: Any) -> None:
    """What a function makes of plain numbers, and then changes, it makes anew each time: a sum begins at 0 again."""

    def total(X: Tensor) -> Tensor:
        made = torch.tensor(numbers, dtype=X.dtype)
        made += X.sum(0) if made.dim() else X.sum()
        return made

    with pytest.raises(NotReplayable):
        record(total, tensors((4, 3)))
    _, replay = record(lambda X: torch.tensor(numbers, dtype=X.dtype) + X, tensors((4, 3)))
    (X,) = tensors((4, 3), seed=1)
    torch.testing.assert_close(replay(X), torch.tensor(numbers, dtype=X.dtype) + X, rtol=0, atol=0)


def test_an_error_goes_through() -> None:
    """A function that fails while it is recorded fails as it would alone, and recording ends."""
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        record(lambda X: X @ X, tensors((4, 3)))
    result, _ = record(lambda X: X + 1, tensors((4, 3)))
    torch.testing.assert_close(result, tensors((4, 3))[0] + 1)


def test_what_does_nothing_is_not_repeated() -> None:
    """Detached copies, views of lasting tensors and values that nobody reads cost nothing in a replay."""
    weight = torch.ones(3, 3)

    def function(X: Tensor) -> Tensor:
        X.sin()
        return X.detach() @ weight.view(9).view(3, 3).detach().t().t()

    _, replay = record(function, tensors((4, 3), dtype=torch.float32))
    lines = replay.source.strip().splitlines()  # type: ignore[attr-defined]
    assert len([line for line in lines if "=" in line]) == 1
    assert not any(word in replay.source for word in ("sin", "detach", "view", "t_"))  # type: ignore[attr-defined]


def test_gradients_are_computed_into_one_tensor() -> None:
    """Gathering gradients is no copy of its own: each is computed into its place."""
    _, replay = record(several_losses, tensors((4, 3), (3, 3)))
    assert "cat" not in replay.source  # type: ignore[attr-defined]


def test_values_are_released_after_their_last_use() -> None:
    """A replay holds no more memory than the function: what is not needed any more is let go of."""
    _, replay = record(lambda X: (X + 1).exp().sum(), tensors((4, 3)))
    assert replay.source.count("del ") == 2  # type: ignore[attr-defined]


def test_products_are_activated_where_they_lie() -> None:
    """An activation and its gradient write over the product that only they read; one that others read stays."""
    _, replay = record(several_losses, tensors((4, 3), (3, 3)))
    assert re.search(r"^ *tanh_\d+\(v", replay.source, re.M)  # type: ignore[attr-defined]
    _, replay = record(FUNCTIONS["a product read beside its activation"], tensors((4, 3), (3, 3)))
    assert re.search(r"= tanh_\d+\(v", replay.source)  # type: ignore[attr-defined]


def test_what_torch_makes_of_numbers_is_made_once() -> None:
    """A factor is no tensor that every replay makes anew; a half is one with the factor it is added by."""
    _, replay = record(lambda X: X.sin() * 0.1 - 0.1, tensors((4, 3)))
    assert "0.1" not in replay.source  # type: ignore[attr-defined]
    _, replay = record(lambda X: X.sin().mul_(0.1).add_(X, alpha=2), tensors((4, 3)))
    assert "0.1" not in replay.source  # type: ignore[attr-defined]
    _, replay = record(FUNCTIONS["a half that is added"], tensors((4, 3), (3, 3)))
    assert "alpha=0.15" in replay.source and "mul" not in replay.source  # type: ignore[attr-defined]


def test_a_view_of_a_view_is_one() -> None:
    """A replay takes one view where a function takes several, and none where they end where they began."""
    _, replay = record(lambda X: (X + 1).view(2, 6).view(12).view(1, 12), tensors((4, 3)))
    assert replay.source.count("view") == 1  # type: ignore[attr-defined]
    _, replay = record(lambda X: (X + 1).view(2, 6).view(4, 3), tensors((4, 3)))
    assert "view" not in replay.source  # type: ignore[attr-defined]


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize(
    "function",
    [
        lambda X: (X + 1).to(torch.float32) * 2,
        lambda X: torch.ops.aten._unsafe_view((X + 1).sin(), [12]) * 2,
        lambda X: (X + 1).t().reshape(-1) * 2,
    ],
    ids=["a cast", "an unsafe view", "a copy to lay it out"],
)
def test_what_is_done_aside_is_waited_for(function: Callable[[Tensor], Tensor], inference: bool) -> None:
    """A copy is one more piece of work, and a view none, whatever torch's schema says of them."""
    (X,) = tensors((4, 3))
    with torch.inference_mode(inference), torch.no_grad():
        _, replay = record(function, [X], LateBranches())
        assert torch.equal(replay(X), function(X))
