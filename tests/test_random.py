"""The quality of the random numbers that are functions of their place.

Legend: M members, R rows, W values per row. Samples are fixed by their seeds, so each of these tests gives one verdict.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats

from skbig._utils.random import Noise, Purpose, generator, member_seeds, step_keys

SAMPLE = 2**17
BINS = 32
PURPOSES = [*map(int, Purpose), *(Purpose.DROPOUT + layer for layer in (1, 2, 4))]


def noise_of(*seeds, step=0, first_row=0):
    return Noise(torch.from_numpy(step_keys(seeds, step, 1)[0]), first_row)


def sample(seed=0, step=0, purpose=Purpose.DROPOUT):
    return noise_of(seed, step=step).uniform(SAMPLE, 1, purpose, torch.float64).flatten().numpy()


def excess(first, second):
    """How many standard deviations the chi-square of a table of pairs lies above what independence gives."""
    places = (first * BINS).astype(np.int32) * BINS + (second * BINS).astype(np.int32)
    expected = len(places) / BINS**2
    statistic = ((np.bincount(places, minlength=BINS**2) - expected) ** 2).sum() / expected
    freedom = BINS**2 - 1
    return (statistic - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_uniform_numbers_are_uniform(seed):
    """Neither a chi-square nor a Kolmogorov-Smirnov test tells the numbers from uniform ones."""
    numbers = sample(seed)
    assert stats.kstest(numbers, "uniform").pvalue > 0.001
    assert stats.chisquare(np.bincount(np.floor(numbers * 4096).astype(int), minlength=4096)).pvalue > 0.001


def test_every_bit_is_a_fair_coin():
    """Each of the 32 bits is one half of the time, the low ones too, which choose the partners of swap noise."""
    bits = noise_of(7).bits(SAMPLE, 1, Purpose.SWAP_PARTNER).flatten()
    rates = [(bits >> place & 1).double().mean().item() for place in range(32)]
    np.testing.assert_allclose(rates, 0.5, atol=4 * 0.5 / SAMPLE**0.5)


def test_purposes_are_independent():
    """At one step and position, the numbers of two purposes, or of two layers' dropout, know nothing of each other."""
    numbers = {purpose: sample(purpose=purpose) for purpose in PURPOSES}
    pairs = {pair: excess(numbers[pair[0]], numbers[pair[1]]) for pair in combinations(PURPOSES, 2)}
    assert {pair: value for pair, value in pairs.items() if value > 5} == {}
    assert abs(np.mean(list(pairs.values()))) < 0.4


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_positions_are_independent(seed):
    """A number knows nothing of its neighbour, nor of the one in the next row, however wide the row is."""
    numbers = sample(seed)
    lags = [1, 2, 3, 5, 8, 16, 32, 64, 100, 128, 256, 512, 1000, 1024, 4096, 8192]
    excesses = {lag: excess(numbers[:-lag], numbers[lag:]) for lag in lags}
    assert {lag: value for lag, value in excesses.items() if value > 5} == {}


@pytest.mark.parametrize("other", [{"step": 1}, {"step": 2}, {"step": 256}, {"seed": 1}, {"seed": 2}, {"seed": 2**16}])
def test_steps_and_seeds_are_independent(other):
    """The numbers of a step know nothing of the next step's, nor of another seed's, even a neighbouring one."""
    first, second = sample(), sample(**other)
    assert excess(first, second) < 5
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / SAMPLE**0.5


def test_one_position_is_random_over_the_steps():
    """The numbers that one position gets at successive steps are uniform and independent too."""
    keys = torch.from_numpy(step_keys(range(128), 0, 1024))
    numbers = torch.stack([Noise(key).uniform(1, 1, Purpose.DROPOUT, torch.float64).flatten() for key in keys]).numpy()
    assert stats.kstest(numbers.flatten(), "uniform").pvalue > 0.001
    assert excess(numbers[:-1].flatten(), numbers[1:].flatten()) < 5
    assert excess(numbers[:, :-1].flatten(), numbers[:, 1:].flatten()) < 5


