"""Networks with fewer weights, or fewer units.

Legend: M members.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from skbig._utils.validation import COUNT, Interval, check
from skbig.compress.last_step import fitted_copy, put_arrays, rows_for, tune
from skbig.compress.units import fewer_units
from skbig.estimators.base import NetworkEstimator
from skbig.networks.dense import Dense

E = TypeVar("E")


def prune(
    model: E,
    X: Any,
    y: Any,
    share: float = 0.9,
    *,
    structured: bool = False,
    n_steps: int = 6,
    n_epochs: int = 10,
    sample_weight: Any = None,
) -> E:
    """Return a copy of a fitted model with fewer weights or units: taken away little by little, the rest trained on.

    Parameters
    ----------
    model : estimator
        Fitted: of this package, or a Pipeline that ends in one. It stays as it is.
    X, y : rows and their labels or numbers
        To train on with; the rows of `fit`, best.
    share : float in (0, 1), default=0.9
        The share of the weights that become zero, biases left out; with `structured` that of the units of each hidden
        layer that go.
    structured : bool, default=False
        False makes zeros where they hurt least: smaller in a compressed file, and as fast as before. True takes away
        whole units: smaller and faster everywhere. For networks with hidden layers of this package.
    n_steps : int, default=6
        In how many steps; most goes in the first ones [1]_.
    n_epochs : int, default=10
        Epochs of training after each step, by the estimator's own optimizer, rate and schedule.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    model : estimator
        An ordinary one, with its parameters; with `structured`, with smaller `hidden_layer_sizes`. Zeros stay zero
        in `partial_fit` and in a `fit` with ``warm_start=True``.

    Notes
    -----
    Which weights go is decided by their squares over the sum of all in their layer that are as large (LAMP [2]_), in
    all layers together. Which units go is decided by the standard deviation of what they give on these rows, times the
    norm of the weights that read it; the mean of what goes is added to the biases that follow.

    References
    ----------
    .. [1] Zhu and Gupta, "To Prune, or Not to Prune", 2017.
    .. [2] Lee, Park, Mo, Ahn and Shin, "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.compress import prune
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BigMLPClassifier((32, 32), optimizer="lbfgs", random_state=0).fit(X, y)
    >>> sparse = prune(model, X, y, share=0.8)
    >>> weights = np.concatenate([coef.ravel() for coef in sparse.coefs_])
    >>> round(float(np.mean(weights == 0)), 2), sparse.score(X, y) > 0.95
    (0.8, True)
    >>> narrow = prune(model, X, y, share=0.5, structured=True)
    >>> [weights.shape for weights in narrow.coefs_]
    [(4, 16), (16, 16), (16, 3)]
    """
    check("share", "prune", share, Interval(0, 1, "neither"))
    check("n_steps", "prune", n_steps, COUNT)
    check("n_epochs", "prune", n_epochs, COUNT)
    smaller, last = fitted_copy(model, "prune")
    if structured and vars(last).get("_ledger") is not None:
        raise ValueError(
            "structured=True is refused after a training with privacy: it looks at rows without noise, which epsilon_ "
            "does not count. Use structured=False."
        )
    rows = rows_for(smaller, X)
    sizes = list(_hidden(last)) if structured else []
    for step in range(1, n_steps + 1):
        now = share * (1.0 - (1.0 - step / n_steps) ** 3)
        if structured:
            fewer_units(last, rows, [max(1, round(size * (1.0 - now))) for size in sizes])
        else:
            _make_zeros(last, now)
        tune(last, rows, y, sample_weight, n_epochs)
    return smaller


def _hidden(estimator: NetworkEstimator) -> tuple[int, ...]:
    """Return the units of each hidden layer."""
    sizes = tuple(getattr(estimator._network.network, "hidden_layer_sizes", ()))
    plain = [layer for layer in estimator._network.layers if isinstance(layer, Dense)]
    if sizes and len(plain) != len(sizes) + 1:
        raise ValueError(
            f"structured=True takes units from plain dense layers, and {estimator._network.network!r} has others, as "
            "those of monotonic_cst. Use structured=False."
        )
    if not sizes:
        raise ValueError(
            f"structured=True takes units from hidden layers, and {estimator._network.network!r} says of none. Use "
            "structured=False."
        )
    return sizes


def _make_zeros(estimator: NetworkEstimator, share: float) -> None:
    """Set a share of each member's weights to zero: those of the lowest scores."""
    network, arrays = estimator._network, dict(estimator._network_arrays())
    names = network.penalized
    for name in names:
        arrays[name] = np.array(arrays[name])
    for m in range(len(arrays[names[0]])):
        scores = [_scores(arrays[name][m]) for name in names]
        every = np.concatenate([score.ravel() for score in scores])
        last = round(share * every.size) - 1
        threshold = np.partition(every, last)[last] if last >= 0 else -np.inf
        for name, score in zip(names, scores, strict=True):
            arrays[name][m][score <= threshold] = 0.0
    put_arrays(estimator, network, arrays, keeps_zeros=True)


def _scores(weight: np.ndarray) -> np.ndarray:
    """Return each weight's square over the sum of the squares in its layer that are as large, or larger."""
    squares = np.square(weight, dtype=np.float64).ravel()
    order = np.argsort(squares, kind="stable")
    ascending = squares[order]
    rest = np.cumsum(ascending[::-1])[::-1]
    scores = np.empty_like(squares)
    scores[order] = ascending / np.maximum(rest, np.finfo(float).tiny)
    return scores.reshape(weight.shape)
