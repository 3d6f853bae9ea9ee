"""The picture of a search shows what stands in `cv_results_`: the best of each value, and who went how far."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm, to_hex, to_rgb
from matplotlib.patches import Rectangle
from scipy.stats import loguniform, uniform
from sklearn.base import BaseEstimator
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skbig import BigMLPClassifier
from skbig.components import SGD, AdamW
from skbig.plots import SearchDisplay

X = np.arange(72.0).reshape(36, 2)
Y = np.arange(36.0)


class Scored(BaseEstimator):
    """Has a score that is written down: it depends on some of its parameters, and a little on the fold."""

    def __init__(
        self,
        rate: float = 0.01,
        alpha: float = 1e-4,
        noise: float = 0.0,
        kind: Any = "adam",
        epochs: int = 10,
        fails: float = np.inf,
    ) -> None:
        self.rate = rate
        self.alpha = alpha
        self.noise = noise
        self.kind = kind
        self.epochs = epochs
        self.fails = fails

    def fit(self, X: Any, y: Any) -> Scored:
        if self.rate >= self.fails:
            raise ValueError("The rate is too high.")
        self.rows_ = len(X)
        return self

    def score(self, X: Any, y: Any) -> float:
        distance = abs(np.log10(self.rate) + 2.3) + 0.3 * abs(np.log10(self.alpha or 1e-6) + 3.2)
        return 0.9 - 0.1 * distance - 0.001 * self.noise - 0.5 / self.epochs + 0.001 * X.mean() - 0.1 / self.rows_


RATES = [1e-4, 1e-3, 1e-2, 1e-1]
ALPHAS = [0, 1e-5, 1e-3]
GRID = {"noise": [0.0, 1.0], "rate": RATES, "alpha": ALPHAS}


def grid_search(grid: Any = None, **options: Any) -> GridSearchCV:
    estimator = options.pop("estimator", Scored())
    return GridSearchCV(estimator, GRID if grid is None else grid, cv=3, **options).fit(X, Y)


def failing_search(fails: float) -> GridSearchCV:
    """Return a search in which the candidates of high rates fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitFailedWarning)
        warnings.filterwarnings("ignore", "One or more of the test scores are non-finite", UserWarning)
        return grid_search(estimator=Scored(fails=fails), refit=False)


def halving_search(grid: Any = None, **options: Any) -> HalvingGridSearchCV:
    settings = {"resource": "epochs", "min_resources": 2, "max_resources": 18, "factor": 3, "cv": 3, "random_state": 0}
    return HalvingGridSearchCV(Scored(), GRID if grid is None else grid, **settings | options).fit(X, Y)


def of_scores(params: list[dict[str, Any]], scores: Any, **options: Any) -> SearchDisplay:
    return SearchDisplay(params=params, mean_score=scores).plot(**options)


def pairs(x: list[Any], y: list[Any]) -> list[dict[str, Any]]:
    return [{"x": first, "y": second} for first in x for second in y]


def labels(display: SearchDisplay, side: str) -> list[str]:
    return [text.get_text() for text in getattr(display.ax_, f"get_{side}ticklabels")()]


def above(display: SearchDisplay) -> str:
    """Return what is written above the picture, without line breaks."""
    legend = display.ax_.get_legend()
    title = display.ax_.get_title(loc="left") if legend is None else legend.get_title().get_text()
    return " ".join(title.split())


def named(display: SearchDisplay) -> list[str]:
    return [" ".join(text.get_text().split()) for text in display.ax_.get_legend().get_texts()]


def cells(display: SearchDisplay) -> np.ndarray:
    return display.image_.get_array().filled(np.nan).reshape(len(labels(display, "y")), len(labels(display, "x")))


def frame(display: SearchDisplay) -> tuple[int, int]:
    """Return the column and the row of the one framed cell."""
    (patch,) = (patch for patch in display.ax_.patches if isinstance(patch, Rectangle))
    return round(patch.get_x()), round(patch.get_y())


