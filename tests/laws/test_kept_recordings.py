"""A recording that is kept gives another training of its form what a recording of its own would, to the bit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skbig import BigMLPClassifier
from skbig._utils.threads import thread_count
from skbig.components import SGD, Adam, ClipNorm, ClipValue, FocalLoss, LogLoss
from skbig.engine import kept_recordings
from skbig.engine.executors.written import WrittenExecutor
from skbig.engine.kept_recordings import forget
from skbig.estimators.choices import resolve_choices
from tests.fitting import BINARY, X, fitted, small, weights_of
from tests.small import assert_close, factors, kept, mini_batches, networks, new_members, recipe, rows, weights

FACTORS = factors() | networks()


def is_ours(value: Any) -> bool:
    return type(value).__module__.startswith(("skbig.", "builtins")) and not callable(getattr(value, "function", None))


OWN = {name for name, (_, changes) in FACTORS.items() if not all(is_ours(value) for value in changes.values())}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A list with an entry for each step that is executed as written, recorded at the same time or not."""
    calls: list[int] = []
    as_written = WrittenExecutor.step_as_written

    def counted(self: WrittenExecutor, *args: Any) -> Tensor:
        calls.append(len(calls))
        return as_written(self, *args)

    monkeypatch.setattr(WrittenExecutor, "step_as_written", counted)
    return calls


def trained(
    case: tuple[str, dict[str, Any]], dtype: torch.dtype = torch.float64, seed: int = 0, weighted: bool = False
) -> Any:
    task, changes = case
    what = recipe(task, **changes)
    members = new_members(what, [seed], dtype)
    epochs = mini_batches(members, rows(task, dtype, weights() if weighted else None), what)
    with thread_count(1):
        losses = [epochs.run().loss for _ in range(3)]
    return kept(members) | {"loss": np.array(losses)}


@pytest.mark.crossed
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FACTORS)
def test_another_training(name: str, dtype: torch.dtype, written: list[int]) -> None:
    """Members that begin elsewhere are trained by it as by their own; a form that is not known is recorded again."""
    expected = trained(FACTORS[name], dtype, seed=1)
    forget()
    written.clear()
    trained(FACTORS[name], dtype)
    assert len(written) == 2
    # Where the recording is one's own, the first step is as written. On some processors a product of float32 rounds
    # another way there, by where its factors lie in memory.
    assert_close(trained(FACTORS[name], dtype, seed=1), expected, 1e-6 if dtype == torch.float32 else 0.0)
    known = len(kept_recordings._kept) == 2
    assert len(written) == (2 if known else 4)
    assert known or name in OWN
    assert not known or not any(type(value).__module__.startswith("tests.") for value in FACTORS[name][1].values())


def test_most_forms_are_known() -> None:
    """Of all choices that this package has, those that hold plain numbers have recordings that are kept."""
    unknown = []
    for name, case in FACTORS.items():
        forget()
        trained(case)
        if not kept_recordings._kept:
            unknown.append(name)
    assert len(unknown) < len(FACTORS) / 5, unknown


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("binary", changes)
    for changes in (
        {},
        {"alpha": 0.2},
        {"alpha": 0.0},
        {"optimizer": Adam(betas=(0.8, 0.999))},
        {"optimizer": Adam(amsgrad=True)},
        {"optimizer": SGD(momentum=0.9)},
        {"optimizer": SGD(momentum=0.9, nesterov=False)},
        {"clipping": ClipNorm(0.01)},
        {"clipping": ClipNorm(0.02)},
        {"clipping": ClipValue(0.01)},
        {"loss": LogLoss(label_smoothing=0.1)},
        {"loss": FocalLoss()},
        {"loss": FocalLoss(gamma=1.0)},
        {"activation": "relu"},
        {"dropout": 0.1},
        {"dropout": 0.2},
        {"normalization": "batch"},
        {"hidden_layer_sizes": (6, 6)},
        {"batch_size": 15},
        {"fedprox": 0.1},
        {"keeps_zeros": True},
    )
]


@pytest.mark.parametrize("weighted", [False, True])
def test_forms_are_told_apart(weighted: bool) -> None:
    """Whatever is trained before, a training is the same: one number that differs is another form."""
    expected = []
    for case in FORMS:
        forget()
        expected.append(trained(case, weighted=weighted))
    for _ in range(2):
        for case, own in zip(FORMS, expected, strict=True):
            assert_close(trained(case, weighted=weighted), own, 0.0)


