"""runtime: one lane's pipelines. In: raw, frame, slot desired. Out: decision, inference, insight, event, slot state.

Frames come on a connection of their own. A model runs on the loop itself: a thread brings no throughput and its
wake-ups cost more than a small model's run (46-78 ms under load). What is queued when a run begins is its
batch; nothing waits for more. A decision leaves before the result that explains it.

`python -m edge.runtime --models-dir DIR` runs models without a device folder; see `edge.line.standalone`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import TYPE_CHECKING, Final, TypeVar

from bus import Bus, Delivery
from bus.typed import Reader
from edge.inference.insights import WINDOW_S, Alarm, AlarmWatch, Tally
from edge.inference.pipeline import Answer, Pipeline
from edge.inference.slots import Slots
from edge.settings import FrameInput, WindowInput
from schemas.messages import (
    Decision,
    Frame,
    Insight,
    Message,
    Outcome,
    Phase,
    Reading,
    Result,
    Severity,
    State,
)
from schemas.topics import DECISION, FRAME, INSIGHT, READING, RESULT

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.inference.loaded import LoadedModel
    from edge.process import Process

M = TypeVar("M", bound=Message)
IDLE_S: Final = 2.0
STATE_S: Final = 0.5
_SELFTEST_S: Final = 0.5  # of a pipeline without outputs; with outputs it is a quarter of their lease
_LEASE_PARTS: Final = 4


class Station:
    """A pipeline on the bus: schedules its steps and publishes its answers."""

    def __init__(self, process: Process, name: str) -> None:
        """Make its publishers."""
        settings = process.settings.pipelines[name]
        outputs = process.settings.outputs.get(name)
        self.pipeline = Pipeline(name, settings, process.boot)
        self.selftest_s = outputs.lease_ms / 1e3 / _LEASE_PARTS if outputs else _SELFTEST_S
        self.counters: dict[str, int] = {}
        self.decided_ns = self.input_ns = 0
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._decisions = process.publisher(DECISION, Decision, pipeline=name)
        self._results = process.publisher(RESULT, Result, pipeline=name)
        self._insights = process.publisher(INSIGHT, Insight, pipeline=name)
        self._tally, self._alarms = Tally(), AlarmWatch()
        self._scheduled = False
        self._gaps = 0
        self._sick = False

    def frame(self, frame: Frame, delivery: Delivery) -> None:
        """Take a frame."""
        self._take(self.pipeline.offer_frame(frame, delivery.received_ns), delivery.received_ns)

    def reading(self, reading: Reading, delivery: Delivery) -> None:
        """Take a reading."""
        self._take(self.pipeline.offer_reading(reading, delivery.received_ns), delivery.received_ns)

    def _take(self, answer: Answer | None, received_ns: int) -> None:
        self.input_ns = received_ns
        if answer is not None:
            self.publish([answer])
        self._schedule()

    def _schedule(self) -> None:
        """Run after all that this turn of the loop has received: that is the batch."""
        if not self._scheduled and self.pipeline.waiting:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        self._scheduled = False
        try:
            self.publish(self.pipeline.step())
        finally:
            self._schedule()

    def publish(self, answers: list[Answer]) -> None:
        """Send all decisions, then what explains them."""
        for answer in answers:
            self._decisions.send(answer.decision)
        now_ns = time.monotonic_ns()
        for answer in answers:
            self._results.send(answer.result)
            self._tally.add(answer.result)
            self._count(answer.result)
            if self.pipeline.settings.event:
                self._say(self._alarms.see(answer.result, now_ns))
        if answers:
            self.decided_ns = now_ns

    def _count(self, result: Result) -> None:
        name = "results"
        if result.outcome is Outcome.DROPPED:
            name = "dropped_" + result.reason.partition(":")[0]
        elif result.outcome is Outcome.LATE:
            name = "late"
        self.counters[name] = self.counters.get(name, 0) + 1

    def selftest(self, now_ns: int) -> None:
        """Renew the lease of an idle line, or find that the model can't be believed any more."""
        if now_ns - self.decided_ns < self.selftest_s * 1e9 and not self.pipeline.unproven:
            return
        decision = self.pipeline.selftest()
        if decision is not None:
            self._decisions.send(decision)
            self.decided_ns = now_ns
            self.counters["selftests"] = self.counters.get("selftests", 0) + 1
        if bool(self.pipeline.unproven) is not self._sick:
            self._sick = bool(self.pipeline.unproven)
            phase, severity = (Phase.NEW, Severity.ALARM) if self._sick else (Phase.END, Severity.INFO)
            text = self.pipeline.unproven or "the golden vector holds again"
            self._process.event("selftest", phase, severity, f"{self.pipeline.name}: {text}"[:1000],
                                key=f"selftest-{self.pipeline.name}", pipeline=self.pipeline.name)  # fmt: skip

    def insight(self, window_s: float, gaps: int) -> None:
        """Publish what the window held. `gaps`: of its input since the start."""
        self._insights.send(self._tally.insight(self.pipeline, window_s, gaps - self._gaps))
        self._gaps = gaps

    def close(self) -> None:
        """End an alarm that nobody watches any more."""
        self._say(self._alarms.end(time.monotonic_ns()))

    def _say(self, alarm: Alarm | None) -> None:
        if alarm is None:
            return
        name, threshold = self.pipeline.name, self.pipeline.settings.decision.threshold
        code = "anomaly" if self.pipeline.model and self.pipeline.model.contract.kind == "anomaly" else "reject"
        severity = Severity.INFO if alarm.phase is Phase.END else Severity.WARNING
        text = f"{name}: score {alarm.score:.3g}, threshold {threshold:g}, highest {alarm.peak:.3g}"
        self._process.event(
            code, alarm.phase, severity, text, key=alarm.key, pipeline=name, score=alarm.score, peak=alarm.peak,
            threshold=threshold, seconds=alarm.seconds,
        )  # fmt: skip


