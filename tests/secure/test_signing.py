"""A signed file is what its signer signed, or an error before any of it is used."""

from __future__ import annotations

import json
import os
import stat
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from skbig import BigMLPClassifier
from skbig.exceptions import IntegrityError
from skbig.secure import generate_signing_keys, open_verified, sign, verify
from skbig.secure.checked_reader import CHUNK_BYTES

CONTENT = np.random.default_rng(0).bytes(2 * CHUNK_BYTES + 17)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    return generate_signing_keys(folder / "signer.pem", folder / "signer-public.pem")


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(CONTENT)
    sign(path, keys[0])
    return path


def assert_refused(path: Path, public: Path | bytes, match: str | None = None, **how: Any) -> None:
    with pytest.raises(IntegrityError, match=match):
        verify(path, public, **how)
    with pytest.raises(IntegrityError, match=match):
        open_verified(path, public, **how)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_what_was_signed_is_verified(size: int, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """Any number of bytes is signed and verified, and read as it is."""
    path = tmp_path / "model.bin"
    path.write_bytes(CONTENT[:size])
    assert sign(path, keys[0]) == tmp_path / "model.bin.sig"
    verify(path, keys[1])
    with open_verified(path, keys[1].read_bytes()) as file:
        assert file.read() == CONTENT[:size]


def test_a_changed_file_is_found(signed: Path, keys: tuple[Path, Path]) -> None:
    """A flipped bit, a missing end, and bytes that were added are found."""
    for position in (0, CHUNK_BYTES, len(CONTENT) - 1):
        changed = bytearray(CONTENT)
        changed[position] ^= 1
        signed.write_bytes(changed)
        assert_refused(signed, keys[1], "model.bin is not the file that was signed: its SHA-256 is another")
    for content in (b"", CONTENT[:-1], CONTENT[:CHUNK_BYTES], CONTENT + b"\0"):
        signed.write_bytes(content)
        assert_refused(signed, keys[1], f"its size is {len(content)} bytes instead of {len(CONTENT)}")


def test_another_signed_file_in_its_place_is_found(signed: Path, tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """A file with its own good signature is not taken for another; one that was renamed on purpose is named."""
    older = tmp_path / "older.bin"
    older.write_bytes(b"older weights")
    sign(older, keys[0]).replace(tmp_path / "model.bin.sig")
    assert_refused(signed, keys[1], "was signed as 'older.bin', and is read as 'model.bin'")
    older.replace(signed)
    assert_refused(signed, keys[1], "was signed as 'older.bin', and is read as 'model.bin'")
    verify(signed, keys[1], name="older.bin")


def test_the_signature_of_somebody_else_is_found(signed: Path, tmp_path: Path) -> None:
    """Only the key that is trusted signs."""
    _, public = generate_signing_keys(tmp_path / "a.pem", tmp_path / "b.pem")
    assert_refused(signed, public, "was made with another key")


def test_no_claim_of_a_signature_can_be_changed(signed: Path, keys: tuple[Path, Path]) -> None:
    """Format, name, size, hash and proof belong together, whatever the file says."""
    path = signed.with_name("model.bin.sig")
    whole = json.loads(path.read_text())
    changes = [
        *({"name": value} for value in ("other.bin", "", "model.bin\n", "\ud800", None)),
        *({"size": value} for value in (0, len(CONTENT) + 1, True, "5", 1e3)),
        *({"sha256": value} for value in ("0" * 64, "", None)),
        *({"signature": value} for value in ("", "!", "AAAA", "é", whole["signature"][:-4], [])),
        {"format": "skbig-signature-2"},
    ]
    for change in changes:
        path.write_text(json.dumps({**whole, **change}))
        assert_refused(signed, keys[1])
    for text in (
        "",
        "{",
        "[]",
        "null",
        "7",
        "[" * 4000,
        " " * 5000 + json.dumps(whole),
        json.dumps({**whole, "more": "x" * 5000}),
    ):
        path.write_text(text)
        assert_refused(signed, keys[1], "is no signature that skbig.secure.sign has written, or was changed")
    path.unlink()
    assert_refused(signed, keys[1], "has no signature")


def test_a_change_while_it_is_read_is_found(signed: Path, keys: tuple[Path, Path]) -> None:
    """What is read is what was verified, also when the file is changed in between."""
    with open_verified(signed, keys[1]) as file:
        with open(signed, "r+b") as behind:
            behind.seek(CHUNK_BYTES + 5)
            behind.write(b"\0\0\0\0")
        assert file.read(10) == CONTENT[:10]
        with pytest.raises(IntegrityError, match="was changed after it was verified"):
            file.read()


def test_a_model_is_loaded_from_a_verified_file(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """joblib loads an estimator from the opened file, and the prediction is the same."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = BigMLPClassifier((4,), max_iter=1, schedule="cosine", random_state=0).fit(X, X[:, 0] > 0)
    joblib.dump(model, tmp_path / "model.joblib")
    sign(tmp_path / "model.joblib", keys[0], signature=tmp_path / "elsewhere", name="iris 3")
    with open_verified(tmp_path / "model.joblib", keys[1], signature=tmp_path / "elsewhere", name="iris 3") as file:
        assert (joblib.load(file).predict_proba(X) == model.predict_proba(X)).all()


def test_memory_does_not_grow_with_the_file(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """Signing and verifying 40 MB takes the memory of a few chunks."""
    path = tmp_path / "model.bin"
    with open(path, "wb") as file:
        file.truncate(40 << 20)
    tracemalloc.start()
    try:
        sign(path, keys[0])
        open_verified(path, keys[1]).close()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_private_key_is_private_and_may_have_a_passphrase(tmp_path: Path) -> None:
    """Only the owner reads the private key, which a passphrase locks, and no pair overwrites another."""
    private, public = generate_signing_keys(tmp_path / "signer.pem", tmp_path / "public.pem", passphrase="open")
    if os.name == "posix":
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    with pytest.raises(ValueError, match="signer.pem needs its passphrase"):
        sign(path, private)
    with pytest.raises(ValueError, match="or its passphrase is wrong"):
        sign(path, private, passphrase="shut")
    sign(path, private, passphrase="open")
    verify(path, public)
    with pytest.raises(FileExistsError):
        generate_signing_keys(tmp_path / "new.pem", public)
    with pytest.raises(FileExistsError):
        generate_signing_keys(private, tmp_path / "new.pem")
    assert not (tmp_path / "new.pem").exists()


def test_keys_of_another_kind_are_named(signed: Path, keys: tuple[Path, Path]) -> None:
    """A key of another kind, a public one in place of a private one, and what is none, are errors."""
    rsa = generate_private_key(65537, 1024)
    private = rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ValueError, match="The key must be an Ed25519 key. It is an RSAPrivateKey instead"):
        sign(signed, private)
    with pytest.raises(ValueError, match="The key must be an Ed25519 key. It is an RSAPublicKey instead"):
        verify(signed, public)
    with pytest.raises(ValueError, match="cannot be read as a private key"):
        sign(signed, keys[1])
    with pytest.raises(ValueError, match="cannot be read as a public key"):
        verify(signed, keys[0])
    with pytest.raises(ValueError, match="has no passphrase"):
        sign(signed, keys[0], passphrase="open")
    with pytest.raises(ValueError, match="must be one line"):
        sign(signed, keys[0], name="two\nlines")


GOLDEN_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAgjVcDmL35lN7Y3nfKhtspij0N1i3ejv8lqsz7rbihAM=
-----END PUBLIC KEY-----
"""
GOLDEN = {
    "format": "skbig-signature-1",
    "name": "model.bin",
    "size": 7,
    "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
    "signature": "DW7WZXwLcewmm+8UZwtAqtCQfkU9G4VCG5sZB3SEdT4B8xyAgF6rKsCxVQdzmI1sDUSDD+zCbZ7G3URL5VoXBg==",
}


def test_signatures_of_the_first_version_stay_good(tmp_path: Path) -> None:
    """A signature that was made when the format was made is verified for ever."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    (tmp_path / "model.bin.sig").write_text(json.dumps(GOLDEN))
    verify(tmp_path / "model.bin", GOLDEN_KEY.encode())


def test_without_the_library_its_extra_is_named(
    signed: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where cryptography is missing, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for call in (lambda: sign(signed, keys[0]), lambda: verify(signed, keys[1])):
        with pytest.raises(ImportError, match=r'pip install "skbig\[secure\]"'):
            call()
