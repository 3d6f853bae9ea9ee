"""A file that is read in chunks, each of which is checked whenever it is read."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO

CHUNK_BYTES = 1 << 20


class CheckedReader(io.RawIOBase):
    """A seekable file for reading, whose bytes come from `read_chunk(index)`, `CHUNK_BYTES` at a time.

    It owns `file`, on which `read_chunk` works, and closes it.
    """

    def __init__(self, file: BinaryIO, n_bytes: int, read_chunk: Callable[[int], bytes]) -> None:
        self._file, self._n_bytes, self._read_chunk = file, n_bytes, read_chunk
        self._position = 0
        self._index, self._chunk = -1, b""  # the chunk read last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._n_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._n_bytes:
            return 0
        index, offset = divmod(self._position, CHUNK_BYTES)
        if index != self._index:
            self._chunk, self._index = self._read_chunk(index), index
        piece = memoryview(self._chunk)[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        self._chunk, self._index = b"", -1
        super().close()
