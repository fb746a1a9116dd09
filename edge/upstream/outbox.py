"""The uplink's spool (spool 2 of 2): what shall leave the site, and the account of what left.

SQLite, one writer. Every message is stamped and checked against its closed schema when it is put: what is sent again
after a crash has the same epoch and seq, and counts once upstream. Health and models replace their older selves; the
others keep their order, the oldest going first when the quota is full.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bus.codec import decode, encode
from schemas.fleet import Ledger, LedgerRow, Upstream
from schemas.topics import TOPICS, Drop, Reach, Topic

_UP = {row.key: row for row in TOPICS if row.reach is Reach.UP}
_SCHEMA = """
create table if not exists meta (key text primary key, value integer not null) without rowid;
create table if not exists message (seq integer primary key, topic text not null, payload blob not null);
create table if not exists ledger (
    day text not null, kind text not null, messages integer not null, payload_bytes integer not null,
    primary key (day, kind)
) without rowid;
create table if not exists wire (day text primary key, bytes integer not null) without rowid;
"""


@dataclass(frozen=True)
class Waiting:
    """A message that has not been acknowledged upstream."""

    seq: int
    topic: Topic
    payload: bytes


def today() -> str:
    """Return the day of the ledger, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


class Outbox:
    """Messages in the order in which they shall leave."""

    def __init__(self, path: Path, quota_bytes: int) -> None:
        """Open or create; the epoch is the outbox's birth, seq goes on for its whole life."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=full")
        self._db.executescript(_SCHEMA)
        self._db.execute("insert or ignore into meta values ('epoch', ?), ('seq', 0)", (time.time_ns(),))
        self._epoch = self._meta("epoch")
        self._quota_bytes = quota_bytes
        self.evicted = 0

    def put(self, topic: Topic, message: Upstream) -> None:
        """Stamp, check and keep a message.

        Raises:
            CodecError: it is not of its closed schema; nothing is kept, so nothing can leave.
        """
        seq = self._meta("seq") + 1
        msgspec.structs.force_setattr(message, "epoch", self._epoch)
        msgspec.structs.force_setattr(message, "seq", seq)
        payload = encode(topic, message)
        decode(topic, type(message), payload)
        self._db.execute("begin immediate")
        self._db.execute("update meta set value = ? where key = 'seq'", (seq,))
        if topic.drop is Drop.LATEST_WINS:
            self._db.execute("delete from message where topic = ?", (topic.key,))
        self._db.execute("insert into message values (?, ?, ?)", (seq, topic.key, payload))
        self._db.execute("commit")
        self._evict()

    def waiting(self, limit: int = 64) -> list[Waiting]:
        """Return the oldest messages that were not acknowledged."""
        rows = self._db.execute("select seq, topic, payload from message order by seq limit ?", (limit,)).fetchall()
        return [Waiting(seq, _UP[topic], payload) for seq, topic, payload in rows]

    def __len__(self) -> int:
        """Return how many messages wait."""
        return int(self._db.execute("select count(*) from message").fetchone()[0])

    def sent(self, message: Waiting, kind: str) -> None:
        """Forget an acknowledged message and enter it into the day's ledger."""
        self._db.execute("begin immediate")
        self._db.execute("delete from message where seq = ?", (message.seq,))
        self._db.execute(
            "insert into ledger values (?, ?, 1, ?) on conflict do update set"
            " messages = messages + 1, payload_bytes = payload_bytes + excluded.payload_bytes",
            (today(), kind, len(message.payload)),
        )
        self._db.execute("commit")

    def add_wire_bytes(self, count: int) -> None:
        """Add bytes seen on the socket, TLS and framing included."""
        if count > 0:
            self._db.execute(
                "insert into wire values (?, ?) on conflict do update set bytes = bytes + excluded.bytes",
                (today(), count),
            )

    def wire_bytes(self, day: str) -> int:
        """Return the wire bytes of a day."""
        row = self._db.execute("select bytes from wire where day = ?", (day,)).fetchone()
        return int(row[0]) if row else 0

    def ledger(self, day: str) -> Ledger:
        """Return a day's account."""
        rows = self._db.execute(
            "select kind, messages, payload_bytes from ledger where day = ? order by kind", (day,)
        ).fetchall()
        return Ledger(
            time_ns=time.time_ns(), day=day, wire_bytes=self.wire_bytes(day),
            rows=[LedgerRow(kind=kind, messages=messages, payload_bytes=size) for kind, messages, size in rows],
        )  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _meta(self, key: str) -> int:
        return int(self._db.execute("select value from meta where key = ?", (key,)).fetchone()[0])

    def _evict(self) -> None:
        size = int(self._db.execute("select coalesce(sum(length(payload)), 0) from message").fetchone()[0])
        while size > self._quota_bytes:
            row = self._db.execute("select seq, length(payload) from message order by seq limit 1").fetchone()
            if row is None:
                return
            self._db.execute("delete from message where seq = ?", (row[0],))
            size -= int(row[1])
            self.evicted += 1
