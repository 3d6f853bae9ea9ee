"""Where a pretrained model lies: in a folder of the user's, or in the cache of the hub, which may be filled."""

from __future__ import annotations

import hashlib
import os
import re
from os import PathLike
from pathlib import Path

from skbig._utils.extras import import_extra
from skbig.pretrained.quiet import quiet

READ = ("*.safetensors", "*.json", "*.txt", "*.model")
"""What is read of a folder: weights, descriptions, vocabularies. No pickle is, which could run a program."""

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")

_KNOWN: dict[tuple[tuple[str, int, int], ...], str] = {}
"""Hashes by name, size and time of the files: a large model is read once."""


def find_folder(model: str | PathLike[str], extra: str, *, local_files_only: bool) -> Path:
    """Return the folder of a model: one of this path, or that of a name of the hub, downloaded if that is allowed.

    Raises
    ------
    ValueError
        When there is none; it names where it was looked for.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return _checked(path.resolve())
    name = os.fspath(model)
    looked = f"model={name!r}: there is no folder {path.absolute()}"
    if isinstance(model, PathLike) or HUB_NAME.fullmatch(name) is None or name.startswith("."):
        raise ValueError(
            f"{looked}. Give the folder that save_pretrained has written, or the name of a model of a hub."
        )
    return _checked(_of_the_hub(name, looked, extra, local_files_only))


def _of_the_hub(name: str, looked: str, extra: str, local_files_only: bool) -> Path:
    hub = import_extra("huggingface_hub", extra, f"model={name!r}")
    looked += f", and none for this name in the hub's cache {hub.constants.HF_HUB_CACHE}"
    with quiet():
        try:
            known = Path(hub.snapshot_download(name, local_files_only=True, allow_patterns=[*READ]))
        except Exception as error:
            if local_files_only:
                told = "It was not asked for, because of local_files_only=True."
                raise ValueError(f"{looked}. {told} Give a folder, or allow the download.") from error
        else:
            if local_files_only or any(known.glob("*.safetensors")):  # a part of it may have been asked for before
                return known
        try:
            return Path(hub.snapshot_download(name, allow_patterns=[*READ]))
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"{looked}; downloading failed, too: {type(error).__name__}: {first} Give the folder that "
                "save_pretrained has written, or another name."
            ) from error


def _checked(folder: Path) -> Path:
    if not any(folder.glob("*.safetensors")):
        old = sorted(path.name for pattern in ("*.bin", "*.pt", "*.ckpt") for path in folder.glob(pattern))
        pickles = f" ({old[0]} is a pickle, which could run a program, and is not read.)" if old else ""
        raise ValueError(
            f"The folder {folder} holds no *.safetensors file, and so no model that can be read.{pickles} Write it by "
            "save_pretrained of transformers."
        )
    return folder


def fingerprint(folder: Path) -> str:
    """Return a hash of all that is read of a model's folder."""
    files = sorted({path for pattern in READ for path in folder.glob(pattern)})
    stats = [(path, path.stat()) for path in files]
    key = tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)
    if key not in _KNOWN:
        digest = hashlib.sha256()
        for path in files:
            with path.open("rb") as file:
                own = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name} {own}\n".encode())
        _KNOWN[key] = digest.hexdigest()
    return _KNOWN[key]
