"""What a training that has ended tells its user."""

from __future__ import annotations

import torch
from sklearn.exceptions import ConvergenceWarning

from skbig._utils.user_warning import warn_user
from skbig.data.rows import Rows
from skbig.data.streamed_rows import StreamedRows
from skbig.data.tensor_rows import in_double
from skbig.engine.recipe import Recipe
from skbig.engine.train import Training

LARGE_SPREAD = 10.0
"""A target whose standard deviation is so many times larger or smaller than one is learnt slowly as it is."""


def warn_of_the_end(
    training: Training, max_iter: int, *, ran_out: bool, incremental: bool, standardizable: bool
) -> None:
    """Warn when a training has ended before its optimum, and say what helps.

    Parameters
    ----------
    training : Training
    max_iter : int
    ran_out : bool
        Whether `max_iter` ended it before it converged, against the plan.
    incremental : bool
        Whether it was one call of `partial_fit`.
    standardizable : bool
        Whether the target could be standardized, and is not.
    """
    if ran_out:
        helps = _what_helps(training.recipe) + (_of_the_target(training) if standardizable else "")
        warn_user(
            f"Maximum iterations ({max_iter}) reached and the optimization hasn't converged yet. {helps}",
            ConvergenceWarning,
        )
    if incremental and training.members.epochs > max_iter and not training.history.rate[-1].any():
        warn_user(
            f"The schedule has run out: it ends after max_iter={max_iter} epochs with a rate of zero, so this "
            "call of partial_fit changed nothing. Increase max_iter, or use a schedule without an end.",
            ConvergenceWarning,
        )


def _what_helps(recipe: Recipe) -> str:
    if recipe.optimizer.full_batch:
        return "Increase max_iter, or raise tol."
    early = "" if recipe.keep_best else "early_stopping=True ends at the best score of held-out rows, and "
    return f"Increase max_iter, or let training end by itself: {early}schedule='cosine' ends at a rate of zero."


def _of_the_target(training: Training) -> str:
    assert isinstance(training.rows, Rows | StreamedRows)
    y = in_double(training.rows.y)
    deviations, means = torch.std_mean(y, 0, correction=0)
    mean, spread = max(map(abs, means.tolist())), max(deviations.tolist())
    near = mean <= LARGE_SPREAD * max(1.0, spread) and 1 / LARGE_SPREAD <= spread <= LARGE_SPREAD
    if near or spread == 0 or training.recipe.loss.out_activation() != "identity":
        return ""
    return (
        f" The target has a mean of about {mean:.2g} and a standard deviation of about {spread:.2g}: "
        "standardize_target=True makes them zero and one."
    )
