"""The local time-series store (spool 1 of 2): SQLite WAL, one writer thread, every point once.

A point is unique by series, epoch and seq: what QoS 1 delivers twice is stored once. Within a series no two points
share a time (the later one moves by a nanosecond), so that a copy in InfluxDB, keyed by series and time, loses none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

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
create table if not exists trend (id integer primary key, series integer not null, field text not null);
create unique index if not exists trend_once on trend (series, field);
create table if not exists bucket (
    tier integer not null, trend integer not null, at integer not null, count integer not null, mean real not null,
    low real, high real, p50 real, p95 real, p99 real, primary key (tier, trend, at)
) without rowid;
"""
FILE = "historian.db"
_CHUNK = 2_000  # rows deleted per transaction: a long delete must not hold up the writer


class Tier(IntEnum):
    """Aggregates, by the seconds of a bucket."""

    SECOND = 1
    MINUTE = 60


class Stored(NamedTuple):
    """A stored point, ready to be forwarded as a line."""

    id: int
    line: str


class Store:
    """The writer's side of the store. Use it from one thread."""

    def __init__(self, path: Path) -> None:
        """Open or create."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.execute("pragma auto_vacuum=incremental")
        self._db.executescript(_SCHEMA)
        self._series: dict[str, int] = {
            name: number for number, name in self._db.execute("select id, key from series").fetchall()
        }

    def add(self, points: Iterable[Point]) -> int:
        """Store points in one transaction; return how many were new."""
        before = self._db.total_changes
        self._db.execute("begin immediate")
        try:
            created = 0
            for point in points:
                number = self._series.get(point.series)
                if number is None:
                    number = self._new_series(point.series)
                    created += 1
                self._insert(number, point)
            self._db.execute("commit")
        except BaseException:
            self._db.execute("rollback")
            self._series = dict(self._db.execute("select key, id from series").fetchall())
            raise
        return self._db.total_changes - before - created

    def _insert(self, series: int, point: Point) -> None:
        time_ns = point.time_ns
        while True:
            done = self._db.execute(
                "insert or ignore into point (series, time_ns, epoch, seq, fields) values (?, ?, ?, ?, ?)",
                (series, time_ns, point.epoch, point.seq, point.fields),
            )
            if done.rowcount or self._known(series, point):
                return
            time_ns += 1

    def _known(self, series: int, point: Point) -> bool:
        row = self._db.execute(
            "select 1 from point where series = ? and epoch = ? and seq = ?", (series, point.epoch, point.seq)
        ).fetchone()
        return row is not None

    def _new_series(self, name: str) -> int:
        self._db.execute("insert into series (key) values (?)", (name,))
        number = int(self._db.execute("select last_insert_rowid()").fetchone()[0])
        self._series[name] = number
        return number

    # -- forwarding ---------------------------------------------------------------------------------------------------

    def after(self, cursor: int, limit: int) -> list[Stored]:
        """Return points stored after `cursor`, oldest first, as lines of line protocol."""
        rows = self._db.execute(
            "select p.id, s.key || ' ' || p.fields || ' ' || p.time_ns from point p join series s on s.id = p.series"
            " where p.id > ? order by p.id limit ?",
            (cursor, limit),
        )
        return [Stored(*row) for row in rows]

    def cursor(self, name: str) -> int:
        """Return how far a reader of `after` has come, 0 at first."""
        row = self._db.execute("select id from cursor where name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def move(self, name: str, to: int) -> None:
        """Keep how far a reader has come."""
        self._db.execute("insert into cursor values (?, ?) on conflict do update set id = excluded.id", (name, to))

    def last_id(self) -> int:
        """Return the newest point's id."""
        return int(self._db.execute("select coalesce(max(id), 0) from point").fetchone()[0])

    # -- retention ----------------------------------------------------------------------------------------------------

    def size_bytes(self) -> int:
        """Return the bytes in use, free pages not counted."""
        pages, free, size = (
            int(self._db.execute(f"pragma {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def drop_before(self, measurement: str, time_ns: int) -> int:
        """Delete up to a chunk of a measurement's points older than `time_ns`; return how many."""
        done = self._db.execute(
            "delete from point where id in (select p.id from point p join series s on s.id = p.series"
            " where s.key like ? and p.time_ns < ? limit ?)",
            (measurement + ",%", time_ns, _CHUNK),
        )
        return done.rowcount

    def drop_oldest(self, measurement: str) -> int:
        """Delete a chunk of a measurement's oldest points; return how many."""
        done = self._db.execute(
            "delete from point where id in (select p.id from point p join series s on s.id = p.series"
            " where s.key like ? order by p.id limit ?)",
            (measurement + ",%", _CHUNK),
        )
        return done.rowcount

    def close(self) -> None:
        """Close the file."""
        self._db.close()