def test_a_cell_is_the_best_over_all_other_parameters() -> None:
    """The heat map is a pivot table of cv_results_ by the maximum."""
    search = grid_search()
    display = SearchDisplay.from_estimator(search, parameters=("rate", "alpha"))
    table = pd.DataFrame(search.cv_results_).astype({"param_rate": float, "param_alpha": float})
    expected = table.pivot_table("mean_test_score", "param_alpha", "param_rate", aggfunc="max")
    np.testing.assert_array_equal(cells(display), expected)
    assert labels(display, "x") == ["0.0001", "0.001", "0.01", "0.1"]
    assert labels(display, "y") == ["0", "1e-5", "0.001"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("rate", "alpha")
    assert display.colorbar_.ax.get_ylabel() == "mean test score"
    assert display.kind_ == "scores"
    assert display.lines_ == []


def test_the_first_name_is_that_of_the_x_axis() -> None:
    """The order of the names is the order of the axes."""
    search = grid_search()
    upright = SearchDisplay.from_estimator(search, parameters=("rate", "alpha"))
    lying = SearchDisplay.from_estimator(search, parameters=("alpha", "rate"))
    np.testing.assert_array_equal(cells(upright), cells(lying).T)
    assert lying.parameters_ == ["alpha", "rate"]


def test_cells_tell_their_scores() -> None:
    """The number in a cell is the score of its colour, in ink that is seen on it."""
    display = SearchDisplay.from_estimator(grid_search(), parameters=("rate", "alpha"))
    written = {text.get_position(): text for text in display.ax_.texts}
    for (row, column), score in np.ndenumerate(cells(display)):
        text = written[column, row]
        assert float(text.get_text()) == pytest.approx(score, abs=6e-4)
        assert contrast(text.get_color(), display.image_.to_rgba(score)) > 4
    assert len(written) == 12


def contrast(first: Any, second: Any) -> float:
    """Return the contrast ratio of two colours, from 1 to 21, by the web's accessibility guidelines (WCAG 2)."""
    linear = [((np.array(to_rgb(colour)) + 0.055) / 1.055) ** 2.4 for colour in (first, second)]
    low, high = sorted(float(colour @ [0.2126, 0.7152, 0.0722]) for colour in linear)
    return (high + 0.05) / (low + 0.05)


def test_many_cells_are_not_written_into() -> None:
    """Where the numbers would be too small to read there are none, and labels that would overlap are left out."""
    many = of_scores(pairs(list(range(30)), list(range(30))), np.arange(900.0))
    assert len(many.ax_.texts) == 0
    assert cells(of_scores(pairs(list(range(5)), list(range(5))), np.arange(25.0))).shape == (5, 5)
    _, small = plt.subplots(figsize=(2, 2))
    assert len(of_scores(pairs(list(range(30)), list(range(30))), np.arange(900.0), ax=small).ax_.get_yticks()) < 30


def test_the_best_cell_is_framed_and_described() -> None:
    """The frame is around best_params_, which stand above the picture with their score."""
    search = grid_search()
    display = SearchDisplay.from_estimator(search, parameters=("rate", "alpha"))
    best = search.best_params_
    assert frame(display) == (RATES.index(best["rate"]), ALPHAS.index(best["alpha"]))
    edge = "at the edge of what was tried: alpha=0.001 (largest)"
    assert above(display) == f"best {search.best_score_:.3f}: alpha=0.001, noise=0, rate=0.01 {edge}"


@pytest.mark.parametrize(
    ("grid", "edges"),
    [
        ({"rate": [1e-4, 1e-3, 1e-2, 1e-1]}, ""),
        ({"rate": [1e-2, 1e-1, 1.0]}, "rate=0.01 (smallest)"),
        ({"rate": [1e-4, 1e-3, 3e-3], "alpha": [1e-5, 1e-4, 1e-3, 1e-2]}, "rate=0.003 (largest)"),
        ({"rate": [1e-4, 1e-3, 3e-3], "alpha": [1e-3, 1e-2, 1e-1]}, "alpha=0.001 (smallest), rate=0.003 (largest)"),
        ({"rate": [1e-2, 1e-1]}, ""),  # of two values one is always the best
        ({"noise": [0, 1, 2]}, ""),  # nothing lies below zero
        ({"kind": ["a", "b", "c"]}, ""),
    ],
    ids=str,
)
@pytest.mark.parametrize("halving", [False, True])
def test_a_best_value_at_the_edge_is_told(grid: dict[str, Any], edges: str, halving: bool) -> None:
    """Where the best candidate has the last number that was tried, a wider grid may hold a better one."""
    search = (halving_search if halving else grid_search)(grid)
    display = SearchDisplay.from_estimator(search, kind="scores")
    assert above(display).partition("at the edge of what was tried: ")[2] == edges
    if halving and edges:
        rungs = SearchDisplay.from_estimator(search)
        assert above(rungs).endswith(f": {edges}")


def test_drawn_values_have_no_edge() -> None:
    """The largest of thirty random numbers is not the end of a grid."""
    space = {"rate": loguniform(1e-7, 1e-2), "noise": uniform(0, 10)}
    search = RandomizedSearchCV(Scored(), space, n_iter=30, cv=2, random_state=0).fit(X, Y)
    assert "edge" not in above(SearchDisplay.from_estimator(search))


@pytest.mark.parametrize("highest", [4.0, 10.0, 40.0, 1e3, 1e8])
def test_labels_of_a_log_axis_have_room(highest: float) -> None:
    """Over a short span or a long one, no label of a logarithmic axis runs into another, and there are some."""
    numbers = np.geomspace(1e-3, 1e-3 * highest, 40)
    display = of_scores([{"x": number, "y": place % 7} for place, number in enumerate(numbers)], np.arange(40.0))
    display.figure_.canvas.draw()
    axis = display.ax_.xaxis if display.parameters_[0] == "x" else display.ax_.yaxis
    assert axis.get_scale() == "log"
    low, high = sorted(axis.get_view_interval())
    texts = [
        tick.label1
        for minor in (False, True)
        for tick in (axis.get_minor_ticks() if minor else axis.get_major_ticks())
        if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]
    boxes = [text.get_window_extent() for text in texts]
    assert 2 <= len(boxes) <= 12
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_layer_sizes_stand_in_order() -> None:
    """Sizes go up, of one layer and then of two, however they were named, and not as their letters do."""
    sizes = [(128,), (16,), (64, 64), (16, 16), (64,), ()]
    display = of_scores([{"hidden_layer_sizes": size} for size in sizes], range(6))
    assert labels(display, "x") == ["()", "(16,)", "(64,)", "(128,)", "(16, 16)", "(64, 64)"]


def test_a_search_has_two_names() -> None:
    """`from_search` draws what `from_estimator` does, which is what scikit-learn's displays have."""
    search = grid_search()
    one, other = (make(search, parameters="rate") for make in (SearchDisplay.from_estimator, SearchDisplay.from_search))
    np.testing.assert_array_equal(one.lines_[0].get_xydata(), other.lines_[0].get_xydata())


def test_random_values_are_points() -> None:
    """Every candidate of a random search is a point in the colour of its score, on scales that fit."""
    space = {"rate": loguniform(1e-4, 1), "noise": uniform(0, 10)}
    search = RandomizedSearchCV(Scored(), space, n_iter=30, cv=3, random_state=0).fit(X, Y)
    display = SearchDisplay.from_estimator(search, parameters=("rate", "noise"))
    drawn = np.column_stack([display.image_.get_offsets(), display.image_.get_array()])
    expected = np.column_stack([search.cv_results_[key] for key in ("param_rate", "param_noise", "mean_test_score")])
    np.testing.assert_allclose(drawn, expected.astype(float)[np.argsort(drawn_scores(search))])
    assert (display.ax_.get_xscale(), display.ax_.get_yscale()) == ("log", "linear")
    (ring,) = (line for line in display.ax_.lines if line.get_label() == "best")
    assert ring.get_xydata().tolist() == [[search.best_params_["rate"], search.best_params_["noise"]]]


def drawn_scores(search: Any) -> np.ndarray:
    return np.asarray(search.cv_results_["mean_test_score"])


def test_a_grid_of_one_row_is_a_heat_map() -> None:
    """Cells are drawn where all pairs were tried, however few."""
    display = of_scores(pairs([1, 2, 3], [1]), [1, 2, 3], parameters=("x", "y"))
    np.testing.assert_array_equal(cells(display), [[1, 2, 3]])


def test_points_over_words() -> None:
    """A random number beside a few words is drawn as points in as many rows as there are words."""
    space = {"rate": loguniform(1e-4, 1), "kind": ["adam", SGD(), AdamW(betas=(0.9, 0.95))]}
    search = RandomizedSearchCV(Scored(), space, n_iter=20, cv=2, random_state=0).fit(X, Y)
    display = SearchDisplay.from_estimator(search, parameters=("rate", "kind"))
    found = [text.replace("\n", " ") for text in labels(display, "y")]
    assert sorted(found) == ["AdamW(betas=(0.9, 0.95))", "SGD()", "adam"]
    assert {*display.image_.get_offsets()[:, 1]} == {0, 1, 2}


def test_one_parameter_is_a_line_with_a_band() -> None:
    """The line is the mean score, and the band around it one standard deviation over the folds."""
    search = grid_search({"rate": RATES})
    display = SearchDisplay.from_estimator(search)
    (line,) = display.lines_
    mean, std = (search.cv_results_[f"{key}_test_score"] for key in ("mean", "std"))
    np.testing.assert_array_equal(line.get_xydata(), np.column_stack([RATES, mean]))
    (band,) = display.ax_.collections
    edges = {(x, y) for x, y in band.get_paths()[0].vertices}
    assert {*zip(RATES, mean - std, strict=True), *zip(RATES, mean + std, strict=True)} <= edges
    assert display.ax_.get_xscale() == "log"
    assert labels(display, "x") == ["0.0001", "0.001", "0.01", "0.1"]
    assert (display.image_, display.colorbar_) == (None, None)


def test_a_line_is_the_best_over_all_other_parameters() -> None:
    """A line over one of several parameters takes the best candidate at each value."""
    search = grid_search()
    (line,) = SearchDisplay.from_estimator(search, parameters="rate").lines_
    table = pd.DataFrame(search.cv_results_).groupby("param_rate")["mean_test_score"].max()
    np.testing.assert_array_equal(line.get_ydata(), table)


def test_values_that_differ_in_more_are_not_joined() -> None:
    """Where candidates of one value each differ in another parameter too, a line would show its ups and downs."""
    params = [{"x": place, "y": place**2 % 5} for place in range(7)]
    assert of_scores(params, range(7), parameters="x").lines_[0].get_linestyle() == "None"


def test_words_are_not_joined() -> None:
    """Between two words there is nothing, so no line."""
    display = SearchDisplay.from_estimator(grid_search({"kind": ["adam", SGD()]}))
    assert display.lines_[0].get_linestyle() == "None"
    assert labels(display, "x") == ["adam", "SGD()"]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("rate", "scored__rate"),
        ("scored__rate", "scored__rate"),
        ("first__alpha", "first__alpha"),
        ("noise", "noise"),
    ],
)
def test_an_ending_is_a_name(word: str, name: str) -> None:
    """A parameter is found by its name or by an ending that no other has; a whole name is never taken for an ending."""
    params = [
        {"scored__rate": rate, "first__alpha": 1, "second__alpha": alpha, "noise": 0, "second__noise": alpha}
        for rate in (1, 2)
        for alpha in (1, 2)
    ]
    assert of_scores(params, [1, 2, 3, 4], parameters=word).parameters_ == [name]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("rat", r"which are \['a__rate', 'a__alpha', 'b__alpha'\]. Did you mean 'rate'\? Got 'rat' instead."),
        ("a_alpha", r"Did you mean 'a__alpha'\? Got 'a_alpha' instead."),
        ("alpha", r"'alpha' may be any of \['a__alpha', 'b__alpha'\]. Got 'alpha' instead."),
        ("zzz", r"'b__alpha'\]. Got 'zzz' instead."),
        (["rate", "a__alpha", "b__alpha"], r"must be one name or two different ones. Got \['a__rate', "),
        (["rate", "a__rate"], r"must be one name or two different ones. Got \['a__rate', 'a__rate'\]"),
    ],
)
def test_an_unknown_name_gets_a_hint(parameters: Any, message: str) -> None:
    """A name that was not searched, or is not clear, is answered with those that were."""
    params = [{"a__rate": 1, "a__alpha": 1, "b__alpha": 1}, {"a__rate": 2, "a__alpha": 2, "b__alpha": 2}]
    with pytest.raises(ValueError, match=message):
        of_scores(params, [1, 2], parameters=parameters)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n_iter", [None, 60], ids=["grid", "random"])
