"""A crash at any moment, a full disk and a flipped byte cost at most the checkpoint that was being written."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from scipy.sparse import csc_array, csr_array, csr_matrix

from skbig.engine import checkpoint as checkpoint_module
from skbig.engine.checkpoint import Checkpoint, CheckpointDirectory
from skbig.engine.fingerprint import BLOCK_BYTES, fingerprint
from skbig.exceptions import CheckpointWarning

ROOT = Path(__file__).parents[2]
IDENTITY = {"data": "d" * 64, "parameters": "BigMLPClassifier(alpha=0.1)"}
FILES = ("arrays.safetensors", "facts.json", "manifest.json")

posix = pytest.mark.skipif(os.name != "posix", reason="the signals and limits of POSIX")


def arrays_of(number: int, size: int = 50) -> dict[str, np.ndarray]:
    return {"weight": np.full(size, float(number)), "step": np.array(number)}


def saved(path: Path, count: int, identity: dict[str, str] = IDENTITY) -> CheckpointDirectory:
    """Return a directory into which so many checkpoints have been written, numbered from one."""
    directory = CheckpointDirectory(path, identity)
    for number in range(1, count + 1):
        directory.save(arrays_of(number), {"number": number})
    return directory


def number_of(found: Checkpoint | None) -> int:
    """Return which checkpoint it is, after a look at whether its parts belong together; 0 for none."""
    if found is None:
        return 0
    number = found.facts["number"]
    assert (found.arrays["weight"] == number).all() and found.arrays["step"] == number
    return int(number)


def newest_number(path: Path) -> int:
    return number_of(CheckpointDirectory(path, IDENTITY).newest())


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


@posix
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_may_read(tmp_path: Path, umask: int) -> None:
    """What is made has the modes 0700 and 0600, whatever the umask; a directory that was there keeps its own."""
    made, given = tmp_path / "made", tmp_path / "given"
    given.mkdir()
    given.chmod(0o755)
    before = os.umask(umask)
    try:
        for path in (made, given):
            saved(path, 1)
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes.pop(given) == 0o755
    assert {oct(mode) for path, mode in modes.items() if path.is_dir()} == {"0o700"}
    assert {oct(mode) for path, mode in modes.items() if path.is_file()} == {"0o600"}


# What is stored.

BITS = {
    "float64": np.array([0.1, -0.0, np.inf, -np.inf, np.nan, 5e-324, np.frombuffer(b"\1\2\3\4\5\6\xf8\x7f")[0]]),
    "float32": np.array([[0.1, np.nan], [-0.0, 1e-45]], dtype=np.float32),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "int32": np.array([-(2**31), 2**31 - 1], dtype=np.int32),
    "bool": np.array([True, False, True]),
    "no dimension": np.array(0.1),
    "a bool alone": np.array(True),
    "empty": np.empty((0, 3)),
    "empty within": np.empty((2, 0, 3), dtype=np.float32),
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(20)[::3],
    "reversed": np.arange(5.0)[::-1],
    "other byte order": np.arange(3, dtype=">f8" if sys.byteorder == "little" else "<f8"),
    "": np.arange(2),
    "Größe/../x": np.arange(2),
}


def test_arrays_return_bit_by_bit(tmp_path: Path) -> None:
    """Every dtype, shape, layout and name of an array survives, in order, and may be written to."""
    directory = CheckpointDirectory(tmp_path, IDENTITY)
    directory.save(BITS, {})
    found = directory.newest()
    assert found is not None and list(found.arrays) == list(BITS)
    for name, array in found.arrays.items():
        expected = BITS[name].astype(BITS[name].dtype.newbyteorder("="))
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape), name
        assert array.tobytes() == expected.tobytes(), name
        assert array.flags.writeable, name


FACTS = {
    "floats": [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf],
    "ints": [0, -1, 2**53 + 1, -(2**63), 2**64, 3**20_000, -(3**20_000)],
    "others": [None, True, False, "", "é\n\0\ud800", [], {}, [[{"a": [None]}]]],
    "": {"$int": "0x10", "$$int": 1, "$": {"$int": 2**70}},
}


def test_facts_return_exactly(tmp_path: Path) -> None:
    """Facts come back equal and of the same types, whatever is nested, infinite or longer than 64 bits."""
    directory = CheckpointDirectory(tmp_path, IDENTITY)
    directory.save({}, {**FACTS, "nan": math.nan, "tuple": (1, (2.0,))})
    found = directory.newest()
    assert found is not None and found.arrays == {}
    facts = found.facts
    assert math.isnan(facts.pop("nan")) and facts.pop("tuple") == [1, [2.0]]
    # Python cannot print the largest of these numbers, so nothing is compared by repr.
    assert facts == FACTS and types(facts) == types(FACTS)
    packed = [struct.pack("d", value) for value in facts["floats"]]
    assert packed == [struct.pack("d", value) for value in FACTS["floats"]]


def types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    return [types(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize(
    "scalar", [np.float32(0.1), np.float64(1 / 3), np.int64(-(2**63)), np.uint64(2**64 - 1), np.True_, np.str_("a")]
)
def test_numpy_scalars_are_facts(scalar: Any, tmp_path: Path) -> None:
    """A NumPy scalar comes back as Python's, with the same value."""
    directory = CheckpointDirectory(tmp_path, IDENTITY)
    directory.save({}, {"it": [scalar]})
    found = directory.newest()
    assert found is not None
    (value,) = found.facts["it"]
    assert value == scalar and type(value) in (float, int, bool, str)


