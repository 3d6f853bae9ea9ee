"""The noise of private steps: a function of the step's keys, or of what the operating system draws.

Legend: M members, S steps, P parameters of one member.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from skbig._utils.random import Noise, Purpose
from skbig.engine.host_normals import HostNormals

CHUNK = 2**16
"""So many numbers are drawn at a time: they stay in the cache while they are computed."""

DRAWN_AT_ONCE = 2**16
"""Noise of so many numbers is drawn together, over the steps to come where a step needs less."""

N_SUMMED = 4
"""How many secure numbers are summed for one: from the digits of a single one, the noise might be told [1].

[1] Holohan and Braghin, "Secure Random Sampling in Differential Privacy", ESORICS 2021.
"""


class StepNoise:
    """The noise of steps on the host, drawn for many of them together.

    Parameters
    ----------
    width : int
        Numbers of a member: P.
    like : Tensor
        In whose dtype and on whose device it is wanted.
    secure : bool
        Whether the operating system draws it, whatever the keys.
    """

    def __init__(self, width: int, like: Tensor, *, secure: bool) -> None:
        self.width, self.like, self.secure = width, like, secure
        self._normals = HostNormals(np.float64 if like.dtype == torch.float64 else np.float32)

    def of_steps(self, keys: Tensor) -> Iterator[Tensor]:
        """Yield standard normal numbers (M, 1, P) for each row of keys (S, 2, M)."""
        n_members = keys.shape[2]
        at_once = max(1, DRAWN_AT_ONCE // (self.width * n_members))
        for some in keys.split(at_once):
            side_by_side = some.transpose(0, 1).reshape(2, -1)  # as if each step had members of its own
            with torch.inference_mode(False):
                drawn = self._drawn(side_by_side).view(len(some), n_members, 1, self.width)
            yield from drawn.to(self.like.device)

    def _drawn(self, keys: Tensor) -> Tensor:
        if not self.secure:
            return torch.from_numpy(self._normals.of(keys.numpy(), self.width)).to(self.like.dtype)
        return secure_normal(keys.shape[1], self.width, self.like.dtype)


def normal_of(keys: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return standard normal numbers (M, 1, P), a function of the keys (2, M) and of their place."""
    half, n_members = -(-width // 2), keys.shape[1]
    chunk = max(1, CHUNK // n_members)
    pairs = []
    for start in range(0, half, chunk):
        noise, n = Noise(keys, start), min(chunk, half - start)
        radius, angle = (noise.bits(n, 1, purpose) for purpose in (Purpose.PRIVACY_RADIUS, Purpose.PRIVACY_ANGLE))
        pairs.append(_box_muller(radius, angle, dtype))
    return _side_by_side(pairs, width)


def secure_normal(n_members: int, width: int, dtype: torch.dtype) -> Tensor:
    """Return standard normal numbers (M, 1, P) that nobody can draw again."""
    half = -(-width // 2)
    chunk = max(1, CHUNK // n_members)
    pairs = []
    for start in range(0, half, chunk):
        shape = (n_members, min(chunk, half - start), 1)
        drawn = [_box_muller(_secure_bits(shape), _secure_bits(shape), torch.float64) for _ in range(N_SUMMED)]
        sums = [torch.stack(parts).sum(0) for parts in zip(*drawn, strict=True)]
        pairs.append([each.div_(math.sqrt(N_SUMMED)).to(dtype) for each in sums])
    return _side_by_side(pairs, width)


def _secure_bits(shape: tuple[int, ...]) -> Tensor:
    return torch.frombuffer(bytearray(os.urandom(4 * math.prod(shape))), dtype=torch.int32).view(shape)


def _box_muller(radius: Tensor, angle: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Make two standard normal numbers of two uniform 32-bit integers.

    Of the radius 31 bits count, where the generator of dropout masks takes 23: its tail ends at 6.7 deviations.
    """
    length = radius.bitwise_and_(0x7FFFFFFF).to(dtype).add_(0.5).mul_(2.0**-31).log_().mul_(-2).sqrt_()
    turned = angle.to(dtype).mul_(2 * math.pi * 2.0**-32)
    return [turned.cos().mul_(length), turned.sin_().mul_(length)]


def _side_by_side(pairs: Sequence[Sequence[Tensor]], width: int) -> Tensor:
    """Return chunks (M, n, 1) of the one number and then of the other as (M, 1, P)."""
    columns = [chunk for column in zip(*pairs, strict=True) for chunk in column]
    return torch.cat(columns, 1).narrow(1, 0, width).transpose(1, 2)
