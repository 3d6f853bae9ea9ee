"""How much a request, and a model, may take."""

from __future__ import annotations

from dataclasses import dataclass, fields

from skbig._utils.validation import Interval, check


@dataclass(frozen=True)
class Limits:
    """How much a request may ask for, and a model may take.

    Parameters
    ----------
    body_bytes : int, default=67108864
        Of a request; more is answered with 413.
    rows : int, default=100000
        Of a request; more is answered with 413.
    waiting_rows : int, default=1000000
        Of all requests that wait for a model; more are answered with 503.
    seconds : float, default=60.0
        For sending a request, answered with 408, and again for its answer, 504.
    batch_rows : int, default=1024
        Requests that wait are run together up to so many rows; 1 runs each by itself.
    threads : int, default=1
        Of each process, on which torch, BLAS and ONNX Runtime compute. A request of few rows is answered later by
        several threads than by one, which has nobody to wait for; `workers` of `serve` are the better way to use many
        cores, unless single requests have thousands of rows.

    Examples
    --------
    >>> from skbig.serving import Limits
    >>> Limits(rows=1000).rows
    1000
    """

    body_bytes: int = 64 << 20
    rows: int = 100_000
    waiting_rows: int = 1_000_000
    seconds: float = 60.0
    batch_rows: int = 1024
    threads: int = 1

    def check(self) -> None:
        """Raise ValueError for a value out of range."""
        for field in fields(self):
            integer = field.name != "seconds"
            allowed = Interval(1 if integer else 0, None, closed="left" if integer else "neither", integer=integer)
            check(field.name, "Limits", getattr(self, field.name), allowed)
