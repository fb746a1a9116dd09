"""Keeps the aggregates up to date: makes each bucket anew from the points in it whenever one came, in small steps.

A bucket is made of what is stored, never added to: to make it twice changes nothing. So a cursor over the points'
numbers, moved after their buckets are stored, is all that a crash has to leave; and what comes late is counted in.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from edge.history.buckets import HOLD_NS, aggregates
from edge.history.store import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import ThreadPoolExecutor

    from edge.history.store import Arrived, Store

HOLDS: Final = "reading"
OF: Final = (HOLDS, "result", "output")  # measurements; insights are windows already
PERIOD_S: Final = 5.0
SETTLE_S: Final = 3  # a bucket is made when it has been over for so long; what comes later makes it again
LOOK: Final = 20_000  # new points of a round
RUN: Final = {Tier.SECOND: 30, Tier.MINUTE: 1}  # buckets of a step: so much of a series is read at once
_SECOND_NS: Final = 10**9
_BUSY_S: Final = 0.2


class _Run(NamedTuple):
    """Buckets of one series that are made in one step."""

    series: int
    buckets: set[int]


class Aggregation:
    """Makes the aggregates on the store's own thread, while nothing waits to be stored."""

    def __init__(self, store: Store, thread: ThreadPoolExecutor, busy: Callable[[], bool]) -> None:
        """`busy`: points wait; they go first."""
        self._store, self._thread, self._busy = store, thread, busy
        self.made = 0

    async def keep(self) -> None:
        """Make what is due every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            for tier in Tier:
                while await self._round(tier):
                    pass

    async def _round(self, tier: Tier) -> bool:
        """Make the buckets of the next points that came; False when there were few."""
        loop = asyncio.get_running_loop()
        arrived = await loop.run_in_executor(self._thread, due, self._store, tier, time.time_ns())
        for run in runs(arrived, tier):
            if self._busy():
                await asyncio.sleep(_BUSY_S)
            self.made += await loop.run_in_executor(self._thread, make, self._store, tier, run)
        if arrived:
            await loop.run_in_executor(self._thread, self._store.move, cursor(tier), arrived[-1].id)
        return len(arrived) >= LOOK


def make_all(store: Store, now_ns: int) -> int:
    """Make everything that is due at a time; return how many aggregates that were."""
    made = 0
    for tier in Tier:
        while arrived := due(store, tier, now_ns):
            made += sum(make(store, tier, run) for run in runs(arrived, tier))
            store.move(cursor(tier), arrived[-1].id)
    return made


def cursor(tier: Tier) -> str:
    """Return the name of a tier's cursor."""
    return f"aggregates-{int(tier)}"


def due(store: Store, tier: Tier, now_ns: int) -> list[Arrived]:
    """Return the next points that came, up to the first whose bucket is not over. What is of the future is taken."""
    over = now_ns - SETTLE_S * _SECOND_NS
    arrived = store.arrived(store.cursor(cursor(tier)), LOOK)
    span_ns = tier * _SECOND_NS
    for position, one in enumerate(arrived):
        if over < (one.time_ns // span_ns + 1) * span_ns <= now_ns + 2 * span_ns:
            return arrived[:position]
    return arrived


def runs(arrived: list[Arrived], tier: Tier) -> Iterator[_Run]:
    """Yield the buckets that points touch, series by series, in steps of neighbours."""
    touched: dict[int, set[int]] = {}
    for one in arrived:
        if one.measurement in OF:
            touched.setdefault(one.series, set()).add(one.time_ns // (tier * _SECOND_NS))
    for series, buckets in touched.items():
        run: set[int] = set()
        for bucket in sorted(buckets):
            if run and bucket - min(run) >= RUN[tier]:
                yield _Run(series, run)
                run = set()
            run.add(bucket)
        yield _Run(series, run)


def make(store: Store, tier: Tier, run: _Run) -> int:
    """Make the buckets of a step and store them; return how many aggregates that were."""
    span_ns = tier * _SECOND_NS
    begin_ns, end_ns = min(run.buckets) * span_ns, (max(run.buckets) + 1) * span_ns
    holds = store.measurement(run.series) == HOLDS
    points = store.between(run.series, begin_ns - (HOLD_NS if holds else 0), end_ns)
    made = aggregates(points, run.buckets, span_ns, holds=holds)
    store.keep(tier, run.series, made)
    return len(made)
