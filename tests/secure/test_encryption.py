"""An encrypted file is what was encrypted, or an error before any of it is used."""

from __future__ import annotations

import base64
import io
import os
import stat
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from skbig import BigMLPClassifier
from skbig.exceptions import IntegrityError
from skbig.secure import decrypt, encrypt, generate_key, open_encrypted
from skbig.secure.checked_reader import CHUNK_BYTES

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
HEADER = 8 + 1 + 1 + 32 + 1 + len("plain.bin") + 32
SEALED = CHUNK_BYTES + 16
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 17]


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture
def encrypted(tmp_path: Path) -> Path:
    """An encrypted file of three chunks, the last of 17 bytes."""
    return encrypted_of(tmp_path, noise(SIZES[-1]))


def encrypted_of(folder: Path, content: bytes, **how: Any) -> Path:
    (folder / "plain.bin").write_bytes(content)
    return encrypt(folder / "plain.bin", **(how or {"key": KEY}))


def assert_refused(path: Path, match: str | None = None, **how: Any) -> None:
    """Neither way of decrypting gives a byte, and no file appears."""
    before = sorted(path.parent.iterdir())
    how = how or {"key": KEY}
    with pytest.raises(IntegrityError, match=match):
        decrypt(path, path.with_name("refused"), **how)
    with pytest.raises(IntegrityError, match=match):
        open_encrypted(path, **how)
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize("size", SIZES)
def test_what_is_decrypted_is_what_was_encrypted(size: int, tmp_path: Path) -> None:
    """Any number of bytes comes back, as a file and when it is read."""
    content = noise(size)
    encrypted = encrypted_of(tmp_path, content)
    assert decrypt(encrypted, tmp_path / "again", key=KEY).read_bytes() == content
    with open_encrypted(encrypted, key=KEY) as file:
        assert file.read() == content


def test_no_part_of_the_content_is_in_the_encrypted_file(tmp_path: Path) -> None:
    """An encrypted file shows its name and its length, and is another each time."""
    content = b"secret weights " * 10
    first = encrypted_of(tmp_path, content).read_bytes()
    second = encrypted_of(tmp_path, content).read_bytes()
    assert len(first) == HEADER + len(content) + 16
    assert b"secret" not in first
    assert first[10:42] != second[10:42]
    assert first[HEADER:] != second[HEADER:]


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    """A bit that is flipped anywhere in head, content or tags makes the whole file unreadable."""
    whole = encrypted_of(tmp_path, b"x" * (CHUNK_BYTES + 1)).read_bytes()
    tampered = tmp_path / "tampered"
    for position in (*range(HEADER), *(HEADER + i for i in (0, 500, SEALED - 1, SEALED, SEALED + 16))):
        for bit in (0, 7):
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            tampered.write_bytes(changed)
            assert_refused(tampered, key=KEY, name="plain.bin")


@pytest.mark.parametrize(
    "last", [*range(0, HEADER, 9), *(HEADER + n * SEALED + d for n in (0, 1, 2) for d in (-1, 0, 1, 16))]
)
def test_a_file_that_was_cut_is_found(last: int, encrypted: Path) -> None:
    """A file that ends too early, within a chunk or between two, is not decrypted."""
    encrypted.write_bytes(encrypted.read_bytes()[:last])
    assert_refused(encrypted)


def test_bytes_and_chunks_that_were_added_are_found(encrypted: Path) -> None:
    """A file that goes on after its end is not decrypted."""
    content = encrypted.read_bytes()
    for extra in (b"\0", content[-33:], content[HEADER : HEADER + SEALED]):
        encrypted.write_bytes(content + extra)
        assert_refused(encrypted, "was changed or cut")


def test_chunks_that_were_moved_are_found(encrypted: Path, tmp_path: Path) -> None:
    """A chunk is good at its own place in its own file only."""
    content = encrypted.read_bytes()
    head, first, second, end = (
        content[a:b]
        for a, b in (
            (0, HEADER),
            (HEADER, HEADER + SEALED),
            (HEADER + SEALED, HEADER + 2 * SEALED),
            (HEADER + 2 * SEALED, None),
        )
    )
    again = encrypt(tmp_path / "plain.bin", key=KEY).read_bytes()  # the same content, by the same key
    for chunks in (
        [second, first, end],
        [first, first, end],
        [second, end],
        [again[HEADER : HEADER + SEALED], second, end],
    ):
        encrypted.write_bytes(head + b"".join(chunks))
        assert_refused(encrypted, "was changed or cut")
    encrypted.write_bytes(again[:HEADER] + content[HEADER:])
    assert_refused(encrypted, "was changed or cut")


