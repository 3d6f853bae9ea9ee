"""Keys: where they come from, and what is derived from them."""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from skbig._utils.extras import import_extra
from skbig._utils.whole_files import ORDINARY, PRIVATE, write_new

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PathLike = str | os.PathLike[str]

KEY_BYTES = 32
# Parameters of scrypt: 128 MiB and a third of a second per guess. Part of the format, so that no file can ask for more.
_SCRYPT = {"n": 1 << 17, "r": 8, "p": 1}


def need_cryptography() -> None:
    """Raise ImportError, and say how to install it, where the library is missing."""
    import_extra("cryptography", "secure", "skbig.secure")


def generate_key(path: PathLike) -> Path:
    """Write a new random key for `encrypt`.

    Parameters
    ----------
    path : path
        The file, which only its owner may read (mode 0600). It holds 64 hexadecimal digits, as those of
        ``openssl rand -hex 32``.

    Returns
    -------
    path : Path

    Raises
    ------
    FileExistsError
        When the file is there already: what a lost key has encrypted is lost.

    Examples
    --------
    >>> from skbig.secure import generate_key
    >>> key = generate_key("models.key")
    >>> len(key.read_text().strip())
    64
    """
    write_new(Path(path), f"{secrets.token_hex(KEY_BYTES)}\n".encode(), PRIVATE)
    return Path(path)


def generate_signing_keys(private: PathLike, public: PathLike, *, passphrase: str | None = None) -> tuple[Path, Path]:
    """Write a new pair of Ed25519 keys: one to `sign` with, and one to `verify` with.

    Parameters
    ----------
    private : path
        Where the secret half goes, as PEM (PKCS 8); only its owner may read it (mode 0600).
    public : path
        Where the half goes that everybody may have, as PEM.
    passphrase : str, default=None
        Encrypts the secret half; `sign` then needs it too.

    Returns
    -------
    private, public : Path

    Raises
    ------
    FileExistsError
        When one of the files is there already.

    Examples
    --------
    >>> from skbig.secure import generate_signing_keys
    >>> private, public = generate_signing_keys("signer.pem", "signer-public.pem")
    >>> public.read_text().splitlines()[0]
    '-----BEGIN PUBLIC KEY-----'
    """
    need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, public = Path(private), Path(public)
    if public.exists():  # known before a private key is written that nothing belongs to
        raise FileExistsError(f"{public} is there already.")
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        lock = serialization.BestAvailableEncryption(_encoded(passphrase))
    key = Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    write_new(private, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, lock), PRIVATE)
    shown = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_new(public, shown, ORDINARY)
    return private, public


def master_key(key: PathLike | bytes | None, passphrase: str | None, salt: bytes) -> bytes:
    """Return 32 bytes: a key as given, that of a key file, or what scrypt makes of a passphrase and the salt."""
    need_cryptography()
    if (key is None) == (passphrase is None):
        raise ValueError("Give either key or passphrase." if key is None else "Give key or passphrase, not both.")
    if passphrase is not None:
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        return Scrypt(salt=salt, length=KEY_BYTES, **_SCRYPT).derive(_encoded(passphrase))
    if isinstance(key, bytes):
        if len(key) != KEY_BYTES:
            raise ValueError(f"A key in memory must be {KEY_BYTES} bytes long. Got {len(key)}.")
        return key
    return _read_key(Path(key))  # type: ignore[arg-type]


def _read_key(path: Path) -> bytes:
    with open(path, "rb") as file:
        text = file.read(1000).strip()
    if re.fullmatch(rb"[0-9a-fA-F]{64}", text) is None:
        raise ValueError(
            f"A key file holds 64 hexadecimal digits, as generate_key or 'openssl rand -hex 32' writes them; {path} "
            "does not."
        )
    return bytes.fromhex(text.decode())


def _encoded(passphrase: str) -> bytes:
    if not isinstance(passphrase, str) or not passphrase:
        raise ValueError("The passphrase must be a str that is not empty.")
    return unicodedata.normalize("NFC", passphrase).encode()  # keyboards differ in how they compose an accent


def file_keys(master: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """Return the two keys of one file, by HKDF-SHA256: one for its chunks, one for its header."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(SHA256(), 2 * KEY_BYTES, salt=salt, info=b"skbig encrypted file 1").derive(master)
    return derived[:KEY_BYTES], derived[KEY_BYTES:]


def load_private_key(key: PathLike | bytes, passphrase: str | None) -> Ed25519PrivateKey:
    """Return the private key of a PEM file, or of its content."""
    need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content, where = _pem(key)
    try:
        loaded = load_pem_private_key(content, None if passphrase is None else _encoded(passphrase))
    except TypeError:  # a passphrase that is missing, or one too many
        missing = passphrase is None
        raise ValueError(f"{where} {'needs its passphrase' if missing else 'has no passphrase'}.") from None
    except ValueError as error:
        raise ValueError(f"{where} cannot be read as a private key in PEM, or its passphrase is wrong.") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise ValueError(f"{where} must be an Ed25519 key. It is an {type(loaded).__name__} instead.")
    return loaded


def load_public_key(key: PathLike | bytes) -> Ed25519PublicKey:
    """Return the public key of a PEM file, or of its content."""
    need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content, where = _pem(key)
    try:
        loaded = load_pem_public_key(content)
    except ValueError as error:
        raise ValueError(f"{where} cannot be read as a public key in PEM.") from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise ValueError(f"{where} must be an Ed25519 key. It is an {type(loaded).__name__} instead.")
    return loaded


def _pem(key: PathLike | bytes) -> tuple[bytes, str]:
    return (key, "The key") if isinstance(key, bytes) else (Path(key).read_bytes(), str(key))