def test_the_most_important_parameters_are_drawn(reverse: bool, n_iter: int | None) -> None:
    """Where none are named those are drawn that move the score, whatever their order in the search."""
    grid: dict[str, Any] = {"noise": [0.0, 1.0, 2.0, 3.0, 4.0], "alpha": [1e-5, 1e-3], "rate": [1e-4, 1e-3, 1e-2]}
    if n_iter:
        grid = {"noise": uniform(0, 4), "alpha": loguniform(1e-6, 1e-3), "rate": loguniform(1e-5, 5e-3)}
    grid = dict(reversed(grid.items())) if reverse else grid
    search = grid_search(grid) if n_iter is None else RandomizedSearchCV(Scored(), grid, n_iter=n_iter, random_state=0)
    display = SearchDisplay.from_estimator(search if n_iter is None else search.fit(X, Y))
    assert display.parameters_ == ["rate", "alpha"]


def test_failures_count_as_the_worst() -> None:
    """What makes candidates fail is important, and what matters among the others still counts."""
    params = [{"kind": kind, "rate": rate, "alpha": alpha} for kind in "ab" for rate in (1, 2) for alpha in (1, 2, 3)]
    scores = [np.nan if p["rate"] == 2 else 0.5 + 0.1 * p["alpha"] + 0.001 * (p["kind"] == "b") for p in params]
    assert of_scores(params, scores).parameters_ == ["rate", "alpha"]


