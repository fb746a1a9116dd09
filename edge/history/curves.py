"""Evaluates the curves of the table of views over the local store, as InfluxQL does over InfluxDB.

Up to `RAW_NS` from the points themselves; for longer ranges what has aggregates is made of its minutes: means weighed
by their samples, percentiles as the mean of the minutes' own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from edge.history.query import Page, Tier, Trend
from edge.history.views import How

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.history.query import Bucket, History, Row
    from edge.history.views import Curve, Rows
    from schemas.fields import Value

RAW_NS: Final = 1_800 * 10**9
AGGREGATED: Final = ("reading", "result", "output")
TAG: Final = "$tag"
T = TypeVar("T")
_PERCENT: Final = {How.P50: 50, How.P95: 95, How.P99: 99}
_OF_BUCKETS: Final[dict[How, str]] = {
    How.MEAN: "mean", How.LOW: "low", How.HIGH: "high", How.P50: "p50", How.P95: "p95", How.P99: "p99",
}  # fmt: skip
_COUNTERS: Final = (How.RATE, How.RATIO)


@dataclass(frozen=True)
class Span:
    """What is looked at: a range of time in intervals, and the tag (source, name) that "$tag" stands for."""

    start_ns: int
    end_ns: int
    every_ns: int
    tag: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Drawn:
    """One curve: times in seconds since 1970, and a value at each; `of` is what its tags say, `label` what it shows."""

    of: str
    label: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def name(self) -> str:
        """What a legend says."""
        return f"{self.of} {self.label}".strip()


class _Sample(NamedTuple):
    """A point: its series' tags, and its numbers in the order of its measurement's fields."""

    time_ns: int
    tags: Mapping[str, str]
    numbers: tuple[float, ...]  # nan where there is none


_Series = list[tuple[int, tuple[float, ...]]]  # time, and each of a curve's fields


class Curves:
    """Curves over one span; the points of a measurement are read once for all that need them."""

    def __init__(self, history: History, span: Span, curves: Sequence[Curve]) -> None:
        """`curves`: all that will be asked for."""
        self._history, self._span = history, span
        self._fields: dict[str, list[str]] = {}
        for curve in curves:
            known = self._fields.setdefault(curve.of, [])
            known += [name for name in (*self._named(curve), *curve.among) if name not in known]
        self._samples: dict[str, list[_Sample]] = {}

    def drawn(self, curve: Curve) -> list[Drawn]:
        """Return a curve, or those for each value of its tags.

        Raises:
            HistoryError: see `History`.
        """
        where = dict(curve.where) | ({"source": self._span.tag[0]} if TAG in curve.fields else {})
        long = self._span.end_ns - self._span.start_ns > RAW_NS
        if long and curve.of in AGGREGATED and curve.how in _OF_BUCKETS:
            return _of_minutes(self._history, curve, Trend(curve.of, self._named(curve)[0], where), self._span)
        made = [(key, *_made(curve, held, self._span)) for key, held in sorted(self._picked(curve, where).items())]
        return [Drawn(" ".join(key), curve.label, times, values) for key, times, values in made if len(times)]

    def newest(self, rows: Rows) -> list[Row]:
        """Return the newest points that a list shows, the newest first."""
        history, span = self._history, self._span
        found: list[Row] = []
        name, wanted = rows.where or ("", ())
        for row in walk(
            lambda token: history.rows(rows.of, span.start_ns, span.end_ns, backward=True, limit=1_000, after=token)
        ):
            if not rows.where or column(row, name) in wanted:
                found.append(row)
            if len(found) == rows.limit:
                break
        return found

    def _named(self, curve: Curve) -> tuple[str, ...]:
        return tuple(self._span.tag[1] if field == TAG else field for field in curve.fields)

    def _picked(self, curve: Curve, where: Mapping[str, str]) -> dict[tuple[str, ...], _Series]:
        """Return what of the points a curve is about, by the values of its tags."""
        order = self._fields[curve.of]
        columns = [order.index(name) for name in (*self._named(curve), *curve.among)]
        found: dict[tuple[str, ...], _Series] = {}
        for sample in self._read(curve.of):
            if where.items() <= sample.tags.items() and not isnan(sample.numbers[columns[0]]):
                key = tuple(sample.tags.get(tag, "") for tag in curve.by)
                found.setdefault(key, []).append((sample.time_ns, tuple(sample.numbers[at] for at in columns)))
        return found

    def _read(self, measurement: str) -> list[_Sample]:
        if measurement not in self._samples:
            history, span, names = self._history, self._span, self._fields[measurement]
            self._samples[measurement] = [
                _Sample(row.time_ns, row.tags, tuple(_number(row.fields.get(name)) for name in names))
                for row in walk(lambda token: history.rows(measurement, span.start_ns, span.end_ns, after=token))
            ]
        return self._samples[measurement]


def column(row: Row, name: str) -> Value:
    """Return what a point holds under a name, as field or tag; None if nothing."""
    return row.fields[name] if name in row.fields else row.tags.get(name)


def walk(ask: Callable[[str], Page[T]]) -> Iterator[T]:
    """Yield the items of all pages; `ask` takes the token of the page."""
    token = ""
    while True:
        found = ask(token)
        yield from found.items
        token = found.next
        if not token:
            return


def _number(item: Value) -> float:
    return float(item) if isinstance(item, int | float) else nan


def _made(curve: Curve, held: _Series, span: Span) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.array([(time_ns - span.start_ns) // span.every_ns for time_ns, _ in held])
    table = np.array([numbers for _, numbers in held], dtype=np.float64)
    bins, first = np.unique(at, return_index=True)
    groups = np.split(table, first[1:])
    if curve.how in _COUNTERS:
        return _gained(curve, bins, np.array([group[-1] for group in groups]), span)
    return _times(bins, span), np.array([_value(curve, group) for group in groups])


def _value(curve: Curve, group: NDArray[np.float64]) -> float:
    first, width = group[:, 0], len(curve.fields)
    if curve.among:
        share = np.nansum(group[:, :width]) / max(np.nansum(group[:, width:]), 1.0)
        return float(1 - share if curve.how is How.LACK else share)
    if curve.how in _PERCENT:
        return float(np.percentile(first, _PERCENT[curve.how], method="inverted_cdf"))
    if curve.how is How.LACK:
        return float(1 - first.mean())
    made = {How.MEAN: first.mean(), How.LOW: first.min(), How.HIGH: first.max(), How.SUM: first.sum()}
    return float(made.get(curve.how, first[-1]))


def _gained(
    curve: Curve, bins: NDArray[np.int64], last: NDArray[np.float64], span: Span
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counters begin anew with their process: what went down is left out."""
    gained, times = np.diff(last, axis=0), _times(bins, span)
    if curve.how is How.RATIO:
        fine = (gained[:, 1] > 0) & (gained[:, 0] >= 0)
        return times[1:][fine], gained[fine, 0] / gained[fine, 1]
    fine = gained[:, 0] >= 0
    return times[1:][fine], gained[fine, 0] / np.diff(times)[fine]


