"""What node-opcua says, spoilt: no crash, no hang, no growth, and the next client is served all the while.

A conversation of node-opcua with the real process is kept by a tap. It comes again in three ways: its frames as they
were on the wire, out of order and with bytes spoilt, which is what a stranger can do; its requests spoilt on the
channel without security, which checks nobody; and its requests spoilt in a trusted client's session, sealed anew, so
that they reach the services. Beside it another node-opcua reads all the time.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from asyncua.ua.ua_binary import nodeid_to_binary

from tests import opcua_device
from tests.mutations import SOAK_S, Mutator, seed_of_run
from tests.node_opcua import NodeOpcua
from tests.opcua_device import CLIENT, ENGINEER, ROOT, SPEED, START_MS, Server, held
from tests.peers.opcua_wire import Plain, Sealed, Tap, server_certificate

pytestmark = [pytest.mark.timeout(1200)]
QUICK_S = 4.0
MOST_GROWTH_MB = 64.0
ANSWER_S = 15.0
LONGEST = 60_000  # of one chunk


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with opcua_device.running(tmp_path_factory.mktemp("fuzz")) as server:
        yield server


@pytest.fixture
def node(server: Server, node_module: Callable[[str], Path]) -> Iterator[NodeOpcua]:
    node = NodeOpcua(node_module("node-opcua-client").parent, server.folder)
    yield node
    node.stop()


async def conversation(server: Server, node: NodeOpcua) -> Tap:
    """All that a client says: hello, channel, session, and each service that it uses."""
    tap = Tap()
    async with tap.before(server.port) as port:
        there = server.client("a") | {"endpoint": f"opc.tcp://127.0.0.1:{port}", "mode": "Sign"}
        await node("connect", **there)
        person = ENGINEER.files(server.folder, "engineer")
        await node("session", client="a", session="a", **person)
        await node("endpoints", client="a")
        await node("read", session="a", nodes=[SPEED, "i=2258"])
        await node("browse", session="a", node=f"{ROOT}/Sources/plc")
        await node("subscribe", session="a", subscription="s")
        await node("monitor", subscription="s", node=SPEED, item="speed", deadband=["Percent", 10])
        await node("monitorMany", session="a", subscription="s", nodes=[f"{ROOT}/Sources/plc/T.1"])
        select = ["EventId", "Message", "Severity"]
        await node("watch", subscription="s", item="events", node="i=2253", select=select, like=["Message", "%lost%"])
        await node("write", session="a", node=SPEED, type="Float", value=12.5)
        await node("call", session="a", object="i=2253", method="i=11492", arguments=[["UInt32", 1]])
        span = {"startMs": START_MS, "endMs": START_MS + 60_000, "nodes": [SPEED], "session": "a"}
        await node("historyRead", kind="raw", most=10, **span)
        await node("historyRead", kind="processed", stepMs=1000, aggregates=["i=2342"], **span)
        await node("historyRead", kind="at", timesMs=[START_MS + 1000, START_MS + 2000], **span)
        await node("historyRead", kind="events", select=select, **(span | {"nodes": ["i=2253"]}))
        await node("transfer", session="a", id=1)
        await node("deleteSubscription", session="a", id=12345)
        await node("terminate", subscription="s")
        await node("close", session="a")
        await node("disconnect", client="a")
    return tap


class Fuzz:
    """Spoils a conversation until its time is over, and counts what became of it."""

    def __init__(self, server: Server, tap: Tap, certificate: bytes, seed: int) -> None:
        """Begin at a seed."""
        self.server, self.tap, self.certificate = server, tap, certificate
        self.spoil = Mutator(seed)
        self.counts: Counter[str] = Counter()
        self.bodies = tap.bodies()
        self.openings = [one for one in self.bodies if _kind(one) in _WITHOUT_SESSION] + self.bodies[:2]

    async def wire(self) -> None:
        """Frames as they were, spoilt and out of order, on a connection of their own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        with contextlib.suppress(OSError):
            for frame in self.spoil.order(self.tap.frames[: self.spoil.random.randint(1, 8)]):
                writer.write(self.spoil.bytes(frame) if self.spoil.random.random() < 0.4 else frame)
            if self.spoil.random.random() < 0.5:
                writer.write_eof()
            await self._heard(reader)
        writer.transport.abort()
        self.counts["wire"] += 1

    async def _heard(self, reader: asyncio.StreamReader) -> None:
        """Read what is said for a moment; a server that waits for the rest of a frame says nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                while await reader.read(65536):
                    pass

    async def discovery(self) -> None:
        """Requests spoilt on the channel without security."""
        plain = Plain(self.server.port)
        await plain.open()
        try:
            for _ in range(20):
                body = self._spoilt(self.spoil.random.choice(self.openings))
                if len(body) < LONGEST:
                    await self._answered(plain.ask(body), body)
                    self.counts["discovery answered"] += 1
        except ConnectionError:
            self.counts["discovery closed"] += 1
        plain.close()

    async def session(self) -> None:
        """Requests spoilt in a session of somebody who may do everything."""
        sealed = Sealed(self.server.port, self.certificate, CLIENT)
        await sealed.open()
        try:
            await sealed.enter(ENGINEER)
            own = nodeid_to_binary(sealed.token)
            for _ in range(60):
                body = self._spoilt(self._mine(own))
                if not 0 < len(body) < LONGEST:
                    continue
                self.counts["session"] += 1
                sealed.send(body)
                if _kind(body) != _PUBLISH:  # that is answered when there are news
                    await self._answered(sealed.answer(), body)
        except ConnectionError:
            self.counts["session closed"] += 1
        finally:
            sealed.close()

    async def _answered(self, answer: Coroutine[Any, Any, object], body: bytes) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await answer
        except TimeoutError:
            raise AssertionError(f"not answered in {ANSWER_S:g} s: {body.hex()}") from None

    def _spoilt(self, body: bytes) -> bytes:
        """Mostly the parameters: a request whose header can't be read ends the channel."""
        intact = 4 + _node_id_size(body[4:]) + HEADER if self.spoil.random.random() < 0.9 else 0
        return body[:intact] + self.spoil.bytes(body[intact:])

    def _mine(self, own: bytes) -> bytes:
        """A request of the conversation with the live session's token in the place of the old one."""
        body = self.spoil.random.choice(self.bodies)
        return body[:4] + own + body[4 + _node_id_size(body[4:]) :]

    async def run(self, way: Callable[[], Any], until_s: float) -> None:
        """Go one way again and again."""
        while time.monotonic() < until_s:
            await way()


