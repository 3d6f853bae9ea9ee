"""Libraries that show bars and reports are silent while we call them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Let transformers and the hub say nothing, and let nobody move torch's generator; all is put back."""
    with _ONE_AT_A_TIME, ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for name in ("transformers", "huggingface_hub"):
            stack.enter_context(_silent(logging.getLogger(name)))
        if importlib.util.find_spec("huggingface_hub") is not None:
            stack.enter_context(_no_bars())
        yield


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _no_bars() -> Iterator[None]:
    import huggingface_hub.utils as hub

    there = importlib.util.find_spec("transformers") is not None
    shown: Any = importlib.import_module("transformers.utils.logging") if there else None
    hub_was_on = not hub.are_progress_bars_disabled()
    others_were_on = there and shown.is_progress_bar_enabled()
    if hub_was_on:
        hub.disable_progress_bars()
    if others_were_on:
        shown.disable_progress_bar()
    try:
        yield
    finally:
        if others_were_on:
            shown.enable_progress_bar()  # and those of the hub
            if not hub_was_on:
                hub.disable_progress_bars()
        elif hub_was_on:
            hub.enable_progress_bars()
