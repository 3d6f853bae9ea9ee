"""Several processes train what one process trains: their number is nobody's business but the clock's."""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skbig.launch.launch_options import LaunchOptions
from skbig.launch.launcher import launch
from tests.laws.rank_jobs import BACKENDS, FACTORS, FITS, INEXACT, SEEDS, Case, can_train, fitted_alone, trained_alone
from tests.once import once

TOLERANCE = 1e-10


Results = tuple[dict[Any, Any], dict[Any, bool]]


@pytest.fixture(scope="module")
def launched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """Let two ranks train what is asked; return by backend what they have learnt, and whether both have the same."""
    return once(tmp_path_factory, "ranks", lambda folder: _launched(folder, request.session.items))


def _launched(folder: Path, tests: Sequence[pytest.Item]) -> dict[str, Results]:
    for name in BACKENDS:
        (folder / name).mkdir()
        (folder / name / "asked").write_bytes(pickle.dumps(asked_of(name, tests)))
    launch("tests.laws.rank_jobs:train_all", folder, LaunchOptions(2, threads_per_worker=1))
    return {name: pickle.loads((folder / name / "results").read_bytes()) for name in BACKENDS}


def asked_of(backend: str, tests: Sequence[pytest.Item]) -> tuple[list[Case], list[str], list[str]]:
    """Return the trainings, fits and outcomes that the tests of this run want of a backend."""
    ours = [test for test in tests if isinstance(test, pytest.Function) and test.path == Path(__file__)]
    asked = [test.callspec.params for test in ours if test.callspec.params["ranks"] == backend]
    trainings = [(each["factor"], each["n_members"]) for each in asked if "factor" in each]
    fits, outcomes = ([each[kind] for each in asked if kind in each] for kind in ("fit", "outcome"))
    return trainings, fits, outcomes


@pytest.fixture(scope="module", params=BACKENDS)
def ranks(request: pytest.FixtureRequest, launched: dict[str, Results]) -> Results:
    return launched[request.param]


def assert_equal(actual: Any, expected: Any, tolerance: float, name: str = "") -> None:
    """Compare nested values: numbers to a tolerance, all else exactly."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            assert_equal(actual[key], value, tolerance, f"{name} {key}")
    elif isinstance(expected, list):
        assert len(actual) == len(expected), name
        for one, other in zip(actual, expected, strict=True):
            assert_equal(one, other, tolerance, name)
    elif isinstance(expected, np.ndarray | float) and np.asarray(expected).dtype.kind == "f":
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance, err_msg=name)
    else:
        np.testing.assert_array_equal(actual, expected, err_msg=name)


@pytest.mark.crossed
@pytest.mark.parametrize(
    ("factor", "n_members", "ranks"),
    [
        (factor, n_members, name)
        for name, backend in BACKENDS.items()
        for factor in FACTORS
        for n_members in SEEDS
        if can_train(backend, factor)
    ],
    indirect=["ranks"],
)
def test_a_training_is_that_of_one_process(factor: str, n_members: int, ranks: Any) -> None:
    """Weights, running moments, optimizer states and curves are those of one process, for every component."""
    results, alike = ranks
    case = (factor, n_members)
    alone = trained_alone(case)
    # A rank of DDP with one thread sends its gradient when it has all of it; with more, while it computes the rest.
    for own in {case, (*case, "with threads")} & results.keys():
        assert_equal(results[own], alone, TOLERANCE, str(own))
        assert alike[own]


@pytest.mark.crossed
@pytest.mark.parametrize("fit", FITS)
def test_a_fit_is_that_of_one_process(fit: str, ranks: Any) -> None:
    """Every fitted attribute is that of one process, and the same in all ranks."""
    results, alike = ranks
    assert_equal(results[fit], fitted_alone(fit), INEXACT.get(fit, TOLERANCE))
    assert alike[fit]


# What has no counterpart in one process: the ranks have the same, whatever it is.

SAME = ["no seed", "seeds of each rank", "time is over", "a score by chance", "steps apart", "steps apart, sparse"]
ERRORS = {
    "other rows": "ValueError: All ranks must call fit with the same rows and parameters.*Rank 1 got another .*X",
    "other weights": "ValueError: All ranks must.*Rank 1 got another sample_weight than rank 0",
    "other parameters": "ValueError: All ranks must.*Rank 1 got another alpha than rank 0",
    "diverging": "DivergenceError: The loss or the weights are not finite any more: loss .* in epoch 1, step",
    "diverging apart": "DivergenceError: The loss or the weights are not finite any more: in epoch 1, within the 2",
    "a failing score": "KeyError: 'a column that is not there'",
    "checkpoints nowhere": "NotADirectoryError: ",
}


@pytest.mark.crossed
@pytest.mark.parametrize("outcome", SAME)
def test_ranks_end_with_the_same(outcome: str, ranks: Any) -> None:
    """What depends on chance, on a clock, or on steps taken apart is the same in all ranks."""
    results, alike = ranks
    assert "coefs_" in results[outcome], results[outcome]
    assert alike[outcome]


@pytest.mark.crossed
@pytest.mark.parametrize("outcome", ERRORS)
def test_ranks_fail_alike(outcome: str, ranks: Any) -> None:
    """An error is that of one process, and all ranks meet it, so that none waits for another."""
    results, alike = ranks
    assert re.match(ERRORS[outcome], results[outcome]["error"]), results[outcome]
    assert alike[outcome]


@pytest.mark.parametrize("n_members", SEEDS)
def test_ranks_hold_parts(n_members: int, ranks: Any) -> None:
    """Of parameters and optimizer state each rank has about its share, and no rank keeps the whole."""
    results, _ = ranks
    if f"held, {n_members}" not in results:
        pytest.skip("every rank has the whole model")
    sizes = results[f"held, {n_members}"]
    assert sizes["all"] <= sum(sizes["parameters"]) <= 1.1 * sizes["all"]  # some few are everybody's
    assert max(sizes["parameters"]) <= 0.6 * sizes["all"]
    assert [2 * own for own in sizes["parameters"]] == sizes["state"]


def test_the_first_rank_saves(ranks: Any) -> None:
    """A fit in several ranks leaves checkpoints from which it is read again, and one process reads them too."""
    results, alike = ranks
    assert alike["saved"] and alike["saved, and read"]
    assert_equal(results["saved, and read"], results["saved"], 0.0)


def test_ranks_listen_on_this_machine_only(ranks: Any) -> None:
    """Whatever torch opens for the work of a backend, nobody can reach it from elsewhere."""
    results, _ = ranks
    assert results["hosts"]["all"] == [["127.0.0.1"]] * 2
