"""The result of an explanation.

Legend: N rows, C columns of X, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skbig._utils.extras import import_extra


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each column of X contributes to the predictions of some rows.

    It has the attributes of a ``shap.Explanation``, as plain arrays. `ExplanationDisplay` draws it.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_features) or (n_samples, n_features, n_outputs)
        The attributions; the last dim is there where several outputs are explained.
    base_values : ndarray of shape (n_samples,) or (n_samples, n_outputs), or None
        Predictions at the baseline. With the sum of the attributions of a row they are its prediction. None for
        `gradients`, which add up to nothing.
    data : ndarray of shape (n_samples, n_features)
        The rows, as they were given.
    feature_names : list of str
        Names of the columns of X.
    output_names : list of str or None, default=None
        What the outputs are, such as classes; None where there is one that needs no name.

    Examples
    --------
    >>> import numpy as np
    >>> from skbig.explain import Explanation
    >>> values = np.array([[1.0, -3.0], [0.0, 2.0]])
    >>> explanation = Explanation(values, np.zeros(2), np.ones((2, 2)), ["age", "income"])
    >>> explanation.importances
    array([0.5, 2.5])
    """

    values: np.ndarray
    base_values: np.ndarray | None
    data: np.ndarray
    feature_names: list[str]
    output_names: list[str] | None = None

    @property
    def importances(self) -> np.ndarray:
        """The mean size of each column's attributions, over rows and outputs: (n_features,).

        NaN counts for nothing; a column that is always NaN stays so.
        """
        sizes = np.abs(np.moveaxis(self.values, 1, 0).reshape(self.values.shape[1], -1))
        known = ~np.isnan(sizes)
        total = np.where(known, sizes, 0.0).sum(1)
        return np.where(known.any(1), total / known.sum(1).clip(min=1), np.nan)

    def __repr__(self) -> str:
        outputs = "" if self.values.ndim == 2 else f" of {self.values.shape[2]} outputs"
        return f"<Explanation of {len(self.values)} rows{outputs} by {self.values.shape[1]} features>"


def as_shap(explanation: Explanation) -> Any:
    """Return an explanation as SHAP's own.

    Raises
    ------
    ImportError
        Naming the extra, when SHAP is not installed.
    """
    shap = import_extra("shap", "explain", "as_shap=True")
    return shap.Explanation(
        values=explanation.values,
        base_values=explanation.base_values,
        data=explanation.data,
        feature_names=explanation.feature_names,
        output_names=explanation.output_names,
    )
