"""The command ``skbig``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from skbig._utils.version import __version__

_SERVE = """Serve fitted models over HTTP, by TensorFlow Serving's REST API (/v1) and the Open Inference Protocol (/v2),
with metrics for Prometheus (/metrics)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with its arguments, by default those of the process, and return the exit status."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _COMMANDS[given.command](given)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"skbig {given.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skbig", description="scikit-learn estimators that train torch networks inside"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("versions", help="print the versions of what is installed, for reports of errors")
    serve = commands.add_parser("serve", help="serve fitted models over HTTP", description=_SERVE)
    add = serve.add_argument
    add("models", nargs="+", metavar="MODEL", help="a model file (.skops, .onnx, .joblib, .pkl), or a folder of these")
    add("--name", help="under which a single model is served (default: the name of its file)")
    add("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s, this machine only)")
    add("--port", type=int, default=8080, help="0 takes a free one (default: %(default)s)")
    add("--workers", type=int, default=1, help="processes (default: %(default)s)")
    add("--threads", type=int, default=1, help="of each process, for its models (default: %(default)s)")
    add("--versions", type=int, default=1, help="how many of the newest versions are served (default: %(default)s)")
    add("--poll", type=float, default=1.0, help="seconds between two looks at the files (default: %(default)s)")
    trust = serve.add_argument_group("trust")
    add = trust.add_argument
    add("--trust-pickle", action="append", default=[], metavar="PATH", help="a file, or folder, that may run code")
    add("--trust-type", action="append", default=[], metavar="TYPE", help="a type that a .skops file may hold")
    add("--verify-key", metavar="FILE", help="a public key by which all files must be signed")
    add("--key", metavar="FILE", help="the key of files that end in .enc")
    add("--allow-host", action="append", metavar="NAME", help="a name by which clients may call this server")
    limits = serve.add_argument_group("limits")
    add = limits.add_argument
    add("--max-body", type=int, default=64, metavar="MB", help="of a request (default: %(default)s)")
    add("--max-rows", type=int, default=100_000, metavar="N", help="of a request (default: %(default)s)")
    add("--timeout", type=float, default=60.0, metavar="SECONDS", help="of a request (default: %(default)s)")
    add("--batch-rows", type=int, default=1024, metavar="N", help="of requests that are run together; 1: each alone")
    return parser


def _serve(given: argparse.Namespace) -> None:
    from skbig.serving import Limits, Trust, serve

    serve(
        given.models,
        host=given.host,
        port=given.port,
        workers=given.workers,
        name=given.name,
        versions=given.versions,
        poll=given.poll,
        trust=Trust(given.trust_pickle, given.trust_type, given.verify_key, given.key),
        limits=Limits(
            body_bytes=given.max_body << 20,
            rows=given.max_rows,
            seconds=given.timeout,
            batch_rows=given.batch_rows,
            threads=given.threads,
        ),
        hosts=given.allow_host,
    )


def _versions(given: argparse.Namespace) -> None:
    from skbig.versions import show_versions

    show_versions()


_COMMANDS = {"serve": _serve, "versions": _versions}
