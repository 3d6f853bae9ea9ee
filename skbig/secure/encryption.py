"""Encrypted files: AES-256-GCM in chunks.

The format, of which all numbers are big-endian::

    "SKBIGENC"  version (1)  kind of key (0: key, 1: passphrase)  salt (32 bytes)
    length of the name (1)   name (UTF-8)    HMAC-SHA256 of all of these (32)
    chunk 0  chunk 1 ...                     each of 2**20 bytes, the last of fewer, plus 16 of its tag

The keys of chunks and header are derived from the key given and the salt (`keys.file_keys`), so that no two files share
one. The nonce of a chunk is its number in 11 bytes, and a 1 for the last, 0 for all others; the header's HMAC is its
associated data. So a chunk is good at its own place in its own file only, and a file without its end has no last chunk.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import secrets
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from skbig._utils.whole_files import ORDINARY, PRIVATE, replacing
from skbig.exceptions import IntegrityError
from skbig.secure.checked_reader import CHUNK_BYTES, CheckedReader
from skbig.secure.keys import PathLike, file_keys, master_key

SUFFIX = ".enc"
_START = struct.Struct(">8sBB32sB")
_MAGIC, _VERSION = b"SKBIGENC", 1
_MAC_BYTES, _TAG_BYTES = 32, 16
_SEALED_BYTES = CHUNK_BYTES + _TAG_BYTES


def encrypt(
    source: PathLike,
    target: PathLike | None = None,
    *,
    key: PathLike | bytes | None = None,
    passphrase: str | None = None,
    name: str | None = None,
) -> Path:
    """Encrypt a file by AES-256-GCM.

    Parameters
    ----------
    source : path
        A file of any kind, which is read a megabyte at a time and stays as it is.
    target : path, default=None
        Where the encrypted file goes; it appears when it is complete. None means `source` with ``.enc`` added.
    key : path or bytes, default=None
        A file of `generate_key`, or 32 bytes. Give this or `passphrase`.
    passphrase : str, default=None
        From which scrypt derives the key (n=2**17, r=8, p=1: 128 MiB and some tenths of a second). A key file is
        better: nobody can guess it.
    name : str, default=None
        What the file says it is, readable by everybody and checked by `decrypt`, so that nobody can put another file
        of yours in its place. None means the name of `target` without ``.enc``.

    Returns
    -------
    target : Path

    See Also
    --------
    decrypt : The way back.
    open_encrypted : Read it without writing it in clear.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skbig.secure import decrypt, encrypt, generate_key
    >>> key = generate_key("models.key")
    >>> _ = Path("notes.txt").write_text("weights")
    >>> encrypt("notes.txt", key=key).name
    'notes.txt.enc'
    >>> decrypt("notes.txt.enc", "again.txt", key=key).read_text()
    'weights'
    """
    source = Path(source)
    target = source.with_name(source.name + SUFFIX) if target is None else Path(target)
    salt = secrets.token_bytes(32)
    label = (_expected_name(target) if name is None else name).encode()
    if not 0 < len(label) < 256:
        raise ValueError(f"The name of an encrypted file must have 1 to 255 bytes. Got {label.decode()!r}.")
    header = _START.pack(_MAGIC, _VERSION, passphrase is not None, salt, len(label)) + label
    cipher = _Cipher.of(header, master_key(key, passphrase, salt), salt)
    with open(source, "rb") as plain, replacing(target, ORDINARY) as sealed:
        sealed.write(header + cipher.mac)
        index, chunk = 0, plain.read(CHUNK_BYTES)
        while following := plain.read(CHUNK_BYTES):
            sealed.write(cipher.seal(index, chunk, last=False))
            index, chunk = index + 1, following
        sealed.write(cipher.seal(index, chunk, last=True))
    return target


def decrypt(
    source: PathLike,
    target: PathLike | None = None,
    *,
    key: PathLike | bytes | None = None,
    passphrase: str | None = None,
    name: str | None = None,
) -> Path:
    """Decrypt a file that `encrypt` has written.

    Parameters
    ----------
    source : path
        It is read a megabyte at a time.
    target : path, default=None
        Where the plain file goes, which only its owner may read (mode 0600). It appears once all of `source` was found
        to be right. None means `source` without its ``.enc``.
    key : path or bytes, default=None
        As for `encrypt`.
    passphrase : str, default=None
        As for `encrypt`.
    name : str, default=None
        What the file must say it is. None means the name of `source` without ``.enc``.

    Returns
    -------
    target : Path

    Raises
    ------
    IntegrityError
        When the key is wrong, or the file was changed, cut, or put in the place of another. No file is written.

    Examples
    --------
    >>> from pathlib import Path
    >>> from skbig.secure import decrypt, encrypt
    >>> _ = Path("letter.txt").write_text("weights")
    >>> encrypted = encrypt("letter.txt", passphrase="correct horse battery staple")
    >>> decrypt(encrypted, passphrase="correct horse battery stable")
    Traceback (most recent call last):
        ...
    skbig.exceptions.IntegrityError: letter.txt.enc cannot be decrypted: the key or passphrase is wrong, or ...
    """
    source = Path(source)
    if target is None and source.suffix != SUFFIX:
        raise ValueError(f"Where to? {source} does not end in {SUFFIX!r}, so give a target.")
    target = source.with_suffix("") if target is None else Path(target)
    with open(source, "rb") as sealed:
        chunks = _SealedChunks.of(sealed, source, key, passphrase, name)
        with replacing(target, PRIVATE) as plain:
            for index in range(chunks.n_chunks):
                plain.write(chunks.read(index))
    return target


def open_encrypted(
    source: PathLike,
    *,
    key: PathLike | bytes | None = None,
    passphrase: str | None = None,
    name: str | None = None,
) -> io.BufferedReader:
    """Open an encrypted file for reading, without writing it in clear anywhere.

    The whole file is checked first, a megabyte at a time; then each part is checked again as it is read, so that what
    is read is what was checked. The result can be handed to ``joblib.load``, ``skops.io.load`` and the like.

    Parameters
    ----------
    source : path
        A file that `encrypt` has written.
    key : path or bytes, default=None
        As for `encrypt`.
    passphrase : str, default=None
        As for `encrypt`.
    name : str, default=None
        What the file must say it is. None means the name of `source` without ``.enc``.

    Returns
    -------
    file : io.BufferedReader
        Seekable; to be closed after use.

    Raises
    ------
    IntegrityError
        When the key is wrong, or the file was changed, cut, or put in the place of another. From reading as well, when
        the file is changed in the meantime.

    Examples
    --------
    >>> import joblib
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from skbig.secure import encrypt, generate_key, open_encrypted
    >>> key = generate_key("iris.key")
    >>> X, y = load_iris(return_X_y=True)
    >>> joblib.dump(RidgeClassifier().fit(X, y), "iris.joblib")
    ['iris.joblib']
    >>> with open_encrypted(encrypt("iris.joblib", key=key), key=key) as file:
    ...     joblib.load(file).predict(X[:2])
    array([0, 0])
    """
    with ExitStack() as stack:
        sealed = stack.enter_context(open(source, "rb"))
        chunks = _SealedChunks.of(sealed, Path(source), key, passphrase, name)
        for index in range(chunks.n_chunks):
            chunks.read(index)
        stack.pop_all()  # from here on the reader owns the file
    return io.BufferedReader(CheckedReader(sealed, chunks.n_bytes, chunks.read), CHUNK_BYTES)


def _expected_name(path: Path) -> str:
    return path.name.removesuffix(SUFFIX)


@dataclass(frozen=True)
class _Cipher:
    """Seals and opens the chunks of one file; `mac` proves its header."""

    key: bytes
    mac: bytes

    @classmethod
    def of(cls, header: bytes, master: bytes, salt: bytes) -> _Cipher:
        chunk_key, header_key = file_keys(master, salt)
        return cls(chunk_key, hmac.digest(header_key, header, hashlib.sha256))

    def seal(self, index: int, chunk: bytes, *, last: bool) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self.key).encrypt(_nonce(index, last), chunk, self.mac)

    def open(self, index: int, sealed: bytes, *, last: bool) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self.key).decrypt(_nonce(index, last), sealed, self.mac)


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])


@dataclass(frozen=True)
class _SealedChunks:
    """The chunks of an encrypted file whose header was found to be right."""

    file: BinaryIO
    path: Path
    cipher: _Cipher
    start: int  # where the first chunk begins
    n_chunks: int
    n_bytes: int  # of the plain file

    @classmethod
    def of(
        cls, file: BinaryIO, path: Path, key: PathLike | bytes | None, passphrase: str | None, name: str | None
    ) -> _SealedChunks:
        header, mac, salt, label = _read_header(file, path, passphrase is not None)
        cipher = _Cipher.of(header, master_key(key, passphrase, salt), salt)
        if not hmac.compare_digest(cipher.mac, mac):
            raise IntegrityError(
                f"{path} cannot be decrypted: the key or passphrase is wrong, or the head of the file was changed."
            )
        expected = _expected_name(path) if name is None else name
        if label != expected.encode():
            raise IntegrityError(
                f"{path} was encrypted as {label.decode()!r}, and is read as {expected!r}. If it was renamed on "
                f"purpose, pass name={label.decode()!r}."
            )
        start = len(header) + _MAC_BYTES
        left = os.fstat(file.fileno()).st_size - start
        n_chunks = max(1, -(-left // _SEALED_BYTES))
        return cls(file, path, cipher, start, n_chunks, left - n_chunks * _TAG_BYTES)

    def read(self, index: int) -> bytes:
        """Return a chunk in clear, or raise IntegrityError."""
        from cryptography.exceptions import InvalidTag

        self.file.seek(self.start + index * _SEALED_BYTES)
        sealed = self.file.read(_SEALED_BYTES)
        try:
            return self.cipher.open(index, sealed, last=index == self.n_chunks - 1)
        except InvalidTag:
            raise IntegrityError(
                f"{self.path} was changed or cut: its megabyte {index} of {self.n_chunks} is not what was encrypted."
            ) from None


def _read_header(file: BinaryIO, path: Path, by_passphrase: bool) -> tuple[bytes, bytes, bytes, bytes]:
    """Return header, HMAC, salt and name, none of which is proven yet."""
    start = file.read(_START.size)
    if len(start) < _START.size or start[: len(_MAGIC)] != _MAGIC:
        raise IntegrityError(f"{path} is no file that skbig.secure.encrypt has written, or its head was changed.")
    _, version, kind, salt, length = _START.unpack(start)
    if version != _VERSION:
        raise IntegrityError(f"{path} has version {version} of the format; this skbig reads version {_VERSION}.")
    if kind != by_passphrase:
        wanted = "a passphrase" if kind else "a key"
        raise IntegrityError(f"{path} was encrypted with {wanted}, or its head was changed.")
    label, mac = file.read(length), file.read(_MAC_BYTES)
    if len(label) + len(mac) < length + _MAC_BYTES:
        raise IntegrityError(f"{path} was cut: it ends in its head.")
    return start + label, mac, salt, label
