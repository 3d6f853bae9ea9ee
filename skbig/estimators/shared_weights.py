"""Weights that go from one estimator to another as a list of arrays, as clients and a server exchange them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skbig.estimators.interface import EstimatorInterface


class SharedWeights(EstimatorInterface):
    """What an estimator gives to others of its kind, and takes from them."""

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of all weights and running statistics, in an order that is the network's.

        Returns
        -------
        weights : list of ndarray
            Of each parameter and each running statistic; with several members, these are the first dim of each. The
            order depends on the network alone, so it is the same for all estimators with these parameters, this number
            of features and these classes.

        See Also
        --------
        set_weights : The way back.
        skbig.save_weights : Into a file, with names, and what is needed to understand them.

        Examples
        --------
        >>> from skbig import BigMLPClassifier
        >>> model = BigMLPClassifier((8,), random_state=0).initialize(n_features=4, classes=["no", "yes"])
        >>> [array.shape for array in model.get_weights()]
        [(4, 8), (8, 1), (1, 8), (1, 1)]
        """
        check_is_fitted(self)
        one = len(self._progress["seeds"]) == 1
        arrays = self._network_arrays()
        return [np.array(arrays[name][0] if one else arrays[name]) for name in self._exchanged()]

    def set_weights(self, weights: Sequence[Any]) -> Self:
        """Put weights in the place of those of a fitted estimator, or of one after `initialize`.

        Training then begins anew with them: the state of the optimizer, the best weights of early stopping, and where
        `fedprox` holds it. The numbers of epochs and rows go on, and with them schedule and order of rows. Curves and
        what else was learnt from rows stay.

        Parameters
        ----------
        weights : sequence of array-like
            As `get_weights` returns them. They become numbers of the dtype of those that were there.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            When they are not as many, of other shapes, or not finite; the estimator stays as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from skbig import BigMLPClassifier
        >>> ours, theirs = (BigMLPClassifier((8,), random_state=seed).initialize(4, [0, 1]) for seed in (0, 1))
        >>> mean = [np.mean(pair, axis=0) for pair in zip(ours.get_weights(), theirs.get_weights())]
        >>> ours.set_weights(mean).predict(np.zeros((1, 4))).shape
        (1,)
        """
        check_is_fitted(self)
        old, names = self._network_arrays(), self._exchanged()
        weights = list(weights)
        if len(weights) != len(names):
            raise ValueError(f"The network has {len(names)} arrays of weights: {names}. Got {len(weights)}.")
        arrays = {name: _like(given, old[name], name) for name, given in zip(names, weights, strict=True)}
        vars(self).update(self._public_weights(self._network, arrays), _progress=_begun_anew(self._progress))
        return self

    def _exchanged(self) -> list[str]:
        return [*self._network.shapes, *self._network.statistics_shapes]


def _like(given: Any, old: np.ndarray, name: str) -> np.ndarray:
    """Return given weights as an array like the old one, with the members axis."""
    shape = old.shape[1:] if len(old) == 1 else old.shape
    value = np.asarray(given)
    if value.dtype.kind not in "fiub" or value.shape != shape:
        raise ValueError(f"{name!r} must be numbers of shape {shape}. Got {value.dtype} of shape {value.shape}.")
    largest = np.finfo(old.dtype).max if old.dtype.kind == "f" else np.inf
    if not (np.isfinite(value) & (np.abs(value) <= largest)).all():
        raise ValueError(f"{name!r} has numbers that are not finite as {old.dtype}.")
    if old.dtype.kind != "f" and value.dtype.kind == "f":  # a mean of counts
        value = np.rint(value)
    return np.array(value, dtype=old.dtype).reshape(old.shape)


def _begun_anew(progress: dict[str, Any]) -> dict[str, Any]:
    """Return what a training goes on from that has not taken a step since; epochs and rows stay."""
    n_members, (_, epochs, rows) = len(progress["seeds"]), progress["counts"]
    tracker = {
        "best_loss": np.full(n_members, np.inf),
        "best_score": np.full(n_members, -np.inf),
        "stalled": np.zeros(n_members, dtype=int),
        "stopped": np.zeros(n_members, dtype=bool),
        "best": None,
        "latest": None,
    }
    # An optimizer without a name is none that goes on, so that its state is made anew.
    anew: dict[str, Any] = {"optimizer": "", "state": [], "line_search": [{} for _ in range(n_members)]}
    anew |= {"anchor": None, "averaged": None}
    return {**progress, **anew, "tracker": tracker, "counts": [0, epochs, rows]}
