"""A table of steps that is kept gives another training what a table of its own would, to the bit."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from skbig._utils.component import names
from skbig._utils.threads import thread_count
from skbig.components import SGD
from skbig.engine import kept_tables, minibatch
from skbig.engine.members import Members
from tests.fitting import BINARY, X, fitted, small
from tests.small import assert_close, factors, kept, mini_batches, new_members, recipe, rows

FACTORS = factors()


def trained(case: tuple[str, dict[str, Any]], seed: int = 0) -> Any:
    task, changes = case
    what = recipe(task, **changes)
    members = new_members(what, [seed], torch.float64)
    epochs = mini_batches(members, rows(task, torch.float64), what)
    with thread_count(1):
        losses = [epochs.run().loss for _ in range(3)]
    return kept(members) | {"loss": np.array(losses)}


@pytest.mark.parametrize("name", FACTORS)
def test_another_training(name: str) -> None:
    """One with other weights, in the same place of a training of the same length."""
    kept_tables._kept.clear()
    expected = trained(FACTORS[name], seed=1)
    first = dict(kept_tables._kept)
    trained(FACTORS[name], seed=2)
    assert_close(trained(FACTORS[name], seed=1), expected, 0.0)
    assert kept_tables._kept == first


def test_other_rates_have_other_tables() -> None:
    kept_tables._kept.clear()
    for changes in ({"rate": 0.1}, {"rate": 0.2}, {"optimizer": SGD()}, {"optimizer": SGD(momentum=0.5)}):
        before = len(kept_tables._kept)
        trained(("binary", changes))
        assert len(kept_tables._kept) > before


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more come, one begins anew, and nothing else changes."""
    expected = [trained(("binary", {"rate": rate})) for rate in (0.1, 0.2, 0.3)]
    monkeypatch.setattr(kept_tables, "MOST", 2)
    kept_tables._kept.clear()
    for _ in range(2):
        for rate, wanted in zip((0.1, 0.2, 0.3), expected, strict=True):
            assert_close(trained(("binary", {"rate": rate})), wanted, 0.0)
            assert len(kept_tables._kept) <= 2


def test_weights_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[Any] = []
    made = Members.__init__

    def noted(self: Members, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        alive.append(weakref.ref(self.flat))

    monkeypatch.setattr(Members, "__init__", noted)
    kept_tables._kept.clear()
    model = fitted(small("binary"), X, BINARY)
    assert kept_tables._kept and alive
    del model
    gc.collect()
    assert not any(weights() is not None for weights in alive)


@pytest.mark.parametrize("schedule", names("schedule"))
def test_calls_of_partial_fit_find_the_plan_of_an_earlier_one(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come to the bits that plans of their own give, in a stream that is cut, too, and of batches of any size."""
    sizes = [20] * 9 + [30, 20, 20]

    def streamed() -> list[np.ndarray]:
        model = small("binary", schedule=schedule, max_iter=20, batch_size=10)
        for i, size in enumerate(sizes):
            model = pickle.loads(pickle.dumps(model)) if i % 4 == 3 else model
            model.partial_fit(X[:size], BINARY[:size], classes=[0, 1])
        return [*model.coefs_, *model.intercepts_, np.array(model.learning_rates_)]

    kept_tables._kept.clear()
    found = streamed()
    n_made = len(kept_tables._kept)
    assert all(map(np.array_equal, streamed(), found)) and len(kept_tables._kept) == n_made
    monkeypatch.setattr(minibatch, "PLANNED_STEPS", 4)  # an epoch has no room for another
    kept_tables._kept.clear()
    assert all(map(np.array_equal, streamed(), found))
