"""What of the history a person asks for, as a table of rows: printed, or written as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import heapq
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TextIO

from edge.history.curves import column, walk
from edge.history.query import Tier, Trend
from schemas.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.history.query import History
    from schemas.fields import Value

RESULTS: Final = (
    "part_id", "outcome", "verdict", "label", "score", "quality", "total_ms", "late", "model", "version", "result_id",
)  # fmt: skip
EVENTS: Final = ("origin", "code", "phase", "severity", "text", "key")
BUCKETS: Final = ("samples", "mean", "low", "high", "p50", "p95", "p99")
TIME: Final = "time"
MODEL, VERSION = "model", "version"
_PAGE: Final = 10_000


@dataclass(frozen=True)
class Asked:
    """A range of time, and one of: a tag (source, name), a pipeline and perhaps a field of its results, events."""

    start_ns: int
    end_ns: int
    tag: tuple[str, str] | None = None
    pipeline: str = ""
    field: str = ""
    code: str = ""
    tier: Tier | None = None
    newest: bool = False

    def trend(self) -> Trend | None:
        """Return the one column that is asked for, None for whole results and events."""
        if self.tag:
            return Trend.tag(*self.tag)
        return Trend.result(self.pipeline, self.field) if self.pipeline and self.field else None


@dataclass(frozen=True)
class Table:
    """Columns, of which the first is the time in nanoseconds, and rows that are read as they are taken."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[Value, ...]]


def table(history: History, asked: Asked) -> Table:
    """Return what is asked for; its rows are read page by page.

    Raises:
        StartError: aggregates of whole results or of events.
    """
    trend, start_ns, end_ns, newest = asked.trend(), asked.start_ns, asked.end_ns, asked.newest
    if asked.tier is not None:
        if trend is None:
            raise StartError("aggregates are of numbers: name a tag, or a pipeline with --field")
        judged = (MODEL, VERSION) if asked.pipeline else ()
        apart = _of_each(history, trend, judged, asked)
        return Table((TIME, *BUCKETS, *judged), heapq.merge(*apart, key=_time, reverse=newest))
    if trend is not None:
        column_of = trend
        data = walk(lambda token: history.raw(column_of, start_ns, end_ns, backward=newest, after=token))
        return Table((TIME, "value", "quality"), ((one.time_ns, one.value, one.quality.value) for one in data))
    measurement, names = ("result", RESULTS) if asked.pipeline else ("event", EVENTS)
    where = {"pipeline": asked.pipeline} if asked.pipeline else {"code": asked.code} if asked.code else {}
    rows = walk(lambda token: history.rows(measurement, start_ns, end_ns, where=where, backward=newest, after=token))
    return Table((TIME, *names), ((row.time_ns, *(column(row, name) for name in names)) for row in rows))


def _of_each(
    history: History, trend: Trend, judged: tuple[str, ...], asked: Asked
) -> list[Iterator[tuple[Value, ...]]]:
    """Return the aggregates of each model and version, which are made apart, with their names; of a tag in one go."""
    series = history.series(trend.measurement, trend.where)
    told = sorted({tuple(one.tags.get(name, "") for name in judged) for one in series})
    return [_buckets(history, trend, dict(zip(judged, names, strict=True)), asked) for names in told]


def _buckets(history: History, trend: Trend, tags: dict[str, str], asked: Asked) -> Iterator[tuple[Value, ...]]:
    of, tier = Trend(trend.measurement, trend.name, {**trend.where, **tags}), asked.tier or Tier.MINUTE
    span = asked.start_ns, asked.end_ns
    for one in walk(lambda token: history.buckets(of, tier, *span, backward=asked.newest, after=token)):
        yield (*one, *tags.values())


def _time(row: tuple[Value, ...]) -> int:
    return _whole(row[0])


def iso(time_ns: int) -> str:
    """Return a time as ISO 8601 in UTC with microseconds."""
    return (
        datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{time_ns % 10**9 // 1000:06}Z"
    )


def write_csv(found: Table, file: TextIO) -> int:
    """Write rows as CSV with a head; return how many."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(found.columns)
    count = 0
    for time_ns, *cells in found.rows:
        writer.writerow([iso(_whole(time_ns)), *(_plain(cell) for cell in cells)])
        count += 1
    return count


def write_json(found: Table, file: TextIO, most: int) -> int:
    """Write up to so many rows as lines of JSON; return how many."""
    count = 0
    for time_ns, *cells in islice(found.rows, most):
        line: Mapping[str, Value] = dict(zip(found.columns, [iso(_whole(time_ns)), *cells], strict=True))
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        count += 1
    return count


def write_parquet(found: Table, path: Path) -> int:
    """Write rows as Parquet, times in nanoseconds UTC; return how many.

    A column has the type of its first page: numbers, or text; what is of another type in a later one is empty there.

    Raises:
        StartError: pyarrow is not installed.
    """
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise StartError(
            f"Parquet needs pyarrow ({error}); export CSV, or install plantedge[parquet] (checkout: ./run setup dev)"
        ) from error
    page, count = list(islice(found.rows, _PAGE)), 0
    numbers = [_are_numbers([row[at] for row in page]) for at in range(len(found.columns))]
    kinds = [arrow.float64() if number else arrow.string() for number in numbers[1:]]
    schema = arrow.schema(list(zip(found.columns, [arrow.timestamp("ns", "UTC"), *kinds], strict=True)))
    with parquet.ParquetWriter(path, schema) as writer:
        while page:
            columns = [[row[at] for row in page] for at in range(len(found.columns))]
            held = [columns[0], *(map(_fitting(of), cells) for of, cells in zip(numbers[1:], columns[1:], strict=True))]
            arrays = [arrow.array(list(cells), kind.type) for cells, kind in zip(held, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += len(page)
            page = list(islice(found.rows, _PAGE))
    return count


def _are_numbers(cells: Sequence[Value]) -> bool:
    there = [cell for cell in cells if cell is not None]
    return bool(there) and all(isinstance(cell, int | float) for cell in there)


def _fitting(number: bool) -> Callable[[Value], float | str | None]:
    if number:
        return lambda cell: float(cell) if isinstance(cell, int | float) else None
    return lambda cell: None if cell is None else str(cell)


def _plain(cell: Value) -> Value:
    return str(cell).lower() if isinstance(cell, bool) else cell


def _whole(cell: Value) -> int:
    if not isinstance(cell, int):
        raise TypeError(f"{cell!r} is no time")
    return cell
