"""Tiny models with random weights, in the folders in which trained ones would lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from skbig.testing import tiny_image_model, tiny_text_model

GOOD = ["a good day", "what a good book that is", "good", "the day was good and long", "a good long day it was"]
BAD = ["a bad day", "what a bad book that is", "bad", "the day was bad and long", "a bad long day it was"]
TEXTS = [text for pair in zip(GOOD, BAD, strict=True) for text in pair]


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_model(tmp_path_factory.mktemp("text"), TEXTS)


@pytest.fixture(scope="session")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_image_model(tmp_path_factory.mktemp("image"))
