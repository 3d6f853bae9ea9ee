"""A fit in a launch by others: all ranks call `fit` with the same arguments, and train together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from skbig._utils.device import SingleDevice
from skbig.data.rows import Rows
from skbig.data.streamed_rows import StreamedRows
from skbig.distributed.ranks import Ranks
from skbig.engine.fingerprint import fingerprint
from skbig.engine.state_dict import state_dict
from skbig.engine.train import Observer
from skbig.estimators.declaration import identifying_parameters
from skbig.estimators.estimator_training import EstimatorTraining
from skbig.estimators.identity import text_or_type
from skbig.estimators.rank_training import check_batches, train_as_rank
from skbig.estimators.search_context import inside_candidate
from skbig.launch.failure_report import others_needed

T = TypeVar("T")

SAMPLED_ROWS = 1000
"""So many rows of X are compared between ranks; targets and weights are compared all."""


class JoinedFitRunner:
    """The ranks of a launch by others, each of which calls `fit` with the same arguments."""

    stacks = False

    def __init__(self, ranks: Ranks, estimator: Any) -> None:
        self._ranks = ranks
        if inside_candidate():
            raise ValueError(
                f"backend={estimator.backend!r} joins the other ranks of this launch, and a search of skbig trains "
                "several fits at a time, in no order on which ranks could agree. Use backend=None within a search."
            )

    def device(self, chosen: torch.device) -> torch.device:
        del chosen  # the launch has given this rank its own
        return self._ranks.device

    def home(self, backend: SingleDevice) -> SingleDevice:
        return replace(backend, device=torch.device("cpu")) if self._ranks.shares_parameters else backend

    def first(self, function: Callable[[], T]) -> T:
        with others_needed():
            return self._ranks.first(function)

    def train(self, training: EstimatorTraining, observers: Sequence[Observer]) -> None:
        with others_needed():
            check_alike(training, self._ranks)
            check_batches(training.recipe, self._ranks.sync_every, self._ranks.n_ranks)
            train_as_rank(training, self._ranks, observers)


def check_alike(training: EstimatorTraining, ranks: Ranks) -> None:
    """Raise ValueError, in all ranks, unless all were given the same.

    Each rank may have been handed rows of its own, as is usual elsewhere; training would go wrong without a word.
    """
    if difference := ranks.difference(_identity(training)):
        raise ValueError(
            "All ranks must call fit with the same rows and parameters; every rank then computes its part of each "
            f"batch. {difference}."
        )


def _identity(training: EstimatorTraining) -> dict[str, str]:
    """What must be the same in all ranks, as texts by name."""
    estimator: Any = training.estimator
    arrays, facts = state_dict(training)
    compared = identifying_parameters(estimator) | {"backend": estimator.backend}
    texts = {name: text_or_type(value) for name, value in compared.items()}
    texts["state of the training"] = fingerprint(*(arrays[name] for name in sorted(arrays)), str(facts["counts"]))
    rows = training.rows
    assert isinstance(rows, Rows | StreamedRows)
    if isinstance(rows, Rows):
        X = rows.features(slice(None, None, max(1, rows.n_rows // SAMPLED_ROWS)))
        texts["X"] = fingerprint(X.cpu().numpy() if isinstance(X, torch.Tensor) else X)
    texts["y"] = fingerprint(rows.y.cpu().numpy())
    weight = None if rows.weight is None else rows.weight.cpu().numpy()
    texts["sample_weight"] = fingerprint(weight, rows.mean_weight)
    return texts
