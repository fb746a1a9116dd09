"""runtime: one lane's pipelines.

In: raw, frame, slot desired, relearn, self-test. Out: decision, inference, evidence, insight, event, slot state, reply,
self-test report.

Frames come, and evidence leaves, on a connection of their own. A model runs on the loop itself: a thread brings no
throughput and its wake-ups cost more than a small model's run (46-78 ms under load). What is queued when a run begins
is its batch; nothing waits for more unless its settings say so. A decision leaves before the result that explains it,
and both before the evidence.

`python -m edge.runtime --models-dir DIR` runs models without a device folder; see `edge.line.standalone`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from bus import Bus, Delivery
from bus.typed import Reader
from edge.config.pipeline import FrameInput, WindowInput
from edge.host.frame_ring import RingReader
from edge.inference.drift.keeper import Keeper
from edge.inference.drift.requests import RelearnRequests
from edge.inference.insights import WINDOW_S
from edge.inference.lane import Lane
from edge.inference.station import Station
from edge.models.engine_choice import machine as this_machine
from edge.models.self_test_requests import SelfTestRequests
from edge.models.slots import Slots
from schemas.messages import Frame, Message, Quality, Reading, State
from schemas.topics import FRAME, READING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.inference.pipeline import Pipeline
    from edge.models.loaded import LoadedModel
    from edge.process import Process

M = TypeVar("M", bound=Message)
IDLE_S: Final = 2.0
STATE_S: Final = 0.5


class Runtime:
    """All stations of a lane."""

    def __init__(self, process: Process, bulk: Bus) -> None:
        """Make the stations; nothing is received yet. Frames come and evidence leaves over `bulk`."""
        self._process, self._bulk = process, bulk
        lane, machine, names = Lane(), this_machine(), process.settings.lanes.get(process.instance, [])
        self.keeper = Keeper(process.home)
        self.stations = [Station(process, name, lane, bulk, machine, self.keeper) for name in names]
        self._of = {station.pipeline.name: station for station in self.stations}
        self._relearns = RelearnRequests(process, {name: station.relearn for name, station in self._of.items()})
        self.slots = Slots(process, [station.pipeline for station in self.stations], self._swap)
        self.self_tests = SelfTestRequests(process, self.slots)
        self._frames: dict[str, Reader[Frame]] = {}
        self._readings: dict[str, Reader[Reading]] = {}
        self._rings = RingReader(process.home)
        self._frozen = False

    def _swap(self, pipeline: Pipeline, model: LoadedModel) -> None:
        self._of[pipeline.name].use(model)

    async def attach(self) -> None:
        """Subscribe to the inputs, each once: frames on their own connection."""
        streams: dict[str, list[Callable[[Frame, Delivery], None]]] = {}
        sources: dict[str, list[Callable[[Reading, Delivery], None]]] = {}
        for station in self.stations:
            spec = station.pipeline.settings.input
            if isinstance(spec, FrameInput):
                streams.setdefault(spec.frames, []).append(station.frame)
            for source in station.pipeline.sources:
                sources.setdefault(source, []).append(station.reading)
        await self._relearns.attach()
        await self.self_tests.attach()
        for stream, takers in streams.items():
            self._frames[stream] = await self._process.read(
                FRAME, Frame, _whole(self._rings, _fan(takers)), bus=self._bulk, stream=stream
            )
        for source, users in sources.items():
            self._readings[source] = await self._process.read(READING, Reading, _fan(users), source=source)

    async def tick(self) -> None:
        """Self-tests, state and insights, until cancelled."""
        period_s = min([station.selftest_s for station in self.stations] + [STATE_S]) / 2
        stated_s = window_s = time.monotonic()
        while True:
            await asyncio.sleep(period_s)
            now_s, now_ns = time.monotonic(), time.monotonic_ns()
            for station in self.stations:
                station.selftest(now_ns)
            if now_s - stated_s >= STATE_S:
                stated_s = now_s
                self._report(now_ns)
            if now_s - window_s >= WINDOW_S:
                for station in self.stations:
                    station.insight(now_s - window_s, self._gaps(station))
                window_s = now_s

    def _gaps(self, station: Station) -> int:
        spec = station.pipeline.settings.input
        reader = self._readings[spec.source] if isinstance(spec, WindowInput) else self._frames[spec.frames]
        return reader.stats.gaps

    def _report(self, now_ns: int) -> None:
        self._process.counters = self._counters()
        for station in self.stations:
            station.gauges.look(station.pipeline.waiting, station.counters.get("selftests", 0))
        problems = list(self.slots.missing.values())
        problems += [f"{s.pipeline.name}: {s.pipeline.unproven}" for s in self.stations if s.pipeline.unproven]
        if problems:
            self._process.report(State.DEGRADED, "; ".join(problems))
        elif self.slots.waiting:
            return
        elif any(now_ns - station.input_ns < IDLE_S * 1e9 for station in self.stations):
            self._process.report(State.ACTIVE)
        else:
            self._process.report(State.IDLE, f"no input for {IDLE_S:g} s")
        self._freeze()

    def _counters(self) -> dict[str, float]:
        totals: dict[str, float] = {}
        for station in self.stations:
            for name, count in station.counts().items():
                totals[name] = totals.get(name, 0) + count
        return totals

    def _freeze(self) -> None:
        """Once the models are warm: what lives now lives on, and the collector need not look at it again."""
        if not self._frozen and not self.slots.waiting:
            self._frozen = True
            gc.collect()
            gc.freeze()

    def close(self) -> None:
        """Say goodbye for each station."""
        for station in self.stations:
            station.close()
        gc.unfreeze()  # where settings have changed, another runtime follows here: ours and its models must not stay


def _fan(takers: list[Callable[[M, Delivery], None]]) -> Callable[[M, Delivery], None]:
    """Return one handler for all pipelines of an input."""
    if len(takers) == 1:
        return takers[0]

    def fan(message: M, delivery: Delivery) -> None:
        for take in takers:
            take(message, delivery)

    return fan


def _whole(rings: RingReader, take: Callable[[Frame, Delivery], None]) -> Callable[[Frame, Delivery], None]:
    """Return a handler that gets each frame with its pixels; one whose pixels are gone is Bad."""

    def whole(frame: Frame, delivery: Delivery) -> None:
        if frame.ring:
            found = rings.pixels(frame)
            if isinstance(found, str):
                frame = msgspec.structs.replace(frame, quality=Quality.BAD, reason=found, ring="")
            else:
                frame = msgspec.structs.replace(frame, data=memoryview(found))
        take(frame, delivery)

    return whole


async def main(process: Process) -> None:
    """Run until cancelled."""
    async with process.connection("frames") as bulk:
        runtime = Runtime(process, bulk)
        await runtime.attach()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(runtime.slots.run(), name="slots")
                tasks.create_task(runtime.self_tests.run(), name="self-tests")
                tasks.create_task(runtime.keeper.run(), name="drift")
                tasks.create_task(runtime.tick(), name="tick")
        finally:
            runtime.close()


if __name__ == "__main__":
    from edge.line.standalone import main as standalone  # only this entry needs a supervisor and contracts

    sys.exit(standalone())
