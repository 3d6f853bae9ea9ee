"""What validation rows are scored by: from the parameter `scoring` to scores of one member.

The scorer of a metric is answered by predictions that are known already. Any other callable gets the estimator itself,
fitted as far as training has come.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, r2_score

from skbig._utils.user_warning import warn_user
from skbig.engine.members import Members
from skbig.engine.recipe import Recipe
from skbig.estimators.declaration import given_parameters
from skbig.estimators.given import Given
from skbig.estimators.interface import EstimatorInterface
from skbig.estimators.sklearn_compat import formula_of, is_metric, metric_of, scorer_of
from skbig.estimators.stand_ins import ScoredClassifier, ScoredRegressor

ANSWERS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "score")
"""Methods that a scorer may call. Where a subclass has its own, a stand-in cannot answer."""

LOSS = "loss"


@dataclass(frozen=True)
class Member:
    """One of the members, as far as training has come.

    Attributes
    ----------
    members : Members
    m : int
        Which of them.
    recipe : Recipe
        That of its own training.
    first_epoch : int
        The epoch at which its training began.
    """

    members: Members
    m: int
    recipe: Recipe
    first_epoch: int = 0


@dataclass(frozen=True)
class Metric:
    """A score by name.

    Attributes
    ----------
    name : str
    scorer : callable or None
        ``scorer(estimator, X, y)``; None: the negative loss.
    by_predictions : bool
        Whether it looks at predictions only.
    weighted : bool
        Whether it takes the rows' weights.
    formula : callable or None
        Of scikit-learn's metrics the one that it is, with no options.
    """

    name: str
    scorer: Callable[..., float] | None
    by_predictions: bool = True
    weighted: bool = True
    formula: Callable[..., Any] | None = None

    def score(self, estimator: Any, rows: Given) -> float:
        """Score an estimator, or what stands for it, on checked rows."""
        assert self.scorer is not None
        weights = {} if rows.weight is None or not self.weighted else {"sample_weight": rows.weight}
        with np.errstate(over="ignore"):  # predictions may be very large, and their squares infinite
            score = self.scorer(estimator, rows.X, rows.y, **weights)
        try:
            return float(score)
        except (TypeError, ValueError):
            message = f"A scorer must return a number. The scorer {self.name!r} returned {score!r} instead."
            raise ValueError(message) from None


def metrics_of(estimator: EstimatorInterface, *, weighted: bool) -> list[Metric]:
    """Return what an estimator's validation rows are scored by; the first decides."""
    metrics = [_metric(estimator, name, value) for name, value in scorings(estimator.scoring).items()]
    without = [metric.name for metric in metrics if not metric.weighted]
    if weighted and without:
        names = ", ".join(map(repr, without))
        warn_user(f"scoring={names} takes no sample_weight, so it scores all validation rows alike.")
    return metrics


def scorings(scoring: Any) -> dict[str, Any]:
    """Return the values of the parameter `scoring` by name.

    Raises
    ------
    ValueError
        When two have the same name.
    """
    if isinstance(scoring, Mapping):
        return dict(scoring)
    values = scoring if isinstance(scoring, list | tuple) else [scoring]
    names = [_name_of(value) for value in values]
    if len(set(names)) < len(names):
        raise ValueError(
            f"The 'scoring' parameter must hold metrics of different names. Got {names}. Use a dict: {{name: scorer}}."
        )
    return dict(zip(names, values, strict=True))


def _name_of(scoring: Any) -> str:
    if scoring is None:
        return "score"
    if isinstance(scoring, str):
        return scoring
    function = metric_of(scoring) if is_metric(scoring) else scoring
    return getattr(function, "__name__", type(function).__name__)


def _metric(estimator: EstimatorInterface, name: str, scoring: Any) -> Metric:
    if scoring == LOSS:
        return Metric(name, None)
    if scoring is None:
        score = type(estimator).score  # type: ignore[attr-defined]
        formulas: dict[Any, Any] = {ScoredClassifier.score: accuracy_score, ScoredRegressor.score: r2_score}
        return Metric(name, _own_score, _answers_as_ours(estimator), _takes_weights(score), formulas.get(score))
    scorer = scorer_of(scoring)
    if not is_metric(scorer):
        return Metric(name, scorer, False, _takes_weights(scorer))
    return Metric(name, scorer, _answers_as_ours(estimator), _takes_weights(metric_of(scorer)), formula_of(scorer))


def _own_score(estimator: Any, X: Any, y: Any, **weights: Any) -> float:
    return float(estimator.score(X, y, **weights))


def _answers_as_ours(estimator: Any) -> bool:
    """Whether predictions are those of the network; a subclass may make something else of them."""
    methods = (getattr(type(estimator), name, None) for name in ANSWERS)
    return all(method is None or method.__module__.startswith(("skbig.", "sklearn.")) for method in methods)


def _takes_weights(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function of C may not tell
        return False
    return "sample_weight" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def model_of(estimator: EstimatorInterface, member: Member, targets: Any) -> Any:
    """Return an estimator like the given one, fitted to what a member has come to so far."""
    members, recipe, own = member.members, member.recipe, slice(member.m, member.m + 1)
    arrays = {name: array[own] for name, array in members.arrays().items()}
    rows = np.broadcast_to(members.rows, members.n_members)[member.m]
    model = type(estimator).__new__(type(estimator))
    vars(model).update(
        {
            **given_parameters(estimator),
            **estimator._public_weights(recipe.network, arrays),
            **estimator._describe(targets, recipe),
            "n_features_in_": recipe.network.n_features,
            "n_outputs_": recipe.network.n_outputs,
            "n_iter_": members.epochs - member.first_epoch,
            "t_": int(rows),
            "_dtype": str(members.flat.dtype).removeprefix("torch."),
            "_network": recipe.network,
            "_loss": recipe.loss,
            "_progress": {"seeds": members.seeds[own]},
            "_takes_encoded": True,
        }
    )
    return model
