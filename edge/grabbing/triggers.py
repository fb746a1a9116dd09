"""From a PLC's tags to triggers: a bit that rises, or a part counter that moves. Pure.

What is polled is seen late and only now and then: with a group of 10 ms a trigger is up to 10 ms old, and two within
one scan are one step of two for a counter, and one for a bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from schemas.messages import Quality

if TYPE_CHECKING:
    from schemas.messages import Reading, Sample

MOST_STEPS: Final = 64  # a counter that leaps further was set, not counted
_SPANS: Final = (2**16, 2**32)  # of the counters of PLCs: they go round
MISSED: Final = "missed"
DOUBLE: Final = "double"
NO_NUMBER: Final = "no_number"


class Trigger(NamedTuple):
    """One part. `scan_ns`: CLOCK_MONOTONIC of the scan that showed it. `fault`: one of ours, "" for none."""

    part_id: int
    scan_ns: int
    fault: str = ""
    why: str = ""


class Detector:
    """Finds triggers in the readings of one source. `every`: a step of n is n parts, each with its own picture."""

    def __init__(self, tag: str, part: str = "", *, every: bool = False) -> None:
        """Start without a value: the first reading is never a trigger."""
        self.trouble = "no value yet"  # why the tag can't be read, "" while it can
        self.restarts = 0  # of the counter
        self._tag, self._part, self._every = tag, part, every
        self._count: int | None = None
        self._level: bool | None = None
        self._epoch: int = 0
        self._scan_ns: int = 0
        self._known: Sample | None = None

    def read(self, reading: Reading) -> list[Trigger]:
        """Return the triggers of a reading, the oldest first."""
        if reading.epoch != self._epoch:  # the source began again: what the bit did meanwhile nobody knows
            self._epoch, self._level, self._scan_ns = reading.epoch, None, 0
        if self._part and self._part in reading.tags:
            self._known = reading.tags[self._part]
        sample = reading.tags.get(self._tag)
        if sample is None or reading.scan_ns <= self._scan_ns:
            return []
        self._scan_ns = reading.scan_ns
        if sample.quality is not Quality.GOOD:
            self.trouble, self._level = f"{self._tag} is {sample.quality.value}: {sample.reason}", None
            return []
        self.trouble = ""
        if isinstance(sample.value, bool):
            return self._risen(sample.value, reading.scan_ns)
        count = _whole(sample.value)
        if count is None:
            self.trouble = f"{self._tag} is {sample.value!r}, neither a bit nor a whole number"
            return []
        return self._moved(count, reading.scan_ns)

    def _risen(self, level: bool, scan_ns: int) -> list[Trigger]:
        before, self._level = self._level, level
        if before is not False or not level:
            return []
        if not self._part:
            self._count = (self._count or 0) + 1
            return [Trigger(self._count, scan_ns)]
        known = self._known
        number = _whole(known.value) if known and known.quality is Quality.GOOD else None
        if number is None:
            return [Trigger(0, scan_ns, NO_NUMBER, f"{self._part} had no number at the trigger")]
        if number == self._count:
            return [Trigger(number, scan_ns, DOUBLE, f"part {number} was triggered twice")]
        if self._count is None:
            self._count = number
            return [Trigger(number, scan_ns)]
        return self._moved(number, scan_ns, every=False)

    def _moved(self, count: int, scan_ns: int, *, every: bool | None = None) -> list[Trigger]:
        before, self._count = self._count, count
        if before is None or count == before:
            return []
        steps = count - before
        if steps < 0:
            steps = next((steps % span for span in _SPANS if steps % span <= MOST_STEPS), steps)
        if not 0 < steps <= MOST_STEPS:
            self.restarts += 1
            steps = 1
        alone = not (self._every if every is None else every)
        why = f"the counter went from {before} to {count} between two scans"
        earlier = [count - steps + step for step in range(1, steps)]
        missed = [Trigger(part, scan_ns, MISSED if alone else "", why if alone else "") for part in earlier]
        return [*missed, Trigger(count, scan_ns)]


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return None
    return int(value)
