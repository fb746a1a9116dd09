"""Requests spoilt, huge, slow and many, to both HTTP servers of a device: no crash, no growth, others are answered.

The servers are those of real processes: the monitor's, which everybody may ask, and the operators' page, asked by a
stranger and by somebody who is logged in. While fewer connections are held than the servers take, a healthy client is
answered; once more are held than they take, it is again as soon as those have ended.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.commands.operator_page import login_link
from edge.security.passwords import hash_password
from edge.settings import load_settings
from tests.device import INSPECT, ROOT, Device
from tests.edge.small_models import write_classifier
from tests.mutations import SOAK_S, Mutator, seed_of_run
from tests.pulse import asked

pytestmark = [pytest.mark.timeout(1200)]
QUICK_S = 3.0
MOST_GROWTH_MB = 64.0
SPEAKERS = 16  # at once, to each server
UP_S = 60.0
FLOOD, FREE_S = 200, 30.0
SETTINGS = """
[cameras.cam1]
driver = "folder"
address = "pictures"
[monitor]
port = {monitor}
[hmi]
port = {hmi}
users = "users.json"
"""
GETS = {
    "monitor": ["/metrics", "/metrics/monitor", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/caps",
                "/v2/models/caps/versions/1", "/v2/models/caps/ready"],
    "hmi": ["/", "/login?once=x", "/panel?token=x", "/static/index.html", "/api/v1/session",
            "/api/v1/parts/inspect-1-1", "/api/v1/pictures/inspect-1-1"],
}  # fmt: skip
POSTS = {
    "/api/v1/login": {"name": "bob", "password": "wrong"}, "/api/v1/logout": {},
    "/api/v1/parts/inspect-1-1/judgement": {"really": "good"}, "/api/v1/parts/inspect-1-1/replay": {},
    "/api/v1/stations/inspect/draw": {"kind": "reject"},
}  # fmt: skip
HEALTHY = {"monitor": ("/v2/health/live", 200), "hmi": ("/api/v1/session", 401)}


@dataclass
class Served:
    """One server: its process and what its good requests look like."""

    name: str
    device: Device
    port: int
    child: "subprocess.Popen[bytes]"
    requests: list[bytes]

    def memory_mb(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1]) * 4096 / 1e6


def request(port: int, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """A request as the wire has it."""
    lines = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body)), "Accept": "*/*"} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def logged_in(device: Device, port: int) -> dict[str, str]:
    """The headers of somebody who may judge."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
        await http.get(login_link(device.home, load_settings(device.home), "ann"))
        csrf = (await http.get("/api/v1/session")).json()["csrf"]
        cookie = "; ".join(f"{one.name}={one.value}" for one in http.cookies.jar)
    return {"Cookie": cookie, "X-CSRF-Token": csrf, "Content-Type": "application/json"}


@contextlib.asynccontextmanager
async def running(folder: Path, free_port: Callable[[], int]) -> AsyncIterator[list[Served]]:
    """Start both processes."""
    device = Device(folder, ("monitor", "hmi"))
    ports = {name: free_port() for name in GETS}
    device.add("device.toml", SETTINGS.format(**ports) + INSPECT)
    device.write("users.json", json.dumps({"bob": hash_password("password of bob")}))
    write_classifier(device.home / "models")
    with device.running():
        children = {name: device.start(name) for name in GETS}
        for name, port in ports.items():
            path, status = HEALTHY[name]
            end = time.monotonic() + UP_S
            while await asyncio.to_thread(asked, port, path) != status:
                assert time.monotonic() < end, device.log(name)
                await asyncio.sleep(0.1)
        person = await logged_in(device, ports["hmi"])
        made = {
            name: [request(port, "GET", path, headers) for path in GETS[name] for headers in ({}, person)]
            for name, port in ports.items()
        }
        made["hmi"] += [
            request(ports["hmi"], "POST", path, person, json.dumps(body).encode()) for path, body in POSTS.items()
        ]
        yield [Served(name, device, ports[name], children[name], made[name]) for name in GETS]


