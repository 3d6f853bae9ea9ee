"""Random numbers that are a function of where they are used, not of how many were drawn before.

Every number depends on (the member's seed, the purpose, the step, the position in the global batch) and on nothing
else. That one rule lets a member train the same alone and in a population, a killed fit go on exactly, and any
number of ranks draw the same masks.

Legend: M members, R rows of a batch, W values per row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Purpose(IntEnum):
    """What a random number is for; a layer's number is added where there are several of a purpose."""

    WEIGHTS = 1
    ORDER = 2
    SPLIT = 3
    MEMBER = 4
    STEP = 5
    MIX_SHARE = 6
    MIX_PARTNER = 7
    NOISE_ANGLE = 8
    NOISE_RADIUS = 9
    SWAP_WHETHER = 10
    SWAP_PARTNER = 11
    PRIVACY_RADIUS = 12
    PRIVACY_ANGLE = 13
    PRIVACY_ROWS = 14
    DROPOUT = 64


def generator(seed: int, *where: int) -> np.random.Generator:
    """Return NumPy's counter-based generator for one place, e.g. ``generator(seed, Purpose.ORDER, epoch)``."""
    place: Any = [seed, *where]
    if 0 <= seed < 2**32:  # then all are words of 32 bits, as NumPy makes of them one by one
        place = np.array(place, dtype=np.uint32)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(place)))


_idle: list[np.random.RandomState] = []


@contextmanager
def legacy_generator(seed: int) -> Iterator[np.random.RandomState]:
    """Lend ``RandomState(seed)``, scikit-learn's generator; to seed one anew takes a hundredth of making it."""
    try:
        random = _idle.pop()  # in one step: another thread, or a caller further up, has one of its own
    except IndexError:
        random = np.random.RandomState()
    random.seed(seed)
    try:
        yield random
    finally:
        _idle.append(random)


def member_seeds(seed: int, n_members: int) -> list[int]:
    """Return a seed per member; the first keeps the given one, so an ensemble of one is a plain fit."""
    return [seed] + [int(generator(seed, Purpose.MEMBER, m).integers(2**32)) for m in range(1, n_members)]


def step_keys(seeds: Sequence[int], first_step: int, n_steps: int) -> np.ndarray:
    """Return the two 32-bit keys of each step and member, an int32 array of shape (n_steps, 2, M)."""
    steps = np.arange(first_step, first_step + n_steps, dtype=np.uint64)[:, None]
    mixed = _splitmix(np.array(seeds, dtype=np.uint64)[None, :] ^ _splitmix(steps + np.uint64(Purpose.STEP)))
    halves = np.stack([mixed & np.uint64(0xFFFFFFFF), mixed >> np.uint64(32)], axis=1)
    return halves.astype(np.uint32).view(np.int32)


