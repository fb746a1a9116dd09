"""A line on loopback: a real broker, the simulated plant and connect as processes, and buses to watch them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bus import Address
from bus.broker import Account, device_acl, password_file
from bus.broker_config import development, device_config
from bus.hot import HotBus
from bus.mosquitto import BrokerProcess, find_broker, free_port
from bus.typed import Publisher, Reader
from edge.host.clock import boot_id
from edge.sim import control
from schemas.messages import Decision, Event, Message, Output, Phase, Proof, Reading, Status, Verdict
from schemas.topics import DECISION, EVENT, OUTPUT, READING, STATUS, Place, Role, Topic

ROOT = Path(__file__).resolve().parents[3]
PLACE = Place("demo", "line1", "edge1")
PASSWORD = "only for this test"
ANY_PORTS = ("--modbus-port", "0", "--camera-port", "0")
ACCOUNTS = [
    Account("connect-plant", Role.CONNECT), Account("runtime-safety", Role.RUNTIME), Account("watcher", Role.CLI),
    Account("mes1", Role.MES), Account("mes2", Role.MES),
]  # fmt: skip
DEVICE = """
[device]
site = "demo"
line = "line1"
node = "edge1"

[broker]
port = {broker}
credentials = "credentials.json"

[sources.plant]
{source}
timeout_ms = {timeout_ms}
tags = "plant.csv"
groups = {{ fast = 20, process = 100 }}

[outputs.caps]
source = "plant"
verdict = "Eject.Reject"
part = "Eject.PartId"
failsafe = true
armed = "Edge.Armed"
rearm = "Plc.Rearm"
heartbeat = "Edge.Heartbeat"
heartbeat_ms = 50
lease_ms = {lease_ms}

[pipelines.caps]
lane = "safety"
model = "none"
input = {{ source = "plant", group = "fast", tags = ["Line.PartCounter"], length = 1 }}
deadline_ms = 50
"""
M = TypeVar("M", bound=Message)


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {timeout_s} s"
        await asyncio.sleep(0.005)
    return value


@dataclass
class Seen:
    """Everything that the watcher has received."""

    readings: list[Reading] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    status: list[Status] = field(default_factory=list)

    def events_of(self, code: str, phase: Phase | None = None) -> list[Event]:
        return [event for event in self.events if event.code == code and phase in (None, event.phase)]


@dataclass(frozen=True)
class Face:
    """A face of the plant's PLC: what a plant is started with to have it, and what a source needs to read it."""

    name: str
    words: tuple[str, ...]
    source: str
    tags: str

    def at(self, ports: dict[str, Any]) -> str:
        return self.source.format(**ports)


FACES = {
    "modbus": Face("modbus", (), 'driver = "modbus"\nport = {modbus_port}', "plant.csv"),
    "s7": Face("s7", ("--s7-port", "0"), 'driver = "s7"\nport = {s7_port}', "plant-s7.csv"),
    "ethernetip": Face(
        "ethernetip", ("--ethernetip-port", "0"), 'driver = "ethernetip"\nport = {ethernetip_port}',
        "plant-ethernetip.csv",
    ),
    "rtu": Face(
        "rtu", ("--rtu", "{folder}/ttyPLC"),
        'driver = "modbus_rtu"\noptions = {{ device = "{folder}/ttyPLC", baudrate = 19200 }}', "plant-rtu.csv",
    ),
}  # fmt: skip


@pytest.fixture(params=list(FACES))
def face(request: pytest.FixtureRequest) -> Face:
    """Each face in turn: `start_plant(..., face=face)`, `station(plant, face=face)`."""
    return FACES[request.param]


@dataclass
class PlantProcess:
    """The simulated plant in a process of its own."""

    child: subprocess.Popen[bytes]
    socket: Path
    modbus_port: int
    camera_port: int
    ports: dict[str, Any]

    def state(self) -> dict[str, Any]:
        return control.read_state(self.socket)

    def fault(self, kind: str, for_s: float, source: str = "modbus") -> None:
        control.send_fault(self.socket, kind, for_s, source)

    def clear(self) -> None:
        control.send_clear(self.socket)


def start_process(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, **options)


def stop_process(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGCONT)
        child.terminate()
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(5)
        raise
    finally:
        if child.stdout is not None:
            child.stdout.close()


@pytest.fixture
def start_plant(tmp_path: Path) -> Iterator[Callable[..., PlantProcess]]:
    """`start_plant("--parts-per-s", "20")` is a running plant."""
    children: list[subprocess.Popen[bytes]] = []

    def start(*words: str, face: Face = FACES["modbus"]) -> PlantProcess:
        path = tmp_path / f"plant{len(children)}.sock"
        child = start_process(
            "-m",
            "edge.sim.plant",
            "--control",
            str(path),
            *ANY_PORTS,
            *words,
            *(word.format(folder=tmp_path) for word in face.words),
            stdout=subprocess.PIPE,
        )
        children.append(child)
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line, "the plant ended at its start"
        ports = json.loads(line)
        ports["folder"] = str(tmp_path)
        return PlantProcess(child, path, ports["modbus_port"], ports["camera_port"], ports)

    yield start
    for child in children:
        stop_process(child)