def test_one_diverged_candidate_is_not_what_matters() -> None:
    """A single score of minus a billion does not make its parameters the important ones."""
    params = [
        {"kind": kind, "rate": rate, "alpha": alpha} for kind in "ab" for rate in (1, 2, 3) for alpha in (1, 2, 3)
    ]
    scores = [0.1 * p["alpha"] + 0.05 * p["rate"] for p in params]
    scores[9] = -1e9
    assert of_scores(params, scores).parameters_ == ["alpha", "rate"]


def test_the_second_tells_what_the_first_does_not() -> None:
    """A parameter that says the same as another is not drawn beside it."""
    params = [{"x": x, "copy": x, "y": y} for x in (1, 2, 3) for y in (1, 2, 3)]
    assert of_scores(params, [10 * p["x"] + p["y"] for p in params]).parameters_ == ["x", "y"]


@pytest.mark.parametrize("n_repeated", [0, 1])
def test_many_values_do_not_matter_by_chance(n_repeated: int) -> None:
    """Words that hardly repeat tell candidates apart, but not what their scores depend on."""
    words = [f"word {max(place, n_repeated)}" for place in range(10)]
    params = [{"word": word, "rate": place % 2, "alpha": place % 5} for place, word in enumerate(words)]
    scores = [10 * p["rate"] + 0.5 * p["alpha"] + 0.1 * place for place, p in enumerate(params)]
    assert of_scores(params, scores).parameters_ == ["rate", "alpha"]


