"""What a device says on its bus while it is commissioned: outputs, results, readings, events, states.

Nothing is written. Its session is kept for a minute, so that a broker that is killed meanwhile still delivers what was
told.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

from bus import Bus
from bus.hot import HotBus
from bus.typed import Reader
from edge.commissioning.record import Latency, Model, Scans
from edge.commissioning.tallies import LatencyTally, ScanTally
from edge.line.plan import CLI
from edge.process import broker_address
from edge.settings import Settings
from schemas.fields import Value
from schemas.messages import Event, Outcome, Output, Phase, Quality, Reading, Result, Sample, State, Status, Verdict
from schemas.topics import EVENT, OUTPUT, READING, RESULT, STATUS

SESSION_S = 60
PARTS_KEPT = 16_384
FRESH_KEPT = 4_096
EVENTS_KEPT = 1_000
EVENTS_TOLD = 20
NOISE = ("parts_unreconciled",)  # told again and again while parts have no output, which a fault is about


@dataclass(frozen=True)
class Told:
    """An event, and when it was heard (CLOCK_MONOTONIC, seconds)."""

    at: float
    event: Event


@dataclass(frozen=True)
class Seen:
    """The newest sample of a tag, when its scan began and when it was heard (CLOCK_MONOTONIC, seconds)."""

    scan: float
    at: float
    sample: Sample


class Heard:
    """Hears a device's bus under a person's account."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without anything heard."""
        self.latencies = {name: LatencyTally(name, settings.pipelines[name].deadline_ms) for name in settings.outputs}
        self.scans: dict[tuple[str, str], ScanTally] = {}
        self.events: deque[Told] = deque(maxlen=EVENTS_KEPT)
        self.tags: dict[tuple[str, str], Seen] = {}
        self.states: dict[str, Status] = {}
        self.models: dict[str, Model] = {}
        self.vouched: dict[str, float] = {}  # pipeline -> when an output was last the pipeline's own verdict
        self.bad: dict[str, float] = {}  # source -> since when its fastest group is Bad, 0.0 while it is Good
        self.moves: Counter[tuple[str, str]] = Counter()  # how often a tag's value was another one, while measuring
        self.moved: dict[tuple[str, str], float] = {}  # when a tag's value was last another one
        self.rose: dict[tuple[str, str], float] = {}  # when a bit was last read true after false
        self.gone: dict[str, float] = {}  # process -> when its last will, or its goodbye, was heard
        self.good: dict[str, float] = {}  # source -> when the last Good scan of its fastest group began
        self.connected = True
        self.measuring = False
        self.lost = 0.0  # when our own connection was last lost
        self._settings = settings
        self._clock = clock
        self._fresh: deque[tuple[str, float, float]] = deque(maxlen=FRESH_KEPT)  # pipeline, trigger, acknowledged
        self._sequence: dict[str, tuple[int, int]] = {}
        self._allowed: OrderedDict[tuple[str, int], bool] = OrderedDict()
        self._judged: OrderedDict[tuple[str, int], bool] = OrderedDict()

    @contextlib.asynccontextmanager
    async def listening(self, home: Path) -> AsyncGenerator[Bus]:
        """Connect and subscribe.

        Raises:
            BusError: the device's broker does not answer, or refuses us.
        """
        place = self._settings.place
        bus = HotBus(
            broker_address(self._settings, home, CLI), f"{CLI}-{secrets.token_hex(4)}", session_expiry_s=SESSION_S,
            on_connection=self._on_connection,
        )  # fmt: skip
        async with bus:
            await Reader(OUTPUT, Output, lambda output, _: self.output(output)).attach(bus, place)
            await Reader(RESULT, Result, lambda result, _: self.result(result)).attach(bus, place)
            await Reader(READING, Reading, lambda reading, _: self.reading(reading)).attach(bus, place)
            await Reader(EVENT, Event, lambda event, _: self.event(event)).attach(bus, place)
            await Reader(STATUS, Status, lambda status, _: self.status(status)).attach(bus, place)
            yield bus

    def begin_measuring(self) -> None:
        """Count latencies and scans from now on."""
        self.latencies = {name: LatencyTally(name, tally.deadline_ms) for name, tally in self.latencies.items()}
        self.scans = {}
        self.moves.clear()
        self.measuring = True

    def end_measuring(self) -> tuple[list[Latency], list[Scans]]:
        """Count no more, as what comes now is of faults; return what was measured."""
        self.measuring = False
        scans = [tally.found() for _, tally in sorted(self.scans.items())]
        return [tally.found() for tally in self.latencies.values()], sorted(scans, key=lambda one: one.period_ms)

    # -- what comes ---------------------------------------------------------------------------------------------------

    def output(self, output: Output) -> None:
        """Take what the PLC has acknowledged."""
        if output.pipeline not in self.latencies or output.manual:
            return
        if self.measuring:
            self.latencies[output.pipeline].add(output)
        if not output.failsafe:
            self.vouched[output.pipeline] = self._clock()
            acknowledged = self._clock() - max(0.0, (time.time_ns() - output.time_ns) / 1e9)
            self._fresh.append((output.pipeline, acknowledged - output.total_ms / 1e3, acknowledged))
        if output.part_id is not None:
            fresh = output.verdict is Verdict.OK and not output.failsafe  # an answer that came late was written in time
            _keep(self._allowed, (output.pipeline, output.part_id), fresh)

    def result(self, result: Result) -> None:
        """Take what a pipeline has found."""
        if result.pipeline not in self.latencies:
            return
        self.models[result.pipeline] = Model(
            pipeline=result.pipeline, model=result.model, version=result.version, digest=result.digest
        )
        if result.part_id is not None:
            fresh = result.verdict is Verdict.OK and result.outcome is Outcome.RESULT
            _keep(self._judged, (result.pipeline, result.part_id), fresh)

    def reading(self, reading: Reading) -> None:
        """Take one scan."""
        groups = self._settings.sources[reading.source].groups if reading.source in self._settings.sources else {}
        if reading.group not in groups:
            return
        now = self._clock()
        for name, sample in reading.tags.items():
            before = self.tags.get((reading.source, name))
            if before is not None and sample.quality is Quality.GOOD and before.sample.value != sample.value:
                self.moved[reading.source, name] = reading.scan_ns / 1e9
                self.moves[reading.source, name] += self.measuring
            if sample.value is True and (before is None or before.sample.value is not True):
                self.rose[reading.source, name] = reading.scan_ns / 1e9
            self.tags[reading.source, name] = Seen(reading.scan_ns / 1e9, now, sample)
        if reading.group == min(groups, key=lambda name: groups[name]):
            bad = any(sample.quality is Quality.BAD for sample in reading.tags.values())
            self.bad[reading.source] = (self.bad.get(reading.source) or now) if bad else 0.0
            if not bad:
                self.good[reading.source] = reading.scan_ns / 1e9
        if self.measuring:
            key = reading.source, reading.group
            self._heed_gap(reading)
            self.scans.setdefault(key, ScanTally(*key, groups[reading.group])).add(reading)

    def _heed_gap(self, reading: Reading) -> None:
        """A reading that never came, or a new process, says nothing of the time between two scans."""
        epoch, seq = self._sequence.get(reading.source, (0, 0))
        if (reading.epoch, reading.seq) != (epoch, seq + 1):
            for (source, _), tally in self.scans.items():
                if source == reading.source:
                    tally.gap()
        self._sequence[reading.source] = reading.epoch, reading.seq

    def event(self, event: Event) -> None:
        """Take what a process tells."""
        self.events.append(Told(self._clock(), event))

    def status(self, status: Status) -> None:
        """Take what a process says of itself, or its will."""
        self.states[status.process] = status
        if status.state is State.STOPPED:
            self.gone[status.process] = self._clock()

    def _on_connection(self, connected: bool) -> None:
        self.connected = connected
        if not connected:
            self.lost = self._clock()

    # -- what is asked ------------------------------------------------------------------------------------------------

    def value(self, source: str, tag: str) -> Value:
        """Return the newest Good value of a tag, None without one."""
        seen = self.tags.get((source, tag))
        return seen.sample.value if seen is not None and seen.sample.quality is Quality.GOOD else None

    def told(self, code: str, since: float, phase: Phase | None = None, **args: str) -> Told | None:
        """Return the first event of this kind that was heard after `since`."""
        for one in self.events:
            event = one.event
            meant = one.at > since and event.code == code and phase in (None, event.phase)
            if meant and all(event.args.get(name) == value for name, value in args.items()):
                return one
        return None

    def since(self, begun: float) -> list[str]:
        """Return the events after a moment, in words, with their seconds from it."""
        return [
            f"{one.at - begun:+.2f} s  {one.event.code} {one.event.phase.value}: {one.event.text}"
            for one in self.events
            if one.at > begun and one.event.code not in NOISE
        ][:EVENTS_TOLD]

    def went_on(self, pipeline: str, since: float, within_s: float) -> bool:
        """Return whether a part that was triggered after a moment had a verdict of its own within so long from it."""
        return any(
            name == pipeline and trigger > since and acknowledged <= since + within_s
            for name, trigger, acknowledged in self._fresh
        )

    def may_pass(self, pipeline: str, part_id: int) -> bool | None:
        """Return whether a part had a fresh OK; None if nothing was heard of it.

        What the PLC acknowledged counts before what the model said: an OK that came late was written as the fail-safe.
        """
        key = pipeline, part_id
        return self._allowed.get(key, self._judged.get(key))


async def measured(heard: Heard, for_s: float) -> tuple[list[Latency], list[Scans]]:
    """Listen for so long; return what was measured."""
    heard.begin_measuring()
    await asyncio.sleep(for_s)
    return heard.end_measuring()


def _keep(held: OrderedDict[tuple[str, int], bool], key: tuple[str, int], fresh: bool) -> None:
    held[key] = fresh
    held.move_to_end(key)
    if len(held) > PARTS_KEPT:
        held.popitem(last=False)
