"""When a shift begins and ends, by the device's own clock. Pure; times are seconds since the epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Shift:
    """From `begin_s` to before `end_s`."""

    begin_s: float
    end_s: float

    @property
    def begin_ms(self) -> int:
        """What names it in the store."""
        return round(self.begin_s * 1000)


def shift_at(starts: Sequence[str], time_s: float) -> Shift:
    """Return the shift of an instant; `starts` are times of day, HH:MM. A clock change may make one longer."""
    begins = sorted(set(_begins(starts, time_s)))
    before = [begin for begin in begins if begin <= time_s]
    after = [begin for begin in begins if begin > time_s]
    return Shift(before[-1], after[0])


def _begins(starts: Sequence[str], time_s: float) -> Iterator[float]:
    """Each start on the days around: two before, so that a clock change leaves one that is earlier."""
    day = time.localtime(time_s)
    for offset in (-2, -1, 0, 1, 2):
        for text in starts:
            hour, minute = map(int, text.split(":"))
            yield time.mktime((day.tm_year, day.tm_mon, day.tm_mday + offset, hour, minute, 0, 0, 0, -1))