def test_candidates_are_compared_at_the_first_rung() -> None:
    """A score that a candidate reached with more resources does not make its parameters important."""
    params = pairs([1, 2], [1, 2, 3])
    again = [candidate for candidate in params if candidate["x"] == 1]
    scores = [10.0 * p["y"] + p["x"] for p in params] + [1000.0] * len(again)
    display = SearchDisplay(params=params + again, mean_score=scores, rung=[0] * len(params) + [1] * len(again))
    assert display.plot(kind="scores").parameters_ == ["y", "x"]


def test_numbers_come_before_words() -> None:
    """Words have more room beside the picture than below it."""
    params = [{"kind": kind, "rate": rate} for kind in ("adam", "sgd") for rate in (0.1, 0.2, 0.3)]
    assert of_scores(params, [1, 2, 3, 7, 8, 9]).parameters_ == ["rate", "kind"]


def test_a_constant_is_not_drawn() -> None:
    """A parameter of one value tells nothing, unless there is no other."""
    params = [{"alpha": 1, "rate": rate} for rate in (0.1, 0.2)]
    assert of_scores(params, [1, 2]).parameters_ == ["rate"]
    assert of_scores(params[:1], [1]).parameters_ == ["alpha", "rate"]


def test_other_grids_leave_gaps() -> None:
    """A parameter that only one of several grids has is not set in the others, and what was not tried is blank."""
    search = grid_search([{"kind": ["a"], "rate": [0.1, 0.2]}, {"kind": ["b"], "rate": [0.1, 0.2], "alpha": [1, 2]}])
    display = SearchDisplay.from_estimator(search, parameters=("kind", "alpha"))
    assert labels(display, "y") == ["1", "2", "not set"]
    np.testing.assert_array_equal(np.isfinite(cells(display)), [[False, True], [False, True], [True, False]])


def test_failed_candidates_leave_gaps_and_are_counted() -> None:
    """A cell in which all failed is a cross, and the picture says how many candidates have no score."""
    search = failing_search(fails=0.1)
    display = SearchDisplay.from_estimator(search, parameters=("rate", "alpha"))
    np.testing.assert_array_equal(np.isnan(cells(display)), [[False, False, False, True]] * 3)
    crosses = [text.get_position() for text in display.ax_.texts if text.get_text() == "\N{MULTIPLICATION SIGN}"]
    assert sorted(crosses) == [(3, 0), (3, 1), (3, 2)]
    assert "6 of 24 candidates failed and have no score" in above(display)
    (line,) = SearchDisplay.from_estimator(search, parameters="rate").lines_
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [False, False, False, True])


def test_a_failed_point_is_a_cross() -> None:
    """A candidate that failed stands where it would be, without a colour."""
    params = [{"x": place, "y": place**2} for place in range(5)]
    display = of_scores(params, [1, np.nan, 3, 4, 5])
    (crosses,) = (line for line in display.ax_.lines if line.get_label() == "failed")
    assert crosses.get_xydata().tolist() == [[1, 1]]
    assert len(display.image_.get_offsets()) == 4
    assert "1 of 5 candidates failed and has no score" in above(display)


