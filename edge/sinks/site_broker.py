"""JSON for MES and SCADA on a broker of the site, so that they connect once and not to every device.

The same topics and messages as `mes/...` of the device's broker, and `status/mirror` of this connection with a will. It
only tells: nothing is subscribed there, and writes go to the device's own broker. Results and events are delivered at
least once while the mirror lives: without the broker they wait, the oldest give way. Of tags the newest value counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Final

from msgspec.structs import force_setattr

from bus import Will
from bus.client import ControlBus
from bus.codec import encode
from bus.link import Backoff
from edge.host import metric_names as names
from edge.mes.messages import mes_event, mes_result
from edge.mes.tag_changes import TagChanges
from edge.mes.waiting import Told, Waiting
from edge.plc.tags.lists import source_tags
from edge.process import CONNECTION_LOST, Process
from edge.security.site_address import site_address
from edge.settings import SiteBroker
from schemas.errors import BusDisconnected, BusError, BusRefused, SettingsError
from schemas.messages import Event, Message, Reading, Result, State, Status
from schemas.topics import MES_EVENT, MES_RESULT, MES_TAG, STATUS, Topic, slug

log = logging.getLogger(__name__)
BATCH: Final = 100  # results and events on their way at a time
DELIVERED_S: Final = 5.0  # after which the broker counts as gone
CONNECTED_S: Final = 3.0  # after which the next server is tried
STATUS_S: Final = 5.0


class SiteBrokerSink:
    """One connection to the site's broker. All of it runs on the process's loop."""

    def __init__(self, process: Process, settings: SiteBroker) -> None:
        """Connect in `run`."""
        self._process, self._settings, self._place = process, settings, process.place
        self._period_s = 1.0 / process.settings.mirror.tag_hz
        self._changes = TagChanges(source_tags(process.settings, process.home))
        self._waiting = Waiting(settings.keep)
        self._epoch, self._seqs = time.time_ns(), dict[str, int]()
        self._trouble = ""
        self._ended, self._news = asyncio.Event(), asyncio.Event()
        self._online = process.metrics.gauge(names.SITE_ONLINE)
        self._queued = process.metrics.gauge(names.SITE_WAITING)
        self._dropped = process.metrics.counter(names.SITE_DROPPED)
        self._refused = process.metrics.counter(names.SITE_REFUSED)

    # -- from the device ----------------------------------------------------------------------------------------------

    def reading(self, reading: Reading) -> None:
        """Keep the newest value of each tag until the next tick."""
        if self._settings.tags:
            self._changes.take(reading)

    def result(self, result: Result) -> None:
        """Let a result wait for its delivery."""
        self._wait(self._told(MES_RESULT, mes_result(result), pipeline=result.pipeline))

    def event(self, event: Event) -> None:
        """Let an event wait for its delivery."""
        self._wait(self._told(MES_EVENT, mes_event(event), kind=event.code))

    def trouble(self) -> str:
        """Say why the broker can't be reached."""
        return self._trouble

    def _wait(self, message: Told) -> None:
        self._waiting.add(message)
        self._news.set()

    def _told(self, row: Topic, message: Message, **fields: str) -> Told:
        name = row.name(self._place, **fields)
        seq = self._seqs[name] = self._seqs.get(name, 0) + 1
        force_setattr(message, "epoch", self._epoch)
        force_setattr(message, "seq", seq)
        return Told(name, encode(row, message), row.retain)

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Hold a session with one server after the other until cancelled."""
        backoff, turn, told = Backoff(), 0, ""
        while True:
            server = self._settings.servers[turn % len(self._settings.servers)]
            try:
                await self._session(server)
                backoff.reset()
                why = f"{server}: the session ended"
            except (BusError, OSError) as error:
                why = str(error)
            self._trouble = f"site broker: {why}"
            if why != told:
                log.warning("%s; results and events wait meanwhile", self._trouble)
            turn, told = turn + 1, why
            await asyncio.sleep(backoff.take())

    async def _session(self, server: str) -> None:
        """Hold one session to its end."""
        address = await site_address(server, self._settings, self._process.home)
        client = f"{self._place.site}-{self._place.line}-{self._place.node}-mes"
        lost = self._status(self._process.status_of(State.STOPPED, CONNECTION_LOST))
        will = Will(lost.topic, lost.payload)
        async with ControlBus(
            address, client, will=will, on_connection=self._connection, connect_timeout_s=CONNECTED_S
        ) as bus:
            self._ended.clear()  # attempts that failed
            self._online.set(1)
            self._trouble = ""
            try:
                self._changes.forget()
                await self._talk(bus)
            finally:
                self._online.set(0)
                gone = self._status(self._process.status_of(State.STOPPED, "stopped"))
                bus.publish(gone.topic, gone.payload, qos=1, retain=True)

    def _connection(self, connected: bool) -> None:
        if not connected:
            self._ended.set()
            self._news.set()

    def _status(self, status: Status) -> Told:
        return self._told(STATUS, status, process=self._process.identity)

    async def _talk(self, bus: ControlBus) -> None:
        tags_s = status_s = 0.0
        while not self._ended.is_set():
            if time.monotonic() >= status_s:
                status_s = time.monotonic() + STATUS_S
                self._send(bus, self._status(self._process.status()))
            if not await self._deliver(bus):
                return
            if time.monotonic() >= tags_s:
                tags_s = time.monotonic() + self._period_s
                self._send_tags(bus)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, tags_s - time.monotonic())):
                    await self._news.wait()
            self._news.clear()

    async def _deliver(self, bus: ControlBus) -> bool:
        """Deliver what waits, oldest first; return whether the broker has taken all of it."""
        while self._waiting and not self._ended.is_set():
            batch = self._waiting.take(BATCH)
            sent = (bus.deliver(one.topic, one.payload, retain=one.retain, timeout_s=DELIVERED_S) for one in batch)
            outcomes = await asyncio.gather(*sent, return_exceptions=True)
            left = [one for one, outcome in zip(batch, outcomes, strict=True) if isinstance(outcome, BusDisconnected)]
            self._waiting.put_back(left)
            self._refused.inc(sum(isinstance(outcome, BusRefused) for outcome in outcomes))
            self._show()
            if left:
                return False
        self._show()
        return True

    def _show(self) -> None:
        self._queued.set(len(self._waiting))
        self._dropped.reach(self._waiting.dropped)

    def _send_tags(self, bus: ControlBus) -> None:
        now_s = time.monotonic()
        for key, tag in self._changes.due(now_s).items():
            source, name = key
            if self._send(bus, self._told(MES_TAG, tag, source=source, tag=slug(name))):
                self._changes.told(key, tag, now_s)

    @staticmethod
    def _send(bus: ControlBus, message: Told) -> bool:
        return bus.publish(message.topic, message.payload, qos=1, retain=message.retain)


def open_sink(process: Process) -> SiteBrokerSink:
    """Open the sink for a mirror process.

    Raises:
        SettingsError: device.toml has no `[site_broker]`.
    """
    settings = process.settings.site_broker
    if settings is None:
        raise SettingsError(["device.toml: mirror.sinks: `site_broker` needs [site_broker] with servers"])
    return SiteBrokerSink(process, settings)
