"""What the server does at each of its addresses."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from skbig._utils.version import __version__
from skbig.serving import open_inference, tensorflow_rest
from skbig.serving.errors import RequestError
from skbig.serving.limits import Limits
from skbig.serving.metrics import Metrics
from skbig.serving.model import ServedModel
from skbig.serving.model_thread import ModelThread
from skbig.serving.registry import Registry, Served
from skbig.serving.repository import ModelFile
from skbig.serving.requests import LARGE_BYTES, check_host, check_rows, parse_json, read_body
from skbig.serving.thread_count import ThreadCount

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Tensors = dict[str, np.ndarray]
Handler = Callable[["Request"], Awaitable["Response"]]
T = TypeVar("T")

_LOG = logging.getLogger("skbig.serving")


class Api:
    """Answers requests from the models of a registry."""

    def __init__(self, limits: Limits, hosts: frozenset[str] | None) -> None:
        self.metrics = Metrics()
        self.registry = Registry(self.metrics.served)
        self.is_ready = False
        self._limits, self._hosts = limits, hosts
        self._threads = ThreadCount(limits.threads)

    def served(self, name: str, version: int, model: ServedModel, file: ModelFile | None = None) -> Served:
        """Return a model that is ready to be put into the registry."""
        thread = ModelThread(
            model,
            max_batch_rows=self._limits.batch_rows,
            max_waiting_rows=self._limits.waiting_rows,
            threads=self._threads,
            observe=partial(self.metrics.batch, name),
        )
        return Served(name, version, thread, file)

    def close(self) -> None:
        """Let go of all models."""
        self.is_ready = False
        for served in self.registry.all():
            self.registry.drop(served)
            served.thread.join(5.0)

    async def answer(self, protocol: str, handler: Handler, request: Request) -> Response:
        """Let a handler answer, and count it; what goes wrong is answered as both protocols want it."""
        start = time.perf_counter()
        try:
            check_host(request, self._hosts)
            response = await handler(request)
        except RequestError as error:
            response = _json({"error": str(error)}, error.status)
        except Exception:
            _LOG.exception("%s %s has failed.", request.method, request.url.path)
            response = _json({"error": "The server has failed; the reason is in its log."}, 500)
        name = request.path_params.get("name", "")
        known = name if self.registry.versions(name) else ""
        self.metrics.answered(protocol, known, response.status_code, time.perf_counter() - start)
        return response

    # TensorFlow Serving.

    async def v1_run(self, request: Request) -> Response:
        verbs = {"predict": self._predict, "classify": self._classify, "regress": self._regress}
        verb = request.path_params["verb"]
        if verb not in verbs:
            raise RequestError(f"A model can {', '.join(':' + name for name in verbs)}. Got ':{verb:.60}'.", 404)
        body = await read_body(request, self._limits)
        served = self._find(request)
        with served.thread.held():
            return await verbs[verb](served, body)

    async def _predict(self, served: Served, body: bytes) -> Response:
        def parse() -> tuple[Tensors, tuple[str, ...], bool]:
            return tensorflow_rest.predict_request(parse_json(body), served.model)

        inputs, outputs, by_rows = await _maybe_elsewhere(parse, len(body))
        results = await self._run(served, inputs, outputs)
        return await _json_of(partial(tensorflow_rest.predict_response, results, by_rows), results)

    async def _classify(self, served: Served, body: bytes) -> Response:
        output = tensorflow_rest.probabilities_of(served.model)
        results = await self._examples(served, body, output)
        return await _json_of(partial(tensorflow_rest.classify_response, results[output], served.model), results)

    async def _regress(self, served: Served, body: bytes) -> Response:
        output = tensorflow_rest.value_of(served.model)
        results = await self._examples(served, body, output)
        return await _json_of(partial(tensorflow_rest.regress_response, results[output]), results)

    async def _examples(self, served: Served, body: bytes, output: str) -> Tensors:
        def parse() -> Tensors:
            return tensorflow_rest.examples_request(parse_json(body), served.model)

        return await self._run(served, await _maybe_elsewhere(parse, len(body)), (output,))

    async def v1_status(self, request: Request) -> Response:
        served = self._find(request)
        only = "version" in request.path_params
        all_versions = [self.registry.find(served.name, str(each)) for each in self.registry.versions(served.name)]
        return _json(tensorflow_rest.status_response([served] if only else all_versions))

    async def v1_metadata(self, request: Request) -> Response:
        return _json(tensorflow_rest.metadata_response(self._find(request)))

    # The Open Inference Protocol.

    async def v2_infer(self, request: Request) -> Response:
        body = await read_body(request, self._limits)
        served = self._find(request)
        with served.thread.held():

            def parse() -> open_inference.InferRequest:
                head, raw = open_inference.split_body(body, request.headers.get(open_inference.HEADER))
                return open_inference.parse_infer(parse_json(head), raw, served.model)

            asked = await _maybe_elsewhere(parse, len(body))
            results = await self._run(served, asked.inputs, asked.outputs)
        make = partial(open_inference.infer_response, served, asked, results)
        content, head_bytes = await _maybe_elsewhere(make, _size(results))
        return _infer_response(content, head_bytes)

    async def v2_metadata(self, request: Request) -> Response:
        served = self._find(request)
        return _json(open_inference.metadata_response(served, self.registry.versions(served.name)))

    async def v2_model_ready(self, request: Request) -> Response:
        served = self._find(request)
        return _json({"name": served.name, "ready": True})

    async def v2_server(self, request: Request) -> Response:
        return _json({"name": "skbig", "version": __version__, "extensions": open_inference.EXTENSIONS})

    async def v2_live(self, request: Request) -> Response:
        return _json({"live": True})

    async def v2_ready(self, request: Request) -> Response:
        return _json({"ready": self.is_ready}, 200 if self.is_ready else 503)

    # Both.

    async def metrics_text(self, request: Request) -> Response:
        from starlette.responses import Response

        text, kind = await asyncio.to_thread(self.metrics.text)
        return Response(text, headers={"content-type": kind})

    async def no_route(self, request: Request, error: Any) -> Response:
        """Answer for an address, or a method, that is none of these."""
        what = "There is nothing at" if error.status_code == 404 else f"{request.method} is not possible at"
        self.metrics.answered("", "", error.status_code, 0.0)
        return _json({"error": f"{what} {request.url.path!r:.200}."}, error.status_code, error.headers)

    def _find(self, request: Request) -> Served:
        return self.registry.find(request.path_params["name"], request.path_params.get("version"))

    async def _run(self, served: Served, inputs: Tensors, outputs: tuple[str, ...]) -> Tensors:
        """Run a model within the limits; what it says of the rows is the client's fault."""
        check_rows(len(next(iter(inputs.values()))), self._limits)
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await served.thread.run(inputs, outputs)
        except TimeoutError:
            raise RequestError(f"The model did not answer within {self._limits.seconds:g} seconds.", 504) from None
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            reason = str(error).partition("\n")[0]
            raise RequestError(f"The model refuses these rows: {reason:.1000}") from error


async def _maybe_elsewhere(function: Callable[[], T], n_bytes: int) -> T:
    """Call a function here, or, for much data, on another thread, while the event loop goes on."""
    return await asyncio.to_thread(function) if n_bytes > LARGE_BYTES else function()


def _size(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


async def _json_of(make: Callable[[], Any], results: Tensors) -> Response:
    return await _maybe_elsewhere(lambda: _json(make()), _size(results))


def _json(content: Any, status: int = 200, headers: Any = None) -> Response:
    from starlette.responses import Response

    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers, media_type="application/json")


def _infer_response(content: bytes, head_bytes: int | None) -> Response:
    from starlette.responses import Response

    if head_bytes is None:
        return Response(content, media_type="application/json")
    headers = {open_inference.HEADER: str(head_bytes)}
    return Response(content, headers=headers, media_type="application/octet-stream")
