"""The server as an ASGI application."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skbig._utils.extras import import_extra
from skbig._utils.validation import Interval, check
from skbig.serving.api import Api, Handler
from skbig.serving.limits import Limits
from skbig.serving.loading import as_served
from skbig.serving.trust import Trust
from skbig.serving.watcher import Watcher

if TYPE_CHECKING:
    from starlette.applications import Starlette

PathLike = str | os.PathLike[str]
Models = PathLike | Sequence[PathLike] | Mapping[str, Any]


def create_app(
    models: Models,
    *,
    name: str | None = None,
    versions: int = 1,
    poll: float = 1.0,
    trust: Trust | None = None,
    limits: Limits | None = None,
    hosts: Sequence[str] | None = None,
) -> Starlette:
    """Return an ASGI application that serves models by TensorFlow Serving's REST API and the Open Inference Protocol.

    `serve` runs it by uvicorn. Any other ASGI server runs it too, if it supports the lifespan protocol.

    Parameters
    ----------
    models : path, sequence of path, or mapping of str to model
        Model files, or folders of these, which are watched; or fitted estimators, sessions of ONNX Runtime, or objects
        that are a `ServedModel`, by the names under which they are served.
    name : str, default=None
        Under which the model of an only path is served. None means the name of its file or folder.
    versions : int, default=1
        How many of the newest versions of each model are served.
    poll : float, default=1.0
        Seconds between two looks at the files; 0 looks once, at the start.
    trust : Trust, default=None
        Which files may be loaded. None means none that could run code.
    limits : Limits, default=None
        How much a request may ask for.
    hosts : sequence of str, default=None
        The names by which clients may call this server (the Host header). None means any.

    Returns
    -------
    app : starlette.applications.Starlette

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skbig import BigMLPClassifier
    >>> from skbig.serving import create_app
    >>> X, y = load_iris(return_X_y=True)
    >>> app = create_app({"iris": BigMLPClassifier((8,), optimizer="lbfgs", random_state=0).fit(X, y)})
    >>> [route.path for route in app.routes][:2]
    ['/v1/models/{name}:{verb}', '/v1/models/{name}/versions/{version}:{verb}']
    """
    applications = import_extra("starlette.applications", "serve", "skbig.serving")
    check("versions", "create_app", versions, Interval(1, None, closed="left", integer=True))
    check("poll", "create_app", poll, Interval(0, None, closed="left"))
    limits = limits or Limits()
    limits.check()
    models = one_or_many(models, name)
    api = Api(limits, None if hosts is None else frozenset(hosts))
    start: Any = partial(_serving, api, models)
    if not isinstance(models, Mapping):
        paths = tuple(Path(path) for path in models)
        options: Any = {"name": name, "n_versions": versions, "trust": trust or Trust(), "n_threads": limits.threads}
        watcher = Watcher(paths, api.registry, api.served, **options)
        start = partial(_watching, watcher, poll)
    exceptions = import_extra("starlette.exceptions", "serve", "skbig.serving")
    app: Starlette = applications.Starlette(
        routes=_routes(api),
        lifespan=partial(_lifespan, api, start),
        exception_handlers={exceptions.HTTPException: api.no_route},
    )
    return app


def one_or_many(models: Models, name: str | None) -> Sequence[PathLike] | Mapping[str, Any]:
    """Return models as a sequence of paths or a mapping."""
    if isinstance(models, str | os.PathLike):
        models = [models]
    if not models:
        raise ValueError("There is nothing to serve: no path and no model was given.")
    if name is not None and (isinstance(models, Mapping) or len(models) != 1):
        raise ValueError("A name is for the model of a single path; several have the names of their files.")
    return models


@asynccontextmanager
async def _lifespan(api: Api, start: Any, app: Any) -> AsyncIterator[None]:
    """Serve while the application runs."""
    try:
        async with start():
            api.is_ready = True
            yield
    finally:
        api.close()


@asynccontextmanager
async def _serving(api: Api, models: Any) -> AsyncIterator[None]:
    """Serve models that are in memory."""
    for name, model in models.items():
        api.registry.put(api.served(name, 1, as_served(model)))
    yield


@asynccontextmanager
async def _watching(watcher: Watcher, poll: float) -> AsyncIterator[None]:
    """Serve what lies in files and folders, and follow them."""
    await watcher.start()
    watching = asyncio.create_task(watcher.run(poll)) if poll else None
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


def _routes(api: Api) -> list[Any]:
    routing = import_extra("starlette.routing", "serve", "skbig.serving")

    def route(path: str, protocol: str, handler: Handler, method: str = "GET") -> Any:
        return routing.Route(path, partial(api.answer, protocol, handler), methods=[method])

    v1 = ("/v1/models/{name}", "/v1/models/{name}/versions/{version}")
    v2 = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
    return [
        *(route(f"{path}:{{verb}}", "v1", api.v1_run, "POST") for path in v1),
        *(route(f"{path}/infer", "v2", api.v2_infer, "POST") for path in v2),
        *(route(path, "v1", api.v1_status) for path in v1),
        *(route(f"{path}/metadata", "v1", api.v1_metadata) for path in v1),
        *(route(path, "v2", api.v2_metadata) for path in v2),
        *(route(f"{path}/ready", "v2", api.v2_model_ready) for path in v2),
        route("/v2", "v2", api.v2_server),
        route("/v2/health/live", "v2", api.v2_live),
        route("/v2/health/ready", "v2", api.v2_ready),
        route("/metrics", "metrics", api.metrics_text),
    ]
