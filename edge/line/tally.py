"""What `plantedge up` sees on the bus of its device: results, outputs, states, counted from the messages themselves."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bus import Bus, Delivery
from bus.hot import HotBus
from bus.typed import Reader
from edge.inference.reasons import BAD_QUALITY
from edge.line.plan import CLI
from edge.process import broker_address
from edge.settings import Settings
from schemas.messages import Outcome, Output, Result, State, Status
from schemas.topics import DAY_S, OUTPUT, RESULT, STATUS

_STEP = math.log(1.01)  # buckets of 1 %: a percentile is right within half of that
_REMEMBERED = 10_000
RATE_S = 5.0
UPSTREAM_RATE_S = 10.0  # health leaves this often


class Percentiles:
    """Counts positive numbers in buckets that grow by 1 %, in bounded memory for any number of them."""

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: dict[int, int] = {}
        self.count = 0

    def add(self, value: float) -> None:
        """Count one number."""
        bucket = round(math.log(max(value, 1e-6)) / _STEP)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1

    def add_all(self, other: Percentiles) -> None:
        """Count what another one has counted."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count

    def at(self, share: float) -> float | None:
        """Return the number that `share` of all are not above, None without any."""
        rest = share * self.count
        for bucket in sorted(self._buckets):
            rest -= self._buckets[bucket]
            if rest <= 0:
                return math.exp(bucket * _STEP)
        return None

    def curve(self) -> list[tuple[float, float]]:
        """Return the distribution: (number, share of all that are not above it), rising."""
        found: list[tuple[float, float]] = []
        below = 0
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            found.append((math.exp(bucket * _STEP), below / self.count))
        return found


@dataclass
class PipelineTally:
    """What became of the inputs of one pipeline. `bad`: those that held values that were not Good."""

    deadline_ms: float
    results: int = 0
    late: int = 0
    dropped: int = 0
    bad: int = 0
    total: Percentiles = field(default_factory=Percentiles)
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def rate_hz(self) -> float:
        """Results per second over the last seconds."""
        since = time.monotonic() - RATE_S
        while self.arrivals and self.arrivals[0] < since:
            self.arrivals.popleft()
        return len(self.arrivals) / RATE_S


