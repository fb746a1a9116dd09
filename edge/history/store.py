"""The local time-series store (spool 1 of 2): SQLite WAL, one writer thread, every point once.

A point is unique by series, epoch and seq: what QoS 1 delivers twice is stored once. Within a series no two points
share a time (the later one moves by a nanosecond), so that a copy in InfluxDB, keyed by series and time, loses none.
A point's id is given once and never again, also when the newest points are deleted: cursors of readers stand on ids.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator, Iterable
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from edge.history.buckets import Aggregate
from edge.history.points import Point

_SCHEMA = """
create table if not exists series (id integer primary key, key text not null unique);
create table if not exists point (
    id integer primary key, series integer not null, time_ns integer not null,
    epoch integer not null, seq integer not null, fields text not null
);
create unique index if not exists point_once on point (series, epoch, seq);
create unique index if not exists point_time on point (series, time_ns);
create table if not exists cursor (name text primary key, id integer not null) without rowid;
create table if not exists gap (upto integer primary key, after integer not null);
create table if not exists trend (id integer primary key, series integer not null, field text not null);
create unique index if not exists trend_once on trend (series, field);
create table if not exists bucket (
    tier integer not null, trend integer not null, at integer not null, samples integer not null, mean real not null,
    low real, high real, p50 real, p95 real, p99 real, primary key (tier, trend, at)
) without rowid;
"""
FILE = "historian.db"
NEWEST: Final = 2**63 - 1
_CHUNK = 2_000  # rows deleted per transaction: a long delete must not hold up the writer
_BUCKETS = 60  # of each trend, the same
_PAGES = 2_000  # free pages given back to the disk at a time


class Tier(IntEnum):
    """Aggregates, by the seconds of a bucket."""

    SECOND = 1
    MINUTE = 60


class Lines(NamedTuple):
    """Stored points, ready to be forwarded: the last one's id, how many they are, and all of them in line protocol."""

    last: int
    points: int
    text: str


class Arrived(NamedTuple):
    """A stored point, and what it belongs to."""

    id: int
    series: int
    time_ns: int
    measurement: str


class Gap(NamedTuple):
    """Points that a reader has left for later: those after one id, up to another."""

    after: int
    upto: int


