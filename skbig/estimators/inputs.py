"""From what a user hands to `fit` to what the training loop takes: functions of values, nothing is kept.

Legend: N rows, F features, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import torch

from skbig._utils.device import SingleDevice
from skbig._utils.memory import memory_of, readable
from skbig._utils.random import Purpose, generator, member_seeds
from skbig._utils.user_warning import warn_user
from skbig.components.optimizers.base import Optimizer
from skbig.components.param_groups import groups_of
from skbig.data.array_rows import ArrayRows
from skbig.data.rows import Rows, dense_if_small, place_rows
from skbig.data.split import distinct, split
from skbig.data.streamed_rows import StreamedRows, stream_rows
from skbig.data.streaming.host_rows import fits, left_on_host
from skbig.data.streaming.lazy_rows import LazyRows
from skbig.data.tensor_rows import TensorRows, rows_of
from skbig.engine.members import Members, make_members
from skbig.engine.recipe import Recipe
from skbig.estimators.choices import Choices
from skbig.estimators.given import Given
from skbig.networks.network import BuiltNetwork

FEW_NUMBERS = 2**20
"""So many parameters fit in the memory of any machine."""


def input_dtypes(device: torch.device, precision: str) -> list[Any]:
    """The dtypes that X may keep: on a CPU those of the input, else the one that is computed in.

    The cast is scikit-learn's, which reports a value that is too large for it.
    """
    if precision == "auto" and device.type == "cpu":
        return [np.float64, np.float32]
    return [np.float64] if precision == "float64" else [np.float32]


def is_sparse(X: Any) -> bool:
    """Whether checked rows, in memory or elsewhere, are sparse."""
    return X.is_sparse if isinstance(X, LazyRows | ArrayRows) else not isinstance(X, np.ndarray | TensorRows)


def placed(
    given: Given, y: Any, home: SingleDevice, *, at_once: bool, row_lengths: np.ndarray | None = None
) -> Rows | StreamedRows:
    """Put checked rows, with encoded targets, on a device, or prepare to read them from where they lie.

    They lie in a file, or on the host if they are too many for the device and are not read all `at_once`.
    """
    X, device, dtype = given.X, home.device, home.dtype
    if not isinstance(X, LazyRows) and not at_once and not fits(X, device, dtype):
        X = left_on_host(X, dtype)
    if isinstance(X, LazyRows):
        row_dtype = X.dtype if X.dtype.kind in "iub" else None
        return stream_rows(X.source, y, given.weight, device, dtype, rows=X.rows, row_dtype=row_dtype)
    return place_rows(dense_if_small(X), y, given.weight, device, dtype, keep_whole=True, row_lengths=row_lengths)


def seeds_of(random_state: Any, n_members: int) -> list[int]:
    """Return a seed per member; None takes fresh entropy, so that NumPy's global generator stays as it was."""
    if random_state is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    elif isinstance(random_state, np.random.RandomState):
        seed = int(random_state.randint(2**31 - 1))
    else:
        seed = int(random_state)
    return member_seeds(seed, n_members)


def hold_out(given: Given, fraction: float, seed: int, stratify: bool) -> tuple[Given, Given]:
    """Split rows into training and validation rows, with the classes' proportions kept where asked for."""
    n_rows = given.X.shape[0]
    labels = given.y.reshape(-1) if stratify else None
    try:
        parts = split(n_rows, fraction, generator(seed, Purpose.SPLIT), labels)
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True cannot hold out validation_fraction={fraction} of {n_rows} rows: "
            f"{error}. Change validation_fraction, or pass X_val and y_val to fit."
        ) from None
    if len(parts[1]) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset. "
            f"Got {len(parts[1])} of {n_rows} rows."
        )
    if labels is not None:
        _warn_of_rare_classes(labels, rows_of(labels, parts[1]))
    return given.select(parts[0]), given.take(parts[1])


def _warn_of_rare_classes(labels: Any, held: Any) -> None:
    """Warn where a class has so few rows that none can be held out."""
    classes, counts = distinct(labels)
    if counts.min() > 1 and len(held) >= len(classes):
        return
    rare = np.setdiff1d(classes, distinct(held)[0])
    warn_user(
        f"early_stopping=True holds out {len(held)} rows, and none of {len(rare)} class(es) with few rows, as "
        f"{rare[:5].tolist()}: they are trained on, and not validated."
    )


