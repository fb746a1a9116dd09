"""What a shift has brought so far, counted from results. Pure; times are seconds since the epoch."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from edge.operator_page.intervals import wilson
from edge.operator_page.sampling import Fair
from schemas.messages import Outcome, Result, Verdict

MINUTES: Final = 60  # of which the trend is shown
RECENT_MINUTES: Final = 15  # compared with the rest of the hour
RATE_S: Final = 60  # over which parts per minute are counted


class Kind(StrEnum):
    """What became of a part, as the line sees it."""

    GOOD = "good"
    REJECT = "reject"
    UNKNOWN = "unknown"  # no verdict that came in time: the outputs go to their fail-safe


class Trend(StrEnum):
    """Where the share of rejects goes."""

    RISING = "rising"
    FALLING = "falling"
    STEADY = "steady"


class Minute(msgspec.Struct):
    """What one minute brought."""

    minute: int  # since the epoch
    good: int = 0
    reject: int = 0
    unknown: int = 0


class Tally(msgspec.Struct, kw_only=True):
    """One pipeline in one shift, as it is kept. `epoch` and `seq`: of the last result that was counted.

    `fair_*`: the drawn parts that count. `missed`: results that passed while nobody counted. The line ran for `ran_s`
    of `watched_s` seconds.
    """

    shift_ms: int
    good: int = 0
    reject: int = 0
    unknown: int = 0
    late: int = 0
    missed: int = 0
    ran_s: float = 0.0
    watched_s: float = 0.0
    epoch: int = 0
    seq: int = 0
    minutes: list[Minute] = []
    fair_goods: Fair = Fair()
    fair_rejects: Fair = Fair()

    @property
    def total(self) -> int:
        """All parts that were counted."""
        return self.good + self.reject + self.unknown


def kind_of(result: Result) -> Kind:
    """Return what became of a part: an OK that came too late is none, the line did not get it."""
    if result.verdict is Verdict.NOK:
        return Kind.REJECT
    in_time = result.outcome is Outcome.RESULT and result.verdict is Verdict.OK
    return Kind.GOOD if in_time else Kind.UNKNOWN


class Counts:
    """Counts one pipeline. A result that is delivered twice counts once."""

    def __init__(self, tally: Tally) -> None:
        """Go on with what was counted before."""
        self.tally = tally
        self._seconds: dict[int, int] = {}
        self._began_s: float | None = None

    def begin_shift(self, shift_ms: int) -> None:
        """Begin anew; the trend and the place in the stream of results go on."""
        old = self.tally
        self.tally = Tally(shift_ms=shift_ms, epoch=old.epoch, seq=old.seq, minutes=old.minutes)

    def take(self, result: Result, now_s: float) -> Kind | None:
        """Count a result; None for one that was counted before."""
        tally = self.tally
        if result.epoch == tally.epoch:
            if result.seq <= tally.seq:
                return None
            tally.missed += result.seq - tally.seq - 1
        elif tally.epoch:
            tally.missed += max(0, result.seq - 1)  # its publisher was started again
        tally.epoch, tally.seq = result.epoch, result.seq
        kind = kind_of(result)
        setattr(tally, kind.value, getattr(tally, kind.value) + 1)
        tally.late += result.outcome is Outcome.LATE
        minute = self._minute(int(now_s // 60))
        setattr(minute, kind.value, getattr(minute, kind.value) + 1)
        self._second(int(now_s))
        return kind

    def _minute(self, number: int) -> Minute:
        minutes = self.tally.minutes
        if not minutes or minutes[-1].minute < number:
            minutes.append(Minute(number))
            while minutes[0].minute <= number - MINUTES:
                del minutes[0]
        return minutes[-1]

    def _second(self, number: int) -> None:
        if self._began_s is None:
            self._began_s = number
        self._seconds[number] = self._seconds.get(number, 0) + 1
        if len(self._seconds) > RATE_S + 5:
            self._seconds = {at: count for at, count in self._seconds.items() if at > number - RATE_S}

    def per_minute(self, now_s: float) -> float:
        """Return the parts of the last minute; of what there was, carried on to a minute, in the first one."""
        if self._began_s is None:
            return 0.0
        over_s = min(float(RATE_S), max(5.0, now_s - self._began_s))
        return sum(count for at, count in self._seconds.items() if at > now_s - over_s) * 60.0 / over_s

    def trend(self, now_s: float) -> Trend | None:
        """Compare the last quarter of an hour with the rest of the hour; None while there is too little to compare."""
        since = int(now_s // 60) - RECENT_MINUTES
        recent = [one for one in self.tally.minutes if one.minute > since]
        before = [one for one in self.tally.minutes if one.minute <= since]
        sums = [(sum(m.reject for m in some), sum(m.good + m.reject + m.unknown for m in some))
                for some in (recent, before)]  # fmt: skip
        if any(of < 20 for _, of in sums):
            return None
        (recent_low, recent_high), (before_low, before_high) = (wilson(*one) for one in sums)
        if recent_low > before_high:
            return Trend.RISING
        return Trend.FALLING if recent_high < before_low else Trend.STEADY


class Oee(msgspec.Struct, frozen=True, kw_only=True):
    """Like an OEE: three shares and their product; None where one can't be said. `ideal_per_min` 0: not configured."""

    availability: float | None
    performance: float | None
    quality: float | None
    oee: float | None
    ran_s: float
    watched_s: float
    unwatched_s: float
    ideal_per_min: float


def oee_of(tally: Tally, ideal_per_min: float, now_s: float) -> Oee:
    """Return the shares of a shift so far.

    Availability: time in which the line ran of the time that was watched. Performance: parts per minute of running
    against the ideal rate. Quality: parts that passed of all parts.
    """
    availability = tally.ran_s / tally.watched_s if tally.watched_s >= 1 else None
    quality = tally.good / tally.total if tally.total else None
    ran_min = tally.ran_s / 60
    performance = tally.total / ran_min / ideal_per_min if ideal_per_min and ran_min > 0.1 else None
    whole = None
    if availability is not None and performance is not None and quality is not None:
        whole = availability * min(1.0, performance) * quality
    return Oee(
        availability=availability, performance=performance, quality=quality, oee=whole, ran_s=tally.ran_s,
        watched_s=tally.watched_s, unwatched_s=max(0.0, now_s - tally.shift_ms / 1000 - tally.watched_s),
        ideal_per_min=ideal_per_min,
    )  # fmt: skip