def _of_minutes(history: History, curve: Curve, trend: Trend, span: Span) -> list[Drawn]:
    made: list[Drawn] = []
    keys = {tuple(one.tags.get(tag, "") for tag in curve.by) for one in history.series(trend.measurement, trend.where)}
    for key in sorted(keys):
        of = Trend(trend.measurement, trend.name, {**trend.where, **dict(zip(curve.by, key, strict=True))})
        if buckets := _minutes(history, of, span):
            made.append(Drawn(" ".join(key), curve.label, *_joined(curve, buckets, span)))
    return made


def _minutes(history: History, trend: Trend, span: Span) -> list[Bucket]:
    return list(walk(lambda token: history.buckets(trend, Tier.MINUTE, span.start_ns, span.end_ns, after=token)))


def _joined(curve: Curve, buckets: list[Bucket], span: Span) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.array([(bucket.time_ns - span.start_ns) // span.every_ns for bucket in buckets])
    values = np.array([getattr(bucket, _OF_BUCKETS[curve.how]) for bucket in buckets])
    weights = np.array([max(bucket.samples, 1) for bucket in buckets], dtype=np.float64)
    bins, first = np.unique(at, return_index=True)
    parts = zip(np.split(values, first[1:]), np.split(weights, first[1:]), strict=True)
    if curve.how in (How.LOW, How.HIGH):
        return _times(bins, span), np.array(
            [float(min(part) if curve.how is How.LOW else max(part)) for part, _ in parts]
        )
    return _times(bins, span), np.array([float(np.average(part, weights=weight)) for part, weight in parts])


def _times(bins: NDArray[np.int64], span: Span) -> NDArray[np.float64]:
    return (span.start_ns + bins.astype(np.float64) * span.every_ns) / 1e9
