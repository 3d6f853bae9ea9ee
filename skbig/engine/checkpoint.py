"""Nothing lost: a directory of checkpoints that a crash at any moment leaves readable.

What lies in the directory::

    checkpoint-0000000012/            the higher the number, the later it was written
        arrays.safetensors
        facts.json                    the facts, the identity, and the names of the arrays in their order
        manifest.json                 size and SHA-256 of the other two; written last
    .checkpoint.machine.1234.5e8b.0/  what process 1234 is writing or removing at this moment; nobody reads it

A checkpoint is written under a hidden name, brought to the disk, and renamed into place; it is read back before an
older one may go. So what has a checkpoint's name is whole, unless the disk has damaged it, and that the hashes tell.

Nobody else may read it: directories are made with the mode 0700, and files with 0600, whatever the umask. A directory
that was there before keeps its mode.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as packed

from skbig._utils.user_warning import warn_user
from skbig.exceptions import CheckpointWarning

_VERSION = 4
_ARRAYS, _FACTS, _MANIFEST = "arrays.safetensors", "facts.json", "manifest.json"
_NAME = re.compile(r"checkpoint-(\d{10,})", re.ASCII)
_TEMPORARY = re.compile(r"\.checkpoint\.(\w+)\.(\d{1,9})\.(\w+)\.\d+", re.ASCII)
_MACHINE = re.sub(r"\W", "_", platform.node(), flags=re.ASCII) or "unnamed"
# Process numbers are used again, in containers soon: the token tells us from one of our number that was killed.
_TOKEN = uuid.uuid4().hex[:12]
_COUNTER = itertools.count()
_DAY = 86_400.0  # seconds


class Checkpoint(NamedTuple):
    """What a training has kept: its arrays and facts, and the place where they lie."""

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    path: Path


class _Damage(Exception):
    """Why a checkpoint cannot be used."""


class CheckpointDirectory:
    """Checkpoints of one training, newest last, at least two valid ones kept.

    Parameters
    ----------
    path : path
        The directory. It is made by the first `save`.
    identity : mapping of str to str
        What a checkpoint must agree with, such as a fingerprint of the data and the parameters as text.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skbig.engine.checkpoint import CheckpointDirectory
    >>> from skbig.engine.fingerprint import fingerprint
    >>> folder = tempfile.TemporaryDirectory()
    >>> directory = CheckpointDirectory(folder.name, {"data": fingerprint(np.arange(3.0))})
    >>> directory.newest() is None
    True
    >>> directory.save({"weight": np.ones((2, 3))}, {"epoch": 7, "best_loss": np.inf}).name
    'checkpoint-0000000001'
    >>> checkpoint = directory.newest()
    >>> checkpoint.facts, checkpoint.arrays["weight"].shape
    ({'epoch': 7, 'best_loss': inf}, (2, 3))
    >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        self.path = Path(os.path.abspath(path))  # the program may change its working directory while it trains
        self.identity = dict(identity)

    def save(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Path:
        """Write a checkpoint, and remove those that are older than the newest two valid ones.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            Of bool, int or float dtype and any shape; kept bit by bit.
        facts : mapping of str to object
            None, bool, int, float, str, NumPy scalars, and lists and mappings of them. StepInputs are kept exactly;
            what was a tuple is read as a list, and a NumPy scalar as Python's.

        Returns
        -------
        path : Path
            The new checkpoint.

        Raises
        ------
        OSError
            If it cannot be written; the checkpoints that were there stay, and nothing else is left.
        ValueError
            If the directory holds checkpoints of another training.
        """
        contents = {_ARRAYS: packed(_plain(arrays)), _FACTS: self._document(arrays, facts)}
        previous = self._newest_valid(whole=False)
        path = self._write(contents)
        with _explained(f"remove an old checkpoint from '{self.path}'", "The new one has been written."):
            self._tidy(previous)
        return path

    def newest(self) -> Checkpoint | None:
        """Return the newest valid checkpoint, or None; each damaged one is named in a `CheckpointWarning`.

        Raises
        ------
        OSError
            If the directory cannot be read.
        ValueError
            If the checkpoint is of another training: which part of the identity differs, and how.
        """
        return self._newest_valid(whole=True)

    def _newest_valid(self, whole: bool) -> Checkpoint | None:
        """Find the newest valid checkpoint; without `whole` its arrays are left out, and nobody is warned."""
        for path in reversed(self._checkpoints()):
            try:
                document = _verified(path)
                self._compare(document["identity"])
                return Checkpoint(_arrays(path, document["names"]) if whole else {}, document["facts"], path)
            except _Damage as damage:
                if path not in self._checkpoints():  # another process removed it, because there are newer ones
                    return self._newest_valid(whole)
                if whole:
                    warn_user(f"The checkpoint '{path}' is skipped: {damage}.", CheckpointWarning)
        return None

    def _compare(self, identity: Mapping[str, str]) -> None:
        keys = [key for key in {**identity, **self.identity} if identity.get(key) != self.identity.get(key)]
        if keys:
            differences = "; ".join(_difference(key, identity.get(key), self.identity.get(key)) for key in keys)
            raise ValueError(
                f"The checkpoints in '{self.path}' must be of this training, got those of another: {differences}. "
                "Choose another directory, or delete this one to begin anew."
            )

    def _document(self, names: Iterable[str], facts: Mapping[str, Any]) -> bytes:
        parts = {"identity": self.identity, "names": list(names), "facts": facts}
        return json.dumps({key: _encoded(part, key) for key, part in parts.items()}).encode()

    def _checkpoints(self) -> list[Path]:
        """Return every checkpoint, valid or not, oldest first."""
        with _explained(f"read the checkpoints in '{self.path}'"):
            try:
                names = filter(_NAME.fullmatch, os.listdir(self.path))
            except FileNotFoundError:
                return []
        return [self.path / name for name in sorted(names, key=_number)]

    def _write(self, contents: Mapping[str, bytes]) -> Path:
        """Write, publish and verify a checkpoint; if that fails, or is interrupted, nothing is left of it."""
        path = self.path / _temporary_name()
        try:
            with _explained(f"write a checkpoint to '{self.path}'", "Older checkpoints are kept."):
                self._make()
                _write_files(path, contents)
                path = self._publish(path)
                _sync_directory(self.path)
                _read_back(path)
        except BaseException:
            with suppress(OSError):
                _remove(path)
            raise
        return path

    def _make(self) -> None:
        if not self.path.is_dir():
            self.path.mkdir(0o700, parents=True, exist_ok=True)
            with suppress(PermissionError):  # who may write to a directory may not always read it
                _sync_directory(self.path.parent)

    def _publish(self, temporary: Path) -> Path:
        """Rename a finished checkpoint to the next free number."""
        while True:
            number = max((_number(path.name) for path in self._checkpoints()), default=0) + 1
            path = self.path / f"checkpoint-{number:010d}"
            try:
                os.rename(temporary, path)
                return path
            except OSError:
                # Another process may have been faster: directories that hold something are never overwritten.
                if not os.path.lexists(path):
                    raise

    def _tidy(self, previous: Checkpoint | None) -> None:
        """Remove what is older than the newest two valid checkpoints, and what killed processes have left."""
        for path in self._checkpoints():
            if previous is not None and _number(path.name) < _number(previous.path.name):
                _remove(path)
        for name in os.listdir(self.path):
            if _is_left_over(self.path / name):
                shutil.rmtree(self.path / name, ignore_errors=True)  # what cannot be removed takes space only


# Files.


@contextmanager
def _explained(what: str, comfort: str = "It must be a directory that can be read and written.") -> Iterator[None]:
    """Let an error of the system say what was tried; it stays an error of the same kind."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, f"Could not {what}: {reason}. {comfort}") from error


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1])


def _temporary_name() -> str:
    return f".checkpoint.{_MACHINE}.{os.getpid()}.{_TOKEN}.{next(_COUNTER)}"


def _is_left_over(path: Path) -> bool:
    """Whether a process has begun to write or remove this, and lives no more."""
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    machine, process, token = match[1], int(match[2]), match[3]
    if machine == _MACHINE and os.name == "posix":
        return token != _TOKEN if process == os.getpid() else not _is_alive(process)
    with suppress(OSError):  # nobody can ask for a process of another machine, but no write takes a day
        return time.time() - path.stat().st_mtime > _DAY
    return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _write_files(path: Path, contents: Mapping[str, bytes]) -> None:
    os.mkdir(path, 0o700)
    files = {name: {"bytes": len(content), "sha256": _sha256(content)} for name, content in contents.items()}
    manifest = {"version": _VERSION, "files": files}
    for name, content in {**contents, _MANIFEST: json.dumps(manifest, indent=2).encode()}.items():
        with open(path / name, "xb") as file:
            os.chmod(path / name, 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    _sync_directory(path)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk, where the system can be asked to."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the answer of file systems that keep names in another way
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Take a checkpoint away in one stroke: killed halfway, it must not look like a damaged one."""
    with suppress(FileNotFoundError):  # another process has removed it
        if _NAME.fullmatch(path.name):
            path = path.rename(path.with_name(_temporary_name()))
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _read_back(path: Path) -> None:
    try:
        _verified(path)
    except _Damage as damage:
        reason = f"{damage}, as it is read back from '{path.name}'"
        if not os.path.lexists(path):
            reason = f"'{path.name}' was removed at once; another process seems to write to this directory"
        raise OSError(errno.EIO, reason) from damage


def _verified(path: Path) -> dict[str, Any]:
    """Return the facts and what belongs to them, once every file is the one that was written."""
    try:
        _verify(path, json.loads((path / _MANIFEST).read_bytes()))
        document: dict[str, Any] = json.loads((path / _FACTS).read_bytes(), object_hook=_decoded)
    except FileNotFoundError as error:
        raise _Damage(f"{Path(error.filename).name} is missing") from error
    except OSError as error:
        raise _Damage(f"it cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _Damage(f"{_MANIFEST} cannot be understood") from error
    return document


def _arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    try:
        arrays = load_file(path / _ARRAYS)
    except (OSError, SafetensorError) as error:
        raise _Damage(f"{_ARRAYS} cannot be read ({error})") from error
    return {name: arrays[name] for name in names}


def _verify(path: Path, manifest: Any) -> None:
    version, files = manifest["version"], manifest.get("files")
    if isinstance(version, int) and version > _VERSION:
        raise _Damage(f"its format, {version}, is newer than {_VERSION}, the newest that this skbig knows")
    if isinstance(version, int) and 0 < version < _VERSION:
        raise _Damage(f"its format, {version}, is that of an earlier skbig; this one reads {_VERSION}")
    if version != _VERSION:
        raise ValueError(version)
    for name in (_ARRAYS, _FACTS):
        size, expected = (path / name).stat().st_size, files[name]["bytes"]
        if size != expected:
            raise _Damage(f"{name} has {size} bytes, but {expected} were written")
        with open(path / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != files[name]["sha256"]:
                raise _Damage(f"{name} has another SHA-256 than what was written")


def _difference(key: str, theirs: str | None, ours: str | None) -> str:
    pairs = zip(theirs or "", ours or "", strict=False)
    start = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    return f"{key} is {_shortened(theirs, start)} there and {_shortened(ours, start)} here"


def _shortened(text: str | None, start: int) -> str:
    """Quote a text around the place from which on it differs."""
    if text is None:
        return "missing"
    first = max(start - 30, 0)
    piece = text[first : first + 80]
    return f"'{'...' if first else ''}{piece}{'...' if first + len(piece) < len(text) else ''}'"


# What is in the files.


def _plain(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return contiguous arrays; the byte order is a matter of safetensors."""
    result = {}
    for name, value in arrays.items():
        array = np.asarray(value, order="C")  # unlike ascontiguousarray it leaves () as it is
        if not isinstance(name, str) or name == "__metadata__":
            raise ValueError(f"The name of an array must be a str other than '__metadata__', got {name!r}.")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"The array {name!r} must be of bool, int or float of 64 bits or less, got {array.dtype}.")
        result[name] = array
    return result


def _encoded(value: Any, where: str) -> Any:
    """Turn facts into what JSON keeps exactly; `where` is the way to them."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        # Many readers of JSON know 64 bits only, and Python itself limits the number of decimal digits.
        return int(value) if value.bit_length() < 64 else {"$int": hex(value)}
    if isinstance(value, list | tuple):
        return [_encoded(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {_escaped(key): _encoded(item, f"{where}[{key!r}]") for key, item in value.items()}
    expected = "None, a bool, int, float or str, or a list or a mapping (with str as keys) of them"
    raise TypeError(f"A fact must be {expected}, got {type(value).__name__} at {where}.")


def _escaped(key: str) -> str:
    return f"${key}" if key.startswith("$") else key


def _decoded(value: dict[str, Any]) -> Any:
    if value.keys() == {"$int"}:
        return int(value["$int"], 16)
    return {key.removeprefix("$"): item for key, item in value.items()}
