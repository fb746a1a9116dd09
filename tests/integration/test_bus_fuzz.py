"""Messages of every row that a device's processes read, spoilt: all live on, say what was wrong, and do their work.

Real processes on a real broker, and the fleet's broker, from which the uplink is spoken to. Each row's message comes as
bytes spoilt, and as a message that can be decoded and says something odd; between them come good ones.
"""

import asyncio
import contextlib
import functools
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from bus.client import ControlBus
from bus.codec import encode
from edge.processes import row
from edge.security.passwords import hash_password
from schemas.messages import Message, Reading, Result, Sample, State, Status
from schemas.topics import MES_RESULT, READING, RESULT, STATUS, UP_HEALTH, Codec, Topic
from tests.bus.examples import EXAMPLES
from tests.device import INSPECT, Device, Heard, User
from tests.edge.small_models import write_classifier
from tests.fleet import fleet_side
from tests.mutations import SOAK_S, Mutator, every, seed_of_run

pytestmark = [pytest.mark.timeout(1200)]
QUICK_S = 4.0
MOST_GROWTH_MB = 64.0
UP_S = 120.0
EACH_S = 0.004  # between two messages
STARTED = (
    "agent",
    "connect@plc",
    "runtime@safety",
    "camera@cam1",
    "opcua",
    "historian",
    "mirror",
    "monitor",
    "hmi",
    "uplink",
)
FLEET = "fleet-fuzz"  # speaks at the fleet's broker
NAMED = {
    "source": "plc", "stream": "cam1", "pipeline": "inspect", "model": "caps", "kind": "models", "section": "pipelines",
}  # fmt: skip
SETTINGS = """
[sources.plc]
driver = "modbus"
port = {modbus}
timeout_ms = 100
tags = "tags/plc.csv"
groups = {{ fast = 50 }}
[outputs.inspect]
source = "plc"
verdict = "Reject"
[cameras.cam1]
driver = "folder"
address = "pictures"
options = {{ rate_hz = 5 }}
[opcua]
endpoint = "opc.tcp://127.0.0.1:{opcua}"
users = "users.json"
[monitor]
port = {monitor}
[hmi]
port = {hmi}
users = "users.json"
[uplink]
host = "localhost"
port = {uplink}
"""


