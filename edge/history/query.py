"""Reading the store: bounded, read-only queries that never hold a WAL reader for longer than one page.

For `plantedge up`, the CLI and the OPC UA server. Each call opens its own connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from edge.history.store import FILE

PAGE = 10_000


@contextmanager
def _reader(home: Path) -> Generator[sqlite3.Connection]:
    path = home / "state" / FILE
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=1.0)
    try:
        db.execute("pragma query_only=on")
        yield db
    finally:
        db.close()


def count(home: Path, measurement: str) -> int:
    """Return how many points a measurement has, 0 if the store is not there yet."""
    try:
        with _reader(home) as db:
            row = db.execute(
                "select count(*) from point where series in (select id from series where key like ?)",
                (measurement + ",%",),
            ).fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(row[0])


def lines(home: Path, measurement: str, start_ns: int, end_ns: int, limit: int = PAGE) -> list[str]:
    """Return a measurement's points in [start, end) in the order of time, as line protocol, at most `limit`."""
    with _reader(home) as db:
        rows = db.execute(
            "select s.key || ' ' || p.fields || ' ' || p.time_ns from series s join point p on p.series = s.id"
            " where s.key like ? and p.time_ns >= ? and p.time_ns < ? order by p.time_ns limit ?",
            (measurement + ",%", start_ns, end_ns, min(limit, PAGE)),
        ).fetchall()
    return [str(row[0]) for row in rows]
