"""Vectors of texts by a model that is not changed, made once for all fits that read the same texts.

Legend: N texts, D numbers of a vector.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from skbig._utils.device import choose_device, plain_torch
from skbig.pretrained.base import Base
from skbig.pretrained.cache import memory_of, through
from skbig.text.encoder import text_vectors
from skbig.text.models import TextModel, read_text_model

KEPT_BYTES = 2**28
"""How large the vectors may be that are kept in memory."""

ROWS_AT_ONCE = 32

_KEPT: OrderedDict[str, np.ndarray] = OrderedDict()
_CHANGING = threading.Lock()


def vectors_once(base: Base, tokens: Sequence[np.ndarray], pooling: str, device: str, cache: Any) -> np.ndarray:
    """Return the vectors (N, D) of texts, from memory or from the cache where the same were asked for before.

    Candidates of a search ask for those of the same folds. They are kept call by call: what is computed together
    changes the last bits, and the same fit must give the same ones.
    """
    key = _key(base, tokens, pooling, device)
    with _CHANGING:
        known = _KEPT.get(key)
        if known is not None:
            _KEPT.move_to_end(key)
            return known
    vectors = through(memory_of(cache), key, lambda: _made(base, tokens, pooling, device))
    with _CHANGING:
        _KEPT[key] = vectors
        while sum(each.nbytes for each in _KEPT.values()) > KEPT_BYTES:
            _KEPT.popitem(last=False)
    return vectors


def _made(base: Base, tokens: Sequence[np.ndarray], pooling: str, device: str) -> np.ndarray:
    model: TextModel = base.loaded("text", read_text_model)
    with plain_torch(), torch.no_grad():
        made = text_vectors(model, tokens, pooling, ROWS_AT_ONCE, choose_device(device), torch.float32)
    return np.asarray(made.numpy())


def _key(base: Base, tokens: Sequence[np.ndarray], pooling: str, device: str) -> str:
    digest = hashlib.sha256(repr((base.fingerprint, pooling, choose_device(device).type, len(tokens))).encode())
    for own in tokens:
        digest.update(len(own).to_bytes(8, "little") + own.tobytes())
    return digest.hexdigest()
