"""Searches over parameters, as scikit-learn's own, with all candidates and folds trained together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator, GridSearchCV, RandomizedSearchCV

from skbig._utils.validation import Interval, Options, check
from skbig.estimators.html_repr import Documented
from skbig.estimators.search_context import searching
from skbig.estimators.sklearn_compat import inside_cross_validation
from skbig.estimators.types import Distributions, Grid, Scoring, Split, Table, Targets
from skbig.exceptions import WorkerError
from skbig.search.assembly import assemble
from skbig.search.evaluation import Evaluation
from skbig.search.joblib_backend import collecting

SIZE = Interval(1, None, integer=True)


class TrainsTogether(Documented):
    """Makes a search of scikit-learn's train its candidates together; mixed in before the search's own class."""

    cv_results_: dict[str, Any]
    best_estimator_: Any
    best_score_: float
    best_params_: dict[str, Any]
    best_index_: int
    n_splits_: int
    refit_time_: float
    classes_: np.ndarray
    n_features_in_: int
    checkpoint_dir: str | PathLike[str] | None
    ensemble_size: int | None
    ensemble_weights_: np.ndarray
    ensemble_score_: float

    def fit(self, X: Table, y: Targets | None = None, **params: object) -> Self:
        """Run the search and, with `refit`, fit the best candidate on all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their targets.
        **params : dict of str -> object
            Parameters for the splitter (``groups``), the scorer and the estimator's `fit` (``sample_weight``), as in
            scikit-learn's searches.

        Returns
        -------
        self : estimator
            The fitted search.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C. The candidates whose folds are all finished are in `cv_results_` then.
        WorkerError
            When a worker of the estimator's `backend` dies; the same candidates are kept.
        ValueError
            When `checkpoint_dir` holds checkpoints of another search: which part differs; or when a cross-validation
            makes the search.
        """
        self._check_directory()
        self._check_ensemble()
        evaluation = self._evaluation()
        try:
            with searching(), collecting(evaluation):
                super().fit(X, y, **params)  # type: ignore[misc]
        except (KeyboardInterrupt, WorkerError):
            evaluation.keep_finished()
            raise
        finally:
            evaluation.close()
        evaluation.conclude()
        for name in ("ensemble_weights_", "ensemble_score_"):
            vars(self).pop(name, None)  # of an earlier fit
        if self.ensemble_size is not None:
            assemble(self, evaluation.held_out, X, y, params)
        return self

    def _check_ensemble(self) -> None:
        if self.ensemble_size is None:
            return
        check("ensemble_size", type(self).__name__, self.ensemble_size, Options((None,)), SIZE)
        refit: Any = self.refit  # type: ignore[attr-defined]
        if refit is False or (callable(refit) and not isinstance(self.scoring, str | None)):  # type: ignore[attr-defined]
            raise ValueError(
                "ensemble_size needs refit=True, or the name of the score by which candidates are chosen. Got "
                f"refit={refit!r}."
            )

    def _evaluation(self) -> Evaluation:
        return Evaluation(self)

    def _check_directory(self) -> None:
        if self.checkpoint_dir is not None and inside_cross_validation():
            raise ValueError(
                f"checkpoint_dir={str(self.checkpoint_dir)!r} holds the checkpoints of one search, and a "
                "cross-validation makes one for each fold. Set checkpoint_dir=None on the search, or fit a search with "
                "a directory of its own on each fold."
            )


class BigGridSearchCV(TrainsTogether, GridSearchCV):
    """Search over all combinations of parameter values, trained together as one program.

    It is scikit-learn's `GridSearchCV`, with the same parameters, attributes and scores, for an estimator of skbig or a
    Pipeline that ends in one. Candidates that differ in numbers only (rate, penalty, dropout, an optimizer's betas,
    the seed, ...) are trained as one stack of networks, fold by fold; those that differ in shape or kind make stacks of
    their own. The steps before the network are fitted once per fold and setting, and shared by all candidates.

    Parameters
    ----------
    estimator : BigMLPClassifier, BigMLPRegressor, or a Pipeline that ends in one
        What is searched. Any other estimator works too, and is fitted one candidate after another. A network with
        ``backend=DDP(...)`` has its candidates spread over the workers, each of which trains whole stacks; only the
        last fit, with `refit`, is one of all workers.
    param_grid : dict or list of dicts
        Parameter names, as ``'optimizer__betas'``, and the values to try.
    scoring : str, callable, list, tuple or dict, default=None
        How candidates are scored on the rows left out; the estimator's own score by default.
    n_jobs : int, default=None
        None trains in this process, with as many stacks side by side as torch has threads (one per GPU on GPUs). A
        number spreads the stacks by joblib over so many workers, which may be those of a cluster:
        ``with joblib.parallel_config("dask"): search.fit(X, y)``.
    refit : bool, str or callable, default=True
        Whether, and by which score, the best candidate is fitted on all rows.
    cv : int, cross-validation generator or iterable, default=None
        How rows are split; five folds by default.
    verbose : int, default=0
        1 shows one line of progress; more than 1 shows a line for each fit, as scikit-learn does.
    pre_dispatch : int or str, default='2*n_jobs'
        Of the stacks that `n_jobs` spreads, as in joblib.
    error_score : 'raise' or numeric, default=np.nan
        The score of a candidate that fails, with a `FitFailedWarning`; the others go on.
    return_train_score : bool, default=False
        Whether `cv_results_` includes the scores on the training rows.
    checkpoint_dir : path or None, default=None
        A directory in which to keep what is done. A search that was killed goes on from there when it is fitted again
        with the same data, candidates and folds.
    ensemble_size : int or None, default=None
        How many candidates, the same ones counted again, make an ensemble at most: one after another joins with which
        the mean prediction of the rows left out scores best by the search's own scoring (without weights of rows), and
        the best ensemble on the way is taken [1]_. Those that are in it are fitted on all rows, and `best_estimator_`,
        and so `predict`, is the weighted mean of them. None takes the best candidate alone.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As in scikit-learn; `mean_fit_time` is each candidate's share of the time of its stack.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, multimetric_, classes_, \
n_features_in_, feature_names_in_
        As in scikit-learn. With `ensemble_size`, `best_estimator_` is the ensemble, with the fitted ones in its
        `estimators_`; what else is called best is of the best candidate alone.
    ensemble_weights_ : ndarray of shape (n_candidates,)
        Only with `ensemble_size`: the weight of each candidate of `cv_results_`; they sum to one.
    ensemble_score_ : float
        Only with `ensemble_size`: how the ensemble scores on the rows of all folds that its members were not trained
        on, by which it was chosen.

    References
    ----------
    .. [1] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble Selection from Libraries of Models", ICML 2004.

    See Also
    --------
    BigRandomizedSearchCV : Draws candidates from distributions.
    BigHalvingGridSearchCV : Stops candidates that fall behind.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigGridSearchCV, BigMLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> grid = {"learning_rate": [1e-4, 1e-2], "alpha": [1e-5, 1e-3]}
    >>> network = BigMLPClassifier(max_iter=20, schedule="cosine", random_state=0)
    >>> search = BigGridSearchCV(network, grid, cv=3).fit(X, y)
    >>> float(search.best_params_["learning_rate"])
    0.01
    >>> search.cv_results_["mean_test_score"].shape
    (4,)
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        param_grid: Grid | Sequence[Grid],
        *,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., int] = True,
        cv: int | BaseCrossValidator | Iterable[Split] | None = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
        ensemble_size: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.checkpoint_dir = checkpoint_dir
        self.ensemble_size = ensemble_size


