"""What OPC UA subscribers cost: are they told in time, is the bus as quick as before, and how fast is history read.

A real device whose opcua process has 5,000 tags; 1,000 of them change a second, as `connect` would say it. The bus is
timed by another reader of it, first with nobody subscribed, then with ten encrypted clients of node-opcua that watch
every tag. That is done twice: with the broker and the bus's ends in the real-time class, as a device's broker,
`connect` and safety lane are, and with all in the normal one. The opcua process is at nice 10 as on a device; the
clients, which would be on another machine, are at 19. A value's age counts from its poll to the client's callback.
History: processor time of a thread for 100,000 raw values, from the store to the bytes of the answer, over that of the
floor: one SQL statement that reads the same rows, each number of its text, one struct each. The last line is JSON; the
exit status is 1 if a change is lost.
"""

import argparse
import asyncio
import contextlib
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from asyncua import ua

from bus.mosquitto import free_port
from bus.typed import Publisher
from edge.history.points import Point
from edge.history.query import History, Trend
from edge.history.store import FILE, Store
from edge.line.plan import BROKER_FIFO
from edge.opcua_server.access.trust import CLIENTS, Folders
from edge.opcua_server.history.encoding import encoder
from edge.opcua_server.history.walks import Historized, Span, raw
from edge.processes import CONNECT, OPCUA
from edge.security.passwords import hash_password
from edge.supervision import spawn
from schemas.messages import Reading, Sample, State
from schemas.topics import READING, STATUS
from tests.bench.machine import described, real_time
from tests.conftest import NODE_MODULES
from tests.device import Device
from tests.node_opcua import NodeOpcua
from tests.opcua_certificates import URI, party

NODES, SUBSCRIBERS, PER_READING, PERIOD_S = 5_000, 10, 50, 0.05  # 1,000 changes a second
PUBLISHING_MS = 250
VALUES = 100_000
UP_S = 300.0
SETTLE_S = 3.0
SETTINGS = """
[sources.plc]
driver = "modbus"
tags = "tags/plc.csv"
groups = {{ fast = 50 }}
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
users = "users.json"
"""


class Load:
    """Changes of tags in turn, and how long the bus takes to bring them to another reader (ms)."""

    def __init__(self, device: Device, bus: Any) -> None:
        self._readings = Publisher(bus, READING, Reading, device.place, source="plc")
        self._sent: dict[int, float] = {}
        self.took_ms: list[float] = []
        self.changes = 0

    def took(self, reading: Reading) -> None:
        sent = self._sent.pop(reading.scan_ns, None)
        if sent is not None:
            self.took_ms.append((time.perf_counter() - sent) * 1e3)

    async def run(self, seconds: float) -> float:
        """Send for some time; return the p99 of the bus in that time."""
        self.took_ms.clear()
        end, at = time.monotonic() + seconds, time.monotonic()
        while at < end:
            self._send()
            at += PERIOD_S
            await asyncio.sleep(max(0.0, at - time.monotonic()))
        await asyncio.sleep(0.5)
        return statistics.quantiles(self.took_ms, n=100)[98]

    def _send(self) -> None:
        first = self.changes % NODES
        tags = {f"T.{first + one}": Sample(value=float(self.changes + one)) for one in range(PER_READING)}
        self.changes += PER_READING
        number = self.changes
        self._sent[number] = time.perf_counter()
        self._readings.send(
            Reading(
                source="plc", group="fast", boot="b", scan_ns=number, scan_ms=0.1, time_ns=time.time_ns(), tags=tags
            )
        )


async def subscribe(node: NodeOpcua, endpoint: str, files: dict[str, str]) -> list[str]:
    """Let ten clients watch every tag; return their names."""
    names = [f"c{number}" for number in range(SUBSCRIBERS)]
    nodes = [f"ns=2;s=s/l/n/Sources/plc/T.{number}" for number in range(NODES)]
    for name in names:
        await node("connect", client=name, endpoint=endpoint, uri=URI, **files)
        await node("session", client=name, session=name, user="observer", password="only looks on")
        await node("subscribe", session=name, subscription=name, publishingMs=PUBLISHING_MS, ages=True)
        made = await node("monitorMany", session=name, subscription=name, nodes=nodes)
        assert made == {"Good": NODES}, made
    return names


