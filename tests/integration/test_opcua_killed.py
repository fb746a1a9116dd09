"""Clients that are killed leave nothing behind: connections, sessions, subscriptions, items, memory.

A program of node-opcua holds many clients, each with its own connection, channel, session and subscription, and is
killed with SIGKILL while they are told changes. So a thousand clients die without a word, in as many kills as programs.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.typed import Publisher
from schemas.messages import Reading, Sample
from schemas.topics import READING
from tests import opcua_device
from tests.device import Heard
from tests.opcua_certificates import URI
from tests.opcua_device import ENGINEER, ROOT, Server, held

CROWD = Path(__file__).parent.parent / "peers" / "opcua_crowd.js"
NOTHING = {"connections": 0, "sessions": 0, "subscriptions": 0, "items": 0}
ITEMS = 50
TIMEOUT_MS = 5_000  # the shortest session timeout that the server gives
GONE_S = 60.0
CHANGES_S = 0.1
MOST_GROWTH_MB = 16.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with opcua_device.running(tmp_path) as server:
        yield server


@pytest.fixture
def modules(node_module: Callable[[str], Path]) -> Path:
    return node_module("node-opcua-client").parent


@contextlib.asynccontextmanager
async def changes(server: Server) -> AsyncIterator[None]:
    """Tags that change all the while."""
    async with server.device.user("connect-plc") as plc, asyncio.TaskGroup() as tasks:
        readings = Publisher(plc.bus, READING, Reading, server.device.place, source="plc")

        async def run() -> None:
            for number in range(10**9):
                tags = {f"T.{tag}": Sample(value=float(number + tag)) for tag in range(ITEMS)}
                readings.send(
                    Reading(source="plc", group="fast", boot="b", scan_ns=number, scan_ms=1, time_ns=number, tags=tags)
                )
                await asyncio.sleep(CHANGES_S)

        changing = tasks.create_task(run())
        yield
        changing.cancel()


async def crowd_killed(server: Server, modules: Path, statuses: Heard, clients: int) -> None:
    """Let a program of so many clients in, and kill it while all of them are told changes."""
    person = ENGINEER.files(server.folder, "engineer")
    asked = {
        "endpoint": server.endpoint, "uri": URI, "clients": clients, "timeoutMs": TIMEOUT_MS,
        "nodes": [f"{ROOT}/Sources/plc/T.{number}" for number in range(ITEMS)], **server.files,
        "userCertificate": person["certificate"], "userKey": person["key"],
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        "node", str(CROWD), json.dumps(asked), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"NODE_PATH": str(modules), "HOME": str(server.folder)},
    )  # fmt: skip
    try:
        assert await _told(child) == {"items": clients * ITEMS}
        await statuses.until(lambda one: held(one)["connections"] == clients, GONE_S)
    finally:
        with contextlib.suppress(ProcessLookupError):  # what it said says why
            child.kill()
        await child.wait()
    statuses.all.clear()
    await statuses.until(lambda one: held(one)["connections"] == 0, GONE_S)


async def _told(child: asyncio.subprocess.Process) -> Any:
    """Its one line of JSON, after what node-opcua has to say about certificates."""
    assert child.stdout is not None
    said = b""
    async with asyncio.timeout(120):
        while line := await child.stdout.readline():
            if line.startswith(b'{"items"'):
                return json.loads(line)
            said += line
    raise AssertionError(said.decode()[-2000:])


async def killed(server: Server, modules: Path, crowds: int, clients: int) -> dict[str, Any]:
    """Kill crowds one after the other; what is left of them, beside what there was after the first."""
    async with server.statuses() as statuses, changes(server):

        async def gone() -> float:
            statuses.all.clear()
            await statuses.until(lambda one: held(one) == NOTHING, GONE_S)
            return server.memory_mb()

        start_mb, sockets = await gone(), server.sockets()
        await crowd_killed(server, modules, statuses, clients)
        first_mb = await gone()
        after_mb: list[float] = []
        for _ in range(crowds - 1):
            statuses.all.clear()
            await crowd_killed(server, modules, statuses, clients)
            after_mb.append(server.memory_mb())
        found = {
            "killed": crowds * clients, "start_mb": start_mb, "first_mb": first_mb, "end_mb": await gone(),
            "at_kills_mb": [round(one) for one in after_mb],
        }  # fmt: skip
    assert server.sockets() == sockets, "open files as before"
    return found


def hold(found: dict[str, Any]) -> None:
    print(found)
    assert found["end_mb"] - found["first_mb"] < MOST_GROWTH_MB


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_killed_crowd_leaves_nothing_behind(server: Server, modules: Path) -> None:
    hold(await killed(server, modules, crowds=1, clients=8))


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_thousand_killed_clients_leave_nothing_behind(server: Server, modules: Path) -> None:
    hold(await killed(server, modules, crowds=25, clients=40))
