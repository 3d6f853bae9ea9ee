"""The everyday tests ask of a crossing as little as has everything in it, and the thorough ones ask the rest."""

from __future__ import annotations

import pytest

from tests.tiers import mark_thorough

pytest_plugins = ["pytester"]

TESTS = """
import pytest

LISTS = [[0.5], [2.0]]

@pytest.mark.crossed
@pytest.mark.parametrize("component", ["adam", "sgd", "muon", "lion"])
@pytest.mark.parametrize("value", LISTS)
@pytest.mark.parametrize("flag", [1, True, pytest.param(None, marks=pytest.mark.thorough)])
def test_crossed(component, value, flag): ...

@pytest.mark.parametrize("component", ["adam", "sgd"])
@pytest.mark.parametrize("flag", [False, True])
def test_plain(component, flag): ...
"""


@pytest.fixture
def items(pytester: pytest.Pytester) -> list[pytest.Function]:
    pytester.makeini("[pytest]\nmarkers =\n    crossed\n    thorough")
    return [item for item in pytester.getitems(TESTS) if isinstance(item, pytest.Function)]


def everyday(items: list[pytest.Function]) -> set[str]:
    mark_thorough(items)
    return {item.nodeid for item in items if not item.get_closest_marker("thorough")}


def test_every_value_is_met_every_day(items: list[pytest.Function]) -> None:
    """Each value of each argument is in an everyday case, and what is marked as thorough stands for none of them."""
    kept = everyday(items)
    crossed = [item.callspec.params for item in items if item.nodeid in kept and item.originalname == "test_crossed"]
    assert {each["component"] for each in crossed} == {"adam", "sgd", "muon", "lion"}
    assert {str(each["value"]) for each in crossed} == {"[0.5]", "[2.0]"}
    assert {repr(each["flag"]) for each in crossed} == {"1", "True"}
    assert 4 <= len(crossed) <= 7 < 16


def test_other_tests_stay_whole(items: list[pytest.Function]) -> None:
    """A test without the mark is asked of all its cases every day."""
    kept = everyday(items)
    assert sum("::test_plain" in name for name in kept) == 4


def test_the_order_of_collection_changes_nothing(items: list[pytest.Function], pytester: pytest.Pytester) -> None:
    """Processes that collect otherwise, as those of pytest-xdist may, choose the same cases."""
    again = [item for item in pytester.getitems(TESTS) if isinstance(item, pytest.Function)]
    assert everyday(items) == everyday(again[::-1])
