"""opcua: the server for SCADA and MES. In: raw, inference, insight, slot state, status, reply. Out: write.

Its own process, because one asyncua burst starves a loop for a second; values are written once per tick and node.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time

from asyncua.server.server import Server

from bus import Delivery
from edge.flow import Flow
from edge.host import metric_names as names
from edge.models.slot_states import worst
from edge.opcua_server.requests import WriteRequests
from edge.opcua_server.security import SecuredServer, Users, secure
from edge.opcua_server.space import NAMESPACE, Space
from edge.opcua_server.writing import Target, WritingServer
from edge.plc.output_tags import manual_tags, own_tags
from edge.plc.tags import Access, source_tags
from edge.plc.writes import mode_tag
from edge.process import Process
from edge.processes import CONNECT, PROCESSES, RUNTIME
from edge.settings import Settings
from schemas.errors import StartError
from schemas.messages import Insight, Reading, Result, Slot, Status
from schemas.topics import INSIGHT, READING, RESULT, SLOT_STATE, STATUS


def application_uri(settings: Settings) -> str:
    """Return the server's application URI, the same over restarts."""
    device = settings.device
    return f"urn:plantedge:{device.site}:{device.line}:{device.node}"


async def start_server(process: Process) -> tuple[Server, Space]:
    """Build the address space and open the endpoint.

    Raises:
        StartError: the port is taken, or the address is not ours.
    """
    settings = process.settings
    logging.getLogger("asyncua").setLevel(logging.WARNING)
    core = WritingServer(Users(settings.opcua, process.home), settings.opcua.writers)
    server = SecuredServer(core)
    await server.init()
    server.set_endpoint(settings.opcua.endpoint)
    server.set_server_name(f"PlantEdge {settings.device.node}")
    uri = application_uri(settings)
    await server.set_application_uri(uri)
    await secure(server, settings.opcua, process.home, uri)
    space = Space(server, await server.register_namespace(NAMESPACE), settings.place)
    await space.build(
        source_tags(settings, process.home),
        sorted(settings.pipelines),
        [row.identity(instance) for row in PROCESSES for instance in settings.instances(row.instances_of)],
        list(settings.outputs),
    )
    await _open_writes(process, core, space)
    try:
        await server.start()
    except OSError as error:
        raise StartError(
            f"the OPC UA server can't listen on {settings.opcua.endpoint}: {error}; choose another port in [opcua]"
        ) from error
    return server, space


async def _open_writes(process: Process, core: WritingServer, space: Space) -> None:
    """Let clients write the `rw` tags, but for those that only decisions write, and the modes of outputs."""
    settings = process.settings
    decided: dict[str, set[str]] = {}
    paths: dict[str, Target] = {}
    for pipeline, outputs in settings.outputs.items():
        decided.setdefault(outputs.source, set()).update(own_tags(outputs) - manual_tags(outputs))
        paths[f"Pipelines/{pipeline}/Mode"] = Target(outputs.source, mode_tag(pipeline))
    for source, tags in source_tags(settings, process.home).items():
        for tag in tags.values():
            if tag.access is Access.WRITE and tag.name not in decided.get(source, ()):
                paths[f"Sources/{source}/{tag.name}"] = Target(source, tag)
    nodes = {(target.source, target.tag.name): path for path, target in paths.items()}
    await space.allow_writes(paths)
    requests = WriteRequests(process, lambda target, value: space.hold(nodes[target.source, target.tag.name], value))
    core.open_for({space.identifier(path): target for path, target in paths.items()}, requests.carry)


class Feed:
    """Passes messages to the address space and counts them."""

    def __init__(self, process: Process, space: Space) -> None:
        """Know which pipelines run where."""
        self._space = space
        self.seen = 0
        self._pipelines = process.settings.pipelines
        self._outputs = process.settings.outputs
        self._slots: dict[tuple[str, str], Slot] = {}  # by model and runtime

    def reading(self, reading: Reading, _: Delivery) -> None:
        """Take one poll."""
        self.seen += 1
        self._space.reading(reading)

    def result(self, result: Result, _: Delivery) -> None:
        """Take one result."""
        self.seen += 1
        self._space.result(result)

    def insight(self, insight: Insight, _: Delivery) -> None:
        """Take one window."""
        self._space.insight(insight)

    def slot(self, slot: Slot, _: Delivery) -> None:
        """Take one slot's state: a pipeline is as well as that of its models which is furthest from serving."""
        self._slots[slot.model, slot.process] = slot
        for name, pipeline in self._pipelines.items():
            where = RUNTIME.identity(pipeline.lane)
            if slot.process == where and slot.model in pipeline.models:
                held = [found for model in pipeline.models if (found := self._slots.get((model, where)))]
                self._space.slot(worst(held), name, time.time_ns())

    def status(self, status: Status, _: Delivery) -> None:
        """Take one process's state, and who owns the outputs that it writes."""
        self._space.status(status)
        for name, outputs in self._outputs.items():
            manual = status.counters.get(f"{name}_manual")
            if manual is not None and status.process == CONNECT.identity(outputs.source):
                self._space.mode(name, bool(manual), status.time_ns)


async def _tick(process: Process, space: Space) -> None:
    period_s = process.settings.opcua.tick_ms / 1000
    written = process.metrics.counter(names.NODE_WRITES)
    while True:
        started = time.monotonic()
        await space.write_pending()
        process.counters["node_writes"] = space.writes
        written.reach(space.writes)
        await asyncio.sleep(max(0.0, period_s - (time.monotonic() - started)))


async def _watch(process: Process, feed: Feed) -> None:
    flow = Flow(lambda: feed.seen)
    while True:
        process.report(*await flow.look())


async def main(process: Process) -> None:
    """Run until cancelled."""
    gc.disable()  # the standard address space is 100,000 objects that stay: collecting meanwhile costs 0.7 s
    try:
        server, space = await start_server(process)
        gc.freeze()
    finally:
        gc.enable()
    feed = Feed(process, space)
    try:
        await process.read(READING, Reading, feed.reading)
        await process.read(RESULT, Result, feed.result)
        await process.read(INSIGHT, Insight, feed.insight)
        await process.read(SLOT_STATE, Slot, feed.slot)
        await process.read(STATUS, Status, feed.status)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_tick(process, space))
            tasks.create_task(_watch(process, feed))
    finally:
        gc.unfreeze()  # where settings have changed, another server follows in this interpreter
        async with asyncio.timeout(2.0):
            await server.stop()
