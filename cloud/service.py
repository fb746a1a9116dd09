"""The fleet service: devices report up by the fleet's broker; people and programs see and act by REST and its page.

In: up health, models, alert, report, ledger. Out: down config, request. One loop, one store, one writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import uvicorn

from bus import Address
from bus.broker import FLEET_SERVICE
from bus.client import ControlBus
from cloud.accounts import Accounts
from cloud.changes import Changes
from cloud.commands import Commands
from cloud.device import STALE_AFTER_S
from cloud.fleet import Fleet
from cloud.inbox import Inbox
from cloud.page import STATIC
from cloud.pki import Authority
from cloud.reads import Reads
from cloud.rest import application
from cloud.store import Batch, Store
from cloud.stream import Streams
from schemas.errors import StartError

log = logging.getLogger(__name__)
COMMIT_S = 0.5
TICK_S = 1.0
PRUNE_S = 3600.0
SESSION_EXPIRY_S = 7 * 86_400  # alerts and reports wait this long at the broker while the service is away


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """How the service is reached. `public_hosts`: further names in Host; `secure`: a proxy in front speaks HTTPS."""

    host: str = "127.0.0.1"
    port: int = 0
    public_hosts: tuple[str, ...] = ()
    secure: bool = False
    stale_after_s: float = STALE_AFTER_S
    static: Path = STATIC


@dataclass
class FleetService:
    """The service over one home; `serve` runs it, and the rest is ready once `started` is set."""

    home: Path
    authority: Authority
    broker: Address
    options: ServiceOptions = field(default_factory=ServiceOptions)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Read the store."""
        self.store = Store(self.home / "fleet.db")
        self.fleet = Fleet(self.options.stale_after_s)
        today = datetime.now(UTC).date().isoformat()
        self.fleet.load(self.store.devices(), self.store.availability(today))
        self.accounts = Accounts(self.store)
        self.commands = Commands(self.store, self.fleet, self.commit)
        self.inbox = Inbox(self.fleet)
        self._committing = asyncio.Lock()
        self._reconnected = asyncio.Event()
        self._ending = False
        self._socket = _listen(self.options.host, self.options.port)

    @property
    def port(self) -> int:
        """The port that HTTP is served on."""
        return int(self._socket.getsockname()[1])

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. The store is closed when it returns."""
        streams = Streams(self.fleet)
        server = self._server(streams)
        bus = ControlBus(
            self.broker, FLEET_SERVICE, session_expiry_s=SESSION_EXPIRY_S, on_connection=self._connection_changed
        )
        try:
            async with bus, asyncio.TaskGroup() as tasks:
                self.commands.bus = bus
                await self.inbox.attach(bus)
                serving = tasks.create_task(server.serve(sockets=[self._socket]))
                loops = [tasks.create_task(work) for work in (self._commits(), self._ticks(), self._resends())]
                self.started.set()
                await _first(stop, serving)
                self._ending = True
                streams.close()
                server.should_exit = True
                await serving
                for loop in loops:
                    loop.cancel()
                await self.commit()
        finally:
            self._socket.close()
            await asyncio.to_thread(self.store.close)

    async def commit(self) -> None:
        """Write what has changed in one transaction, then acknowledge what it came from."""
        async with self._committing:
            batch = self._take_batch()
            acks = self.inbox.take_acks()
            try:
                await self.store.run(partial(self.store.write, batch))
            except sqlite3.Error:
                self._put_back(batch)
                self.inbox.put_back(acks)
                raise
            for ack in acks:
                ack()

    def _take_batch(self) -> Batch:
        fleet, commands = self.fleet, self.commands
        batch = Batch(
            devices=tuple(fleet.devices[node] for node in fleet.dirty),
            config=tuple(commands.unsaved_config.items()),
            requests=tuple(commands.unsaved_requests.values()),
            history=tuple(fleet.happenings),
            availability=fleet.availability,
        )
        fleet.dirty.clear()
        fleet.happenings.clear()
        commands.unsaved_config.clear()
        commands.unsaved_requests.clear()
        return batch

    def _put_back(self, batch: Batch) -> None:
        """Keep what could not be written for the next try; what changed meanwhile is newer and stays."""
        self.fleet.dirty.update(device.node for device in batch.devices)
        self.fleet.happenings[:0] = batch.history
        self.commands.unsaved_config = dict(batch.config) | self.commands.unsaved_config
        self.commands.unsaved_requests = {r.id: r for r in batch.requests} | self.commands.unsaved_requests

    async def _commits(self) -> None:
        pruned_s, failing = time.monotonic(), False
        while True:
            await asyncio.sleep(COMMIT_S)
            try:
                await self.commit()
            except sqlite3.Error as error:
                if not failing:
                    log.warning("the store can't be written, trying again: %s; is the disk full?", error)
                failing = True
                continue
            failing = False
            if time.monotonic() - pruned_s > PRUNE_S:
                pruned_s = time.monotonic()
                await self.store.run(self.store.prune)

    async def _ticks(self) -> None:
        while True:
            self.fleet.tick()
            self.commands.expire()
            await asyncio.sleep(TICK_S)

    async def _resends(self) -> None:
        while True:
            await self._reconnected.wait()
            self._reconnected.clear()
            await self.commands.send_all()

    def _connection_changed(self, connected: bool) -> None:
        self.fleet.listening(connected)
        if connected:
            self._reconnected.set()
        elif not self._ending:
            log.warning("the fleet's broker is away: what devices say is not heard")

    def _server(self, streams: Streams) -> _Server:
        reads = Reads(self.fleet, self.store, self.commands)
        changes = Changes(
            fleet=self.fleet, reads=reads, accounts=self.accounts, commands=self.commands, authority=self.authority,
            commit=self.commit, secure=self.options.secure,
        )  # fmt: skip
        app = application(
            self.accounts, reads, changes, streams, hosts=self.options.public_hosts, static=self.options.static
        )
        config = uvicorn.Config(
            app, lifespan="off", ws="none", access_log=False, log_config=None, server_header=False, proxy_headers=False,
            limit_concurrency=512, timeout_keep_alive=30, timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=32_768,
        )  # fmt: skip
        return _Server(config)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the command ends the service."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise StartError(
            f"{host}:{port} can't be listened on ({error.strerror}); choose another --http-port"
        ) from error
    return listener


async def _first(stop: asyncio.Event, serving: asyncio.Task[None]) -> None:
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait([waiting, serving], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
