"""Latencies and scans, counted from messages."""

import random

import pytest

from edge.commissioning.figures import latency_row, scan_row
from edge.commissioning.record import Verdict
from edge.commissioning.tallies import LatencyTally, ScanTally, thinned
from schemas.messages import Output, Reading
from schemas.messages import Verdict as Said

MS = 1_000_000


def output(total_ms: float, **changed: bool) -> Output:
    given = {"failsafe": False, "late": total_ms > 50} | changed
    return Output(
        pipeline="p", result_id="r", part_id=1, verdict=Said.OK, actuate_ms=1.0, total_ms=total_ms, time_ns=0, **given
    )


def reading(at_ms: float, scan_ms: float = 2.0) -> Reading:
    return Reading(source="s", group="g", boot="b", scan_ns=int(at_ms * MS), scan_ms=scan_ms, time_ns=0, tags={})


def tallied(times_ms: list[float]) -> LatencyTally:
    tally = LatencyTally("p", 50.0)
    for total_ms in times_ms:
        tally.add(output(total_ms))
    return tally


def test_percentiles_are_those_of_the_numbers_within_one_percent() -> None:
    numbers = [random.Random(7).lognormvariate(2.0, 0.6) for _ in range(1)]
    chance = random.Random(7)
    numbers = [chance.lognormvariate(2.0, 0.6) for _ in range(5_000)]
    ranked, found = sorted(numbers), tallied(numbers).found()
    for share, value in ((0.5, found.p50_ms), (0.99, found.p99_ms), (0.999, found.p999_ms)):
        assert value == pytest.approx(ranked[int(share * len(ranked)) - 1], rel=0.011)
    assert found.max_ms == pytest.approx(ranked[-1], abs=0.001)
    assert found.late == sum(number > 50 for number in numbers) and found.count == 5_000


def test_a_percentile_of_too_few_is_not_told() -> None:
    assert tallied([1.0] * 99).found().p99_ms is None
    assert tallied([1.0] * 100).found().p99_ms == pytest.approx(1.0, rel=0.01)
    assert tallied([1.0] * 999).found().p999_ms is None
    assert tallied([]).found().p50_ms is None and tallied([]).found().max_ms is None


def test_the_curve_rises_to_the_whole() -> None:
    curve = tallied([1.0, 2.0, 2.0, 40.0]).found().curve
    assert [share for _, share in curve] == [0.25, 0.75, 1.0]
    assert curve[-1][0] == pytest.approx(40.0, rel=0.01)
    long = [(float(n), n / 1000) for n in range(1001)]
    assert len(thinned(long, 100)) <= 102 and thinned(long, 100)[-1] == long[-1]


def test_late_outputs_fail_the_row_and_too_few_show_nothing() -> None:
    assert latency_row(tallied([10.0] * 200).found(), 10).verdict is Verdict.PASS
    assert latency_row(tallied([10.0] * 190 + [60.0] * 10).found(), 10).verdict is Verdict.FAIL
    few = latency_row(tallied([60.0] * 20).found(), 10)
    assert few.verdict is Verdict.SKIPPED and "fewer than 100" in few.note


def test_jitter_is_how_far_from_the_period_two_scans_are_and_a_gap_is_none() -> None:
    tally = ScanTally("s", "g", 20.0)
    for at_ms in (0, 20, 43, 60):
        tally.add(reading(at_ms))
    tally.gap()
    tally.add(reading(1_000))
    tally.add(reading(1_020, scan_ms=0.0))  # Bad, while the link is down
    tally.add(reading(3_000))
    found = tally.found()
    assert found.count == 6 and found.jitter_max_ms == 3.0 and found.scan_max_ms == 2.0


def test_a_scan_longer_than_its_period_fails_the_row() -> None:
    tally = ScanTally("s", "g", 20.0)
    for number in range(200):
        tally.add(reading(number * 20.0, scan_ms=25.0))
    assert scan_row(tally.found()).verdict is Verdict.FAIL
