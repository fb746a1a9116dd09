"""What every process shares: settings, bus, status with its will, watchdog, and a restart when its settings change.

`python -m edge.process NAME[@INSTANCE] --home DIR` runs one process of `edge/processes.py`. Its module offers
`async def main(process: Process) -> None`, which runs until it is cancelled.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from bus import Address, Bus, Delivery, Will
from bus.codec import encode
from bus.typed import Publisher, Reader
from edge.host.clock import boot_id, clock_state
from edge.host.metrics import Metrics, open_metrics
from edge.host.notify import notify
from edge.host.race import first_of
from edge.host.traffic import Traffic
from edge.processes import Lane, ProcessRow, row
from edge.settings import Settings, load_settings
from schemas.errors import CodecError, PlantEdgeError, SettingsError
from schemas.messages import ConfigState, Event, Message, Phase, Severity, State, Status
from schemas.topics import CONFIG_STATE, EVENT, STATUS, Topic

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Message)
STATUS_PERIOD_S = 2.0
TAKE_BACK_S, TAKE_BACK_PERIOD_S = 10.0, 0.1
CONNECTION_LOST = "connection lost"  # the reason of a process that has gone without a word
EXIT_SETTINGS = 78  # EX_CONFIG: a supervisor does not restart into the same mistake at full speed


class Process:
    """One running process: its settings, its bus, and how it speaks about itself."""

    def __init__(self, process_row: ProcessRow, instance: str, home: Path, settings: Settings) -> None:
        """Start as `starting`, without a connection."""
        self.row = process_row
        self.instance = instance
        self.identity = process_row.identity(instance)
        self.home = home
        self.settings = settings
        self.place = settings.place
        self.boot = boot_id()
        self.counters: dict[str, float] = {}
        self.metrics = Metrics()  # shown to nobody until `run`
        self.bus: Bus
        self._started = time.monotonic()
        self._state, self._reason = State.STARTING, ""
        self._status: Publisher[Status] | None = None
        self._traffic = Traffic()
        self._events: dict[str, Publisher[Event]] = {}
        self._config = config_versions(home)

    def publisher(self, topic: Topic, kind: type[M], bus: Bus | None = None, /, **fields: str) -> Publisher[M]:
        """Return a publisher of one of the row's topics.

        Raises:
            TypeError: the second table does not say that this process publishes it.
        """
        if topic not in self.row.publishes:
            raise TypeError(f"{self.row.name} does not publish {topic.key}; see edge/processes.py")
        publisher = Publisher(bus or self.bus, topic, kind, self.place, **fields)
        self._traffic.published(topic, publisher.stats)
        return publisher

    async def read(
        self,
        topic: Topic,
        kind: type[M],
        handler: Callable[[M, Delivery], None],
        /,
        *,
        bus: Bus | None = None,
        manual_ack: bool = False,
        unread: Callable[[CodecError, Delivery], None] | None = None,
        **fields: str,
    ) -> Reader[M]:
        """Subscribe to one of the row's topics of this device; `unread` hears of what can't be read.

        Raises:
            TypeError: the second table does not say that this process reads it.
        """
        if topic not in self.row.subscribes:
            raise TypeError(f"{self.row.name} does not read {topic.key}; see edge/processes.py")
        reader: Reader[M] = Reader(topic, kind, handler, unread)
        self._traffic.heard(topic, reader.stats)
        await reader.attach(bus or self.bus, self.place, manual_ack=manual_ack, **fields)
        return reader

    def connection(self, purpose: str = "", *, session_expiry_s: int = 0) -> Bus:
        """Return a further bus of this process (frames, or a persistent session); enter it as a context manager."""
        client_id = f"{self.identity}-{purpose}" if purpose else self.identity
        return self._make_bus(client_id, None, session_expiry_s, None)

    def report(self, state: State, reason: str = "") -> None:
        """Say what state the process is in; published at once when it changed."""
        if (state, reason) == (self._state, self._reason):
            return
        self._state, self._reason = state, reason
        level = logging.WARNING if state is State.DEGRADED else logging.INFO
        log.log(level, "%s: %s %s", self.identity, state.value, reason)
        self.publish_status()

    def event(self, code: str, phase: Phase, severity: Severity, text: str, *, key: str = "", **args: Any) -> None:
        """Publish an event of this process; `key` joins its phases (default: the code)."""
        publisher = self._events.get(code)
        if publisher is None:
            publisher = self._events[code] = self.publisher(EVENT, Event, origin=self.identity, kind=code)
        publisher.send(
            Event(
                key=key or f"{self.identity}-{code}", origin=self.identity, code=code, phase=phase, severity=severity,
                text=text, args=args, time_ns=time.time_ns(),
            )
        )  # fmt: skip

    def publish_status(self) -> None:
        """Publish the status now."""
        if self._status is not None:
            self._status.send(self.status())

    def status(self) -> Status:
        """Return what the process says of itself now."""
        return self.status_of(self._state, self._reason)

    def status_of(self, state: State, reason: str) -> Status:
        """Return what it would say in a state."""
        synced, offset_ms = clock_state()
        counters = self._traffic.totals() | self.counters
        return Status(
            process=self.identity, state=state, reason=reason[:400], pid=os.getpid(), boot=self.boot,
            uptime_s=time.monotonic() - self._started, rss_mb=resident_mb(), clock_synced=synced,
            clock_offset_ms=offset_ms, config=self._config, counters=counters, time_ns=time.time_ns(),
        )  # fmt: skip

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self, main: Callable[[Process], Awaitable[None]]) -> None:
        """Run `main` with a connected bus until it ends, is cancelled, or its settings change."""
        self.metrics = open_metrics(self.home, self.identity)
        try:
            await self._run(main)
        finally:
            self.metrics.close()

    async def _run(self, main: Callable[[Process], Awaitable[None]]) -> None:
        will = encode(STATUS, self.status_of(State.STOPPED, CONNECTION_LOST))
        self.bus = self._make_bus(
            self.identity, Will(STATUS.name(self.place, process=self.identity), will), 0, self._connection_changed
        )
        async with self.bus:
            self._status = self.publisher(STATUS, Status, process=self.identity)
            self.publish_status()
            changed = asyncio.Event()
            if CONFIG_STATE in self.row.subscribes:
                await self.read(CONFIG_STATE, ConfigState, lambda state, _: self._on_config(state, changed))
            why = "stopped"
            try:
                await first_of(_awaited(main(self)), self._beat(), _changed(changed))
            except (PlantEdgeError, OSError) as error:
                why = " ".join(str(error).split())
                raise
            finally:
                self._status.send(self.status_of(State.STOPPED, why))

    async def _beat(self) -> None:
        """Feed the watchdog from the loop that does the work, and publish the status every two seconds."""
        notify("READY=1")
        period = min(self.row.watchdog_s / 4, STATUS_PERIOD_S)
        last = 0.0
        while True:
            notify("WATCHDOG=1")
            if time.monotonic() - last >= STATUS_PERIOD_S:
                last = time.monotonic()
                self.publish_status()
                self._traffic.show(self.metrics)
            await asyncio.sleep(period)

    def _on_config(self, state: ConfigState, changed: asyncio.Event) -> None:
        ours = state.section in self.row.sections and state.phase in ("applying", "applied", "reverted")
        if ours and state.version != self._config.get(state.section, 0):
            changed.set()

    def _connection_changed(self, connected: bool) -> None:
        if connected and self._status is not None:
            self.publish_status()  # the will has been published in our name meanwhile

    def _make_bus(
        self, client_id: str, will: Will | None, session_expiry_s: int, on_connection: Callable[[bool], None] | None
    ) -> Bus:
        address = broker_address(self.settings, self.home, self.identity)
        if self.row.lane is not Lane.CONTROL:
            from bus.hot import HotBus  # a process loads the bus it uses, and no other

            kind: type[HotBus | ControlBus] = HotBus
        else:
            from bus.client import ControlBus

            kind = ControlBus
        return self._traffic.over(
            kind(address, client_id, will=will, session_expiry_s=session_expiry_s, on_connection=on_connection)
        )


def broker_address(settings: Settings, home: Path, identity: str) -> Address:
    """Return how `identity` reaches the device's broker; the password comes from the credentials file."""
    broker = settings.broker
    password = ""
    if broker.credentials:
        try:
            password = str(json.loads((home / broker.credentials).read_text())[identity])
        except (OSError, ValueError, KeyError) as error:
            file, remedy = home / broker.credentials, "`plantedge accounts` writes it"
            raise SettingsError([f"{file}: no password for {identity} ({error!r}); {remedy}"]) from error
    return Address(
        host=broker.host, port=broker.port, username=identity if password else "", password=password,
        socket=str(home / broker.socket) if broker.socket else "", mqtt=broker.mqtt,
    )  # fmt: skip


