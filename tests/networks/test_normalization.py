"""The norms are torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from skbig.networks.normalization import batch_moments, batch_norm, layer_norm
from tests.networks.leaves import gradients, tensors


@pytest.mark.parametrize("members", [(), (3,)], ids=["one", "three"])
def test_layer_norm(members: tuple[int, ...]) -> None:
    """It is torch's layer norm, with a scale and an offset for each member."""
    X, scale, offset = tensors((*members, 7, 5), (*members, 1, 5), (*members, 1, 5))
    actual = gradients(layer_norm(X, scale, offset), X, scale, offset)
    expected = gradients(functional.layer_norm(X, (5,)) * scale + offset, X, scale, offset)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("members", [(), (3,)], ids=["one", "three"])
def test_batch_moments_are_weighted(members: tuple[int, ...]) -> None:
    """A row of weight two counts as two rows, in the mean and in the biased variance."""
    (X,) = tensors((*members, 6, 5))
    counts = torch.tensor([1, 2, 0, 3, 1, 1])
    mean, variance = batch_moments(X, (counts / counts.sum()).double().view(-1, 1))
    repeated = X.repeat_interleave(counts, dim=-2)
    torch.testing.assert_close(mean, repeated.mean(-2, keepdim=True))
    torch.testing.assert_close(variance, repeated.var(-2, keepdim=True, correction=0))


@pytest.mark.parametrize("members", [(), (3,)], ids=["one", "three"])
def test_batch_norm(members: tuple[int, ...]) -> None:
    """With given moments it is torch's batch norm in evaluation."""
    X, scale, offset, mean = tensors((*members, 7, 5), (*members, 1, 5), (*members, 1, 5), (*members, 1, 5))
    mean = mean.detach()
    variance = mean.square() + 0.1
    actual = batch_norm(X, scale, offset, mean, variance)
    for m in range(members[0] if members else 1):
        own = [tensor[m] if members else tensor for tensor in (X, mean, variance, scale, offset)]
        expected = functional.batch_norm(own[0], *(tensor.view(-1) for tensor in own[1:]))
        torch.testing.assert_close(actual[m] if members else actual, expected)