@pytest.mark.parametrize("fact", [{1}, {1: 2}, b"", 1j, np.zeros(1), object(), np.datetime64("now")])
def test_what_json_cannot_keep_is_refused(fact: Any, tmp_path: Path) -> None:
    """A fact that would change on its way is an error that names its place, before anything is written."""
    with pytest.raises(TypeError, match=r"at facts\['a'\]\[1\]"):
        CheckpointDirectory(tmp_path / "new", IDENTITY).save({}, {"a": [0, fact]})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("a", np.array([None]), TypeError),
        ("a", np.array(["text"]), TypeError),
        ("a", np.zeros(2, dtype=complex), TypeError),
        ("__metadata__", np.zeros(2), ValueError),
        (3, np.zeros(2), ValueError),
    ],
)
def test_what_safetensors_cannot_keep_is_refused(name: Any, array: Any, error: Any, tmp_path: Path) -> None:
    """An array that cannot be stored is an error that shows its name, before anything is written."""
    with pytest.raises(error, match=repr(name)):
        CheckpointDirectory(tmp_path / "new", IDENTITY).save({name: array}, {})
    assert not (tmp_path / "new").exists()


def test_files_are_what_others_read(tmp_path: Path) -> None:
    """Any reader of safetensors and of JSON opens a checkpoint, and the system's tool confirms the hashes."""
    saved(tmp_path, 1)
    path = tmp_path / "checkpoint-0000000001"
    assert names(path) == sorted(FILES)
    with safe_open(path / FILES[0], framework="np") as file:
        assert file.get_tensor("step") == 1
    assert json.loads((path / FILES[1]).read_text())["facts"] == {"number": 1}
    manifest = json.loads((path / FILES[2]).read_text())
    sums = subprocess.run(["sha256sum", *FILES[:2]], cwd=path, capture_output=True, text=True, check=False).stdout
    expected = "".join(f"{manifest['files'][name]['sha256']}  {name}\n" for name in FILES[:2])
    assert sums == expected or shutil.which("sha256sum") is None


# Which ones there are.


