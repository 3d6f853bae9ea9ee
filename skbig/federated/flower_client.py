"""An estimator and its rows as a client of Flower's."""

from __future__ import annotations

from typing import Any

import numpy as np

from skbig._utils.extras import import_extra
from skbig._utils.validation import Interval, check
from skbig.estimators.base import NetworkEstimator


def client(
    estimator: NetworkEstimator,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    X_val: Any = None,
    y_val: Any = None,
    n_epochs: int = 1,
) -> Any:
    """Return a Flower client that trains an estimator on rows that stay where they are.

    In each round it takes the server's weights by `set_weights`, trains some epochs by `partial_fit`, and hands its own
    weights back, with the number of its rows.

    Parameters
    ----------
    estimator : estimator
        After `initialize`, or fitted: with the same parameters, features and classes in all clients. It is trained in
        place. `fedprox` and all other parameters act as ever.
    X, y : rows and their labels or numbers
        The client's own; classes may be missing.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row; their sum is what the client counts in the server's mean.
    X_val, y_val : same forms, default=None
        Rows to evaluate on, in place of X and y.
    n_epochs : int, default=1
        Epochs of a round; the server may say otherwise by ``"n_epochs"`` in the configuration of a round.

    Returns
    -------
    client : flwr.client.Client
        For ``flwr.clientapp.ClientApp(client_fn=lambda context: client(...))``. Its metrics are the loss of training,
        ``"loss"``, and of evaluation the score, ``"score"``.

    Raises
    ------
    ImportError
        Without flwr.
    sklearn.exceptions.NotFittedError
        When the estimator has no weights yet.

    Examples
    --------
    >>> from flwr.client import Client
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.federated import client
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((8,), random_state=0).initialize(n_features=4, classes=[0, 1, 2])
    >>> isinstance(client(model, X[:80], y[:80]), Client)
    True
    """
    flwr = import_extra("flwr.client", "federated", "skbig.federated")
    if not isinstance(estimator, NetworkEstimator):
        raise TypeError(
            f"client takes an estimator of this package, of a Pipeline its last step. Got {estimator!r:.200}."
        )
    check("n_epochs", "client", n_epochs, Interval(1, None, integer=True))
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val belong together: give both, or neither.")
    estimator.get_weights()  # says so where there are none
    return _kind(flwr.NumPyClient)(estimator, (X, y, sample_weight), (X_val, y_val), n_epochs).to_client()


def _kind(base: Any) -> Any:
    """Return the class of the client; its base is known only where flwr is."""

    class EstimatorClient(base):
        """Trains an estimator on its own rows."""

        def __init__(self, estimator: NetworkEstimator, rows: Any, held: Any, n_epochs: int) -> None:
            self._estimator, self._n_epochs = estimator, n_epochs
            self._X, self._y, self._weight = rows
            self._held = rows[:2] if held[0] is None else held

        def get_parameters(self, config: dict[str, Any]) -> list[np.ndarray]:
            del config
            return self._estimator.get_weights()

        def fit(
            self, parameters: list[np.ndarray], config: dict[str, Any]
        ) -> tuple[list[np.ndarray], int, dict[str, float]]:
            """Train on from the server's weights."""
            estimator: Any = self._estimator.set_weights(parameters)
            for _ in range(int(config.get("n_epochs", self._n_epochs))):
                estimator.partial_fit(self._X, self._y, sample_weight=self._weight)
            n_rows = len(self._y) if self._weight is None else round(float(np.sum(self._weight)))
            return estimator.get_weights(), n_rows, {"loss": float(estimator.loss_)}

        def evaluate(self, parameters: list[np.ndarray], config: dict[str, Any]) -> tuple[float, int, dict[str, float]]:
            """Score the server's weights; Flower's loss is what the score lacks to one."""
            del config
            estimator: Any = self._estimator.set_weights(parameters)
            score = float(estimator.score(*self._held))
            return 1.0 - score, len(self._held[1]), {"score": score}

    return EstimatorClient
