"""Evaluates the curves of the table of views over the local store, as InfluxQL does over InfluxDB.

Up to `RAW_NS` from the points themselves; for longer ranges what has aggregates is made of its minutes: means weighed by
their samples, percentiles as the mean of the minutes' own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge.history.query import Page, Tier, Trend
from edge.history.views import How, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.history.query import Bucket, History, Row
    from edge.history.views import Curve
    from schemas.messages import Value

RAW_NS: Final = 2 * 3_600 * 10**9
AGGREGATED: Final = ("reading", "result", "output")
TAG: Final = "$tag"
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
    """One curve: times in seconds since 1970, and a value at each."""

    label: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]


_Samples = dict[tuple[str, ...], list[tuple[int, tuple[float | None, ...]]]]  # by the tags' values: time, each field


def drawn(history: History, curve: Curve, span: Span) -> list[Drawn]:
    """Return a curve, or those for each value of its tags.

    Raises:
        HistoryError: see `History`.
    """
    fields = tuple(span.tag[1] if field == TAG else field for field in curve.fields)
    where = dict(curve.where) | ({"source": span.tag[0]} if TAG in curve.fields else {})
    if curve.of in AGGREGATED and span.end_ns - span.start_ns > RAW_NS and curve.how in _OF_BUCKETS:
        return _of_minutes(history, curve, Trend(curve.of, fields[0], where), span)
    samples = _samples(history, curve, fields, where, span)
    made = [(key, *_made(curve, len(fields), held, span)) for key, held in sorted(samples.items())]
    return [Drawn(_label(curve, key), times, values) for key, times, values in made if len(times)]


def newest(history: History, rows: Rows, span: Span) -> list[Row]:
    """Return the newest points that a list shows, the newest first."""
    name, wanted = rows.where or ("", ())
    found: list[Row] = []
    for row in walk(
        lambda token: history.rows(rows.of, span.start_ns, span.end_ns, backward=True, limit=1_000, after=token)
    ):
        if not rows.where or column(row, name) in wanted:
            found.append(row)
        if len(found) == rows.limit:
            break
    return found


def column(row: Row, name: str) -> Value:
    """Return what a point holds under a name, as field or tag; None if nothing."""
    return row.fields[name] if name in row.fields else row.tags.get(name)


def walk(ask: Callable[[str], Page[Any]]) -> Iterator[Any]:
    """Yield the items of all pages; `ask` takes the token of the page."""
    token = ""
    while True:
        found = ask(token)
        yield from found.items
        token = found.next
        if not token:
            return


def _label(curve: Curve, key: tuple[str, ...]) -> str:
    return " ".join([*key, *([curve.label] if curve.label else [])]) or curve.fields[0]


def _samples(
    history: History, curve: Curve, fields: tuple[str, ...], where: dict[str, str], span: Span
) -> _Samples:
    found: _Samples = defaultdict(list)
    for row in walk(lambda token: history.rows(curve.of, span.start_ns, span.end_ns, where=where, after=token)):
        numbers = tuple(_number(row.fields.get(field)) for field in (*fields, *curve.among))
        if numbers[0] is not None:
            found[tuple(row.tags.get(tag, "") for tag in curve.by)].append((row.time_ns, numbers))
    return found


def _number(item: Value) -> float | None:
    return float(item) if isinstance(item, int | float) else None


def _made(
    curve: Curve, width: int, held: list[tuple[int, tuple[float | None, ...]]], span: Span
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.array([(time_ns - span.start_ns) // span.every_ns for time_ns, _ in held])
    table = np.array([[np.nan if one is None else one for one in numbers] for _, numbers in held], dtype=np.float64)
    bins, first = np.unique(at, return_index=True)
    groups = np.split(table, first[1:])
    if curve.how in _COUNTERS:
        return _gained(curve, bins, np.array([group[-1] for group in groups]), span)
    return _times(bins, span), np.array([_value(curve, width, group) for group in groups])


def _value(curve: Curve, width: int, group: NDArray[np.float64]) -> float:
    first = group[:, 0]
    if curve.among:
        share = np.nansum(group[:, :width]) / max(np.nansum(group[:, width:]), 1.0)
        return float(1 - share if curve.how is How.LACK else share)
    if curve.how in _PERCENT:
        return float(np.percentile(first, _PERCENT[curve.how], method="inverted_cdf"))
    if curve.how is How.LACK:
        return float(1 - first.mean())
    made = {How.MEAN: np.mean, How.LOW: np.min, How.HIGH: np.max, How.SUM: np.sum}
    return float(made[curve.how](first)) if curve.how in made else float(first[-1])


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
        buckets = list(walk(lambda token, of=of: history.buckets(of, Tier.MINUTE, span.start_ns, span.end_ns, after=token)))
        if buckets:
            made.append(Drawn(_label(curve, key), *_joined(curve, buckets, span)))
    return made


def _joined(curve: Curve, buckets: list[Bucket], span: Span) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.array([(bucket.time_ns - span.start_ns) // span.every_ns for bucket in buckets])
    values = np.array([getattr(bucket, _OF_BUCKETS[curve.how]) for bucket in buckets])
    weights = np.array([max(bucket.samples, 1) for bucket in buckets], dtype=np.float64)
    bins, first = np.unique(at, return_index=True)
    parts = zip(np.split(values, first[1:]), np.split(weights, first[1:]), strict=True)
    if curve.how in (How.LOW, How.HIGH):
        return _times(bins, span), np.array([float(min(part) if curve.how is How.LOW else max(part)) for part, _ in parts])
    return _times(bins, span), np.array([float(np.average(part, weights=weight)) for part, weight in parts])


def _times(bins: NDArray[np.int64], span: Span) -> NDArray[np.float64]:
    return (span.start_ns + bins.astype(np.float64) * span.every_ns) / 1e9
