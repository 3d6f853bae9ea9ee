"""The server as a program: one process or several, on one socket, until a signal ends them."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from skbig._utils.extras import import_extra
from skbig._utils.validation import Interval, check
from skbig.exceptions import ModelFileError
from skbig.serving.app import Models, PathLike, one_or_many
from skbig.serving.limits import Limits
from skbig.serving.loading import check_file, load_model
from skbig.serving.repository import find_models
from skbig.serving.running import Job, run_here
from skbig.serving.trust import Trust
from skbig.serving.workers import run_workers

_LOG = logging.getLogger("skbig.serving")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def serve(
    models: Models,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    name: str | None = None,
    versions: int = 1,
    poll: float = 1.0,
    trust: Trust | None = None,
    limits: Limits | None = None,
    hosts: Sequence[str] | None = None,
) -> None:
    """Serve models over HTTP, until SIGINT or SIGTERM; then what was asked is answered, and no more is accepted.

    This is what ``skbig serve`` does. It speaks TensorFlow Serving's REST API and the Open Inference Protocol, and has
    no authentication: whoever can reach it can use it.

    Parameters
    ----------
    models : path, sequence of path, or mapping of str to model
        As for `create_app`.
    host : str, default="127.0.0.1"
        The address to listen at. The default is reached from this machine only; "0.0.0.0" from everywhere.
    port : int, default=8080
        0 takes a free one, which is logged.
    workers : int, default=1
        Processes that share the port; each loads all models.
    name : str, default=None
        As for `create_app`.
    versions : int, default=1
        As for `create_app`.
    poll : float, default=1.0
        As for `create_app`.
    trust : Trust, default=None
        As for `create_app`.
    limits : Limits, default=None
        As for `create_app`.
    hosts : sequence of str, default=None
        The names by which clients may call this server. None means those of this machine where it is reached from this
        machine only, and otherwise any.

    Raises
    ------
    ModelFileError
        When a file that was named is not there, is not trusted, or cannot be loaded.

    Examples
    --------
    >>> from skbig.serving import serve
    >>> serve("no-such-model.skops")
    Traceback (most recent call last):
        ...
    skbig.exceptions.ModelFileError: There is no file or folder no-such-model.skops.
    """
    import_extra("uvicorn", "serve", "skbig.serving")
    check("workers", "serve", workers, Interval(1, None, closed="left", integer=True))
    check("port", "serve", port, Interval(0, 65535, integer=True))
    models, trust, limits = one_or_many(models, name), trust or Trust(), limits or Limits()
    limits.check()
    if workers > 1 and os.name != "posix":
        raise NotImplementedError("Several workers share a socket on Linux and macOS only; elsewhere workers=1.")
    if workers > 1 and isinstance(models, Mapping):
        raise ValueError("Several workers serve model files, which each of them loads. Got models in memory.")
    if not isinstance(models, Mapping):
        _check_files(models, trust, load=workers > 1)
    if not _is_loopback(host):
        _LOG.warning("Whoever can reach %s can use these models: there is no authentication.", host)
    elif hosts is None:
        hosts = _LOOPBACK
    with _listener(host, port) as listener:
        level = _LOG.getEffectiveLevel()
        job = Job(models, name, versions, poll, trust, limits, hosts, log_level=level)
        if workers == 1:
            asyncio.run(run_here(job, listener))
        else:
            listener.listen(2048)  # who comes before a worker is ready waits for it
            run_workers(job, workers, listener)


def _check_files(paths: Sequence[PathLike], trust: Trust, load: bool) -> None:
    """Raise ModelFileError for what was named and cannot be served, before a port is opened."""
    for path in map(Path, paths):
        if not path.exists():
            raise ModelFileError(f"There is no file or folder {path}.")
        if path.is_file():
            check_file(path, trust)
            if load:
                load_model(path, trust)
        elif not find_models((path,)):
            _LOG.warning("There is no model in %s yet.", path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    """Return a bound socket. Only of one that is said to be of TCP does asyncio send small packets at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let two servers have the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener
