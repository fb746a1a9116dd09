"""How long the store keeps what: by age, and by a quota on disk with a declared order of eviction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from edge.history.store import Store, Tier
from edge.host import metric_names as names
from edge.process import Process
from edge.settings import Historian
from schemas.messages import Phase, Severity

PERIOD_S = 60.0
DAY_S = 86_400
ALARM_SHARE = 0.9
EVICTION_ORDER: Final[tuple[str | Tier, ...]] = (  # the first goes first
    "reading", "metric", "scan", "output", Tier.SECOND, "result", "insight", Tier.MINUTE, "event",
)  # fmt: skip


def kept_days(settings: Historian) -> dict[str | Tier, float]:
    """Return for how long each kind is kept."""
    days: dict[str | Tier, float] = dict.fromkeys(EVICTION_ORDER, settings.raw_days)
    return days | {
        Tier.SECOND: settings.second_days,
        Tier.MINUTE: settings.minute_days,
        "insight": settings.minute_days,
        "event": settings.event_days,
    }


class Retention:
    """Deletes what is too old or too much, in small transactions on the store's own thread."""

    def __init__(self, process: Process, store: Store, thread: ThreadPoolExecutor) -> None:
        """Read the limits from the settings."""
        self._process = process
        self._store = store
        self._thread = thread
        self._settings = process.settings.historian
        self._alarmed = False

    async def keep(self) -> None:
        """Look once a minute, until cancelled."""
        while True:
            await self.sweep()
            await asyncio.sleep(PERIOD_S)

    async def sweep(self) -> None:
        """Delete by age, then by quota; say so before the quota bites."""
        now_s = time.time()
        for kind, days in kept_days(self._settings).items():
            while await self._drop(kind, int(now_s - days * DAY_S)):
                pass
        quota = self._settings.quota_mb * 1_000_000
        used = await self._on_thread(self._store.size_bytes)
        self._alarm(used > ALARM_SHARE * quota, used, quota)
        for kind in EVICTION_ORDER:
            while used > quota and await self._drop(kind, None):
                used = await self._on_thread(self._store.size_bytes)
        await self._on_thread(self._store.give_back)
        self._process.counters["store_mb"] = round(used / 1e6, 1)
        self._process.metrics.gauge(names.STORE_BYTES).set(used)

    async def _drop(self, kind: str | Tier, before_s: int | None) -> int:
        """Delete a chunk of one kind, of what is older than a time or of the oldest there is."""
        if isinstance(kind, Tier):
            return await self._on_thread(
                self._store.drop_buckets, kind, *([] if before_s is None else [before_s // kind])
            )
        return await self._on_thread(self._store.drop, kind, *([] if before_s is None else [before_s * 10**9]))

    def _alarm(self, high: bool, used: int, quota: int) -> None:
        if high == self._alarmed:
            return
        self._alarmed = high
        phase, severity = (Phase.NEW, Severity.WARNING) if high else (Phase.END, Severity.INFO)
        text = f"the store holds {used / 1e6:.0f} of {quota / 1e6:.0f} MB; past it the oldest readings go first"
        self._process.event("historian_quota", phase, severity, text, used_mb=used / 1e6, quota_mb=quota / 1e6)

    async def _on_thread(self, work: Callable[..., int], *arguments: object) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