def config_versions(home: Path) -> dict[str, int]:
    """Return section -> version of the agent's overrides, empty without any."""
    return {section: int(entry["version"]) for section, entry in _overrides(home).items()}


def _overrides(home: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", msgspec.json.decode((home / "state" / "config.json").read_bytes()))
    except (OSError, msgspec.DecodeError):
        return {}


def resident_mb() -> float:
    """Return this process's resident memory in MB (/proc/self/statm)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 1e6


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def _changed(event: asyncio.Event) -> None:
    await event.wait()
    log.info("settings changed, starting again with them")


async def serve(process_row: ProcessRow, instance: str, home: Path) -> None:
    """Run a process until SIGTERM or SIGINT, starting `main` again whenever its settings change."""
    module = importlib.import_module(process_row.module)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    settings = load_settings(home)
    while not stop.is_set():
        versions = config_versions(home)
        process = Process(process_row, instance, home, settings)
        try:
            await first_of(process.run(module.main), _stopped(stop))
        except SettingsError:
            if not await _taken_back(home, versions, stop):
                raise
        if not stop.is_set():
            settings = load_settings(home)
    notify("STOPPING=1")


async def _taken_back(home: Path, versions: dict[str, int], stop: asyncio.Event) -> bool:
    """Wait for the agent to take back a change that this process can't run with; False if none comes.

    Ending would be for good under systemd, and for seconds under `plantedge up`: a refused change must not stop a line.
    """
    end = time.monotonic() + TAKE_BACK_S
    while time.monotonic() < end:
        notify("WATCHDOG=1")
        if stop.is_set() or config_versions(home) != versions:
            return True
        if not any(entry.get("pending") for entry in _overrides(home).values()):
            return False
        await asyncio.sleep(TAKE_BACK_PERIOD_S)
    return False


async def _stopped(stop: asyncio.Event) -> None:
    await stop.wait()


def run(name: str, instance: str, home: Path) -> int:
    """Run one process in this interpreter; return its exit status."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    process_row = row(name)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            if process_row.lane is Lane.HOT:
                import uvloop  # the hot lane's loop; the control plane runs on the stock one

                uvloop.run(serve(process_row, instance, home))
            else:
                asyncio.run(serve(process_row, instance, home))
    except SettingsError as error:
        log.error("settings can't be used:\n%s", error)  # noqa: TRY400 - a person's mistake needs no traceback
        return EXIT_SETTINGS
    except PlantEdgeError as error:
        log.error("%s ends: %s", process_row.identity(instance), error)  # noqa: TRY400 - it says what to do
        return 1
    return 0


def main() -> int:
    """Entry point of `python -m edge.process`."""
    parser = argparse.ArgumentParser(prog="python -m edge.process", description="Run one process of a device.")
    parser.add_argument("process", help="NAME or NAME@INSTANCE of edge/processes.py")
    parser.add_argument("--home", type=Path, required=True, help="the device folder")
    arguments = parser.parse_args()
    name, _, instance = cast(str, arguments.process).partition("@")
    return run(name, instance, cast(Path, arguments.home))


if __name__ == "__main__":
    sys.exit(main())
