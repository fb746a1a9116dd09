"""The historian: points into the local store, points into InfluxDB, and an outage with kills that must lose nothing.

The store takes readings of eight tags in batches, beside the floor: the same rows into one bare table without an index,
in turns. Into InfluxDB goes what the store holds, by the forwarder itself; counted is the processor time of the client
alone, reading, joining and sending together. The outage is that of an hour at 20 parts a second, its results sent as
fast as the broker takes them; meanwhile InfluxDB is stopped and the historian killed 20 times. The last line is JSON;
the exit status is 1 if a target is missed.
"""

import asyncio
import contextlib
import http.server
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from bus.typed import Publisher
from edge.history.forward import BATCH, Forwarder
from edge.history.points import Point, PointMaker
from edge.history.query import History
from edge.history.store import FILE, Store
from edge.settings import Influx as InfluxSettings
from edge.sinks.influx import open_archive
from schemas.messages import Latency, Outcome, Quality, Reading, Result, Sample, State, Verdict
from schemas.topics import RESULT, STATUS, Place
from tests.bench.shown import Targets, arguments, finish
from tests.conftest import find_program
from tests.device import Device
from tests.influx import Influx

STORE_PER_S, INFLUX_US = 50_000.0, 3.0
HOUR_OF_PARTS = 72_000
FLIGHT = 100  # results at the broker at once
USERS = ("historian", "runtime-safety", "agent")
SLOW_S = 300.0


def readings(count: int) -> list[Point]:
    """Points as a line makes them: eight numbers a scan."""
    make = PointMaker(Place("s", "l", "n"), repeat_s=0.0)
    now_ns = time.time_ns()
    found: list[Point] = []
    for number in range(count):
        tags = {f"Tag.{tag}": Sample(value=number * 0.37 + tag) for tag in range(8)}
        reading = Reading(
            source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=now_ns + number * 10**6, tags=tags,
            epoch=1, seq=number,
        )  # fmt: skip
        point = make.reading(reading, float(number))
        assert point is not None
        found.append(point)
    return found


class Speed(NamedTuple):
    """Points a second, and a second of processor time: on a busy machine the first says what others left."""

    wall: float
    cpu: float


def stored_per_s(folder: Path, points: list[Point]) -> Speed:
    """Points a second into a new store, in batches as the historian makes them."""
    with contextlib.closing(Store(folder / "state" / FILE)) as store:
        return _per_s(points, store.add)


def bare_per_s(folder: Path, points: list[Point]) -> Speed:
    """The floor: the same rows into a table without an index."""
    folder.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as db:
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=normal")
        db.execute("create table point (series text, time_ns int, epoch int, seq int, fields text)")

        def add(batch: list[Point]) -> None:
            db.execute("begin immediate")
            db.executemany("insert into point values (?, ?, ?, ?, ?)", batch)
            db.execute("commit")

        return _per_s(points, add)


def _per_s(points: list[Point], add: Callable[[list[Point]], object]) -> Speed:
    wall, cpu = time.perf_counter(), time.thread_time()
    for at in range(0, len(points), BATCH):
        add(points[at : at + BATCH])
    return Speed(len(points) / (time.perf_counter() - wall), len(points) / (time.thread_time() - cpu))


def store_figures(folder: Path, rounds: int, console: Console) -> tuple[Speed, float]:
    """The store's best round and median processor time, and the median of its shares of the floor's."""
    points = readings(30_000)
    ours: list[Speed] = []
    floor: list[Speed] = []
    for number in range(rounds):
        ours.append(stored_per_s(folder / f"ours{number}", points))
        floor.append(bare_per_s(folder / f"floor{number}", points))
    share = statistics.median(one.cpu / other.cpu for one, other in zip(ours, floor, strict=True))
    best = Speed(max(one.wall for one in ours), statistics.median(one.cpu for one in ours))
    console.print(
        f"store: {best.wall:,.0f} points/s of 8 tags in the best round, {best.cpu:,.0f} a processor second (median),"
        f" {share:.2f} of a bare table",
        highlight=False,
    )
    return best, share


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """A server that takes every write, where InfluxDB 2 can't be had: the client's own cost is what is measured."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Read the body and say 204."""
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def forwarded_us(folder: Path, settings: InfluxSettings, count: int) -> float:
    """Processor microseconds of this thread for each point that goes from the store into an archive."""
    with contextlib.closing(Store(folder / "state" / FILE)) as store:
        store.add(readings(count))
        forwarder = Forwarder(store, open_archive(settings, folder), 1e9)
        began, written = time.thread_time(), 0
        while forwarder.state.written < count:
            written += forwarder.forward_once(store, time.monotonic())
        return (time.thread_time() - began) / count * 1e6


