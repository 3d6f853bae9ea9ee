"""Signatures: Ed25519 over what a file is called, how long it is, and its SHA-256.

A signature is a JSON file of the same name with ``.sig`` added. What is signed is the text of four lines: the format,
the name, the size in bytes, and the SHA-256 in hexadecimal digits.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from skbig._utils.whole_files import ORDINARY, replacing
from skbig.exceptions import IntegrityError
from skbig.secure.checked_reader import CHUNK_BYTES, CheckedReader
from skbig.secure.keys import PathLike, load_private_key, load_public_key, need_cryptography

SUFFIX = ".sig"
_FORMAT = "skbig-signature-1"
_MAX_BYTES = 4096  # of a signature file


def sign(
    path: PathLike,
    private_key: PathLike | bytes,
    *,
    passphrase: str | None = None,
    signature: PathLike | None = None,
    name: str | None = None,
) -> Path:
    """Sign a file with an Ed25519 key.

    Parameters
    ----------
    path : path
        A file of any kind, which is read a megabyte at a time and stays as it is.
    private_key : path or bytes
        Of `generate_signing_keys`, or any Ed25519 key in PEM (``openssl genpkey -algorithm ed25519``).
    passphrase : str, default=None
        Of the private key, if it has one.
    signature : path, default=None
        Where the signature goes. None means `path` with ``.sig`` added.
    name : str, default=None
        What the file is signed as, which `verify` checks, so that nobody can put another file of yours, with its
        signature, in its place. None means the file's name.

    Returns
    -------
    signature : Path

    Examples
    --------
    >>> from pathlib import Path
    >>> from skbig.secure import generate_signing_keys, sign, verify
    >>> private, public = generate_signing_keys("notes.pem", "notes-public.pem")
    >>> _ = Path("notes.txt").write_text("weights")
    >>> sign("notes.txt", private).name
    'notes.txt.sig'
    >>> verify("notes.txt", public)
    """
    path = Path(path)
    key = load_private_key(private_key, passphrase)
    with open(path, "rb") as file:
        statement = _Statement.about(file, path.name if name is None else name)
    signed = {**vars(statement), "signature": base64.b64encode(key.sign(statement.text())).decode()}
    target = _signature_path(path, signature)
    with replacing(target, ORDINARY) as out:
        out.write(json.dumps({"format": _FORMAT, **signed}, indent=1).encode() + b"\n")
    return target


def verify(
    path: PathLike, public_key: PathLike | bytes, *, signature: PathLike | None = None, name: str | None = None
) -> None:
    """Raise unless a file is what was signed.

    Parameters
    ----------
    path : path
        The file. Where others may write to it, use `open_verified`: the file could be exchanged after this look at it.
    public_key : path or bytes
        Of whom you trust; a file, or the content of one, in PEM.
    signature : path, default=None
        None means `path` with ``.sig`` added.
    name : str, default=None
        What the file must have been signed as. None means the file's name.

    Raises
    ------
    IntegrityError
        When there is no signature, or it is of another file, under another name, by another key, or damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skbig.secure import generate_signing_keys, sign, verify
    >>> private, public = generate_signing_keys("letter.pem", "letter-public.pem")
    >>> _ = Path("letter.txt").write_text("weights")
    >>> _ = sign("letter.txt", private)
    >>> _ = Path("letter.txt").write_text("weighty")
    >>> verify("letter.txt", public)
    Traceback (most recent call last):
        ...
    skbig.exceptions.IntegrityError: letter.txt is not the file that was signed: its SHA-256 is another.
    """
    path = Path(path)
    signed = _proven(path, public_key, signature, name)
    with open(path, "rb") as file:
        _compare(_Statement.about(file, signed.name), signed, path)


def open_verified(
    path: PathLike, public_key: PathLike | bytes, *, signature: PathLike | None = None, name: str | None = None
) -> io.BufferedReader:
    """Open a signed file for reading, once it was found to be what was signed.

    The whole file is checked first, a megabyte at a time; then each part is checked again as it is read, so that what
    is read is what was checked. The result can be handed to ``joblib.load``, ``skops.io.load`` and the like.

    Parameters
    ----------
    path : path
        The file.
    public_key : path or bytes
        Of whom you trust; a file, or the content of one, in PEM.
    signature : path, default=None
        None means `path` with ``.sig`` added.
    name : str, default=None
        What the file must have been signed as. None means the file's name.

    Returns
    -------
    file : io.BufferedReader
        Seekable; to be closed after use.

    Raises
    ------
    IntegrityError
        As from `verify`. From reading as well, when the file is changed in the meantime.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skbig.secure import generate_signing_keys, open_verified, sign
    >>> private, public = generate_signing_keys("diary.pem", "diary-public.pem")
    >>> _ = Path("diary.txt").write_text("weights")
    >>> _ = sign("diary.txt", private)
    >>> with open_verified("diary.txt", public) as file:
    ...     file.read()
    b'weights'
    """
    path = Path(path)
    signed = _proven(path, public_key, signature, name)
    digests: list[bytes] = []
    with ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        _compare(_Statement.about(file, signed.name, digests), signed, path)
        stack.pop_all()  # from here on the reader owns the file
    return io.BufferedReader(CheckedReader(file, signed.size, _HashedChunks(file, path, digests).read), CHUNK_BYTES)


def _signature_path(path: Path, signature: PathLike | None) -> Path:
    return path.with_name(path.name + SUFFIX) if signature is None else Path(signature)


@dataclass(frozen=True)
class _Statement:
    """What is said of a file."""

    name: str
    size: int
    sha256: str

    @classmethod
    def about(cls, file: BinaryIO, name: str, digests: list[bytes] | None = None) -> _Statement:
        """Describe a file; the hash of each chunk goes into `digests`."""
        whole, size = hashlib.sha256(), 0
        while chunk := file.read(CHUNK_BYTES):
            whole.update(chunk)
            size += len(chunk)
            if digests is not None:
                digests.append(_digest(chunk))
        return cls(name, size, whole.hexdigest())

    def text(self) -> bytes:
        if not self.name or "\n" in self.name:
            raise ValueError(f"The name of a signed file must be one line that is not empty. Got {self.name!r}.")
        return "\n".join([_FORMAT, self.name, str(self.size), self.sha256]).encode()


def _proven(path: Path, public_key: PathLike | bytes, signature: PathLike | None, name: str | None) -> _Statement:
    """Return what the owner of the key has said of a file, or raise IntegrityError."""
    need_cryptography()
    from cryptography.exceptions import InvalidSignature

    key = load_public_key(public_key)
    claimed, proof = _read_signature(_signature_path(path, signature), path)
    try:
        key.verify(proof, claimed.text())
    except (InvalidSignature, ValueError):
        raise IntegrityError(f"The signature of {path} was made with another key, or was changed.") from None
    expected = path.name if name is None else name
    if claimed.name != expected:
        raise IntegrityError(
            f"{path} was signed as {claimed.name!r}, and is read as {expected!r}. If it was renamed on purpose, pass "
            f"name={claimed.name!r}."
        )
    return claimed


def _read_signature(path: Path, signed: Path) -> tuple[_Statement, bytes]:
    """Return what a signature file claims, and its proof, which is not checked yet."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise IntegrityError(f"{signed} has no signature: there is no {path}.") from None
    try:
        return _parsed(content)
    except (ValueError, KeyError, RecursionError) as error:
        raise IntegrityError(f"{path} is no signature that skbig.secure.sign has written, or was changed.") from error