_PUBLISH = 826
_WITHOUT_SESSION = {422, 428, 461, 467}  # FindServers, GetEndpoints, CreateSession, ActivateSession
HEADER = 27  # behind the token: time, handle, diagnostics, no audit entry, timeout, no additional header


def _kind(body: bytes) -> int:
    return int.from_bytes(body[2:4], "little")


def _node_id_size(data: bytes) -> int:
    form = data[0] & 0x3F
    if form in (3, 5):
        return 7 + int.from_bytes(data[3:7], "little")
    return {0: 2, 1: 4, 2: 7, 4: 19}[form]


@contextlib.asynccontextmanager
async def pulse(server: Server, node: NodeOpcua) -> AsyncIterator[Callable[[], Any]]:
    """Another client that reads all the while."""
    await node("connect", **server.client("healthy"))
    await node("session", client="healthy", session="healthy", user="observer", password="only looks on")
    await node("pulse", session="healthy", node="i=2258", everyMs=50)

    async def pulses(*, stop: bool = False) -> Any:
        return await node("pulses", session="healthy", stop=stop)

    yield pulses
    await node("disconnect", client="healthy")


async def fuzz(server: Server, node: NodeOpcua, seconds: float) -> dict[str, Any]:
    """Spoil for some time; what it did to the server."""
    tap = await conversation(server, node)
    spoiling = Fuzz(server, tap, await server_certificate(server.endpoint), seed_of_run())
    before_mb, most_mb = server.memory_mb(), 0.0
    async with pulse(server, node) as pulses, server.statuses() as statuses:
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for way in (spoiling.wire, spoiling.discovery, spoiling.session, spoiling.session):
                tasks.create_task(spoiling.run(way, end))
            while time.monotonic() < end:
                await asyncio.sleep(0.5)
                most_mb = max(most_mb, server.memory_mb())
        seen = (await pulses())["count"]
        await asyncio.sleep(0.5)
        healthy = await pulses(stop=True)
        assert healthy["count"] > seen, "it is still answered"
        pids = {status.pid for status in statuses.all}
    assert pids == {server.pid}, "it was not started again"
    assert healthy["errors"] == []
    return {
        "grown_mb": round(most_mb - before_mb, 1), "slowest_ms": round(healthy["worstMs"]), "reads": healthy["count"],
        **spoiling.counts,
    }  # fmt: skip


async def left(server: Server) -> dict[str, float]:
    """What clients hold once the sessions of the spoilt conversations are over."""
    async with server.statuses() as statuses:
        status = await statuses.until(lambda one: held(one)["sessions"] == 0 and held(one)["connections"] == 0, 120.0)
    return held(status)


def hold(server: Server, found: dict[str, Any]) -> None:
    print(found)
    assert found["grown_mb"] < MOST_GROWTH_MB
    assert "Traceback" not in server.device.log("opcua"), server.device.log("opcua")[-5000:]
    assert min(found["wire"], found["discovery answered"], found["session"]) > 0


@pytest.mark.slow
async def test_a_spoilt_conversation_harms_nobody_else(server: Server, node: NodeOpcua) -> None:
    hold(server, await fuzz(server, node, QUICK_S))


@pytest.mark.soak
async def test_ten_minutes_of_spoilt_conversations_harm_nobody_else(server: Server, node: NodeOpcua) -> None:
    found = await fuzz(server, node, SOAK_S)
    hold(server, found)
    assert found["slowest_ms"] < 1_000
    assert await left(server) == {"connections": 0, "sessions": 0, "subscriptions": 0, "items": 0}