def test_two_are_kept_and_the_newest_is_returned(tmp_path: Path) -> None:
    """The names sort by the order of writing, whatever the clock says, and the newest two stay."""
    path = tmp_path / "made" / "on the way"
    directory = CheckpointDirectory(path, IDENTITY)
    assert directory.newest() is None and not path.parent.exists()
    for number in range(1, 13):
        written = directory.save(arrays_of(number), {"number": number})
        os.utime(written, (0, 2_000_000_000 - number))
        assert number_of(directory.newest()) == number
        assert [path / name for name in names(path)][-1] == written
        assert len(names(path)) == min(number, 2)


def test_numbers_grow_past_their_width(tmp_path: Path) -> None:
    """A number with one more digit is later, though its name sorts before."""
    saved(tmp_path, 1)
    os.rename(tmp_path / "checkpoint-0000000001", tmp_path / "checkpoint-9999999999")
    directory = CheckpointDirectory(tmp_path, IDENTITY)
    assert directory.save(arrays_of(2), {"number": 2}).name == "checkpoint-10000000000"
    assert number_of(directory.newest()) == 2


def test_a_directory_does_not_move_with_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means what it meant when it was given."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    directory = CheckpointDirectory("here", IDENTITY)
    monkeypatch.chdir("elsewhere")
    directory.save(arrays_of(1), {"number": 1})
    assert newest_number(tmp_path / "here") == 1


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """What has no name of ours is neither read nor removed."""
    others = ["notes.txt", "checkpoint-1", "checkpoint-000000001x", ".checkpoint", "checkpoint-last"]
    for name in others:
        (tmp_path / name).write_text("mine")
    saved(tmp_path, 4)
    assert newest_number(tmp_path) == 4 and {*others} < {*names(tmp_path)}


@pytest.mark.parametrize("door", ["newest", "save"])
def test_another_training_is_refused(door: str, tmp_path: Path) -> None:
    """Other data or parameters are an error that says which, how they differ, and what to do; nothing is touched."""
    saved(tmp_path, 2)
    long = "x" * 1000
    saved(tmp_path / "long", 1, {"data": "d" * 64, "parameters": long + "alpha=0.1" + long, "old": "1"})
    before = names(tmp_path)
    other = CheckpointDirectory(tmp_path, {**IDENTITY, "data": "e" * 64})
    message = f"data is '{'d' * 64}' there and '{'e' * 64}' here. Choose another directory, or delete"
    with pytest.raises(ValueError, match=message) as caught:
        other.newest() if door == "newest" else other.save(arrays_of(9), {"number": 9})
    assert "parameters" not in str(caught.value) and str(tmp_path) in str(caught.value)
    assert names(tmp_path) == before
    other = CheckpointDirectory(tmp_path / "long", {"data": "d" * 64, "parameters": long + "alpha=0.2" + long})
    with pytest.raises(ValueError, match=r"=0\.1xx.*=0\.2xx.*; old is '1' there and missing here") as caught:
        other.newest() if door == "newest" else other.save(arrays_of(9), {"number": 9})
    assert len(str(caught.value)) < 600


# Damage.


def flip(file: Path, position: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(position * (len(content) - 1))] ^= 0b100
    file.write_bytes(content)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 3)


def newer(file: Path) -> None:
    file.write_text(json.dumps({"version": 5, "content": "of another form"}))