def test_another_file_in_its_place_is_found(encrypted: Path, tmp_path: Path) -> None:
    """A file is what its name says; one that was renamed on purpose is named."""
    (tmp_path / "other.bin").write_bytes(b"older weights")
    encrypt(tmp_path / "other.bin", key=KEY).replace(encrypted)
    assert_refused(encrypted, "was encrypted as 'other.bin', and is read as 'plain.bin'")
    with open_encrypted(encrypted, key=KEY, name="other.bin") as file:
        assert file.read() == b"older weights"


def test_a_wrong_key_is_an_error(encrypted: Path, tmp_path: Path) -> None:
    """Another key, another passphrase, or one in place of the other, decrypt nothing."""
    assert_refused(encrypted, "key or passphrase is wrong", key=OTHER_KEY)
    assert_refused(encrypted, "was encrypted with a key", passphrase="a key?")
    locked = encrypted_of(tmp_path, b"weights", passphrase="épée")
    assert_refused(locked, "was encrypted with a passphrase", key=KEY)
    assert_refused(locked, "key or passphrase is wrong", passphrase="epee")
    composed = "e\u0301pe\u0301e"  # as some keyboards write it
    assert decrypt(locked, tmp_path / "again", passphrase=composed).read_bytes() == b"weights"


def test_what_is_no_encrypted_file_is_an_error(tmp_path: Path) -> None:
    """A plain file, an empty one, and one of a newer format are named."""
    plain = tmp_path / "plain.bin"
    for content in (b"", b"x" * 100):
        plain.write_bytes(content)
        assert_refused(plain, "is no file that skbig.secure.encrypt has written")
    plain.write_bytes(b"SKBIGENC\x02" + bytes(100))
    assert_refused(plain, "has version 2 of the format; this skbig reads version 1")


