"""What the simulated PLC shows to its protocol servers and takes from them: the ladder and the line, as of one moment.

Each server has an image of its own. Frozen, it is a CPU in STOP whose communication goes on: what it shows stands
still, and what is written to it is carried out by nobody.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge.sim.ladder import Ladder

TRIGGER_S = 0.01  # the trigger bit stays on for so long


@dataclass
class LineState:
    """What the line's sensors read. `speed_setpoint_ppm` is written from outside."""

    speed_ppm: float = 0.0
    motor_c: float = 0.0
    fill_c: float = 0.0
    parts: int = 0
    trigger_s: float = 0.0
    running: bool = True
    speed_setpoint_ppm: float = 600.0


@dataclass(frozen=True)
class Shown:
    """What can be read; temperatures in tenths of a degree, the names of edge/sim/demo/tags/."""

    speed_ppm: float
    motor_decidegrees: int
    fill_decidegrees: int
    parts: int
    heartbeat: int
    trigger: bool
    running: bool
    rearm: bool
    watchdog_tripped: bool
    reject: bool
    armed: bool
    data_valid: bool
    result_ack: int


class Image:
    """The PLC as one server sees it."""

    def __init__(self, ladder: Ladder, line: LineState) -> None:
        """Not frozen."""
        self._ladder = ladder
        self._line = line
        self._stands: Shown | None = None

    def freeze(self, on: bool) -> None:
        """Let everything stand still, or go on."""
        self._stands = self.shown() if on else None

    def shown(self) -> Shown:
        """Return what can be read now."""
        if self._stands is not None:
            return self._stands
        ladder, line, now_s = self._ladder, self._line, time.monotonic()
        ladder.scan(now_s)
        return Shown(
            speed_ppm=line.speed_ppm, motor_decidegrees=round(line.motor_c * 10),
            fill_decidegrees=round(line.fill_c * 10), parts=line.parts, heartbeat=int(now_s * 10) & 0xFFFF,
            trigger=now_s - line.trigger_s < TRIGGER_S, running=line.running, rearm=ladder.rearm(now_s),
            watchdog_tripped=ladder.watchdog_tripped, reject=ladder.reject, armed=ladder.armed,
            data_valid=ladder.data_valid, result_ack=ladder.result_ack,
        )  # fmt: skip

    def put_reject(self, value: bool) -> None:
        """The verdict of the part that is written next."""
        if self._runs():
            self._ladder.reject = value

    def put_armed(self, value: bool) -> None:
        """Whether the edge device vouches for its verdicts."""
        if self._runs():
            self._ladder.write_armed(value, time.monotonic())

    def put_part(self, part_id: int) -> None:
        """Latch the verdict for a part."""
        if self._runs():
            self._ladder.write_part_id(part_id)

    def put_data_valid(self, value: bool) -> None:
        """Whether what stands in the other variables is a result."""
        if self._runs():
            self._ladder.data_valid = value

    def put_result_id(self, value: int) -> None:
        """The number of the result that was put; its change is what a PLC with a handshake latches by."""
        if self._runs():
            self._ladder.write_result_id(value)

    def put_heartbeat(self, value: int) -> None:
        """The edge device's counter."""
        if self._runs():
            self._ladder.write_heartbeat(value, time.monotonic())

    def put_speed(self, value: float) -> None:
        """The wanted parts per minute."""
        if self._runs():
            self._line.speed_setpoint_ppm = value

    def _runs(self) -> bool:
        """Whether the program runs; what it would have done before this write is done first."""
        if self._stands is None:
            self._ladder.scan(time.monotonic())
        return self._stands is None
