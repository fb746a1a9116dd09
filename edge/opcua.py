"""opcua: the server for SCADA and MES. In: raw, inference, insight, event, slot state, status, self-test report.

Out: write, self-test, event.

Its own process, because one asyncua burst starves a loop for a second; values are written once per tick and node.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bus import Delivery
from edge.audit.denials import Denials
from edge.flow import Flow
from edge.history.query import History
from edge.host import metric_names as names
from edge.host.memory import give_back
from edge.models.slot_states import worst
from edge.opcua_server.access.certificate import give_certificate
from edge.opcua_server.access.door import Door
from edge.opcua_server.address_space.device import Space
from edge.opcua_server.address_space.picture import Picture, fill
from edge.opcua_server.channel import SecuredServer
from edge.opcua_server.core import Core
from edge.opcua_server.events.alarm_store import AlarmStore
from edge.opcua_server.events.audit import Audit
from edge.opcua_server.events.conditions import Conditions
from edge.opcua_server.events.watching import Watch
from edge.opcua_server.history.past import open_history
from edge.opcua_server.methods.offered import open_methods
from edge.opcua_server.requests import WriteRequests
from edge.opcua_server.vision.calls import Calls
from edge.opcua_server.vision.feed import VisionFeed
from edge.opcua_server.writing import Target
from edge.process import Process
from edge.processes import CONNECT, RUNTIME
from schemas.errors import StartError
from schemas.messages import Event, Insight, Reading, Result, Slot, Status
from schemas.topics import EVENT, INSIGHT, READING, RESULT, SLOT_STATE, STATUS

LOOK_AGAIN_S = 2.0  # at the trust lists and users
HELD_S = 0.5
KEEP_S = 1.0  # what the line does with alarms; what people do is kept before they are answered


@dataclass(frozen=True)
class Open:
    """A server that clients reach, what it shows, and what it tells them."""

    server: SecuredServer
    core: Core
    space: Space
    conditions: Conditions
    watch: Watch
    vision: VisionFeed | None


async def start_server(process: Process) -> Open:
    """Build the address space and open the endpoint.

    Raises:
        StartError: the port is taken, or the address is not ours.
        SettingsError: the users' file can't be read.
    """
    settings = process.settings
    logging.getLogger("asyncua").setLevel(logging.WARNING)
    for noisy in ("uaprocessor", "binary_server_asyncio"):  # what a client did wrong, it is told
        logging.getLogger(f"asyncua.server.{noisy}").setLevel(logging.CRITICAL)
    audit, denied = Audit(process), Denials(process).tell
    core = Core(settings.opcua, denied)
    server = SecuredServer(core, Door(settings.opcua, process.home, denied), settings.opcua)
    await server.init()
    server.set_endpoint(settings.opcua.endpoint)
    picture = await fill(server, settings, process.home)
    certificate = await give_certificate(server, process.home, server.get_application_uri())
    _open_writes(process, core, picture.space, picture.targets)
    core.methods = open_methods(process, core.writes, picture.offered, audit)
    history = History(process.home)
    open_history(core, picture, settings, history)
    tell, space = core.subscriptions.tell, picture.space
    core.conditions = conditions = Conditions(
        server, space.nodes, space.index, tell, audit.alarm_handled, AlarmStore(process.home)
    )
    watch = Watch(picture, conditions, tell, settings, certificate)
    vision = _open_vision(core, picture, history, audit)
    try:
        await server.start()
    except OSError as error:
        raise StartError(
            f"the OPC UA server can't listen on {settings.opcua.endpoint}: {error}; choose another port in [opcua]"
        ) from error
    return Open(server, core, space, conditions, watch, vision)


def _open_vision(core: Core, picture: Picture, history: History, audit: Audit) -> VisionFeed | None:
    """Let clients call the methods of the VisionSystems; return what feeds these."""
    vision = picture.vision
    if vision is None:
        return None
    feed = VisionFeed(vision.systems, history, core.subscriptions.tell)
    core.vision = Calls(
        vision.index, vision.systems, feed.archives, core.writes, picture.recipes, audit.method_called
    )  # fmt: skip
    return feed


def _open_writes(process: Process, core: Core, space: Space, paths: Mapping[str, Target]) -> None:
    """Let operators write `paths`."""
    nodes = {(target.source, target.tag.name): path for path, target in paths.items()}
    requests = WriteRequests(process, lambda target, value: space.hold(nodes[target.source, target.tag.name], value))
    core.writes.open_for({space.identifier(path): target for path, target in paths.items()}, requests.carry)


class Feed:
    """Passes messages to the address space and counts them."""

    def __init__(self, process: Process, opened: Open) -> None:
        """Know which pipelines run where."""
        self._space, self._watch, self._vision = opened.space, opened.watch, opened.vision
        self.seen = 0
        self._pipelines = process.settings.pipelines
        self._outputs = process.settings.outputs
        self._slots: dict[tuple[str, str], Slot] = {}  # by model and runtime

    def reading(self, reading: Reading, _: Delivery) -> None:
        """Take one poll."""
        self.seen += 1
        self._space.reading(reading)
        self._watch.reading(reading)
        if self._vision is not None:
            self._vision.reading(reading)

    def result(self, result: Result, _: Delivery) -> None:
        """Take one result."""
        self.seen += 1
        self._space.result(result)
        self._watch.result(result)
        if self._vision is not None:
            self._vision.result(result)

    def insight(self, insight: Insight, _: Delivery) -> None:
        """Take one window."""
        self._space.insight(insight)
        self._watch.insight(insight)

    def event(self, event: Event, _: Delivery) -> None:
        """Take one event."""
        self._watch.event(event)

    def slot(self, slot: Slot, _: Delivery) -> None:
        """Take one slot's state: a pipeline is as well as that of its models which is furthest from serving."""
        self._slots[slot.model, slot.process] = slot
        if self._vision is not None:
            self._vision.slot(slot)
        self._space.model(worst([one for one in self._slots.values() if one.model == slot.model]), time.time_ns())
        for name, pipeline in self._pipelines.items():
            where = RUNTIME.identity(pipeline.lane)
            if slot.process == where and slot.model in pipeline.models:
                held = [found for model in pipeline.models if (found := self._slots.get((model, where)))]
                self._space.slot(worst(held), name, time.time_ns())

    def status(self, status: Status, _: Delivery) -> None:
        """Take one process's state, and who owns the outputs that it writes."""
        self._space.status(status)
        if self._vision is not None:
            self._vision.status(status)
        for name, outputs in self._outputs.items():
            manual = status.counters.get(f"{name}_manual")
            if manual is not None and status.process == CONNECT.identity(outputs.source):
                self._space.mode(name, bool(manual), status.time_ns)


