"""Successive halving inside one training: candidates that fall behind leave, the others go on where they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import floor, log
from os import PathLike
from typing import Self

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import BaseCrossValidator, HalvingGridSearchCV, ParameterGrid

from skbig.estimators.base import NetworkEstimator
from skbig.estimators.choices import planned
from skbig.estimators.types import Grid, Scoring, Split, Table, Targets
from skbig.search.evaluation import Evaluation
from skbig.search.fit_task import FitTask, fresh_seed, hash_of
from skbig.search.grid import TrainsTogether
from skbig.search.joblib_backend import Call
from skbig.search.nesting import last_step, name_of_parameter
from skbig.search.pipeline_cache import PipelineCache
from skbig.search.search_runners import LocalSearchRunner

EPOCHS = "max_iter"


class BigHalvingGridSearchCV(TrainsTogether, HalvingGridSearchCV):
    """Search over combinations of parameter values, of which those that fall behind are stopped early.

    All candidates are trained together for a few epochs and scored; the better third goes on, and is scored again after
    three times as many epochs, until few are left: successive halving [1]_. It is scikit-learn's `HalvingGridSearchCV`
    with the epochs as resource, but nothing is trained twice: a rung is a look at a training that then goes on. The
    schedule of every candidate runs over the epochs of the last rung, so those that reach it have been trained as by
    ``max_iter`` of that many. Let the rate fall (``schedule="cosine"``): of constant rates the high ones are ahead at
    first and behind in the end, and a rung drops the best.

    Parameters
    ----------
    estimator : BigMLPClassifier, BigMLPRegressor, or a Pipeline that ends in one
        What is searched.
    param_grid : dict or list of dicts
        Parameter names and the values to try.
    factor : int or float, default=3
        One of so many candidates goes on to the next rung, with so many times the epochs.
    resource : 'max_iter', 'n_samples' or str, default='max_iter'
        What grows from rung to rung: the epochs, or as in scikit-learn the rows or any parameter with integer values,
        for which every rung trains anew.
    max_resources : int or 'auto', default='auto'
        Epochs of the last rung at most; the estimator's own `max_iter` by default.
    min_resources : int, 'exhaust' or 'smallest', default='exhaust'
        Epochs of the first rung; by default so many that the last rung has `max_resources`.
    aggressive_elimination : bool, default=False
        Whether to stay at the first rung until few enough are left to reach the last.
    cv : int, cross-validation generator or iterable, default=5
        How rows are split.
    scoring : str, callable or None, default=None
        How candidates are scored; the estimator's own score by default.
    refit : bool or callable, default=True
        Whether the best candidate of the last rung is fitted on all rows, for the epochs of that rung.
    error_score : 'raise' or numeric, default=np.nan
        The score of a candidate that fails.
    return_train_score : bool, default=True
        Whether `cv_results_` includes the scores on the training rows.
    random_state : int, RandomState instance or None, default=None
        Seed of the rows that are drawn with ``resource='n_samples'``.
    n_jobs : int, default=None
        How many stacks are trained side by side, on threads of this process; by default as many as torch has threads.
    verbose : int, default=0
        As in `BigGridSearchCV`; also the sizes of the rungs.
    checkpoint_dir : path or None, default=None
        As in `BigGridSearchCV`.
    ensemble_size : int or None, default=None
        As in `BigGridSearchCV`, of the candidates of the last rung.

    Attributes
    ----------
    n_resources_, n_candidates_ : list of int
        Epochs and candidates of each rung.
    n_remaining_candidates_, max_resources_, min_resources_, n_iterations_, n_possible_iterations_, \
n_required_iterations_
        As in scikit-learn.
    cv_results_ : dict of ndarray
        One entry per rung and candidate; `iter` is the rung, `n_resources` the epochs.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, classes_, \
