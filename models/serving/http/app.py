"""The routes of the service. Its page asks the same routes as everybody else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.data.dataset.dataset import Dataset
from darkroom.data.errors import ImageError
from darkroom.models.bundle.bundle import Bundle
from darkroom.models.pages.page import data_uri, render
from darkroom.models.prediction_table.schema import TOP_K
from darkroom.models.serving.batcher import Item, OverloadError
from darkroom.models.serving.explanation import Explained, Explainer
from darkroom.models.serving.http import answers, body
from darkroom.models.serving.http.access import BodyLimits, Keys, overloaded
from darkroom.models.serving.http.metrics import Metrics
from darkroom.models.serving.served import MAX_TOP_K, ServedModel, Service

logger = logging.getLogger(__name__)

# An explanation takes the network a hundred times; more at once would keep everybody else waiting.
_MAX_EXPLANATIONS = 1
_SECURITY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": answers.Problem, "description": "No valid API key"},
    413: {"model": answers.Problem, "description": "Too many images, or too many bytes"},
    415: {"model": answers.Problem, "description": "Neither a form nor JSON"},
    400: {"model": answers.Problem, "description": "The form cannot be parsed"},
    422: {"model": answers.Problem, "description": "The request does not hold what it should"},
    429: {"model": answers.Problem, "description": "Busy: try again after the seconds that Retry-After names"},
}
_NO_KEY: dict[int | str, dict[str, Any]] = {401: _REFUSALS[401]}


@dataclass(frozen=True)
class ServiceParts:
    """What the routes work with.

    Attributes:
        service: The model in use.
        keys: Who may call.
        metrics: What is counted.
        reference: The model's reference, as the operator gave it.
        find_dataset: Opens the data set that a model was trained on; None where it is not there.
        explainers: What explains images, by version; filled on first use.
    """

    service: Service
    keys: Keys
    metrics: Metrics
    reference: str
    find_dataset: Callable[[Bundle], Dataset | None]
    explainers: dict[str, Explainer] = field(default_factory=dict)

    def explainer(self, served: ServedModel) -> Explainer:
        """What explains the images of a version; only that of the last one is kept.

        Args:
            served: The version.
        """
        name = served.bundle.reference
        if name not in self.explainers:
            self.explainers.clear()
            decode = self.service.request.decode
            self.explainers[name] = Explainer(served.bundle, served.runner, decode, self.find_dataset)
        return self.explainers[name]


def create_app(parts: ServiceParts) -> FastAPI:
    """The service as an ASGI application.

    Args:
        parts: What its routes work with.
    """
    service, settings = parts.service, parts.service.request.settings
    app = FastAPI(title="Darkroom", docs_url=None, redoc_url=None, description="Image classification: docs/serving.md")
    app.add_middleware(BodyLimits, max_request_bytes=settings.max_request_bytes, max_held_bytes=settings.max_held_bytes)
    app.add_middleware(_Counted, metrics=parts.metrics)  # around the one above
    allowed = [Depends(parts.keys.check)]
    explaining = asyncio.Semaphore(_MAX_EXPLANATIONS)
    parts.metrics.watch(lambda: service.current.num_waiting, lambda: service.num_failures)

    images = body.describe_body(settings.max_images)

    @app.post("/v1/predict", dependencies=allowed, responses=_REFUSALS, openapi_extra=images)
    async def predict(
        request: Request,
        top_k: Annotated[int, Query(ge=1, le=MAX_TOP_K, description="The most likely classes to give")] = TOP_K,
    ) -> answers.Predictions:
        """Predict the images of a request: the rows that `darkroom score` writes for the same files."""
        with parts.metrics.holding():
            items = await body.read_images(request, settings.max_images)
            served, rows = await _rows(service, items)
        found = [answers.Prediction.of(row, top_k) for row in rows]
        for row in found:
            parts.metrics.observe_image(row.reason or row.status)
        return answers.Predictions(model=served.bundle.reference, predictions=found)

    @app.post("/v1/explain", dependencies=allowed, responses=_REFUSALS, openapi_extra=body.describe_body(1))
    async def explain(request: Request) -> answers.Explanation:
        """Explain one image: where the network looked, and the training images that it finds most similar."""
        items = await body.read_images(request, 1)
        if explaining.locked():
            raise overloaded()
        async with explaining:
            served, (row,) = await _rows(service, items)
            given = items[0][1]
            if row["reason"] or not isinstance(given, bytes):
                return _explanation(served, row, None)
            try:
                found = await run_in_threadpool(parts.explainer(served).explain, given)
            except ImageError:
                return _explanation(served, row, None)
            return _explanation(served, row, found)

    @app.get("/v1/models", dependencies=allowed, responses=_NO_KEY)
    async def models() -> answers.Models:
        """The model in use."""
        return answers.Models(models=[answers.ModelInUse.of(service.current, parts.reference)])

    @app.get("/metrics", dependencies=allowed, responses=_NO_KEY, response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        served = service.current
        return Response(parts.metrics.text(served.bundle.reference, served.engine), media_type=CONTENT_TYPE_LATEST)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "ok"}

    @app.get("/ready", responses={503: {"model": answers.Problem, "description": "Its queue is full"}})
    async def ready() -> dict[str, str]:
        """Whether it has room for images: a load balancer sends them elsewhere meanwhile."""
        if service.current.num_waiting >= settings.max_waiting:
            raise HTTPException(503, "The queue is full.")
        return {"status": "ready"}

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(render("serve.html.j2", own="serve", needs_key=bool(parts.keys)), headers=_SECURITY)

    @app.exception_handler(500)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "The service failed on this request; its log says why."}, 500)

    return app


async def _rows(service: Service, items: list[Item]) -> tuple[ServedModel, list[dict[str, Any]]]:
    """The rows of some images, and the model that made them."""
    while True:
        served = service.current
        try:
            futures = served.submit(items)
            break
        except OverloadError:
            if served is service.current:  # else another version has just taken its place
                raise overloaded() from None
    return served, list(await asyncio.gather(*map(asyncio.wrap_future, futures)))


def _explanation(served: ServedModel, row: dict[str, Any], found: Explained | None) -> answers.Explanation:
    similar = found.neighbours if found else ()
    return answers.Explanation(
        model=served.bundle.reference,
        prediction=answers.Prediction.of(row, TOP_K),
        label=found.label if found else None,
        image=data_uri(found.image, "the image") if found else None,
        heat_map=data_uri(found.heat_map, "the heat map") if found else None,
        similar=[
            answers.Similar(
                path=each.path,
                label=each.label,
                similarity=round(each.similarity, 4),
                image=data_uri(each.image, each.path),
            )
            for each in similar
        ],
        remark=found.remark if found else "The image cannot be used.",
    )


class _Counted:
    """ASGI middleware that counts requests, by route and status, and times them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.observe_request(route, status, time.perf_counter() - began)
