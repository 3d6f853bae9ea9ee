"""Images as they are handed over, checked.

Legend: N images, H rows and W columns of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skbig.estimators.tensors import on_host

Images = Sequence[Any]


def as_images(X: Any, name: str = "X") -> Images:
    """Return a sequence of images, each of which `as_pixels` takes.

    Raises
    ------
    ValueError
        When it is one image alone, holds none, or an image has another shape or another kind of numbers.
    """
    images = on_host(X, name)
    if not isinstance(images, np.ndarray | list | tuple):
        raise ValueError(f"{name} must be an array or a list of images, and is a {type(X).__name__}.")
    if isinstance(images, np.ndarray) and images.ndim not in (3, 4) and images.dtype != object:
        raise ValueError(
            f"{name} must hold images, of shape (n, height, width) or (n, height, width, 3), and has the shape "
            f"{images.shape}. {_shape_hint(images)}"
        )
    if not len(images):
        raise ValueError(f"{name} must hold at least one image, and has 0 rows.")
    if isinstance(images, np.ndarray) and images.dtype != object:
        _check_shape(images[0], 0, name)  # all are alike
        _check_numbers(images, "The images", name)
    else:
        for i, image in enumerate(images):
            pixels = _array(image, i, name)
            _check_shape(pixels, i, name)
            _check_numbers(pixels, f"Image {i}", name)
    found: Images = images
    return found


def as_pixels(image: Any) -> np.ndarray:
    """Return a checked image as whole numbers up to 255 in three colours, (H, W, 3) of uint8."""
    pixels = _array(image, 0, "X")
    if pixels.dtype.kind == "f":
        pixels = np.rint(pixels * 255.0)
    pixels = pixels.astype(np.uint8, copy=False)
    grey = pixels if pixels.ndim == 3 else pixels[..., None]
    return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey


def _array(image: Any, i: int, name: str) -> np.ndarray:
    """Return an image as an array; one of PIL in three colours."""
    if hasattr(image, "convert") and hasattr(image, "getbands"):
        return np.asarray(image.convert("RGB"))
    if isinstance(image, str | bytes) or hasattr(image, "__fspath__"):
        raise ValueError(f"Image {i} of {name} is a path. Open it: PIL.Image.open(path).")
    try:
        return np.asarray(image)
    except ValueError as error:
        raise ValueError(f"Image {i} of {name} is no array: {error}") from error


def _check_shape(pixels: np.ndarray, i: int, name: str) -> None:
    colours = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or colours not in (1, 3) or 0 in pixels.shape:
        raise ValueError(
            f"Image {i} of {name} must have the shape (height, width), (height, width, 1) or (height, width, 3), and "
            f"has {pixels.shape}. {_colour_hint(pixels)}".rstrip()
        )


def _check_numbers(pixels: np.ndarray, what: str, name: str) -> None:
    if pixels.dtype == np.uint8:
        return
    kind, got = pixels.dtype.kind, f"dtype {pixels.dtype}"
    if kind in "uif":
        low, high = pixels.min(), pixels.max()
        if low >= 0 and high <= (1 if kind == "f" else 255):
            return
        got = f"values from {low:g} to {high:g}"
    raise ValueError(
        f"{what} of {name} must hold whole numbers from 0 to 255, or real ones from 0 to 1. Got {got} instead. Scale "
        "them, as by X / X.max()."
    )


def _shape_hint(X: np.ndarray) -> str:
    if X.ndim == 2:
        return "Rows of pixels become images by X.reshape(len(X), height, width); one image alone by X[None]."
    return "One image is (height, width, 3)."


def _colour_hint(pixels: np.ndarray) -> str:
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3):
        return "The colours come last: np.moveaxis(image, 0, -1)."
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return "Leave out the transparency: image[..., :3]."
    return ""
