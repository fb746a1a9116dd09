"""A real machine's temperature (Numenta Anomaly Benchmark) from a libmodbus server through our connector and pipeline.

The server hands out one recorded row at each read, so that 79 days pass in seconds and a row that is lost or read twice
shows. The model is a plain one, fitted here on the days before the first labelled anomaly.
"""

import asyncio
import csv
import json
import shutil
from bisect import bisect_right
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge.connectors import load_driver
from edge.models.contract import Contract
from edge.plc.tags.lists import Tag
from edge.settings import Source
from schemas.messages import Phase, Quality, Sample
from schemas.topics import EVENT, READING, RESULT, SLOT_STATE
from tests.device import Device
from tests.edge import small_models
from tests.peers.modbus_peer import modbus_peer

DEMO_MODELS = Path(__file__).resolve().parents[2] / "edge" / "sim" / "demo" / "models"
SERIES = "realKnownCause/machine_temperature_system_failure.csv"
FITTED, LAST = 1500, 4600  # rows: fitted on those before, replayed from here to before LAST
LENGTH = 12  # an hour
TAG_LIST = """name,address,type,group
Machine.Temperature,ir:0,float32,fast
Row,ir:2,uint32,fast
"""
LINE = """
[sources.machine]
driver = "modbus"
port = {port}
tags = "tags/machine.csv"
groups = {{ fast = 5 }}
[pipelines.nab]
model = "nab"
input = {{ source = "machine", group = "fast", tags = ["Machine.Temperature"], length = {length} }}
deadline_ms = 2000
event = true
decision = {{ threshold = 1.0, clear = 0.8 }}
"""


@pytest.fixture
def series(shared_data: Path) -> Path:
    return shared_data / "nab" / Path(SERIES).name


def recorded(series: Path) -> tuple[list[datetime], np.ndarray]:
    with series.open() as text:
        rows = list(csv.reader(text))[1:]
    return [datetime.fromisoformat(row[0]) for row in rows], np.array([row[1] for row in rows], dtype=np.float32)


@pytest.mark.slow
def test_every_recorded_row_is_read_once_in_order_and_unchanged(series: Path) -> None:
    _, values = recorded(series)
    tags = [
        Tag(name="Machine.Temperature", address="ir:0", type="float32"),
        Tag(name="Row", address="30003", type="uint32"),
        Tag(name="Done", address="ir:4", type="bool", bit=0),
    ]  # fmt: skip
    with modbus_peer(str(series)) as (port, _):
        source = Source(driver="modbus", port=port, tags="-", groups={}, timeout_ms=2000)
        connector = load_driver("modbus").open_connector(source)
        connector.connect()
        seen = []
        while not seen or not seen[-1]["Done"].value:
            (samples,) = connector.read(tags)
            seen.append(samples)
        connector.close()
    assert len(seen) == len(values) == 22_695
    assert [samples["Row"].value for samples in seen] == list(range(len(values)))
    assert all(sample.quality is Quality.GOOD for samples in seen for sample in samples.values())
    assert np.array_equal(np.array([samples["Machine.Temperature"].value for samples in seen], np.float32), values)


