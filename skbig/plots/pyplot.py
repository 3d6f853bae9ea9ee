"""matplotlib, which is asked for only when something is drawn."""

from __future__ import annotations

from typing import Any


def import_pyplot(display: str) -> Any:
    """Return ``matplotlib.pyplot``, or say how to install what `display` draws with."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{display} draws with matplotlib. Install it with: pip install skbig[plot]") from error
    return plt
