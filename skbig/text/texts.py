"""Texts as they are handed over, checked."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_texts(X: Any, name: str = "X") -> list[str]:
    """Return a list of texts: of a list, an array, a Series, or a table with one column.

    Raises
    ------
    ValueError
        When it is one text alone, holds none, or a row is no text or an empty one; the row is named.
    """
    if isinstance(X, str | bytes):
        raise ValueError(
            f"{name} must be a list of texts, and is one text alone (a {type(X).__name__}). Put it in a list: [text]."
        )
    values = X.to_numpy() if hasattr(X, "to_numpy") else X
    try:
        values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    except TypeError as error:
        raise ValueError(f"{name} must be a list of texts, and is a {type(X).__name__}.") from error
    if values and all(isinstance(value, list | tuple) and len(value) == 1 for value in values):
        values = [value[0] for value in values]  # a table with one column
    if not values:
        raise ValueError(f"{name} must hold at least one text, and has 0 rows.")
    for i, value in enumerate(values):
        if not (isinstance(value, str) and value.strip()):
            raise ValueError(_told(name, i, value))
    _check_characters(values, name)
    return values


def _told(name: str, i: int, value: Any) -> str:
    if isinstance(value, str):
        return (
            f"Row {i} of {name} is an empty text, which has no meaning to find. Leave the row out, or write what "
            "stands for it, as 'unknown'."
        )
    if isinstance(value, list | tuple):
        return f"Each row of {name} must be one text, and row {i} has {len(value)} values. Choose one column."
    if isinstance(value, bytes):
        return f"Row {i} of {name} must be a text, and is bytes. Decode them: value.decode('utf-8')."
    missing = " Missing texts are filled by X.fillna('unknown')." if value is None or value != value else ""
    return f"Row {i} of {name} must be a text, a str. Got {value!r} of type {type(value).__name__} instead.{missing}"


def _check_characters(texts: list[str], name: str) -> None:
    """Refuse halves of characters, which stand in no text that was read as UTF-8."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        for i, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"Row {i} of {name} holds half a character at {error.start}, as a file that was read in the wrong "
                    "encoding has. Read it as UTF-8, or replace it: text.encode('utf-8', 'replace').decode()."
                ) from None
