"""Which files may be loaded, and how: the one place that opens what could run code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from skbig.exceptions import ModelFileError
from skbig.secure.encryption import SUFFIX as ENCRYPTED
from skbig.secure.encryption import open_encrypted
from skbig.secure.signing import open_verified, verify

PICKLES = (".joblib", ".pkl", ".pickle")


@dataclass(frozen=True)
class Trust:
    """Which model files may be loaded.

    Parameters
    ----------
    pickles : sequence of path, default=()
        Files that may run code as they are loaded (.joblib, .pkl, .pickle), or folders of such: whoever can write one
        of these can do whatever the server can. All others of these kinds are refused.
    skops_types : sequence of str, default=()
        Types that skops may load, besides its own and `skbig.trusted_types`.
    verify_key : path or bytes, default=None
        A public key of `skbig.secure.generate_signing_keys`. If given, each file must have a signature of it.
    key : path or bytes, default=None
        Of `skbig.secure.generate_key`: decrypts files that end in ``.enc``.

    Examples
    --------
    >>> from skbig.serving import Trust
    >>> Trust(pickles=["models/iris.joblib"]).allows_pickle("models/iris.joblib")
    True
    >>> Trust(pickles=["models"]).allows_pickle("elsewhere/iris.joblib")
    False
    """

    pickles: Sequence[str | os.PathLike[str]] = ()
    skops_types: Sequence[str] = ()
    verify_key: str | os.PathLike[str] | bytes | None = None
    key: str | os.PathLike[str] | bytes | None = None

    def allows_pickle(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file, or a folder that it lies in, was named."""
        named = {Path(each).resolve() for each in self.pickles}
        resolved = Path(path).resolve()
        return any(each in named for each in (resolved, *resolved.parents))

    def open(self, path: Path) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading, signature and encryption checked.

        Raises
        ------
        IntegrityError
            When the file is not what was signed or encrypted.
        ModelFileError
            When it is encrypted and there is no key.
        """
        if path.suffix == ENCRYPTED:
            if self.key is None:
                raise ModelFileError(f"{path} is encrypted: give its key.")
            if self.verify_key is not None:
                verify(path, self.verify_key)  # a change after this is found by decryption
            return open_encrypted(path, key=self.key)
        return open(path, "rb") if self.verify_key is None else open_verified(path, self.verify_key)
