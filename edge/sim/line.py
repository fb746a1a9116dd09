"""The simulated line: parts pass a camera and, `travel_ms` later, an ejector. It knows the truth about each part."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge.sim.image import LineState
from edge.sim.ladder import DecidedBy, Ladder
from edge.sim.parts import PartStream
from edge.sim.signals import Fault, FaultKind, line_signals

SENSOR_PERIOD_S = 0.05
LADDER_PERIOD_S = 0.01
NOMINAL_PPM = 600.0  # at this speed setpoint the line carries its nominal parts per second
_MAX_BEHIND_S = 1.0
PASSED_KEPT = 2048


@dataclass
class Tally:
    """What became of the parts. An undecided part was rejected by the PLC itself.

    `failsafe_*`: got the fail-safe of an edge that was not armed, which says nothing about the part. The four others
    are the edge's own verdicts, of which a late one is a reject, too.
    """

    parts: int = 0
    correct_rejects: int = 0
    missed_rejects: int = 0
    false_rejects: int = 0
    correct_passes: int = 0
    undecided_good: int = 0
    undecided_bad: int = 0
    failsafe_good: int = 0
    failsafe_bad: int = 0
    stalls: int = 0

    def count(self, good: bool, rejected: bool, by: DecidedBy) -> None:
        """Count one part at the ejector."""
        if by is DecidedBy.PLC:
            self.undecided_good += good
            self.undecided_bad += not good
        elif by is DecidedBy.FAILSAFE:
            self.failsafe_good += good
            self.failsafe_bad += not good
        elif good:
            self.correct_passes += not rejected
            self.false_rejects += rejected
        else:
            self.correct_rejects += rejected
            self.missed_rejects += not rejected


class Line:
    """Runs parts past camera and ejector on a schedule that does not drift."""

    def __init__(
        self,
        stream: PartStream,
        ladder: Ladder,
        state: LineState,
        shoot: Callable[[int, int], None],
        parts_per_s: float,
        travel_s: float,
    ) -> None:
        """`shoot(part_id, trigger_ns)` is called for each part at the camera."""
        self.tally = Tally()
        self.max_behind_ms = 0.0
        self.passes = 0
        self.passed: deque[tuple[int, float]] = deque(maxlen=PASSED_KEPT)  # the newest, and when
        self._stream = stream
        self._ladder = ladder
        self._state = state
        self._shoot = shoot
        self._parts_per_s = parts_per_s
        self._travel_s = travel_s
        self._on_belt: deque[tuple[float, int]] = deque()
        self._part_id = 0
        self._fault: tuple[FaultKind, float] | None = None
        self._fault_s: float | None = None

    def disturb(self, kind: FaultKind | None, severity: float = 1.0) -> None:
        """Begin a fault of the process (overheat, jam, fill_drift), or end it with None."""
        self._fault = None if kind is None else (kind, severity)
        self._fault_s = None

    async def run(self) -> None:
        """Run all that the line does until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry())
            group.create_task(self._sense())
            group.create_task(self._scan())

    async def _carry(self) -> None:
        """Wait for whichever comes first, the next part at the camera or the next at the ejector."""
        due_s = time.monotonic() + self._period_s()
        while True:
            next_s = min(due_s, self._on_belt[0][0]) if self._on_belt else due_s
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
            now_s = time.monotonic()
            while self._on_belt and self._on_belt[0][0] <= now_s:
                self._eject(self._on_belt.popleft()[1], now_s)
            if due_s <= now_s:
                self.max_behind_ms = max(self.max_behind_ms, (now_s - due_s) * 1e3)
                self._trigger(now_s)
                due_s += self._period_s()
                if now_s - due_s > _MAX_BEHIND_S:  # the machine slept; a belt does not catch up
                    self.tally.stalls += 1
                    due_s = now_s + self._period_s()

    def _period_s(self) -> float:
        speed = min(max(self._state.speed_setpoint_ppm, 60.0), 900.0)
        return NOMINAL_PPM / speed / self._parts_per_s

    def _trigger(self, now_s: float) -> None:
        self._part_id += 1
        self._state.parts, self._state.trigger_s = self._part_id, now_s
        self._ladder.enter(self._part_id)
        self._on_belt.append((now_s + self._travel_s, self._part_id))
        self._shoot(self._part_id, time.monotonic_ns())

    def _eject(self, part_id: int, now_s: float) -> None:
        rejected, by = self._ladder.leave(part_id, now_s)
        self.tally.parts += 1
        if not rejected:
            self.passes += 1
            self.passed.append((part_id, now_s))
        self.tally.count(self._stream.part(part_id).defect is None, rejected, by)

    async def _sense(self) -> None:
        began_s = time.monotonic()
        while True:
            since_s = time.monotonic() - began_s
            fault = None
            if self._fault is not None:
                self._fault_s = since_s if self._fault_s is None else self._fault_s
                fault = Fault(self._fault[0], self._fault_s, self._fault[1])
            signals = line_signals(since_s, self._stream.seed, fault)
            self._state.speed_ppm = float(signals.speed_ppm) * self._state.speed_setpoint_ppm / NOMINAL_PPM
            self._state.motor_c, self._state.fill_c = float(signals.motor_c), float(signals.fill_c)
            await asyncio.sleep(SENSOR_PERIOD_S)

    async def _scan(self) -> None:
        while True:
            self._ladder.scan(time.monotonic())
            await asyncio.sleep(LADDER_PERIOD_S)