DAMAGES = [
    *((name, lambda file: file.unlink(), f"{name} is missing") for name in FILES),
    *((name, truncate, f"{name} has .* bytes, but .* were written") for name in FILES[:2]),
    *((name, lambda file: os.truncate(file, 0), f"{name} has 0 bytes") for name in FILES[:2]),
    (FILES[2], truncate, "manifest.json cannot be understood"),
    (FILES[2], lambda file: os.truncate(file, 0), "manifest.json cannot be understood"),
    *((name, lambda file: file.write_bytes(file.read_bytes() + b"\0"), name) for name in FILES),
    *((name, lambda file: flip(file, 0.5), f"{name} has another SHA-256") for name in FILES[:2]),
    (FILES[2], newer, "format, 5, is newer than 4"),
    (FILES[2], lambda file: file.write_text('{"version": 1}'), "format, 1, is that of an earlier skbig"),
    (FILES[2], lambda file: file.write_text('{"version": 4}'), "manifest.json cannot be understood"),
    (FILES[2], lambda file: file.write_text('{"version": 0}'), "manifest.json cannot be understood"),
    (FILES[2], lambda file: file.write_text("[1, 2]"), "manifest.json cannot be understood"),
    (FILES[2], lambda file: file.write_text("[" * 100_000), "manifest.json cannot be understood"),
    (FILES[2], lambda file: file.write_bytes(b"\xff\xfe\xfd"), "manifest.json cannot be understood"),
    ("", shutil.rmtree, None),
    ("", lambda path: (shutil.rmtree(path), path.mkdir()), "manifest.json is missing"),
    ("", lambda path: (shutil.rmtree(path), path.write_text("a file")), "it cannot be read"),
    ("", lambda path: (shutil.rmtree(path), path.symlink_to("nowhere")), "manifest.json is missing"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_a_damaged_checkpoint_is_named_and_skipped(
    name: str, damage: Callable[[Path], Any], message: str | None, tmp_path: Path
) -> None:
    """The one before it serves, does not count as one of two with it, and the damaged one goes in time."""
    directory = saved(tmp_path, 2)
    path = tmp_path / "checkpoint-0000000002"
    damage(path / name)
    if message is None:
        assert newest_number(tmp_path) == 1
    else:
        with pytest.warns(CheckpointWarning, match=message) as caught:
            assert newest_number(tmp_path) == 1
        assert len(caught) == 1 and str(path) in str(caught[0].message)
        assert caught[0].filename == __file__
    directory.save(arrays_of(3), {"number": 3})
    assert {"checkpoint-0000000001", "checkpoint-0000000003"} <= {*names(tmp_path)} or message is None
    directory.save(arrays_of(4), {"number": 4})
    assert number_of(directory.newest()) == 4 and len(names(tmp_path)) == 2


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_goes_unnoticed(name: str, tmp_path: Path) -> None:
    """Wherever a bit flips, a checkpoint is either skipped with a warning or is still exactly what was saved."""
    directory = saved(tmp_path, 1)
    file = tmp_path / "checkpoint-0000000001" / name
    whole, skipped = file.read_bytes(), 0
    for position in np.linspace(0, 1, 60):
        flip(file, position)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            number = number_of(directory.newest())
        assert (number, len(caught)) in ((0, 1), (1, 0))
        skipped += 1 - number
        file.write_bytes(whole)
    assert skipped >= 30 if name == FILES[2] else skipped == 60


def test_nothing_valid_is_nothing(tmp_path: Path) -> None:
    """Where all are damaged, each is named, none is returned, and none is removed before there are two others."""
    directory = saved(tmp_path, 2)
    for path in tmp_path.iterdir():
        truncate(path / FILES[0])
    with pytest.warns(CheckpointWarning) as caught:
        assert directory.newest() is None
    assert ["0002" in str(caught[0].message), "0001" in str(caught[1].message)] == [True, True]
    directory.save(arrays_of(3), {"number": 3})
    assert len(names(tmp_path)) == 3 and names(tmp_path)[-1] == "checkpoint-0000000003"


# Writes that fail.

CALLS = [*(("fsync", count) for count in range(1, 6)), ("mkdir", 1), ("rename", 1)]


def failing_at(monkeypatch: pytest.MonkeyPatch, call: str, count: int, error: BaseException) -> list[str]:
    """Let the so-manieth call of one of the system's functions raise; return the list in which calls are noted."""
    made: list[str] = []
    original = getattr(os, call)

    def function(*args: Any, **options: Any) -> Any:
        made.append(call)
        if len(made) == count:
            raise error
        return original(*args, **options)

    monkeypatch.setattr(os, call, function)
    return made


@pytest.mark.parametrize(("call", "count"), CALLS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_failed_write_is_an_error(
    call: str, count: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call fails, the error says what was tried and why, older checkpoints stay, and nothing else is left."""
    directory = saved(tmp_path, 3)
    before = names(tmp_path)
    original = OSError(code, os.strerror(code))
    made = failing_at(monkeypatch, call, count, original)
    with pytest.raises(OSError, match=rf"Could not write a checkpoint to .*{os.strerror(code)}") as caught:
        directory.save(arrays_of(4), {"number": 4})
    assert len(made) >= count
    assert caught.value.errno == code and caught.value.__cause__ is original and str(tmp_path) in str(caught.value)
    assert names(tmp_path) == before and newest_number(tmp_path) == 3
    monkeypatch.undo()
    directory.save(arrays_of(4), {"number": 4})
    assert newest_number(tmp_path) == 4 and len(names(tmp_path)) == 2


@posix
def test_a_full_disk(tmp_path: Path) -> None:
    """The system's own refusal to write more is reported as it is."""
    import resource

    directory = saved(tmp_path, 3)
    before = names(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="Could not write a checkpoint") as caught:
            directory.save(arrays_of(4, 100_000), {"number": 4})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == before and newest_number(tmp_path) == 3


def test_what_cannot_be_read_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that keeps something else than it was given is found out at once, and costs no older checkpoint."""
    directory = saved(tmp_path, 2)
    before = names(tmp_path)
    rename = os.rename

    def lossy(source: Any, target: Any) -> None:
        flip(Path(source) / FILES[0], 0.9)
        monkeypatch.setattr(os, "rename", rename)
        rename(source, target)

    monkeypatch.setattr(os, "rename", lossy)
    with pytest.raises(OSError, match=r"arrays\.safetensors has another SHA-256 .* read back"):
        directory.save(arrays_of(3), {"number": 3})
    assert names(tmp_path) == before and newest_number(tmp_path) == 2


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C goes through, and what was begun is removed."""
    directory = saved(tmp_path, 2)
    before = names(tmp_path)
    failing_at(monkeypatch, "fsync", 2, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        directory.save(arrays_of(3), {"number": 3})
    assert names(tmp_path) == before


def test_an_old_one_that_cannot_be_removed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk would fill silently; the error says that the new checkpoint is there, and it is."""
    directory = saved(tmp_path, 2)

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(PermissionError, match=r"Could not remove an old .* new one has been written"):
        directory.save(arrays_of(3), {"number": 3})
    assert newest_number(tmp_path) == 3


@posix
def test_a_read_only_directory(tmp_path: Path) -> None:
    """Where nothing may be written, what is there can still be read."""
    directory = saved(tmp_path, 2)
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(PermissionError, match="Could not write a checkpoint"):
            directory.save(arrays_of(3), {"number": 3})
        assert newest_number(tmp_path) == 2 and len(names(tmp_path)) == 2
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_file_in_the_way(below: str, tmp_path: Path) -> None:
    """A path that is a file, or lies in one, is an error at first use, not before, and the file stays."""
    file = tmp_path / "file"
    file.write_text("mine")
    directory = CheckpointDirectory(file / below, IDENTITY)
    for attempt in (directory.newest, lambda: directory.save({}, {})):
        with pytest.raises(NotADirectoryError, match="must be a directory") as caught:
            attempt()
        assert str(file) in str(caught.value)
    assert file.read_text() == "mine"


# Death.


class Died(BaseException):
    """Stands for SIGKILL: nobody cleans up."""


CHANGES = ("mkdir", "open", "fsync", "rename", "rmdir", "unlink")


@contextmanager
def dying_at(count: int) -> Iterator[list[str]]:
    """Let the process die before its so-manieth call that changes the disk; after that no call does anything."""
    made: list[str] = []

    def wrapped(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) > count:
                raise Died
            return original(*args, **options)

        return function

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, wrapped(name, getattr(os, name)))
        patch.setattr(checkpoint_module, "open", wrapped("write", open), raising=False)
        yield made


@posix
def test_death_between_any_two_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it strikes, the newest checkpoint is valid without a warning, and the next process goes on from it."""
    template = tmp_path / "template"
    saved(template, 2)
    for count in range(100):
        path = tmp_path / str(count)
        shutil.copytree(template, path)
        with dying_at(count) as made:
            try:
                CheckpointDirectory(path, IDENTITY).save(arrays_of(3), {"number": 3})
                break
            except Died:
                pass
        reached = newest_number(path)
        assert reached == (3 if "rename" in made[:count] else 2), made
        assert len([name for name in names(path) if name.startswith("checkpoint-")]) >= 2
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint_module, "_TOKEN", "of_another_process")
            CheckpointDirectory(path, IDENTITY).save(arrays_of(reached + 1), {"number": reached + 1})
        assert newest_number(path) == reached + 1
        assert len(names(path)) == 2 and names(path)[0].startswith("checkpoint-")
    assert count > 15 and {*made} == {*CHANGES, "write"}


@posix
def test_everything_is_on_the_disk_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power may fail: files and directory are synced before the rename, the parent after it, and removal is last."""
    directory = saved(tmp_path, 2)
    log: list[tuple[str, Any]] = []

    def noted(name: str, what: Callable[..., Any]) -> None:
        original = getattr(os, name)

        def function(*args: Any, **options: Any) -> Any:
            log.append((name, what(*args)))
            return original(*args, **options)

        monkeypatch.setattr(os, name, function)

    noted("fsync", lambda descriptor: os.fstat(descriptor).st_ino)
    noted("rename", lambda source, target: (Path(source).name, Path(target).name))
    path = directory.save(arrays_of(3), {"number": 3})
    moment = next(index for index, entry in enumerate(log) if entry[0] == "rename" and entry[1][1] == path.name)
    inode_of = {name: (path / name).stat().st_ino for name in FILES}
    synced = [inode for _, inode in log[:moment]]
    assert synced[-2:] == [inode_of["manifest.json"], path.stat().st_ino]
    assert {*synced} == {*inode_of.values(), path.stat().st_ino}
    assert log[moment + 1] == ("fsync", tmp_path.stat().st_ino)
    assert [entry[0] for entry in log[moment + 2 :]] == ["rename"]


# A process of its own, which imports one module of the package and not torch with it.
WRITER = """
import sys, types
package = types.ModuleType("skbig")
package.__path__ = [sys.argv[1] + "/skbig"]
sys.modules["skbig"] = package
import numpy as np
from skbig.engine.checkpoint import CheckpointDirectory
path, size, limit = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
directory = CheckpointDirectory(path, {"data": "d" * 64, "parameters": "BigMLPClassifier(alpha=0.1)"})
print("ready", flush=True)
if not sys.stdin.readline():
    sys.exit("nobody wants to know")
found = directory.newest()
first = 1 if found is None else found.facts["number"] + 1
for number in range(first, first + limit):
    arrays = {"weight": np.full(size, float(number)), "step": np.array(number)}
    directory.save(arrays, {"number": number})
    print(number, flush=True)
"""


def writers(path: Path, count: int, size: int, limit: int) -> list[subprocess.Popen[str]]:
    """Start processes that wait for a line, then save so many checkpoints and print the number of each."""
    command = [sys.executable, "-W", "error", "-c", WRITER, str(ROOT), str(path), str(size), str(limit)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return started


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@posix
def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """Whatever `save` has returned from is never lost, nothing is damaged, and at most two leftovers are swept."""
    reached = 0
    for process in writers(tmp_path, 6, 100_000, 10**6):
        begin(process)
        time.sleep(random.uniform(0.02, 0.25))
        process.send_signal(signal.SIGKILL)
        output, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL and not errors
        acknowledged = [int(line) for line in output.splitlines() if line]
        assert acknowledged == list(range(reached + 1, reached + 1 + len(acknowledged)))
        found = newest_number(tmp_path)
        assert found - max(acknowledged, default=reached) in (0, 1)
        reached = found
    assert reached > 0
    CheckpointDirectory(tmp_path, IDENTITY).save(arrays_of(reached + 1), {"number": reached + 1})
    assert len(names(tmp_path)) == 2 and all(name.startswith("checkpoint-") for name in names(tmp_path))


@posix
def test_two_processes_at_once(tmp_path: Path) -> None:
    """Each ends well, or with an error that names the other one; the directory is whole, and nothing is left over."""
    both = writers(tmp_path, 2, 1000, 15)
    for process in both:
        begin(process)
    for process in both:
        _, errors = process.communicate()
        assert process.returncode == 0 or "another process seems to write" in errors, errors
    assert any(process.returncode == 0 for process in both)
    assert newest_number(tmp_path) >= 15
    saved_last = CheckpointDirectory(tmp_path, IDENTITY)
    saved_last.save(arrays_of(99), {"number": 99})
    assert len(names(tmp_path)) == 2 and number_of(saved_last.newest()) == 99


def test_a_number_that_was_taken_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that write at once never overwrite each other: the later one takes the next number."""
    directory, other = CheckpointDirectory(tmp_path, IDENTITY), CheckpointDirectory(tmp_path, IDENTITY)
    rename = os.rename

    def late(source: Any, target: Any) -> None:
        monkeypatch.setattr(os, "rename", rename)
        assert other.save(arrays_of(1), {"number": 1}).name == Path(target).name
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert directory.save(arrays_of(2), {"number": 2}).name == "checkpoint-0000000002"
    assert number_of(directory.newest()) == 2 and len(names(tmp_path)) == 2


def test_a_reader_follows_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When what is being read is removed, because there are newer ones, the newest of those is returned, silently."""
    directory = saved(tmp_path, 1)
    original = checkpoint_module.load_file

    def slow(path: Path) -> Any:
        monkeypatch.setattr(checkpoint_module, "load_file", original)
        for number in (2, 3):
            CheckpointDirectory(tmp_path, IDENTITY).save(arrays_of(number), {"number": number})
        return original(path)

    monkeypatch.setattr(checkpoint_module, "load_file", slow)
    assert number_of(directory.newest()) == 3


@posix
def test_only_what_the_dead_have_left_is_swept(tmp_path: Path) -> None:
    """What a living process is writing stays; a dead one's goes, and another machine's after a day."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    here, old = checkpoint_module._MACHINE, time.time() - 100_000
    leftovers = {
        f".checkpoint.{here}.{dead.pid}.abc.0": (False, time.time()),
        f".checkpoint.{here}.{os.getppid()}.abc.0": (True, old),
        f".checkpoint.{here}.{os.getpid()}.{checkpoint_module._TOKEN}.999": (True, old),
        f".checkpoint.{here}.{os.getpid()}.abc.0": (False, time.time()),
        f".checkpoint.another_machine.{dead.pid}.abc.0": (True, time.time()),
        f".checkpoint.another_machine.{os.getpid()}.abc.1": (False, old),
    }
    for name, (_, written) in leftovers.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "arrays.safetensors").write_bytes(b"half")
        os.utime(tmp_path / name, (written, written))
    directory = CheckpointDirectory(tmp_path, IDENTITY)
    assert directory.newest() is None and {*names(tmp_path)} == {*leftovers}
    directory.save(arrays_of(1), {"number": 1})
    expected = {name for name, (stays, _) in leftovers.items() if stays}
    assert {*names(tmp_path)} == expected | {"checkpoint-0000000001"}


def test_nothing_global_moves(tmp_path: Path, unchanged_globals: None) -> None:
    """Saving and reading leave generators, environment and handlers as they were."""
    saved(tmp_path, 3).newest()
    fingerprint(np.arange(3))


# Fingerprints.


def on_disk(array: np.ndarray, path: Path) -> np.ndarray:
    np.save(path / "array.npy", array)
    return np.load(path / "array.npy", mmap_mode="r")  # type: ignore[no-any-return]


X = np.random.default_rng(0).normal(size=(7, 5))


@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_a_fingerprint_is_of_what_is_held(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layout, place and size of a block make no difference."""
    expected = fingerprint(X)
    monkeypatch.setattr("skbig.engine.fingerprint.BLOCK_BYTES", block)
    wide = np.zeros((7, 10))
    wide[:, ::2] = X
    for same in (X.copy(), np.asfortranarray(X), wide[:, ::2], X[::-1][::-1], on_disk(X, tmp_path)):
        assert fingerprint(same) == expected
    one, other = (np.array([text[:3], None, len(text) / 7, True], dtype=object) for text in ("abcd", "abce"))
    assert one[0] is not other[0] and fingerprint(one) == fingerprint(other)


def changed(position: int, value: float) -> np.ndarray:
    result = X.copy()
    result.ravel()[position] = value
    return result


DIFFERENT = [
    (),
    ((),),
    ((), ()),
    (X,),
    (X, X),
    ((X, X),),
    (X.T,),
    (X.ravel(),),
    (X.reshape(1, 7, 5),),
    (X[:-1],),
    (changed(0, 9.0),),
    (changed(34, 9.0),),
    (changed(17, 0.0),),
    (changed(17, -0.0),),
    (X.astype(np.float32),),
    (X.view(np.int64),),
    (csr_array(X),),
    (csr_array(changed(17, 0.0)),),
    (csr_array(np.c_[X, np.zeros(7)]),),
    (np.zeros((0, 3)),),
    (np.zeros((3, 0)),),
    (np.zeros((0, 3), dtype=int),),
    (np.array(1.0),),
    (np.array([1.0]),),
    (np.array([1]),),
    (np.array([True]),),
    (np.array(["a", "b"]),),
    (np.array(["a", "b"], dtype=object),),
    (np.array(["ab", ""], dtype=object),),
    (np.array(["a", None], dtype=object),),
    ("a", "b"),
    (("a", "b"),),
    ("ab",),
    ("ab", ""),
    ("", "ab"),
    ("None",),
    (None,),
    (None, None),
    (1,),
    (1.0,),
    (True,),
    ("1",),
    (b"1",),
    (0.0,),
    (-0.0,),
]


def test_what_differs_has_another_fingerprint() -> None:
    """Values, shapes, dtypes, signs of zero, order and nesting all count."""
    prints = [fingerprint(*values) for values in DIFFERENT]
    twins = [(i, j) for i in range(len(prints)) for j in range(i) if prints[i] == prints[j]]
    assert not twins
    assert prints == [fingerprint(*values) for values in DIFFERENT]


def test_sparse_rows_are_what_they_hold() -> None:
    """An array and a matrix of the same compressed rows have one fingerprint; other formats are refused."""
    assert fingerprint(csr_array(X)) == fingerprint(csr_matrix(X))
    with pytest.raises(TypeError, match="got csc_array"):
        fingerprint(csc_array(X))


@pytest.mark.parametrize("value", [[1], {"a": 1}, object(), {1}])
def test_what_has_no_fingerprint_is_refused(value: Any) -> None:
    """A value whose bits are not defined is an error, not an address."""
    with pytest.raises(TypeError, match=f"got {type(value).__name__}"):
        fingerprint("a", (value,))


def test_fingerprints_last() -> None:
    """Checkpoints of today are recognised by later releases."""
    expected = "2b65acc62683eed93306ba619d9fa1f9cba4380214b9ea367258eb22d6e26d97"
    assert fingerprint(np.arange(3, dtype="<f8"), None, ("a", 1)) == expected


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_are_not_copied(order: Any) -> None:
    """The memory that a fingerprint takes is that of a few blocks."""
    array = np.zeros((40, 100_000), order=order)
    tracemalloc.start()
    fingerprint(array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * BLOCK_BYTES < array.nbytes / 2