async def _tick(process: Process, opened: Open) -> None:
    space, conditions, vision = opened.space, opened.conditions, opened.vision
    period_s = process.settings.opcua.tick_ms / 1000
    written = process.metrics.counter(names.NODE_WRITES)
    while True:
        started = time.monotonic()
        await space.write_pending()
        conditions.pass_time()
        await conditions.write_pending()
        if vision is not None:
            await vision.write_pending()
        process.counters["node_writes"] = space.writes
        written.reach(space.writes)
        await asyncio.sleep(max(0.0, period_s - (time.monotonic() - started)))


async def _tell_held(process: Process, core: Core) -> None:
    """Say what clients hold: what a killed one has left goes with its session's timeout."""
    shown = {what: process.metrics.gauge(names.OPCUA_HELD, what=what) for what in core.held()}
    ended = 0
    while True:
        for what, count in core.held().items():
            process.counters[what] = count
            shown[what].set(count)
        if core.ended != ended:
            ended = core.ended
            give_back()  # what clients held lies between what stays: a thousand of them would keep 8 MB
        await asyncio.sleep(HELD_S)


async def _keep(conditions: Conditions) -> None:
    while True:
        await asyncio.sleep(KEEP_S)
        await conditions.keep()


async def _look_again(server: SecuredServer, watch: Watch) -> None:
    while True:
        watch.look_at_certificate()
        await asyncio.sleep(LOOK_AGAIN_S)
        await server.look_again()


async def _watch(process: Process, feed: Feed) -> None:
    flow = Flow(lambda: feed.seen)
    while True:
        process.report(*await flow.look())


async def main(process: Process) -> None:
    """Run until cancelled."""
    gc.disable()  # the standard address space is 100,000 objects that stay: collecting meanwhile costs 0.7 s
    try:
        opened = await start_server(process)
        gc.freeze()
    finally:
        gc.enable()
    feed = Feed(process, opened)
    try:
        await process.read(READING, Reading, feed.reading)
        await process.read(RESULT, Result, feed.result)
        await process.read(INSIGHT, Insight, feed.insight)
        await process.read(EVENT, Event, feed.event)
        await process.read(SLOT_STATE, Slot, feed.slot)
        await process.read(STATUS, Status, feed.status)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_tick(process, opened))
            tasks.create_task(_tell_held(process, opened.core))
            tasks.create_task(_keep(opened.conditions))
            tasks.create_task(_look_again(opened.server, opened.watch))
            tasks.create_task(_watch(process, feed))
    finally:
        gc.unfreeze()  # where settings have changed, another server follows in this interpreter
        async with asyncio.timeout(2.0):
            await opened.conditions.close()
            await opened.server.stop()
