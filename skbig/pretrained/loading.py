"""A transformers model is read from its folder, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from skbig._utils.extras import import_extra
from skbig.pretrained.quiet import quiet

UNUSED = ("pooler.", "head.", "classifier.", "decoder.")
"""Beginnings of names that may be missing in a folder: no vector is made with them."""


def transformers(extra: str, needed_by: str) -> Any:
    """Return the library, loaded without a word."""
    with quiet():
        return import_extra("transformers", extra, needed_by)


def load_model(folder: Path, extra: str, part: str) -> nn.Module:
    """Return the encoder of a folder, in float32 and ready to predict.

    Parameters
    ----------
    folder : Path
    extra : str
    part : str
        Which part is taken of a model for texts and images: ``text_model`` or ``vision_model``.

    Raises
    ------
    ValueError
        When it cannot be read, or some of its weights are missing.
    """
    library = transformers(extra, f"skbig.{extra}")
    with quiet():
        try:
            model, report = library.AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
        except Exception as error:
            told = str(error).strip().partition("\n")[0]
            raise ValueError(f"The model in {folder} cannot be read: {type(error).__name__}: {told}") from error
    _check_complete(report, folder)
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    own: nn.Module = getattr(model, part, model).eval().requires_grad_(False)
    return own


def _check_complete(report: dict[str, Any], folder: Path) -> None:
    """Refuse a model of which some weights would be drawn."""
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(UNUSED))
    mismatched = sorted(str(each[0] if isinstance(each, tuple) else each) for each in report["mismatched_keys"])
    if missing or mismatched:
        what = f"lacks the weights {missing[:3]}" if missing else f"has weights of another shape: {mismatched[:3]}"
        raise ValueError(
            f"The model in {folder} {what} ({len(missing) + len(mismatched)} in all), which would begin at random. "
            "Write the whole model by save_pretrained."
        )