@pytest.mark.parametrize("parameters", ["x", ("x", "y"), ("y", "z")], ids=["line", "cells", "points"])
def test_a_search_in_which_all_failed_is_drawn(parameters: Any) -> None:
    """Where nothing has a score there is no colour bar and no best, and still a picture."""
    params = [{"x": place % 2, "y": place // 2, "z": place} for place in range(8)]
    display = of_scores(params, [np.nan] * 8, parameters=parameters)
    assert display.colorbar_ is None
    assert "best" not in above(display)
    assert "8 of 8 candidates failed" in above(display)
    display.figure_.canvas.draw()


def test_a_diverged_candidate_does_not_hide_the_others() -> None:
    """Scores far below all others are cut off, and counted; ordinary ones are not."""
    params = pairs([1, 2, 3], [1, 2, 3])
    scores = np.linspace(0.5, 0.9, 9)
    ordinary = of_scores(params, scores)
    assert ordinary.image_.get_clim() == (0.5, 0.9)
    assert "below" not in above(ordinary)
    scores[0] = -1e6
    cut = of_scores(params, scores)
    assert -1 < cut.image_.get_clim()[0] < 0.55
    assert cut.colorbar_.extend == "min"
    assert "1 of 9 scores lies below the scale" in above(cut)
    line = of_scores([{"x": place} for place in range(9)], scores)
    low, high = line.ax_.get_ylim()
    assert -1 < low < 0.55 and 0.9 < high < 1.1
    assert "1 of 9 scores lies below the scale" in above(line)


def test_several_scores() -> None:
    """Of a search with several scores the one of refit is drawn, or the one that is named."""
    scoring = {"good": lambda e, X, y: e.rate, "neg_bad": lambda e, X, y: -e.rate}
    search = grid_search({"rate": RATES}, scoring=scoring, refit="neg_bad")
    bad = SearchDisplay.from_estimator(search)
    np.testing.assert_allclose(bad.lines_[0].get_ydata(), np.negative(RATES))
    assert bad.ax_.get_ylabel() == "mean test negative bad"
    good = SearchDisplay.from_estimator(search, score="good")
    np.testing.assert_allclose(good.lines_[0].get_ydata(), RATES)
    with pytest.raises(ValueError, match=r"must be one of \['good', 'neg_bad'\]. Did you mean 'good'\? Got 'god'"):
        SearchDisplay.from_estimator(search, score="god")
    unfitted = grid_search({"rate": RATES}, scoring=scoring, refit=False)
    with pytest.raises(ValueError, match=r"must be one of \['good', 'neg_bad'\]. Got None instead"):
        SearchDisplay.from_estimator(unfitted)


def test_the_score_is_named() -> None:
    """A single score has the name of its scorer."""
    model = make_pipeline(StandardScaler(), LinearRegression())
    search = GridSearchCV(model, {"linearregression__fit_intercept": [True, False]}, scoring="neg_mean_squared_error")
    display = SearchDisplay.from_estimator(search.fit(X, Y))
    assert display.ax_.get_ylabel() == "mean test negative mean squared error"
    assert display.ax_.get_xlabel() == "fit_intercept"


def paths_of(search: Any, resource: str | None) -> list[list[tuple[int, float]]]:
    """Return the rung and the score of each candidate at each rung, from the table of the results."""
    table = pd.DataFrame(search.cv_results_)
    table["key"] = [repr({k: v for k, v in params.items() if k != resource}) for params in table["params"]]
    return sorted(
        [*zip(rows["iter"], rows["mean_test_score"], strict=True)]
        for _, rows in table.sort_values("iter").groupby("key")
    )


@pytest.mark.parametrize("resource", ["epochs", "n_samples"])
def test_rungs_are_lines_of_candidates(resource: str) -> None:
    """Each candidate is one line from rung to rung, whether samples grow or a parameter does."""
    options = {} if resource == "epochs" else {"resource": "n_samples", "min_resources": 9, "max_resources": 36}
    search = halving_search(**options)
    display = SearchDisplay.from_estimator(search)
    assert display.kind_ == "rungs"
    drawn = sorted([*zip(line.get_xdata(), line.get_ydata(), strict=True)] for line in display.lines_)
    assert drawn == paths_of(search, resource)
    counts = np.bincount(search.cv_results_["iter"])
    amounts = [search.cv_results_["n_resources"][search.cv_results_["iter"] == rung][0] for rung in range(len(counts))]
    assert labels(display, "x") == [f"{amount}\n({count})" for amount, count in zip(amounts, counts, strict=True)]
    assert display.ax_.get_xlabel() == f"{resource} (candidates)"
    assert display.ax_.get_ylabel() == "mean test score"
    assert display.parameters_ == ["alpha", "noise", "rate"]


def test_dropped_candidates_are_grey() -> None:
    """Who reaches the last rung has a colour and stands in the legend, the best first; the others are grey."""
    search = halving_search()
    display = SearchDisplay.from_estimator(search)
    last = search.n_iterations_ - 1
    finalists = [line for line in display.lines_ if line.get_xdata()[-1] == last]
    dropped = [line for line in display.lines_ if line.get_xdata()[-1] != last]
    assert display.lines_ == finalists + dropped
    assert len(finalists) == search.n_candidates_[-1]
    assert len({line.get_color() for line in finalists}) == len(finalists)
    for line in dropped:
        red, green, blue = (to_hex(line.get_color())[start : start + 2] for start in (1, 3, 5))
        assert red == green == blue
    assert len(named(display)) == len(finalists) + 1
    best = f"{search.best_score_:.3f}"[:4]
    assert named(display)[0].startswith(best)
    assert named(display)[0].endswith("alpha=0.001, noise=0, rate=0.01")
    assert named(display)[-1] == f"{len(dropped)} dropped"
    assert finalists[0].get_ydata()[-1] == search.best_score_


def test_rungs_of_equal_resources_are_apart() -> None:
    """Where halving repeats a rung with the same resources the rungs still follow one another."""
    search = halving_search(max_resources=6, aggressive_elimination=True)
    assert len({*search.cv_results_["n_resources"]}) < search.n_iterations_
    display = SearchDisplay.from_estimator(search)
    assert sorted([*zip(line.get_xdata(), line.get_ydata(), strict=True)] for line in display.lines_) == paths_of(
        search, "epochs"
    )
    assert len(display.ax_.get_xticks()) == search.n_iterations_


def test_equal_candidates_stay_apart() -> None:
    """Two candidates with the same parameters are two lines."""
    rung = [0, 0, 0, 1, 1]
    params = [{"x": 1}, {"x": 1}, {"x": 2}, {"x": 1}, {"x": 1}]
    display = SearchDisplay(params=params, mean_score=[0.1, 0.2, 0.3, 0.4, 0.5], rung=rung).plot()
    assert sorted(len(line.get_xdata()) for line in display.lines_) == [1, 2, 2]


def test_many_finalists_are_not_all_named() -> None:
    """A legend of many names would be larger than the picture."""
    display = SearchDisplay(params=[{"x": place} for place in range(20)], mean_score=range(20), rung=[0] * 20).plot()
    assert len(named(display)) == 7
    assert named(display)[-1] == "14 more at the last rung"
    assert named(display)[0].endswith("x=19")


def test_failures_on_the_rungs() -> None:
    """A candidate without a score has a gap, and is counted; a rung without any score is still there."""
    rung = [0, 0, 0, 1]
    params = [{"x": place} for place in (1, 2, 3, 1)]
    display = SearchDisplay(params=params, mean_score=[np.nan, 0.1, np.nan, np.nan], rung=rung).plot()
    assert "2 of 3 candidates failed and have no score" in above(display)
    assert named(display)[0] == "failed: x=1"
    low, high = SearchDisplay(params=params, mean_score=[np.nan] * 3 + [0.5], rung=rung).plot().ax_.get_xlim()
    assert low < 0 and high > 1


def test_scores_of_a_halving_search_are_those_of_the_last_rung() -> None:
    """In a heat map each candidate counts as it was scored last, and one that went further is better."""
    params = [{"x": 1, "y": 1}, {"x": 1, "y": 2}, {"x": 2, "y": 1}, {"x": 2, "y": 2}, {"x": 1, "y": 1}]
    display = SearchDisplay(params=params, mean_score=[0.5, 0.4, 0.9, 0.3, 0.6], rung=[0, 0, 0, 0, 1])
    heat = display.plot(parameters=("x", "y"))
    np.testing.assert_array_equal(cells(heat), [[0.6, 0.9], [0.4, 0.3]])
    assert frame(heat) == (0, 0)
    np.testing.assert_array_equal(display.plot(parameters="x").lines_[0].get_ydata(), [0.6, 0.9])
    assert display.kind_ == "scores"
    assert display.plot(kind="scores").parameters_ == ["y", "x"]
    assert display.plot().kind_ == "rungs"


def test_the_resource_is_no_parameter_of_a_candidate() -> None:
    """The parameter that halving raises is never chosen, but it may be named."""
    search = halving_search()
    assert "epochs" in search.cv_results_["params"][0]
    assert SearchDisplay.from_estimator(search, kind="scores").parameters_ == ["rate", "alpha"]
    assert SearchDisplay.from_estimator(search, parameters="epochs").parameters_ == ["epochs"]
    assert "epochs" not in " ".join(named(SearchDisplay.from_estimator(search)))


def test_the_legend_of_rungs_tells_of_the_named_parameters() -> None:
    """Of many parameters those are told that were asked for."""
    display = SearchDisplay.from_estimator(halving_search(), kind="rungs", parameters="rate")
    assert named(display)[0].split(": ")[1] == "rate=0.01"


def test_the_resource_is_named_in_short() -> None:
    """The resource of a network in a pipeline has its own name below the axis, and the pipeline's steps do not."""
    pipeline = Pipeline([("scored", Scored())])
    search = HalvingGridSearchCV(pipeline, {"scored__rate": RATES}, resource="scored__epochs", max_resources=9)
    assert SearchDisplay.from_estimator(search.fit(X, Y)).ax_.get_xlabel() == "epochs (candidates)"


def test_random_halving_is_drawn() -> None:
    """A halving search over random values has as many lines as candidates."""
    space = {"rate": loguniform(1e-4, 1), "kind": [AdamW(), AdamW(betas=(0.9, 0.95))]}
    search = HalvingRandomSearchCV(Scored(), space, n_candidates=9, resource="epochs", max_resources=18, random_state=0)
    display = SearchDisplay.from_estimator(search.fit(X, Y))
    assert len(display.lines_) == 9
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "heat"}, r"must be one of \['auto', 'scores', 'rungs'\]. Got 'heat' instead"),
        ({"kind": "rungs"}, r"must be 'scores' or 'auto' for a search without halving"),
    ],
)
def test_an_impossible_kind_is_refused(options: dict[str, Any], message: str) -> None:
    """Only a halving search has rungs."""
    with pytest.raises(ValueError, match=message):
        of_scores([{"x": 1}], [1], **options)


