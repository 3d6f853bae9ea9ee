"""What schedules promise, each compared with torch's, with scikit-learn's, or with itself on another route.

Legend: S steps looked at together, M members; a progress is [S,1,1,1].
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from sklearn.neural_network import MLPClassifier
from torch.optim import lr_scheduler

from skbig._utils.component import names, resolve, stack
from skbig.components.schedules.annealing import Cosine, CosLog4, FlatCosine, Linear, OneCycle
from skbig.components.schedules.base import FunctionSchedule, Progress, Schedule, resolve_schedule
from skbig.components.schedules.decays import Constant, Exponential, InverseTime, InvScaling, Plateau, StepDecay


def rises_then_falls(fraction):
    return 4 * fraction * (1 - fraction)


SCHEDULES = [*(resolve(Schedule, name) for name in names("schedule")), FunctionSchedule(rises_then_falls)]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)


def progress(epochs=40, steps=5, rows=37):
    """All steps of a training of so many epochs, each of so many steps and rows."""
    step = torch.arange(epochs * steps, dtype=torch.float64).view(-1, 1, 1, 1)
    epoch = (step / steps).floor()
    return Progress(step / len(step), (step + 1) / len(step), epoch, step, epoch * rows)


def multipliers(schedule, **counts):
    return schedule.multiplier(progress(**counts)).flatten().numpy()


def rates_of_torch(scheduler, count):
    """The rates that one of torch's schedulers gives to so many steps, from a base rate of one."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = scheduler(optimizer)
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(rates)


BY_EPOCH = {
    "step": (StepDecay(7, gamma=0.3), functools.partial(lr_scheduler.StepLR, step_size=7, gamma=0.3)),
    "exponential": (Exponential(0.9), functools.partial(lr_scheduler.ExponentialLR, gamma=0.9)),
}
BY_STEP = {
    "cosine": (Cosine(end=0.1), functools.partial(lr_scheduler.CosineAnnealingLR, T_max=200, eta_min=0.1)),
    "linear": (
        Linear(end=0.2),
        functools.partial(lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.2, total_iters=200),
    ),
    "constant": (Constant(), functools.partial(lr_scheduler.ConstantLR, factor=1.0)),
}


@pytest.mark.parametrize(("ours", "torchs"), BY_EPOCH.values(), ids=BY_EPOCH)
def test_a_schedule_of_epochs_is_that_of_torch_stepped_every_epoch(ours, torchs):
    """All steps of an epoch have the rate that torch's scheduler gives to the epoch."""
    np.testing.assert_allclose(multipliers(ours), np.repeat(rates_of_torch(torchs, 40), 5), rtol=1e-12)


@pytest.mark.parametrize(("ours", "torchs"), BY_STEP.values(), ids=BY_STEP)
def test_a_schedule_of_fractions_is_that_of_torch_stepped_every_step(ours, torchs):
    """Every step has the rate of torch's scheduler that is stepped after each."""
    np.testing.assert_allclose(multipliers(ours), rates_of_torch(torchs, 200), rtol=1e-12)


@pytest.mark.parametrize("peak_at", [0.1, 0.3, 0.75])
def test_one_cycle_is_that_of_torch(peak_at):
    """The cycle is that of torch, which reaches its peak a step earlier, and its end with the last step."""
    total = 200
    scheduler = functools.partial(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=total, pct_start=peak_at)
    theirs = rates_of_torch(functools.partial(scheduler, cycle_momentum=False), total - 1)
    turns = [0, peak_at * total - 1, total - 1]
    fraction = torch.from_numpy(np.interp(np.arange(total - 1), turns, [0, peak_at, 1])).view(-1, 1, 1, 1)
    ours = OneCycle(peak_at).multiplier(dataclasses.replace(progress(), fraction=fraction, until=fraction))
    np.testing.assert_allclose(ours.flatten().numpy(), theirs, rtol=1e-9)


