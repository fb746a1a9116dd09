"""A device whose opcua process runs, with tags, a pipeline and a history, for the tests of what it withstands."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bus.mosquitto import free_port
from edge.history.points import Point
from edge.history.store import FILE, Store
from edge.opcua_server.access.trust import CLIENTS, USERS, Folders
from edge.security.passwords import hash_password
from schemas.messages import State, Status
from schemas.topics import STATUS
from tests.device import LINE, Device, Heard
from tests.opcua_certificates import URI, party

UP_S = 300.0
ROOT = "ns=2;s=s/l/n"
SPEED = f"{ROOT}/Sources/plc/Line.Speed"
START_MS = 1_772_366_400_000  # 2026-03-01 12:00:00 UTC
ENGINEER = party("Anna Engineer", 22, uri="urn:person")
CLIENT = party("PlantEdgeTest", 21)
TAGS = "name,address,type,access,group,unit,min,max\nLine.Speed,hr:0,float32,rw,fast,1/min,0,1200\n" + "".join(
    f"T.{number},hr:{10 + 2 * number},float32,r,fast,,,\n" for number in range(100)
)
SETTINGS = """
[outputs.caps]
source = "plc"
verdict = "Line.Speed"
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
users = "users.json"
roles = {{ "Anna Engineer" = "engineer" }}
{more}
"""


@dataclass
class Server:
    """What a test sees of it."""

    device: Device
    port: int
    pid: int
    folder: Path
    files: dict[str, str]

    @property
    def endpoint(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    def memory_mb(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096 / 1e6

    def sockets(self) -> int:
        """How many files the process has open: sockets, besides what was there at its start."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @contextlib.asynccontextmanager
    async def statuses(self) -> AsyncIterator[Heard]:
        """What the process says of itself."""
        async with self.device.user("agent") as agent:
            yield await agent.hear(STATUS, process="opcua")

    def client(self, name: str) -> dict[str, Any]:
        """How node-opcua connects."""
        return {"client": name, "endpoint": self.endpoint, "uri": URI} | self.files


def held(status: Status) -> dict[str, float]:
    """What clients hold, by a status of the process."""
    return {name: status.counters[name] for name in ("connections", "sessions", "subscriptions", "items")}


def fill(home: Path, values: int) -> None:
    """Store values of the speed, ten a second, and some events."""
    place = "line=l,node=n"
    readings = (
        Point(f"reading,group=fast,{place},site=s,source=plc", START_MS * 10**6 + n * 10**8, 1, n,
              f"Line.Speed={n % 1000}.5")
        for n in range(values)
    )  # fmt: skip
    events = (
        Point(f"event,code=plc_lost,{place},origin=connect-plc,site=s", START_MS * 10**6 + n * 10**9, 1, n,
              f'key="plc_lost",phase="new",severity="alarm",text="lost {n}"')
        for n in range(20)
    )  # fmt: skip
    with contextlib.closing(Store(home / "state" / FILE)) as store:
        for some in (readings, events):
            store.add(some)


@contextlib.contextmanager
def running(folder: Path, *, values: int = 3_000, more: str = "") -> Iterator[Server]:
    """Run one; `more` settings of [opcua]."""
    device = Device(folder, ("opcua", "agent", "connect-plc", "runtime-safety"))
    port = free_port()
    device.write("tags/plc.csv", TAGS)
    device.write("users.json", json.dumps({"observer": hash_password("only looks on")}))
    device.add("device.toml", LINE + SETTINGS.format(port=port, more=more))
    fill(device.home, values)
    for root, who in ((CLIENTS, CLIENT), (USERS, ENGINEER)):
        lists = Folders(device.home / root)
        lists.make()
        who.put(lists.trusted)
    with device.running():
        child = device.start("opcua")
        asyncio.run(_until_up(device))
        yield Server(device, port, child.pid, folder, CLIENT.files(folder, "client"))


async def _until_up(device: Device) -> None:
    async with device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda status: status.process == "opcua" and status.state is State.IDLE, UP_S)
