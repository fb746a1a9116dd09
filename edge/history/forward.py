"""Copies the store to an archive: at least once, each batch until it is taken.

What comes now goes first. What piled up while the archive or this process was away becomes a gap, kept in the store;
gaps are filled beside that at no more than `backfill_per_s`, the oldest point first. A repeat is harmless: the archive
keys points by series and time.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edge.history.store import Gap, Lines, Store
from edge.sinks import Archive, ArchiveError, LinesRefused

log = logging.getLogger(__name__)
BATCH = 5_000
BACKFILL_BATCH = 2_000  # what comes now waits for one of these at most
RETRY_S = (0.5, 15.0)
IDLE_S = 5.0
CURSOR = "archive"


@dataclass
class ForwardState:
    """What the forwarder did, read by the process for its status."""

    written: int = 0
    refused: int = 0
    lost: int = 0  # points that retention removed before the archive had them
    behind: int = 0  # points that the archive has not got yet
    failing_since: float = 0.0
    reason: str = ""


class Forwarder(threading.Thread):
    """Reads the store with a connection of its own and writes to one archive."""

    def __init__(self, store: Store, archive: Archive, backfill_per_s: float) -> None:
        """Start where the last forwarder stopped."""
        super().__init__(name="forward", daemon=True)
        self.state = ForwardState()
        self._path = store.path
        self._archive = archive
        self._per_s = backfill_per_s
        self._backfill_at_s = 0.0
        self._away = True  # what is there already piled up while we were away
        self._wake = threading.Event()
        self._end = threading.Event()

    def wake(self) -> None:
        """Say that points were stored."""
        self._wake.set()

    def stop(self) -> None:
        """End after the batch in progress."""
        self._end.set()
        self._wake.set()

    def run(self) -> None:
        """Forward until stopped."""
        pause_s = RETRY_S[0]
        with contextlib.closing(Store(self._path)) as store, contextlib.closing(self._archive):
            while not self._end.is_set():
                self._wake.clear()
                try:
                    count = self.forward_once(store, time.monotonic())
                    self.state.failing_since, self.state.reason, pause_s = 0.0, "", RETRY_S[0]
                except (ArchiveError, sqlite3.Error) as error:  # the disk may be full, or the writer slow
                    self._away = True
                    self.state.failing_since = self.state.failing_since or time.monotonic()
                    self.state.reason = str(error)
                    self._end.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                    pause_s = min(pause_s * 2, RETRY_S[1])
                    continue
                if count < BATCH:
                    self._wake.wait(self._pause_s(store, time.monotonic()))

    def forward_once(self, store: Store, now_s: float) -> int:
        """Write the next batch of what comes now, and where it is due one of the oldest gap; return the first's size.

        Raises:
            ArchiveError: it can't take anything now.
        """
        newest, cursor = store.last_id(), self._cursor(store)
        if self._away and newest - cursor > BATCH:
            store.leave(CURSOR, newest)
            cursor = newest
        batch = store.after(cursor, BATCH)
        if batch:
            self._write(batch, cursor)
            store.move(CURSOR, batch.last)
        gaps = store.gaps()
        if gaps and now_s >= self._backfill_at_s:
            self._backfill_at_s = now_s + self._backfill(store, gaps[0]) / self._per_s
        self._away = False
        left = [gap.upto - gap.after for gap in store.gaps()]
        self.state.behind = max(0, newest - store.cursor(CURSOR)) + sum(left)
        return batch.points if batch else 0

    def _cursor(self, store: Store) -> int:
        """Return how far we came; at the very first start all that is there still has to go."""
        cursor = store.cursor(CURSOR)
        if cursor == 0 and (oldest := store.oldest_id()):
            cursor = oldest - 1
            store.move(CURSOR, cursor)
        return cursor

    def _backfill(self, store: Store, gap: Gap) -> int:
        batch = store.after(gap.after, BACKFILL_BATCH, gap.upto)
        if batch:
            self._write(batch, gap.after)
        else:
            self.state.lost += gap.upto - gap.after
        store.close_gap(gap, batch.last if batch else gap.upto)
        return batch.points if batch else 0

    def _pause_s(self, store: Store, now_s: float) -> float:
        return max(0.0, self._backfill_at_s - now_s) if store.gaps() else IDLE_S

    def _write(self, batch: Lines, after: int) -> None:
        try:
            self._archive.write(batch.text)
            self.state.written += batch.points
        except LinesRefused:
            self._halve(batch.text.split("\n"))
        self.state.lost += batch.last - after - batch.points  # ids have no holes but those of deleted points

    def _offer(self, lines: Sequence[str]) -> None:
        try:
            self._archive.write("\n".join(lines))
            self.state.written += len(lines)
        except LinesRefused as error:
            if len(lines) > 1:
                self._halve(lines)
                return
            self.state.refused += 1
            log.warning("the archive refuses a point for ever, it stays in the local store: %s", error)

    def _halve(self, lines: Sequence[str]) -> None:
        """Write what was refused in halves, until the refused points alone are left out and counted."""
        middle = max(1, len(lines) // 2)
        for half in (lines[:middle], lines[middle:]):
            if half:
                self._offer(half)
