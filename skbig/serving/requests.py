"""What all requests go through: their bodies are read within limits, and their errors become answers."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from skbig.serving.errors import RequestError
from skbig.serving.limits import Limits

if TYPE_CHECKING:
    from starlette.requests import Request

LARGE_BYTES = 1 << 17  # a body of this size is read on another thread, while the event loop goes on


def check_host(request: Request, hosts: frozenset[str] | None) -> None:
    """Raise RequestError for a name by which this server is not called.

    A page in a browser can let a name of its own point to this machine, and read what a local server answers.
    """
    if hosts is not None:
        host = re.sub(r":\d*$", "", request.headers.get("host", "")).lower()
        if host not in hosts:
            raise RequestError(
                f"This server is not called {host!r:.100}. Start it with --allow-host to allow that.", 421
            )


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    Raises
    ------
    RequestError
        When it is too large, comes too slowly, or is packed.
    """
    from starlette.requests import ClientDisconnect

    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestError("A request must be sent as it is, without Content-Encoding.", 415)
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limits.body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.seconds):
            return await _collect(request, limits)
    except TimeoutError:
        raise RequestError(f"The request did not come within {limits.seconds:g} seconds.", 408) from None
    except ClientDisconnect:
        raise RequestError("The client has gone.") from None


async def _collect(request: Request, limits: Limits) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limits.body_bytes:
            raise _too_large(limits)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limits: Limits) -> RequestError:
    return RequestError(f"A request may have {limits.body_bytes} bytes at most.", 413)


def parse_json(body: bytes | memoryview) -> Any:
    """Return the value of a text in JSON.

    Raises
    ------
    RequestError
        When it is none: NaN and Infinity are not JSON either.
    """
    try:
        return json.loads(bytes(body), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestError(f"The request is not JSON: {reason:.200}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; a number that is missing is null.")


def check_rows(n_rows: int, limits: Limits) -> None:
    """Raise RequestError for too many rows."""
    if n_rows > limits.rows:
        raise RequestError(f"A request may have {limits.rows} rows at most. Got {n_rows}.", 413)
