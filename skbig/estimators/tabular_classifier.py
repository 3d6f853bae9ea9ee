"""The classifier of tables.

Legend: M members, N rows, K raw outputs.
"""

from __future__ import annotations

from collections.abc import Callable as Function
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logit
from torch import Tensor

from skbig.components.losses.base import Loss
from skbig.engine.train import Training
from skbig.estimators.calibration import judging_rows, temperature_of
from skbig.estimators.classification import Classifier
from skbig.estimators.declaration import estimator, parameter
from skbig.estimators.given import Given
from skbig.estimators.tabular import BigTabular, with_offset
from skbig.networks.network import BuiltNetwork


@estimator
class BigTabularClassifier(Classifier, BigTabular):
    """A classifier for tables as they are: numbers, categories and missing values, without preprocessing.

    An ensemble of multi-layer perceptrons that learn functions of each number and a vector for each category. Of each
    training the epoch with the best validation loss is kept, and the probabilities are calibrated on the same rows.

    X is a DataFrame of pandas or polars, an Arrow table, an array, sparse rows, or what :func:`skbig.data.open_parquet`
    returns. Columns of words and of categorical types are categories; see `categorical_features` for others. A category
    that the training rows do not have, or a missing value where none was missing, may occur later. Columns are found by
    their names, in any order.

    Parameters
    ----------
    ...

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    encoding_ : TableEncoding
        What became of the columns.
    temperature_ : float
        By what raw predictions are divided, so that probabilities are calibrated; 1 without validation rows.
    feature_importances_ : ndarray of shape (n_features,)
        Of each column by how much the loss rises when the column is shuffled among up to 512 rows, those held out if
        there are any, as a share of the sum. Not of sparse rows, nor of streamed ones where none are held out.
    weights_, buffers_ : dict of ndarray
        Parameters and running statistics by name; with several members, they are the first dim of each.
    loss_curve_, validation_loss_curve_, validation_scores_, learning_rates_ : list of float
        One entry for each epoch; the validation curves are None without validation rows.
    n_iter_, t_ : int
        Epochs run, and training rows seen.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where they have any.

    See Also
    --------
    BigTabularRegressor : The same for numbers.
    BigMLPClassifier : A multi-layer perceptron, with scikit-learn's parameters and attributes.

    Examples
    --------
    >>> import pandas as pd
    >>> from skbig import BigTabularClassifier
    >>> X = pd.DataFrame({"size": [2.5, None, 7.1, 6.8] * 20, "colour": ["red", "red", "blue", None] * 20})
    >>> y = ["apple", "apple", "plum", "plum"] * 20
    >>> classifier = BigTabularClassifier(preset="fast", random_state=0).fit(X, y)
    >>> classifier.predict(pd.DataFrame({"colour": ["blue", "green"], "size": [6.9, 2.4]}))
    array(['plum', 'apple'], dtype=...)
    """

    if TYPE_CHECKING:  # type checkers would take these as Classifier has inherited them
        n_members: str | int = parameter("auto", words="", doc="")
        max_iter: str | int = parameter("auto", words="", doc="")
        early_stopping: str | bool = parameter("auto", words="", doc="")

    def _begun(
        self, network: BuiltNetwork, arrays: dict[str, np.ndarray], checked: Given, targets: Any, loss: Loss
    ) -> dict[str, np.ndarray]:
        if not loss.probabilistic:
            return arrays
        y = targets.encode(checked.y)
        classes = np.eye(targets.n_outputs)[y] if y.ndim == 1 else y
        share = np.average(classes, axis=0, weights=checked.weight).clip(1e-6, 1 - 1e-6)
        return with_offset(network, arrays, np.log(share) if y.ndim == 1 else logit(share))

    def _concluded(self, training: Training, targets: Any, held: Mapping[str, Given] | None) -> dict[str, Any]:
        temperature, judges = 1.0, judging_rows(held)
        if judges is not None and training.recipe.loss.probabilistic:
            temperature = temperature_of(training, targets, judges)
        return {**super()._concluded(training, targets, held), "temperature_": temperature}

    def _raw(self, X: Any, of_raw: Function[[Tensor], Tensor] | None = None) -> Tensor:
        def of_calibrated(raw: Tensor) -> Tensor:
            raw = raw / vars(self).get("temperature_", 1.0)  # none is known before the end of a fit
            return raw if of_raw is None else of_raw(raw)

        return super()._raw(X, of_calibrated)
