"""What makes vectors of images: a vision model of transformers, with what prepares images for it.

Legend: R images, L places of an image, D numbers of a vector, H and W of what a convolution gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skbig.pretrained.loading import load_model, transformers
from skbig.pretrained.quiet import quiet


@dataclass(frozen=True)
class ImageModel:
    """A vision model as it was read from a folder.

    Attributes
    ----------
    processor : object
        transformers' own, which brings images to the size and the range that the model was trained with.
    network : nn.Module
        In float32 on the CPU, ready to predict.
    width : int
        Numbers of a vector.
    has_cls : bool
        Whether the first place stands for the whole image.
    """

    processor: Any
    network: nn.Module
    width: int
    has_cls: bool

    def prepared(self, images: Sequence[np.ndarray]) -> Tensor:
        """Return what the model reads of images (H, W, 3), as one tensor."""
        asked = {"return_tensors": "pt", "input_data_format": "channels_last"}
        pixels: Tensor = self.processor(list(images), **asked)["pixel_values"]
        return pixels


def hidden(network: nn.Module, pixels: Tensor) -> Tensor:
    """Return the vectors of all places, (R, L, D)."""
    result: Tensor = network(pixel_values=pixels).last_hidden_state
    return result.flatten(2).transpose(1, 2) if result.dim() == 4 else result


def read_image_model(folder: Path) -> ImageModel:
    """Return the model of a folder.

    Raises
    ------
    ValueError
        When it cannot be read, or is no model of images.
    """
    processor = _processor(folder)
    network = load_model(folder, "image", "vision_model")
    try:
        with torch.no_grad():  # one grey image tells of the shapes
            grey = np.full((32, 32, 3), 127, np.uint8)
            model = ImageModel(processor, network, 0, False)
            pixels = model.prepared([grey])
            raw = network(pixel_values=pixels.float()).last_hidden_state
    except Exception as error:
        told = str(error).strip().partition("\n")[0]
        raise ValueError(f"The model in {folder} makes no vectors of images: {type(error).__name__}: {told}") from error
    width = raw.shape[1] if raw.dim() == 4 else raw.shape[2]
    has_cls = any(name.rpartition(".")[2] in ("cls_token", "class_embedding") for name, _ in network.named_parameters())
    return ImageModel(processor, network, int(width), has_cls and raw.dim() == 3)


def _processor(folder: Path) -> Any:
    library = transformers("image", "skbig.image")
    with quiet():
        try:
            return library.AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        except Exception as error:
            told = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"The folder {folder} does not say how images are prepared (preprocessor_config.json): "
                f"{type(error).__name__}: {told} Write it there by processor.save_pretrained."
            ) from error
