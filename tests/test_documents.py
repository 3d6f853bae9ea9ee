"""What is printed as an example runs: README, docs, docstrings, the scripts in examples/."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot as plt
import psutil
import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


# What an example needs beside what all tests do.
NEEDED = {
    "examples/with_dask.py": ["distributed"],
    "examples/with_ray.py": ["ray", "pydantic"],
    "examples/out_into_the_world.py": ["skl2onnx", "onnxruntime"],
    "docs/guide/onnx.md": ["skl2onnx", "onnxruntime"],
    "skbig/federated/flower_client.py": ["flwr"],
    "docs/guide/privacy.md": ["dp_accounting"],
    "skbig/privacy/budget.py": ["dp_accounting"],
    "docs/guide/pretrained.md": ["transformers", "tokenizers", "PIL"],
    "examples/pretrained_texts.py": ["transformers", "tokenizers"],
    "examples/pretrained_images.py": ["transformers", "PIL"],
    "skbig/testing/pretrained.py": ["transformers", "tokenizers", "PIL"],
    "skbig/text/encoder.py": ["transformers", "tokenizers"],
    "skbig/text/classifier.py": ["transformers", "tokenizers"],
    "skbig/text/regressor.py": ["transformers", "tokenizers"],
    "skbig/image/encoder.py": ["transformers", "PIL"],
    "skbig/onnx/export.py": ["skl2onnx", "onnxruntime"],
    "skbig/onnx/saved_model.py": ["tensorflow", "skl2onnx", "onnxruntime"],
    "docs/guide/saved_model.md": ["tensorflow", "skl2onnx", "onnxruntime"],
}


def skip_without_packages(path: Path) -> None:
    for package in NEEDED.get(relative(path), []):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


def written() -> list[Path]:
    """Return the documents that hold blocks of Python."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(path for path in pages if BLOCK.search(path.read_text(encoding="utf-8")))


def documented() -> list[Path]:
    """Return the modules with examples in their docstrings."""
    modules = (ROOT / "skbig").rglob("*.py")
    return sorted(path for path in modules if ">>> " in path.read_text(encoding="utf-8"))


# Pages that start processes or train for long: together they take as long as all others but the first.
LONG = ("search.md", "raw_tables.md", "many_devices.md")
PAGES = [
    pytest.param(path, marks=pytest.mark.thorough if path.name in LONG else [], id=relative(path)) for path in written()
]


@pytest.mark.parametrize("path", PAGES)
def test_blocks_of_a_document_run_in_order(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of a document, one after the other, are a script that runs without a warning."""
    skip_without_packages(path)
    monkeypatch.chdir(tmp_path)
    # A module, and not a bare namespace, so that a class that a document defines can be pickled.
    script = types.ModuleType("document")
    monkeypatch.setitem(sys.modules, "document", script)
    text = path.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        above = "\n" * text.count("\n", 0, block.start(1))  # an error names the line of the document
        exec(compile(above + block[1], path, "exec"), script.__dict__)
    plt.close("all")


def test_files_that_are_named_exist() -> None:
    """What CONTRIBUTING, the design and the map of a room tell to read is there."""
    pages = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "design.md", *(ROOT / "skbig").rglob("__init__.py")]
    for page in pages:
        homes = [ROOT, ROOT / "skbig", page.parent]
        names = re.findall(r"`([\w./-]+\.(?:py|md|toml|txt))`", page.read_text(encoding="utf-8"))
        missing = [name for name in names if not any((home / name).exists() for home in homes)]
        assert not missing, relative(page)


@pytest.mark.parametrize("path", documented(), ids=relative)
def test_examples_of_docstrings_give_what_they_show(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A docstring's example prints what stands below it."""
    skip_without_packages(path)
    monkeypatch.chdir(tmp_path)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    plt.close("all")
    assert result.attempted > 0
    assert result.failed == 0


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Let a script write to temporary folders only, and leave no process behind."""
    own = {"SKBIG_SCRIPT": str(tmp_path), "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    with tempfile.TemporaryDirectory(prefix="ray") as short:  # Ray has sockets there, whose paths must be short
        kept = {name: value for name, value in os.environ.items() if name != "DISPLAY"}  # without it plt.show() is mute
        yield {**kept, **own, "RAY_TMPDIR": short}
        left = wait_for_end(str(tmp_path))
        for process in left:
            process.kill()
    assert not left


def wait_for_end(mark: str, seconds: float = 15) -> list[psutil.Process]:
    """Wait for the processes that a script has started; return those that stay."""
    last = time.monotonic() + seconds
    while (left := processes_of(mark)) and time.monotonic() < last:
        time.sleep(0.1)
    return left


def processes_of(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has ended, or is another user's
            if process.environ().get("SKBIG_SCRIPT") == mark:
                found.append(process)
    return found


# Each takes some seconds: every day one of them shows that they are run at all.
SCRIPTS = [
    pytest.param(path, marks=[] if path.name == "plot_own_module.py" else pytest.mark.thorough, id=relative(path))
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("path", SCRIPTS)
def test_scripts_in_examples_run(path: Path, tmp_path: Path, surroundings: dict[str, str]) -> None:
    """An example is a script that runs anywhere, warns of nothing, and leaves no process behind."""
    skip_without_packages(path)
    if path.name == "with_ray.py":
        surroundings["HOME"] = str(tmp_path)  # where Ray leaves a token, and what a trainer reports
    command = [sys.executable, str(path)]
    done = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
