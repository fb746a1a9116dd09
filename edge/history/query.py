"""Reading the store beside its writer: bounded, read-only, resumable.

For `plantedge history`, `plantedge up` and the OPC UA server's history. A call reads slices of a few thousand rows,
each by a statement of its own: no reader of the WAL is held between two slices or two pages, and the writer's
checkpoints go on. Calls block for milliseconds, may come from any thread and take turns; an event loop says
`await asyncio.to_thread(history.raw, trend, start_ns, end_ns)`.

Times are nanoseconds of the wall clock, ranges are [start, end). With `backward` the newest comes first; the range
stays the same. A page after which there is more says where to go on in `next`: a token, to be given as `after` with
otherwise the same arguments. It outlives this object, a restart, and the deletion of what it points at. What is looked
at is bounded, not only what is found: a page may hold less than `limit`, even nothing, and still have a `next`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Final, NamedTuple, cast

from edge.history import parsing
from edge.history.buckets import HOLD_NS
from edge.history.parsing import Series
from edge.history.scan import FIRST, SCAN, SLICE, Found, HistoryError, Page, Position, Scan, Statements, page
from edge.history.store import FILE, Tier
from schemas.fields import Value
from schemas.messages import Quality

__all__ = ["HOLD_NS", "Bucket", "Datum", "History", "HistoryError", "Page", "Row", "Tier", "Trend", "count"]

PAGE: Final = 10_000  # items of a page, unless less is asked for
_SECOND_NS: Final = 10**9
_POINTS: Final = Statements(
    "select time_ns, fields from point where series = ? and time_ns >= ? and time_ns < ? order by time_ns limit ?",
    "select time_ns, fields from point where series = ? and time_ns >= ? and time_ns < ? order by time_ns desc limit ?",
)
_BUCKETS: Final = Statements(
    "select at, samples, mean, low, high, p50, p95, p99 from bucket"
    " where tier = ? and trend = ? and at >= ? and at < ? order by at limit ?",
    "select at, samples, mean, low, high, p50, p95, p99 from bucket"
    " where tier = ? and trend = ? and at >= ? and at < ? order by at desc limit ?",
)


@dataclass(frozen=True)
class Trend:
    """One column of the history: a field of a measurement, of the series whose tags are as given."""

    measurement: str
    name: str
    where: Mapping[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def tag(source: str, name: str) -> Trend:
        """Return that of a source's tag, by its original name."""
        return Trend("reading", name, {"source": source})

    @staticmethod
    def result(pipeline: str, name: str) -> Trend:
        """Return that of a field of a pipeline's results: score, verdict, label, total_ms, late, ..."""
        return Trend("result", name, {"pipeline": pipeline})


class Datum(NamedTuple):
    """A value at an instant; None where its quality is Bad."""

    time_ns: int
    value: Value
    quality: Quality


class Bucket(NamedTuple):
    """What a number was from `time_ns` on, for as many seconds as its tier says.

    Of a tag, mean and percentiles weigh a value by how long it held; `samples` counts stored values, and where there
    were none there is no bucket. Where the series changed within (another model version) there is one for each.
    """

    time_ns: int
    samples: int
    mean: float
    low: float
    high: float
    p50: float
    p95: float
    p99: float


class Row(NamedTuple):
    """A whole point: a result, an output, an insight, an event, a status, or the tags of a reading that changed."""

    time_ns: int
    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, Value]


