"""Everything that the page shows, joined: stations, alarms, pictures, and what is written down of them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from edge.audit.deeds import JUDGED
from edge.config.pipeline import FrameInput
from edge.operator_page.counts import Kind, Tally
from edge.operator_page.line_state import LineWatch
from edge.operator_page.parts import Judgement, Part, Really
from edge.operator_page.pictures import Album, FramePool, encoded, is_picture
from edge.operator_page.shifts import shift_at
from edge.operator_page.station import HELD, Station
from edge.operator_page.views import AlarmView, PartDetail, Snapshot
from edge.processes import CONNECT, RUNTIME
from schemas.errors import PlantEdgeError
from schemas.messages import Phase, Severity

if TYPE_CHECKING:
    from edge.operator_page.store import PageStore
    from edge.process import Process
    from edge.settings import Hmi, Settings
    from schemas.messages import Event, Frame, Insight, Output, Result, Status

TICK_S: Final = 0.5
SAVE_S: Final = 5.0
PRUNE_S: Final = 600.0
ALARMS: Final = 20
RESTORED: Final = 5_000  # parts of a shift that are read again after a restart
T = TypeVar("T")


class NoSuchPart(PlantEdgeError):
    """A part that is not kept (any more)."""


class NotChangeable(PlantEdgeError):
    """A part whose shift has ended, or that gave no verdict to be judged."""


def watched(settings: Settings, hmi: Hmi) -> list[str]:
    """Return the pipelines of the page: those named, else those with outputs, else those with pictures, else all."""
    pipelines = settings.pipelines
    with_outputs = [name for name in pipelines if name in settings.outputs]
    with_frames = [name for name, one in pipelines.items() if isinstance(one.input, FrameInput)]
    return list(hmi.pipelines) or with_outputs or with_frames or list(pipelines)


class OperatorPage:
    """What the process hears goes in, what browsers are told comes out."""

    def __init__(self, process: Process, hmi: Hmi, store: PageStore, thread: ThreadPoolExecutor) -> None:
        """Go on where the last run ended."""
        self._process, self.hmi, self._store, self._thread = process, hmi, store, thread
        settings = process.settings
        self.pool, self.album = FramePool(process.home), Album()
        self.shift = shift_at(hmi.shifts, time.time())
        self.stations = {name: _station(name, settings, hmi) for name in watched(settings, hmi)}
        inputs = [settings.pipelines[name].input for name in self.stations]
        self.streams = sorted({one.frames for one in inputs if isinstance(one, FrameInput)}) if hmi.thumbnails else []
        self.heard = 0
        self._heard_s = time.time()
        self._alarms: OrderedDict[str, AlarmView] = OrderedDict()
        self._evidence = asyncio.Semaphore(1)
        for station in self.stations.values():
            self._restore(station)

    def _restore(self, station: Station) -> None:
        shift_ms, store = self.shift.begin_ms, self._store
        tally = store.newest_tally(station.pipeline) or Tally(shift_ms=shift_ms)
        parts = store.parts(station.pipeline, shift_ms, RESTORED)
        if tally.shift_ms != shift_ms:
            tally = Tally(shift_ms=shift_ms, epoch=tally.epoch, seq=tally.seq)
        station.restore(tally, parts, store.judgements(station.pipeline, shift_ms))

    # -- what is heard ------------------------------------------------------------------------------------------------

    def frame(self, frame: Frame) -> None:
        """Take a frame."""
        self.pool.take(frame)

    def result(self, result: Result) -> None:
        """Take a result."""
        self._hear()
        if station := self.stations.get(result.pipeline):
            station.result(result, time.time(), self.pool, self.album)

    def output(self, output: Output) -> None:
        """Take an output."""
        self._hear()
        if station := self.stations.get(output.pipeline):
            station.output(output, time.time())

    def insight(self, insight: Insight) -> None:
        """Take a window's figures."""
        if station := self.stations.get(insight.pipeline):
            station.insight(insight)

    def status(self, status: Status) -> None:
        """Take a process's words about itself; our own say nothing of the bus."""
        if status.process != self._process.identity:
            self._hear()
        for station in self.stations.values():
            station.line.status(status, time.time())

    def event(self, event: Event) -> None:
        """Take an event; what lasts is an alarm until it ends."""
        if event.phase is Phase.END:
            self._alarms.pop(event.key, None)
        elif event.severity is Severity.ALARM:
            self._alarms[event.key] = AlarmView(
                key=event.key, text=event.text[:300], severity=event.severity, since_ms=event.time_ns // 1_000_000
            )
            while len(self._alarms) > ALARMS:
                self._alarms.popitem(last=False)

    def _hear(self) -> None:
        self.heard += 1
        self._heard_s = time.time()

    # -- time ---------------------------------------------------------------------------------------------------------

    async def keep_time(self) -> None:
        """Count time, begin shifts, and write down what is new, until cancelled; then once more."""
        last_s = saved_s = time.monotonic()
        pruned_s = saved_s - PRUNE_S
        try:
            while True:
                await asyncio.sleep(TICK_S)
                now_s = time.monotonic()
                await self._tick(min(now_s - last_s, 10 * TICK_S))
                last_s = now_s
                if now_s - saved_s >= SAVE_S:
                    saved_s = now_s
                    await self._save()
                if now_s - pruned_s >= PRUNE_S:
                    pruned_s = now_s
                    known = [name for station in self.stations.values() for name in station.known()]
                    await self.stored(partial(self._store.forget_old, known))
        finally:
            await asyncio.shield(self._save())

    async def _tick(self, over_s: float) -> None:
        now_s = time.time()
        if not self.shift.begin_s <= now_s < self.shift.end_s:
            await self._save()
            self.shift = shift_at(self.hmi.shifts, now_s)
            for station in self.stations.values():
                station.begin_shift(self.shift.begin_ms)
        if self._process.bus.connected:
            for station in self.stations.values():
                station.tick(now_s, over_s)

    async def _save(self) -> None:
        unsaved = [station.take_unsaved() for station in self.stations.values()]
        parts = [part for _, some in unsaved for part in some]
        await self.stored(partial(self._store.save, [tally for tally, _ in unsaved], parts))

    async def stored(self, work: Callable[[], T]) -> T:
        """Run what touches the store in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return everything at this moment; the newest part gets its picture now, if it can be had."""
        now_s = time.time()
        for station in self.stations.values():
            newest = station.newest
            if self.hmi.thumbnails and newest is not None and newest.result_id not in self.album:
                picture = self.pool.thumbnail(newest)
                if picture:
                    self.album.put(newest.result_id, picture)
        return Snapshot(
            time_ms=round(now_s * 1000), utc_offset_ms=time.localtime(now_s).tm_gmtoff * 1000,
            heard_ms=round(self._heard_s * 1000), broker=self._process.bus.connected,
            thumbnails=self.hmi.thumbnails, shift_begin_ms=self.shift.begin_ms,
            shift_end_ms=round(self.shift.end_s * 1000), alarms=list(self._alarms.values()),
            stations=[one.view(now_s, self.album, self.hmi.thumbnails) for one in self.stations.values()],
        )  # fmt: skip

    async def picture(self, result_id: str) -> bytes | None:
        """Return the picture of a part: from memory, else from the evidence that the device keeps of it."""
        held = self.album.get(result_id)
        if held is not None or not self.hmi.thumbnails:
            return held
        async with self._evidence:  # one search through the ring at a time
            found = self.album.get(result_id) or await asyncio.to_thread(self._from_evidence, result_id)
        if found is not None:
            self.album.put(result_id, found)
        return found

    def _from_evidence(self, result_id: str) -> bytes | None:
        from edge.history.evidence import EvidenceReader  # cryptography, which most pages never need

        try:
            inputs = EvidenceReader(self._process.home).find(result_id).inputs
        except (PlantEdgeError, OSError):
            return None
        for tensor in inputs:
            if tensor.dtype == "uint8" and tensor.shape[:1] == [1] and is_picture(tensor.shape[1:]):
                return encoded(tensor.data, tensor.shape[1:])
        return None

    # -- parts --------------------------------------------------------------------------------------------------------

    async def part(self, result_id: str) -> tuple[Station, Part]:
        """Return a part and its station.

        Raises:
            NoSuchPart: it is not kept.
        """
        for station in self.stations.values():
            if (held := station.part(result_id)) is not None:
                return station, held
        kept = await self.stored(partial(self._store.part, result_id))
        if kept is None or kept.pipeline not in self.stations:
            raise NoSuchPart(f"{result_id[:80]} is not kept any more; the last {HELD} rejects and drawn parts are")
        return self.stations[kept.pipeline], kept

    async def detail(self, result_id: str) -> PartDetail:
        """Return all that is known of a part.

        Raises:
            NoSuchPart: it is not kept.
        """
        station, part = await self.part(result_id)
        said = await self.stored(partial(self._store.judgements_of, result_id))
        return PartDetail(
            part=station.part_view(part, self.hmi.thumbnails), pipeline=part.pipeline, scores=part.scores,
            quality=part.quality, reason=part.reason, model=part.model, version=part.version, latency=part.latency,
            deadline_ms=part.deadline_ms, changeable=self._changeable(station, part), judgements=said,
        )  # fmt: skip

    def _changeable(self, station: Station, part: Part) -> bool:
        judgeable = part.kind is Kind.REJECT or station.is_drawn(part) or part.result_id in station.said
        return part.shift_ms == self.shift.begin_ms and judgeable

    async def judge(self, result_id: str, really: Really, by: str) -> PartDetail:
        """Take what a person says of a part: on the disk, then audited as an event.

        Raises:
            NoSuchPart: it is not kept.
            NotChangeable: its shift has ended, or it is a good part that was not drawn.
        """
        station, part = await self.part(result_id)
        if not self._changeable(station, part):
            ended = part.shift_ms != self.shift.begin_ms
            raise NotChangeable(
                "its shift has ended, so what was said of it stays" if ended else
                "only good parts that were drawn can be judged: others would slant what is said of them"
            )  # fmt: skip
        judgement = Judgement(result_id=result_id, really=really, by=by, at_ms=time.time_ns() // 1_000_000)
        _, before = station.said.get(result_id, (None, None))
        await self.stored(partial(self._store.judge, part, judgement))
        station.judge(part, judgement)
        self._audit(part, judgement, before)
        return await self.detail(result_id)

    def _audit(self, part: Part, judgement: Judgement, before: Judgement | None) -> None:
        was = f", before: {before.really} ({before.by})" if before else ""
        called = f"part {part.part}" if part.part else part.result_id
        self._process.event(
            JUDGED, Phase.NEW, Severity.INFO,
            f"{part.pipeline}: {judgement.by} judged {called} ({part.verdict}): {judgement.really}{was}",
            key=f"{self._process.identity}-{JUDGED}-{part.result_id}", pipeline=part.pipeline,
            result_id=part.result_id, part_id=part.part, verdict=part.verdict.value, really=judgement.really.value,
            by=judgement.by, before=before.really.value if before else "",
        )  # fmt: skip

    async def draw(self, pipeline: str, kind: Kind) -> PartDetail:
        """Return the next part that is to be judged.

        Raises:
            NoSuchPart: there is none.
        """
        station = self.stations.get(pipeline)
        if station is None:
            raise NoSuchPart(f"the page shows no pipeline {pipeline[:64]!r}")
        part = station.draw(kind)
        if part is None:
            raise NoSuchPart("every part that was drawn so far is judged; come back when more have passed")
        return await self.detail(part.result_id)


def _station(name: str, settings: Settings, hmi: Hmi) -> Station:
    outputs, pipeline = settings.outputs.get(name), settings.pipelines[name]
    connect = CONNECT.identity(outputs.source) if outputs else ""
    line = LineWatch(name, connect, RUNTIME.identity(pipeline.lane), hmi.stopped_after_s)
    return Station(name, hmi, line, pipeline.deadline_ms)
