"""Clients that ask a server without a pause: ``python -m benchmarks.http_load PORT PATH CLIENTS SECONDS < BODY``.

A process of its own, so that it shares no interpreter with a server. It prints the seconds of each request as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time


class Client(asyncio.Protocol):
    """Sends a request, waits for its answer, and sends it again."""

    def __init__(self, request: bytes, end: float, seconds: list[float]) -> None:
        self._request, self._end, self._seconds = request, end, seconds
        self._buffer = b""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def _ask(self) -> None:
        self._start = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        now = time.perf_counter()
        if b" 200 " not in head[:20]:
            raise RuntimeError(f"The server answered {self._buffer!r:.300}.")
        self._seconds.append(now - self._start)
        self._buffer = b""
        if now < self._end:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set_result(None)


def _content_length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))


async def load(port: int, path: str, n_clients: int, duration: float, body: bytes) -> list[float]:
    """Let so many clients ask for so many seconds; return how long each request took."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    seconds: list[float] = []
    loop, end = asyncio.get_running_loop(), time.perf_counter() + duration
    made = [
        await loop.create_connection(lambda: Client(request, end, seconds), "127.0.0.1", port) for _ in range(n_clients)
    ]
    await asyncio.gather(*(client.gone for _, client in made))
    return seconds


if __name__ == "__main__":
    port, path, clients, duration = sys.argv[1:]
    print(json.dumps(asyncio.run(load(int(port), path, int(clients), float(duration), sys.stdin.buffer.read()))))
