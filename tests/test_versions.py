"""A report of an error can say what it happened with."""

from __future__ import annotations

import importlib.metadata

import pytest
import torch

import skbig
from skbig.cli import main


def test_versions_are_those_that_are_installed(capsys: pytest.CaptureFixture[str], unchanged_globals: None) -> None:
    """Each package comes with its version, and nothing that is not installed is made up."""
    skbig.show_versions()
    shown = capsys.readouterr().out
    facts = dict(line.strip().split(": ", 1) for line in shown.splitlines() if ": " in line)
    assert facts["skbig"] == skbig.__version__
    for package in ("scikit-learn", "torch", "numpy", "scipy", "joblib", "safetensors", "pandas", "skops"):
        assert facts[package] == importlib.metadata.version(package)
    assert facts["threads"] == str(torch.get_num_threads())
    assert "ray" not in facts or importlib.metadata.version("ray")


def test_the_command_shows_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """``skbig versions`` prints what the function does."""
    skbig.show_versions()
    expected = capsys.readouterr().out
    assert main(["versions"]) == 0
    assert capsys.readouterr().out == expected
