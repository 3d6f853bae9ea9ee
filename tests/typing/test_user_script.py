"""Type checkers find nothing wrong with a user's script, and find what is wrong."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("user_script.py")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


def test_the_script_runs_into_no_error_of_python() -> None:
    """What the type checkers read is Python of today."""
    compile(SCRIPT.read_text(encoding="utf-8"), str(SCRIPT), "exec")


def test_mypy() -> None:
    """By mypy, strictly: types of methods, fitted attributes and parameters are known, and errors are errors.

    Of the package itself nothing is told, as where it is installed: `make lint` checks that, by its own settings.
    """
    needs("mypy")
    options = ["--config-file=", "--cache-dir=.mypy_cache/user", "--strict", "--allow-untyped-calls"]
    done = run("mypy", *options, "--ignore-missing-imports", "--follow-imports=silent", str(SCRIPT))
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright() -> None:
    """By pyright, which reads scikit-learn's own sources for what has no types."""
    needs("pyright")
    if run("pyright", "--version").returncode:
        pytest.skip("pyright has no Node.js")
    done = run("pyright", "--pythonpath", sys.executable, str(SCRIPT))
    assert done.returncode == 0, done.stdout + done.stderr