class Fuzz:
    """Speaks to one server."""

    def __init__(self, served: Served, spoil: Mutator) -> None:
        """Begin."""
        self._served, self._spoil = served, spoil
        self._ways = (
            self._spoilt,
            self._spoilt,
            self._spoilt,
            self._huge_head,
            self._huge_body,
            self._slow,
            self._many,
        )
        self.counts: Counter[str] = Counter()

    async def run(self, until_s: float) -> None:
        """Go on for some time, as several at once."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(SPEAKERS):
                tasks.create_task(self._speak(until_s))

    async def _speak(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            way = self._spoil.random.choice(self._ways)
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._served.port)
                try:
                    await way(reader, writer)
                finally:
                    writer.transport.abort()
            self.counts[way.__name__.strip("_")] += 1

    def _good(self) -> bytes:
        return self._spoil.random.choice(self._served.requests)

    async def _spoilt(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._spoil.bytes(self._good()))
        await heard(reader)

    async def _huge_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _, rest = self._good().partition(b"\r\n")
        writer.write(line + b"\r\nX-Long: " + b"a" * self._spoil.random.choice((10_000, 100_000, 2_000_000)))
        writer.write(b"\r\n" + rest)
        await heard(reader)

    async def _huge_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = self._spoil.random.choice(list(POSTS))
        headers = {"Content-Type": "application/json", "Content-Length": str(2**40)}
        writer.write(request(self._served.port, "POST", path, headers))
        for _ in range(40):
            writer.write(b"[" * 65_536)
        await heard(reader)

    async def _slow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in self._good()[:20]:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.02)
        await heard(reader)

    async def _many(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(self._good() for _ in range(50)))  # one after the other, without waiting
        await heard(reader)


async def heard(reader: asyncio.StreamReader) -> None:
    """Read for a moment: who has got half a request rightly says nothing."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(0.2):
            while await reader.read(65_536):
                pass


@contextlib.contextmanager
def pulse(served: Served) -> Iterator[Callable[[], Any]]:
    """A healthy client; ends and tells when it is asked."""
    words = (sys.executable, "-m", "tests.pulse", str(served.port), HEALTHY[served.name][0])
    child = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield lambda: json.loads(child.communicate(b"\n", timeout=60)[0])
    finally:
        child.kill()
        child.wait(5)


async def fuzz(servers: list[Served], seconds: float) -> dict[str, Any]:
    """Speak to one after the other for some time, and then hold more connections than it takes."""
    spoil, found = Mutator(seed_of_run()), dict[str, Any]()
    for served in servers:
        before_mb, speaking = served.memory_mb(), Fuzz(served, spoil)
        with pulse(served) as told:
            await speaking.run(time.monotonic() + seconds)
            healthy = await asyncio.to_thread(told)
        found[served.name] = {
            "grown_mb": round(served.memory_mb() - before_mb, 1), "freed_s": round(await flooded(served), 1), **healthy,
            **speaking.counts,
        }  # fmt: skip
    print(found)
    return found


async def flooded(served: Served) -> float:
    """Seconds from the end of many held connections until a request is answered as ever."""
    held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(FLOOD)]
    await asyncio.sleep(0.5)
    for _, writer in held:
        writer.transport.abort()
    began = time.monotonic()
    while await asyncio.to_thread(asked, served.port, HEALTHY[served.name][0]) != HEALTHY[served.name][1]:
        assert time.monotonic() < began + FREE_S
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def hold(servers: list[Served], found: dict[str, Any]) -> None:
    for served in servers:
        one = found[served.name]
        assert served.child.poll() is None
        log = served.device.log(served.name)
        assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:4000]
        assert one["grown_mb"] < MOST_GROWTH_MB
        assert list(one["statuses"]) == [str(HEALTHY[served.name][1])], one


@pytest.mark.slow
async def test_spoilt_requests_harm_nobody_else(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with running(tmp_path, free_port) as servers:
        hold(servers, await fuzz(servers, QUICK_S))


@pytest.mark.soak
async def test_ten_minutes_of_spoilt_requests_harm_nobody_else(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with running(tmp_path, free_port) as servers:
        found = await fuzz(servers, SOAK_S / len(servers))
        hold(servers, found)
        assert max(one["slowest_ms"] for one in found.values()) < 1_000
