"""The monitor's server: its answers, and that nobody can hold it up."""

import asyncio
import gc
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest

from edge.host.web import listen, serve
from edge.monitoring import web
from edge.monitoring.models import ModelMetadata, TensorMetadata
from edge.monitoring.readiness import Reason
from edge.monitoring.web import CONNECTIONS, MonitorProtocol, ServerMetadata, application
from schemas.errors import StartError

CAPS = ModelMetadata("caps", ["1", "2"], "onnx_onnxv1", [TensorMetadata("image", "UINT8", [-1, 8, 8, 3])], [])


@dataclass
class Still:
    """A device that never changes by itself."""

    why: list[Reason] = field(default_factory=list)
    why_model: list[Reason] = field(default_factory=list)

    @property
    def metadata(self) -> ServerMetadata:
        return ServerMetadata("plantedge", "0", [])

    def metrics(self, process: str, accept: str) -> tuple[bytes, str] | None:
        return None if process == "away" else (f"{process or 'all'} {accept}".encode(), "text/plain; version=0.0.4")

    def reasons(self) -> list[Reason]:
        return self.why

    def model(self, name: str, version: str) -> ModelMetadata | None:
        return CAPS if name == "caps" and version in ("", "2") else None

    def model_reasons(self, name: str, version: str) -> list[Reason] | None:
        return self.why_model if self.model(name, version) else None


@dataclass
class Served:
    """A server under test."""

    device: Still
    port: int

    async def get(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            return await client.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    device = Still()
    with listen("127.0.0.1", 0, "the monitor", "monitor") as listener:
        running = asyncio.create_task(serve(application(device), listener, MonitorProtocol, CONNECTIONS))
        yield Served(device, listener.getsockname()[1])
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_metrics_are_given_as_they_are_asked_for(served: Served) -> None:
    everything = await served.get("/metrics", accept="text/plain")
    assert (everything.status_code, everything.text) == (200, "all text/plain")
    assert everything.headers["content-type"] == "text/plain; version=0.0.4"
    assert (await served.get("/metrics/agent", accept="*/*")).text == "agent */*"
    assert (await served.get("/metrics/away")).status_code == 404


async def test_health_says_why_not(served: Served) -> None:
    assert (await served.get("/v2/health/live")).json() == {"live": True}
    ready = await served.get("/v2/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})
    served.device.why = [Reason("camera-cam1", "stopped: connection lost")]
    ready = await served.get("/v2/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {"ready": False, "reasons": [{"of": "camera-cam1", "text": "stopped: connection lost"}]}
    assert ready.headers["cache-control"] == "no-store"
    assert (await served.get("/v2/health/live")).status_code == 200


async def test_a_model_is_told_in_kserves_words(served: Served) -> None:
    assert (await served.get("/v2")).json() == {"name": "plantedge", "version": "0", "extensions": []}
    model = (await served.get("/v2/models/caps")).json()
    assert model["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    assert model["versions"] == ["1", "2"]
    assert (await served.get("/v2/models/caps/versions/2")).json() == model
    assert (await served.get("/v2/models/caps/ready")).json() == {"ready": True, "name": "caps"}
    served.device.why_model = [Reason("runtime-safety", "loading")]
    ready = await served.get("/v2/models/caps/versions/2/ready")
    assert (ready.status_code, ready.json()["version"]) == (503, "2")
    for path in ("/v2/models/cups", "/v2/models/cups/ready", "/v2/models/caps/versions/9/ready"):
        missing = await served.get(path)
        assert (missing.status_code, list(missing.json())) == (404, ["error"])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_can_be_changed(served: Served, method: str) -> None:
    for path in ("/metrics", "/v2/health/ready", "/v2/models/caps"):
        assert (await served.get(path, method)).status_code == 405
    assert (await served.get("/v2/repository/index", method)).status_code == 404


async def test_a_connection_has_one_answer(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    whole = await asyncio.wait_for(reader.read(), 5)
    assert whole.count(b"HTTP/1.1 200") == 1
    assert json.loads(whole.rpartition(b"\r\n\r\n")[2]) == {"live": True}
    writer.close()


@pytest.mark.parametrize(
    "said", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nContent-Length: 9\r\n"]
)
async def test_who_does_not_ask_in_time_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(MonitorProtocol, "time_s", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(said)
    started = time.monotonic()
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    assert 0.2 < time.monotonic() - started < 3
    writer.close()


async def test_a_crowd_is_cut_off_and_others_are_answered_after_it(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MonitorProtocol, "time_s", 1.0)
    crowd = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(web.CUT_OFF)]
    reader, late = await asyncio.open_connection("127.0.0.1", served.port)
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 5) == b""  # at once
    for _, writer in crowd[: web.CUT_OFF - web.CONNECTIONS // 2]:
        writer.close()
    async with asyncio.timeout(5):
        while (await served.get("/v2/health/live")).status_code != 200:
            continue  # until the closed ones are gone
    for _, writer in [*crowd, (reader, late)]:
        writer.close()


async def test_more_than_it_serves_at_once_are_told_to_come_again(served: Served) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(web.CONNECTIONS)]
    assert (await served.get("/v2/health/live")).status_code == 503
    for _, writer in idle:
        writer.close()


async def test_a_head_that_never_ends_is_refused(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 4000)
    with suppress(ConnectionResetError):
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)
    writer.close()


def test_a_taken_port_is_told_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartError, match=r"choose another port in \[monitor\]"):
            listen("127.0.0.1", taken.getsockname()[1], "the monitor", "monitor")


async def test_nothing_is_kept_of_a_connection_that_has_ended(served: Served) -> None:
    assert MonitorProtocol.time_s > 5
    for _ in range(3):
        await served.get("/v2/health/live", x="long" * 1_000)
    async with asyncio.timeout(5):
        while any(isinstance(held, MonitorProtocol) for held in gc.get_objects()):
            await asyncio.sleep(0.05)
            gc.collect()