def _splitmix(x: np.ndarray) -> np.ndarray:
    """Mix 64-bit integers (Steele, Lea & Flood, 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


class Noise:
    """The random numbers of one step.

    Parameters
    ----------
    keys : Tensor of int32, shape (2, M)
        A row of `step_keys`.
    first_row : int
        Where the rows at hand begin in the global batch.
    """

    def __init__(self, keys: Tensor, first_row: int = 0, columns: Tensor | None = None, whole_width: int = 0) -> None:
        self._keys = keys
        self._first_row = first_row
        self._columns, self._whole_width = columns, whole_width

    @property
    def n_members(self) -> int:
        return self._keys.shape[1]

    @property
    def device(self) -> torch.device:
        """Where they are drawn."""
        return self._keys.device

    def member(self, m: int) -> Noise:
        """Return the random numbers of one member."""
        return Noise(self._keys.narrow(1, m, 1), self._first_row)

    @property
    def first_row(self) -> int:
        """Where the rows at hand begin in the global batch."""
        return self._first_row

    def of_columns(self, columns: Tensor, whole_width: int) -> Noise:
        """Return the random numbers of some columns, (W,) of int64, of rows that would be `whole_width` wide."""
        return Noise(self._keys, self._first_row, columns, whole_width)

    def bits(self, rows: int, width: int, purpose: int) -> Tensor:
        """Return uniform 32-bit integers, int32 of shape (M, R, W)."""
        if self._columns is None:
            start = self._first_row * width
            position = torch.arange(start, start + rows * width, dtype=torch.int32, device=self._keys.device)
        else:
            row = torch.arange(self._first_row, self._first_row + rows, device=self._keys.device)
            position = (row.unsqueeze(1) * self._whole_width + self._columns).to(torch.int32)
        first, second = self._keys.view(2, -1, 1).unbind(0)
        return _hash(position.view(1, -1), first, second + _constant(purpose)).view(-1, rows, width)

    def uniform(self, rows: int, width: int, purpose: int, dtype: torch.dtype) -> Tensor:
        """Return uniform numbers in the open interval (0, 1), of shape (M, R, W)."""
        # 23 bits: with 24 the largest float32 would round to one.
        high = self.bits(rows, width, purpose).bitwise_right_shift_(9).bitwise_and_(0x7FFFFF)
        return high.to(dtype).add_(0.5).mul_(2.0**-23)

    def normal(self, rows: int, width: int, purposes: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """Return standard normal numbers of shape (M, R, W), by Box and Muller's transform."""
        angle = self.uniform(rows, width, purposes[0], dtype).mul_(2 * math.pi).cos_()
        return self.uniform(rows, width, purposes[1], dtype).log_().mul_(-2).sqrt_().mul_(angle)

    def keep(self, rows: int, width: int, purpose: int, probability: Any, dtype: torch.dtype) -> Tensor:
        """Return ones with the given probability (a float, or a tensor `[M, 1, 1]`), else zeros, of shape (M, R, W).

        The probability is rounded up to a multiple of 1 / 65536.
        """
        return self._halves(rows, width, purpose).float().lt_(probability * 2.0**16 - 2.0**15).to(dtype)

    def _halves(self, rows: int, width: int, purpose: int) -> Tensor:
        """Return uniform 16-bit integers, int16 of shape (M, R, W): neighbours share one of 32 bits."""
        n_pairs = (width + 1) // 2
        if self._columns is None:
            halves = self.bits(rows, n_pairs, purpose).view(torch.int16)
            return halves.narrow(-1, 0, width) if width % 2 else halves
        pairs = self.of_columns(self._columns // 2, (self._whole_width + 1) // 2)
        return (pairs.bits(rows, width, purpose) >> (self._columns % 2 * 16)).to(torch.int16)


def _constant(purpose: int) -> int:
    """Spread small purposes over the 32-bit integers, as a signed one."""
    return (purpose * 0x9E3779B1 + 0x7FFFFFFF) % 2**32 - 2**31


def _hash(position: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mix positions with two keys: Wellons' "triple32", the second key added after its first round.

    Two rounds follow the second key, since after one alone the numbers of two purposes are visibly dependent.
    """
    x = position + first
    _shift_xor(x, 17).mul_(0xED5AD4BB - 2**32).add_(second)
    _shift_xor(x, 11).mul_(0xAC4C1B51 - 2**32)
    _shift_xor(x, 15).mul_(0x31848BAB)
    return _shift_xor(x, 14)


def mixed_on_host(
    places: np.ndarray, keys: np.ndarray, purposes: Sequence[int], outs: Sequence[np.ndarray], scratch: np.ndarray
) -> None:
    """Write what `Noise.bits` gives for each purpose, in unsigned integers of NumPy and into memory that is there.

    Places (W,), keys (2, M, 1) and what is written, (M, W), are of uint32. The first round is that of all purposes.
    """
    first = outs[0]
    np.add(places, keys[0], out=first)
    first ^= np.right_shift(first, np.uint32(17), out=scratch)
    first *= np.uint32(0xED5AD4BB)
    for purpose, out in reversed(list(zip(purposes, outs, strict=True))):
        np.add(first, keys[1] + np.uint32(_constant(purpose) % 2**32), out=out)
        for shift, factor in ((11, 0xAC4C1B51), (15, 0x31848BAB)):
            out ^= np.right_shift(out, np.uint32(shift), out=scratch)
            out *= np.uint32(factor)
        out ^= np.right_shift(out, np.uint32(14), out=scratch)


def _shift_xor(x: Tensor, shift: int) -> Tensor:
    """``x ^= x >> shift`` with zeros shifted in; int32 shifts copy the sign, which the mask removes."""
    return x.bitwise_xor_((x >> shift).bitwise_and_(2 ** (32 - shift) - 1))
