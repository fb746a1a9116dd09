"""Takes evidence from the bus and puts it into the ring, from a thread of its own: results don't wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from edge.history.evidence import open_writer, to_item
from edge.security.device_keys import KeyUnusable

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from bus import Delivery
    from edge.history.ring import RingWriter
    from edge.history.sealed import Item
    from edge.settings import Historian
    from schemas.evidence import Evidence

log = logging.getLogger(__name__)
QUEUE_BYTES: Final = 16_777_216  # what may wait in memory; what comes on top is dropped and counted
RETRY_S: Final = 5.0


class EvidenceKeeper:
    """Evidence is QoS 0: what comes while this process is away is missed, and seen as a gap."""

    def __init__(self, home: Path, settings: Historian, thread: ThreadPoolExecutor) -> None:
        """Start with an empty queue; the ring is opened with the first evidence."""
        self._home, self._settings, self._thread = home, settings, thread
        self._queue: deque[Item] = deque()
        self._waiting_bytes = 0
        self._ring: RingWriter | None = None
        self._retry_s = 0.0
        self.kept = self.dropped = self.failed = self.used_bytes = 0
        self.trouble = ""

    def take(self, evidence: Evidence, delivery: Delivery) -> None:
        """Queue what has come."""
        size = len(delivery.payload)
        if self._waiting_bytes + size > QUEUE_BYTES:
            self.dropped += 1
            return
        self._queue.append(to_item(evidence, bytes(delivery.payload)))
        self._waiting_bytes += size

    async def flush(self) -> None:
        """Write what waits, every `flush_ms`, until cancelled; then once more."""
        period_s = self._settings.flush_ms / 1000
        try:
            while True:
                await asyncio.sleep(period_s)
                if self._queue and time.monotonic() >= self._retry_s:
                    await self._write()
        finally:
            await asyncio.shield(self._write())
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._close))

    async def _write(self) -> None:
        items = list(self._queue)
        self._queue.clear()
        self._waiting_bytes = 0
        if not items:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._add, items)
        except (OSError, KeyUnusable) as error:
            self.failed += len(items)
            self._retry_s = time.monotonic() + RETRY_S
            if not self.trouble:
                log.warning("evidence is not kept: %s", error)
            self.trouble = f"evidence is not kept: {error}"
        else:
            self.kept += len(items)
            self.trouble = ""

    def _add(self, items: list[Item]) -> None:
        if self._ring is None:
            self._ring = open_writer(self._home, self._settings)
        self._ring.add(items)
        self.used_bytes = self._ring.used_bytes

    def _close(self) -> None:
        if self._ring is not None:
            self._ring.close()
