"""The aggregates against the examples of OPC 10000-13, Annex A: historians 1 and 3, where they are stepped."""

from collections.abc import Iterator, Sequence

import pytest
from asyncua.ua.status_codes import StatusCodes
from hypothesis import given
from hypothesis import strategies as st

from edge.opcua_server.history.aggregates import (
    CALCULATED,
    FUNCTIONS,
    INTERPOLATED,
    MULTI_VALUE,
    NO_DATA,
    PARTIAL,
    SUBNORMAL,
    Configuration,
    Interval,
    Outcome,
    Point,
    intervals,
    outcomes,
)
from schemas.fields import Value
from schemas.messages import Quality

S = 10**9
NOON = 43_200
GOOD, BAD, UNCERTAIN = Quality.GOOD, Quality.BAD, Quality.UNCERTAIN
OPEN = Configuration(uncertain_is_bad=False)  # historian 1
STRICT = Configuration()  # historians 2 and 4
HALF = Configuration(percent_bad=50, percent_good=50)  # historian 3
# Seconds after 12:00:00, as A.1.1 and A.1.3 have them; the entry of 12:00:00 only says that there was nothing yet.
FIRST = [
    (10, 10, GOOD), (20, 20, GOOD), (30, 30, GOOD), (40, 40, BAD), (50, 50, GOOD), (60, 60, GOOD), (70, 70, UNCERTAIN),
    (80, 80, GOOD), (90, 90, GOOD),
]  # fmt: skip
THIRD = [
    (2, 10, GOOD), (25, 20, GOOD), (28, 25, GOOD), (39, 30, GOOD), (42, None, BAD), (48, 40, GOOD), (52, 50, GOOD),
    (72, 60, GOOD), (77, 70, UNCERTAIN), (83, 70, GOOD), (86, 80, GOOD), (90, 90, GOOD),
]  # fmt: skip
Rows = Sequence[tuple[int, Value, Quality]]


def points(rows: Rows) -> Iterator[Point | None]:
    for second, value, quality in rows:
        yield Point((NOON + second) * S, value, quality)
        yield None


def made(
    name: str, rows: Rows, step: float, configuration: Configuration, end: int = 100
) -> list[tuple[float, Value, int]]:
    asked = intervals(NOON * S, (NOON + end) * S, int(step * S))
    found = outcomes(FUNCTIONS[name], asked, points(rows), configuration)
    return [(one.time_ns / S - NOON, one.value, one.status) for one in found if one is not None]


def test_interpolative_of_stepped_data() -> None:
    """A.2.3: historian 3, five seconds."""
    found = made("Interpolative", THIRD, 5, HALF)
    held = [None, 10, 10, 10, 10, 20, 25, 25, 30, 30, 40, 50, 50, 50, 50, 60, 60, 70, 90, 90]
    status = [INTERPOLATED] * 20
    status[0] = NO_DATA
    status[5] = status[18] = StatusCodes.Good
    for spoilt in (9, 16, 19):  # after a Bad value, after an Uncertain one, and after the last
        status[spoilt] = SUBNORMAL | INTERPOLATED
    assert found == [(5.0 * n, value, code) for n, (value, code) in enumerate(zip(held, status, strict=True))]


def test_an_uncertain_value_is_told_as_it_is_and_what_follows_from_it_as_subnormal() -> None:
    """Historian 1 where it is the same for stepped data: at the values themselves."""
    found = made("Interpolative", FIRST, 10, OPEN)
    expected = [NO_DATA, 0, 0, 0, SUBNORMAL | INTERPOLATED, 0, 0, StatusCodes.Uncertain, 0, 0]
    assert [status for *_, status in found] == expected
    assert [value for _, value, _ in found] == [None, 10, 20, 30, 30, 50, 60, 70, 80, 90]


def test_average_counts_good_values_alone() -> None:
    """A.3.1 and A.3.3, five seconds."""
    there: dict[int, float] = {10: 10, 20: 20, 30: 30, 50: 50, 60: 60, 80: 80, 90: 90}
    assert made("Average", FIRST, 5, OPEN) == [
        (second, there.get(second), CALCULATED if second in there else NO_DATA) for second in range(0, 100, 5)
    ]
    there = {0: 10, 25: 22.5, 35: 30, 45: 40, 50: 50, 70: 60, 80: 70, 85: 80, 90: 90}
    assert made("Average", THIRD, 5, HALF) == [
        (second, there.get(second), CALCULATED if second in there else NO_DATA) for second in range(0, 100, 5)
    ]


@pytest.mark.parametrize(
    ("name", "values"), [("Minimum", [10, 20, None, 50, None, 80]), ("Maximum", [10, 30, None, 60, None, 90])]
)
def test_least_and_greatest_of_historian_1(name: str, values: list[Value]) -> None:
    """A.7.1 and A.8.1, sixteen seconds; 80 stands at the interval's start and is told raw."""
    last = PARTIAL if name == "Minimum" else CALCULATED | PARTIAL
    status = [CALCULATED | PARTIAL, CALCULATED, NO_DATA, CALCULATED, NO_DATA, last, NO_DATA]
    assert made(name, FIRST, 16, OPEN) == [
        (16.0 * n, value, code) for n, (value, code) in enumerate(zip([*values, None], status, strict=True))
    ]