def test_a_search_over_nothing_is_refused() -> None:
    """Without a parameter there is nothing to draw."""
    with pytest.raises(ValueError, match="needs a search over at least one parameter"):
        SearchDisplay.from_estimator(grid_search({}))


def test_what_is_not_fitted_is_refused() -> None:
    """A search that was not fitted says so, and an estimator that is no search is told what is needed."""
    with pytest.raises(NotFittedError):
        SearchDisplay.from_estimator(GridSearchCV(Scored(), GRID))
    with pytest.raises(
        ValueError, match=r"must be a fitted search with cv_results_.* Got LinearRegression\(\) instead"
    ):
        SearchDisplay.from_estimator(LinearRegression().fit(X, Y))


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    search = grid_search({"rate": RATES})
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"SearchDisplay draws with matplotlib.*pip install skbig\[plot\]"):
        SearchDisplay.from_estimator(search)


@pytest.mark.parametrize("kind", ["scores", "rungs"])
def test_given_axes_are_used(kind: str) -> None:
    """The picture is drawn where it is wanted, also in a part of a figure."""
    search = halving_search()
    figure, axes = plt.subplots()
    display = SearchDisplay.from_estimator(search, kind=kind, ax=axes)
    assert (display.ax_, display.figure_) == (axes, figure)
    part = plt.figure(layout="constrained").subfigures(1, 2)[0]
    SearchDisplay.from_estimator(search, kind=kind, ax=part.subplots()).ax_.figure.canvas.draw()