def write_model(models: Path, clean: np.ndarray) -> None:
    """|mean of the last hour - mean of the clean days|, 1 at 1.15 times the clean days' own extreme."""
    hours = np.convolve(clean, np.ones(LENGTH) / LENGTH, "valid")
    middle = hours.mean()
    limit = 1.15 * np.abs(hours - middle).max()
    nodes = [
        helper.make_node("ReduceMean", ["window"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Sub", ["mean", "middle"], ["off"]), helper.make_node("Abs", ["off"], ["far"]),
        helper.make_node("Div", ["far", "limit"], ["score"]),
    ]  # fmt: skip
    model = small_models._model(
        nodes,
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", LENGTH, 1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        {"middle": np.array(middle, np.float32), "limit": np.array(limit, np.float32)},
    )
    tensors = f"""
[[inputs]]
name = "window"
dtype = "float32"
shape = ["N", {LENGTH}, 1]
channels = [{{ name = "Machine.Temperature", unit = "F", low = 0.0, high = 120.0 }}]

[[outputs]]
name = "score"
dtype = "float32"
shape = ["N"]
alarm_at = 1.0
"""
    window = np.linspace(60, 100, LENGTH, dtype=np.float32).reshape(1, LENGTH, 1)
    small_models._write(models, "nab", "1", "anomaly", model, {"window": window}, tensors)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_pipeline_reports_the_labelled_failures_and_nothing_else(tmp_path: Path, series: Path) -> None:
    times, values = recorded(series)
    windows = json.loads((series.parent / "windows.json").read_text())[SERIES]
    failures = [tuple(datetime.fromisoformat(end) for end in window) for window in windows]
    device = Device(tmp_path, ("connect-machine", "runtime-bulk", "historian", "agent"))
    write_model(device.home / "models", values[:FITTED])
    device.write("tags/machine.csv", TAG_LIST)
    with modbus_peer(str(series), str(FITTED), str(LAST)) as (port, _):
        device.add("device.toml", LINE.format(port=port, length=LENGTH))
        with device.running():
            async with device.user("historian") as user, device.user("agent") as agent:
                readings, results, events = [await user.hear(row) for row in (READING, RESULT, EVENT)]
                slots = await agent.hear(SLOT_STATE)
                device.start("runtime@bulk")
                await slots.until(lambda slot: slot.model == "nab" and slot.phase == "active", within_s=20)
                device.start("connect@machine")
                last = LAST - FITTED - 1
                await readings.until(lambda reading: reading.tags["Row"].value == last, within_s=90)
                await results.until(lambda result: result.source_seq >= readings.all[-1].seq - 5)
    row_of = {reading.seq: FITTED + whole(reading.tags["Row"]) for reading in readings.all}
    rows = list(dict.fromkeys(row_of.values()))
    assert rows == list(range(FITTED, LAST)), "a row was lost between the register and the historian"
    scores = {row_of[result.source_seq]: result.score for result in results.all if result.outcome == "result"}
    alarms = [row for row in scores if scores[row] >= 1 and scores.get(row - 1, 0) < 1]
    assert all(any(begin <= times[row] <= end for begin, end in failures) for row in alarms)
    found = [any(begin <= times[row] <= end for row in alarms) for begin, end in failures]
    assert found[:2] == [True, True], "both failures of the replayed weeks"
    assert len([e for e in events.all if e.code == "anomaly" and e.phase is Phase.NEW]) == 2
    expected = expected_score(values)
    assert all(abs(scores[row] - expected[row]) < 0.01 for row in scores if row >= FITTED + LENGTH and row < LAST - 1)


def whole(sample: Sample) -> int:
    assert isinstance(sample.value, int)
    return sample.value


def expected_score(values: np.ndarray) -> dict[int, float]:
    """The same score by numpy, from the file."""
    hours = np.convolve(values.astype(np.float64), np.ones(LENGTH) / LENGTH, "valid")
    clean = hours[: FITTED - LENGTH + 1]
    limit = 1.15 * np.abs(clean - clean.mean()).max()
    return {row + LENGTH - 1: abs(hour - clean.mean()) / limit for row, hour in enumerate(hours)}


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_the_whole_record_through_the_shipped_model(tmp_path: Path, series: Path) -> None:
    """79 days through the wire; prints hit windows and false alarms a week, and holds the figures of the reference."""
    times, values = recorded(series)
    windows = json.loads((series.parent / "windows.json").read_text())[SERIES]
    failures = [tuple(datetime.fromisoformat(end) for end in window) for window in windows]
    device = Device(tmp_path, ("connect-machine", "runtime-bulk", "historian", "agent"))
    shutil.copytree(DEMO_MODELS / "temperature_anomaly", device.home / "models" / "temperature_anomaly")
    device.write("tags/machine.csv", TAG_LIST)
    length = Contract.load(DEMO_MODELS / "temperature_anomaly" / "1").inputs[0].shape[1]
    line = LINE.replace('model = "nab"', 'model = "temperature_anomaly"').replace("fast = 5", "fast = 10")
    with modbus_peer(str(series)) as (port, _):
        device.add("device.toml", line.format(port=port, length=length))
        with device.running():
            async with device.user("historian") as user, device.user("agent") as agent:
                readings, events = [await user.hear(row) for row in (READING, EVENT)]
                slots = await agent.hear(SLOT_STATE)
                device.start("runtime@bulk")
                await slots.until(lambda slot: slot.phase == "active", within_s=20)
                device.start("connect@machine")
                await readings.until(lambda reading: reading.tags["Row"].value == len(values) - 1, within_s=500)
                await asyncio.sleep(2)
    row_at = {reading.time_ns: whole(reading.tags["Row"]) for reading in readings.all}
    stamps = sorted(row_at)

    def when(time_ns: int) -> datetime:
        return times[row_at[stamps[max(0, bisect_right(stamps, time_ns) - 1)]]]

    raised = [when(event.time_ns) for event in events.all if event.code == "anomaly" and event.phase is Phase.NEW]
    ended = [when(event.time_ns) for event in events.all if event.code == "anomaly" and event.phase is Phase.END]
    alarms = merged(list(zip_longest(raised, ended, fillvalue=times[-1])))
    hit = [any(begin <= last and first <= end for first, last in alarms) for begin, end in failures]
    false = [alarm for alarm in alarms if not any(begin <= alarm[1] and alarm[0] <= end for begin, end in failures)]
    weeks = (times[-1] - times[0]).total_seconds() / 604_800
    print(f"\n{len(row_at)} readings of {len(values)} rows, {weeks:.1f} weeks; {len(raised)} alarm events,")
    print(f"{len(alarms)} alarms when those within a day are one; labelled windows hit: {sum(hit)} of {len(hit)};")
    print(f"{len(false)} false alarms, {len(false) / weeks:.2f} a week")
    assert len(row_at) > 0.999 * len(values)
    assert sum(hit) == 4
    assert len(false) / weeks < 2.0


def merged(alarms: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Alarms less than a day apart are one, as the models' reference counts them."""
    joined: list[tuple[datetime, datetime]] = []
    for first, last in alarms:
        if joined and first - joined[-1][1] < timedelta(days=1):
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
