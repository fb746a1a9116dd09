"""How long the store keeps what: by age, and by a quota on disk with a declared order of eviction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from edge.history.store import Store
from edge.host import metric_names as names
from edge.process import Process
from schemas.messages import Phase, Severity

PERIOD_S = 60.0
DAY_NS = 86_400 * 10**9
ALARM_SHARE = 0.9
EVICTION_ORDER = ("reading", "output", "insight", "result", "event")  # the first goes first
RAW = ("reading", "output", "result", "insight")


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
        now_ns = time.time_ns()
        for measurement in RAW:
            while await self._on_thread(
                self._store.drop_before, measurement, now_ns - self._ns(self._settings.raw_days)
            ):
                pass
        while await self._on_thread(self._store.drop_before, "event", now_ns - self._ns(self._settings.event_days)):
            pass
        quota = self._settings.quota_mb * 1_000_000
        used = await self._used()
        self._alarm(used > ALARM_SHARE * quota, used, quota)
        for measurement in EVICTION_ORDER:
            while used > quota and await self._on_thread(self._store.drop_oldest, measurement):
                used = await self._used()
        self._process.counters["store_mb"] = round(used / 1e6, 1)
        self._process.metrics.gauge(names.STORE_BYTES).set(used)

    def _alarm(self, high: bool, used: int, quota: int) -> None:
        if high == self._alarmed:
            return
        self._alarmed = high
        phase, severity = (Phase.NEW, Severity.WARNING) if high else (Phase.END, Severity.INFO)
        text = f"the store holds {used / 1e6:.0f} of {quota / 1e6:.0f} MB; past it the oldest readings go first"
        self._process.event("historian_quota", phase, severity, text, used_mb=used / 1e6, quota_mb=quota / 1e6)

    async def _used(self) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._store.size_bytes)

    async def _on_thread(self, drop: Callable[..., int], *arguments: object) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._thread, drop, *arguments)

    @staticmethod
    def _ns(days: float) -> int:
        return int(days * DAY_NS)
