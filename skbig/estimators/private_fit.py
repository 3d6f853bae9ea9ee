"""What a fit under privacy refuses, how much noise it adds, and what it has spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any, TypedDict

from sklearn.utils.validation import check_is_fitted

from skbig._utils.device import SingleDevice
from skbig.components.privacy import DPSGD
from skbig.data.drawn_rows import is_drawn_from
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.engine.members import Members
from skbig.engine.privacy_ledger import Spent, epsilon_of, noise_multiplier_for, together
from skbig.engine.recipe import Recipe
from skbig.estimators.choices import Choices
from skbig.estimators.given import Given
from skbig.estimators.interface import EstimatorInterface
from skbig.networks.network import BuiltNetwork


class Ledger(TypedDict):
    """What a fitted estimator keeps of its privacy, in plain values.

    `spent` holds a noise multiplier, a sample rate and a number of steps for each kind of steps.
    """

    spent: list[list[float]]
    noise_multiplier: float
    delta: float
    accountant: str


class Accounted:
    """An estimator whose training may have been private."""

    _ledger: Ledger | None

    @property
    def epsilon_(self) -> float:
        """What all fits and calls of `partial_fit` have spent, at the `delta` of the last one; inf if one had no noise.

        The rows of all calls are counted as the same ones. There is none without ``privacy``, nor without the library
        that adds up, the extra ``privacy``; what was spent is kept, and can be added up later.
        """
        ledger = self._private_ledger()
        try:
            return epsilon_of(spent_of(ledger), ledger["delta"], ledger["accountant"])
        except ImportError as error:  # who looks through all attributes, as for a notebook, passes over this one
            raise AttributeError(str(error)) from error

    @property
    def noise_multiplier_(self) -> float:
        """Standard deviation of the noise of the last steps, in units of `max_grad_norm`."""
        return self._private_ledger()["noise_multiplier"]

    def _private_ledger(self) -> Ledger:
        check_is_fitted(self)
        ledger = vars(self).get("_ledger")
        if ledger is None:
            raise AttributeError(f"This {type(self).__name__} was trained without privacy: it has no epsilon_.")
        return ledger


def spent_of(ledger: Ledger) -> list[Spent]:
    """Return what a ledger holds."""
    return [Spent(noise, rate, int(n_steps)) for noise, rate, n_steps in ledger["spent"]]


def check_private(
    estimator: EstimatorInterface,
    choices: Choices,
    checked: Given,
    network: BuiltNetwork,
    backend: SingleDevice,
    *,
    judged: bool,
) -> None:
    """Refuse what would tell of rows by another way than by clipped gradients with noise.

    Raises
    ------
    ValueError
        Naming the parameter, the reason, and what to do.
    """
    if estimator._learns_columns:
        raise ValueError(
            f"{type(estimator).__name__} learns the values and the quantiles of each column without noise, so it takes "
            "no privacy. Use BigMLPClassifier or BigMLPRegressor after an encoding that does not look at the rows."
        )
    for is_wrong, what in _faults(choices, checked, network, backend, judged=judged):
        if is_wrong:
            raise ValueError(f"With privacy={choices['privacy']!r} {what}")


def _faults(
    choices: Choices, checked: Given, network: BuiltNetwork, backend: SingleDevice, *, judged: bool
) -> Sequence[tuple[bool, str]]:
    """Return what may be wrong, whether it is, and what is said of it."""
    of_rows = _faults_of_rows(choices, checked, judged=judged)
    return [*_faults_of_model(choices, checked, network), *of_rows, *_faults_of_machines(choices, backend)]


def _faults_of_model(choices: Choices, checked: Given, network: BuiltNetwork) -> Sequence[tuple[bool, str]]:
    parameters, weight = choices.parameters, checked.weight
    without = [type(layer).__name__ for layer in network.without_row_gradients]
    return [
        (
            network.couples_rows,
            "a batch norm is refused: it lets every row of a batch change the gradients of all others. Use "
            "normalization='layer' or None.",
        ),
        (
            bool(without),
            f"the gradients of single rows are needed, and {without} cannot tell them. Use layers of skbig.networks "
            "that draw no noise and keep no statistics; of a pretrained model of texts, tune='head'.",
        ),
        (
            choices.augmentation is not None and choices.augmentation.mixes_rows,
            f"augmentation={choices['augmentation']!r} is refused: it puts parts of a row into others, whose gradients "
            "are clipped one by one. Use augmentation='gaussian_noise' or None.",
        ),
        (
            choices.optimizer.full_batch,
            f"optimizer={choices['optimizer']!r} is refused: its line search looks at the loss of all rows, without "
            "noise. Use optimizer='adam', or another that takes a step for each batch.",
        ),
        (
            bool(parameters.get("standardize_target")),
            "standardize_target=True is refused: mean and deviation of y would be kept without noise. Divide y by "
            "numbers that are known without looking at it, and use standardize_target=False.",
        ),
        (
            parameters.get("class_weight") is not None or (weight is not None and bool((weight != weight[0]).any())),
            "class_weight and a sample_weight that differs between rows are refused: weights are divided by their "
            "mean, so that each row would change the gradients of all others. Leave them out.",
        ),
    ]


def _faults_of_rows(choices: Choices, checked: Given, *, judged: bool) -> Sequence[tuple[bool, str]]:
    assert choices.privacy is not None
    best_kept = bool(choices["early_stopping"]) and judged
    return [
        (
            bool(choices["early_stopping"]) and not judged,
            "early_stopping=True is refused without X_val: it would look at private rows without noise. Pass rows that "
            "need no protection as X_val and y_val.",
        ),
        (
            choices.schedule.reacts and not best_kept,
            f"schedule={choices['schedule']!r} is refused: it watches the loss of private rows. Use "
            "early_stopping=True with X_val and y_val that need no protection, or a schedule that follows the epochs.",
        ),
        (
            not choices["shuffle"],
            "shuffle=False is refused: batches are drawn by chance. Use shuffle=True.",
        ),
        (
            isinstance(checked.X, LazyRows) and not is_drawn_from(checked.X.source),
            "rows that are read in order, or by large pieces, are refused: each step draws single rows from all of "
            "them. Pass an array, a memory map in C order, or a data set of HDF5 or Zarr with small chunks or none.",
        ),
        (
            choices.privacy.delta * checked.X.shape[0] >= 1,
            f"delta must be less than one over the number of rows, {checked.X.shape[0]}: with a larger one, to publish "
            f"a row that is drawn by chance would count as private. Got delta={choices.privacy.delta!r}.",
        ),
    ]


def _faults_of_machines(choices: Choices, backend: SingleDevice) -> Sequence[tuple[bool, str]]:
    assert choices.privacy is not None
    return [
        (
            backend.bf16 or backend.tf32,
            f"precision={choices['precision']!r} is refused: norms that are rounded to three digits do not bound what "
            "a row adds. Use precision='float32'.",
        ),
        (
            choices.backend is not None and choices.backend.shares_parameters,
            f"backend={choices['backend']!r} is refused: a row's gradient is cut by its length over all parameters, "
            "and each worker has a part of them. Use backend='ddp'.",
        ),
        (
            choices.backend is not None and choices.backend.steps_alone > 1,
            f"backend={choices['backend']!r} is refused: workers that take steps of their own would each add noise to "
            "batches that nobody has accounted for. Use sync_every=1.",
        ),
        (
            choices.backend is not None and choices.privacy.secure,
            "secure=True is refused with several workers: each would draw rows and noise of its own. Use backend=None.",
        ),
    ]


def privately(
    recipe: Recipe, choices: Choices, privacy: DPSGD, n_rows: int, before: Ledger | None, *, one_epoch: bool
) -> Recipe:
    """Settle how much noise is added, and let no loss of private rows end the training.

    Raises
    ------
    ValueError
        When a training that goes on would spend more than its budget.
    """
    rate = min(1.0, recipe.batch_size / n_rows)
    per_epoch = -(-n_rows // recipe.batch_size) * choices["n_members"]
    noise = privacy.noise
    if privacy.target_epsilon is not None:
        n_steps = per_epoch * choices["max_iter"]
        noise = noise_multiplier_for(privacy.target_epsilon, privacy.delta, rate, n_steps, privacy.accountant)
        if before is not None:
            planned = Spent(noise, rate, per_epoch * (1 if one_epoch else choices["max_iter"]))
            _check_budget(privacy, [*spent_of(before), planned])
    patience = recipe.patience if recipe.keep_best else inf
    return replace(recipe, privacy=privacy.settled(float(noise)), patience=patience)


def steps_forgotten(before: Ledger, members: Members) -> int:
    """Return how many steps of each member have been noisy and are not counted any more.

    They are counted anew with another optimizer, or other weights; what they drew must not be drawn again.
    """
    n_steps = sum(each.n_steps for each in spent_of(before)) // members.n_members
    return max(0, n_steps - members.steps)


def _check_budget(privacy: DPSGD, spent: Sequence[Spent]) -> None:
    epsilon = epsilon_of(spent, privacy.delta, privacy.accountant)
    if epsilon > privacy.target_epsilon * (1 + 1e-9):  # type: ignore[operator]
        raise ValueError(
            f"This call would spend epsilon={epsilon:.4g} in all, and target_epsilon={privacy.target_epsilon!r} is "
            "what max_iter epochs may spend. Set a larger target_epsilon to go on."
        )


def ledger_before(estimator: Any, choices: Choices) -> Ledger | None:
    """Return what a training that goes on has spent; all, where it had no noise."""
    kept: Ledger | None = vars(estimator).get("_ledger")
    if kept is not None or choices.privacy is None or estimator._progress["counts"][1] == 0:
        return kept
    return Ledger(
        spent=[[0.0, 1.0, 1]], noise_multiplier=0.0, delta=choices.privacy.delta, accountant=choices.privacy.accountant
    )


def ledger_after(
    before: Ledger | None, privacy: DPSGD | None, recipe: Recipe, n_rows: int, n_steps: int
) -> Ledger | None:
    """Return what has been spent after some more steps of all members."""
    if before is None and privacy is None:
        return None
    rate = min(1.0, recipe.batch_size / n_rows)
    noise = 0.0 if recipe.privacy is None else recipe.privacy.noise
    spent = together([*(spent_of(before) if before is not None else []), Spent(noise, rate, n_steps)])
    plain, noise = [list(each) for each in spent], float(noise)
    if privacy is None:
        assert before is not None
        return {**before, "spent": plain, "noise_multiplier": noise}
    return Ledger(spent=plain, noise_multiplier=noise, delta=privacy.delta, accountant=privacy.accountant)
