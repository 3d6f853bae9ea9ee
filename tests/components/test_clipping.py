"""What holds for every clipping, and which function of torch each of them is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from skbig._utils.component import names, resolve, stack
from skbig.components.clipping import ClipNorm, Clipping, ClipValue


def label(value: object) -> str:
    """Name a case without addresses, which differ between processes."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


CLIPPINGS = [ClipNorm(), ClipNorm(max_norm=0.3), ClipNorm(max_norm=50.0), ClipValue(), ClipValue(max_value=0.2)]
SETTINGS = [
    [ClipNorm(0.1), ClipNorm(3.0), ClipNorm(1e3)],
    [ClipValue(0.1), ClipValue(3.0), ClipValue(1e3)],
    *([clipping] * 3 for clipping in CLIPPINGS),
]
every_clipping = pytest.mark.parametrize("clipping", CLIPPINGS, ids=label)


def gradients(n_members: int, scale: float = 1.0) -> list[Tensor]:
    """Return the gradients of a weight and a bias for some members, the larger the later."""
    generator = torch.Generator().manual_seed(0)
    size = scale * torch.arange(1, n_members + 1, dtype=torch.float64).view(-1, 1, 1)
    shapes = ((n_members, 4, 3), (n_members, 1, 3))
    return [size * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def clipped(clipping: Clipping, grads: list[Tensor]) -> list[Tensor]:
    """Return the gradients after clipping; the norm is only given to who asks for it."""
    squares = sum(grad.square().sum((1, 2), keepdim=True) for grad in grads)
    copies = [grad.clone() for grad in grads]
    clipping.apply(copies, squares.sqrt() if clipping.needs_norm else None)
    return copies


@pytest.mark.parametrize(
    ("clipping", "theirs"),
    [
        *(
            (ClipNorm(limit), lambda p, limit=limit: torch.nn.utils.clip_grad_norm_(p, limit))
            for limit in (0.5, 2, 99.0)
        ),
        *(
            (ClipValue(limit), lambda p, limit=limit: torch.nn.utils.clip_grad_value_(p, limit))
            for limit in (0.1, 1, 99.0)
        ),
    ],
    ids=label,
)
@pytest.mark.parametrize("scale", [1.0, 0.0, 1e-4, 1e4])
def test_clipping_is_torchs(clipping: Clipping, theirs: Callable[[list[Tensor]], None], scale: float) -> None:
    """The gradients of one member are clipped as torch clips those of the same parameters."""
    grads = gradients(1, scale)
    parameters = [torch.nn.Parameter(torch.zeros_like(grad)) for grad in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.clone()
    theirs(parameters)
    for ours, parameter in zip(clipped(clipping, grads), parameters, strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-12, atol=0)


@pytest.mark.parametrize("clippings", SETTINGS, ids=lambda clippings: f"{clippings[0]}, {clippings[1]}")
def test_members_are_apart(clippings: list[Clipping]) -> None:
    """Members are clipped by their own norm and limit, in a stack as alone."""
    grads = gradients(3)
    together = clipped(stack(clippings), grads)
    for m, clipping in enumerate(clippings):
        alone = clipped(clipping, [grad[m : m + 1] for grad in grads])
        for ours, wanted in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[m : m + 1], wanted, rtol=1e-14, atol=0)


@every_clipping
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_clipping_never_grows_a_gradient(clipping: Clipping, scale: float) -> None:
    """No entry gets larger or changes its sign."""
    grads = gradients(3, scale)
    for after, before in zip(clipped(clipping, grads), grads, strict=True):
        assert (after.abs() <= before.abs()).all()
        assert torch.equal(after.sign(), before.sign())


@every_clipping
def test_clipping_twice_is_clipping_once(clipping: Clipping) -> None:
    """What is within the limit stays as it is."""
    once = clipped(clipping, gradients(3))
    for again, before in zip(clipped(clipping, once), once, strict=True):
        torch.testing.assert_close(again, before, rtol=1e-5, atol=0)


def test_clipped_norms_are_within_the_limit() -> None:
    """After clipping by norm, members above the limit are at it, and the others keep their length."""
    grads = gradients(3)
    before = torch.cat([grad.flatten(1) for grad in grads], dim=1).norm(dim=1)
    limit = float(before[1]) * 0.999
    after = torch.cat([grad.flatten(1) for grad in clipped(ClipNorm(limit), grads)], dim=1).norm(dim=1)
    torch.testing.assert_close(after, before.clamp(max=limit), rtol=1e-5, atol=0)
    assert (before > limit).any()
    assert (before < limit).any()


def test_the_norm_stays_as_it_is() -> None:
    """The norm that is handed over is left alone: the history shows it."""
    norm = torch.full((2, 1, 1), 7.0)
    ClipNorm().apply([torch.ones(2, 3, 3)], norm)
    assert torch.equal(norm, torch.full((2, 1, 1), 7.0))


@every_clipping
def test_no_value_is_looked_at(clipping: Clipping) -> None:
    """Clipping works without looking at a number, so its operations can be recorded."""
    grads = [grad.to("meta") for grad in gradients(2)]
    assert [after.shape for after in clipped(clipping, grads)] == [(2, 4, 3), (2, 1, 3)]


def test_names_are_the_ones_of_the_design() -> None:
    """Every clipping has its name; None is a choice, too."""
    assert {type(resolve(Clipping, name)) for name in ("norm", "value")} == {ClipNorm, ClipValue}
    assert {"norm", "value"} <= set(names("clipping"))
    assert resolve(Clipping, None, optional=True) is None


@pytest.mark.parametrize("bad", [ClipNorm(0.0), ClipNorm(-1.0), ClipValue(0), ClipValue("1")], ids=label)
def test_limits_have_a_range(bad: Clipping) -> None:
    """A limit that is no positive number is an error that names it."""
    with pytest.raises(ValueError, match=f"parameter of {type(bad).__name__} must be a float in the range"):
        bad.check()
    type(bad)().check()
