"""A training as arrays and facts, from which it goes on bit by bit: what a checkpoint holds.

Legend: E epochs, M members.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skbig.components.optimizers.vectors import stacked
from skbig.engine.curve import Curve
from skbig.engine.train import Training

TRACKED = ("best_loss", "best_score", "stalled", "stopped")
FACTS = ("seeds", "counts", "line_search", "looks_again", "elapsed", "stop_reason")


def state_dict(training: Training) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return where a training stands, as copies: arrays by name, and facts that JSON can hold."""
    training.catch_up()
    members, tracker = training.members, training.tracker
    searches = [_parted(storable(search)) for search in members.line_search]
    arrays = {f"members/{name}": _array(tensor) for name, tensor in _tensors(training).items()}
    arrays |= {f"search/{m}/{name}": _array(t) for m, (ts, _) in enumerate(searches) for name, t in ts.items()}
    arrays |= {f"stopping/{name}": np.array(getattr(tracker, name)) for name in TRACKED}
    arrays |= {f"stopping/{name}": _array(value) for name, value in _weights(training).items() if value is not None}
    arrays |= {f"history/{name}": np.array(curve) for name, curve in training.history.curves().items() if curve}
    arrays["rate_scale"] = members.rate_scale.copy()
    facts = {
        "seeds": list(members.seeds),
        "counts": [members.steps, members.epochs, int(members.rows)],
        "line_search": [plain for _, plain in searches],
        "looks_again": tracker.looks_again,
        "elapsed": training.elapsed,
        "stop_reason": training.history.stop_reason,
        "executor": training.history.executor,
    }
    return arrays, facts


def missing_from(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> list[str]:
    """Return the names of what every state dict has, and this one has not."""
    needed = ["members/flat", "rate_scale", *(f"stopping/{name}" for name in TRACKED)]
    return [name for name in FACTS if name not in facts] + [name for name in needed if name not in arrays]


def load_state_dict(training: Training, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Put a training where its state dict was taken; it must have been prepared with the same data and parameters."""
    members, tracker = training.members, training.tracker
    members.beginning = None
    for name, tensor in _tensors(training).items():
        tensor.copy_(torch.from_numpy(np.array(arrays[f"members/{name}"])).view(tensor.shape))
    members.seeds[:] = facts["seeds"]
    members.steps, members.epochs, members.rows = facts["counts"]
    members.rate_scale = np.array(arrays["rate_scale"])
    members.line_search = [_search(arrays, m, plain, members.flat) for m, plain in enumerate(facts["line_search"])]
    for name in TRACKED:
        setattr(tracker, name, np.array(arrays[f"stopping/{name}"]))
    for name in ("best", "latest"):
        values = arrays.get(f"stopping/{name}")
        setattr(tracker, name, None if values is None else torch.from_numpy(np.array(values)).to(members.flat))
    tracker.looks_again = facts["looks_again"]
    training.elapsed = facts["elapsed"]
    stored = {name: arrays.get(f"history/{name}", ()) for name in training.history.curves()}
    training.history.take({name: Curve(np.array(values) for values in curve) for name, curve in stored.items()})
    training.history.stop_reason = facts["stop_reason"]
    training.history.executor = facts.get("executor", "")


def _tensors(training: Training) -> dict[str, Tensor]:
    """Every tensor that a step changes, and the one that it may be held near, by name."""
    members = training.members
    state = {f"state/{i}/{name}": tensor for i, own in enumerate(members.state) for name, tensor in own.items()}
    anchor = {} if members.anchor is None else {"anchor": members.anchor}
    tensors = {"flat": members.flat, **anchor, **members.statistics, **state}
    if members.averaged is not None:
        tensors |= {"averaged/flat": members.averaged.flat}
        tensors |= {f"averaged/{name}": value for name, value in members.averaged.statistics.items()}
    return tensors


def _weights(training: Training) -> dict[str, Tensor | None]:
    return {"best": training.tracker.best, "latest": training.tracker.latest}


def storable(search: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a line search with each tuple of vectors as one tensor."""
    return {name: stacked(value) if _are_vectors(value) else value for name, value in search.items()}


def _are_vectors(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and isinstance(value[0], (Tensor, np.ndarray))


def _parted(search: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Part the state of a line search in tensors and plain values."""
    tensors = {name: value for name, value in search.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in search.items() if name not in tensors}


def _search(arrays: Mapping[str, np.ndarray], m: int, plain: Mapping[str, Any], like: Tensor) -> dict[str, Any]:
    prefix = f"search/{m}/"
    own = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    tensors = {name: torch.from_numpy(np.array(values)).to(like.device) for name, values in own.items()}
    return {**tensors, **plain}


def _array(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy())
