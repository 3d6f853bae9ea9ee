"""The weighted sums of a dense layer, as it predicts.

Legend: M members, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skbig.networks.dense import Dense
from skbig.networks.layer import Layer
from skbig.networks.linear import LinearLayer
from skbig.networks.normalization import EPSILON


def is_affine(layer: Layer) -> bool:
    """Whether a layer is known to do nothing before its activation but to add up, with weights."""
    return type(layer) is LinearLayer or (type(layer) is Dense and layer.normalization != "layer")


def affine_of(layer: Layer, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight (I, O) and the bias (1, O) of a layer, or those of all members (M, I, O), (M, 1, O).

    Batch norm, by given moments, is in them.
    """
    weight = arrays["weight"]
    bias = arrays.get("bias", np.zeros((*weight.shape[:-2], 1, weight.shape[-1]), weight.dtype))
    if getattr(layer, "normalization", None) == "batch":
        factor = arrays["scale"].astype(float) / np.sqrt(arrays["variance"].astype(float) + EPSILON)
        weight, bias = weight * factor, (bias - arrays["mean"]) * factor + arrays["offset"]
    return weight, bias
