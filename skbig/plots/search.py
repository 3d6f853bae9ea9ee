"""Pictures of a search: its scores over the parameters, or the rungs of a halving one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skbig.plots.candidates import Candidates
from skbig.plots.ink import break_label, width_of
from skbig.plots.pyplot import import_pyplot
from skbig.plots.rungs import draw_rungs
from skbig.plots.scores import describe_best, draw_heat_map, draw_line, draw_points, is_grid, shown_rows
from skbig.plots.selection import choose, find, metric, name_of_score, one_or_two, results_of

KINDS = ("auto", "scores", "rungs")


class SearchDisplay:
    """What a search found: its scores over one or two parameters, or the rungs of a halving search.

    Make it with :meth:`from_estimator`. There are four pictures:

    - **a heat map** of two parameters whose values repeat, as in a grid. A cell shows the mean test score of the best
      candidate that has its two values, whatever its other parameters are.
    - **points** of two parameters whose values do not repeat, as those that are drawn from distributions.
    - **a line** of one parameter: the best candidate at each of its values, and one standard deviation of its score
      over the folds on either side.
    - **rungs**: a line per candidate of a halving search, grey when it was dropped and coloured when it reached the
      last rung.

    The best candidate is red, and described above the picture, which also says where one of its numbers is the largest
    or the smallest that was tried: a wider grid may hold a better one. Values that are spaced geometrically are drawn
    at equal distances. Candidates that failed, whose score is NaN, leave gaps or grey crosses, and are counted above
    the picture. Where a few scores are far below all others the scale does not reach down to them, and says so. Of a
    halving search each candidate counts with its score at the last rung it reached, and one that went further is
    better.

    Parameters
    ----------
    params : sequence of dict
        The parameters of each candidate, as ``cv_results_["params"]``.
    mean_score : array-like of shape (n_candidates,)
        Mean over the folds; NaN where a candidate failed. Higher is better.
    std_score : array-like of shape (n_candidates,) or None, default=None
        Standard deviation over the folds; by default none is drawn.
    rung : array-like of shape (n_candidates,) or None, default=None
        Of a halving search, ``cv_results_["iter"]``: a candidate is repeated at each rung that it reached.
    n_resources : array-like of shape (n_candidates,) or None, default=None
        Of a halving search, what each candidate was given at its rung.
    score_name : str, default="score"
        What the score is.
    resource_name : str, default="resources"
        What the resources are: samples, or the parameter that grows from rung to rung.

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes
    kind_ : {"scores", "rungs"}
        What was drawn.
    parameters_ : list of str
        Full names of the parameters that were drawn, the one of the x-axis first; of rungs those in the legend.
    image_ : matplotlib QuadMesh, PathCollection or None
        The cells of a heat map, or the points; None where there are lines.
    colorbar_ : matplotlib Colorbar or None
        None where there are lines, or nothing has a score.
    lines_ : list of matplotlib Line2D
        The line over one parameter, or those of the rungs, of which the best candidate's is the first; empty where
        there is an image.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigMLPClassifier
    >>> from skbig.components import AdamW
    >>> from skbig.plots import SearchDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> network = BigMLPClassifier((8,), max_iter=5, schedule="cosine", random_state=0)
    >>> grid = {
    ...     "bigmlpclassifier__learning_rate": [0.001, 0.01, 0.1],
    ...     "bigmlpclassifier__optimizer": ["adam", AdamW(betas=(0.9, 0.95))],
    ... }
    >>> search = GridSearchCV(make_pipeline(StandardScaler(), network), grid, cv=2).fit(X, y)
    >>> display = SearchDisplay.from_estimator(search, parameters=("learning_rate", "optimizer"))
    >>> [label.get_text() for label in display.ax_.get_xticklabels()]
    ['0.001', '0.01', '0.1']
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['adam', 'AdamW(betas=(0.9, 0.95))']
    """

    def __init__(
        self,
        *,
        params: Sequence[Mapping[str, Any]],
        mean_score: Any,
        std_score: Any = None,
        rung: Any = None,
        n_resources: Any = None,
        score_name: str = "score",
        resource_name: str = "resources",
    ) -> None:
        self.params = params
        self.mean_score = mean_score
        self.std_score = std_score
        self.rung = rung
        self.n_resources = n_resources
        self.score_name = score_name
        self.resource_name = resource_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: str = "auto",
        parameters: str | Sequence[str] | None = None,
        score: str | None = None,
        ax: Any = None,
        plot_kw: dict[str, Any] | None = None,
    ) -> SearchDisplay:
        """Draw a fitted search.

        Parameters
        ----------
        estimator : estimator
            Anything with a ``cv_results_`` as scikit-learn's searches have it: ``GridSearchCV``,
            ``RandomizedSearchCV``, ``HalvingGridSearchCV``, or those of skbig. It need not have refitted its best.
        kind : {"auto", "scores", "rungs"}, default="auto"
            The scores over one or two parameters, or the rungs of a halving search. "auto" draws the rungs where there
            are some and `parameters` are not named, and else the scores.
        parameters : str, sequence of str or None, default=None
            One or two names of searched parameters; the first is that of the x-axis. An ending is enough that only one
            of them has: ``"learning_rate"`` for ``"bigmlpclassifier__learning_rate"``. For rungs these are the
            parameters that the legend tells of, by default all that vary.

            By default the two that the score depends on most are drawn, numbers on the x-axis rather than words. For
            this the candidates are ranked by their mean scores. The first is the parameter whose values explain the
            largest share of the ranks' variance, less what would be explained by chance (epsilon squared of an
            analysis of variance; numbers of more than five values are grouped into fifths), and the second the one
            that explains the largest share of what then remains. Candidates of a halving search are ranked at the
            first rung, where all are given the same. Of equals the one that was named first in the search is taken.
        score : str or None, default=None
            Of a search with several scores, which one; by default that of `refit`.
        ax : matplotlib Axes or None, default=None
            Where to draw. By default a new figure is made.
        plot_kw : dict or None, default=None
            Passed on to what draws: ``Axes.pcolormesh`` for a heat map, ``Axes.scatter`` for points, and ``Axes.plot``
            for lines.

        Returns
        -------
        SearchDisplay

        Raises
        ------
        NotFittedError
            When the search has not been fitted.
        ValueError
            When it has no such parameter, score or kind.
        ImportError
            Without matplotlib.
        """
        import_pyplot("SearchDisplay")
        results = results_of(estimator)
        name = metric(results, score, getattr(estimator, "refit", None))
        display = cls(
            params=results["params"],
            mean_score=results[f"mean_test_{name}"],
            std_score=results.get(f"std_test_{name}"),
            rung=results.get("iter"),
            n_resources=results.get("n_resources"),
            score_name=name_of_score(name, getattr(estimator, "scoring", None)),
            resource_name=getattr(estimator, "resource", "resources"),
        )
        return display.plot(kind=kind, parameters=parameters, ax=ax, plot_kw=plot_kw)

    @classmethod
    def from_search(cls, search: Any, **options: Any) -> SearchDisplay:
        """Draw a fitted search: another name of :meth:`from_estimator`, which see."""
        return cls.from_estimator(search, **options)

    def plot(
        self,
        *,
        kind: str = "auto",
        parameters: str | Sequence[str] | None = None,
        ax: Any = None,
        plot_kw: dict[str, Any] | None = None,
    ) -> SearchDisplay:
        """Draw the search; parameters as in :meth:`from_estimator`."""
        candidates = self._candidates()
        self.kind_ = self._choose_kind(kind, parameters)
        self.image_: Any = None
        self.colorbar_: Any = None
        self.lines_: list[Any] = []
        if self.kind_ == "rungs":
            self.parameters_ = find(candidates, parameters) or candidates.varied or candidates.names
            self._draw_rungs(candidates, ax, plot_kw or {})
        else:
            self.parameters_ = one_or_two(find(candidates, parameters)) or choose(candidates)
            self._draw_scores(candidates, ax, plot_kw or {})
        return self

    def _candidates(self) -> Candidates:
        count = len(self.params)
        return Candidates(
            params=self.params,
            mean=np.asarray(self.mean_score, dtype=float),
            std=np.zeros(count) if self.std_score is None else np.asarray(self.std_score, dtype=float),
            rung=np.zeros(count, dtype=int) if self.rung is None else np.asarray(self.rung, dtype=int),
            resources=None if self.n_resources is None else np.asarray(self.n_resources),
        )

    def _choose_kind(self, kind: str, parameters: Any) -> str:
        if kind not in KINDS:
            raise ValueError(
                f"The 'kind' parameter of SearchDisplay must be one of {list(KINDS)}. Got {kind!r} instead."
            )
        if kind == "rungs" and self.rung is None:
            raise ValueError(
                "The 'kind' parameter of SearchDisplay must be 'scores' or 'auto' for a search without halving, "
                "whose cv_results_ has no 'iter'. Got 'rungs' instead."
            )
        if kind == "auto":
            return "rungs" if self.rung is not None and parameters is None else "scores"
        return kind

    def _draw_rungs(self, candidates: Candidates, ax: Any, plot_kw: dict[str, Any]) -> None:
        self._make_axes(ax, (7.0, 5.2))
        self.lines_ = draw_rungs(self.ax_, candidates, self.parameters_, plot_kw)
        self.ax_.set(
            xlabel=f"{self.resource_name.rpartition('__')[2]} (candidates)", ylabel=f"mean test {self.score_name}"
        )

    def _draw_scores(self, candidates: Candidates, ax: Any, plot_kw: dict[str, Any]) -> None:
        names, short = self.parameters_, candidates.short_names()
        heat = len(names) == 2 and is_grid(candidates, names)
        self._make_axes(ax, _size_of_heat_map(candidates, names) if heat else (7.0, 4.6))
        self.ax_.set_xlabel(short[names[0]])
        describe_best(self.ax_, candidates, names)
        if len(names) == 1:
            self.lines_ = draw_line(self.ax_, candidates, names[0], plot_kw)
            self.ax_.set_ylabel(f"mean test {self.score_name}")
            return
        self.ax_.set_ylabel(short[names[1]])
        self.image_ = (draw_heat_map if heat else draw_points)(self.ax_, candidates, names, plot_kw)
        if shown := shown_rows(candidates, names):
            self._add_colorbar(candidates.lowest_shown(shown) is not None)

    def _add_colorbar(self, cut: bool) -> None:
        label = f"mean test {self.score_name}"
        self.colorbar_ = self.figure_.colorbar(
            self.image_, ax=self.ax_, label=label, extend="min" if cut else "neither"
        )
        self.colorbar_.outline.set_visible(False)

    def _make_axes(self, ax: Any, size: tuple[float, float]) -> None:
        self.ax_ = ax
        if ax is None:
            _, self.ax_ = import_pyplot("SearchDisplay").subplots(figsize=size, layout="constrained")
        self.figure_ = self.ax_.figure


def _size_of_heat_map(candidates: Candidates, names: Sequence[str]) -> tuple[float, float]:
    """Return a width and a height, in inches, in which cells and labels have room."""
    x, y = ([break_label(label) for label in candidates.levels(name).labels()] for name in names)
    width = width_of(y) + 2.0 + len(x) * min(max(width_of(x), 0.75), 1.6)
    return min(max(width, 6.0), 12.0), min(max(1.6 + 0.5 * len(y), 3.6), 10.0)