class Tally:
    """Reads a device's bus as a person does. A result that is delivered twice counts once."""

    def __init__(self, settings: Settings) -> None:
        """Start without anything seen."""
        self.pipelines: dict[str, PipelineTally] = {}
        self.actuated = Percentiles()
        self.outputs = 0
        self.failsafe = 0
        self.before: dict[str, int] = {}
        self.states: dict[str, Status] = {}
        self._settings = settings
        self._counted_from = time.monotonic()
        self._gaps_before = self._upstream_before = 0
        self._upstream_first: float | None = None
        self._recent: deque[str] = deque(maxlen=_REMEMBERED)
        self._known: set[str] = set()
        self._results: Reader[Result] = Reader(RESULT, Result, self._on_result)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Count from now on; what was counted so far, while processes were still starting, is kept in `before`."""
        self.before = {"results": self.results, "late": self.late, "dropped": self.dropped, "lost": self.lost}
        rows = self._settings.pipelines.items()
        self.pipelines = {name: PipelineTally(pipeline.deadline_ms) for name, pipeline in rows}
        self.actuated = Percentiles()
        self.outputs = self.failsafe = 0
        self._gaps_before = self._results.stats.gaps
        self._upstream_before = self.upstream_bytes or 0
        self._counted_from = time.monotonic()

    @property
    def seconds(self) -> float:
        """For how long it has counted."""
        return time.monotonic() - self._counted_from

    @property
    def upstream_bytes(self) -> int | None:
        """Bytes on the wire to the fleet since the uplink first told; None before it did."""
        now = self.counter("uplink", "upstream_bytes_today")
        return None if now is None or self._upstream_first is None else max(0, int(now - self._upstream_first))

    @property
    def upstream_bytes_per_day(self) -> int | None:
        """The same over a day at the rate since counting began anew; None before it can be said."""
        total = self.upstream_bytes
        if total is None or self.seconds < UPSTREAM_RATE_S:
            return None
        return round((total - self._upstream_before) / self.seconds * DAY_S)

    def deciding(self, pipelines: Iterable[str]) -> Percentiles:
        """Return the latencies of these pipelines together; of all if none is named."""
        whole = Percentiles()
        for name in list(pipelines) or self.pipelines:
            if name in self.pipelines:
                whole.add_all(self.pipelines[name].total)
        return whole

    async def attach(self, bus: Bus) -> None:
        """Subscribe on `bus`, whose identity is the person's."""
        place = self._settings.place
        await self._results.attach(bus, place)
        await Reader(OUTPUT, Output, self._on_output).attach(bus, place)
        await Reader(STATUS, Status, self._on_status).attach(bus, place)

    @property
    def results(self) -> int:
        """Results seen, in time or late."""
        return sum(pipeline.results for pipeline in self.pipelines.values())

    @property
    def late(self) -> int:
        """Results that came after their deadline."""
        return sum(pipeline.late for pipeline in self.pipelines.values())

    @property
    def dropped(self) -> int:
        """Inputs that were given up before inference though nothing was wrong with their values: late, or too many."""
        return sum(pipeline.dropped for pipeline in self.pipelines.values())

    @property
    def bad(self) -> int:
        """Inputs that held values that were not Good, given up or answered with that said."""
        return sum(pipeline.bad for pipeline in self.pipelines.values())

    @property
    def lost(self) -> int:
        """Results that were published and never arrived: gaps in the sequence."""
        return self._results.stats.gaps - self._gaps_before

    def _on_result(self, result: Result, _: Delivery) -> None:
        if result.result_id in self._known:
            return
        if len(self._recent) == _REMEMBERED:
            self._known.discard(self._recent[0])
        self._recent.append(result.result_id)
        self._known.add(result.result_id)
        pipeline = self.pipelines.setdefault(result.pipeline, PipelineTally(result.deadline_ms))
        if result.outcome is Outcome.DROPPED:
            held_bad = result.reason.startswith(BAD_QUALITY)
            pipeline.bad += held_bad
            pipeline.dropped += not held_bad
            return
        pipeline.results += 1
        pipeline.late += result.outcome is Outcome.LATE
        pipeline.bad += result.quality.value != "good"
        pipeline.total.add(result.latency.total)
        pipeline.arrivals.append(time.monotonic())

    def _on_output(self, output: Output, _: Delivery) -> None:
        self.outputs += 1
        self.failsafe += output.failsafe
        if not output.failsafe:
            self.actuated.add(output.total_ms)

    def _on_status(self, status: Status, _: Delivery) -> None:
        self.states[status.process] = status
        if status.process == "uplink" and self._upstream_first is None:
            self._upstream_first = status.counters.get("upstream_bytes_today")

    def counter(self, process: str, name: str) -> float | None:
        """Return a counter that a process tells in its status, None while it does not."""
        status = self.states.get(process)
        return None if status is None else status.counters.get(name)

    def unwell(self) -> list[str]:
        """Return what is not well, one line each."""
        bad = (State.DEGRADED, State.STOPPED)
        unwell = {name: status for name, status in self.states.items() if status.state in bad}
        return [f"{name}: {status.state} {status.reason}" for name, status in unwell.items()]


def open_bus(settings: Settings, home: Path) -> Bus:
    """Return a bus to the device's broker for a person's command; several may be open at once."""
    return HotBus(broker_address(settings, home, CLI), f"{CLI}-{secrets.token_hex(4)}")


def read_password(settings: Settings, home: Path, user: str) -> str:
    """Return an account's password, "" where there is none."""
    try:
        return str(json.loads((home / settings.broker.credentials).read_bytes())[user])
    except (OSError, ValueError, KeyError):
        return ""
