"""Each member of an ensemble holds out rows of its own: what the others have read judges it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.metrics import log_loss

from skbig import BigTabularClassifier, BigTabularRegressor
from skbig.estimators import calibration, presets
from skbig.estimators.calibration import out_of_fold
from skbig.estimators.conformal import error_of_mean
from skbig.estimators.given import Given
from skbig.estimators.preparation import prepare
from skbig.estimators.validation import FoldedValidation
from tests.searching import assert_same_search

X, y = load_wine(return_X_y=True)
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "n_bins": 4, "max_iter": 3, "n_members": 5, "random_state": 0}


def small(**parameters: Any) -> BigTabularClassifier:
    return BigTabularClassifier("fast", **SMALL | parameters)


@pytest.mark.parametrize("class_weight", [None, {0: 1.0, 1: 2.0, 2: 0.0}])
def test_members_are_judged_by_what_they_have_not_read(class_weight: Any) -> None:
    """The validation loss of each is that of its own part, which its training leaves out."""
    session = prepare(small(class_weight=class_weight), Given(X, y), Given(None, None))
    session.run()
    rows, validation = session.rows, session.validation
    assert isinstance(validation, FoldedValidation)
    assert session.held is not None
    for m, seed in enumerate(session.members.seeds):
        judged = rows.left_out[seed]
        np.testing.assert_array_equal(validation.sets_of(m)[0].rows.X, rows.X[judged])
        np.testing.assert_array_equal(validation.sets_of(m)[0].rows.y, rows.y[judged])
        assert set(judged).isdisjoint(rows.read[seed])
    raw = out_of_fold(session, np.arange(len(session.held["validation"].y)))
    assert raw is not None
    losses = [
        log_loss(part, np.exp(own - np.logaddexp.reduce(own, 1, keepdims=True)), labels=[0, 1, 2])
        for part, own in zip(np.split(session.held["validation"].y, 5), np.split(raw[0].numpy(), 5), strict=True)
    ]
    np.testing.assert_allclose(losses, -session.tracker.best_score, rtol=1e-5)


def test_of_many_rows_some_of_each_part_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many of each, of all classes: they are predicted by the member that has not read them, as importances are."""
    monkeypatch.setattr(calibration, "CALIBRATED_ROWS", 50)
    session = prepare(small(), Given(X, y), Given(None, None))
    session.run()
    assert session.held is not None
    held = session.held["validation"]
    told = calibration.placed_for(session, session.targets, held)
    assert told.n_rows == 50
    for m, seed in enumerate(session.members.seeds):
        own, left_out = slice(10 * m, 10 * (m + 1)), session.rows.left_out[seed]
        assert (told.X[own, None] == session.rows.X[left_out]).all(-1).any(-1).all()
        np.testing.assert_allclose(np.bincount(told.y[own], minlength=3) / 10, np.bincount(y) / len(y), atol=0.11)
    places = calibration.calibrating_places(session, held)
    raw, alone = calibration.predicted_by_members(session, told.X), out_of_fold(session, places)
    assert alone is not None
    np.testing.assert_allclose(alone[0], raw[np.arange(50) // 10, np.arange(50)], rtol=1e-6)


def test_few_rows_are_held_out_by_each_member() -> None:
    """By default, unless members are few, or others judge them."""
    few = BigTabularClassifier("fast", max_iter=1, random_state=0).fit(X, y)
    assert few.weights_["bias1"].shape == (8, 1, 64)
    assert few.t_ == len(X) - len(X) // 8
    assert few.encoding_.n_bins == presets.n_bins(len(X), incremental=False) == 11
    assert small(n_members=2).fit(X, y).t_ == 3 * (len(X) - 18)
    assert small().fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2]).t_ == 3 * len(X[::2])
    assert [presets.n_bins(n, incremental=False) for n in (10, 1000, 10**6)] == [8, 62, 128]


