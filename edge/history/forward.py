"""Copies the store to an archive: oldest first, at a bounded rate, at least once, each batch until it is taken."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass

from edge.history.store import Store, Stored
from edge.sinks import Archive, ArchiveError, LinesRefused

log = logging.getLogger(__name__)
BATCH = 5_000
BACKFILL_PER_S = 50_000  # points: after an outage the archive gets no more than this
RETRY_S = (0.5, 15.0)
CURSOR = "archive"


@dataclass
class ForwardState:
    """What the forwarder did, read by the process for its status."""

    written: int = 0
    refused: int = 0
    behind: int = 0  # points that the archive has not got yet
    failing_since: float = 0.0
    reason: str = ""


class Forwarder(threading.Thread):
    """Reads the store with a connection of its own and writes to one archive."""

    def __init__(self, store: Store, archive: Archive) -> None:
        """Start where the last forwarder stopped."""
        super().__init__(name="forward", daemon=True)
        self.state = ForwardState()
        self._path = store.path
        self._archive = archive
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
        store = Store(self._path)
        pause_s = RETRY_S[0]
        try:
            while not self._end.is_set():
                self._wake.clear()
                try:
                    count = self.forward_once(store)
                    self.state.failing_since, self.state.reason, pause_s = 0.0, "", RETRY_S[0]
                except ArchiveError as error:
                    self.state.failing_since = self.state.failing_since or time.monotonic()
                    self.state.reason = str(error)
                    self._end.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                    pause_s = min(pause_s * 2, RETRY_S[1])
                    continue
                self._end.wait(count / BACKFILL_PER_S)
                if count < BATCH:
                    self._wake.wait(5.0)
        finally:
            self._archive.close()
            store.close()

    def forward_once(self, store: Store) -> int:
        """Write the next batch and move the cursor; return how many points it had."""
        newest, cursor = store.last_id(), store.cursor(CURSOR)
        self.state.behind = max(0, newest - cursor)
        batch = store.after(cursor, BATCH)
        if batch:
            self._write(batch)
            store.move(CURSOR, batch[-1].id)
            self.state.behind = max(0, newest - batch[-1].id)
        return len(batch)

    def _write(self, batch: list[Stored]) -> None:
        """Write a batch; one that is refused is halved until the refused points alone are left out and counted."""
        try:
            self._archive.write([stored.line for stored in batch])
            self.state.written += len(batch)
        except LinesRefused as error:
            if len(batch) == 1:
                self.state.refused += 1
                log.warning("the archive refuses a point for ever, it stays in the local store: %s", error)
                return
            middle = len(batch) // 2
            self._write(batch[:middle])
            self._write(batch[middle:])
