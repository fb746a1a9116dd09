"""Aggregates of a history (OPC 10000-13). Pure: points in, one outcome an interval out, in constant memory.

Stepped is true of all that this server keeps: a value holds until the next one. So a bound is the last value before it
that can be used (interpolated bounding values, 3.1.8), and nothing is ever drawn between two points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from schemas.fields import Value
from schemas.messages import Quality

# Aggregate bits of a StatusCode, with the InfoType that says that they are there (OPC 10000-4, 7.39.1).
CALCULATED: Final = 0x401
INTERPOLATED: Final = 0x402
PARTIAL: Final = 0x404
MULTI_VALUE: Final = 0x410
NO_DATA: Final = StatusCodes.BadNoData
SUBNORMAL: Final = StatusCodes.UncertainDataSubNormal
TICK_NS: Final = 100  # what OPC UA's DateTime counts
_RAW: Final[Mapping[Quality, int]] = MappingProxyType(
    {Quality.GOOD: StatusCodes.Good, Quality.UNCERTAIN: StatusCodes.Uncertain, Quality.BAD: StatusCodes.Bad}
)


class Point(NamedTuple):
    """A raw value at an instant."""

    time_ns: int
    value: Value
    quality: Quality


class Interval(NamedTuple):
    """`[start_ns, end_ns)`; `stamp_ns` is the time that its outcome is told with; `whole`: as long as was asked for."""

    stamp_ns: int
    start_ns: int
    end_ns: int
    whole: bool = True


class Outcome(NamedTuple):
    """What an aggregate makes of an interval; `status` is a StatusCode with its aggregate bits."""

    time_ns: int
    value: Value
    status: int


@dataclass(frozen=True)
class Configuration:
    """How quality counts (AggregateConfigurationType, 4.2.1.2); the defaults are the standard's."""

    uncertain_is_bad: bool = True
    percent_bad: int = 100
    percent_good: int = 100

    @property
    def valid(self) -> bool:
        """Whether the percentages leave no share of good values that would be both."""
        return max(self.percent_bad, self.percent_good) <= 100 <= self.percent_bad + self.percent_good

    def usable(self, quality: Quality) -> bool:
        """Whether a value of a quality may be used at all."""
        return quality is Quality.GOOD or (quality is Quality.UNCERTAIN and not self.uncertain_is_bad)

    def judge(self, good: int, bad: int, count: int) -> int:
        """Return the status of what `count` values make, of which so many are good and bad (5.4.3.2.1)."""
        if 100 * good >= self.percent_good * count:
            return StatusCodes.Good
        return StatusCodes.Bad if 100 * bad >= self.percent_bad * count else SUBNORMAL


@dataclass
class _Held:
    """The last usable value, and whether one that is not came since."""

    time_ns: int = 0
    value: Value = None
    quality: Quality = Quality.BAD
    spoilt: bool = False

    @property
    def known(self) -> bool:
        return self.quality is not Quality.BAD

    @property
    def good(self) -> bool:
        return self.quality is Quality.GOOD and not self.spoilt

    def take(self, point: Point, configuration: Configuration) -> None:
        if configuration.usable(point.quality):
            self.time_ns, self.value, self.quality = point
            self.spoilt = False
        else:
            self.spoilt = True


@dataclass
class _Extreme:
    """A least or greatest Good value so far, and where it was."""

    value: float
    time_ns: int
    often: bool = False