@pytest.mark.parametrize("power_t", [0.5, 0.2])
@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_invscaling_is_that_of_scikit_learn(power_t, epochs):
    """After so many epochs MLPClassifier's rate is the one that the next epoch would have."""
    X = np.random.default_rng(0).normal(size=(37, 2))
    model = MLPClassifier((2,), solver="sgd", learning_rate="invscaling", power_t=power_t, learning_rate_init=1.0)
    for _ in range(epochs):
        model.partial_fit(X, X[:, 0] > 0, classes=[False, True])
    after = multipliers(InvScaling(power_t), epochs=epochs + 1, steps=1)[-1]
    np.testing.assert_allclose(after, model._optimizer.learning_rate, rtol=1e-12)


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_the_inverse_of_inverse_time_grows_linearly(unit):
    """One over the multiplier rises from 1 by beta per unit, and gamma is its power."""
    shown = multipliers(InverseTime(beta=0.25, unit=unit))
    steps_per_unit = {"epoch": 5, "step": 1}[unit]
    np.testing.assert_allclose(1 / shown[::steps_per_unit], np.arange(len(shown) // steps_per_unit) / 4 + 1, rtol=1e-12)
    np.testing.assert_allclose(multipliers(InverseTime(beta=0.25, gamma=2.0, unit=unit)), shown**2, rtol=1e-12)


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_invscaling_counts_in_its_unit(unit):
    """Four times the count, and one, is half the rate and a little less."""
    shown = multipliers(InvScaling(0.5, unit=unit))
    steps_per_unit = {"epoch": 5, "step": 1}[unit]
    assert shown[0] == 1
    np.testing.assert_allclose(shown[[3 * steps_per_unit, 15 * steps_per_unit]], [1 / 2, 1 / 4], rtol=1e-12)


@pytest.mark.parametrize("schedule", [Linear(0.3), Cosine(0.3), OneCycle(end=0.3)], ids=repr)
def test_a_schedule_of_fractions_ends_at_its_end(schedule):
    """After the last step the multiplier would be the one asked for."""
    over = dataclasses.replace(progress(), fraction=torch.ones(1, 1, 1, 1), until=torch.ones(1, 1, 1, 1))
    np.testing.assert_allclose(schedule.multiplier(over).item(), 0.3, rtol=1e-6)


@every_schedule
def test_warm_up_rises_linearly_to_the_scheduled_rate(schedule):
    """With a warm-up of a quarter, the rate climbs in equal shares of the scheduled one, and then is that."""
    plain, warmed = multipliers(schedule), multipliers(schedule.replace(warmup=0.25))
    share = np.interp(np.arange(1, 201), [0, 50, 200], [0, 1, 1])
    np.testing.assert_allclose(warmed, plain * share, rtol=1e-12)


@every_schedule
def test_a_step_alone_is_a_step_among_many(schedule):
    """Steps that are looked at together get what each gets alone, so the size of a chunk does not matter."""
    whole = progress()
    fields = [field.name for field in dataclasses.fields(Progress)]
    alone = [Progress(**{name: getattr(whole, name)[s : s + 1] for name in fields}) for s in range(0, 200, 13)]
    parts = torch.cat([schedule.multiplier(part) for part in alone])
    assert torch.equal(parts, schedule.multiplier(whole)[::13])


@every_schedule
def test_members_of_a_stack_get_what_they_get_alone(schedule):
    """With every number different between members, each member has the rates of its own schedule."""
    varying = [f.name for f in dataclasses.fields(schedule) if f.metadata["varies"]]
    changed = {name: getattr(schedule, name) * 0.7 + 0.1 for name in varying}
    members = [schedule, schedule.replace(**changed)]
    together = stack(members).multiplier(progress()).expand(200, 2, 1, 1)
    for member, alone in enumerate(members):
        expected = alone.multiplier(progress())
        torch.testing.assert_close(together[:, member : member + 1], expected, rtol=1e-13, atol=0)


@every_schedule
def test_members_of_a_stack_have_the_bits_they_have_alone(schedule):
    """However many members and steps are looked at together, a rate is the same to the last bit: training goes on."""
    varying = [f.name for f in dataclasses.fields(schedule) if f.metadata["varies"]]
    members = [schedule.replace(**{n: getattr(schedule, n) * (1 - m / 40) + m / 90 for n in varying}) for m in range(7)]
    whole = progress()
    for count in (1, 2, 7):
        together = stack(members[:count]).multiplier(whole).expand(200, count, 1, 1)
        assert torch.equal(together, torch.cat([alone.multiplier(whole) for alone in members[:count]], dim=1))
        for size in (1, 3, 64):
            steps = [[values[i : i + size] for values in vars(whole).values()] for i in range(0, 200, size)]
            parts = [stack(members[:count]).multiplier(Progress(*part)).expand(-1, count, 1, 1) for part in steps]
            assert torch.equal(torch.cat(parts), together)


@every_schedule
def test_a_multiplier_is_a_rate(schedule):
    """Multipliers are finite float64 numbers, none negative, one per step."""
    result = schedule.multiplier(progress())
    assert result.shape == (200, 1, 1, 1) and result.dtype == torch.float64
    assert result.isfinite().all() and (result >= 0).all()


class TestPlateau:
    """The only schedule that reacts."""

    def follow(self, schedule, losses, rate=0.1):
        """Play the engine: count the epochs without improvement and ask the schedule after each."""
        best, stalled, rates = float("inf"), 0, []
        for loss in losses:
            stalled = 0 if loss < best else stalled + 1
            best = min(best, loss)
            ratio = schedule.reduce(torch.tensor([rate], dtype=torch.float64), torch.tensor([stalled])).item()
            stalled = stalled if ratio == 1 else 0
            rate *= ratio
            rates.append(rate)
        return rates

    @pytest.mark.parametrize("schedule", [Plateau(patience=2), Plateau(0.5, patience=0, min_rate=1e-3)], ids=repr)
    def test_equals_that_of_torch(self, schedule):
        """Told the same losses, the rates are those of torch's ReduceLROnPlateau."""
        losses = np.random.default_rng(0).normal(size=60).cumsum() + 100
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        theirs = lr_scheduler.ReduceLROnPlateau(
            optimizer, "min", schedule.factor, schedule.patience, threshold=0.0, min_lr=schedule.min_rate, eps=0.0
        )
        expected = []
        for loss in losses:
            theirs.step(loss)
            expected.append(optimizer.param_groups[0]["lr"])
        assert len(set(expected)) > 2
        np.testing.assert_allclose(self.follow(schedule, losses), expected, rtol=1e-9)

    def test_comes_down_to_its_floor_and_is_exhausted(self):
        """Without any improvement the rate ends at the smallest one, says so, and stays there."""
        schedule = Plateau(factor=0.3, patience=1, min_rate=1e-3)
        rates = self.follow(schedule, [1.0] * 30)
        assert rates[-1] == rates[-10] == pytest.approx(1e-3)
        assert schedule.exhausted(torch.tensor(rates)).tolist() == [rate < 1.0001e-3 for rate in rates]

    def test_members_react_on_their_own(self):
        """A member that stalls is slowed down by its own factor; its neighbour is left alone."""
        schedule = stack([Plateau(factor=0.5, patience=1), Plateau(factor=0.1, patience=5)])
        rate = torch.tensor([0.1, 0.1], dtype=torch.float64)
        assert schedule.reduce(rate, torch.tensor([3, 3])).tolist() == pytest.approx([0.5, 1.0])
        assert schedule.reduce(rate, torch.tensor([0, 6])).tolist() == pytest.approx([1.0, 0.1])
        assert schedule.reduce(rate, torch.tensor([9, 9])).tolist() == pytest.approx([0.5, 0.1])

    def test_is_the_only_one_that_reacts(self):
        """The engine asks `reacts`, and only the plateau does."""
        assert [type(schedule) for schedule in SCHEDULES if schedule.reacts] == [Plateau]


class TestResolve:
    """What the `schedule` parameter takes."""

    def test_a_function_is_a_schedule_of_the_fraction(self):
        """A plain function is asked for the multiplier of each fraction of the training."""
        expected = [rises_then_falls(fraction) for fraction in progress().fraction.flatten().tolist()]
        assert multipliers(resolve_schedule(rises_then_falls)).tolist() == expected

    @pytest.mark.parametrize("value", ["cosine", Cosine, Cosine()], ids=["name", "class", "instance"])
    def test_a_name_a_class_and_an_instance_are_the_same(self, value):
        """Three ways to say one thing."""
        assert resolve_schedule(value) == Cosine()

    def test_adaptive_is_called_plateau_here(self):
        """The name that MLPClassifier has for it is answered with ours."""
        with pytest.raises(ValueError, match="schedule='plateau'"):
            resolve_schedule("adaptive")

    @pytest.mark.parametrize("value", [None, "cosin", 3, int])
    def test_anything_else_is_an_error_that_lists_the_names(self, value):
        """None too: to leave the rate as it is, there is the constant schedule."""
        with pytest.raises(ValueError, match="The 'schedule' parameter must be one of .*'constant'.*Got"):
            resolve_schedule(value)


def test_warmup_is_given_by_name():
    """The first number in the parentheses is the schedule's own, never the warm-up."""
    assert Linear(0.5).end == 0.5 and Linear(0.5).warmup == 0.0
    with pytest.raises(TypeError):
        Constant(0.1)


def test_flat_cosine_is_a_constant_and_then_a_cosine():
    """The rate stays, and then falls as a cosine over the rest falls over the whole."""
    ours = multipliers(FlatCosine(flat=0.75, end=0.1), epochs=40, steps=5)
    np.testing.assert_array_equal(ours[:150], 1.0)
    np.testing.assert_allclose(ours[150:], multipliers(Cosine(end=0.1), epochs=10, steps=5))
    np.testing.assert_allclose(multipliers(FlatCosine(flat=0.0)), multipliers(Cosine()))


def test_coslog4_rises_and_falls_four_times():
    """It is zero where a cycle begins, one in its middle, and each cycle is twice as long as the one before."""
    ends = torch.tensor([0.0, 1 / 15, 3 / 15, 7 / 15, 1.0], dtype=torch.float64)
    tops = (2.0 ** torch.tensor([0.5, 1.5, 2.5, 3.5], dtype=torch.float64) - 1) / 15
    for places, expected in ((ends, 0.0), (tops, 1.0)):
        at = Progress(*[places.view(-1, 1, 1, 1)] * 5)
        np.testing.assert_allclose(CosLog4().multiplier(at).flatten().numpy(), expected, atol=1e-12)
    every = multipliers(CosLog4(), epochs=300)
    turns = np.diff(np.sign(np.diff(every)))
    assert (turns < 0).sum() == 4 and every.max() <= 1 and every.min() >= 0
