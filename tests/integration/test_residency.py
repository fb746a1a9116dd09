"""Inputs and predictions never leave the site: markers are planted, every upstream byte is captured, none is in it."""

import asyncio
import base64
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bus import Address, Delivery
from edge.history.evidence import RING, EvidenceReader
from edge.host.clock import boot_id
from edge.upstream.outbox import Outbox, today
from schemas.messages import Event, Frame, Phase, Reading, Sample, Severity, State, Status
from schemas.topics import EVENT, FRAME, READING, RESULT, STATUS
from tests.device import INSPECT, Device, User
from tests.edge.small_models import SHAPE, write_classifier
from tests.fleet import fleet_side
from tests.integration.markers import BRIGHTNESS, INTEGER, NUMBER, PIXELS, SCORE, TEXT, found_in
from tests.integration.tap import Tap, tapped

USERS = ("runtime-safety", "camera-cam1", "connect-plant", "agent", "uplink", "historian", "mirror")
NODE = "n"
LINE = """
[sources.plant]
driver = "modbus"
tags = "tags/plant.csv"
groups = {{ slow = 100 }}
[cameras.cam1]
driver = "plant"
address = "127.0.0.1:1"
[historian]
flush_ms = 50
[uplink]
host = "localhost"
port = {port}
"""


@dataclass
class Site:
    device: Device
    tap: Tap
    fleet: Address


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    device = Device(tmp_path, USERS)
    with fleet_side(tmp_path) as fleet:
        tls, server = fleet.enroll(device.home, NODE), fleet.authority.server_pair(["localhost", "127.0.0.1"])
        async with tapped(fleet.address, server, fleet.authority.ca, tls) as tap:
            device.add("device.toml", LINE.format(port=tap.port) + INSPECT + "evidence = { sample_ok = 1 }\n")
            device.write("tags/plant.csv", "name,address,type,access,group\nLine.Speed,ir:0,uint16,r,slow\n")
            write_classifier(device.home / "models")
            with device.running():
                yield Site(device, tap, fleet.address)


def frame(seq: int) -> Frame:
    pixels = np.full(SHAPE, BRIGHTNESS, np.uint8)
    flat = pixels.reshape(-1)
    flat[: len(PIXELS)] = np.frombuffer(PIXELS, np.uint8)
    return Frame(
        stream="cam1", part_id=seq, boot=boot_id(), trigger_ns=time.monotonic_ns(), time_ns=time.time_ns(),
        shape=SHAPE, dtype="uint8", data=memoryview(pixels.tobytes()), epoch=1, seq=seq,
    )  # fmt: skip


def reading(seq: int) -> Reading:
    tags = {TEXT: Sample(value=NUMBER), "Serial": Sample(value=TEXT), "Count": Sample(value=INTEGER)}
    return Reading(
        source="plant", group="slow", boot=boot_id(), scan_ns=time.monotonic_ns(), scan_ms=1.0,
        time_ns=time.time_ns(), tags=tags, epoch=1, seq=seq,
    )  # fmt: skip


def event(seq: int, code: str) -> Event:
    return Event(
        key=f"{code}-{TEXT}", origin="connect-plant", code=code, phase=Phase.NEW, severity=Severity.ALARM,
        text=f"{TEXT} at {NUMBER}", args={"tag": TEXT, "value": NUMBER, "count": INTEGER}, time_ns=time.time_ns(),
        epoch=1, seq=seq,
    )  # fmt: skip