class History:
    """The history of one device."""

    def __init__(self, home: Path) -> None:
        """Open nothing yet."""
        self._path = home / "state" / FILE
        self._turn = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._series: dict[int, Series] = {}

    def close(self) -> None:
        """Close the file; another call opens it again."""
        with self._turn:
            if self._db:
                self._db.close()
            self._db = None

    # -- what there is ------------------------------------------------------------------------------------------------

    def series(self, measurement: str = "", where: Mapping[str, str] | None = None) -> list[Series]:
        """Return the series of a measurement, or all, whose tags are as given.

        Raises:
            HistoryError: there is no history, or its file can't be read. So do all calls.
        """
        known = max(self._series, default=0)
        for number, text in self._read("select id, key from series where id > ? order by id", (known,)):
            self._series[_whole(number)] = parsing.series(_whole(number), str(text))
        wanted = (where or {}).items()
        return [
            one
            for one in list(self._series.values())
            if measurement in ("", one.measurement) and wanted <= one.tags.items()
        ]

    def extent(self, measurement: str = "") -> tuple[int, int] | None:
        """Return the times of the oldest and the newest point, None without any."""
        edges: list[tuple[int, int]] = []
        for one in self.series(measurement):
            ((low,),) = self._read("select min(time_ns) from point where series = ?", (one.id,))
            ((high,),) = self._read("select max(time_ns) from point where series = ?", (one.id,))
            if low is not None:
                edges.append((_whole(low), _whole(high)))
        return (min(low for low, _ in edges), max(high for _, high in edges)) if edges else None

    def count(self, measurement: str) -> int:
        """Return how many points a measurement has."""
        rows = [
            self._read("select count(*) from point where series = ?", (one.id,)) for one in self.series(measurement)
        ]
        return sum(_whole(number) for ((number,),) in rows)

    # -- what was -----------------------------------------------------------------------------------------------------

    def raw(
        self, trend: Trend, start_ns: int, end_ns: int, *, backward: bool = False, limit: int = PAGE, after: str = ""
    ) -> Page[Datum]:
        """Return a page of values as they were stored: a tag when it changed, and at least every ten seconds.

        Raises:
            HistoryError: see `series`; or `after` is no token.
        """
        series = self.series(trend.measurement, trend.where)
        if len(series) == 1:
            return self._of_one(series[0].id, trend, (start_ns, end_ns), backward, max(1, limit), Position.read(after))
        pick = parsing.picker(trend.name)

        def make(found: Found) -> Datum | None:
            text = str(found.held[0])
            held = pick(text)
            return None if held is None else _datum(trend, found.time, text, *held)

        return page(self._points(trend, start_ns, end_ns, backward, limit, after), max(1, limit), make)

    def _of_one(
        self, number: int, trend: Trend, span: tuple[int, int], backward: bool, limit: int, after: Position | None
    ) -> Page[Datum]:
        """Return what `raw` does of one series, which needs no merging: a quarter of the time."""
        statement = _POINTS.backward if backward else _POINTS.forward
        (low, high), items, looked = span, list[Datum](), 0
        if after is not None and backward:
            high = min(high, after.time + (number < after.series))
        elif after is not None:
            low = max(low, after.time + (number <= after.series))
        while True:
            size = max(FIRST, min(SLICE, limit - len(items) + 1))
            rows = cast("list[tuple[int, str]]", self._read(statement, (number, low, high, size)))
            used = _take(trend, rows, items, limit)
            looked += used
            if used == len(rows) < size:
                return Page(items)
            last = rows[used - 1][0]
            if len(items) >= limit or looked >= SCAN:
                return Page(items, Position(last, number).token())
            low, high = (low, last) if backward else (last + 1, high)

    def at(self, trend: Trend, times_ns: Sequence[int]) -> list[Datum]:
        """Return the value that held at each time: the last one stored until then.

        Bad where there is none, and of a tag also where the last one is older than `HOLD_NS`: the device was away.
        """
        held_ns = HOLD_NS if trend.measurement == "reading" else max(times_ns, default=0)
        return [self._at(trend, time_ns, held_ns) for time_ns in times_ns]

    def _at(self, trend: Trend, time_ns: int, held_ns: int) -> Datum:
        found = self.raw(trend, time_ns - held_ns, time_ns + 1, backward=True, limit=1).items
        return found[0]._replace(time_ns=time_ns) if found else Datum(time_ns, None, Quality.BAD)

    def buckets(
        self, trend: Trend, tier: Tier, start_ns: int, end_ns: int, *, backward: bool = False, limit: int = PAGE,
        after: str = "",
    ) -> Page[Bucket]:  # fmt: skip
        """Return a page of a number's aggregates that begin in the range; those of the last seconds are not made yet.

        Raises:
            HistoryError: see `raw`.
        """
        span_ns = tier * _SECOND_NS
        numbers = {number: (int(tier), number) for number in self._trends(trend)}
        scan = Scan(self._read, _BUCKETS, numbers, -(-start_ns // span_ns), -(-end_ns // span_ns), backward)
        rows = scan.rows(limit, Position.read(after))
        return page(rows, max(1, limit), lambda found: _bucket(found.time * span_ns, found.held))

    def rows(
        self, measurement: str, start_ns: int, end_ns: int, *, where: Mapping[str, str] | None = None,
        backward: bool = False, limit: int = PAGE, after: str = "",
    ) -> Page[Row]:  # fmt: skip
        """Return a page of whole points: `result`, `output`, `insight`, `event`, `status` or `reading`.

        Raises:
            HistoryError: see `raw`.
        """
        found = self._points(Trend(measurement, "", where or {}), start_ns, end_ns, backward, limit, after)
        return page(found, max(1, limit), self._row)

    # -- how ----------------------------------------------------------------------------------------------------------

    def _points(
        self, trend: Trend, start_ns: int, end_ns: int, backward: bool, limit: int, after: str
    ) -> Iterator[Found | Position]:
        numbers = {one.id: (one.id,) for one in self.series(trend.measurement, trend.where)}
        scan = Scan(self._read, _POINTS, numbers, start_ns, end_ns, backward)
        return scan.rows(limit, Position.read(after))

    def _row(self, found: Found) -> Row:
        one = self._series[found.series]
        return Row(found.time, one.measurement, one.tags, parsing.fields(str(found.held[0])))

    def _trends(self, trend: Trend) -> list[int]:
        wanted = {one.id for one in self.series(trend.measurement, trend.where)}
        rows = self._read("select id, series from trend where field = ?", (trend.name,))
        return [_whole(number) for number, series in rows if series in wanted]

    def _read(self, statement: str, values: tuple[int | str, ...]) -> list[tuple[object, ...]]:
        """Run one statement to its end: when this returns, no reader is held."""
        with self._turn:
            try:
                self._db = self._db or _opened(self._path)
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise HistoryError(f"{self._path}: {error}; {_remedy(self._path)}") from error


def _take(trend: Trend, rows: Sequence[tuple[int, str]], items: list[Datum], limit: int) -> int:
    """Add what rows say of a trend to `items`, up to `limit`; return how many rows were used."""
    room, judged, make = rows[: limit - len(items)], trend.measurement == "result", Datum._make
    numbers = None if judged else parsing.column(trend.name)([text for _, text in room])
    if numbers is not None:
        items += map(make, zip([time_ns for time_ns, _ in room], numbers, repeat(Quality.GOOD), strict=False))
        return len(room)
    pick = parsing.picker(trend.name)
    for used, (time_ns, text) in enumerate(rows):
        if len(items) >= limit:
            return used
        held = pick(text)
        if held is not None and judged:
            items.append(_datum(trend, time_ns, text, *held))
        elif held is not None:
            items.append(make((time_ns, None if held[0] is None else parsing.value(held[0]), held[1])))
    return len(rows)


def count(home: Path, measurement: str) -> int:
    """Return how many points a measurement has, 0 if the store is not there yet."""
    with contextlib.closing(History(home)) as history, contextlib.suppress(HistoryError):
        return history.count(measurement)
    return 0


def _remedy(path: Path) -> str:
    """Return what to do. SQLite makes a file beside a store that nobody has open: its folder has to be ours as well."""
    mine = os.access(path.parent, os.W_OK | os.X_OK) and (os.access(path, os.R_OK) or not os.path.lexists(path))
    if os.path.lexists(path.parent) and not mine:
        return "it is not yours to read: ask as the device's user, or as root"
    return "is it a store?" if os.path.lexists(path) else "the historian makes it when it runs"


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=1.0, check_same_thread=False)
    db.execute("pragma query_only=on")
    return db


def _whole(held: object) -> int:
    return cast(int, held)  # a column of whole numbers


def _datum(trend: Trend, time_ns: int, text: str, held: str | None, quality: Quality) -> Datum:
    if trend.measurement == "result" and trend.name != "quality":
        said = parsing.fields(text).get("quality")
        quality = Quality(str(said)) if said is not None else quality
    return Datum(time_ns, None if held is None else parsing.value(held), quality)


def _bucket(time_ns: int, held: tuple[object, ...]) -> Bucket:
    """Return a row's bucket: what did not move is stored as its mean alone."""
    number, mean, *spread = held
    filled = [mean if one is None else one for one in spread]
    return Bucket(time_ns, _whole(number), cast(float, mean), *cast("list[float]", filled))
