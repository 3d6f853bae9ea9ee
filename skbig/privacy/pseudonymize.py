"""Pseudonyms in the place of names."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skbig._utils.validation import Interval, Options, check
from skbig.privacy.masking import Masking, texts_of

LEAST_BYTES = 16
"""A key of fewer bytes could be guessed."""


class Pseudonymize(Masking):
    """Put pseudonyms in the place of values: the same for the same value, and of no use to who does not have the key.

    A pseudonym is HMAC-SHA256 of the value [1]_. So tables that were masked with the same key can be joined, and who
    has no key can neither undo it nor try out names, as he could with a plain hash. What stands in other columns may
    still tell who somebody is: see :class:`Generalize` and :class:`Suppress`. Missing values stay missing.

    Parameters
    ----------
    key : str or path-like, default=None
        A file with 16 secret bytes or more. The transformer holds its path only, so that no pickle and no print has the
        key.
    columns : sequence of str or int, default=None
        Which columns are masked; None are all.
    output : {'hex', 'int'}, default='hex'
        Pseudonyms as text, or as whole numbers of 63 bits, where what is missing is -1.
    length : int, default=16
        Hexadecimal digits of a pseudonym in text, 64 at most. With 16 two of a million values get the same with a
        probability of less than one in ten million.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where X has names of columns.

    References
    ----------
    .. [1] Krawczyk, Bellare and Canetti, "HMAC: Keyed-Hashing for Message Authentication", RFC 2104.

    Examples
    --------
    >>> import os
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from skbig.privacy import Pseudonymize
    >>> _ = Path("pseudonyms.key").write_bytes(os.urandom(32))
    >>> visits = pd.DataFrame({"name": ["Ada", "Bob", "Ada"], "days": [3, 1, 2]})
    >>> masked = Pseudonymize(key="pseudonyms.key", columns=["name"]).fit_transform(visits)
    >>> masked["name"][0] == masked["name"][2] != masked["name"][1], masked["days"].tolist()
    (True, [3, 1, 2])
    """

    def __init__(
        self,
        key: str | os.PathLike[str] | None = None,
        *,
        columns: Sequence[Any] | None = None,
        output: str = "hex",
        length: int = 16,
    ) -> None:
        self.key = key
        self.columns = columns
        self.output = output
        self.length = length

    def _learn(self, columns: list[np.ndarray]) -> None:
        del columns
        check("output", "Pseudonymize", self.output, Options(("hex", "int")))
        check("length", "Pseudonymize", self.length, Interval(1, 64, integer=True))
        self._places(self.columns, "columns")
        self._read_key()

    def _masked(self, columns: list[np.ndarray]) -> list[np.ndarray]:
        secret, places = self._read_key(), self._places(self.columns, "columns")
        known: dict[str | None, Any] = {}
        return [
            self._pseudonyms(column, secret, known) if place in places else column
            for place, column in enumerate(columns)
        ]

    def _pseudonyms(self, column: np.ndarray, secret: bytes, known: dict[str | None, Any]) -> np.ndarray:
        nothing, dtype = (None, object) if self.output == "hex" else (-1, np.int64)
        texts = texts_of(column)
        for text in set(texts) - known.keys():
            known[text] = nothing if text is None else self._pseudonym(text, secret)
        return np.array([known[text] for text in texts], dtype)

    def _pseudonym(self, text: str, secret: bytes) -> str | int:
        digest = hmac.new(secret, text.encode(), hashlib.sha256)
        if self.output == "hex":
            return digest.hexdigest()[: self.length]
        return int.from_bytes(digest.digest()[:8], "big") >> 1

    def _read_key(self) -> bytes:
        if not isinstance(self.key, str | os.PathLike):
            raise ValueError(
                "The 'key' parameter of Pseudonymize must be the path of a file with secret bytes: "
                f"Path('pseudonyms.key').write_bytes(os.urandom(32)) makes one. Got {type(self.key).__name__} instead."
            )
        secret = Path(self.key).read_bytes()
        if len(secret) < LEAST_BYTES:
            raise ValueError(f"The key in {os.fspath(self.key)!r} must have {LEAST_BYTES} bytes or more.")
        return secret
