"""Who trains an estimator: this process alone, it and the other ranks of a launch, or workers that it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from skbig.backends.meeting import others_needed
from skbig.backends.single import SingleDevice
from skbig.data.rows import Rows
from skbig.data.streamed_rows import StreamedRows
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.engine.fingerprint import fingerprint
from skbig.engine.members import Members
from skbig.engine.ranks import Ranks
from skbig.engine.recipe import Recipe
from skbig.engine.state_dict import state_dict
from skbig.engine.train import Observer, Training, Validated, nothing
from skbig.engine.train import Validation as AnyValidation
from skbig.estimators.checkpointing import Saver
from skbig.estimators.declaration import identifying_parameters
from skbig.estimators.given import Given
from skbig.estimators.identity import text_or_type
from skbig.estimators.prediction import blocks_of, raw_predictions
from skbig.estimators.search_context import inside_candidate
from skbig.estimators.validation import Validation
from skbig.exceptions import DivergenceError

T = TypeVar("T")

SAMPLED_ROWS = 1000
"""So many rows of X are compared between ranks; targets and weights are compared all."""


@dataclass(frozen=True)
class Errand:
    """What a team is to train.

    Attributes
    ----------
    training : Training
    backend : SingleDevice
        In which numbers, and on what kind of device.
    targets : ClassTargets or RegressionTargets
    held : dict of Given, or None
        The checked validation rows, by the name of each set.
    saver : Saver or None
        The observer that writes checkpoints.
    """

    training: Training
    backend: SingleDevice
    targets: Any
    held: dict[str, Given] | None
    saver: Saver | None


class Team(Protocol):
    """Trains what has been prepared."""

    def device(self, chosen: torch.device) -> torch.device:
        """Return what is trained on, where the estimator's parameter stands for the `chosen` one."""
        ...

    def home(self, backend: SingleDevice) -> SingleDevice:
        """Return where this process itself puts rows and members."""
        ...

    def first(self, function: Callable[[], T]) -> T:
        """Return what a function returns in the process that decides."""
        ...

    def train(self, errand: Errand, observers: Sequence[Observer]) -> None:
        """Train in place."""
        ...


class Alone:
    """One process: the one that calls `fit`."""

    def device(self, chosen: torch.device) -> torch.device:
        return chosen

    def home(self, backend: SingleDevice) -> SingleDevice:
        return backend

    def first(self, function: Callable[[], T]) -> T:
        return function()

    def train(self, errand: Errand, observers: Sequence[Observer]) -> None:
        Training.run(errand.training, observers)


ALONE = Alone()


class Joined:
    """The ranks of a launch by others, each of which calls `fit` with the same arguments."""

    def __init__(self, ranks: Ranks, estimator: Any) -> None:
        self.ranks, self._estimator = ranks, estimator
        if inside_candidate():
            raise ValueError(
                f"backend={estimator.backend!r} joins the other ranks of this launch, and a search of skbig trains "
                "several fits at a time, in no order on which ranks could agree. Use backend=None within a search."
            )

    def device(self, chosen: torch.device) -> torch.device:
        del chosen  # the launch has given this rank its own
        return self.ranks.device

    def home(self, backend: SingleDevice) -> SingleDevice:
        return replace(backend, device=torch.device("cpu")) if self.ranks.shares_parameters else backend

    def first(self, function: Callable[[], T]) -> T:
        with others_needed():
            return self.ranks.first(function)

    def train(self, errand: Errand, observers: Sequence[Observer]) -> None:
        with others_needed():
            check_alike(errand.training, self._estimator, self.ranks)
            check_parts(errand.training.recipe, self.ranks.sync_every, self.ranks.n_ranks)
            train_as_rank(errand.training, self.ranks, observers)


def train_as_rank(training: Training, ranks: Ranks, observers: Sequence[Observer], *, everywhere: bool = True) -> None:
    """Train as one of several ranks; observers are told in rank 0.

    Where ranks hold parts of the parameters, all of them, or rank 0 alone, have the whole in the end.
    """
    training.ranks = ranks
    if isinstance(training.validation, Validation):
        training.validation = RankedValidation(training, ranks)
    if not ranks.shares_parameters:
        Training.run(training, observers)
        return
    from skbig.engine.sharding import Shard  # here, for torch needs a second to load what only this needs

    shard = Shard(training, ranks)
    ranks.help, training.catch_up = shard.bring_up_to_date, ranks.ask_for_help
    try:
        shard.part.run([shard.count, *observers])
    except Exception as error:
        if is_everybodys(error, ranks):
            shard.bring_up_to_date(everywhere)
        raise
    finally:
        training.catch_up = nothing
    shard.bring_up_to_date(everywhere)