n_features_in_, feature_names_in_
        As in scikit-learn.
    ensemble_weights_, ensemble_score_
        As in `BigGridSearchCV`.

    References
    ----------
    .. [1] Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS
       2016.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigHalvingGridSearchCV, BigMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = BigMLPClassifier(max_iter=18, schedule="cosine", random_state=0)
    >>> grid = {"learning_rate": [1e-4, 1e-3, 1e-2], "alpha": [1e-5, 1e-3, 1e-1]}
    >>> search = BigHalvingGridSearchCV(network, grid, cv=3).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([9, 3, 1], [2, 6, 18])
    >>> float(search.best_params_["learning_rate"])
    0.01
    """

    resource: str
    max_resources: int | str

    def __init__(
        self,
        estimator: BaseEstimator,
        param_grid: Grid | Sequence[Grid],
        *,
        factor: float = 3,
        resource: str = EPOCHS,
        max_resources: int | str = "auto",
        min_resources: int | str = "exhaust",
        aggressive_elimination: bool = False,
        cv: int | BaseCrossValidator | Iterable[Split] = 5,
        scoring: Scoring = None,
        refit: bool | str | Callable[..., int] = True,
        error_score: float | str = np.nan,
        return_train_score: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        checkpoint_dir: str | PathLike[str] | None = None,
        ensemble_size: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.checkpoint_dir = checkpoint_dir
        self.ensemble_size = ensemble_size

    def fit(self, X: Table, y: Targets | None = None, **params: object) -> Self:
        """Run the search and, with `refit`, fit the best candidate of the last rung on all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their targets.
        **params : dict of str -> object
            Parameters for the estimator's `fit`, as ``sample_weight``.

        Returns
        -------
        self : BigHalvingGridSearchCV
        """
        if not self._grows_epochs():
            return super().fit(X, y, **params)
        given = self.resource, self.max_resources
        self.resource = name_of_parameter(self.estimator, EPOCHS)  # scikit-learn needs it in full: step__max_iter
        if self.max_resources == "auto":
            self.max_resources = planned(last_step(self.estimator), EPOCHS)
        try:
            return super().fit(X, y, **params)
        finally:
            self.resource, self.max_resources = given

    def _grows_epochs(self) -> bool:
        ours = isinstance(last_step(self.estimator), NetworkEstimator)
        return ours and self.resource in (EPOCHS, name_of_parameter(self.estimator, EPOCHS))

    def _evaluation(self) -> Evaluation:
        return Rungs(self, self.resource) if self._grows_epochs() else Evaluation(self)


class Rungs(Evaluation):
    """Evaluates the rungs of a halving search: the trainings of one go on in the next.

    Parameters
    ----------
    search : BigHalvingGridSearchCV
    parameter : str
        The name of the parameter that holds the epochs of a rung.
    """

    goes_on = True

    def __init__(self, search: BigHalvingGridSearchCV, parameter: str) -> None:
        super().__init__(search)
        self._parameter = parameter
        self._n_epochs = 0
        self._seeds: dict[str, int] = {}

    def _local_runner(self) -> LocalSearchRunner:
        n_side_by_side = None if self.search.n_jobs is None else effective_n_jobs(self.search.n_jobs)
        return LocalSearchRunner(n_side_by_side=n_side_by_side, cache=PipelineCache())

    def _is_continued(self, tasks: Sequence[FitTask]) -> bool:
        return int(tasks[0].parameters[self._parameter]) < self._epochs_of_last_rung()

    def _settings(self) -> dict[str, str]:
        return {"epochs of the last rung": str(self._epochs_of_last_rung())}

    def _epochs_of_last_rung(self) -> int:
        """How far every schedule runs; asked for the first time when the first rung begins."""
        if not self._n_epochs:
            self._n_epochs = epochs_of_last_rung(self.search, len(ParameterGrid(self.search.param_grid)))
        return self._n_epochs

    def _tasks(self, calls: Sequence[Call]) -> list[FitTask]:
        """Return a task for each call, of which one has the same key at every rung."""
        tasks: list[FitTask] = []
        seen: Counter[str] = Counter()
        for call in calls:
            task = FitTask(call)
            others = {name: value for name, value in task.parameters.items() if name != self._parameter}
            key = f"{hash_of(others)}-{task.split}"
            task.key = f"{key}-{seen[key]}" if seen[key] else key  # each of equal candidates has its own training
            seen[key] += 1
            task.seed = self._seeds.setdefault(task.key, fresh_seed())
            task.limit(int(task.parameters[self._parameter]), self._epochs_of_last_rung())
            tasks.append(task)
        return tasks


def epochs_of_last_rung(search: HalvingGridSearchCV, n_candidates: int) -> int:
    """Return how many epochs scikit-learn's rungs come to for so many candidates."""
    factor, most, least = search.factor, search.max_resources_, search.min_resources_
    n_required = 1 + floor(log(n_candidates, factor))
    if search.min_resources == "exhaust":
        least = max(least, most // factor ** (n_required - 1))
    n_possible = 1 + floor(log(most // least, factor))
    n_rungs = n_required if search.aggressive_elimination else min(n_possible, n_required)
    power = max(0, n_rungs - 1 - n_required + n_possible) if search.aggressive_elimination else n_rungs - 1
    return int(min(factor**power * least, most))
