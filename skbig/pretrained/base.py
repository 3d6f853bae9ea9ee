"""A pretrained model as a value: its folder, and the hash of what lies there. What it holds is loaded when needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from skbig.pretrained.folders import find_folder, fingerprint

MOST_LOADED = 4
"""Models that are kept in memory."""

_LOADED: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
_CHANGING = threading.RLock()


@dataclass(frozen=True)
class Base:
    """A pretrained model that others build on, and do not hold.

    Attributes
    ----------
    model : str or path
        What the user called it: a folder, or a name of a hub.
    folder : str
        Where it was found.
    fingerprint : str
        The hash of the files that were found there.
    extra : str
        'text' or 'image'.
    """

    model: str | PathLike[str]
    folder: str
    fingerprint: str
    extra: str

    @staticmethod
    def find(model: str | PathLike[str], extra: str, *, local_files_only: bool) -> Base:
        """Return the model of this path or name as it is now."""
        folder = find_folder(model, extra, local_files_only=local_files_only)
        return Base(model, str(folder), fingerprint(folder), extra)

    def located(self) -> Path:
        """Return where the very same model lies now: where it was found, or where `model` leads today.

        Raises
        ------
        ValueError
            When it is not there, or is another one; it says where it is expected.
        """
        folder = Path(self.folder)
        if not folder.is_dir():
            try:
                folder = find_folder(self.model, self.extra, local_files_only=True)
            except ValueError as error:
                raise ValueError(
                    f"The pretrained model that this one was fitted with is expected in {self.folder}, which does not "
                    "exist. Put it there, or say where it is: set_params(model=folder)."
                ) from error
        if fingerprint(folder) != self.fingerprint:
            raise ValueError(
                f"{folder} holds another model, or another tokenizer, than the one that was fitted with (its hash "
                f"was {self.fingerprint[:12]}, and is {fingerprint(folder)[:12]}). Put the old one back, give its "
                "folder by set_params(model=folder), or fit anew."
            )
        return folder

    def loaded(self, what: str, load: Callable[[Path], Any], device: str = "cpu") -> Any:
        """Return what a function reads from the folder, which is kept in memory: `what` it is, is its name."""
        key = (self.fingerprint, what, device)
        with _CHANGING:
            if key not in _LOADED:
                _LOADED[key] = load(self.located())
                while len(_LOADED) > MOST_LOADED:
                    _LOADED.popitem(last=False)
            _LOADED.move_to_end(key)
            return _LOADED[key]


def let_go_of_devices() -> None:
    """Forget what is kept in the memory of devices: it is copied there again when it is needed."""
    with _CHANGING:
        for key in [key for key in _LOADED if key[2] != "cpu"]:
            del _LOADED[key]