@dataclass
class _Tally:
    """What an interval holds, as far as it has been read."""

    interval: Interval
    configuration: Configuration
    held: _Held  # moves on with each point
    bound: _Held  # at the interval's start
    count: int = 0
    good: int = 0
    bad: int = 0
    numbers: int = 0
    total: float = 0.0
    first: Point | None = None
    last: Point | None = None
    low: _Extreme | None = None
    high: _Extreme | None = None
    area: float = 0.0  # value times nanoseconds
    weighed_ns: int = 0
    flawed: bool = False  # some of the time the value was not Good
    later: bool = field(default=True)  # there is data at or after the end

    def take(self, point: Point) -> None:
        """Count a point in."""
        usable = self.configuration.usable(point.quality)
        self.count += 1
        self.first = self.first or point
        self.last = point
        self.bad += not usable
        self.flawed = self.flawed or point.quality is not Quality.GOOD
        if point.quality is Quality.GOOD:
            self.good += 1
            self._number(point)
        if usable:
            self.weigh(point.time_ns)
        self.held.take(point, self.configuration)

    def _number(self, point: Point) -> None:
        value = _number(point.value)
        if value is None:
            return
        self.numbers += 1
        self.total += value
        low, high = self.low, self.high
        if low is None or value < low.value:
            self.low = _Extreme(value, point.time_ns)
        elif value == low.value:
            low.often = True
        if high is None or value > high.value:
            self.high = _Extreme(value, point.time_ns)
        elif value == high.value:
            high.often = True

    def weigh(self, until_ns: int) -> None:
        """Add what the held value has covered up to a time."""
        value = _number(self.held.value) if self.held.known else None
        if value is not None:
            since_ns = max(self.held.time_ns, self.interval.start_ns)
            self.area += value * (until_ns - since_ns)
            self.weighed_ns += until_ns - since_ns

    @property
    def partial(self) -> int:
        """The bit of an interval that reaches over the beginning or the end of the data, or of what was asked for."""
        begun = self.bound.known or self.bound.spoilt or (self.first or _NEVER).time_ns == self.interval.start_ns
        return 0 if begun and self.later and self.interval.whole else PARTIAL


_NEVER: Final = Point(-1, None, Quality.BAD)


