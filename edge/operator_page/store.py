"""What the page must not forget: tallies, the parts that can be judged, judgements, sessions. SQLite, 0600.

A judgement is on the disk before it is confirmed. Use it from one thread.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from edge.operator_page.counts import Tally
from edge.operator_page.parts import Judgement, Part, Really

FILE: Final = "state/hmi/page.db"
KEEP_JUDGED_D: Final = 365.0
_DAY_MS: Final = 86_400_000
_SCHEMA: Final = """
create table if not exists tally (
    pipeline text not null, shift_ms integer not null, body blob not null, primary key (pipeline, shift_ms)
) without rowid;
create table if not exists part (
    result_id text primary key, pipeline text not null, shift_ms integer not null, time_ms integer not null,
    body blob not null
) without rowid;
create index if not exists part_of_pipeline on part (pipeline, time_ms);
create table if not exists judgement (
    id integer primary key, result_id text not null, really text not null, by text not null, at_ms integer not null
);
create index if not exists judgement_of_part on judgement (result_id);
create table if not exists session (key text primary key, body blob not null) without rowid;
"""
_parts: Final = msgspec.json.Decoder(Part)
_tallies: Final = msgspec.json.Decoder(Tally)


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A login; its key is the SHA-256 of the cookie. `proof`: of the password that it came from, "" for a link's."""

    name: str
    csrf: str
    until_s: float
    proof: str = ""


class PageStore:
    """One file."""

    def __init__(self, home: Path) -> None:
        """Open it or make it."""
        path = home / FILE
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=full")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # -- counts and parts ---------------------------------------------------------------------------------------------

    def newest_tally(self, pipeline: str) -> Tally | None:
        """Return the last shift's tally of a pipeline."""
        row = self._db.execute(
            "select body from tally where pipeline = ? order by shift_ms desc limit 1", (pipeline,)
        ).fetchone()
        return _tallies.decode(row[0]) if row else None

    def save(self, tallies: Iterable[tuple[str, int, bytes]], parts: Iterable[Part]) -> None:
        """Write tallies (pipeline, shift, JSON) and new parts in one transaction."""
        with self._db:
            self._db.execute("begin immediate")
            self._db.executemany("insert or replace into tally values (?, ?, ?)", tallies)
            self._db.executemany("insert or ignore into part values (?, ?, ?, ?, ?)", map(_row, parts))

    def parts(self, pipeline: str, shift_ms: int, most: int) -> list[Part]:
        """Return a pipeline's parts of a shift, the newest first."""
        rows = self._db.execute(
            "select body from part where pipeline = ? and shift_ms = ? order by time_ms desc limit ?",
            (pipeline, shift_ms, most),
        )
        return [_parts.decode(body) for (body,) in rows]

    def part(self, result_id: str) -> Part | None:
        """Return a part that is kept."""
        row = self._db.execute("select body from part where result_id = ?", (result_id,)).fetchone()
        return _parts.decode(row[0]) if row else None

    # -- judgements ---------------------------------------------------------------------------------------------------

    def judge(self, part: Part, judgement: Judgement) -> None:
        """Add a judgement, and the part that it is about; on the disk when this returns."""
        with self._db:
            self._db.execute("begin immediate")
            self._db.execute("insert or ignore into part values (?, ?, ?, ?, ?)", _row(part))
            self._db.execute(
                "insert into judgement (result_id, really, by, at_ms) values (?, ?, ?, ?)",
                (judgement.result_id, judgement.really.value, judgement.by, judgement.at_ms),
            )

    def judgements_of(self, result_id: str) -> list[Judgement]:
        """Return what was said of a part, the oldest first: the last one holds."""
        rows = self._db.execute(
            "select result_id, really, by, at_ms from judgement where result_id = ? order by id", (result_id,)
        )
        return [_judgement(*row) for row in rows]

    def judgements(self, pipeline: str, shift_ms: int) -> list[tuple[Part, Judgement]]:
        """Return every part of a shift that was judged, with what holds of it."""
        rows = self._db.execute(
            "select p.body, j.result_id, j.really, j.by, j.at_ms from part p join judgement j using (result_id)"
            " where p.pipeline = ? and p.shift_ms = ? order by j.id",
            (pipeline, shift_ms),
        )
        return [(_parts.decode(body), _judgement(*rest)) for body, *rest in rows]

    def forget_old(self, known: Iterable[str]) -> None:
        """Remove judgements past their time, and parts that nobody judged, but those that are `known`."""
        old_ms = time.time_ns() // 1_000_000 - KEEP_JUDGED_D * _DAY_MS
        with self._db:
            self._db.execute("begin immediate")
            self._db.execute("delete from tally where shift_ms < ?", (old_ms,))
            self._db.execute("delete from judgement where at_ms < ?", (old_ms,))
            self._db.execute("create temp table if not exists known (name text primary key)")
            self._db.execute("delete from known")
            self._db.executemany("insert or ignore into known values (?)", ((name,) for name in known))
            self._db.execute(
                "delete from part where result_id not in (select result_id from judgement)"
                " and result_id not in (select name from known)"
            )

    # -- sessions -----------------------------------------------------------------------------------------------------

    def sessions(self) -> dict[str, Session]:
        """Return every session by its key."""
        rows = self._db.execute("select key, body from session")
        return {key: msgspec.json.decode(body, type=Session) for key, body in rows}

    def put_session(self, key: str, session: Session | None) -> None:
        """Keep a session, or remove it."""
        if session is None:
            self._db.execute("delete from session where key = ?", (key,))
        else:
            self._db.execute("insert or replace into session values (?, ?)", (key, msgspec.json.encode(session)))


def _row(part: Part) -> tuple[str, str, int, int, bytes]:
    return part.result_id, part.pipeline, part.shift_ms, part.time_ms, msgspec.json.encode(part)


def _judgement(result_id: str, really: str, by: str, at_ms: int) -> Judgement:
    return Judgement(result_id=result_id, really=Really(really), by=by, at_ms=at_ms)
