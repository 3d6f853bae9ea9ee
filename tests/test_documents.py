"""What is printed as an example runs: README, docs, docstrings, the scripts in examples/."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def written() -> list[Path]:
    """Return the documents that hold blocks of Python."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path for path in pages if BLOCK.search(path.read_text(encoding="utf-8")))


def documented() -> list[Path]:
    """Return the modules with examples in their docstrings."""
    modules = (ROOT / "skbig").rglob("*.py")
    return sorted(path for path in modules if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", written(), ids=relative)
def test_blocks_of_a_document_run_in_order(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of a document, one after the other, are a script that runs without a warning."""
    monkeypatch.chdir(tmp_path)
    # A module, and not a bare namespace, so that a class that a document defines can be pickled.
    script = types.ModuleType("document")
    monkeypatch.setitem(sys.modules, "document", script)
    text = path.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        above = "\n" * text.count("\n", 0, block.start(1))  # an error names the line of the document
        exec(compile(above + block[1], path, "exec"), script.__dict__)
    plt.close("all")


@pytest.mark.parametrize("path", documented(), ids=relative)
def test_examples_of_docstrings_give_what_they_show(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A docstring's example prints what stands below it."""
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    plt.close("all")
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=relative)
def test_scripts_in_examples_run(path: Path, tmp_path: Path) -> None:
    """An example is a script that runs anywhere, and warns of nothing."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    environment.pop("DISPLAY", None)  # without a screen, plt.show() shows nothing and says nothing
    command = [sys.executable, str(path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
