"""Texts as numbers of tokens, by the tokenizer that a model was trained with.

Legend: N texts, L tokens of the longest.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skbig._utils.user_warning import warn_user
from skbig.pretrained.loading import transformers
from skbig.pretrained.quiet import quiet

NO_TOKEN = -1
"""What stands after the last token of a text that is shorter than others."""

TOO_LONG = ("warn", "cut", "raise")


class Tokenizer:
    """A tokenizer of transformers, for several threads.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    padding : int
        The token that stands for none.
    n_tokens : int
        How many there are.
    n_ends : int
        How many of them stand for the beginning and end of a text.
    has_cls : bool
        Whether the first token stands for the whole text.
    """

    def __init__(self, folder: Path) -> None:
        library = transformers("text", "skbig.text")
        with quiet():
            try:
                self._tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            except Exception as error:
                told = str(error).strip().partition("\n")[0]
                raise ValueError(
                    f"The folder {folder} has no tokenizer that can be read: {type(error).__name__}: {told} Write it "
                    "there by tokenizer.save_pretrained."
                ) from error
        if not set(self._tokenizer.get_vocab()) - set(self._tokenizer.all_special_tokens):
            raise ValueError(f"The folder {folder} has no tokenizer. Write it there by tokenizer.save_pretrained.")
        self._one_at_a_time = threading.Lock()  # one that cuts texts keeps where, and belongs to one thread meanwhile
        self.padding = self._tokenizer.pad_token_id or 0
        self.n_tokens = len(self._tokenizer)
        self.n_ends: int = self._tokenizer.num_special_tokens_to_add()
        self.has_cls = self._tokenizer.cls_token_id is not None
        self.limit: int | None = self._tokenizer.model_max_length
        if self.limit is not None and self.limit > 10**9:  # how transformers says that there is none
            self.limit = None

    def tokens(self, texts: Sequence[str], max_length: int | None, too_long: str, name: str = "X") -> list[np.ndarray]:
        """Return the tokens of each text, those that stand for beginning and end included.

        Raises
        ------
        ValueError
            When a text has more than `max_length` tokens and `too_long` is 'raise'.
        """
        with self._one_at_a_time:
            tokens = self._of(texts)
            long = [] if max_length is None else [i for i, own in enumerate(tokens) if len(own) > max_length]
            if long and too_long != "cut":
                _tell(long, len(tokens[long[0]]), max_length, too_long, name)
            cut = self._of([texts[i] for i in long], truncation=True, max_length=max_length) if long else []
        for i, own in zip(long, cut, strict=True):
            tokens[i] = own
        return [np.array(own, dtype=np.int64) for own in tokens]

    def _of(self, texts: Sequence[str], **cutting: Any) -> list[list[int]]:
        asked = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
        found: list[list[int]] = self._tokenizer(list(texts), **asked, **cutting)["input_ids"]
        return found


def _tell(long: Sequence[int], length: int, max_length: int | None, too_long: str, name: str) -> None:
    text = (
        f"{len(long)} of the texts in {name} have more tokens than max_length={max_length}; the first is row {long[0]} "
        f"with {length}."
    )
    if too_long == "raise":
        raise ValueError(f"{text} Shorten them, or let them be cut off: too_long='cut'.")
    warn_user(f"{text} What comes after is not read. too_long='cut' says that this is wanted.")


def padded(tokens: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """Return tokens side by side, (N, L) of int32, and -1 where there are none; L is the longest, or a `length`."""
    n_places = max(1, *map(len, tokens)) if length is None else length
    result = np.full((len(tokens), n_places), NO_TOKEN, dtype=np.int32)
    for row, own in zip(result, tokens, strict=True):
        row[: len(own)] = own
    return result