async def plant(camera: User, plc: User, rounds: int) -> None:
    """Markers in pixels, tag names and values, events and a status, again and again."""
    for seq in range(1, rounds + 1):
        camera.say(FRAME, frame(seq), stream="cam1")
        plc.say(READING, reading(seq), source="plant")
        if seq % 10 == 1:
            plc.say(EVENT, event(2 * seq, "plc_lost"), origin="connect-plant", kind="plc_lost")
            plc.say(EVENT, event(2 * seq + 1, "line_anomaly"), origin="connect-plant", kind="line_anomaly")
            status = Status(
                process="connect-plant", state=State.DEGRADED, reason=f"{TEXT} {NUMBER}", counters={TEXT: NUMBER},
                time_ns=time.time_ns(), epoch=1, seq=seq,
            )  # fmt: skip
            plc.say(STATUS, status, process="connect-plant")
        await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_only_metadata_leaves_the_site(site: Site) -> None:
    local = bytearray()
    device = site.device
    async with (
        device.user("camera-cam1") as camera,
        device.user("connect-plant") as plc,
        device.user("historian") as historian,
    ):
        results = await historian.hear(RESULT)

        def keep(delivery: Delivery) -> None:
            local.extend(delivery.topic.encode() + bytes(delivery.payload))

        for row in (READING, RESULT, EVENT):
            await historian.bus.subscribe(row.filter(device.place), row.qos, keep)
        for process in ("agent", "historian", "runtime@safety", "uplink"):
            device.start(process)
        await _until(lambda: b"models/1" in site.tap.up, "the uplink has sent its first messages")
        await plant(camera, plc, 200)
        predicted = await results.until(lambda result: result.outcome == "result")
        await _until(lambda: b"plc_lost" in site.tap.up and b"inspect" in site.tap.up, "alert and pipeline have left")
        health = site.tap.up.count(b"health/1")
        await _until(lambda: site.tap.up.count(b"health/1") > health, "one more health, folded from all of it")
        await _until(lambda: any(EvidenceReader(device.home).newest_first()), "evidence is kept")

    assert found_in(site.tap.up) == {}
    sealed = b"".join(path.read_bytes() for path in (device.home / RING).iterdir())
    assert not {"pixels", "text"} & set(found_in(sealed)), "sealed on the device's own disk, too"
    kept = next(EvidenceReader(device.home).newest_first())
    evidence = EvidenceReader(device.home).find(kept.result_id)
    assert "pixels" in found_in(bytes(evidence.inputs[0].data)), "what is sealed does hold the markers"
    assert b"line_anomaly" not in site.tap.up, "an anomaly is a prediction"
    # Positive controls: the same search finds what did travel inside the site, and what had to leave.
    assert abs(predicted.score - SCORE) < 0.05
    assert {"text", "numbers", "integers"} <= set(found_in(local))
    assert "pixels" in found_in(msgspec.msgpack.encode(frame(1)))
    assert b"n/up/health" in site.tap.up
    assert b"runtime-safety" in site.tap.up


def test_the_search_finds_every_form() -> None:
    """A search that can't find is no proof: each form is found when it is there."""
    for raw in (TEXT.encode(), PIXELS):
        for form in (raw, raw.hex().encode(), *(base64.b64encode(b"x" * n + raw + b"yy") for n in range(3))):
            assert found_in(b"before" + form + b"after"), form
    assert found_in(msgspec.msgpack.encode({"v": NUMBER}))
    assert found_in(msgspec.msgpack.encode({"v": INTEGER}))
    assert found_in(json.dumps({"v": NUMBER}).encode())
    assert found_in(json.dumps({"t": TEXT}).encode())
    assert not found_in(b"nothing of the kind")


@pytest.mark.slow
async def test_the_ledger_counts_what_the_tap_saw(site: Site) -> None:
    device = site.device
    device.start("agent")
    uplink = device.start("uplink")
    await _until(lambda: site.tap.up.count(b"health/1") >= 2, "two healths have left")
    await _until(lambda: _acknowledged(device) >= 2, "the fleet has acknowledged them")
    uplink.terminate()
    await asyncio.to_thread(uplink.wait, 5)
    outbox = Outbox(device.home / "state" / "outbox.db", 1_000_000)
    ledger = outbox.ledger(today())
    outbox.close()
    clear = len(site.tap.up) + len(site.tap.down)
    sent = {row.kind: row.messages for row in ledger.rows}
    assert sent["health"] >= 2
    assert ledger.wire_bytes >= sum(row.payload_bytes for row in ledger.rows)
    assert ledger.wire_bytes > 0.5 * clear


def _acknowledged(device: Device) -> int:
    """How many healths the uplink has entered into its ledger so far."""
    store = f"file:{device.home / 'state' / 'outbox.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(store, uri=True)) as db:
        return int(db.execute("select coalesce(sum(messages), 0) from ledger where kind = 'health'").fetchone()[0])


async def _until(condition: Callable[[], bool], what: str, within_s: float = 40.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)
