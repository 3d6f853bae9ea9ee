"""Attributions: what each column of X contributes to a prediction.

Legend: N rows, B rows of a background, C columns of X, E inputs, K outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from torch import Tensor

from skbig._utils.device import plain_torch
from skbig._utils.user_warning import warn_user
from skbig._utils.validation import COUNT, Interval, check
from skbig.explain.differentiable import Differentiable, differentiable
from skbig.explain.explanation import as_shap as shap_explanation
from skbig.explain.path_integrals import gradients_at, mean_integrals
from skbig.explain.rows import as_rows, baseline_inputs, explanation_of

GROUP_NUMBERS = 2**15
"""So many numbers the ends of the paths may be, about, that are cut into pieces at once: hundreds of each, at times."""

TOLERANCE = Interval(0, np.inf, "right")


def gradients(
    estimator: Any, X: Any, *, response_method: str = "auto", target: Any = None, as_shap: bool = False
) -> Any:
    r"""Return how fast a prediction rises with each column of X: :math:`\partial f / \partial x_i`, in its unit.

    Through the scalers of a Pipeline this is the chain rule, and exact. A column that has no derivative, as one of
    categories, has NaN.

    Parameters
    ----------
    estimator : estimator
        Fitted: one of this package, or a Pipeline that ends with one; of a search the best one is taken.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        Rows as the estimator reads them.
    response_method : {'auto', 'decision_function', 'predict_proba', 'predict'}, default='auto'
        What is explained: of a classifier, by 'auto', the raw prediction, which is the log-odds of a class; of a
        regressor what it predicts. An ensemble is explained as it predicts, by all its members.
    target : class label or int, default=None
        The class, or the number of the output of a regressor, that is explained; None is each of them.
    as_shap : bool, default=False
        Whether to return a ``shap.Explanation``, which needs SHAP.

    Returns
    -------
    explanation : Explanation or shap.Explanation
        Its `values` are (n_samples, n_features), or (n_samples, n_features, n_outputs) where several outputs are
        explained. `base_values` is None.

    Raises
    ------
    ValueError
        When no column has a derivative, or a step of the Pipeline cannot be followed back.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigLinearRegressor
    >>> from skbig.explain import gradients
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = make_pipeline(StandardScaler(), BigLinearRegressor(optimizer="lbfgs", random_state=0)).fit(X, y)
    >>> explanation = gradients(model, X[:5])
    >>> bool(abs(explanation.values[0] * model[0].scale_ - model[-1].coef_).max() < 1e-9)
    True
    """
    with plain_torch():
        rows = as_rows(X, estimator)
        model, inputs = differentiable(estimator, rows, response_method, target)
        if not model.own.any():
            raise ValueError(
                "gradients needs a column of numbers that the network reads as they are, or scaled, and there is none. "
                "Use integrated_gradients."
            )
        closed = model.one_layer
        values = gradients_at(model.function, inputs)[0] if closed is None else closed.gradients(inputs)
        values[:, torch.from_numpy(~model.own)] = torch.nan
        explanation = explanation_of(model, estimator, X, rows, values, None)
    return shap_explanation(explanation) if as_shap else explanation


def integrated_gradients(
    estimator: Any,
    X: Any,
    *,
    baseline: Any = None,
    response_method: str = "auto",
    target: Any = None,
    n_points: int = 16,
    tol: float = 1e-3,
    as_shap: bool = False,
) -> Any:
    r"""Return integrated gradients: the difference to the prediction for a baseline, divided among the columns of X.

    The gradient is integrated along the straight way from the baseline b to the row x [1]_,
    :math:`(x_i - b_i) \int_0^1 \partial_i f(b + t (x - b)) \, dt`. Attributions add up to :math:`f(x) - f(b)`, which
    tells how exact they are: points are added until they do to `tol`. Raw predictions of a network with one hidden
    layer have their integrals in closed form: they are exact to rounding, and `n_points` and `tol` are not needed.

    Parameters
    ----------
    estimator : estimator
        Fitted: one of this package, or a Pipeline that ends with one; of a search the best one is taken. Scalers, PCA
        and selectors are followed back exactly. What other steps make of one column, as the ones and zeros of a
        category, is added up to the attribution of that column.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        Rows as the estimator reads them.
    baseline : array-like or DataFrame of shape (n_features,), (1, n_features) or (n_samples, n_features), default=None
        The row, or one for each row of X, with which they are compared. None is where the network reads zeros: behind a
        `StandardScaler` the mean row, and no category; without a scaler a row of zeros. Of a `BigTabularClassifier` or
        `BigTabularRegressor` it is the row of medians and unknown categories.
    response_method : {'auto', 'decision_function', 'predict_proba', 'predict'}, default='auto'
        What is explained: of a classifier, by 'auto', the raw prediction, which is the log-odds of a class; of a
        regressor what it predicts. An ensemble is explained as it predicts, by all its members.
    target : class label or int, default=None
        The class, or the number of the output of a regressor, that is explained; None is each of them.
    n_points : int, default=16
        Points of the Gauss-Legendre rule on the way; where they do not suffice, it is cut into parts, each with 6.
    tol : float, default=1e-3
        By how much attributions may fail to add up, as a share of the difference that they divide; or, where this is
        almost nothing, of a tenth of how far the prediction moves on the way. With ``inf`` no points are added.
    as_shap : bool, default=False
        Whether to return a ``shap.Explanation``, which needs SHAP.

    Returns
    -------
    explanation : Explanation or shap.Explanation
        Its `values` are (n_samples, n_features), or (n_samples, n_features, n_outputs) where several outputs are
        explained; `base_values` are the predictions for the baseline.

    Raises
    ------
    ValueError
        When a step of the Pipeline cannot be followed back, or a baseline is needed.

    Warns
    -----
    ConvergenceWarning
        When attributions do not add up after many points.

    See Also
    --------
    expected_gradients : The same for a whole background of baselines.

    References
    ----------
    .. [1] Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skbig import BigMLPClassifier
    >>> from skbig.explain import integrated_gradients
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = make_pipeline(StandardScaler(), BigMLPClassifier((8,), optimizer="lbfgs", random_state=0)).fit(X, y)
    >>> explanation = integrated_gradients(model, X)
    >>> explanation
    <Explanation of 150 rows of 3 outputs by 4 features>
    >>> found = explanation.values.sum(1) + explanation.base_values
    >>> bool(abs(found - model.decision_function(X)).max() < 0.1)
    True
    """
    check("n_points", "integrated_gradients", n_points, COUNT)
    check("tol", "integrated_gradients", tol, TOLERANCE)
    with plain_torch():
        rows = as_rows(X, estimator)
        model, inputs = differentiable(estimator, rows, response_method, target)
        starts = baseline_inputs(model, estimator, baseline, rows).unsqueeze(1)
        values, base = _integrated(model, starts, inputs, n_points, tol)
        explanation = explanation_of(model, estimator, X, rows, values, base)
    return shap_explanation(explanation) if as_shap else explanation


def expected_gradients(
    estimator: Any,
    X: Any,
    background: Any,
    *,
    response_method: str = "auto",
    target: Any = None,
    n_background: int = 100,
    n_points: int = 6,
    tol: float = 1e-3,
    random_state: Any = None,
    as_shap: bool = False,
) -> Any:
    """Return expected gradients: integrated gradients [1]_, averaged over the rows of a background as baselines.

    They divide the difference to the mean prediction for the background, and need no single row to stand for "nothing".
    The integrals are computed, and not estimated from random points, so that the same background gives the same
    attributions. Of a network with one hidden layer they are exact, as those of `integrated_gradients`.

    Parameters
    ----------
    estimator : estimator
        As of `integrated_gradients`.
    X : {array-like, sparse matrix, DataFrame} of shape (n_samples, n_features)
        Rows as the estimator reads them.
    background : {array-like, sparse matrix, DataFrame} of shape (n_rows, n_features)
        Typical rows, such as those that the estimator was fitted to.
    response_method : {'auto', 'decision_function', 'predict_proba', 'predict'}, default='auto'
        As of `integrated_gradients`.
    target : class label or int, default=None
        As of `integrated_gradients`.
    n_background : int, default=100
        So many rows of a larger background are drawn, without replacement.
    n_points : int, default=6
        Points of the Gauss-Legendre rule on each way, as of `integrated_gradients`.
    tol : float, default=1e-3
        By how much attributions may fail to add up, as of `integrated_gradients`.
    random_state : int, RandomState instance or None, default=None
        What draws the rows of a large background.
    as_shap : bool, default=False
        Whether to return a ``shap.Explanation``, which needs SHAP.

    Returns
    -------
    explanation : Explanation or shap.Explanation
        `base_values` are the mean predictions for the background.

    Raises
    ------
    ValueError
        When a step of the Pipeline cannot be followed back.

    Warns
    -----
    ConvergenceWarning
        When attributions do not add up after many points.

    References
    ----------
    .. [1] Erion, Janizek, Sturmfels, Lundberg and Lee, "Improving performance of deep learning models with axiomatic
       attribution priors and expected gradients", Nature Machine Intelligence 3, 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skbig import BigMLPRegressor
    >>> from skbig.explain import expected_gradients
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = BigMLPRegressor((16,), schedule="cosine", max_iter=20, random_state=0).fit(X, y)
    >>> explanation = expected_gradients(model, X[:10], X)
    >>> explanation.values.shape, explanation.feature_names[:3]
    ((10, 10), ['age', 'sex', 'bmi'])
    """
    for name, value in (("n_background", n_background), ("n_points", n_points)):
        check(name, "expected_gradients", value, COUNT)
    check("tol", "expected_gradients", tol, TOLERANCE)
    with plain_torch():
        rows, others = as_rows(X, estimator), as_rows(background, estimator, "background")
        model, inputs = differentiable(estimator, rows, response_method, target)
        if others.shape[0] > n_background:
            drawn = check_random_state(random_state).choice(others.shape[0], n_background, replace=False)
            others = others.iloc[np.sort(drawn)] if hasattr(others, "iloc") else others[np.sort(drawn)]
        starts = model.inputs(others).unsqueeze(0)
        values, base = _integrated(model, starts, inputs, n_points, tol)
        explanation = explanation_of(model, estimator, X, rows, values, base)
    return shap_explanation(explanation) if as_shap else explanation


def _integrated(
    model: Differentiable, starts: Tensor, rows: Tensor, n_points: int, tol: float
) -> tuple[Tensor, Tensor]:
    """Return the mean integrals (N, E, K) of paths from starts (N or 1, B, E) to rows (N, E), and predictions there."""
    if model.one_layer is not None:
        return model.one_layer.mean_integrals(starts, rows)
    step = max(1, GROUP_NUMBERS // (starts.shape[1] * starts.shape[2]))
    found = []
    for first in range(0, len(rows), step):
        some = slice(first, first + step)
        begins = starts[some] if len(starts) == len(rows) else starts
        found.append(mean_integrals(model.function, begins, rows[some].unsqueeze(1), n_points, tol))
    values, base, error = (torch.cat(parts) for parts in zip(*found, strict=True))
    if bool((error > 0).any()):
        warn_user(
            f"The attributions of {int((error > 0).any(1).sum())} of {len(rows)} rows do not add up to the difference "
            f"of the predictions: they fail by up to {float(error.max()):.2g} of it, and tol={tol:g}. Raise `tol`.",
            ConvergenceWarning,
        )
    return values, base
