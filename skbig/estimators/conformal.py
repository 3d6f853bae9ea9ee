"""Intervals that hold a target with a given probability, from the errors on rows that were held out.

Legend: N rows to predict, H held-out rows, K targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEW_DEALT_OUT = 500
"""Of fewer rows, of which each member holds out a part of its own, its errors count as they are, and not as those of
the mean of all: of 100 rows, 87% of the intervals for 90% would hold."""


@dataclass(frozen=True)
class Conformity:
    """The errors on held-out rows, each in units of how large an error was to be expected there.

    An error is expected to be ``sqrt(std**2 + typical**2)``, by the spread of the members at the row, and by the
    median error. The interval of a new row is its prediction plus and minus a quantile of the errors in these units:
    split conformal prediction [1]_. Its coverage does not depend on whether the expectation is right, only its width.

    It would hold if the training had nothing from these rows. Where all members hold out the same ones, the epoch of
    each is kept that is best on them, so that errors are a little smaller there than on new rows, the fewer, the more
    so. Where each holds out a part of its own, its errors on it are those of its last epoch, which nobody has chosen,
    and stand for those of the mean of all, smaller by `error_of_mean`. docs/guide/raw_tables.md has what was measured.

    Attributes
    ----------
    errors : ndarray (H, K)
        Of each target sorted.
    weights : ndarray (H, K)
        Of their rows.
    typical : ndarray (K,)
        The median error of each target, in its unit.

    References
    ----------
    .. [1] Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-Free Predictive Inference for Regression",
       JASA 113, 2018, section 2.2 and 5.2.
    """

    errors: np.ndarray
    weights: np.ndarray
    typical: np.ndarray

    def half_width(self, std: np.ndarray, coverage: float) -> np.ndarray:
        """Return half of the width of each interval, (N, K), by the spread of the members (N, K).

        Raises
        ------
        ValueError
            When the held-out rows are too few for so large a coverage.
        """
        share = np.cumsum(self.weights, axis=0) / (self.weights.sum(axis=0) + self.weights.mean(axis=0))
        enough = share >= coverage * (1 - 1e-12)
        if not enough[-1].all():
            raise ValueError(
                f"coverage={coverage} needs more rows than the {len(self.errors)} that were held out. Ask for at most "
                f"{np.floor(1000 * share[-1].min()) / 1000}, or fit with a larger X_val or validation_fraction."
            )
        quantile = np.take_along_axis(self.errors, enough.argmax(axis=0)[None], axis=0)
        return np.asarray(quantile * expected_error(std, self.typical))


def expected_error(std: np.ndarray, typical: np.ndarray) -> np.ndarray:
    """Return how large an error is to be expected, (N, K)."""
    return np.hypot(std, typical)  # whose squares may be too small for a float


def error_of_mean(errors: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return how large errors of the mean of members (M, H, K) are, beside those of one of them (H, K), (K,).

    The squared error of the mean is that of the members, on average, less the variance between them (Krogh & Vedelsby,
    "Neural network ensembles, cross validation, and active learning", 1995). On rows that most of them have read they
    differ less than on new ones, so that the share is too large rather than too small. It is at least that of members
    whose errors have nothing in common.
    """
    single = np.average(errors**2, axis=0, weights=weight)
    between = np.average(predicted.var(axis=0), axis=0, weights=weight)
    left = 1 - between / np.maximum(single, np.finfo(np.float32).tiny)
    return np.sqrt(left.clip(1 / len(predicted), 1))


def conformity(
    y: np.ndarray, mean: np.ndarray, std: np.ndarray, weight: np.ndarray | None, share: np.ndarray | float = 1.0
) -> Conformity:
    """Compare targets (H, K) of held-out rows with what is predicted for them, whose errors count by a `share` (K,)."""
    errors = share * np.abs(y - mean)
    typical = np.maximum(np.median(errors, axis=0), np.finfo(np.float32).tiny)
    errors = errors / expected_error(std, typical)
    order = errors.argsort(axis=0, kind="stable")
    weights = np.ones(len(y)) if weight is None else weight
    return Conformity(np.take_along_axis(errors, order, axis=0), weights[order], typical)
