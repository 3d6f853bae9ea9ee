"""The laws of losses.

Legend: M members, two here; R rows; K columns. raw is [M,R,K]; targets are [M,R,K], or [M,R] for three classes or more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from skbig.components.losses.base import Loss
from skbig.testing.laws import Blindfold, Run, check_gradient, check_members, expect, normal, same


def check_loss(loss: Loss) -> None:
    """Check a loss on each task that it is made for."""
    for raw, y in _workable_tasks(loss):
        _check_rows(loss, raw, y)
        _check_gradient(loss, raw, y)
        check_members(loss, _rows_of(raw, y), "loss")
        _check_prediction(loss, raw, multiclass=y.dim() < raw.dim())


def _rows_of(raw: Tensor, y: Tensor) -> Run:
    """Return a run that casts what is no class index."""
    return lambda some, members, dtype: some.per_row(
        raw[members].to(dtype), y[members].to(dtype if y.is_floating_point() else y.dtype)
    )


def _check_rows(loss: Loss, raw: Tensor, y: Tensor) -> None:
    before = raw.clone(), y.clone()
    rows = loss.per_row(raw, y)
    expect(rows.shape == raw.shape[:2], loss, "must return one loss per row, of shape [M, R].")
    expect(rows.isfinite().all(), loss, "must be finite.")
    unchanged = torch.equal(raw, before[0]) and torch.equal(y, before[1])
    expect(unchanged, loss, "must not change the raw prediction or the targets.")
    expect(same(loss.per_row(raw[0], y[0]), rows[0]), loss, "must take a member alone, of shape [R, K], too.")
    other_raw, other_y = before
    other_raw[:, 0], other_y[:, 0] = raw[:, 1], y[:, 1]
    others = loss.per_row(other_raw, other_y)[:, 1:]
    expect(same(others, rows[:, 1:]), loss, "must not let the loss of a row depend on another row.")


def _workable_tasks(loss: Loss) -> list[tuple[Tensor, Tensor]]:
    """Return raw predictions and targets of each task that the loss takes."""
    tasks, errors = [], []
    for raw, y in _class_tasks() if loss.for_classes else _regression_tasks(loss):
        try:
            loss.per_row(raw, y)
        except NotImplementedError:
            raise
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            tasks.append((raw, y))
    expect(tasks, loss, f"must work for one task at least: two classes, more, labels, or regression. Got {errors}.")
    return tasks


def _class_tasks() -> Iterator[tuple[Tensor, Tensor]]:
    """Two classes, three labels, three classes."""
    for columns in (1, 3):
        yield normal(2, 6, columns), (normal(2, 6, columns, seed=1) > 0).double()
    yield normal(2, 6, 3), normal(2, 6, 3, seed=1).argmax(-1)


def _regression_tasks(loss: Loss) -> Iterator[tuple[Tensor, Tensor]]:
    """One output and three, with the first targets that the loss finds legal."""
    for columns in (1, 3):
        numbers = normal(2, 6, columns, seed=1)
        raw = normal(2, 6, columns * loss.columns_per_target)
        for y in (numbers, numbers.abs(), numbers.sigmoid()):
            if _has_legal_targets(loss, y.flatten(0, 1).numpy()):
                yield raw, y
                break


def _has_legal_targets(loss: Loss, y: np.ndarray) -> bool:
    try:
        loss.check_targets(y)
    except ValueError:
        return False
    return True


def _check_gradient(loss: Loss, raw: Tensor, y: Tensor) -> None:
    leaf = raw.clone().requires_grad_()
    with torch.enable_grad(), Blindfold(loss, "per_row"):
        rows = loss.per_row(leaf, y)
    expect(rows.requires_grad, loss, "must be differentiable: a formula of torch operations on raw.")
    (gradient,) = torch.autograd.grad(rows.sum(), leaf)
    check_gradient(loss, lambda point: loss.per_row(point, y), raw, gradient)


def _check_prediction(loss: Loss, raw: Tensor, multiclass: bool) -> None:
    if not loss.for_classes:
        prediction = loss.predict(raw)
        n_columns = len(loss.quantiles) or raw.shape[-1] // loss.columns_per_target
        legal = prediction.shape == (*raw.shape[:-1], n_columns) and prediction.isfinite().all()
        expect(legal, loss, "must predict a finite value for every row and target, or quantile.")
        rises = not loss.quantiles or bool((prediction.diff(dim=-1) >= 0).all())
        expect(rises, loss, "must predict quantiles that do not cross.")
        if loss.predicts_std:
            std = loss.std(raw)
            positive = bool((std > 0).all()) and bool(std.isfinite().all())
            expect(
                std.shape == prediction.shape and positive,
                loss,
                "must predict a positive deviation for every prediction.",
            )
    elif loss.probabilistic:
        share = loss.probabilities(raw, multiclass)
        legal = share.shape == raw.shape and ((share >= 0) & (share <= 1)).all()
        expect(legal, loss, "must give probabilities between zero and one, of the shape of raw.")
        complete = not multiclass or same(share.sum(-1), torch.ones_like(share[..., 0]))
        expect(complete, loss, "must give probabilities of several classes that sum to one.")
