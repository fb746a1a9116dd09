"""The simulated PLC's program, without its network: shift register of verdicts, watchdog, fail-safe, reset.

`docs/how-to` shows the same program in ladder and SCL. Times are seconds of one monotonic clock, given by the caller.
With a cycle of its own it sees what was written only when the cycle runs, as a PLC does; with `handshake` it latches by
the result's number and answers it, else by the part's id.
What the edge device can't do is done here: with no verdict in time, or a silent edge, a part is rejected by the PLC
itself. What was written while the edge was not armed is its fail-safe, and no verdict about the part. A watchdog that
tripped stays so until the edge takes `armed` back or the operator presses the reset: a heartbeat that was only late, on
a slow cable, lets nothing pass again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

WATCHDOG_S = 0.5  # the edge's heartbeat must advance this often
REARM_AFTER_S = 0.5  # the heartbeat has to advance for so long before the operator's reset is given
REARM_PULSE_S = 1.0
SHIFT_REGISTER = 512  # parts between camera and ejector, at most


class DecidedBy(StrEnum):
    """Who settled what happens to a part."""

    VERDICT = "verdict"  # an armed edge wrote one in time
    FAILSAFE = "failsafe"  # the edge wrote in time, but was not armed
    PLC = "plc"  # nobody wrote in time, or the watchdog had tripped: rejected


@dataclass
class LadderCounters:
    """What the PLC counts. `late_writes`: verdicts for parts that had passed; `stray_writes`: for parts unknown."""

    late_writes: int = 0
    stray_writes: int = 0
    watchdog_trips: int = 0
    rearms: int = 0
    acknowledged: int = 0


class Ladder:
    """State of the PLC's program. The edge writes `reject`, `part_id`, `result_id`, `heartbeat` and `armed`."""

    def __init__(self, now_s: float, manual_rearm: bool = False, cycle_s: float = 0.0, handshake: bool = False) -> None:
        """Start with the watchdog tripped: no edge has spoken yet. `cycle_s` 0: the program runs at each write."""
        self.counters = LadderCounters()
        self.reject = True
        self.part_id = 0
        self.result_id = 0
        self.result_ack = 0
        self.data_valid = False
        self.heartbeat = 0
        self.armed = False
        self.watchdog_tripped = True
        self.manual_rearm = manual_rearm
        self._cycle_s = cycle_s
        self._handshake = handshake
        self._cycle_due_s = now_s
        self._last_part = 0
        self._verdicts: OrderedDict[int, tuple[bool, DecidedBy]] = OrderedDict()
        self._newest_part = 0
        self._gone_part = 0
        self._beat_s = now_s - WATCHDOG_S
        self._alive_since_s: float | None = None
        self.safe_since_s: float | None = now_s
        self._rearm_until_s = now_s

    # -- what the edge device writes ----------------------------------------------------------------------------------

    def write_part_id(self, part_id: int) -> None:
        """Take over the part that the reject coil is for; without a cycle of its own, latch it at once."""
        self.part_id = part_id
        if not self._cycle_s and not self._handshake:
            self._latch(part_id)

    def write_result_id(self, result_id: int) -> None:
        """Take over the number of a result; without a cycle of its own, latch and answer it at once."""
        self.result_id = result_id
        if not self._cycle_s:
            self._latch_result()

    def _latch_result(self) -> None:
        if self.result_id != self.result_ack:
            if self.part_id:  # 0: an empty result
                self._latch(self.part_id)
            self.result_ack = self.result_id
            self.counters.acknowledged += 1

    def _latch(self, part_id: int) -> None:
        """Keep the reject coil's value for a part."""
        if part_id <= self._gone_part:
            self.counters.late_writes += 1
        elif part_id > self._newest_part:
            self.counters.stray_writes += 1
        else:
            self._verdicts[part_id] = self.reject, DecidedBy.VERDICT if self.armed else DecidedBy.FAILSAFE
            if len(self._verdicts) > SHIFT_REGISTER:
                self._verdicts.popitem(last=False)

    def write_heartbeat(self, value: int, now_s: float) -> None:
        """Feed the watchdog if the counter has moved."""
        if value == self.heartbeat:
            return
        self.heartbeat = value
        self.scan(now_s)
        self._beat_s = now_s
        if not self.armed:
            self.watchdog_tripped = False
        if self._alive_since_s is None:
            self._alive_since_s = now_s
        self._note_safe(now_s)

    def write_armed(self, armed: bool, now_s: float) -> None:
        """Take over whether the edge device vouches for its verdicts; falling, it asks for a new reset."""
        if self.armed and not armed:
            self._alive_since_s = None
        if armed:
            self._rearm_until_s = now_s
        self.armed = armed
        self._note_safe(now_s)

    # -- what the line does -------------------------------------------------------------------------------------------

    def enter(self, part_id: int) -> None:
        """A part is at the camera."""
        self._newest_part = part_id

    def leave(self, part_id: int, now_s: float) -> tuple[bool, DecidedBy]:
        """A part is at the ejector: return whether it is rejected, and who settled that."""
        self.scan(now_s)
        self._gone_part = part_id
        verdict = self._verdicts.pop(part_id, None)
        if verdict is None or self.watchdog_tripped:
            return True, DecidedBy.PLC
        return verdict

    def _run_cycle(self) -> None:
        """Look at what has been written since the last cycle."""
        if self._handshake:
            self._latch_result()
        elif self.part_id != self._last_part:
            self._last_part = self.part_id
            self._latch(self.part_id)

    def press_reset(self, now_s: float) -> None:
        """The operator's reset button."""
        self._rearm_until_s = now_s + REARM_PULSE_S
        self.counters.rearms += 1
        if now_s - self._beat_s < WATCHDOG_S:
            self.watchdog_tripped = False
        self._note_safe(now_s)

    def rearm(self, now_s: float) -> bool:
        """Return whether the reset reads true now."""
        return now_s < self._rearm_until_s

    def scan(self, now_s: float) -> None:
        """Run the program's cycle if it is due, and the timers: watchdog, reset of the simulated operator."""
        if self._cycle_s and now_s >= self._cycle_due_s:
            self._cycle_due_s = now_s + self._cycle_s
            self._run_cycle()
        if not self.watchdog_tripped and now_s - self._beat_s > WATCHDOG_S:
            self.watchdog_tripped = True
            self.counters.watchdog_trips += 1
            self._alive_since_s = None
        self._note_safe(now_s)
        out = not self.armed or self.watchdog_tripped
        waiting = out and not self.manual_rearm and not self.rearm(now_s)
        if waiting and self._alive_since_s is not None and now_s - self._alive_since_s >= REARM_AFTER_S:
            self.press_reset(now_s)

    def _note_safe(self, now_s: float) -> None:
        """Keep since when no verdict is taken that lets a part pass: the watchdog's time, or the edge's fail-safe."""
        if not (self.watchdog_tripped or (self.reject and not self.armed)):
            self.safe_since_s = None
        elif self.safe_since_s is None:
            self.safe_since_s = now_s
