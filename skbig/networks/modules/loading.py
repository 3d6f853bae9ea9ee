"""First weights that are given: of a state dict, or of a safetensors file.

Legend: M members.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skbig.networks.modules.layer import numbers
from skbig.networks.modules.naming import shortened

Arrays = Mapping[str, np.ndarray]


def named_arrays(source: Mapping[str, Any] | str | PathLike[str]) -> dict[str, np.ndarray]:
    """Return the tensors of a state dict, or of a safetensors file, by name; what is no tensor is left out.

    Raises
    ------
    ValueError
        When there is no such file, or it is another one.
    """
    tensors = source if isinstance(source, Mapping) else _read(Path(source))
    return {name: _array(value) for name, value in tensors.items() if isinstance(value, torch.Tensor | np.ndarray)}


def laid_over(first: Arrays, given: Sequence[Arrays], first_names: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return first weights (M, *shape) by name, with those that are given in their place.

    Parameters
    ----------
    first : mapping of ndarray (M, *shape)
        Parameters and buffers as they are drawn.
    given : sequence of mappings of ndarray (*shape)
        Of each member, or one for all.
    first_names : mapping of str
        Every name of a state dict of the module, and that in `first`: tied weights have several.
    name : str
        What errors call the module.

    Raises
    ------
    ValueError
        When no name is known, or a shape is another one.
    """
    known = [{first_names.get(own, own): value for own, value in each.items()} for each in given]
    taken = [own for own in first if own in known[0]]
    missing = [own for own in dict.fromkeys(first_names.values()) if own not in known[0]]
    unexpected = [own for own in given[0] if first_names.get(own, own) not in first]
    if not taken:
        raise ValueError(
            f"init_from has no weights of {name}. Its names are: {shortened(list(given[0]))}. Those of {name} are: "
            f"{shortened(list(first))}."
        )
    for own in taken:
        _check_shape(own, known[0][own], first[own].shape[1:], name)
    if missing or unexpected:
        warnings.warn(_told(name, missing, unexpected), UserWarning, stacklevel=2)
    n_members = len(next(iter(first.values())))
    per_member = known * n_members if len(known) == 1 else known
    return {**first, **{own: _stacked([each[own] for each in per_member], first[own]) for own in taken}}


def _stacked(values: list[np.ndarray], like: np.ndarray) -> np.ndarray:
    """Put the members' arrays together; real numbers keep their precision, others take that of the module."""
    stacked = np.stack(values)
    return stacked if stacked.dtype.kind == like.dtype.kind == "f" else stacked.astype(like.dtype)


def _read(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"init_from={str(path)!r}: there is no such file.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"init_from={str(path)!r} must be a safetensors file: {error}. What torch.save has written is read by "
            "torch.load(path, weights_only=True), and the state dict given as init_from."
        ) from error


def _array(value: Any) -> np.ndarray:
    return numbers(value) if isinstance(value, torch.Tensor) else np.array(value)


def _check_shape(own: str, value: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    if value.shape != shape:
        raise ValueError(
            f"{own} of init_from has the shape {value.shape}, and {name} needs {shape}. Leave it out of the state dict "
            "to begin with drawn numbers."
        )


def _told(name: str, missing: list[str], unexpected: list[str]) -> str:
    text = "init_from does not fit exactly."
    if missing:
        text += f" It lacks {len(missing)} tensor(s) of {name}, which begin as drawn: {shortened(missing)}."
    if unexpected:
        text += f" {len(unexpected)} of its names are not in {name}, and are left out: {shortened(unexpected)}."
    return text
