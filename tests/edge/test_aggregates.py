"""Aggregates: what they say of tags and of results, and that crashes, repeats and late points leave them right."""

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.history.aggregation import make_all
from edge.history.buckets import HOLD_NS, aggregates
from edge.history.points import Point
from edge.history.query import Bucket, History, Tier, Trend
from edge.history.store import FILE, Store

S = 10**9
START = 1_700_000_040  # a full minute
SPEED = Trend.tag("plc", "speed")
SCORE = Trend.result("caps", "score")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "state" / FILE)) as opened:
        yield opened


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with contextlib.closing(History(tmp_path)) as opened:
        yield opened


def reading(at_s: float, text: str) -> Point:
    time_ns = START * S + round(at_s * S)
    return Point("reading,group=fast,source=plc", time_ns, 1, time_ns, text)


def result(at_s: float, score: float, version: str = "1") -> Point:
    time_ns = START * S + round(at_s * S)
    return Point(f"result,pipeline=caps,version={version}", time_ns, 1, time_ns, f'label="a",score={score},part_id=7i')


def buckets(history: History, trend: Trend, tier: Tier = Tier.SECOND) -> list[Bucket]:
    return list(history.buckets(trend, tier, 0, 2**62).items)


def test_a_tags_values_weigh_by_how_long_they_held(store: Store, history: History) -> None:
    store.add(
        [reading(0, "speed=10.0"), reading(0.9, "speed=20.0"), reading(1.5, "speed=40.0"), reading(9, "other=1.0")]
    )
    make_all(store, (START + 60) * S)
    first, second = buckets(history, SPEED)
    assert (first.time_ns, first.samples, first.low, first.high) == (START * S, 2, 10.0, 20.0)
    assert first.mean == pytest.approx(11.0)
    assert (first.p50, first.p95) == (10.0, 20.0)
    assert (second.samples, second.low, second.mean) == (1, 20.0, pytest.approx(30.0)), "20 held into this second"


def test_a_bad_value_and_a_silent_device_hold_nothing(store: Store, history: History) -> None:
    store.add([reading(0, "speed=10.0"), reading(0.5, "speed.quality=0i"), reading(0.75, "speed=30.0")])
    store.add([reading(0.75 + HOLD_NS / S + 20, "speed=50.0")])
    make_all(store, (START + 120) * S)
    first, *_ = buckets(history, SPEED)
    assert first.mean == pytest.approx((10.0 * 0.5 + 30.0 * 0.25) / 0.75)
    (minute,) = buckets(history, SPEED, Tier.MINUTE)
    weighed = 10.0 * 0.5 + 30.0 * HOLD_NS / S + 50.0 * (60 - 0.75 - HOLD_NS / S - 20)
    assert minute.mean == pytest.approx(weighed / (0.5 + HOLD_NS / S + 60 - 0.75 - HOLD_NS / S - 20))


def test_each_result_counts_once_and_versions_stay_apart(store: Store, history: History) -> None:
    scores = [n / 100 for n in range(100)]
    store.add(result(n / 100, score) for n, score in enumerate(scores))
    store.add([result(0.5001, 9.0, "2")])
    make_all(store, (START + 10) * S)
    one, other = sorted(buckets(history, SCORE), key=lambda bucket: bucket.samples, reverse=True)
    assert (one.samples, one.p50, one.p95, one.p99) == (100, 0.49, 0.94, 0.98)
    assert one.mean == pytest.approx(statistics.fmean(scores))
    assert other == Bucket(START * S, 1, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0)
    assert not buckets(history, Trend.result("caps", "part_id"))


def test_a_bucket_is_made_when_it_is_over_and_again_when_a_late_point_comes(store: Store, history: History) -> None:
    store.add([result(0, 0.25)])
    assert make_all(store, START * S + S) == 0
    assert make_all(store, (START + 5) * S) == 1
    store.add([result(0.5, 0.75)])
    assert make_all(store, (START + 5) * S) == 1
    (bucket,) = buckets(history, SCORE)
    assert (bucket.samples, bucket.mean) == (2, 0.5)
    assert not buckets(history, SCORE, Tier.MINUTE)
    make_all(store, (START + 70) * S)
    assert [one.samples for one in buckets(history, SCORE, Tier.MINUTE)] == [2]


def test_an_aggregate_outlives_its_points_and_is_not_made_worse_by_a_late_one(store: Store, history: History) -> None:
    store.add([result(0, 0.1), result(0.1, 0.3)])
    make_all(store, (START + 5) * S)
    store.drop("result")
    store.add([result(0.2, 9.0)])
    make_all(store, (START + 5) * S)
    assert [(one.samples, one.mean) for one in buckets(history, SCORE)] == [(2, pytest.approx(0.2))]


def test_a_crash_between_two_steps_changes_nothing(store: Store, history: History, tmp_path: Path) -> None:
    store.add(reading(n / 10, f"speed={n}.0") for n in range(600))
    make_all(store, (START + 90) * S)
    whole = buckets(history, SPEED), buckets(history, SPEED, Tier.MINUTE)
    store.move("aggregates-1", 200)  # as if it had been killed before the cursor was moved
    store.move("aggregates-60", 0)
    store.close()
    with contextlib.closing(Store(tmp_path / "state" / FILE)) as again:
        make_all(again, (START + 90) * S)
    assert (buckets(history, SPEED), buckets(history, SPEED, Tier.MINUTE)) == whole
    assert len(whole[0]) == 60


def test_a_clock_that_ran_ahead_does_not_stop_them(store: Store, history: History) -> None:
    store.add([result(86_400, 0.5), result(0, 0.25)])
    make_all(store, (START + 5) * S)
    assert [one.mean for one in buckets(history, SCORE)] == [0.25, 0.5]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_percentiles_are_values_that_were_there_and_in_order(values: list[float]) -> None:
    points = [(position, f"score={value!r}") for position, value in enumerate(values)]
    (one,) = aggregates(points, {0}, S, holds=False)
    assert one.low == min(values) <= one.p50 <= one.p95 <= one.p99 <= one.high == max(values)
    assert {one.p50, one.p95, one.p99} <= set(values)
    assert one.mean == pytest.approx(statistics.fmean(values), abs=1e-6)
