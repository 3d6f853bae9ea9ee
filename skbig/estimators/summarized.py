"""What an estimator tells of its fitted network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skbig.estimators.exits import fitted_network
from skbig.estimators.interface import EstimatorInterface

if TYPE_CHECKING:
    from skbig.inference.network_summary import NetworkSummary


class Summarized(EstimatorInterface):
    """The summary that every estimator has."""

    def summary(self) -> NetworkSummary:
        """Return what the fitted network consists of: layers, their shapes and parameters, and the memory it takes.

        Shown in a notebook, or printed, it is a table. Weights and memory are those of all members of an ensemble,
        parameters those of one.

        Returns
        -------
        summary : NetworkSummary
            With `layers`, of which each has a `name`, `kind`, `output`, `tensors` (shapes by name) and `n_parameters`;
            and with `n_parameters`, `n_trained`, `n_members`, `dtype`, `weights_nbytes`, `kept_nbytes` (the state of
            the optimizer) and `row_nbytes` (what the layers hold for a row).

        Raises
        ------
        NotFittedError
            Before `fit`: shapes are those of X and y.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skbig import BigMLPClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = BigMLPClassifier((8,), optimizer="lbfgs", random_state=0).fit(X, y)
        >>> print(model.summary())
        BigMLPClassifier
        <BLANKLINE>
        layer                            output  parameters  memory  shapes
        ---...
               input                     (n, 4)
        0      Dense(activation='relu')  (n, 8)          40   320 B  weight 4x8, bias 8
        1      Dense                     (n, 3)          27   216 B  weight 8x3, bias 3
        <BLANKLINE>
        parameters: 67, float64
        memory: weights 536 B, and ... to train on; a row takes 120 B
        """
        from skbig.inference.network_summary import network_summary

        fitted = fitted_network(self)
        kept = [self._progress[name] for name in ("state", "line_search", "tracker")]
        return network_summary(fitted, type(self).__name__, kept)