class BigRandomizedSearchCV(TrainsTogether, RandomizedSearchCV):
    """Search over parameter values drawn from distributions, trained together as one program.

    It is scikit-learn's `RandomizedSearchCV`; see `BigGridSearchCV` for what is trained together and how.

    Parameters
    ----------
    estimator : BigMLPClassifier, BigMLPRegressor, or a Pipeline that ends in one
        What is searched.
    param_distributions : dict or list of dicts
        Parameter names, and distributions (with a method ``rvs``) or lists of values.
    n_iter : int, default=10
        How many candidates are drawn.
    scoring : str, callable, list, tuple or dict, default=None
        How candidates are scored on the rows left out; the estimator's own score by default.
    n_jobs : int, default=None
        None trains in this process, a number spreads the stacks by joblib over so many workers; as in
        `BigGridSearchCV`.
    refit : bool, str or callable, default=True
        Whether, and by which score, the best candidate is fitted on all rows.
    cv : int, cross-validation generator or iterable, default=None
        How rows are split; five folds by default.
    verbose : int, default=0
        1 shows one line of progress; more than 1 shows a line for each fit, as scikit-learn does.
    pre_dispatch : int or str, default='2*n_jobs'
        Of the stacks that `n_jobs` spreads, as in joblib.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw; with `checkpoint_dir` it has to be an int.
    error_score : 'raise' or numeric, default=np.nan
        The score of a candidate that fails, with a `FitFailedWarning`; the others go on.
    return_train_score : bool, default=False
        Whether `cv_results_` includes the scores on the training rows.
    checkpoint_dir : path or None, default=None
        A directory in which to keep what is done; as in `BigGridSearchCV`.
    ensemble_size : int or None, default=None
        How many candidates make an ensemble at most; as in `BigGridSearchCV`.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, \
multimetric_, classes_, n_features_in_, feature_names_in_
        As in scikit-learn.
    ensemble_weights_, ensemble_score_
        As in `BigGridSearchCV`.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier, BigRandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> network = BigMLPClassifier(max_iter=20, schedule="cosine", random_state=0)
    >>> rates = {"learning_rate": loguniform(1e-4, 1e-1)}
    >>> search = BigRandomizedSearchCV(network, rates, n_iter=6, cv=3, random_state=0).fit(X, y)
    >>> bool(search.best_params_["learning_rate"] > 1e-3)
    True
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        param_distributions: Distributions | Sequence[Distributions],
        *,
        n_iter: int = 10,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., int] = True,
        cv: int | BaseCrossValidator | Iterable[Split] | None = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: int | np.random.RandomState | None = None,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
        ensemble_size: int | None = None,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.checkpoint_dir = checkpoint_dir
        self.ensemble_size = ensemble_size