def check_memory(
    network: BuiltNetwork, n_members: int, optimizer: Optimizer, home: SingleDevice, *, averaged: bool = False
) -> None:
    """Raise MemoryError when the members cannot fit, whatever else is in memory: before any is made.

    They need their parameters, the gradient and the optimizer's state at the same time.
    """
    n_numbers = n_members * sum(map(prod, network.shapes.values()))
    if n_numbers <= FEW_NUMBERS:  # to ask for the memory takes as long as a step of a small network
        return
    states = 0 if optimizer.full_batch else len(optimizer.init(torch.zeros(1, 1, 1)))
    wanted = n_numbers * home.dtype.itemsize * (2 + states + averaged)
    there = memory_of(home.device)
    if wanted > there:
        raise MemoryError(
            f"{n_numbers:,} parameters of {n_members:,} network(s), {network.network!r}, need {readable(wanted)} of "
            f"memory, with their gradient and the optimizer's state, and the device '{home.device}' has "
            f"{readable(there)}. Reduce hidden_layer_sizes or n_members."
        )


def make_recipe(
    choices: Choices, backend: SingleDevice, network: BuiltNetwork, X: Any, *, one_epoch: bool, judged: bool
) -> Recipe:
    """Put the resolved choices and the shape of the data together."""
    n_rows = X.shape[0]
    _check_memory(choices, X)
    batch_size = n_rows if choices.optimizer.full_batch else _batch_rows(choices["batch_size"], n_rows)
    if batch_size == 1 and network.couples_rows:
        raise ValueError(
            "A batch norm needs batches of two rows or more: a row less its own mean is zero. Use a larger batch_size, "
            "or another normalization."
        )
    return Recipe(
        network=network,
        loss=choices.loss,
        penalty=choices.penalty,
        optimizer=choices.optimizer,
        schedule=choices.schedule,
        clipping=choices.clipping,
        augmentation=choices.augmentation,
        average=choices.average,
        alpha=float(choices["alpha"]),
        rate=choices.rate,
        batch_size=batch_size,
        max_epochs=1 if one_epoch else choices["max_iter"],
        schedule_epochs=choices["max_iter"],
        max_time=choices["max_time"],
        shuffle=bool(choices["shuffle"]),
        tol=choices["tol"],
        patience=choices["n_iter_no_change"],
        keep_best=bool(choices["early_stopping"]) and judged,
        param_groups=groups_of(choices["param_groups"], network.roles),
        bf16=backend.bf16,
        rows_at_once=choices.parameters.get("rows_at_once"),
        fedprox=float(choices["fedprox"]),
    )


def _check_memory(choices: Choices, X: Any) -> None:
    """Refuse what needs dense rows, or all rows in memory, where X is not so."""
    if choices.augmentation is not None and is_sparse(X):
        raise ValueError(
            f"augmentation={choices['augmentation']!r} needs dense rows, and X is sparse. Use X.toarray()."
        )
    if choices.augmentation is not None and X.dtype.kind in "iub":
        raise ValueError(
            f"augmentation={choices['augmentation']!r} changes numbers by parts, and the network takes whole ones "
            f"({X.dtype}). Use augmentation=None."
        )
    reads_all = choices.optimizer.full_batch or choices["batch_size"] == "full"
    if reads_all and isinstance(X, LazyRows):
        name, other = ("optimizer", "optimizer='adam'") if choices.optimizer.full_batch else ("batch_size", "a number")
        raise ValueError(
            f"{name}={choices[name]!r} needs all rows in memory, and X is too large to be loaded. Use {other}."
        )


def _batch_rows(batch_size: Any, n_rows: int) -> int:
    if batch_size == "full":
        return n_rows
    if batch_size == "auto":
        return min(200, n_rows)
    if batch_size > n_rows:
        warn_user(
            f"Got `batch_size`={batch_size}, larger than the number of rows ({n_rows}). It is going to be clipped."
        )
    return int(min(batch_size, n_rows))


def new_members(recipe: Recipe, backend: SingleDevice, seeds: list[int], arrays: Mapping[str, np.ndarray]) -> Members:
    """Begin with the first parameters and running statistics of each member, (M, *shape) by name."""
    members = make_members(recipe.network, seeds, arrays, backend.device, backend.dtype)
    members.start(recipe.optimizer, recipe.average, anchored=recipe.anchored)
    return members
