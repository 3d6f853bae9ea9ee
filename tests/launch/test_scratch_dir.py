"""A folder that is removed when its owner ends, and nothing else is."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from skbig import DDP, BigMLPRegressor
from skbig.launch.scratch_dir import LOCK, PREFIX, scratch_dir

ROOT = Path(__file__).parents[2]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of temporary files of its own."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def test_a_folder_whose_owner_was_killed_goes(temporary: Path) -> None:
    """The next one who makes a folder removes it, but not one that is still in use, or that nobody has taken yet."""
    program = "import os\nfrom skbig.launch.scratch_dir import scratch_dir\nwith scratch_dir():\n    os._exit(1)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    [abandoned] = temporary.glob(f"{PREFIX}*")
    with scratch_dir() as used:
        assert not abandoned.exists() and used.stat().st_mode & 0o077 == 0
        (untaken := temporary / f"{PREFIX}untaken").mkdir()
        with scratch_dir() as other:
            assert used.exists() and other.exists() and untaken.exists()
        assert not other.exists()
    untaken.rmdir()


def test_what_only_looks_like_an_abandoned_folder_stays(temporary: Path, tmp_path: Path) -> None:
    """Neither a link to somewhere else, nor a pipe or a link in the place of a lock, is followed or waited for."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / LOCK).write_text("mine")
    names = [temporary / f"{PREFIX}{kind}" for kind in ("link", "pipe", "linked", "file", "folder")]
    link, pipe, linked, file, folder = names
    link.symlink_to(precious)
    for path in (pipe, linked, folder):
        path.mkdir()
    os.mkfifo(pipe / LOCK)
    (linked / LOCK).symlink_to(precious / LOCK)
    (folder / LOCK).mkdir()
    file.write_text("mine")
    with scratch_dir():
        assert all(os.path.lexists(path) for path in names)
    assert (precious / LOCK).read_text() == "mine"
    for path in names:
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)


@pytest.mark.parametrize("what", ["read-only", "missing", "file", "none"])
def test_where_no_folder_can_be_made_the_error_says_what_to_do(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It is of the class of what went wrong, names the place and TMPDIR, and comes before a process is started."""
    error, named = PermissionError(errno.EACCES, "Permission denied", str(temporary)), str(temporary)
    if what == "read-only":  # by mode it is not so for root
        monkeypatch.setattr(tempfile, "mkdtemp", mock.Mock(side_effect=error))
    elif what == "none":
        error = FileNotFoundError(errno.ENOENT, f"No usable temporary directory found in ['{temporary}']")
        monkeypatch.setattr(tempfile, "gettempdir", mock.Mock(side_effect=error))
    else:
        named = str(tmp_path / what)
        if what == "file":
            Path(named).touch()
        monkeypatch.setattr(tempfile, "tempdir", named)
    kind = {"read-only": PermissionError, "file": NotADirectoryError}.get(what, FileNotFoundError)
    model = BigMLPRegressor(backend=DDP(n_workers=2), device="cpu")
    with mock.patch("subprocess.Popen") as popen, pytest.raises(kind, match="none can be made.*TMPDIR") as raised:
        model.fit(np.ones((8, 2)), np.ones(8))
    assert named in str(raised.value) and not popen.called
    assert not [name for name in vars(model) if name.endswith("_")]