@pytest.mark.parametrize(
    ("name", "values"), [("Minimum", [10, 20, 30, 40, 60, 70]), ("Maximum", [10, 25, 30, 50, 60, 90])]
)
def test_least_and_greatest_of_historian_3(name: str, values: list[Value]) -> None:
    """A.7.3 and A.8.3: Bad and Uncertain values make the outcome subnormal."""
    raw = 0 if name == "Minimum" else CALCULATED
    status = [CALCULATED | PARTIAL, CALCULATED, SUBNORMAL | CALCULATED, raw, SUBNORMAL | CALCULATED,
              CALCULATED | PARTIAL, NO_DATA]  # fmt: skip
    assert made(name, THIRD, 16, HALF) == [
        (16.0 * n, value, code) for n, (value, code) in enumerate(zip([*values, None], status, strict=True))
    ]


def test_the_same_least_value_twice_is_said() -> None:
    assert made("Minimum", [(0, 1, GOOD), (1, 3, GOOD), (2, 1, GOOD), (9, 2, GOOD)], 5, STRICT, 5) == [
        (0, 1.0, MULTI_VALUE)
    ]


def test_count_says_how_many_were_good_and_how_far_to_trust_that() -> None:
    """A.22.1 and, with historian 2's settings on the same values, A.22.2."""
    assert made("Count", FIRST, 16, OPEN) == [
        (0, 1, CALCULATED | PARTIAL), (16, 2, CALCULATED), (32, None, StatusCodes.Bad), (48, 2, CALCULATED),
        (64, 0, SUBNORMAL | CALCULATED), (80, 2, CALCULATED | PARTIAL), (96, None, NO_DATA),
    ]  # fmt: skip
    assert made("Count", THIRD, 16, STRICT) == [
        (0, 1, CALCULATED | PARTIAL), (16, 2, CALCULATED), (32, 1, SUBNORMAL | CALCULATED), (48, 2, CALCULATED),
        (64, 1, SUBNORMAL | CALCULATED), (80, 3, CALCULATED | PARTIAL), (96, None, NO_DATA),
    ]  # fmt: skip


def test_start_and_end_are_raw_values_with_their_own_times() -> None:
    assert made("Start", THIRD, 16, HALF)[:4] == [(2, 10, PARTIAL), (25, 20, 0), (39, 30, 0), (48, 40, 0)]
    assert made("End", THIRD, 16, HALF)[:4] == [(2, 10, PARTIAL), (28, 25, 0), (42, None, StatusCodes.Bad), (52, 50, 0)]


def test_time_average_weighs_a_value_by_how_long_it_held() -> None:
    rows: Rows = [(0, 10, GOOD), (4, 20, GOOD), (12, 0, GOOD), (30, 1, GOOD)]
    assert made("TimeAverage", rows, 10, STRICT, 30) == [
        (0, 16.0, CALCULATED), (10, 4.0, CALCULATED), (20, 0.0, CALCULATED),
    ]  # fmt: skip


def test_time_average_carries_a_value_over_bad_ones_and_says_so() -> None:
    rows: Rows = [(0, 10, GOOD), (5, None, BAD), (8, 20, GOOD), (10, 5, GOOD), (20, 5, GOOD)]
    assert made("TimeAverage", rows, 10, STRICT, 20) == [(0, 12.0, SUBNORMAL | CALCULATED), (10, 5.0, CALCULATED)]


def test_time_average_before_the_data_is_no_data_and_after_it_subnormal() -> None:
    assert made("TimeAverage", [(15, 3, GOOD)], 10, STRICT, 30) == [
        (0, None, NO_DATA), (10, 3.0, SUBNORMAL | CALCULATED | PARTIAL), (20, 3.0, SUBNORMAL | CALCULATED | PARTIAL),
    ]  # fmt: skip


def test_intervals_end_with_the_range_and_run_backwards() -> None:
    assert list(intervals(0, 10, 4)) == [Interval(0, 0, 4), Interval(4, 4, 8), Interval(8, 8, 10, False)]
    assert list(intervals(1000, 0, 400)) == [
        Interval(1000, 700, 1100), Interval(600, 300, 700), Interval(200, 100, 300, False),
    ]  # fmt: skip
    assert list(intervals(3, 9, 0)) == [Interval(3, 3, 9)]


def test_percentages_that_leave_room_for_both_are_refused() -> None:
    assert [Configuration(True, *pair).valid for pair in ((100, 100), (0, 100), (50, 49), (101, 100))] == [
        True, True, False, False,
    ]  # fmt: skip


@given(
    rows=st.lists(st.tuples(st.integers(0, 99), st.floats(-1e6, 1e6), st.sampled_from(Quality)), max_size=60),
    step=st.integers(1, 100),
    name=st.sampled_from(sorted(FUNCTIONS)),
)
def test_there_is_one_outcome_an_interval_and_means_lie_between_extremes(rows: Rows, step: int, name: str) -> None:
    rows = sorted({second: (second, value, quality) for second, value, quality in rows}.values())
    found = made(name, rows, step, OPEN)
    assert len(found) == -(-100 // step)
    values = [value for _, value, _ in rows if isinstance(value, float)]
    for _, value, status in found:
        if name != "Count" and isinstance(value, float):
            assert min(values) - 1e-6 <= value <= max(values) + 1e-6
        assert (value is None) == (status >> 31 == 1)


def test_a_walk_can_pause_within_an_interval() -> None:
    one = FUNCTIONS["Average"]
    steps = list(outcomes(one, [Interval(0, 0, 10 * S)], iter([None, Point(S, 2, GOOD), None]), STRICT))
    assert steps == [None, None, Outcome(0, 2.0, CALCULATED)]