def is_everybodys(error: Exception, ranks: Ranks) -> bool:
    """Whether all ranks have met an error, or this one alone."""
    return error is ranks.failure or isinstance(error, DivergenceError)


class RankedValidation:
    """Validation rows of which each rank predicts a part; rank 0 scores them all, and its scores are everybody's."""

    def __init__(self, training: Training, ranks: Ranks) -> None:
        assert isinstance(training.validation, Validation)
        self._training, self._validation, self._ranks = training, training.validation, ranks
        # From the memory of the host, where the whole model is.
        self._validation.sets = [replace(one, rows=one.rows.to(ranks.device)) for one in self._validation.sets]
        self.more = self._validation.more

    def __call__(self, members: Members, recipe: Recipe) -> Validated:
        raws = [self._predict(members, one.rows) for one in self._validation.sets]
        self._ranks.beat()

        def evaluated() -> Validated:
            whole, own = members, recipe
            if self._ranks.shares_parameters and self._validation.needs_models:
                self._training.catch_up()
                whole, own = self._training.members, self._training.recipe
            return self._validation.evaluate_all([raw for raw in raws if raw is not None], whole, own)

        return self._ranks.first(evaluated)

    def together(self, trainings: Sequence[Training]) -> AnyValidation:
        return self._validation.together(trainings)

    def _predict(self, members: Members, rows: Rows) -> torch.Tensor | None:
        """Return the raw predictions (M, N, K) in rank 0."""
        if not self._ranks.shares_rows:
            return raw_predictions(members.network, members.parameters, members.statistics, rows.X)
        start, stop = self._ranks.own_rows(rows.n_rows)
        own = rows.X.take(np.arange(start, stop)) if isinstance(rows.X, LazyRows) else rows.X[start:stop]
        in_blocks = self._blocks_in_step if self._ranks.shares_parameters else blocks_of
        raw = raw_predictions(members.network, members.parameters, members.statistics, own, in_blocks)
        return self._ranks.gathered(raw, rows.n_rows)

    def _blocks_in_step(self, X: Any, n_rows: int) -> Iterator[tuple[int, Any]]:
        """Yield as many blocks as any rank has: it takes all of them to put the parameters together for one."""
        blocks = blocks_of(X, n_rows)
        none = (X.shape[0], X[:0] if isinstance(X, torch.Tensor) else np.empty((0, X.shape[1]), X.dtype))
        while True:
            block = next(blocks, None)
            if not self._ranks.add_up(torch.tensor([float(block is not None)], device=self._ranks.device)):
                return
            yield none if block is None else block


def check_parts(recipe: Recipe, sync_every: int, n_workers: int) -> None:
    """Raise ValueError when a part would be too small to be a batch of its own."""
    alone = sync_every > 1 and recipe.network.couples_rows
    if alone and recipe.batch_size < 2 * n_workers:
        raise ValueError(
            f"normalization='batch' with sync_every={sync_every} needs two rows of a batch or more for each of "
            f"{n_workers} workers, and batch_size is {recipe.batch_size}. Use a larger batch_size, or sync_every=1."
        )


# Do all ranks mean the same?


def check_alike(training: Training, estimator: Any, ranks: Ranks) -> None:
    """Raise ValueError, in all ranks, unless all were given the same.

    Each rank may have been handed rows of its own, as is usual elsewhere; training would go wrong without a word.
    """
    given = ranks.everybodys(_identity(training, estimator))
    for rank, other in enumerate(given):
        different = [name for name, value in given[0].items() if other.get(name) != value]
        if different:
            raise ValueError(
                f"All ranks must call fit with the same rows and parameters; every rank then computes its part of each "
                f"batch. Rank {rank} got another {', '.join(different)} than rank 0."
            )


def _identity(training: Training, estimator: Any) -> dict[str, str]:
    """What must be the same in all ranks, as texts by name."""
    arrays, facts = state_dict(training)
    compared = identifying_parameters(estimator) | {"backend": estimator.backend}
    texts = {name: text_or_type(value) for name, value in compared.items()}
    texts["state of the training"] = fingerprint(*(arrays[name] for name in sorted(arrays)), str(facts["counts"]))
    rows = training.rows
    assert isinstance(rows, Rows | StreamedRows)
    if isinstance(rows, Rows):
        X = rows.X[:: max(1, rows.n_rows // SAMPLED_ROWS)]
        texts["X"] = fingerprint(X.cpu().numpy() if isinstance(X, torch.Tensor) else X)
    texts["y"] = fingerprint(rows.y.cpu().numpy())
    weight = None if rows.weight is None else rows.weight.cpu().numpy()
    texts["sample_weight"] = fingerprint(weight, rows.mean_weight)
    return texts