@dataclass
class Line:
    """The device, its processes, and who speaks to them."""

    device: Device
    statuses: Heard
    children: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])
    users: dict[str, User] = field(default_factory=dict[str, User])

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of each process."""
        return {
            name: int(Path(f"/proc/{child.pid}/statm").read_text().split()[1]) * 4096 / 1e6
            for name, child in self.children.items()
        }

    def last(self, name: str) -> Status:
        """The last words of a process."""
        found: Status = next(one for one in reversed(self.statuses.all) if one.process == identity(name))
        return found


def identity(name: str) -> str:
    return name.replace("@", "-")


@functools.cache
def rows() -> dict[Topic, str]:
    """Each row that the started processes read, and a role that may publish it."""
    read = {topic for name in STARTED for topic in row(name.partition("@")[0]).subscribes}
    return {topic: sorted(topic.publishers)[0].value for topic in sorted(read, key=lambda topic: topic.key)}


@asynccontextmanager
async def running(folder: Path, free_port: Callable[[], int]) -> AsyncIterator[Line]:
    """Start all, and connect a speaker of each role."""
    speakers = {f"{role}-fuzz" for role in rows().values()} | {"connect-fuzz", "runtime-fuzz"}
    device = Device(folder, (*map(identity, STARTED), *sorted(speakers - {FLEET}), "uplink-ear", "cli"))
    ports = {name: free_port() for name in ("modbus", "opcua", "monitor", "hmi")}
    tags = "name,address,type,access,group\nLine.Speed,hr:0,float32,rw,fast\nReject,coil:0,bool,rw,fast\n"
    device.write("tags/plc.csv", tags)
    device.write("users.json", json.dumps({"bob": hash_password("password of bob")}))
    write_classifier(device.home / "models")
    (device.home / "pictures").mkdir()
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(device.home / "pictures" / "1.png")
    with fleet_side(folder) as fleet, device.running():
        fleet.enroll(device.home, device.place.node)
        device.add("device.toml", SETTINGS.format(uplink=fleet.address.port, **ports) + INSPECT)
        async with AsyncExitStack() as stack:
            ear = await stack.enter_async_context(device.user("uplink-ear"))
            line = Line(device, Heard(STATUS))
            for name in map(identity, STARTED):
                await ear.bus.subscribe(STATUS.filter(device.place, process=name), STATUS.qos, line.statuses.take)
            own = sorted(speakers - {FLEET})
            line.users = {name: await stack.enter_async_context(device.user(name)) for name in own}
            upstream = await stack.enter_async_context(ControlBus(fleet.address, "service"))
            line.users[FLEET] = User(upstream, device.place)
            line.children = {name: device.start(name) for name in STARTED}
            for name in STARTED:
                await line.statuses.until(
                    lambda one, name=name: one.process == identity(name) and one.state is not State.STARTING, UP_S
                )
            yield line


def named(message: Message) -> Message:
    """The example, about what this device has."""
    about = {name: held for name, held in NAMED.items() if name != "kind" and name in message.__struct_fields__}
    return msgspec.structs.replace(message, **about)


def example(topic: Topic) -> Message:
    return named(next(one for one in EXAMPLES if isinstance(one, topic.message)))


def codec_of(topic: Topic) -> Any:
    return msgspec.msgpack if topic.codec is Codec.MSGPACK else msgspec.json


class Fuzz:
    """Says spoilt things on every row, and good ones between them."""

    def __init__(self, line: Line, seed: int) -> None:
        """Begin at a seed."""
        self.line, self.spoil, self.seq = line, Mutator(seed), 0
        self.said = 0

    async def each_field(self) -> None:
        """Say each message with each of its fields spoilt in each odd way."""
        for topic in rows():
            codec = codec_of(topic)
            good = msgspec.structs.replace(example(topic), epoch=1, seq=0)
            for odd in every(codec.decode(encode(topic, good))):
                self.seq += 1
                stamped = odd | {"seq": self.seq} if isinstance(odd, dict) and odd.get("seq") == 0 else odd
                with contextlib.suppress(TypeError, ValueError, OverflowError):  # what JSON can't say
                    await self._say(topic, codec.encode(stamped))

    async def run(self, seconds: float) -> None:
        """Go on for some time, at random."""
        end, table = time.monotonic() + seconds, list(rows())
        while time.monotonic() < end:
            topic = self.spoil.random.choice(table)
            await self._say(topic, self._payload(topic))

    async def _say(self, topic: Topic, payload: bytes) -> None:
        user = f"{rows()[topic]}-fuzz"
        self.line.users[user].raw(topic, payload, **self._fields(topic, user))
        self.said += 1
        await asyncio.sleep(EACH_S)

    def _payload(self, topic: Topic) -> bytes:
        self.seq += 1
        message = msgspec.structs.replace(example(topic), epoch=1, seq=self.seq)
        good = encode(topic, message)
        kind = self.spoil.random.random()
        if kind < 0.2:
            return good
        if kind < 0.5:
            return self.spoil.bytes(good)
        try:
            return codec_of(topic).encode(self.spoil.plain(codec_of(topic).decode(good)))
        except (TypeError, ValueError, OverflowError):  # what JSON can't say
            return self.spoil.bytes(good)

    def _fields(self, topic: Topic, user: str) -> dict[str, str]:
        wanted = {name for name in (*NAMED, "origin", "process") if f"{{{name}}}" in topic.pattern}
        bound = user if topic.bound == "publisher" else "opcua"
        return {name: NAMED.get(name, bound) for name in wanted}


async def work_goes_on(line: Line) -> None:
    """Good messages have their effect in each process that can be seen from the bus."""
    before = {name: line.last(name).counters["messages"] for name in STARTED}
    async with line.device.user("cli") as ear:
        told = await ear.hear(MES_RESULT)
        result = msgspec.structs.replace(example(RESULT), result_id="after-all-1", epoch=2, seq=1)
        assert isinstance(result, Result)
        line.users["runtime-fuzz"].say(RESULT, result, pipeline="inspect")
        await told.until(lambda one: one.result_id == "after-all-1")
    reading = Reading(
        source="plc", group="fast", boot="b", scan_ns=1, scan_ms=1, time_ns=time.time_ns(),
        tags={"Line.Speed": Sample(value=1.5)}, epoch=2, seq=1,
    )  # fmt: skip
    line.users["connect-fuzz"].say(READING, reading, source="plc")
    began_ns, health = time.time_ns(), await line.users[FLEET].hear(UP_HEALTH)
    await health.until(lambda one: one.time_ns > began_ns)
    for name in STARTED:
        assert line.children[name].poll() is None, f"{name} has ended: {line.device.log(name)[-3000:]}"
        await line.statuses.until(
            lambda one, name=name: (
                one.process == identity(name) and one.counters.get("messages", 0) > before[name]
            )
        )  # fmt: skip


async def fuzz(line: Line, seconds: float, *, each_field: bool = False) -> dict[str, Any]:
    """Speak for some time; what became of the processes."""
    before, speaking = line.memory_mb(), Fuzz(line, seed_of_run())
    if each_field:
        await speaking.each_field()
    await speaking.run(seconds)
    await asyncio.sleep(3.0)  # a status each
    await work_goes_on(line)
    grown = {name: round(after - before[name], 1) for name, after in line.memory_mb().items()}
    return {"grown_mb": grown, "said": speaking.said, "unreadable": {
        name: line.last(name).counters["bad"] for name in STARTED
    }}  # fmt: skip


def hold(line: Line, found: dict[str, Any]) -> None:
    print(found)
    for name, child in line.children.items():
        assert child.poll() is None, f"{name} has ended: {line.device.log(name)[-3000:]}"
        log = line.device.log(name)
        assert "Traceback" not in log, f"{name}: {log[log.index('Traceback') - 500 :][:4000]}"
        assert "not read, dropped and counted from now on" in log, f"{name} says what is wrong"
        assert found["unreadable"][name] > 0
        assert found["grown_mb"][name] < MOST_GROWTH_MB


@pytest.mark.slow
async def test_spoilt_messages_stop_no_process(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with running(tmp_path, free_port) as line:
        hold(line, await fuzz(line, QUICK_S))


@pytest.mark.soak
async def test_ten_minutes_of_spoilt_messages_stop_no_process(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async with running(tmp_path, free_port) as line:
        hold(line, await fuzz(line, SOAK_S, each_field=True))