async def told(device: Device, endpoint: str, files: dict[str, str], node: NodeOpcua, seconds: float) -> dict[str, Any]:
    """Time the bus without and with subscribers, and what those are told."""
    async with device.user("connect-plc") as plc, device.user("historian") as other, device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda status: status.process == "opcua" and status.state is State.IDLE, UP_S)
        load, heard = Load(device, plc.bus), await other.hear(READING)
        broker, permitted = device.broker.pid, real_time(0, 1) and real_time(0, 0)
        heard.take = lambda delivery: load.took(_decoded(delivery))  # type: ignore[method-assign]  # it would keep all
        await other.bus.subscribe(READING.filter(device.place), READING.qos, heard.take)
        alone_ms = {real: await timed(load, broker, seconds, real=real) for real in (False, True)}
        names = await subscribe(node, endpoint, files)
        await load.run(SETTLE_S)
        await asyncio.sleep(SETTLE_S)
        await node("tally", subscriptions=names)
        before = load.changes
        with_ms = {real: await timed(load, broker, seconds, real=real) for real in (False, True)}
        await asyncio.sleep(SETTLE_S)
        found = await node("tally", subscriptions=names)
        expected = (load.changes - before) * SUBSCRIBERS
    return {
        "delivered_share": round(found["count"] / expected, 4), "notify_p50_ms": found["p50"],
        "notify_p99_ms": found["p99"], "real_time": permitted,
        "bus_p99_alone_ms": round(alone_ms[True], 2), "bus_p99_with_ms": round(with_ms[True], 2),
        "bus_p99_ratio": round(with_ms[True] / alone_ms[True], 2),
        "normal_p99_alone_ms": round(alone_ms[False], 2), "normal_p99_with_ms": round(with_ms[False], 2),
        "normal_p99_ratio": round(with_ms[False] / alone_ms[False], 2),
    }  # fmt: skip


async def timed(load: "Load", broker: int, seconds: float, *, real: bool) -> float:
    """The bus's p99 (ms) while its broker and its ends are in one class or the other."""
    real_time(broker, BROKER_FIFO if real else 0)
    real_time(0, CONNECT.priority("plc") if real else 0)
    try:
        return await load.run(seconds)
    finally:
        real_time(0, 0)


def _decoded(delivery: Any) -> Reading:
    from bus.codec import decode

    return decode(READING, Reading, bytes(delivery.payload))


def subscribed(folder: Path, seconds: float) -> dict[str, Any]:
    """Run a device with its subscribers."""
    device = Device(folder, ("opcua", "connect-plc", "historian", "agent"))
    port = free_port()
    lines = (f"T.{number},hr:{number * 2},float32,r,fast,,,\n" for number in range(NODES))
    device.write("tags/plc.csv", "name,address,type,access,group,unit,min,max\n" + "".join(lines))
    device.write("users.json", json.dumps({"observer": hash_password("only looks on")}))
    device.add("device.toml", SETTINGS.format(port=port))
    mine, lists = party("PlantEdgeBench", 21), Folders(device.home / CLIENTS)
    lists.make()
    mine.put(lists.trusted)
    node = NodeOpcua(NODE_MODULES, folder)
    try:
        with device.running():
            spawn.yield_to_others(device.start("opcua").pid, OPCUA.nice)
            spawn.yield_to_others(node.pid, 19)
            return asyncio.run(told(device, f"opc.tcp://127.0.0.1:{port}", mine.files(folder, "client"), node, seconds))
    finally:
        node.stop()


def history_ratio(home: Path, rounds: int) -> tuple[float, float]:
    """Return processor microseconds of one raw value, and how many times the floor's that is."""
    series = "reading,group=fast,line=l,node=n,site=s,source=plc"
    points = (Point(series, 10**18 + n * 10**8, 1, n, f"Line.Speed={n % 100}.5") for n in range(VALUES))
    with contextlib.closing(Store(home / "state" / FILE)) as store:
        store.add(points)
    what = Historized(Trend.tag("plc", "Line.Speed"), ua.VariantType.Double)
    ours: list[float] = []
    floors: list[float] = []
    with contextlib.closing(History(home)) as history:
        for _ in range(rounds + 1):
            started = time.thread_time()
            items = [one for one in raw(history, what, Span(0, 2**62), bounds=False) if one is not None]
            ours.append(time.thread_time() - started)
            assert len(items) == VALUES
            floors.append(floor(home / "state" / FILE))
    return statistics.median(ours[1:]) / VALUES * 1e6, statistics.median(ours[1:]) / statistics.median(floors[1:])


def floor(path: Path) -> float:
    """Return the seconds of the same rows, read in one statement and encoded bare."""
    encode = encoder(ua.VariantType.Double)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        started = time.thread_time()
        rows = db.execute(
            "select time_ns, fields from point where series = 1 and time_ns >= 0 and time_ns < ? order by time_ns",
            (2**62,),
        ).fetchall()
        encoded = [encode(time_ns, float(fields.partition("=")[2]), 0) for time_ns, fields in rows]
        took = time.thread_time() - started
    assert len(encoded) == VALUES
    return took


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=7, help="of the history read")
    parser.add_argument("--only", choices=["history"], help="only that part")
    asked = parser.parse_args()
    print(described())
    with tempfile.TemporaryDirectory() as folder:
        value_us, ratio = history_ratio(Path(folder) / "history", asked.rounds)
        print(f"history: {value_us:.2f} us of processor time a raw value, {ratio:.2f} times the floor")
        found = {} if asked.only else subscribed(Path(folder), asked.seconds)
    told_all: dict[str, Any] = {
        "nodes": NODES, "subscribers": SUBSCRIBERS, "changes_per_s": round(PER_READING / PERIOD_S),
        "publishing_ms": PUBLISHING_MS, **found, "history_raw_us": round(value_us, 2),
        "history_raw_ratio": round(ratio, 2),
    }  # fmt: skip
    print(json.dumps(told_all))
    return int(bool(found) and found["delivered_share"] < 1.0)


if __name__ == "__main__":
    sys.exit(main())