class Store:
    """The writer's side of the store. Use it from one thread."""

    def __init__(self, path: Path) -> None:
        """Open or create."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma auto_vacuum=incremental")  # before the first page is written, or it is not taken
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.executescript(_SCHEMA)
        self._series = self._known_series()
        self._trends: dict[tuple[int, str], int] = {}
        self._next = self._first_free()

    def _known_series(self) -> dict[str, int]:
        return dict(self._db.execute("select key, id from series").fetchall())

    def _first_free(self) -> int:
        newest = self._db.execute(
            "select max((select coalesce(max(id), 0) from point), (select coalesce(max(id), 0) from cursor),"
            " (select coalesce(max(upto), 0) from gap))"
        ).fetchone()
        return int(newest[0]) + 1

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            self._db.execute("rollback")
            self._series, self._trends, self._next = self._known_series(), {}, self._first_free()
            raise

    def add(self, points: Iterable[Point]) -> int:
        """Store points in one transaction; return how many were new."""
        first, batch = self._next, list(points)
        with self._transaction():
            numbers = [self._series.get(point.series) or self._new_series(point.series) for point in batch]
            if not self._insert_all(numbers, batch):
                for number, point in zip(numbers, batch, strict=True):
                    self._insert(number, point)
        return self._next - first

    def _insert_all(self, numbers: list[int], batch: list[Point]) -> bool:
        """Insert a batch at once; False, and nothing inserted, where a point is a repeat or its time is taken."""
        self._db.execute("savepoint batch")
        rows = [
            (self._next + at, number, point.time_ns, point.epoch, point.seq, point.fields)
            for at, (number, point) in enumerate(zip(numbers, batch, strict=True))
        ]
        if self._db.executemany("insert or ignore into point values (?, ?, ?, ?, ?, ?)", rows).rowcount < len(batch):
            self._db.execute("rollback to batch")
            return False
        self._next += len(batch)
        return True

    def _insert(self, series: int, point: Point) -> None:
        time_ns = point.time_ns
        while True:
            done = self._db.execute(
                "insert or ignore into point values (?, ?, ?, ?, ?, ?)",
                (self._next, series, time_ns, point.epoch, point.seq, point.fields),
            )
            if done.rowcount:
                self._next += 1
                return
            if self._known(series, point):
                return
            time_ns += 1

    def _known(self, series: int, point: Point) -> bool:
        row = self._db.execute(
            "select 1 from point where series = ? and epoch = ? and seq = ?", (series, point.epoch, point.seq)
        ).fetchone()
        return row is not None

    def _new_series(self, name: str) -> int:
        number = self._db.execute("insert into series (key) values (?)", (name,)).lastrowid or 0
        self._series[name] = number
        return number

    # -- forwarding ---------------------------------------------------------------------------------------------------

    def after(self, cursor: int, limit: int, upto: int = NEWEST) -> Lines | None:
        """Return points stored after `cursor`, oldest first, None without any.

        SQLite joins them: a row that becomes an object of ours costs more than all that the archive's client does.
        """
        last, count, text = self._db.execute(
            "select max(id), count(*), group_concat(line, char(10)) from (select p.id as id,"
            " s.key || ' ' || p.fields || ' ' || p.time_ns as line from point p join series s on s.id = p.series"
            " where p.id > ? and p.id <= ? order by p.id limit ?)",
            (cursor, upto, limit),
        ).fetchone()
        return Lines(last, count, text) if count else None

    def cursor(self, name: str) -> int:
        """Return how far a reader of `after` or `arrived` has come, 0 at first."""
        row = self._db.execute("select id from cursor where name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def move(self, name: str, to: int) -> None:
        """Keep how far a reader has come."""
        self._db.execute("insert into cursor values (?, ?) on conflict do update set id = excluded.id", (name, to))

    def leave(self, name: str, to: int) -> None:
        """Move a reader on, and keep what it leaves out as a gap."""
        with self._transaction():
            self._db.execute("insert into gap (upto, after) values (?, ?)", (to, self.cursor(name)))
            self.move(name, to)

    def gaps(self) -> list[Gap]:
        """Return what was left out, the oldest first."""
        return [Gap(*row) for row in self._db.execute("select after, upto from gap order by upto")]

    def close_gap(self, gap: Gap, after: int) -> None:
        """Keep how far a gap has been filled; one that is full is forgotten."""
        if after >= gap.upto:
            self._db.execute("delete from gap where upto = ?", (gap.upto,))
        else:
            self._db.execute("update gap set after = ? where upto = ?", (after, gap.upto))

    def oldest_id(self) -> int:
        """Return the oldest point's id, 0 without any."""
        return int(self._db.execute("select coalesce(min(id), 0) from point").fetchone()[0])

    def last_id(self) -> int:
        """Return the newest point's id."""
        return int(self._db.execute("select coalesce(max(id), 0) from point").fetchone()[0])

    # -- aggregates ---------------------------------------------------------------------------------------------------

    def arrived(self, cursor: int, limit: int) -> list[Arrived]:
        """Return points stored after `cursor`, oldest first, without what they hold."""
        names = {number: name.partition(",")[0] for name, number in self._series.items()}
        rows = self._db.execute(
            "select id, series, time_ns from point where id > ? order by id limit ?", (cursor, limit)
        )
        return [Arrived(number, series, time_ns, names[series]) for number, series, time_ns in rows]

    def measurement(self, series: int) -> str:
        """Return what a series is of."""
        (name,) = self._db.execute("select key from series where id = ?", (series,)).fetchone()
        return str(name).partition(",")[0]

    def between(self, series: int, start_ns: int, end_ns: int) -> list[tuple[int, str]]:
        """Return time and fields of a series' points in [start, end), in the order of time."""
        return self._db.execute(
            "select time_ns, fields from point where series = ? and time_ns >= ? and time_ns < ? order by time_ns",
            (series, start_ns, end_ns),
        ).fetchall()

    def keep(self, tier: Tier, series: int, made: Iterable[Aggregate]) -> None:
        """Store a series' aggregates; of those that are there the one of more samples stays (points may be gone)."""
        with self._transaction():
            self._db.executemany(
                "insert into bucket values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set"
                " samples = excluded.samples, mean = excluded.mean, low = excluded.low, high = excluded.high,"
                " p50 = excluded.p50, p95 = excluded.p95, p99 = excluded.p99 where excluded.samples >= samples",
                [(int(tier), self._trend(series, one.field), one.at, one.samples, *_spread(one)) for one in made],
            )

    def _trend(self, series: int, field: str) -> int:
        known = self._trends.get((series, field))
        if known is None:
            self._db.execute("insert or ignore into trend (series, field) values (?, ?)", (series, field))
            row = self._db.execute("select id from trend where series = ? and field = ?", (series, field)).fetchone()
            known = self._trends[series, field] = int(row[0])
        return known

    # -- retention ----------------------------------------------------------------------------------------------------

    def size_bytes(self) -> int:
        """Return the bytes in use, free pages not counted."""
        pages, free, size = (
            int(self._db.execute(f"pragma {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def give_back(self) -> int:
        """Give some free pages back to the disk; return how many there were."""
        (free,) = self._db.execute("pragma freelist_count").fetchone()
        self._db.executescript(f"pragma incremental_vacuum({_PAGES})")  # `execute` would take one step, a page
        return int(free)

    def drop(self, measurement: str, before_ns: int = NEWEST) -> int:
        """Delete a chunk of a measurement's oldest points, of those before a time; return how many."""
        oldest = [
            (int(row[0]), number)
            for name, number in self._series.items()
            if name.partition(",")[0] == measurement
            for row in self._db.execute("select min(time_ns) from point where series = ?", (number,))
            if row[0] is not None
        ]
        if not oldest:
            return 0
        done = self._db.execute(
            "delete from point where id in"
            " (select id from point where series = ? and time_ns < ? order by time_ns limit ?)",
            (min(oldest)[1], before_ns, _CHUNK),
        )
        return done.rowcount

    def drop_buckets(self, tier: Tier, before: int = NEWEST) -> int:
        """Delete a tier's oldest aggregates, of those whose number is below one; return how many."""
        trends = [int(row[0]) for row in self._db.execute("select id from trend")]
        oldest = [
            int(row[0])
            for trend in trends
            for row in self._db.execute("select min(at) from bucket where tier = ? and trend = ?", (int(tier), trend))
            if row[0] is not None
        ]
        if not oldest:
            return 0
        end = min(before, min(oldest) + _BUCKETS)
        with self._transaction():
            return sum(
                self._db.execute(
                    "delete from bucket where tier = ? and trend = ? and at < ?", (int(tier), trend, end)
                ).rowcount
                for trend in trends
            )

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _spread(one: Aggregate) -> tuple[float | None, ...]:
    """Return mean, low, high and percentiles; what did not move is stored as its mean alone, in a third of the room."""
    if one.low == one.high:
        return one.low, None, None, None, None, None
    return one.mean, one.low, one.high, one.p50, one.p95, one.p99