def result(number: int) -> Result:
    """One part's result."""
    return Result(
        result_id=f"caps-1-{number}", pipeline="caps", input="cam1", source_epoch=1, source_seq=number, part_id=number,
        outcome=Outcome.RESULT, verdict=Verdict.OK, label="ok", score=0.01, scores={}, quality=Quality.GOOD, reason="",
        latency=Latency(ingest=0.1, queue=0.1, preprocess=0, infer=0.2, total=0.5), deadline_ms=50, model="caps",
        version="1", digest="ab", time_ns=time.time_ns(),
    )  # fmt: skip


async def until(condition: Callable[[], bool], what: str, within_s: float = SLOW_S) -> float:
    """Seconds until a condition holds."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        if time.monotonic() - began > within_s:
            raise TimeoutError(what)
        await asyncio.sleep(0.25)
    return time.monotonic() - began


async def started(device: Device) -> subprocess.Popen[bytes]:
    """A historian whose session is at the broker."""
    process = device.start("historian")
    async with device.user("agent") as agent:
        told = await agent.hear(STATUS)
        await told.until(lambda s: s.pid == process.pid and s.state not in (State.STARTING, State.STOPPED), SLOW_S)
    return process


async def outage(device: Device, influx: Influx, parts: int, kills: int, console: Console) -> dict[str, int]:
    """Send an hour of results while InfluxDB is away and the historian is killed; say what is missing and twice."""
    process, killed = await started(device), 0
    history = History(device.home)
    async with device.user("runtime-safety") as runtime:
        results = Publisher(runtime.bus, RESULT, Result, device.place, pipeline="caps")
        for number in range(0, parts, FLIGHT):
            await asyncio.gather(*(results.deliver(result(one)) for one in range(number, number + FLIGHT)))
            if number == parts // 20 // FLIGHT * FLIGHT:
                influx.stop()
            if number and number % (parts // (kills + 1) // FLIGHT * FLIGHT) == 0:
                process.kill()
                process.wait(10)
                process = device.start("historian")
                killed += 1
        stored_s = await until(lambda: history.count("result") >= parts, "all results are in the store")
        influx.start()
        live = parts
        await results.deliver(result(live))
        live_s = await until(lambda: bool(influx.query(f"select part_id from result where part_id = {live}")), "live")
        behind = parts + 1 - influx.count()
        full_s = await until(lambda: influx.count() > parts, "all results are in InfluxDB")
    history.close()
    rows = influx.query("select result_id from result")
    ids = [row[1] for row in rows]
    console.print(
        f"outage: {parts:,} results, {killed} kills; {stored_s:.1f} s after the last they were stored; a result"
        f" made when InfluxDB was back was in it after {live_s:.1f} s, {behind:,} older ones {full_s:.1f} s later",
        highlight=False,
    )  # fmt: skip
    return {"kills": killed, "missing": parts + 1 - len(set(ids)), "duplicated": len(ids) - len(set(ids))}


def main() -> int:
    """Run all three."""
    parser = arguments("historian", __doc__)
    parser.add_argument("--parts", type=int, default=HOUR_OF_PARTS, help="results of the outage")
    parser.add_argument("--kills", type=int, default=20, help="how often the historian is killed in it")
    parser.add_argument("--rounds", type=int, default=5, help="of the store and its floor")
    given = parser.parse_args()
    console, targets = Console(stderr=True), Targets()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speed, share = store_figures(folder / "store", given.rounds, console)
        (folder / "influx").mkdir()
        influx = Influx(find_program("influxd"), folder / "influx")
        influx.start()
        try:
            one = forwarded_us(folder / "one", InfluxSettings(version=1, url=influx.url, database="bench"), 20_000)
            with sink() as url:
                two = forwarded_us(folder / "two", InfluxSettings(version=2, url=url, org="o", bucket="b"), 20_000)
            console.print(f"InfluxDB: {one:.2f} us a point by 1.x /write, {two:.2f} by the 2.x client", highlight=False)
            device = Device(folder / "device", USERS)
            device.add("device.toml", f'[historian.influx]\nversion = 1\nurl = "{influx.url}"\ntimeout_ms = 5000\n')
            with device.running():
                lost = asyncio.run(outage(device, influx, given.parts, given.kills, console))
        finally:
            influx.stop()
    targets.cell("points/s into the store", f"{speed.wall:,.0f}", speed.wall >= STORE_PER_S)
    targets.cell("us a point into InfluxDB", f"{max(one, two):.2f}", max(one, two) <= INFLUX_US)
    targets.cell("missing, twice", f"{lost}", not (lost["missing"] or lost["duplicated"]))
    targets.say(console)
    finish({"store_points_per_s": speed.wall, "store_points_per_cpu_s": speed.cpu,
            "influx_us_per_point": max(one, two), **lost, "store_over_floor": share,
            "influx_1_us": one, "influx_2_us": two})  # fmt: skip
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main())
