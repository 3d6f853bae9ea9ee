"""A request that is answered with an error, by its own fault or for want of time or room."""

from __future__ import annotations


class RequestError(Exception):
    """What the client is told, and the HTTP status.

    Attributes
    ----------
    status : int
        400 for what the request says, 404 for a model that is not there, 413 for one that is too large, 503 and 504 for
        a server that is too busy or too slow.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