@pytest.mark.parametrize(("how", "message"), [
    ({}, "Give either key or passphrase."),
    ({"key": KEY, "passphrase": "x"}, "Give key or passphrase, not both."),
    ({"key": b"short"}, "A key in memory must be 32 bytes long. Got 5."),
    ({"passphrase": ""}, "must be a str that is not empty"),
    ({"passphrase": b"bytes"}, "must be a str that is not empty"),
    ({"key": KEY, "name": "x" * 256}, "must have 1 to 255 bytes"),
])  # fmt: skip
def test_a_bad_call_writes_nothing(how: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A call that is refused says why, and leaves no file behind."""
    plain = tmp_path / "plain.bin"
    plain.write_bytes(b"weights")
    with pytest.raises(ValueError, match=message):
        encrypt(plain, **how)
    assert [*tmp_path.iterdir()] == [plain]


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    """Only the owner reads a key file, a plain file that was decrypted, and none is lost by a second call."""
    key = generate_key(tmp_path / "models.key")
    before = key.read_text()
    encrypted = encrypted_of(tmp_path, b"weights", key=key)
    plain = decrypt(encrypted, key=key)
    assert plain == tmp_path / "plain.bin"
    if os.name == "posix":
        assert {stat.S_IMODE(path.stat().st_mode) for path in (key, plain)} == {0o600}
    with pytest.raises(FileExistsError):
        generate_key(key)
    assert key.read_text() == before
    assert bytes.fromhex(before) != bytes.fromhex(generate_key(tmp_path / "second.key").read_text())


def test_what_is_no_key_file_is_an_error(tmp_path: Path) -> None:
    """A file that holds no key is named."""
    (tmp_path / "no.key").write_text("hello\n")
    with pytest.raises(ValueError, match=r"A key file holds 64 hexadecimal digits.*no\.key does not"):
        encrypted_of(tmp_path, b"weights", key=tmp_path / "no.key")


def test_a_target_that_exists_stays_until_the_new_one_is_whole(encrypted: Path, tmp_path: Path) -> None:
    """What fails leaves the file that was there before, and what succeeds replaces it."""
    target = tmp_path / "target"
    target.write_bytes(b"before")
    whole = encrypted.read_bytes()
    encrypted.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IntegrityError):
        decrypt(encrypted, target, key=KEY)
    assert target.read_bytes() == b"before"
    encrypted.write_bytes(whole)
    assert decrypt(encrypted, target, key=KEY).read_bytes() == noise(SIZES[-1])


def test_where_to_decrypt_is_asked_for(tmp_path: Path) -> None:
    """Without a target the name must end in .enc."""
    (tmp_path / "plain.bin").write_bytes(b"weights")
    encrypted = encrypt(tmp_path / "plain.bin", tmp_path / "vault", key=KEY)
    with pytest.raises(ValueError, match="give a target"):
        decrypt(encrypted, key=KEY)


def test_an_encrypted_file_is_read_anywhere(encrypted: Path) -> None:
    """Reading may jump, over chunks too, and ends at the end."""
    content = noise(SIZES[-1])
    with open_encrypted(encrypted, key=KEY) as file:
        assert file.readable() and file.seekable() and not file.writable()
        for start in (CHUNK_BYTES - 5, 2 * CHUNK_BYTES + 3, 0, CHUNK_BYTES, len(content), len(content) + 9):
            assert file.seek(start) == start == file.tell()
            assert file.read(10) == content[start : start + 10]
        assert file.seek(-4, io.SEEK_END) == len(content) - 4
        assert file.read() == content[-4:]
        with pytest.raises(ValueError):
            file.seek(-1)


def test_a_change_while_it_is_read_is_found(encrypted: Path) -> None:
    """What is read is what was checked, also when the file is changed in between."""
    with open_encrypted(encrypted, key=KEY) as file:
        with open(encrypted, "r+b") as behind:
            behind.seek(HEADER + SEALED + 5)
            behind.write(b"\0\0\0\0")
        assert file.read(10) == noise(SIZES[-1])[:10]
        with pytest.raises(IntegrityError, match="its megabyte 1 of 3 is not what was encrypted"):
            file.read()


def test_a_model_is_loaded_from_an_encrypted_file(tmp_path: Path) -> None:
    """joblib loads an estimator from the opened file, and the prediction is the same."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = BigMLPClassifier((400, 400), max_iter=1, schedule="cosine", random_state=0).fit(X, X[:, 0] > 0)
    joblib.dump(model, tmp_path / "plain.bin")
    with open_encrypted(encrypt(tmp_path / "plain.bin", key=KEY), key=KEY) as file:
        loaded = joblib.load(file)
    assert (loaded.predict_proba(X) == model.predict_proba(X)).all()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Encrypting, checking and decrypting 40 MB takes the memory of a few chunks."""
    plain = tmp_path / "plain.bin"
    with open(plain, "wb") as file:
        file.truncate(40 << 20)
    tracemalloc.start()
    try:
        encrypted = encrypt(plain, key=KEY)
        decrypt(encrypted, key=KEY)
        open_encrypted(encrypted, key=KEY).close()
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


GOLDEN = (
    "U0tCSUdFTkMBAFeA1J8vcrlZvvFWEuHN/LTdQg3UsqdMS4Pl1DOFL7ecCXBsYWluLmJpbqbF8PW+CQLCzTEjQ83FaXWzN+5CL5ed"
    "dHNXlS/6UH8wNgHLsUr/Pay/aE7Y0LuS3Htzlr6ZgLA="
)


def test_files_of_the_first_version_stay_readable(tmp_path: Path) -> None:
    """A file that was encrypted when the format was made is decrypted for ever."""
    path = tmp_path / "plain.bin.enc"
    path.write_bytes(base64.b64decode(GOLDEN))
    assert decrypt(path, key=KEY).read_bytes() == b"weights"


def test_without_the_library_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cryptography is missing, the error says how to install it."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ImportError, match=r'pip install "skbig\[secure\]"'):
        encrypted_of(tmp_path, b"weights")
