"""What augmentations promise: the right distribution, the same for a member alone, and rows left as they were.

Legend: S steps looked at together, M members, R rows of a batch, F features. X is [M,R,F].
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from skbig._utils.component import names, resolve, stack
from skbig._utils.random import Noise, step_keys
from skbig.components.augmentations import Augmentation, GaussianNoise, Mixup, SwapNoise

AUGMENTATIONS = [resolve(Augmentation, name) for name in names("augmentation")]
every_augmentation = pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda a: type(a).__name__)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def rows(members=2, count=30, features=4, dtype=torch.float64):
    """Distinct values: each tells its member, row and column."""
    return torch.arange(members * count * features, dtype=dtype).view(members, count, features)


def draw(augmentation, X, seeds, step=0, first_row=0):
    """Play the engine: the numbers of the step, then the step itself."""
    uniform = np.stack([np.random.default_rng([seed, step]).uniform(size=(1, 1, 1)) for seed in seeds], axis=1)
    factors = tuple(factor[0].to(X.dtype) for factor in augmentation.factors(torch.from_numpy(uniform)))
    noise = Noise(torch.from_numpy(step_keys(seeds, step, 1)[0]), first_row)
    return augmentation.apply(X, noise, factors)


@every_dtype
@every_augmentation
def test_rows_are_left_as_they_were(augmentation, dtype):
    """A new tensor of the same shape and type comes back, and the rows at hand are untouched."""
    X = rows(dtype=dtype)
    before = X.clone()
    changed, _ = draw(augmentation, X, (1, 2))
    assert torch.equal(X, before)
    assert changed.shape == X.shape and changed.dtype == dtype
    assert not torch.equal(changed, X) and changed.data_ptr() != X.data_ptr()


@every_augmentation
def test_the_same_step_is_the_same_and_another_is_not(augmentation):
    """The change is a function of seed and step."""
    X = rows()
    first, _ = draw(augmentation, X, (1, 2), step=3)
    assert torch.equal(draw(augmentation, X, (1, 2), step=3)[0], first)
    assert not torch.equal(draw(augmentation, X, (1, 2), step=4)[0], first)
    assert not torch.equal(draw(augmentation, X, (1, 5), step=3)[0][1], first[1])


@every_dtype
@every_augmentation
def test_members_of_a_stack_get_what_they_get_alone(augmentation, dtype):
    """A member's rows change as they do alone, also where the members' numbers differ."""
    number = next(iter(augmentation.get_params()))
    members = [augmentation, augmentation.replace(**{number: getattr(augmentation, number) * 2 + 0.1})]
    X = rows(dtype=dtype)
    together, mix = draw(stack(members), X, (1, 2))
    for member, (alone, seed) in enumerate(zip(members, (1, 2), strict=True)):
        expected, expected_mix = draw(alone, X[member : member + 1], (seed,))
        torch.testing.assert_close(together[member : member + 1], expected)
        assert (mix is None) == (expected_mix is None)
        if mix is not None:
            assert torch.equal(mix.partner[member : member + 1], expected_mix.partner)
            torch.testing.assert_close(mix.share[member : member + 1], expected_mix.share)


def test_no_global_state_moves(unchanged_globals):
    """Nothing is drawn from a generator."""
    for augmentation in AUGMENTATIONS:
        draw(augmentation, rows(), (1, 2))


class TestMixup:
    """Blended rows."""

    @pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
    def test_the_share_is_beta_distributed(self, alpha):
        """Over many steps and members, the shares are a sample of Beta(alpha, alpha)."""
        uniform = torch.from_numpy(np.random.default_rng(0).uniform(size=(2000, 2, 1, 1)))
        (share,) = Mixup(alpha).factors(uniform)
        assert share.shape == (2000, 2, 1, 1) and share.dtype == torch.float64
        assert ((share >= 0) & (share <= 1)).all()
        assert stats.kstest(share.flatten().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01

    def test_every_row_is_a_blend_of_itself_and_its_partner(self):
        """The share says how much of a row is its own, and the rest is its partner's."""
        X = rows()
        changed, mix = draw(Mixup(1.0), X, (1, 2))
        for member in range(2):
            share = mix.share[member].item()
            for row, partner in enumerate(mix.partner[member].tolist()):
                expected = share * X[member, row] + (1 - share) * X[member, partner]
                torch.testing.assert_close(changed[member, row], expected)

    def test_partners_are_a_permutation(self):
        """Every row is somebody's partner once, by places in the member's own batch."""
        _, mix = draw(Mixup(), rows(), (1, 2))
        assert mix.partner.dtype == torch.int64
        assert mix.partner.sort(dim=1).values.tolist() == [list(range(30))] * 2
        assert mix.partner[0].tolist() != mix.partner[1].tolist()

    def test_each_partner_is_equally_likely(self):
        """Over many steps, the partner of a row is uniform over the batch."""
        X = rows(members=1, count=8)
        partners = [draw(Mixup(), X, (1,), step=step)[1].partner[0, 3].item() for step in range(800)]
        assert stats.chisquare(np.bincount(partners, minlength=8)).pvalue > 0.01

    def test_the_share_blends_targets_of_any_shape(self):
        """A loss per row, [M,R], is blended by the share as it comes."""
        _, mix = draw(Mixup(), rows(), (1, 2))
        assert (mix.share * torch.ones(2, 30)).shape == (2, 30)


