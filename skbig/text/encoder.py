"""A step of a Pipeline that makes vectors of texts."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skbig._utils.validation import COUNT, Options
from skbig.estimators.declaration import estimator, parameter
from skbig.pretrained.base import Base
from skbig.pretrained.encoder import Encoder, in_batches
from skbig.pretrained.pooling import pooled
from skbig.text.models import TextModel, hidden, read_text_model
from skbig.text.texts import as_texts
from skbig.text.tokens import TOO_LONG, padded


@estimator
class TextEncoder(Encoder):
    """Vectors of texts, by a pretrained model that is not changed.

    What the model knows of a language serves any estimator behind it, above all where there are few labelled rows.
    Nothing is learnt from the texts, so vectors may be made once, before a cross-validation.

    The model is one of Hugging Face's transformers, or a table with a vector for each token (a folder with a
    ``tokenizer.json`` and a safetensors file that holds one matrix), which takes a hundredth of the time. A pickle
    holds where the model lies and its hash, and none of its weights.

    Parameters
    ----------
    ...

    Attributes
    ----------
    folder_ : str
        Where the model was found.
    fingerprint_ : str
        Hash of its files.
    max_length_ : int or None
        How many tokens are read of a text.

    See Also
    --------
    skbig.image.ImageEncoder : The same for images.

    Notes
    -----
    Texts of about the same length are computed together. How many positions are left empty changes the last bits of
    a vector.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skbig import BigMLPClassifier
    >>> from skbig.testing import tiny_text_model
    >>> from skbig.text import TextEncoder
    >>> texts = ["a good day", "what a good book", "a bad day", "what a bad book"] * 5
    >>> folder = tiny_text_model("model", texts)  # in your work a folder with a trained model, or its name
    >>> encoder = TextEncoder(folder)
    >>> encoder.fit_transform(texts).shape
    (20, 32)
    >>> model = make_pipeline(encoder, BigMLPClassifier(learning_rate=0.01, random_state=0))
    >>> float(model.fit(texts, [1, 1, 0, 0] * 5).score(texts, [1, 1, 0, 0] * 5))
    1.0
    """

    max_length: int | None = parameter(
        None,
        Options((None,)),
        COUNT,
        words="int or None",
        doc="""Tokens that are read of a text, those for its beginning and end included. None: as many as the model
        takes.""",
    )
    too_long: str = parameter(
        "warn",
        Options(TOO_LONG),
        words="{'warn', 'cut', 'raise'}",
        doc="What becomes of longer texts: they are cut off with a warning, or without, or refused.",
    )

    _extra = "text"

    def _rows(self, X: Any) -> list[str]:
        return as_texts(X)

    def _width_of(self, base: Base, folder: Path) -> int:
        model: TextModel = base.loaded("text", read_text_model)
        check_pooling(self.pooling, model, folder)
        self.max_length_ = longest(self.max_length, model, folder)
        return model.width

    def _key(self, rows: Sequence[str]) -> str:
        facts = (self.fingerprint_, self.pooling, bool(self.normalize), self.dtype, self.max_length_, len(rows))
        digest = hashlib.sha256(repr(facts).encode())
        for text in rows:
            digest.update(hashlib.sha256(text.encode()).digest())
        return digest.hexdigest()

    def _vectors(self, rows: Sequence[str], base: Base, folder: Path, device: torch.device) -> torch.Tensor:
        model: TextModel = base.loaded("text", read_text_model)
        tokens = model.tokenizer.tokens(rows, self.max_length_, self.too_long)
        return text_vectors(model, tokens, self.pooling, self.batch_size, device, self._compute_dtype)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def text_vectors(
    model: TextModel,
    tokens: Sequence[np.ndarray],
    pooling: str,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the vector of each text, (N, D), those of about the same length computed together."""
    place = (device, dtype) != (torch.device("cpu"), torch.float32)
    network = copy.deepcopy(model.network).to(device, dtype) if place else model.network
    lengths = np.array([len(own) for own in tokens])

    def encode(which: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(padded([tokens[i] for i in which])).to(device)
        return pooled(*hidden(network, batch, model.tokenizer.padding), pooling)

    longest_first = np.argsort(-lengths, kind="stable")  # so that memory ends at once, if it does
    return in_batches(len(tokens), batch_size, longest_first, model.width, encode)


def longest(max_length: int | None, model: TextModel, folder: Path) -> int | None:
    """Return how many tokens of a text are read: those that were asked for, or as many as the model takes.

    Raises
    ------
    ValueError
        When it takes less than were asked for, or these have no place for a token of the text itself.
    """
    if max_length is not None and max_length <= model.tokenizer.n_ends:
        raise ValueError(
            f"max_length={max_length} leaves no place for a text: the model in {folder} puts {model.tokenizer.n_ends} "
            "tokens at its beginning and end. Use more."
        )
    if max_length is None or model.limit is None:
        return max_length or model.limit
    if max_length > model.limit:
        raise ValueError(
            f"max_length={max_length}, and the model in {folder} takes at most {model.limit} tokens of a text."
        )
    return int(max_length)


def check_pooling(pooling: str, model: TextModel, folder: Path) -> None:
    """Refuse the first token as that of the whole text where it is not."""
    if pooling == "cls" and (model.is_static or not model.tokenizer.has_cls):
        raise ValueError(
            "pooling='cls' takes the vector of a first token that stands for the whole text, and the model in "
            f"{folder} has none. Use pooling='mean'."
        )