def test_normal_numbers_are_normal():
    """Moments and distribution are those of the standard normal, and neighbours are uncorrelated."""
    numbers = (
        noise_of(3).normal(SAMPLE, 1, (Purpose.NOISE_ANGLE, Purpose.NOISE_RADIUS), torch.float64).flatten().numpy()
    )
    assert stats.kstest(numbers, "norm").pvalue > 0.001
    np.testing.assert_allclose([numbers.mean(), numbers.var()], [0, 1], atol=5 * (2 / SAMPLE) ** 0.5)
    np.testing.assert_allclose([stats.skew(numbers), stats.kurtosis(numbers)], 0, atol=5 * (24 / SAMPLE) ** 0.5)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 5 / SAMPLE**0.5


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_keep_has_the_given_rate(probability):
    """The share of ones is the probability, and the rest are zeros."""
    kept = noise_of(5).keep(SAMPLE, 1, Purpose.DROPOUT, probability, torch.float32)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    error = (probability * (1 - probability) / SAMPLE) ** 0.5
    np.testing.assert_allclose(kept.double().mean(), probability, atol=4 * error)


def test_keep_at_the_ends_keeps_all_or_nothing():
    """A probability of one keeps every value and a probability of zero none, each member by its own."""
    probability = torch.tensor([0.0, 1.0], dtype=torch.float64).view(-1, 1, 1)
    kept = noise_of(5, 6).keep(SAMPLE, 1, Purpose.DROPOUT, probability, torch.float32)
    assert kept.mean(dim=(1, 2)).tolist() == [0.0, 1.0]


def test_keep_by_member_is_keep_alone():
    """A probability per member gives each member what it gets alone with that probability."""
    probability = torch.tensor([0.2, 0.7], dtype=torch.float64).view(-1, 1, 1)
    together = noise_of(5, 6).keep(50, 4, Purpose.DROPOUT, probability, torch.float32)
    for member, seed in enumerate((5, 6)):
        alone = noise_of(seed).keep(50, 4, Purpose.DROPOUT, probability[member].item(), torch.float32)
        assert torch.equal(together[member : member + 1], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [0, -1, 2**31 - 1, -(2**31)])
def test_uniform_numbers_are_never_zero_or_one(bits, dtype):
    """The interval is open in float32 too, whatever the bits: a logarithm is finite, a probability of one keeps all."""

    class Extreme(Noise):
        def bits(self, rows, width, purpose):
            return torch.full((self.n_members, rows, width), bits, dtype=torch.int32)

    noise = Extreme(torch.from_numpy(step_keys([0], 0, 1)[0]))
    assert 0 < noise.uniform(1, 1, Purpose.DROPOUT, dtype).item() < 1
    assert noise.normal(1, 1, (Purpose.NOISE_ANGLE, Purpose.NOISE_RADIUS), dtype).isfinite().all()


@pytest.mark.parametrize("draw", ["bits", "uniform", "normal", "keep"])
class TestPlace:
    """What a number depends on."""

    def draw(self, noise, draw, rows, width=3, dtype=torch.float32):
        calls = {
            "bits": lambda: noise.bits(rows, width, Purpose.DROPOUT),
            "uniform": lambda: noise.uniform(rows, width, Purpose.DROPOUT, dtype),
            "normal": lambda: noise.normal(rows, width, (Purpose.NOISE_ANGLE, Purpose.NOISE_RADIUS), dtype),
            "keep": lambda: noise.keep(rows, width, Purpose.DROPOUT, 0.5, dtype),
        }
        return calls[draw]()

    def test_halves_of_a_batch_make_the_whole(self, draw):
        """Rows that know where they begin in the batch get the numbers that they have in the whole batch."""
        whole = self.draw(noise_of(1, 2), draw, rows=10)
        halves = [self.draw(noise_of(1, 2, first_row=first), draw, rows=5) for first in (0, 5)]
        assert torch.equal(torch.cat(halves, dim=1), whole)

    def test_a_member_alone_is_a_member_of_a_population(self, draw):
        """The numbers of a member depend on its own seed only."""
        together = self.draw(noise_of(1, 2, 3), draw, rows=10)
        alone = [self.draw(noise_of(seed), draw, rows=10) for seed in (1, 2, 3)]
        assert torch.equal(together, torch.cat(alone))

    def test_a_place_always_has_the_same_number(self, draw):
        """Drawing other numbers in between changes nothing, and asking twice gives the same."""
        noise = noise_of(1)
        first = self.draw(noise, draw, rows=10)
        noise.uniform(7, 2, Purpose.SWAP_WHETHER, torch.float32)
        assert torch.equal(self.draw(noise, draw, rows=10), first)

    def test_no_global_state_moves(self, draw, unchanged_globals):
        """The generators of torch and NumPy are as they were."""
        self.draw(noise_of(1), draw, rows=10)