class TestGaussianNoise:
    """Added noise."""

    @every_dtype
    def test_the_noise_is_normal_with_the_given_scale(self, dtype):
        """What is added has mean zero and the given standard deviation, in every column, whatever the row's value."""
        X = torch.linspace(-3, 3, 20_000, dtype=dtype).view(1, -1, 1).expand(1, -1, 2)
        added = (draw(GaussianNoise(0.3), X, (1,))[0] - X)[0].double().numpy()
        for column in added.T:
            assert stats.kstest(column, stats.norm(0, 0.3).cdf).pvalue > 0.01
            assert abs(np.corrcoef(column, X[0, :, 0])[0, 1]) < 0.03
        assert abs(np.corrcoef(*added.T)[0, 1]) < 0.03

    def test_no_scale_is_no_noise(self):
        """At a scale of zero the rows are what they were."""
        assert torch.equal(draw(GaussianNoise(0.0), rows(), (1, 2))[0], rows())

    def test_the_whole_batch_is_its_parts(self):
        """Rows that know where they begin in the batch get the noise they have in the whole of it."""
        X = rows()
        parts = [draw(GaussianNoise(), X[:, first : first + 10], (1, 2), first_row=first)[0] for first in (0, 10, 20)]
        assert torch.equal(torch.cat(parts, dim=1), draw(GaussianNoise(), X, (1, 2))[0])


class TestSwapNoise:
    """Cells that take another row's value."""

    def test_values_stay_in_their_column_and_member(self):
        """Every value comes from the same column of the same member's batch."""
        X = rows()
        changed, _ = draw(SwapNoise(0.5), X, (1, 2))
        for member in range(2):
            for column in range(4):
                assert torch.isin(changed[member, :, column], X[member, :, column]).all()

    @pytest.mark.parametrize("probability", [0.15, 0.6])
    def test_cells_change_at_the_given_rate(self, probability):
        """The share of changed cells is the probability, in each column alike, and cells change on their own."""
        X = rows(members=1, count=20_000, features=2)
        changed = (draw(SwapNoise(probability), X, (1,))[0] != X)[0].double().numpy()
        np.testing.assert_allclose(changed.mean(axis=0), probability, atol=0.015)
        assert abs(np.corrcoef(*changed.T)[0, 1]) < 0.03

    def test_each_row_is_equally_likely(self):
        """The values taken are spread evenly over the rows, also where their number is no power of two."""
        X = torch.arange(6.0).view(1, 6, 1).expand(1, 6, 5000)
        taken = draw(SwapNoise(1.0), X, (1,))[0]
        assert stats.chisquare(np.bincount(taken.flatten().long(), minlength=6)).pvalue > 0.01

    def test_no_probability_is_no_swap(self):
        """At a probability of zero the rows are what they were."""
        assert torch.equal(draw(SwapNoise(0.0), rows(), (1, 2))[0], rows())
