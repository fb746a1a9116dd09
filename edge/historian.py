"""historian: the local time-series store with its aggregates, and its copy in InfluxDB; the ring of evidence.

In: raw, inference, output, insight, event, evidence.

Results, outputs, insights and events are acknowledged to the broker only when they are on disk; the broker keeps them
while this process is away (a persistent session). Readings are QoS 0: what is missed while away is missed.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from bus import Delivery
from edge.flow import Flow
from edge.history.aggregation import Aggregation
from edge.history.forward import Forwarder
from edge.history.gauges import HistorianGauges
from edge.history.keeper import EvidenceKeeper
from edge.history.points import Point, PointMaker
from edge.history.reconciliation_voice import ReconciliationVoice
from edge.history.retention import Retention
from edge.history.store import FILE, Store
from edge.history.vitals import PERIOD_S, Scans, Vitals
from edge.plc.tags.deadband import deadbands
from edge.plc.tags.lists import source_tags
from edge.process import Process
from schemas.evidence import Evidence
from schemas.messages import Event, Insight, Output, Phase, Reading, Result, Severity, State
from schemas.topics import EVENT, EVIDENCE, INSIGHT, OUTPUT, READING, RESULT

QUEUE_LIMIT = 20_000  # points in memory; past it readings are dropped and counted, QoS 1 waits at the broker
SESSION_S = 86_400
BATCH = 5_000
LAG_ALARM_S = 60.0


class _Waiting(NamedTuple):
    point: Point
    ack: Callable[[], None]


def _no_ack() -> None:
    """Readings are QoS 0."""


class Historian:
    """Collects points on the loop and stores them in batches from a thread of its own."""

    def __init__(self, process: Process, store: Store, thread: ThreadPoolExecutor) -> None:
        """Start empty."""
        self._process = process
        self._store = store
        self._thread = thread
        self._make = PointMaker(process.place, deadbands=deadbands(source_tags(process.settings, process.home)))
        self._scans = Scans(process.place)
        self._queue: deque[_Waiting] = deque()
        self.stored = 0
        self.repeats = 0
        self.readings_dropped = 0
        self.gauges = HistorianGauges(process.metrics)
        self.parts = ReconciliationVoice(process)

    def reading(self, reading: Reading, _: Delivery) -> None:
        """Keep the tags that changed; QoS 0, so past the limit they are dropped and counted."""
        self._scans.take(reading)
        if len(self._queue) >= QUEUE_LIMIT:
            self.readings_dropped += 1
            return
        point = self._make.reading(reading)
        if point is not None:
            self._queue.append(_Waiting(point, _no_ack))

    def result(self, result: Result, delivery: Delivery) -> None:
        """Keep a result until it is stored."""
        self.parts.of.result(result, time.monotonic_ns())
        self._queue.append(_Waiting(self._make.result(result), delivery.ack))

    def output(self, output: Output, delivery: Delivery) -> None:
        """Keep an output until it is stored."""
        self.parts.of.output(output)
        self._queue.append(_Waiting(self._make.output(output), delivery.ack))

    def insight(self, insight: Insight, delivery: Delivery) -> None:
        """Keep an insight until it is stored; a retained one has been stored when it was new."""
        if delivery.retained:
            delivery.ack()
            return
        self._queue.append(_Waiting(self._make.insight(insight), delivery.ack))

    def event(self, event: Event, delivery: Delivery) -> None:
        """Keep an event until it is stored."""
        self._queue.append(_Waiting(self._make.event(event), delivery.ack))

    async def keep_vitals(self, vitals: Vitals) -> None:
        """Keep how device and sources are, every ten seconds, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            told = await asyncio.to_thread(vitals.points, time.time_ns())
            self._queue.extend(_Waiting(point, _no_ack) for point in [*told, *self._scans.points()])

    @property
    def busy(self) -> bool:
        """Whether more waits than one batch."""
        return len(self._queue) > BATCH

    async def flush(self, forwarder: Forwarder | None) -> None:
        """Store what waits, every `flush_ms`, until cancelled; then once more."""
        period_s = self._process.settings.historian.flush_ms / 1000
        try:
            while True:
                await asyncio.sleep(period_s)
                await self._store_waiting(forwarder)
        finally:
            await asyncio.shield(self._store_waiting(forwarder))

    async def _store_waiting(self, forwarder: Forwarder | None) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            began_s = time.monotonic()
            new = await loop.run_in_executor(self._thread, self._store.add, [waiting.point for waiting in batch])
            self.gauges.commit.observe(time.monotonic() - began_s)
            for waiting in batch:
                waiting.ack()
            self.stored += new
            self.repeats += len(batch) - new
            if forwarder is not None:
                forwarder.wake()

    def show(self) -> None:
        """Bring the metrics up to date."""
        self.gauges.stored(self.stored, self.repeats, self.readings_dropped, len(self._queue))


