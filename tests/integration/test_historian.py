"""The historian with a real InfluxDB: an outage and a killed process lose nothing, and store nothing twice."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.typed import Publisher
from edge.history.points import Point
from edge.history.query import History, count
from edge.history.store import FILE, Store
from schemas.messages import Latency, Outcome, Phase, Quality, Reading, Result, Sample, State, Verdict
from schemas.topics import EVENT, READING, RESULT, STATUS
from tests.device import Device
from tests.influx import WAIT_S, Influx

USERS = ("historian", "runtime-safety", "connect-plc", "agent")


@pytest.fixture
def influx(tmp_path: Path, peer: Callable[[str], Path]) -> Iterator[Influx]:
    folder = tmp_path / "influx"
    folder.mkdir()
    server = Influx(peer("influxd"), folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def device(tmp_path: Path, influx: Influx) -> Iterator[Device]:
    made = Device(tmp_path, USERS)
    made.add("device.toml", f'[historian.influx]\nversion = 1\nurl = "{influx.url}"\ntimeout_ms = 1000\n')
    with made.running():
        yield made


def result(number: int) -> Result:
    return Result(
        result_id=f"caps-1-{number}", pipeline="caps", input="cam1", source_epoch=1, source_seq=number, part_id=number,
        outcome=Outcome.RESULT, verdict=Verdict.OK, label="ok", score=0.01, scores={}, quality=Quality.GOOD, reason="",
        latency=Latency(ingest=0.1, queue=0.1, preprocess=0, infer=0.2, total=0.5), deadline_ms=50, model="caps",
        version="1", digest="ab", time_ns=time.time_ns(),
    )  # fmt: skip


async def until(condition: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
    end = time.monotonic() + within_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, what
        await asyncio.sleep(0.1)


async def until_connected(device: Device, process: subprocess.Popen[bytes]) -> None:
    """Its session is at the broker: what is published from now on reaches it, whenever it is killed."""
    async with device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda s: s.pid == process.pid and s.state not in (State.STARTING, State.STOPPED))


@pytest.mark.slow
async def test_influxql_finds_results_and_tags(device: Device, influx: Influx) -> None:
    await until_connected(device, device.start("historian"))
    async with device.user("runtime-safety") as runtime, device.user("connect-plc") as plc:
        await Publisher(runtime.bus, RESULT, Result, device.place, pipeline="caps").deliver(result(1))
        Publisher(plc.bus, READING, Reading, device.place, source="plc").send(
            Reading(
                source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=time.time_ns(),
                tags={"Line.Speed": Sample(value=612), "Motor T": Sample(value=None, quality=Quality.BAD)},
            )
        )  # fmt: skip
        await until(lambda: influx.count() == 1, "the result is in InfluxDB")
    rows = influx.query("select verdict, part_id, total_ms from result where pipeline = 'caps'")
    assert rows[0][1:] == ["ok", 1, 0.5]
    await until(lambda: bool(influx.query('select "Line.Speed" from reading')), "the tag is in InfluxDB")
    assert influx.query('select "Line.Speed" from reading')[0][1] == 612.0
    assert influx.query('select "Motor T.quality" from reading')[0][1] == 0
    assert influx.query('select "Motor T" from reading') == []


@pytest.mark.slow
async def test_an_outage_and_killed_historians_lose_nothing_and_store_nothing_twice(
    device: Device, influx: Influx
) -> None:
    total = 600
    process = device.start("historian")
    await until_connected(device, process)
    async with device.user("runtime-safety") as runtime:
        results = Publisher(runtime.bus, RESULT, Result, device.place, pipeline="caps")
        for number in range(total):
            await results.deliver(result(number))
            if number == 100:
                influx.stop()
            if number in (200, 300, 400):
                process.kill()
                process.wait(5)
                process = device.start("historian")
            if number == 500:
                influx.start()
    await until(lambda: count(device.home, "result") == total, f"{count(device.home, 'result')} of {total} stored")
    await until(lambda: influx.count() == total, f"{influx.count()} of {total} in InfluxDB")
    ids = [row[1] for row in influx.query("select result_id from result")]
    assert len(ids) == len(set(ids)) == total


@pytest.mark.slow
async def test_a_burst_over_the_brokers_window_survives_a_kill(device: Device) -> None:
    total, flight = 4_000, 100  # the broker keeps 1,000 in flight, and sends them before anyone has subscribed
    process = device.start("historian")
    await until_connected(device, process)
    async with device.user("runtime-safety") as runtime:
        results = Publisher(runtime.bus, RESULT, Result, device.place, pipeline="caps")
        for number in range(0, total, flight):
            await asyncio.gather(*(results.deliver(result(one)) for one in range(number, number + flight)))
        process.kill()
        process.wait(5)
        device.start("historian")
    await until(lambda: count(device.home, "result") == total, "all are stored")


@pytest.mark.slow
async def test_the_quota_is_told_and_then_readings_go_before_what_was_decided(
    tmp_path: Path, peer: Callable[[str], Path]
) -> None:
    peer("mosquitto")
    made = Device(tmp_path, ("historian", "mirror"))
    made.add("device.toml", "[historian]\nquota_mb = 16\n")
    now_ns = time.time_ns()
    with contextlib.closing(Store(made.home / "state" / FILE)) as store:
        for at in range(0, 40_000, 5_000):
            store.add(Point("reading,source=plc", now_ns + n, 1, n, f'a="{"x" * 400}"') for n in range(at, at + 5_000))
        store.add(Point("result,pipeline=caps", now_ns + n, 1, n, "score=0.5") for n in range(1_000))
        assert store.size_bytes() > 16_000_000
        with made.running():
            async with made.user("mirror") as mirror:
                events = await mirror.hear(EVENT)
                made.start("historian")
                told = await events.until(lambda event: event.code == "historian_quota")
                assert told.phase is Phase.NEW
                assert "the oldest readings go first" in told.text
                await until(lambda: store.size_bytes() <= 16_000_000, "the store keeps to its quota")
    assert count(made.home, "result") == 1_000
    left = History(made.home).rows("reading", 0, 2**62, limit=1).items
    assert 0 < count(made.home, "reading") < 40_000
    assert left[0].time_ns > now_ns + 1_000, "the oldest went"
