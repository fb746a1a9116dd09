"""The monitor's small HTTP server: read only, few connections, each for one request of bounded time.

Source of the /v2 paths: KServe, Open Inference Protocol v2 (health, server and model metadata).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge.host.web import BoundedProtocol
from edge.monitoring.models import ModelMetadata
from edge.monitoring.readiness import Reason

CONNECTIONS: Final = 32  # answered at once; a few more are told to come again, the rest is cut off
CUT_OFF: Final = 64
REQUEST_S: Final = 10.0  # from a connection to the end of its one answer
JSON: Final = "application/json"
Handler = Callable[[Request], Awaitable[Response]]


class ServerMetadata(msgspec.Struct, frozen=True):
    """What `/v2` answers."""

    name: str
    version: str
    extensions: list[str]


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a health path answers: `reasons` why not."""

    ready: bool
    name: str = ""
    version: str = ""
    reasons: list[Reason] = []


class Problem(msgspec.Struct, frozen=True):
    """What an error answers, as KServe wants it."""

    error: str


class Observed(Protocol):
    """A device, as the monitor sees it."""

    @property
    def metadata(self) -> ServerMetadata:
        """Who answers."""
        ...

    def metrics(self, process: str, accept: str) -> tuple[bytes, str] | None:
        """Return the metrics of one process or of all ("") and their content type, None for a process that is away."""
        ...

    def reasons(self) -> list[Reason]:
        """Return why the device is not ready."""
        ...

    def model(self, name: str, version: str) -> ModelMetadata | None:
        """Return a model's metadata; of the version that serves, without one."""
        ...

    def model_reasons(self, name: str, version: str) -> list[Reason] | None:
        """Return why a model does not serve, [] if it does, None for one that the device does not know."""
        ...


def application(device: Observed) -> Starlette:
    """Return every path."""

    async def metrics(request: Request) -> Response:
        found = device.metrics(request.path_params.get("process", ""), request.headers.get("accept", ""))
        if found is None:
            return _json(Problem("no such process, or it is not running"), 404)
        return _closed(Response(found[0], headers={"content-type": found[1]}))

    async def server(_: Request) -> Response:
        return _json(device.metadata)

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        return _health(Health(ready=not (why := device.reasons()), reasons=why))

    async def model(request: Request) -> Response:
        name, version = _model_of(request)
        found = device.model(name, version)
        return _json(found) if found else _json(Problem(f"no model {name} {version}".rstrip()), 404)

    async def model_ready(request: Request) -> Response:
        name, version = _model_of(request)
        why = device.model_reasons(name, version)
        if why is None:
            return _json(Problem(f"no model {name} {version}".rstrip()), 404)
        return _health(Health(ready=not why, name=name, version=version, reasons=why))

    one, of_version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    paths: dict[str, Handler] = {
        "/metrics": metrics, "/metrics/{process}": metrics, "/v2": server, "/v2/health/live": live,
        "/v2/health/ready": ready, one: model, of_version: model, f"{one}/ready": model_ready,
        f"{of_version}/ready": model_ready,
    }  # fmt: skip
    return Starlette(routes=[Route(path, handler, methods=["GET"]) for path, handler in paths.items()])


def _model_of(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params.get("version", "")


def _health(health: Health) -> Response:
    return _json(health, 200 if health.ready else 503)


def _json(content: object, status: int = 200) -> Response:
    encoded = msgspec.json.encode(content)
    return _closed(Response(encoded, status, media_type=JSON, headers={"cache-control": "no-store"}))


def _closed(response: Response) -> Response:
    """One request per connection: who holds one open holds it no longer than `REQUEST_S`."""
    response.headers["connection"] = "close"
    return response


class MonitorProtocol(BoundedProtocol):
    """A connection that ends in time, whether its client sends, reads, or does neither."""

    cut_off, time_s = CUT_OFF, REQUEST_S