def _number(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _interpolative(tally: _Tally) -> Outcome:
    stamp_ns, bound, first = tally.interval.stamp_ns, tally.bound, tally.first
    if first is not None and first.time_ns == tally.interval.start_ns:
        if tally.configuration.usable(first.quality):
            return Outcome(stamp_ns, first.value, _RAW[first.quality])
        bound.spoilt = True
    if not bound.known:
        return Outcome(stamp_ns, None, NO_DATA)
    followed = first is not None or tally.later
    return Outcome(stamp_ns, bound.value, (StatusCodes.Good if bound.good and followed else SUBNORMAL) | INTERPOLATED)


def _average(tally: _Tally) -> Outcome:
    if not tally.numbers:
        return Outcome(tally.interval.stamp_ns, None, NO_DATA)
    return _judged(tally, tally.total / tally.numbers, CALCULATED)


def _count(tally: _Tally) -> Outcome:
    if not tally.count:
        return Outcome(tally.interval.stamp_ns, None, NO_DATA)
    return _judged(tally, tally.good, CALCULATED | tally.partial)


def _judged(tally: _Tally, value: Value, bits: int) -> Outcome:
    status = tally.configuration.judge(tally.good, tally.bad, tally.count)
    if status == StatusCodes.Bad:
        return Outcome(tally.interval.stamp_ns, None, status)
    return Outcome(tally.interval.stamp_ns, value, status | bits)


def _minimum(tally: _Tally) -> Outcome:
    return _extreme(tally, tally.low)


def _maximum(tally: _Tally) -> Outcome:
    return _extreme(tally, tally.high)


def _extreme(tally: _Tally, found: _Extreme | None) -> Outcome:
    stamp_ns = tally.interval.stamp_ns
    if found is None:
        return Outcome(stamp_ns, None, NO_DATA)
    status = SUBNORMAL if tally.bad else StatusCodes.Good
    bits = 0 if found.time_ns == tally.interval.start_ns else CALCULATED
    return Outcome(stamp_ns, found.value, status | bits | (MULTI_VALUE if found.often else 0) | tally.partial)


def _time_average(tally: _Tally) -> Outcome:
    tally.weigh(tally.interval.end_ns)
    stamp_ns = tally.interval.stamp_ns
    if not tally.weighed_ns:
        return Outcome(stamp_ns, None, NO_DATA)
    began = tally.first is not None and tally.first.time_ns == tally.interval.start_ns
    good = not tally.flawed and tally.later and (began or not tally.bound.known or tally.bound.good)
    status = StatusCodes.Good if good else SUBNORMAL
    return Outcome(stamp_ns, tally.area / tally.weighed_ns, status | CALCULATED | tally.partial)


def _start(tally: _Tally) -> Outcome:
    return _raw(tally, tally.first)


def _end(tally: _Tally) -> Outcome:
    return _raw(tally, tally.last)


def _raw(tally: _Tally, point: Point | None) -> Outcome:
    if point is None:
        return Outcome(tally.interval.stamp_ns, None, NO_DATA)
    value = None if point.quality is Quality.BAD else point.value
    return Outcome(point.time_ns, value, _RAW[point.quality] | tally.partial)


@dataclass(frozen=True)
class Function:
    """An aggregate: its NodeId in OPC UA's namespace, and of what it is made. `kind`: of its outcome's type."""

    identifier: int
    make: Callable[[_Tally], Outcome]
    kind: str = "source"  # as the node's, `double` or `count`
    numeric: bool = True  # whether it is made of numbers alone


FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType({
    "Interpolative": Function(ObjectIds.AggregateFunction_Interpolative, _interpolative, numeric=False),
    "Average": Function(ObjectIds.AggregateFunction_Average, _average, "double"),
    "TimeAverage": Function(ObjectIds.AggregateFunction_TimeAverage, _time_average, "double"),
    "Minimum": Function(ObjectIds.AggregateFunction_Minimum, _minimum),
    "Maximum": Function(ObjectIds.AggregateFunction_Maximum, _maximum),
    "Count": Function(ObjectIds.AggregateFunction_Count, _count, "count", numeric=False),
    "Start": Function(ObjectIds.AggregateFunction_Start, _start, numeric=False),
    "End": Function(ObjectIds.AggregateFunction_End, _end, numeric=False),
})  # fmt: skip


def intervals(start_ns: int, end_ns: int, step_ns: int) -> Iterator[Interval]:
    """Yield the intervals from a start on, backwards where the end is before it (5.4.2.2); one for a step of 0.

    Backwards, an interval holds its later edge, which is its time, and not its earlier one.
    """
    step_ns = step_ns or abs(end_ns - start_ns)
    at_ns = start_ns
    while at_ns < end_ns:
        edge_ns = min(at_ns + step_ns, end_ns)
        yield Interval(at_ns, at_ns, edge_ns, edge_ns - at_ns == step_ns)
        at_ns = edge_ns
    while at_ns > end_ns:
        edge_ns = max(at_ns - step_ns, end_ns)
        yield Interval(at_ns, edge_ns + TICK_NS, at_ns + TICK_NS, at_ns - edge_ns == step_ns)
        at_ns = edge_ns


def outcomes(
    function: Function, asked: Iterable[Interval], points: Iterator[Point | None], configuration: Configuration
) -> Iterator[Outcome | None]:
    """Yield one outcome an interval.

    `asked`: in the order of time. `points`: in the order of time, with what is needed to know the value at the first
    start, and at least one after the last end if there is any. A None among them is passed on: a place to pause at.
    """
    held = _Held()
    upcoming = next(points, _OVER)
    for interval in asked:
        while upcoming is None or (upcoming is not _OVER and upcoming.time_ns < interval.start_ns):
            if upcoming is None:
                yield None
            else:
                held.take(upcoming, configuration)
            upcoming = next(points, _OVER)
        bound = _Held(held.time_ns, held.value, held.quality, held.spoilt)
        tally = _Tally(interval, configuration, held, bound)
        while upcoming is None or (upcoming is not _OVER and upcoming.time_ns < interval.end_ns):
            if upcoming is None:
                yield None
            else:
                tally.take(upcoming)
            upcoming = next(points, _OVER)
        tally.later = upcoming is not _OVER
        yield function.make(tally)


_OVER: Final = Point(2**63, None, Quality.BAD)
