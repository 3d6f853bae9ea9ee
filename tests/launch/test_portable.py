"""Errors and warnings reach the caller with all that they say."""

from __future__ import annotations

import pickle
import warnings

import pytest

from skbig.launch.portable import note_rank, portable_error, portable_warnings, recorded_warnings, repeat_warnings


class Unpicklable(ValueError):
    """Cannot be made again from what pickle keeps."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


@pytest.mark.parametrize("error", [KeyError("a column"), Unpicklable("a", "column")], ids=lambda e: type(e).__name__)
def test_an_error_says_the_same_after_pickling(error: Exception) -> None:
    """One that pickle can make again stays what it is; another keeps its type in words, and its notes."""
    try:
        raise error
    except Exception as raised:
        note_rank(raised, 3)
    copy = pickle.loads(pickle.dumps(portable_error(error)))
    assert "a column" in str(copy)
    assert copy.__notes__[0].startswith("In rank 3:") and "test_portable" in copy.__notes__[0]
    # tblib, which Dask installs, lets pickle make any error again.
    assert type(copy) is type(error) or str(copy).startswith("Unpicklable: ")


def test_a_warning_is_given_again_where_it_was() -> None:
    """Category, words and place are those of the other process; the caller's filters decide what becomes of it."""
    with recorded_warnings() as recorded:
        warnings.warn("few rows", UserWarning, stacklevel=1)
    sent = pickle.loads(pickle.dumps(portable_warnings(recorded)))
    with pytest.warns(UserWarning, match="few rows") as caught:
        repeat_warnings(sent)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="few rows"):
            repeat_warnings(sent)


def test_only_what_passes_the_filters_is_recorded() -> None:
    """Filters are the caller's, and those of before are back afterwards."""
    before = list(warnings.filters)
    with recorded_warnings([("ignore", None, UserWarning, None, 0), ("always", None, Warning, None, 0)]) as recorded:
        warnings.warn("few rows", UserWarning, stacklevel=1)
        warnings.warn("old", FutureWarning, stacklevel=1)
    assert [str(each.message) for each in recorded] == ["old"]
    assert list(warnings.filters) == before