@pytest.mark.parametrize("width", [12, 13])
def test_some_columns_of_a_row_are_those_of_the_whole(width):
    """What a row's columns draw does not depend on which others are drawn with them, also in a part of a batch."""
    keys = torch.from_numpy(step_keys([3, 4], 7, 1)[0])
    whole, columns = Noise(keys), torch.tensor([0, 3, 10, width - 1])
    some = Noise(keys, first_row=2).of_columns(columns, width)
    assert torch.equal(some.bits(3, 4, Purpose.DROPOUT), whole.bits(5, width, Purpose.DROPOUT)[:, 2:, columns])
    kept = whole.keep(5, width, Purpose.DROPOUT, 0.4, torch.float32)
    assert torch.equal(some.keep(3, 4, Purpose.DROPOUT, 0.4, torch.float32), kept[:, 2:, columns])


def test_neighbours_of_a_mask_are_independent():
    """Two of them share a number, and neither its bits nor those of the next."""
    kept = noise_of(1).keep(1000, 100, Purpose.DROPOUT, 0.5, torch.float32)[0].numpy()
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(kept[:, lag:].ravel(), kept[:, :-lag].ravel())[0, 1]) < 5 / kept.size**0.5


def test_precision_does_not_change_the_draw():
    """A mask is the same in float32 and float64."""
    masks = [
        noise_of(1).keep(1000, 3, Purpose.DROPOUT, 0.3, dtype).double() for dtype in (torch.float32, torch.float64)
    ]
    assert torch.equal(*masks)


def test_step_keys_depend_on_seed_and_step_only():
    """The keys of later steps, or of one member, are those that a longer run or a population computes."""
    keys = step_keys([4, 5, 6], 0, 10)
    np.testing.assert_array_equal(step_keys([4, 5, 6], 7, 3), keys[7:])
    np.testing.assert_array_equal(step_keys([5], 0, 10), keys[:, :, 1:2])
    assert keys.shape == (10, 2, 3) and keys.dtype == np.int32


def test_no_two_steps_or_seeds_share_keys():
    """A million neighbouring steps and seeds all have keys of their own."""
    keys = step_keys(range(1000), 0, 1000).astype(np.int64)
    assert len(np.unique(keys[:, 0] * 2**32 + keys[:, 1])) == 10**6


def test_the_first_member_keeps_the_given_seed():
    """An ensemble of one is a plain fit, and a larger ensemble begins with the members of a smaller one."""
    assert member_seeds(12, 1) == [12]
    assert member_seeds(12, 5) == member_seeds(12, 50)[:5]


def test_member_seeds_are_distinct():
    """No two members of an ensemble, nor of ensembles with neighbouring seeds, are twins."""
    seeds = member_seeds(12, 500) + member_seeds(13, 500)
    assert len(set(seeds)) == 1000
    assert all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)


def test_generator_is_a_function_of_its_place():
    """One place gives the same numbers again, another place others."""
    first = generator(3, Purpose.ORDER, 1).permutation(100)
    np.testing.assert_array_equal(generator(3, Purpose.ORDER, 1).permutation(100), first)
    for other in [(4, Purpose.ORDER, 1), (3, Purpose.SPLIT, 1), (3, Purpose.ORDER, 2)]:
        assert not np.array_equal(generator(*other).permutation(100), first)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1, 2**32, 2**40])
def test_a_place_is_what_numpy_makes_of_its_numbers(seed: int) -> None:
    """A generator is NumPy's own for the list of numbers, whatever form they are handed over in."""
    expected = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(Purpose.ORDER), 3])))
    np.testing.assert_array_equal(generator(seed, Purpose.ORDER, 3).permutation(50), expected.permutation(50))
