"""5,000 tags: how long they take to build, and what ten subscribers of all of them cost the loop."""

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds

from edge.opcua_server.access.door import Door
from edge.opcua_server.address_space.device import Space
from edge.opcua_server.address_space.nodes import string_id, supertypes
from edge.opcua_server.address_space.picture import fill
from edge.opcua_server.channel import SecuredServer
from edge.opcua_server.core import Core
from edge.opcua_server.subscriptions.items import Items
from edge.settings import load_settings
from schemas.messages import Reading, Sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TAGS = 5_000
SUBSCRIBERS = 10
DEVICE = """
[device]
site = "s"
line = "l"
node = "n"
[sources.plc]
driver = "modbus"
tags = "plc.csv"
groups = { fast = 100 }
[opcua]
users = "users.json"
"""


async def build(home: Path) -> tuple[SecuredServer, Space, float]:
    """A server with all nodes, not listening, and how many seconds of a core it took."""
    rows = [f"T.{number},hr:{2 * number},float32,rw,fast,bar,0,100" for number in range(TAGS)]
    (home / "plc.csv").write_text("\n".join(["name,address,type,access,group,unit,min,max", *rows]) + "\n")
    (home / "device.toml").write_text(DEVICE)
    (home / "users.json").write_text("{}")
    settings = load_settings(home)
    began = time.process_time()
    gc.disable()  # as the process does
    server = SecuredServer(Core(settings.opcua), Door(settings.opcua, home), settings.opcua)
    await server.init()
    space = (await fill(server, settings, home)).space
    gc.enable()
    return server, space, time.process_time() - began


def ours(server: SecuredServer) -> list[str]:
    """The NodeIds of our namespaces."""
    known: Any = server.iserver.aspace.keys()
    return [str(node) for node in known if node.NamespaceIndex >= 2]


async def test_five_thousand_tags_are_there_in_ten_seconds_with_the_same_nodes(tmp_path: Path) -> None:
    server, _, took_s = await build(tmp_path)
    first = ours(server)
    server, _, again_s = await build(tmp_path)
    print(f"{TAGS} tags, {len(first)} nodes: {took_s:.1f} and {again_s:.1f} s of a core")
    assert len(first) > 3 * TAGS
    assert first == ours(server)
    assert min(took_s, again_s) < 10


async def test_ten_subscribers_of_everything_leave_the_loop_its_turns(tmp_path: Path) -> None:
    server, space, _ = await build(tmp_path)
    nodes = [string_id(f"s/l/n/Sources/plc/T.{number}", space.index) for number in range(TAGS)]
    watching = [
        Items(server.iserver.aspace, lambda _: TAGS, 100.0, supertypes(server.iserver.aspace))
        for _ in range(SUBSCRIBERS)
    ]
    for items in watching:
        asked: Any = ua.CreateMonitoredItemsParameters()
        asked.ItemsToCreate = [
            ua.MonitoredItemCreateRequest(
                ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value),
                MonitoringMode=ua.MonitoringMode.Reporting,
                RequestedParameters=ua.MonitoringParameters(QueueSize=ua.UInt32(1), DiscardOldest=True),
            )
            for node in nodes
        ]
        assert all(one.StatusCode.is_good() for one in await items.create_monitored_items(asked))
        items.pop_data(TAGS)
    turns: list[float] = []

    async def turn() -> None:
        while True:
            at = time.process_time()
            await asyncio.sleep(0)
            turns.append(time.process_time() - at)

    writes = space.writes
    for number in range(TAGS * 3):  # three values for each node before the tick: one is written
        name, at = f"T.{number % TAGS}", time.time_ns()
        tags = {name: Sample(value=float(number))}
        space.reading(Reading(source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=at, tags=tags))
    gc.collect()
    gc.freeze()  # as the process does: a collection that looks through all nodes takes longer than any turn
    other = asyncio.create_task(turn())
    began = time.process_time()
    await space.write_pending()
    wrote_s = time.process_time() - began
    other.cancel()
    gc.unfreeze()
    assert space.writes - writes == TAGS, "at most one write per node and tick"
    began, told = time.process_time(), 0
    for items in watching:
        while items.waiting:
            count, _ = items.pop_data(1000)
            told += count
    told_s = time.process_time() - began
    longest_ms = max(turns) * 1e3
    print(
        f"{TAGS} writes told to {SUBSCRIBERS}: {wrote_s:.2f} s, longest turn {longest_ms:.0f} ms; out in {told_s:.2f} s"
    )
    assert told == TAGS * SUBSCRIBERS
    assert max(turns) < 0.25, "a burst yields"