def _parsed(content: bytes) -> tuple[_Statement, bytes]:
    claims: Any = json.loads(content)
    kinds = {"format": str, "name": str, "size": int, "sha256": str, "signature": str}
    fits = isinstance(claims, dict) and all(type(claims[name]) is kind for name, kind in kinds.items())
    if not fits or claims["format"] != _FORMAT or len(content) > _MAX_BYTES:
        raise ValueError("It has another form.")
    proof = base64.b64decode(claims["signature"], validate=True)
    return _Statement(claims["name"], claims["size"], claims["sha256"]), proof


def _compare(found: _Statement, signed: _Statement, path: Path) -> None:
    if found != signed:
        size = f"size is {found.size} bytes instead of {signed.size}"
        what = "SHA-256 is another" if found.size == signed.size else size
        raise IntegrityError(f"{path} is not the file that was signed: its {what}.")


@dataclass(frozen=True)
class _HashedChunks:
    """The chunks of a file whose hashes were noted down while all of it was checked."""

    file: BinaryIO
    path: Path
    digests: list[bytes]

    def read(self, index: int) -> bytes:
        self.file.seek(index * CHUNK_BYTES, os.SEEK_SET)
        chunk = self.file.read(CHUNK_BYTES)
        if _digest(chunk) != self.digests[index]:
            raise IntegrityError(f"{self.path} was changed after it was verified.")
        return chunk


def _digest(chunk: bytes) -> bytes:
    return hashlib.sha256(chunk).digest()