@pytest.mark.parametrize(("preset", "n_folds"), [("fast", None), ("default", 8), ("best", 24)])
def test_many_rows_are_where_members_are_many(
    preset: str, n_folds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A classifier's also leave out some that all do. Where they are two, or rows yet more, all hold out a tenth."""
    rows, labels = np.repeat(X, 12, axis=0), np.repeat(y, 12)
    few = SMALL | {"n_members": "auto", "max_iter": 1}
    by_all = len(rows) * 9 // 10
    read = by_all if n_folds is None else len(rows) - len(rows) // n_folds
    of_others = 0 if n_folds is None else (n_folds - 1) * (len(rows) // 40 // n_folds)
    assert BigTabularRegressor(preset, **few).fit(rows, labels).t_ == read
    assert BigTabularClassifier(preset, **few).fit(rows, labels).t_ == read - of_others
    monkeypatch.setattr(presets, "FOLDED_ROWS", len(rows) - 1)
    assert BigTabularRegressor(preset, **few).fit(rows, labels).t_ == by_all
    assert BigTabularClassifier(preset, **few).fit(rows, labels).t_ == by_all


def test_the_temperature_suits_the_mean_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many rows some are read by no member, which tell how much less sure the mean is than each; else it is not."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(7000, 5))
    labels = (np.sin(2 * numbers[:, 0]) + numbers[:, 1] * numbers[:, 2] + 0.5 * random.normal(size=7000)) > 0
    how: dict[str, Any] = {"hidden_layer_sizes": (64,), "max_iter": 30, "learning_rate": 0.02, "dropout": 0.0}
    model = BigTabularClassifier("default", early_stopping="folds", random_state=0, **how)
    model.fit(numbers[:3000], labels[:3000])

    def loss_at(temperature: float) -> float:
        model.temperature_ = temperature
        return float(log_loss(labels[3000:], model.predict_proba(numbers[3000:])))

    told, every = model.temperature_, np.linspace(0.5, 2, 31)
    best = every[np.argmin([loss_at(each) for each in every])]
    monkeypatch.setattr("skbig.estimators.calibration.shared_places", lambda *given: np.arange(0))
    of_one = model.fit(numbers[:3000], labels[:3000]).temperature_
    assert told < 0.95 * of_one
    assert loss_at(told) < loss_at(of_one)
    assert abs(np.log(told / best)) < 0.15


def test_larger_networks_are_for_many_rows_in_memory() -> None:
    """Of three classes or more: others, calls of partial_fit and sparse rows have no use for more units."""
    rows, labels = np.repeat(X, 12, axis=0), np.repeat(y, 12)
    default = BigTabularClassifier(max_iter=1, n_members=5, random_state=0)
    given = {"few, judged by others": X, "many": rows, "sparse": sparse.csr_array(rows)}
    sizes = {}
    for name, some in given.items():
        held = {"X_val": X, "y_val": y} if some is X else {}
        sizes[name] = default.fit(some, np.resize(labels if some is not X else y, some.shape[0]), **held)
        sizes[name] = sizes[name]._network.network.hidden_layer_sizes
    assert sizes == {"few, judged by others": (128, 128), "many": (256, 256), "sparse": (128, 128)}
    assert default.fit(rows, labels > 0)._network.network.hidden_layer_sizes == (128, 128)
    first = clone(default).partial_fit(rows, labels, classes=[0, 1, 2])
    assert first._network.network.hidden_layer_sizes == (128, 128)


def test_a_number_of_few_levels_has_a_bin_for_each() -> None:
    """Where there are fewer bins for so few rows; what bins the user asks for are left."""
    hours = np.c_[X[:, 0], np.arange(len(X)) % 22]
    model = BigTabularClassifier(**SMALL | {"n_bins": "auto"}).fit(hours, y)
    assert model.encoding_.n_bins == model._network.network.n_bins == 21
    assert BigTabularClassifier(**SMALL).fit(hours, y).encoding_.n_bins == 4
    assert BigTabularClassifier(**SMALL | {"n_bins": "auto"}).partial_fit(hours, y, [0, 1, 2]).encoding_.n_bins == 128


def test_a_search_trains_them_as_they_are_alone() -> None:
    """Candidates that stand side by side hold out the same rows as each would."""
    grid = {"learning_rate": [0.001, 0.004], "n_members": [5, 6]}
    assert_same_search(small(max_iter=2), grid, X, y, cv=2)


def test_a_warm_start_keeps_members_and_their_rows() -> None:
    """Whatever is 'auto' by then."""
    model = BigTabularClassifier("fast", max_iter=1, warm_start=True, random_state=0).fit(X, y)
    assert model.fit(X, y).weights_["bias1"].shape == (8, 1, 64)
    assert model.t_ == 2 * (len(X) - len(X) // 8)


def test_intervals_come_from_rows_that_were_not_read() -> None:
    """They hold new rows as promised, though every row is trained on by most members: by these it would be 73%."""
    held = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        numbers = random.normal(size=(1200, 4))
        target = numbers[:, 0] * numbers[:, 1] + numbers[:, 2] + 0.5 * random.normal(size=1200)
        model = BigTabularRegressor("fast", max_iter=20, random_state=seed).fit(numbers[:200], target[:200])
        low, high = model.predict_interval(numbers[200:], coverage=0.8)
        held.append(np.mean((low <= target[200:]) & (target[200:] <= high)))
    assert 0.77 < np.mean(held) < 0.85


def test_intervals_of_few_rows_are_wide_enough() -> None:
    """Their errors are those of the last epoch, which the same rows have not chosen; by the best, 78% hold."""
    held = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        numbers = random.normal(size=(1100, 4))
        target = numbers[:, 0] * numbers[:, 1] + numbers[:, 2] + 0.5 * random.normal(size=1100)
        model = BigTabularRegressor("fast", max_iter=40, random_state=seed).fit(numbers[:100], target[:100])
        low, high = model.predict_interval(numbers[100:], coverage=0.8)
        held.append(np.mean((low <= target[100:]) & (target[100:] <= high)))
    assert 0.8 < np.mean(held) < 0.86


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_of_members_errs_less_than_one(weighted: bool) -> None:
    """By what is known of one member's errors, and of how members differ, those of their mean are told."""
    random = np.random.default_rng(0)
    common, own = random.normal(size=(1, 5000, 2)), random.normal(size=(8, 5000, 2)) * [1.0, 0.5]
    weight = random.uniform(size=5000) if weighted else None
    members = common + own  # the truth is zero
    share = error_of_mean(members[0], members, weight)
    told = share * np.sqrt(np.mean(members[0] ** 2, axis=0))
    np.testing.assert_allclose(told, np.sqrt(np.mean(members.mean(0) ** 2, axis=0)), rtol=0.05)
    np.testing.assert_allclose(error_of_mean(members[0], np.repeat(members[:1], 8, axis=0), weight), 1.0)
    assert (error_of_mean(0.0 * members[0], members, weight) == np.sqrt(1 / 8)).all()


def test_intervals_are_those_of_the_mean_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more rows they are narrower than one member would need, by the share of its errors that the mean has."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(700, 3))
    target = numbers[:, 0] + random.normal(size=700)
    model = BigTabularRegressor("fast", max_iter=3, random_state=0)
    low, high = model.fit(numbers[:600], target[:600]).predict_interval(numbers[600:])
    monkeypatch.setattr("skbig.estimators.tabular_regressor.error_of_mean", lambda *given: 1.0)
    of_one = model.fit(numbers[:600], target[:600]).predict_interval(numbers[600:])
    assert (high - low < of_one[1] - of_one[0]).all()


def test_the_last_epoch_is_looked_at_and_left() -> None:
    """Members predict as before, and what is asked of the last epoch is what its validation has seen."""
    session = prepare(
        BigTabularRegressor("fast", **SMALL | {"max_iter": 20}), Given(X[:99], X[:99, 0]), Given(None, None)
    )
    session.run()
    best = session.members.flat.clone()
    assert isinstance(session.validation, FoldedValidation)
    with session.tracker.at_last_epoch():
        losses = session.validation(session.shown, session.recipe).loss
    np.testing.assert_array_equal(losses, session.history.validation_loss[-1])
    assert (losses > np.min(session.history.validation_loss, axis=0)).any()
    assert torch.equal(session.members.flat, best)


@pytest.mark.parametrize("n_rows", [40, 2136])
@pytest.mark.parametrize("preset", ["fast", "default"])
def test_members_suffice_for_parts_that_were_asked_for(n_rows: int, preset: str) -> None:
    """Of any number of rows they are five at least, so that each reads four fifths or more."""
    rows, labels = np.resize(X, (n_rows, X.shape[1])), np.resize(y, n_rows)
    model = BigTabularClassifier(preset, **SMALL | {"n_members": "auto", "max_iter": 1, "early_stopping": "folds"})
    n_members = {"fast": 5, "default": 8}[preset]
    assert model.fit(rows, labels).weights_["bias1"].shape[0] == n_members
    n_shared = n_rows // 40 // n_members if n_rows > 2000 else 0
    assert model.t_ == n_rows - n_rows // n_members - (n_members - 1) * n_shared


@pytest.mark.parametrize("n_rows", [1, 30, 178])
def test_calls_of_partial_fit_learn_as_of_many_rows(n_rows: int) -> None:
    """The first call has few rows, and nobody knows how many will come."""
    first = BigTabularClassifier("fast", random_state=0).partial_fit(X[:n_rows], y[:n_rows], classes=[0, 1, 2])
    assert first.encoding_.n_bins == first._network.network.n_bins == presets.MAX_BINS
    assert not first._network.network.begins_straight
    assert first.partial_fit(X, y)._network.network == first._network.network
    assert BigTabularClassifier("fast", random_state=0, max_iter=1).fit(X, y)._network.network.begins_straight


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_members": 1}, "two members or more"),
        ({"n_members": 200}, "for each of 200 members: there are 178"),
        ({"backend": "ddp"}, "by one process"),
    ],
)
def test_what_cannot_be_held_out_is_refused(parameters: dict[str, Any], message: str) -> None:
    """With the reason, and what to do."""
    with pytest.raises(ValueError, match=message):
        small(early_stopping="folds", **parameters).fit(X, y)
    with pytest.raises(ValueError, match="needs X_val"):
        small(early_stopping="folds").partial_fit(X, y, classes=[0, 1, 2])
