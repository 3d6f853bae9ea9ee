"""How much the columns of a table matter to a trained network.

Legend: N rows, F features of the matrix that a network reads, C columns of the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from skbig.data.rows import Rows
from skbig.engine.train import Training
from skbig.estimators.prediction import raw_predictions

MAX_ROWS = 512
MIN_ROWS = 32
SHUFFLED_ROWS = 2**16
"""So many rows are predicted for the importances of all columns together, or `MIN_ROWS` for each."""


def permutation_importances(
    training: Training, rows: Rows, sources: Sequence[int], n_columns: int, n_folds: int = 1
) -> np.ndarray:
    """Return the share of each column (C,) in by how much the loss rises when one column is shuffled.

    Parameters
    ----------
    training : Training
    rows : Rows
        Dense ones, as they are trained on.
    sources : sequence of int
        Of each feature the column that it comes from; features of one column are shuffled together.
    n_columns : int
    n_folds : int
        Where the rows are folds, one after another, each is predicted by the member at its place.
    """
    random = np.random.RandomState(training.members.seeds[0])
    n_rows = min(rows.n_rows, MAX_ROWS, max(MIN_ROWS, SHUFFLED_ROWS // n_columns))
    chosen = torch.from_numpy(random.permutation(rows.n_rows)[:n_rows]).to(rows.y.device)
    weight = torch.ones_like(chosen) if rows.weight is None else rows.weight[chosen]
    X, y = rows.features(chosen), rows.y[chosen]
    shuffled = X[torch.from_numpy(random.permutation(n_rows)).to(X.device)]
    judge = None if n_folds == 1 else chosen // (rows.n_rows // n_folds)
    whole, features = _mean_loss(training, X, y, weight, judge), np.asarray(sources)
    rise = np.zeros(n_columns)
    for column in np.unique(features):
        own = torch.from_numpy(np.flatnonzero(features == column)).to(X.device)
        rise[column] = _mean_loss(training, X.index_copy(1, own, shuffled[:, own]), y, weight, judge) - whole
    rise = rise.clip(min=0)
    return rise / (rise.sum() or 1.0)


def _mean_loss(training: Training, X: Tensor, y: Tensor, weight: Tensor, judge: Tensor | None) -> float:
    """Return the mean loss of rows, and of members; or of each row by the member that judges it (N,)."""
    members = training.shown
    raw = raw_predictions(members.network, members.parameters, members.statistics, X)
    with torch.no_grad():
        per_row = torch.stack([training.recipe.loss.per_row(each, y) for each in raw])
    if judge is not None:
        per_row = per_row.gather(0, judge[None])
    return float((per_row.cpu().double() @ weight.cpu().double()).mean() / float(weight.sum()))
