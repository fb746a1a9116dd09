"""What a device says of itself over time: how old values became, and the processes' numbers."""

import time
from pathlib import Path

from edge.history.parsing import fields, series
from edge.history.vitals import MACHINE, Scans, Vitals
from edge.host import metric_names as names
from edge.host.metric_file import forget
from edge.host.metrics import open_metrics
from schemas.messages import Quality, Reading, Sample
from schemas.topics import Place

PLACE = Place("s", "l", "n")


def reading(seq: int, at_ms: float, *, scan_ms: float = 1.0, **tags: Sample) -> Reading:
    return Reading(
        epoch=1, seq=seq, source="plc", group="fast", boot="b", scan_ns=0, scan_ms=scan_ms, time_ns=int(at_ms * 1e6),
        tags=tags or {"a": Sample(value=1)},
    )  # fmt: skip


def test_the_age_of_a_group_is_its_longest_silence_or_that_of_a_tag_that_is_not_good() -> None:
    scans = Scans(PLACE)
    for seq, at_ms in enumerate((0, 20, 320, 340)):
        scans.take(reading(seq, at_ms, scan_ms=5.0 if seq == 1 else 1.0))
    (point,) = scans.points()
    assert fields(point.fields) == {"scans": 4, "scan_ms": 5.0, "age_ms": 300.0, "bad": 0}
    assert series(0, point.series).tags == {"group": "fast", "source": "plc", "line": "l", "node": "n", "site": "s"}
    assert not scans.points(), "nothing was read since"
    scans.take(reading(5, 360, a=Sample(quality=Quality.BAD, age_ms=4_000.0), b=Sample(value=2)))
    (point,) = scans.points()
    assert fields(point.fields) == {"scans": 1, "scan_ms": 1.0, "age_ms": 4_000.0, "bad": 1}


def test_a_silence_that_spans_two_points_is_seen_whole() -> None:
    scans = Scans(PLACE)
    scans.take(reading(1, 0))
    scans.points()
    scans.take(reading(2, 9_000))
    (point,) = scans.points()
    assert fields(point.fields)["age_ms"] == 9_000.0


def test_machine_and_processes_are_points_each_by_its_labels(tmp_path: Path) -> None:
    metrics = open_metrics(tmp_path, "connect-plc")
    metrics.gauge(names.LINK_UP, source="plc").set(1.0)
    metrics.counter(names.INFERENCE_COUNT, pipeline="caps", model="m", version="1").inc()
    try:
        vitals = Vitals(PLACE, tmp_path)
        points = vitals.points(time.time_ns())
        again = vitals.points(time.time_ns())
    finally:
        metrics.close()
        forget(tmp_path)
    found = {tuple(sorted(series(0, one.series).tags.items())): fields(one.fields) for one in points}
    place = (("line", "l"), ("node", "n"))
    machine = found[*place, ("process", MACHINE), ("site", "s")]
    assert {"cpu_share", "memory_share", "disk_share"} <= machine.keys()
    assert found[*place, ("process", "connect-plc"), ("site", "s"), ("source", "plc")] == {"link_up": 1.0}
    assert {"resident_bytes", "cpu_seconds"} <= found[*place, ("process", "connect-plc"), ("site", "s")].keys()
    assert any(held == {"inference_count": 1.0} for held in found.values())
    assert {(one.series, one.epoch, one.seq) for one in points}.isdisjoint(
        (one.series, one.epoch, one.seq) for one in again
    )
