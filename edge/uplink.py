"""uplink: the only process with a route upstream, and the only writer of `fleet/.../up`.

In: status, insight, slot state, event, config state; fleet down desired, config, request. Out: fleet up (health,
models, alert, report, ledger); desired, for the agent. Everything leaves through the outbox, from its closed schema.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import time

import msgspec

from bus import Address, Delivery, Tls
from bus.client import ControlBus
from bus.typed import Publisher, RateLimit, Reader
from edge.host import metric_names as names
from edge.host.load import read_machine
from edge.process import Process
from edge.security.identity import certificate_until_ns
from edge.upstream.health import DeviceView
from edge.upstream.outbox import Outbox, today
from schemas.errors import BusDisconnected, BusError, CodecError
from schemas.fleet import FleetConfig, FleetDesired, FleetRequest, Health, Report
from schemas.messages import ConfigState, Desired, Event, Insight, Slot, State, Status
from schemas.topics import (
    CONFIG_STATE,
    DESIRED,
    DOWN_CONFIG,
    DOWN_DESIRED,
    DOWN_REQUEST,
    EVENT,
    INSIGHT,
    SLOT_STATE,
    STATUS,
    UP_ALERT,
    UP_HEALTH,
    UP_LEDGER,
    UP_MODELS,
    UP_REPORT,
    UPSTREAM_BUDGET_BYTES,
)

log = logging.getLogger(__name__)
MODELS_S = 300.0
SETTLE_S = 2.0  # a change of state is told this soon, not at the next period
RETRY_S = 1.0
MOST_REQUESTS = 1_000  # that have not expired yet
STAMP_BYTES = 32  # what epoch and seq add when the outbox stamps a message
BUDGET_RESERVE = 0.9  # past this share of the day's budget only health and the ledger still leave


class Uplink:
    """Folds what the device says into upstream messages and sends them."""

    def __init__(self, process: Process, outbox: Outbox) -> None:
        """Start with what the outbox still holds."""
        self._process = process
        self._settings = process.settings.uplink
        self._outbox = outbox
        self._view = DeviceView(process.settings, importlib.metadata.version("plantedge"))
        self._alerts = RateLimit(UP_ALERT.max_hz, burst=20)
        self._healths = RateLimit(UP_HEALTH.max_hz, burst=5)
        self._kick = asyncio.Event()
        self._wake = asyncio.Event()
        self._models_due = 0.0
        self._started = time.monotonic()
        self._ledger_day = today()
        self._desired: dict[str, Publisher[Desired]] = {}
        self._generations = {"config": 0, "models": 0}
        self._requests: dict[str, float] = {}
        self._last_state = ""
        self._wire_seen = 0

    # -- from the site ------------------------------------------------------------------------------------------------

    async def attach(self) -> None:
        """Read what the health is made of."""
        read = self._process.read
        await read(STATUS, Status, self._status)
        await read(INSIGHT, Insight, lambda insight, _: self._view.insight(insight, time.monotonic()))
        await read(SLOT_STATE, Slot, self._slot)
        await read(EVENT, Event, self._event)
        await read(CONFIG_STATE, ConfigState, self._config)

    def _status(self, status: Status, _: Delivery) -> None:
        if self._view.status(status, time.monotonic()):
            self._kick.set()

    def _slot(self, slot: Slot, _: Delivery) -> None:
        self._view.slot(slot)
        self._models_due = 0.0
        self._kick.set()

    def _config(self, state: ConfigState, _: Delivery) -> None:
        self._view.config(state)
        if state.request_id.startswith("fleet-") and state.phase != "applying":
            reason = "" if state.phase == "applied" else state.phase
            self._put_report("config", state.request_id.removeprefix("fleet-"), not reason, reason)

    def _event(self, event: Event, _: Delivery) -> None:
        alert = self._view.event(event, time.time_ns())
        if alert is None:
            return
        if not self._alerts.take() or self._over_budget():
            self._count("alerts_limited")
            return
        self._outbox.put(UP_ALERT, alert)
        self._kick.set()
        self._wake.set()

    def _put_report(self, about: str, request_id: str, ok: bool, reason: str) -> None:
        try:
            self._outbox.put(
                UP_REPORT, Report(about=about, id=request_id, ok=ok, reason=reason, time_ns=time.time_ns())
            )
        except CodecError:
            self._count("refused")
            log.warning("a report about %s was not of its schema and stays here", about)
        self._wake.set()

    # -- to the fleet -------------------------------------------------------------------------------------------------

    async def tell(self) -> None:
        """Put health into the outbox every `health_s`, and soon after a change, within the rate of its row."""
        await asyncio.sleep(SETTLE_S)
        while True:
            self._put_state()
            self._wake.set()
            self._kick.clear()
            try:
                async with asyncio.timeout(self._settings.health_s):
                    await self._kick.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SETTLE_S)

    def _put_state(self) -> None:
        if not self._healths.take():
            return
        until_ns = certificate_until_ns(self._process.home / self._settings.identity)
        machine = read_machine(time.monotonic() - self._started, str(self._process.home))
        health = self._view.health(
            machine, time.monotonic(), time.time_ns(), until_ns, len(self._outbox), self._outbox.wire_bytes(today())
        )  # fmt: skip
        try:
            self._outbox.put(UP_HEALTH, fitting(health))
            if time.monotonic() >= self._models_due and not self._over_budget():
                self._outbox.put(UP_MODELS, self._view.models(time.time_ns()))
                self._models_due = time.monotonic() + MODELS_S
        except CodecError as error:
            self._count("refused")
            log.warning("a message was not of its closed schema and stays here: %s", error)
        if today() != self._ledger_day:
            self._outbox.put(UP_LEDGER, self._outbox.ledger(self._ledger_day))
            self._ledger_day = today()

    def _over_budget(self) -> bool:
        return self._outbox.wire_bytes(today()) > BUDGET_RESERVE * UPSTREAM_BUDGET_BYTES

    async def send(self, fleet: ControlBus) -> None:
        """Send what waits, one after the other; a message leaves the outbox when the fleet's broker has it."""
        self._wire_seen = 0
        while True:
            self._wake.clear()
            for message in self._outbox.waiting():
                name = message.topic.name(self._process.place)
                try:
                    await fleet.deliver(name, message.payload, retain=message.topic.retain)
                except BusDisconnected:
                    self._process.report(State.DEGRADED, "the fleet's broker does not answer; messages wait here")
                    await asyncio.sleep(RETRY_S)
                    break
                self._outbox.sent(message, message.topic.key.removeprefix("UP_").lower())
                self._process.report(State.ACTIVE)
            self._account(fleet)
            self._process.counters["outbox"] = len(self._outbox)
            self._process.metrics.gauge(names.OUTBOX).set(len(self._outbox))
            try:
                async with asyncio.timeout(RETRY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _account(self, fleet: ControlBus) -> None:
        stats = fleet.stats
        total = stats.bytes_out + stats.bytes_in
        self._outbox.add_wire_bytes(total - self._wire_seen)
        self._wire_seen = total
        self._process.counters["upstream_bytes_today"] = bytes_today = self._outbox.wire_bytes(today())
        self._process.metrics.gauge(names.UPSTREAM_BYTES).set(bytes_today)

    # -- from the fleet -----------------------------------------------------------------------------------------------

    async def listen(self, fleet: ControlBus) -> None:
        """Read this device's own topics on the fleet's bus."""
        place = self._process.place
        await Reader(DOWN_DESIRED, FleetDesired, self._down_desired).attach(fleet, place)
        await Reader(DOWN_CONFIG, FleetConfig, self._down_config).attach(fleet, place)
        await Reader(DOWN_REQUEST, FleetRequest, self._down_request).attach(fleet, place)

    def _down_desired(self, desired: FleetDesired, _: Delivery) -> None:
        if self._newer("models", desired.generation):
            self._desire("models", Desired(generation=desired.generation, models=desired.models))

    def _down_config(self, config: FleetConfig, _: Delivery) -> None:
        if self._newer("config", config.generation):
            self._desire("config", Desired(generation=config.generation, config=config.sections))

    def _newer(self, kind: str, generation: int) -> bool:
        if generation <= self._generations[kind]:
            return False
        self._generations[kind] = generation
        return True

    def _desire(self, kind: str, desired: Desired) -> None:
        publisher = self._desired.get(kind)
        if publisher is None:
            publisher = self._desired[kind] = self._process.publisher(DESIRED, Desired, kind=kind)
        publisher.send(desired)

    def _down_request(self, request: FleetRequest, _: Delivery) -> None:
        if request.id in self._requests:
            return
        self._requests = {key: end for key, end in self._requests.items() if end > time.time()}
        if time.time_ns() > request.expires_ns:
            self._put_report("request", request.id, False, "expired")
            return
        if len(self._requests) >= MOST_REQUESTS:
            self._put_report("request", request.id, False, "busy")
            return
        self._requests[request.id] = request.expires_ns / 1e9
        self._put_report("request", request.id, True, "")  # a ping: that this arrives is the answer

    def _count(self, name: str) -> None:
        self._process.counters[name] = self._process.counters.get(name, 0) + 1


def fitting(health: Health) -> Health:
    """Return the health with as many processes and pipelines as its row's size takes: state and reasons come first."""
    keep = max(len(health.processes), len(health.pipelines))
    while keep and len(msgspec.msgpack.encode(health)) > UP_HEALTH.max_bytes - STAMP_BYTES:
        keep //= 2
        health = msgspec.structs.replace(health, processes=health.processes[:keep], pipelines=health.pipelines[:keep])
    return health


def fleet_address(process: Process) -> Address:
    """Return the fleet broker's address with this device's certificate."""
    uplink = process.settings.uplink
    identity = process.home / uplink.identity
    return Address(
        host=uplink.host,
        port=uplink.port,
        tls=Tls(identity / "ca.pem", identity / "device.pem", identity / "device.key"),
    )


async def _idle(process: Process) -> None:
    process.report(State.IDLE, "no fleet is configured ([uplink] host)")
    await asyncio.Event().wait()


async def main(process: Process) -> None:
    """Run until cancelled."""
    if not process.settings.uplink.host:
        await _idle(process)
    outbox = Outbox(process.home / "state" / "outbox.db", process.settings.uplink.outbox_mb * 1_000_000)
    uplink = Uplink(process, outbox)
    await uplink.attach()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(uplink.tell())
            tasks.create_task(_serve_fleet(process, uplink))
    finally:
        outbox.close()


async def _serve_fleet(process: Process, uplink: Uplink) -> None:
    """Connect to the fleet and send; a fleet that is away costs nothing but the wait."""
    while True:
        try:
            async with ControlBus(fleet_address(process), process.settings.device.node) as fleet:
                await uplink.listen(fleet)
                await uplink.send(fleet)
        except (BusError, OSError) as error:
            process.report(State.DEGRADED, f"the fleet's broker can't be reached: {error}")
            await asyncio.sleep(RETRY_S)