def test_short_trainings_are_recorded_when_they_come_again(written: list[int]) -> None:
    """Calls of partial_fit train as written until there were as many as pay, and then by what was recorded."""
    one, other = small("binary"), small("binary")
    for _ in range(12):
        one.partial_fit(X, BINARY, classes=[0, 1])
    assert len(written) == 8
    for _ in range(12):
        forget()  # each call by itself, as written
        other.partial_fit(X, BINARY, classes=[0, 1])
    assert one.executor_ == other.executor_ == "recorded"  # it does not tell what was fitted before
    np.testing.assert_allclose(weights_of(one), weights_of(other), rtol=1e-12, atol=1e-14)


def test_members_are_not_kept() -> None:
    """What is kept holds neither a model's tensors nor memory that two trainings would share."""
    what = recipe("binary")
    members = new_members(what)
    epochs = mini_batches(members, rows("binary"), what)
    epochs.run()
    (first, *_) = kept_recordings._kept.values()
    others = [new_members(what), new_members(what)]
    names = [first.bind(each, {}).__globals__ for each in others]  # type: ignore[attr-defined]
    for name in first.views:
        places = [each[name].untyped_storage().data_ptr() for each in names]
        assert len({*places, *(tensor.untyped_storage().data_ptr() for tensor in members.changing())}) > 2
    held = [item for item in first.names.values() if isinstance(item, Tensor)]
    assert sum(tensor.numel() for tensor in held) < members.flat.numel()


@pytest.mark.filterwarnings("ignore:Maximum iterations")
def test_rows_of_a_line_search_are_not_kept() -> None:
    """Its recording reads all rows of each training anew, and names none."""
    forget()
    table = np.random.default_rng(0).normal(size=(90, 4))
    BigMLPClassifier((5,), optimizer="lbfgs", max_iter=9, device="cpu").fit(table, table[:, 0] > 0)
    (recording,) = kept_recordings._kept.values()
    assert all(item.numel() < 90 for item in recording.names.values() if isinstance(item, torch.Tensor))


def test_every_tensor_that_members_hold_is_their_own() -> None:
    """A tensor that a training has of its own is no constant of a recording: all are among those that are `held`."""
    what = recipe("binary", normalization="batch", fedprox=0.1)
    members = new_members(what)
    values = [each for value in vars(members).values() for each in leaves(value)]
    assert members.anchor is not None
    held = {tensor.untyped_storage().data_ptr() for tensor in members.held()}
    assert {tensor.untyped_storage().data_ptr() for tensor in values} == held


def leaves(value: Any) -> list[Tensor]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each)]
    return [value] if isinstance(value, Tensor) else []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_threads_share_recordings() -> None:
    """Fits at the same time, by one recording, are those that run one after another."""
    expected = {seed: weights_of(small("binary", random_state=seed, max_iter=30).fit(X, BINARY)) for seed in range(4)}
    found: dict[int, Any] = {}

    def fit(seed: int) -> None:
        found[seed] = weights_of(small("binary", random_state=seed, max_iter=30).fit(X, BINARY))

    threads = [threading.Thread(target=fit, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, weight in expected.items():
        np.testing.assert_array_equal(found[seed], weight)


def test_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number is bounded, and so is that of the forms that are counted."""
    monkeypatch.setattr(kept_recordings, "MOST", 3)
    for n in range(12):
        fitted(small("binary", hidden_layer_sizes=(2 + n,)))
        assert len(kept_recordings._kept) <= 3
        kept_recordings.steps_taken(n, 1)
    assert len(kept_recordings._taken) <= 24


def test_a_name_stands_for_what_it_names_now() -> None:
    """A component that is defined anew, as in a notebook, takes the place of the one of its name."""
    made = []
    for _ in range(2):

        class Mine(SGD, name="mine"):
            pass

        made.append(Mine)
        chosen = resolve_choices(BigMLPClassifier(optimizer="mine")).optimizer
        assert type(chosen) is Mine
    assert made[0] is not made[1]
    with pytest.raises(ValueError, match="'max_iter' parameter"):
        resolve_choices(BigMLPClassifier(max_iter=True + 0.5))
