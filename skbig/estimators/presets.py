"""What the estimators of tables choose by themselves: by the preset, and by how many rows there are.

How the numbers were found: docs/guide/raw_tables.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skbig.components.clipping import ClipNorm
from skbig.components.optimizers.adam import AdamW
from skbig.components.schedules.annealing import Cosine
from skbig.estimators.choices import Choices
from skbig.estimators.inputs import is_sparse
from skbig.estimators.validation_sets import FOLDS

MIN_ROWS_TO_JUDGE = 50
"""With fewer rows none are held out: too few would say which epoch is best."""

SMALL_ROWS = 1000
"""So many rows or fewer are computed in float64 on a CPU: it takes no longer."""

MAX_EMBEDDED = 128
"""More numbers than so many are not embedded: what they become would not be wider than they are many."""


@dataclass(frozen=True)
class Preset:
    """What a preset chooses.

    Attributes
    ----------
    n_members : int
    hidden_layer_sizes : tuple of int
    passes : float
        How many epochs a table of 10,000 rows gets; a smaller one more, a larger one fewer.
    for_classes : bool
    dropout : float
        Of a regressor in the last hidden layer only: before others, what it does to the spread of sums shifts what is
        predicted.
    narrow : tuple of int or None
        Units of each hidden layer where more do not pay: of two classes, for which twice the time gains up to three per
        cent here and loses one or two there; of sparse rows, of which mostly the first layer takes time; of few rows,
        or calls of `partial_fit`. None is `hidden_layer_sizes`.
    """

    n_members: int
    hidden_layer_sizes: tuple[int, ...]
    passes: float
    for_classes: bool
    dropout: float = 0.1
    narrow: tuple[int, ...] | None = None


OF_CLASSES = {
    "fast": Preset(2, (128, 128), 28, True),
    "default": Preset(8, (256, 256), 40, True, narrow=(128, 128)),
    "best": Preset(24, (256, 256), 64, True),
}
OF_NUMBERS = {
    "fast": Preset(2, (128, 128), 28, False, dropout=0.0),
    "default": Preset(8, (128, 128), 40, False),
    "best": Preset(24, (256, 256), 64, False),
}

COMPONENTS: Mapping[str, Any] = {
    "optimizer": AdamW(betas=(0.9, 0.95), weight_decay=0.01),
    "schedule": Cosine(),
    "clipping": ClipNorm(1.0),
}
"""What "auto" stands for where a parameter is a component."""

RATE = 0.004

MAX_BINS = 128
"""Of a number, where rows are many."""

FEW_ROWS = 2_000
"""Up to so many, members are more and smaller, and learned functions of numbers begin as straight lines."""

FOLDED_ROWS = 50_000
"""Up to so many, each member holds out rows of its own; of more, all hold out a tenth: it is not missed."""

MIN_FOLDS = 5
"""As many members it takes for that: of fewer each would read too few rows."""

OF_FEW_ROWS: Mapping[str, Any] = {"n_members": 8, "hidden_layer_sizes": (64, 64), "passes": 28}
"""What every preset chooses then: more members, whose parts are smaller, more units or epochs were no better."""

DROPOUT_OF_FEW_ROWS = 0.3
"""Of classes; few rows are learnt by heart sooner. Numbers are learnt without."""

FEW_LEVELS = 32
"""A number of up to so many levels has a place for each, where rows are few."""


def in_folds(preset: Preset, choices: Choices, X: Any, n_members: str | int) -> bool:
    """Whether each of the members holds out rows of its own, where the user leaves that open."""
    if choices["early_stopping"] not in ("auto", FOLDS) or not isinstance(X, np.ndarray):
        return False
    if isinstance(n_members, str):
        n_members = OF_FEW_ROWS["n_members"] if len(X) <= FEW_ROWS else preset.n_members
    alone = choices.backend is None and choices.privacy is None
    return alone and int(n_members) >= MIN_FOLDS and len(X) <= FOLDED_ROWS


def of_few_rows(preset: Preset) -> Preset:
    """Return what a preset chooses of few rows, of which each member holds out some of its own."""
    return replace(preset, dropout=DROPOUT_OF_FEW_ROWS if preset.for_classes else 0.0, **OF_FEW_ROWS)


def narrowed(preset: Preset) -> Preset:
    """Return what a preset chooses where more units do not pay."""
    return replace(preset, hidden_layer_sizes=preset.narrow or preset.hidden_layer_sizes)


def n_members(preset: Preset, X: Any, *, folds: bool) -> int:
    """Return how many networks are trained: enough to read most rows, where each holds out rows of its own."""
    if folds:
        return max(MIN_FOLDS, preset.n_members)
    return 1 if is_sparse(X) else preset.n_members


def n_bins(n_rows: int, *, incremental: bool) -> int:
    """Return how many bins a number has: fewer where a bin would have few rows, all of which are there."""
    return MAX_BINS if incremental else max(8, min(MAX_BINS, n_rows // 16))


def few_levels(n_rows: int, *, incremental: bool) -> int:
    """Return up to how many levels of a number have a place of their own, where there are fewer bins."""
    return 0 if incremental else min(FEW_LEVELS, n_rows // 8)


def batch_size(n_rows: int) -> int:
    """Return how many rows a batch has."""
    for size, limit in ((32, 1_500), (64, 3_000), (128, 6_000), (256, 50_000), (512, 200_000)):
        if n_rows <= limit:
            return size
    return 1024


def n_epochs(preset: Preset, n_rows: int) -> int:
    """Return how many epochs a training has: fewer where there are more rows."""
    return round(max(preset.passes / 4, preset.passes * min(2.0, (10_000 / n_rows) ** 0.5)))
