"""Doors whose packages are missing say how to install them."""

from __future__ import annotations

import importlib.util
import sys

import pytest

import skbig.onnx
from tests.fitting import X, trained


def test_onnx_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module can be imported without skl2onnx; its use names the extra."""
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "skbig\[onnx\]"'):
        skbig.onnx.to_onnx(trained("binary"), X)
