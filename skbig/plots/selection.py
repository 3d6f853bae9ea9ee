"""What is asked for, found in what was searched: the results, one of their scores, and some of the parameters."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.utils.validation import check_is_fitted

from skbig.plots.candidates import Candidates
from skbig.plots.values import Levels


def results_of(search: Any) -> Mapping[str, Any]:
    """Return what a search wrote down; an interrupted one may have no more than that."""
    if not hasattr(search, "cv_results_"):
        check_is_fitted(search)
        raise ValueError(
            "The 'estimator' parameter of SearchDisplay.from_estimator must be a fitted search with cv_results_, such "
            f"as GridSearchCV or BigGridSearchCV. Got {search!r} instead."
        )
    return search.cv_results_


def metric(results: Mapping[str, Any], score: str | None, refit: Any) -> str:
    """Return the name of a score in `cv_results_`."""
    known = [key.removeprefix("mean_test_") for key in results if key.startswith("mean_test_")]
    wanted = known[0] if score is None and len(known) == 1 else refit if score is None else score
    if isinstance(wanted, str) and wanted in known:
        return wanted
    raise ValueError(
        f"The 'score' parameter of SearchDisplay must be one of {known}. {_suggestion(score, known)}"
        f"Got {score!r} instead."
    )


def name_of_score(metric: str, scoring: Any) -> str:
    """Return what a score is, in words: that of a search with only one is called "score" in `cv_results_`."""
    name = scoring if metric == "score" and isinstance(scoring, str) else metric
    return name.replace("neg_", "negative ").replace("_", " ")


def find(candidates: Candidates, wanted: str | Sequence[str] | None) -> list[str]:
    """Return the full names of parameters that are named in full or by an ending."""
    words = [wanted] if isinstance(wanted, str) else list(wanted or ())
    return [_find_one(candidates, word) for word in words]


def _find_one(candidates: Candidates, word: str) -> str:
    found = [name for name in candidates.names if name == word or name.endswith(f"__{word}")]
    if word in found or len(found) == 1:
        return word if word in found else found[0]
    known = [*candidates.names, *candidates.short_names().values()]
    reason = f"{word!r} may be any of {found}. " if found else _suggestion(word, known)
    raise ValueError(
        "The 'parameters' parameter of SearchDisplay must name parameters that were searched, which are "
        f"{candidates.names}. {reason}Got {word!r} instead."
    )


def _suggestion(word: Any, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1) if isinstance(word, str) else []
    return f"Did you mean {close[0]!r}? " if close else ""


def one_or_two(names: list[str]) -> list[str]:
    if len(names) > 2 or len({*names}) < len(names):
        raise ValueError(
            "The 'parameters' parameter of SearchDisplay must be one name or two different ones. "
            f"Got {names!r} instead."
        )
    return names


def choose(candidates: Candidates) -> list[str]:
    """Return the two parameters that the score depends on most: numbers first, and the longest words last."""
    chosen = candidates.most_important(2)
    if not chosen:
        raise ValueError("SearchDisplay needs a search over at least one parameter. Got one over none instead.")
    return sorted(chosen, key=lambda name: _length_of_words(candidates.levels(name)))


def _length_of_words(levels: Levels) -> int:
    return 0 if levels.numeric else max(map(len, levels.labels()))
