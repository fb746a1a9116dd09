"""A million stored values are read by node-opcua page by page, and the server's memory stays as it was."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import opcua_device
from tests.node_opcua import NodeOpcua
from tests.opcua_device import SPEED, START_MS, Server

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]
VALUES = 1_000_000  # ten a second: 28 hours
EACH_MS = 100
WITHIN_S = 1_200.0
MOST_GROWTH_MB = 16.0
SAMPLE_S = 0.1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with opcua_device.running(tmp_path, values=VALUES) as server:
        yield server


async def test_a_million_values_are_read_without_growing(server: Server, node_module: Callable[[str], Path]) -> None:
    node = NodeOpcua(node_module("node-opcua-client").parent, server.folder)
    try:
        await node("connect", **server.client("a"))
        await node("session", client="a", session="a", user="observer", password="only looks on")
        span = {"session": "a", "node": SPEED, "startMs": START_MS}
        await node("historyAll", **span, endMs=START_MS + 60_000)  # what is made once is made
        before_mb, most_mb = server.memory_mb(), 0.0
        began = asyncio.get_running_loop().time()
        end_ms = START_MS + VALUES * EACH_MS
        reading = asyncio.create_task(node("historyAll", within_s=WITHIN_S, **span, endMs=end_ms))
        while not reading.done():
            most_mb = max(most_mb, server.memory_mb())
            await asyncio.sleep(SAMPLE_S)
        found = await reading
        took_s = asyncio.get_running_loop().time() - began
    finally:
        node.stop()
    grown_mb = most_mb - before_mb
    print(f"{found['count']} values in {found['pages']} pages and {took_s:.1f} s; grown by {grown_mb:.1f} MB")
    assert found["count"] == VALUES
    assert found["ordered"] and found["lastMs"] == START_MS + (VALUES - 1) * EACH_MS
    assert found["sum"] == sum(number % 1000 + 0.5 for number in range(VALUES))
    assert grown_mb < MOST_GROWTH_MB
