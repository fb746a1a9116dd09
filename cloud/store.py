"""What outlives a restart: SQLite in WAL mode, written by one thread. Holds folded devices, not streams of readings.

A transaction is the unit: what a message changed is written before the message is acknowledged to the broker.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from cloud.device import Availability, ConfigDesired, Device, Happening, Request

log = logging.getLogger(__name__)
T = TypeVar("T")
HISTORY_ROWS = 200_000
REQUEST_ROWS = 20_000

_TABLES = """
CREATE TABLE IF NOT EXISTS devices (node TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS config (node TEXT PRIMARY KEY, desired BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (id TEXT PRIMARY KEY, node TEXT NOT NULL, made_ms INTEGER NOT NULL, request BLOB);
CREATE INDEX IF NOT EXISTS requests_of ON requests (node, made_ms);
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, node TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    who TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS history_of ON history (node, id);
CREATE TABLE IF NOT EXISTS availability (day TEXT PRIMARY KEY, up_s REAL NOT NULL, known_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (kind TEXT NOT NULL, id TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, id));
"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one transaction writes."""

    devices: tuple[Device, ...] = ()
    config: tuple[tuple[str, ConfigDesired], ...] = ()
    requests: tuple[Request, ...] = ()
    history: tuple[Happening, ...] = ()
    availability: Availability | None = None


class Store:
    """The database of one fleet. Its methods block: call them through `Store.run`, or before the loop starts."""

    def __init__(self, path: Path) -> None:
        """Open, or make, the database; readable by its owner only, because it holds hashes of passwords."""
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._encode = msgspec.msgpack.Encoder().encode

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` on the store's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Finish what is queued and close."""
        self._thread.shutdown(wait=True)
        self._db.close()

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction."""
        encode = self._encode
        with _Transaction(self._db):
            self._db.executemany(
                "REPLACE INTO devices VALUES (?, ?)", ((device.node, encode(device)) for device in batch.devices)
            )
            self._db.executemany(
                "REPLACE INTO config VALUES (?, ?)", ((node, encode(desired)) for node, desired in batch.config)
            )
            self._db.executemany(
                "REPLACE INTO requests VALUES (?, ?, ?, ?)",
                ((r.id, r.node, r.made_ms, encode(r)) for r in batch.requests),
            )
            self._db.executemany(
                "INSERT INTO history (time_ms, node, kind, text, who) VALUES (?, ?, ?, ?, ?)",
                ((h.time_ms, h.node, h.kind, h.text, h.by) for h in batch.history),
            )
            if batch.availability and batch.availability.day:
                self._db.execute(
                    "REPLACE INTO availability VALUES (?, ?, ?)", msgspec.structs.astuple(batch.availability)
                )

    def prune(self) -> None:
        """Forget the oldest history and requests beyond their bounds."""
        with _Transaction(self._db):
            self._db.execute("DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?", (HISTORY_ROWS,))
            self._db.execute(
                "DELETE FROM requests WHERE id IN (SELECT id FROM requests ORDER BY made_ms DESC LIMIT -1 OFFSET ?)",
                (REQUEST_ROWS,),
            )

    def devices(self) -> list[Device]:
        """Return every device; one that can't be read any more is left out and comes back with its next health."""
        return list(self._decoded("SELECT node, state FROM devices", Device))

    def configs(self) -> dict[str, ConfigDesired]:
        """Return node -> desired configuration."""
        rows = self._db.execute("SELECT node, desired FROM config").fetchall()
        return {str(node): msgspec.msgpack.decode(blob, type=ConfigDesired) for node, blob in rows}

    def requests(self, node: str = "", limit: int = 20) -> list[Request]:
        """Return the newest requests, of one node or of all."""
        where = "WHERE node = ?" if node else "WHERE ? = ''"
        sql = f"SELECT id, request FROM requests {where} ORDER BY made_ms DESC LIMIT ?"  # noqa: S608 - two constants
        return list(self._decoded(sql, Request, (node, limit)))

    def history(self, node: str = "", limit: int = 50) -> list[Happening]:
        """Return the newest lines of history, of one node or of all."""
        where = "WHERE node = ?" if node else "WHERE ? = ''"
        rows = self._db.execute(
            f"SELECT time_ms, node, kind, text, who FROM history {where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - same
            (node, limit),
        ).fetchall()
        return [Happening(time_ms=t, node=n, kind=k, text=x, by=w) for t, n, k, x, w in rows]

    def availability(self, day: str) -> Availability:
        """Return a day's account; an empty one where there is none."""
        row = self._db.execute("SELECT day, up_s, known_s FROM availability WHERE day = ?", (day,)).fetchone()
        return Availability(day=row[0], up_s=row[1], known_s=row[2]) if row else Availability()

    def accounts(self, kind: str, type_: type[T]) -> dict[str, T]:
        """Return id -> value of one kind of account data."""
        rows = self._db.execute("SELECT id, value FROM accounts WHERE kind = ?", (kind,)).fetchall()
        return {str(key): msgspec.msgpack.decode(value, type=type_) for key, value in rows}

    def put_account(self, kind: str, key: str, value: object | None) -> None:
        """Write one account value, or forget it (None)."""
        if value is None:
            self._db.execute("DELETE FROM accounts WHERE kind = ? AND id = ?", (kind, key))
        else:
            self._db.execute("REPLACE INTO accounts VALUES (?, ?, ?)", (kind, key, self._encode(value)))

    def _decoded(self, sql: str, kind: type[T], values: tuple[object, ...] = ()) -> Iterable[T]:
        for key, blob in self._db.execute(sql, values).fetchall():
            try:
                yield msgspec.msgpack.decode(blob, type=kind)
            except msgspec.DecodeError as error:
                log.warning("store: %s %s can't be read and is left out: %s", kind.__name__, key, error)


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT, or ROLLBACK on an error."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")