def test_what_draws_is_styled() -> None:
    """What is given for the drawing reaches cells, points and lines, also a norm of one's own."""
    grid = pairs([1, 2], [1, 2])
    assert of_scores(grid, [1, 2, 3, 4], plot_kw={"cmap": "magma"}).image_.get_cmap().name == "magma"
    norm = LogNorm(1, 100)
    assert of_scores(grid, [-1e6, 2, 3, 4], plot_kw={"norm": norm}).image_.norm is norm
    points = [{"x": place, "y": place**2} for place in range(5)]
    assert of_scores(points, range(5), plot_kw={"s": 7}).image_.get_sizes().tolist() == [7]
    assert of_scores(points, range(5), parameters="x", plot_kw={"linewidth": 7}).lines_[0].get_linewidth() == 7
    rungs = SearchDisplay(params=points, mean_score=range(5), rung=[0] * 5).plot(plot_kw={"alpha": 0.5})
    assert {line.get_alpha() for line in rungs.lines_} == {0.5}


def test_nothing_but_the_results_is_needed() -> None:
    """A search that was interrupted, or did not refit, is drawn from its table alone."""

    class Interrupted:
        cv_results_ = grid_search(refit=False).cv_results_

    whole = SearchDisplay.from_estimator(grid_search())
    np.testing.assert_array_equal(cells(SearchDisplay.from_estimator(Interrupted())), cells(whole))


def test_drawing_again_leaves_the_data_as_it_is() -> None:
    """A display is drawn as often as one likes, each time in a figure of its own."""
    display = SearchDisplay.from_estimator(grid_search(), parameters=("rate", "alpha"))
    first, scores = display.figure_, cells(display)
    assert display.plot(parameters="rate").image_ is None
    assert display.plot(parameters=("rate", "alpha")).figure_ is not first
    np.testing.assert_array_equal(cells(display), scores)


def test_a_search_over_networks_is_drawn() -> None:
    """Components are parameter values like others, in a pipeline too."""
    model = Pipeline([("scale", StandardScaler()), ("mlp", BigMLPClassifier((2,), max_iter=1, batch_size=9))])
    grid = {"mlp__optimizer": ["sgd", AdamW(betas=(0.9, 0.95))], "mlp__learning_rate": [0.1, 0.01], "mlp__tol": [0.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(model, grid, cv=2).fit(X, Y % 2)
    display = SearchDisplay.from_estimator(search, parameters=("learning_rate", "optimizer"))
    assert [label.replace("\n", " ") for label in labels(display, "y")] == ["sgd", "AdamW(betas=(0.9, 0.95))"]
    assert display.ax_.get_ylabel() == "optimizer"
    display.figure_.canvas.draw()