class Runtime:
    """All stations of a lane."""

    def __init__(self, process: Process) -> None:
        """Make the stations; nothing is received yet."""
        self._process = process
        self.stations = [Station(process, name) for name in process.settings.lanes.get(process.instance, [])]
        self._of = {station.pipeline.name: station for station in self.stations}
        self.slots = Slots(process, [station.pipeline for station in self.stations], self._swap)
        self._frames: dict[str, Reader[Frame]] = {}
        self._readings: dict[str, Reader[Reading]] = {}
        self._frozen = False

    def _swap(self, pipeline: Pipeline, model: LoadedModel) -> None:
        self._of[pipeline.name].publish(pipeline.use(model))

    async def attach(self, frames: Bus) -> None:
        """Subscribe to the inputs, each once: frames on their own connection."""
        streams: dict[str, list[Callable[[Frame, Delivery], None]]] = {}
        sources: dict[str, list[Callable[[Reading, Delivery], None]]] = {}
        for station in self.stations:
            spec = station.pipeline.settings.input
            if isinstance(spec, FrameInput):
                streams.setdefault(spec.frames, []).append(station.frame)
            else:
                sources.setdefault(spec.source, []).append(station.reading)
        for stream, takers in streams.items():
            self._frames[stream] = await self._process.read(FRAME, Frame, _fan(takers), bus=frames, stream=stream)
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
            for name, count in station.counters.items():
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


def _fan(takers: list[Callable[[M, Delivery], None]]) -> Callable[[M, Delivery], None]:
    """Return one handler for all pipelines of an input."""
    if len(takers) == 1:
        return takers[0]

    def fan(message: M, delivery: Delivery) -> None:
        for take in takers:
            take(message, delivery)

    return fan


async def main(process: Process) -> None:
    """Run until cancelled."""
    async with process.connection("frames") as frames:
        runtime = Runtime(process)
        await runtime.attach(frames)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(runtime.slots.run(), name="slots")
                tasks.create_task(runtime.tick(), name="tick")
        finally:
            runtime.close()


if __name__ == "__main__":
    from edge.line.standalone import main as standalone  # only this entry needs a supervisor and contracts

    sys.exit(standalone())