def begin_broker(folder: Path) -> tuple[BrokerProcess, Address]:
    """A broker with the real ACL of a device."""
    config = development(folder, free_port(), socket=False)
    config.passwords.write_text(password_file({account.user: PASSWORD for account in ACCOUNTS}))
    config.passwords.chmod(0o600)
    config.acl.write_text(device_acl(PLACE, ACCOUNTS))
    address = Address(port=config.port, username="watcher", password=PASSWORD)
    broker = BrokerProcess(find_broker(folder, allow_install=False)).start(device_config(config), folder, address)
    return broker, address


@pytest.fixture(scope="session")
def line_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A broker for all tests that leave it alone."""
    broker, address = begin_broker(tmp_path_factory.mktemp("broker"))
    with broker:
        yield address


@pytest.fixture
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrokerProcess, Address]]:
    """A broker for a test that stops it."""
    broker, address = begin_broker(tmp_path_factory.mktemp("broker"))
    with broker:
        yield broker, address


class Station:
    """One connect process beside a plant, and three buses: a watcher, the runtime's, and an MES."""

    def __init__(
        self, folder: Path, broker: Address, source: str, tag_list: str, lease_ms: float, timeout_ms: float
    ) -> None:
        self.folder = folder
        self.seen = Seen()
        self.watcher = self._bus(broker, "watcher")
        self.runtime = self._bus(broker, "runtime-safety")
        self.mes = self._bus(broker, "mes1")
        self.child: subprocess.Popen[bytes] | None = None
        self._part = 0
        tags = (ROOT / "edge/sim/demo/tags" / tag_list).read_text()
        (folder / "plant.csv").write_text(tags)
        (folder / "device.toml").write_text(
            DEVICE.format(broker=broker.port, source=source, lease_ms=lease_ms, timeout_ms=timeout_ms)
        )
        (folder / "credentials.json").write_text(json.dumps({"connect-plant": PASSWORD}))

    @staticmethod
    def _bus(broker: Address, user: str) -> HotBus:
        return HotBus(Address(host=broker.host, port=broker.port, username=user, password=PASSWORD), user)

    async def open(self, stack: AsyncExitStack) -> None:
        for bus in (self.watcher, self.runtime, self.mes):
            await stack.enter_async_context(bus)
        await self._watch(READING, Reading, self.seen.readings)
        await self._watch(OUTPUT, Output, self.seen.outputs)
        await self._watch(EVENT, Event, self.seen.events)
        await self._watch(STATUS, Status, self.seen.status)
        self.decisions = Publisher(self.runtime, DECISION, Decision, PLACE, pipeline="caps")

    async def _watch(self, topic: Topic, kind: type[M], into: list[M]) -> None:
        await Reader(topic, kind, lambda message, _: into.append(message)).attach(self.watcher, PLACE)

    def start(self, *program: str) -> None:
        """Start connect; `program` as in tests/device_process.py."""
        words = program or ("edge.process",)
        self.child = start_process("-m", *words, "connect@plant", "--home", str(self.folder))

    def stop(self) -> None:
        assert self.child is not None
        stop_process(self.child)

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child.wait(5)

    def decide(self, verdict: Verdict, part_id: int | None = None, *, budget_ms: float = 200.0, **fields: Any) -> str:
        """Publish one decision now; returns its result id."""
        now = time.monotonic_ns()
        self._part += 1
        values: dict[str, Any] = {
            "result_id": f"caps-{os.getpid():x}-{now}-{self._part}", "part_id": part_id, "verdict": verdict,
            "proof": Proof.PART, "boot": boot_id(), "trigger_ns": now, "deadline_ns": now + int(budget_ms * 1e6),
        }  # fmt: skip
        decision = Decision(pipeline="caps", **(values | fields))
        assert self.decisions.send(decision)
        return decision.result_id

    def selftest(self) -> None:
        self.decide(Verdict.OK, proof=Proof.SELFTEST)

    async def lease(self, every_s: float = 0.05) -> None:
        """Keep the lease by self-tests until cancelled."""
        while True:
            self.selftest()
            await asyncio.sleep(every_s)

    def readings_of(self, group: str) -> list[Reading]:
        return [reading for reading in self.seen.readings if reading.group == group]


@pytest.fixture
async def station(tmp_path: Path, line_broker: Address) -> AsyncIterator[Callable[..., Any]]:
    """`await station(plant)` is a connect process beside `plant`, watched."""
    stations: list[Station] = []
    async with AsyncExitStack() as stack:

        async def begin(
            plant: PlantProcess | int,
            *,
            face: Face = FACES["modbus"],
            settings: str = "",
            lease_ms: float = 500,
            timeout_ms: float = 200,
            start: bool = True,
            broker: Address = line_broker,
        ) -> Station:
            folder = tmp_path / f"device{len(stations)}"
            folder.mkdir()
            ports = {"modbus_port": plant} if isinstance(plant, int) else plant.ports
            made = Station(folder, broker, f"{face.at(ports)}\n{settings}", face.tags, lease_ms, timeout_ms)
            stations.append(made)
            await made.open(stack)
            if start:
                made.start()
                await until(made.seen.readings.__len__, "first reading", 30)
            return made

        yield begin
        for made in stations:
            if made.child is not None and made.child.poll() is None:
                made.stop()


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """`await wait_until(condition, "what")`."""
    return until


@asynccontextmanager
async def keep_lease(made: Station) -> AsyncIterator[None]:
    task = asyncio.ensure_future(made.lease())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def leased() -> Callable[[Station], AbstractAsyncContextManager[None]]:
    """`async with leased(station)`: self-tests keep the lease for the duration."""
    return keep_lease
