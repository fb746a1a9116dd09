"""Sparkplug B 3.0 for hosts such as Ignition: this device is an edge node on a broker of the site.

Tags are told when they have moved, once per tick; results and events at once. Without a host they wait, the oldest
give way, and are told as historical after the next birth. Hosts may ask for a rebirth; they can't write: writes go by
MQTT or OPC UA through the write path (docs/how-to/read-results.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import logging
import platform
import time
from collections import deque
from dataclasses import dataclass

from bus import Delivery, Will
from bus.client import ControlBus
from bus.link import Backoff
from edge.host import metric_names as names
from edge.plc.tags.lists import source_tags
from edge.process import Process
from edge.security.site_address import site_address
from edge.settings import Sparkplug
from edge.sparkplug.metrics import Table, historical
from edge.sparkplug.node import EdgeNode, Message, Names, asks_rebirth, state_topic
from edge.sparkplug.payload import Metric, decode_commands
from schemas.errors import BusError, CodecError, SettingsError
from schemas.messages import Event, Phase, Reading, Result

log = logging.getLogger(__name__)
HOST_WAIT_S = 10.0  # for the primary host's word, before the next server is tried
REBIRTH_S = 1.0  # between two births that a host asks for
BATCH = 100  # kept results in one message
PAUSE_S = 0.02  # between two such messages: what is live goes first
PLC_LOST = "plc_lost"


@dataclass(frozen=True)
class _Kept:
    """What could not be told when it happened; device "" is the node itself."""

    device: str
    metrics: list[Metric]


class SparkplugSink:
    """One edge node. All of it runs on the process's loop."""

    def __init__(self, process: Process, settings: Sparkplug) -> None:
        """Learn what there is to report; connect in `run`."""
        place, tags = process.settings.place, source_tags(process.settings, process.home)
        self._settings, self._home = settings, process.home
        self._period_s = 1.0 / process.settings.mirror.tag_hz
        self._client_id = f"{settings.group or place.site}-{settings.node or place.node}"
        self._table = Table(tags, process.settings.pipelines, _properties())
        self._node = EdgeNode(
            Names(settings.group or place.site, settings.node or place.node), self._table, aliases=settings.aliases
        )
        self._kept: deque[_Kept] = deque(maxlen=settings.keep)
        self._dead: set[str] = set()
        self._bus: ControlBus | None = None  # between a birth and the end of its session
        self._ended, self._host, self._kick = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._host_since_ms, self._rebirth, self._born_s = 0, False, 0.0
        self._online = process.metrics.gauge(names.SPARKPLUG_ONLINE)
        self._waiting = process.metrics.gauge(names.SPARKPLUG_WAITING)
        self._dropped = process.metrics.counter(names.SPARKPLUG_DROPPED)

    # -- from the device ----------------------------------------------------------------------------------------------

    def reading(self, reading: Reading) -> None:
        """Hold the newest values until the next tick."""
        time_ms = reading.time_ns // 1_000_000
        for name, sample in reading.tags.items():
            self._table.take_sample(reading.source, name, sample, time_ms)

    def result(self, result: Result) -> None:
        """Tell a result."""
        held = self._table.take_result(result)
        if held:
            self._tell(self._table.device_of(result.pipeline), self._node.metrics(held))

    def event(self, event: Event) -> None:
        """Tell an event; a lost PLC is a dead device."""
        self._tell("", self._node.metrics(self._table.take_event(event)))
        source = str(event.args.get("source", ""))
        if event.code != PLC_LOST or source not in self._table.sources:
            return
        died = event.phase is not Phase.END
        if died == (source in self._dead):
            return
        (self._dead.add if died else self._dead.discard)(source)
        if self._bus is not None:
            self._send((self._node.device_death if died else self._node.device_birth)(source, _now_ms()))

    def _tell(self, device: str, metrics: list[Metric]) -> None:
        if self._bus is not None and not self._rebirth:
            self._send(self._node.data(device, metrics, _now_ms()))
            return
        if len(self._kept) == self._kept.maxlen:
            self._dropped.inc()
        self._kept.append(_Kept(device, metrics))
        self._waiting.set(len(self._kept))

    def _send(self, message: Message) -> None:
        """Send now. What the broker's connection does not take leaves a gap in the numbers, which a birth closes."""
        if self._bus is None or not self._bus.publish(message.topic, message.payload):
            self._rebirth = True

    def trouble(self) -> str:
        """Say why the host can't be told."""
        return self._trouble

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hold a session with one server after the other until cancelled."""
        backoff, turn, told = Backoff(), 0, ""
        while True:
            server = self._settings.servers[turn % len(self._settings.servers)]
            try:
                if await self._session(server):
                    backoff.reset()
                    told = ""
                why = f"{server}: the session ended"
            except (BusError, OSError) as error:
                why = str(error)
            self._trouble = f"sparkplug: {why}"
            if why != told:
                log.warning("%s; what happens meanwhile is kept", self._trouble)
            turn, told = turn + 1, why
            await asyncio.sleep(backoff.take())

    async def _session(self, server: str) -> bool:
        """Hold one session to its end; return whether there was a birth."""
        self._host.clear()
        address = await site_address(server, self._settings, self._home)
        will = self._node.open(_now_ms())
        bus = ControlBus(
            address, self._client_id, on_connection=self._connection,
            will=Will(will.topic, will.payload, qos=1, retain=False),
        )  # fmt: skip
        async with bus:
            self._ended.clear()  # attempts that failed
            try:
                if not bus.connected:
                    return False
                await self._listen(bus)
                if not await self._host_is_there():
                    return False
                self._bus, self._trouble = bus, ""
                await self._talk()
                return True
            finally:
                self._bus = None
                self._online.set(0)
                if bus.connected:  # else the will says it
                    death = self._node.death(_now_ms())
                    bus.publish(death.topic, death.payload, qos=1)

    def _connection(self, connected: bool) -> None:
        if not connected:
            self._ended.set()
            self._kick.set()

    async def _listen(self, bus: ControlBus) -> None:
        await bus.subscribe(self._node.commands_topic(), 1, self._command)
        await bus.subscribe(self._node.device_commands_topic(), 1, self._refuse)
        if self._settings.primary_host:
            await bus.subscribe(state_topic(self._settings.primary_host), 1, self._state)

    async def _host_is_there(self) -> bool:
        """Wait for the primary host's word; with several servers not for ever."""
        if not self._settings.primary_host:
            return True
        self._trouble = f"sparkplug: the primary host {self._settings.primary_host} is not there"
        waits = [asyncio.ensure_future(event.wait()) for event in (self._host, self._ended)]
        try:
            limit = HOST_WAIT_S if len(self._settings.servers) > 1 else None
            await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._host.is_set() and not self._ended.is_set()

    async def _talk(self) -> None:
        self._birth()
        await self._flush()
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period_s):
                    await self._kick.wait()
            self._kick.clear()
            if self._ended.is_set():
                return
            if self._rebirth:
                await asyncio.sleep(max(0.0, self._born_s + REBIRTH_S - time.monotonic()))
                self._birth()
                await self._flush()
            self._tick()

    def _birth(self) -> None:
        self._rebirth = False
        self._born_s = time.monotonic()
        for message in self._node.births(self._dead, _now_ms()):
            self._send(message)
        self._online.set(1)

    def _tick(self) -> None:
        for source, tags in self._table.sources.items():
            if source in self._dead:
                continue
            due = [held for held in tags.values() if held.due]
            if due:
                self._send(self._node.data(source, self._node.metrics(due), _now_ms()))

    async def _flush(self) -> None:
        """Tell what waited, oldest first, as historical; what happens meanwhile is told at once."""
        while self._kept and not self._rebirth and not self._ended.is_set():
            device = self._kept[0].device
            metrics: list[Metric] = []
            for _ in range(BATCH):
                if not self._kept or self._kept[0].device != device:
                    break
                metrics += self._kept.popleft().metrics
            self._send(self._node.data(device, historical(metrics), _now_ms()))
            self._waiting.set(len(self._kept))
            await asyncio.sleep(PAUSE_S)

    # -- from the host ------------------------------------------------------------------------------------------------

    def _command(self, delivery: Delivery) -> None:
        try:
            asked = asks_rebirth(decode_commands(bytes(delivery.payload)))
        except CodecError as error:
            log.warning("sparkplug: %s: %s; ignored", delivery.topic, error)
            return
        if asked:
            self._rebirth = True
            self._kick.set()

    def _refuse(self, delivery: Delivery) -> None:
        log.warning("sparkplug: %s: devices take no commands; write by MQTT or OPC UA", delivery.topic)

    def _state(self, delivery: Delivery) -> None:
        """Take the primary host's word. A death that is older than its birth is of a session before (5.13)."""
        try:
            said = json.loads(bytes(delivery.payload))
            online, time_ms = bool(said["online"]), int(said["timestamp"])
        except (ValueError, KeyError, TypeError):
            log.warning("sparkplug: %s: not a STATE of Sparkplug 3.0; ignored", delivery.topic)
            return
        if time_ms < self._host_since_ms:
            return
        if online:
            self._host_since_ms = time_ms
            self._host.set()
        elif self._bus is not None or len(self._settings.servers) > 1:
            self._ended.set()
            self._kick.set()


def _properties() -> dict[str, str]:
    return {"Software": f"PlantEdge {importlib.metadata.version('plantedge')}", "Hardware Model": platform.machine()}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def open_sink(process: Process) -> SparkplugSink:
    """Open the sink for a mirror process.

    Raises:
        SettingsError: device.toml has no `[sparkplug]`.
    """
    settings = process.settings.sparkplug
    if settings is None:
        raise SettingsError(["device.toml: mirror.sinks: `sparkplug` needs [sparkplug] with servers"])
    return SparkplugSink(process, settings)
