"""A running fleet: a real mosquitto with mutual TLS, the service over it, devices with certificates of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from bus import Address, Tls
from bus.client import ControlBus
from bus.codec import encode
from bus.mosquitto import BrokerProcess, find_broker
from cloud.accounts import Role
from cloud.pki import Authority
from cloud.serve import start_broker
from cloud.service import FleetService, ServiceOptions
from edge.security.identity import install, make_request
from schemas.fleet import Upstream
from schemas.topics import UP_ALERT, UP_HEALTH, UP_LEDGER, UP_MODELS, UP_REPORT, Place

ROW_OF = {row.message: row for row in (UP_HEALTH, UP_MODELS, UP_ALERT, UP_REPORT, UP_LEDGER)}


@dataclass
class RunningFleet:
    """The service in this loop; `start` and `stop` may be called again, on the same home and broker."""

    home: Path
    authority: Authority
    address: Address
    broker: BrokerProcess
    stack: AsyncExitStack
    options: ServiceOptions = field(default_factory=ServiceOptions)
    service: FleetService = field(init=False)

    async def start(self) -> None:
        self.service = FleetService(self.home, self.authority, self.address, self.options)
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(self.service.serve(self._stop))
        async with asyncio.timeout(10):
            started = asyncio.create_task(self.service.started.wait())
            await asyncio.wait([started, self._running], return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if self._running.done():
                self._running.result()

    async def stop(self) -> None:
        self._stop.set()
        async with asyncio.timeout(5):
            await self._running

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.service.port}"

    async def client(self, role: Role = Role.ADMIN) -> httpx.AsyncClient:
        """A client with an API token of that role."""
        token = self.service.accounts.add_run_token("test", role)
        headers = {"Authorization": f"Bearer {token}"}
        return await self.stack.enter_async_context(httpx.AsyncClient(base_url=self.url, headers=headers, timeout=10))

    async def browser(self) -> httpx.AsyncClient:
        """A client with a cookie and nothing else, logged in by a link."""
        client = await self.stack.enter_async_context(httpx.AsyncClient(base_url=self.url, timeout=10))
        answer = await client.get(f"/login?once={await self.service.accounts.add_link()}")
        assert answer.status_code == 303, answer.text
        return client

    async def device(self, node: str) -> "FleetDevice":
        """A device's connection, with a certificate that this fleet signed."""
        folder = self.home / "devices" / node
        request = make_request(folder, node)
        install(folder, self.authority.ca.read_bytes(), self.authority.sign_device(request.read_bytes(), node))
        tls = Tls(folder / "ca.pem", folder / "device.pem", folder / "device.key")
        bus = ControlBus(Address(host="localhost", port=self.address.port, tls=tls), node)
        return FleetDevice(node, await self.stack.enter_async_context(bus))

    async def everybody(self) -> "Everybody":
        """One connection that may speak for every node, so that a test can have thousands."""
        with (self.home / "broker" / "acl").open("a") as acl:
            acl.write("\nuser everybody\ntopic write fleet/v1/+/up/#\n")
        self.broker.reload()
        return Everybody((await self.device("everybody")).bus)


@dataclass
class Everybody:
    bus: ControlBus

    def say(self, node: str, message: Upstream) -> None:
        row = ROW_OF[type(message)]
        assert self.bus.publish(row.name(Place("x", "x", node)), encode(row, message), qos=1, retain=row.retain)

    async def settled(self) -> None:
        await self.bus.deliver(
            UP_HEALTH.name(Place("x", "x", "everybody")), b""
        )  # what was said before is acknowledged


@dataclass
class FleetDevice:
    node: str
    bus: ControlBus

    @property
    def place(self) -> Place:
        return Place(site="berlin", line="press", node=self.node)

    async def tell(self, *messages: Upstream) -> None:
        for message in messages:
            row = ROW_OF[type(message)]
            await self.bus.deliver(row.name(self.place), encode(row, message), retain=row.retain)


@pytest.fixture
async def make_fleet(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[RunningFleet]]]:
    """`make_fleet(stale_after_s=1)` starts a fleet with these options."""
    async with AsyncExitStack() as stack:

        async def make(**options: object) -> RunningFleet:
            home = tmp_path / "fleet"
            authority = Authority.load_or_create(home / "pki")
            broker = stack.enter_context(BrokerProcess(find_broker(tmp_path, allow_install=False)))
            address = start_broker(broker, home, authority, 0, "127.0.0.1")
            fleet = RunningFleet(home, authority, address, broker, stack, ServiceOptions(**options))  # type: ignore[arg-type]
            await fleet.start()
            stack.push_async_callback(fleet.stop)
            return fleet

        yield make


@pytest.fixture
async def fleet(make_fleet: Callable[..., Awaitable[RunningFleet]]) -> RunningFleet:
    """A fleet without a page, as shipped otherwise."""
    return await make_fleet()


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """`await until(check)` returns once `check()` is true; fails after 5 s."""

    async def wait(check: Callable[[], object | Awaitable[object]], timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while True:
                found = check()
                if await found if isinstance(found, Awaitable) else found:
                    return
                await asyncio.sleep(0.02)

    return wait