async def _watch(process: Process, historian: Historian, keeper: EvidenceKeeper, forwarder: Forwarder | None) -> None:
    """Say whether data flows, and how far the archive is behind."""
    lagging = False
    flow = Flow(lambda: historian.stored)
    while True:
        state, reason = await flow.look()
        process.counters.update(
            stored=historian.stored, repeats=historian.repeats, readings_dropped=historian.readings_dropped,
            evidence_kept=keeper.kept, evidence_dropped=keeper.dropped, evidence_failed=keeper.failed,
            evidence_mb=round(keeper.used_bytes / 1e6, 1),
        )  # fmt: skip
        historian.show()
        historian.parts.look()
        historian.gauges.evidence(keeper)
        if keeper.trouble:
            state, reason = State.DEGRADED, keeper.trouble
        if forwarder is not None:
            process.counters.update(
                archived=forwarder.state.written, archive_refused=forwarder.state.refused,
                archive_lost=forwarder.state.lost,
            )  # fmt: skip
            historian.gauges.archive(forwarder.state)
            since = forwarder.state.failing_since
            if since:
                state, reason = State.DEGRADED, f"stored here, the archive is away: {forwarder.state.reason}"
            late = bool(since) and time.monotonic() - since > LAG_ALARM_S
            if late != lagging:
                lagging = late
                phase = Phase.NEW if late else Phase.END
                process.event("historian_lagging", phase, Severity.WARNING, reason or "the archive takes points again")
        process.report(state, reason)


async def main(process: Process) -> None:
    """Run until cancelled."""
    settings = process.settings.historian
    with ThreadPoolExecutor(1, "store") as thread, ThreadPoolExecutor(1, "evidence") as sealing:
        store = Store(process.home / "state" / FILE)
        forwarder: Forwarder | None = None
        if settings.influx is not None:
            from edge.sinks.influx import open_archive  # three quarters of our start, and most devices have none

            forwarder = Forwarder(store, open_archive(settings.influx, process.home), settings.influx.backfill_per_s)
            forwarder.start()
        historian = Historian(process, store, thread)
        keeper = EvidenceKeeper(process.home, settings, sealing)
        try:
            async with (
                process.connection("store", session_expiry_s=SESSION_S) as lasting,
                process.connection("evidence") as bulk,
            ):
                await process.read(READING, Reading, historian.reading)
                await process.read(RESULT, Result, historian.result, bus=lasting, manual_ack=True)
                await process.read(OUTPUT, Output, historian.output, bus=lasting, manual_ack=True)
                await process.read(INSIGHT, Insight, historian.insight, bus=lasting, manual_ack=True)
                await process.read(EVENT, Event, historian.event, bus=lasting, manual_ack=True)
                await process.read(EVIDENCE, Evidence, keeper.take, bus=bulk)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(historian.flush(forwarder))
                    tasks.create_task(keeper.flush())
                    tasks.create_task(_watch(process, historian, keeper, forwarder))
                    tasks.create_task(Retention(process, store, thread).keep())
                    tasks.create_task(Aggregation(store, thread, lambda: historian.busy).keep())
                    tasks.create_task(historian.keep_vitals(Vitals(process.place, process.home)))
        finally:
            if forwarder is not None:
                forwarder.stop()
                await asyncio.to_thread(forwarder.join, 2.0)
            store.close()
