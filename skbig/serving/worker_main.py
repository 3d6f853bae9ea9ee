"""What a worker process of the server runs: ``python -m skbig.serving.worker_main FD``.

Its standard input brings what to serve, and ends when the parent does; then so does the worker.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import sys
import threading

from skbig.serving.running import LOG_FORMAT, Job, run_here

FAILED_START = 3


def main() -> int:
    """Serve on the socket of a file descriptor; return the exit status."""
    job: Job = pickle.load(sys.stdin.buffer)  # of our parent, by a pipe that nobody else has
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=job.log_level, format=LOG_FORMAT)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = job.metrics_folder  # read when prometheus_client is imported
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        try:
            asyncio.run(run_here(job, listener))
        except KeyboardInterrupt:
            return 130
        except (ValueError, OSError, ImportError) as error:
            logging.getLogger("skbig.serving").error("%s", error)
            return FAILED_START
    return 0


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
