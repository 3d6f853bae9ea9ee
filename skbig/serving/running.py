"""The server in this process: from what to serve to requests answered."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from skbig._utils.extras import import_extra
from skbig._utils.threads import thread_count
from skbig.serving.app import Models, create_app
from skbig.serving.limits import Limits
from skbig.serving.trust import Trust

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LOG = logging.getLogger("skbig.serving")


@dataclass(frozen=True)
class Job:
    """What is served, and how."""

    models: Models
    name: str | None
    versions: int
    poll: float
    trust: Trust
    limits: Limits
    hosts: Sequence[str] | None
    metrics_folder: str = ""
    log_level: int = logging.INFO


async def run_here(job: Job, listener: socket.socket) -> None:
    """Load the models, so that what is wrong with them is raised here, and serve them until a signal comes."""
    uvicorn = import_extra("uvicorn", "serve", "skbig.serving")
    app = create_app(
        job.models,
        name=job.name,
        versions=job.versions,
        poll=job.poll,
        trust=job.trust,
        limits=job.limits,
        hosts=job.hosts,
    )
    config = uvicorn.Config(
        app,
        lifespan="off",  # it is held here
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than the proxies that stand before it, which reuse connections for 60
        timeout_graceful_shutdown=max(1, round(job.limits.seconds)),
    )
    with _threads(job.limits.threads):
        async with app.router.lifespan_context(app):
            listener.listen(2048)
            host, port = listener.getsockname()[:2]
            _LOG.info("Serving at http://%s:%d", f"[{host}]" if ":" in host else host, port)
            await uvicorn.Server(config).serve(sockets=[listener])


@contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    """Let torch and BLAS compute on so many threads for a while."""
    threadpoolctl = import_extra("threadpoolctl", "serve", "skbig.serving")  # scikit-learn brings it
    with threadpoolctl.threadpool_limits(n_threads), thread_count(n_threads):
        yield
