"""A step of a Pipeline that makes vectors of images."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skbig.estimators.declaration import estimator
from skbig.image.images import Images, as_images, as_pixels
from skbig.image.models import ImageModel, hidden, read_image_model
from skbig.pretrained.base import Base
from skbig.pretrained.encoder import Encoder, in_batches
from skbig.pretrained.pooling import pooled


@estimator
class ImageEncoder(Encoder):
    """Vectors of images, by a pretrained model that is not changed.

    What the model knows of pictures serves any estimator behind it, above all where there are few labelled ones.
    Nothing is learnt from the images, so vectors may be made once, before a cross-validation.

    The model is one of Hugging Face's transformers (ViT, DINOv2, ConvNeXt, ResNet, half of CLIP, ...), and is
    given images as it was trained with them: scaled, cut and normalised by its own processor, without torchvision. A
    pickle holds where the model lies and its hash, and none of its weights.

    Images are an array of shape (n, height, width) or (n, height, width, 3), or a list of such images, of any sizes,
    or of PIL's; of whole numbers from 0 to 255, or of real ones from 0 to 1.

    Parameters
    ----------
    ...

    Attributes
    ----------
    folder_ : str
        Where the model was found.
    fingerprint_ : str
        Hash of its files.

    See Also
    --------
    skbig.text.TextEncoder : The same for texts.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skbig.image import ImageEncoder
    >>> from skbig.testing import tiny_image_model
    >>> images = load_digits().images[:50] / 16.0  # (50, 8, 8), from 0 to 1
    >>> encoder = ImageEncoder(tiny_image_model("model"))  # in your work a trained model
    >>> encoder.fit_transform(images).shape
    (50, 32)
    """

    _extra = "image"

    def _rows(self, X: Any) -> Images:
        return as_images(X)

    def _width_of(self, base: Base, folder: Path) -> int:
        model: ImageModel = base.loaded("image", read_image_model)
        if self.pooling == "cls" and not model.has_cls:
            raise ValueError(
                "pooling='cls' takes the vector of a first place that stands for the whole image, and the model in "
                f"{folder} has none. Use pooling='mean'."
            )
        return model.width

    def _key(self, rows: Images) -> str:
        facts = (self.fingerprint_, self.pooling, bool(self.normalize), self.dtype, len(rows))
        digest = hashlib.sha256(repr(facts).encode())
        for image in rows:
            pixels = as_pixels(image)
            digest.update(f"{pixels.shape}".encode() + hashlib.sha256(pixels.tobytes()).digest())
        return digest.hexdigest()

    def _vectors(self, rows: Images, base: Base, folder: Path, device: torch.device) -> torch.Tensor:
        model: ImageModel = base.loaded("image", read_image_model)
        dtype = self._compute_dtype
        place = (device, dtype) != (torch.device("cpu"), torch.float32)
        network = copy.deepcopy(model.network).to(device, dtype) if place else model.network

        def encode(which: np.ndarray) -> torch.Tensor:
            pixels = model.prepared([as_pixels(rows[i]) for i in which]).to(device, dtype)
            vectors = hidden(network, pixels)
            return pooled(vectors, vectors.new_ones(vectors.shape[:2], dtype=torch.bool), self.pooling)

        return in_batches(len(rows), self.batch_size, np.arange(len(rows)), model.width, encode)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags
