"""Aggregates of stored points: count, mean, low, high, p50, p95 and p99 of each number in each bucket of time.

A tag is stored when it changes, so its value holds until the next one (or for `HOLD_NS`, or until it is Bad): its mean
and percentiles weigh each value by how long it held. All other measurements have one point for each thing that
happened, and each counts once. Percentiles are nearest-rank, as InfluxQL's percentile() is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from edge.history.parsing import fields
from edge.history.points import REPEAT_S

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from schemas.fields import Value

HOLD_NS: Final = int(3 * REPEAT_S * 1e9)  # a tag is stored at least every REPEAT_S: after this its value is not known
QUALITY: Final = ".quality"
_SHARES: Final = (0.5, 0.95, 0.99)


class Aggregate(NamedTuple):
    """One bucket of one field; `at` is its number: its start in seconds over the tier's seconds."""

    field: str
    at: int
    samples: int
    mean: float
    low: float
    high: float
    p50: float
    p95: float
    p99: float


class _Held(NamedTuple):
    """A value from a time on; None where it can't be trusted or is no number."""

    time_ns: int
    number: float | None


def aggregates(
    points: Sequence[tuple[int, str]], wanted: Collection[int], span_ns: int, *, holds: bool
) -> list[Aggregate]:
    """Return the aggregates of one series.

    `points`: (time_ns, fields) in the order of time; where values hold, from `HOLD_NS` before the first bucket on.
    `wanted`: numbers of buckets of `span_ns`. A field that was not stored within a bucket has none there.
    """
    made: list[Aggregate] = []
    for name, values in _columns(points).items():
        weighed = _held(values, wanted, span_ns) if holds else _counted(values, wanted, span_ns)
        made += [_aggregate(name, at, samples, weights) for at, samples, weights in weighed]
    return made


def _columns(points: Iterable[tuple[int, str]]) -> dict[str, list[_Held]]:
    found: dict[str, list[_Held]] = {}
    for time_ns, text in points:
        items = fields(text)
        for name, item in items.items():
            if not name.endswith(QUALITY):
                found.setdefault(name, []).append(_Held(time_ns, _number(item)))
            elif item == 0 and (tag := name.removesuffix(QUALITY)) not in items:  # a Bad tag has no value
                found.setdefault(tag, []).append(_Held(time_ns, None))
    return found


def _number(item: Value) -> float | None:
    """Return a measured number, and yes or no as 1 or 0; of ids and counts, which are whole, nobody wants a mean."""
    return float(item) if isinstance(item, float | bool) else None


def _counted(
    values: Sequence[_Held], wanted: Collection[int], span_ns: int
) -> Iterable[tuple[int, int, list[tuple[float, float]]]]:
    found: dict[int, list[tuple[float, float]]] = {}
    for time_ns, number in values:
        if number is not None and (at := time_ns // span_ns) in wanted:
            found.setdefault(at, []).append((number, 1.0))
    return [(at, len(weights), weights) for at, weights in found.items()]


def _held(
    values: Sequence[_Held], wanted: Collection[int], span_ns: int
) -> Iterable[tuple[int, int, list[tuple[float, float]]]]:
    weights: dict[int, list[tuple[float, float]]] = {}
    samples: dict[int, int] = {}
    for position, (time_ns, number) in enumerate(values):
        if number is None:
            continue
        at = time_ns // span_ns
        samples[at] = samples.get(at, 0) + 1
        until_ns = time_ns + HOLD_NS
        if position + 1 < len(values):
            until_ns = min(until_ns, values[position + 1].time_ns)
        for bucket in range(at, (until_ns - 1) // span_ns + 1):
            begin_ns, end_ns = max(time_ns, bucket * span_ns), min(until_ns, (bucket + 1) * span_ns)
            weights.setdefault(bucket, []).append((number, float(end_ns - begin_ns)))
    return [(at, samples[at], weights[at]) for at in sorted(samples) if at in wanted]


def _aggregate(name: str, at: int, samples: int, weights: list[tuple[float, float]]) -> Aggregate:
    weights.sort()
    total = sum(weight for _, weight in weights)
    mean = sum(number * weight for number, weight in weights) / total
    p50, p95, p99 = (_at_share(weights, share * total) for share in _SHARES)
    return Aggregate(name, at, samples, mean, weights[0][0], weights[-1][0], p50, p95, p99)


def _at_share(weights: Sequence[tuple[float, float]], share: float) -> float:
    """Return the smallest number below or at which lies the share of all weight."""
    passed = 0.0
    for number, weight in weights:
        passed += weight
        if passed >= share * (1 - 1e-12):
            return number
    return weights[-1][0]
