"""From windows over their limits to a level with hysteresis, and to events that don't come in swarms. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from schemas.messages import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.inference.drift.limits import Signal

CLEAR: Final = 0.8  # a level ends when every score has stayed under this


class Level(StrEnum):
    """What a pipeline's watch says; the later ones are the graver."""

    OFF = "off"
    LEARNING = "learning"
    OK = "ok"
    INPUTS_CHANGED = "inputs_changed"
    MODEL_DEGRADED = "model_degraded"


@dataclass(frozen=True, slots=True)
class Step:
    """One step in the life of an alarm, as an event tells it. `worst`: the signal furthest over its limit."""

    code: Level
    phase: Phase
    key: str
    worst: Signal
    seconds: float
    why: str = ""


class Latch:
    """On when `hits` of the last `of` windows were over their limit, off when all of them are well under it."""

    def __init__(self, hits: int, of: int) -> None:
        """Start off."""
        self._hits = hits
        self._scores: deque[float] = deque(maxlen=of)
        self.on = False

    def see(self, score: float) -> bool:
        """Take a window's highest score; return whether it is on now."""
        self._scores.append(score)
        if not self.on:
            self.on = sum(score > 1.0 for score in self._scores) >= self._hits
        elif len(self._scores) == self._scores.maxlen and max(self._scores) < CLEAR:
            self.on = False
        return self.on

    def reset(self) -> None:
        """Forget everything: what it compared with is gone."""
        self._scores.clear()
        self.on = False


class Alarm:
    """The life of one level: new, updates, end; a new one not sooner than `repeat_s` after the one before."""

    def __init__(self, code: Level, pipeline: str, hits: int, of: int, repeat_s: float) -> None:
        """Start without one."""
        self.code = code
        self.latch = Latch(hits, of)
        self._pipeline, self._repeat_ns = pipeline, int(repeat_s * 1e9)
        self._key = ""
        self._began_ns = self._said_ns = 0
        self._worst: Signal | None = None

    def see(self, signals: Sequence[Signal], now_ns: int) -> Step | None:
        """Take what a window's signals say of this level; return what to tell."""
        worst = max(signals, key=lambda signal: signal.score)
        if not self.latch.see(worst.score):
            return self.end(now_ns)
        if self._worst is None or worst.score > 1.0:
            self._worst = worst
        quiet = self._said_ns and now_ns - self._said_ns < self._repeat_ns
        if quiet:
            return None
        phase = Phase.UPDATE if self._key else Phase.NEW
        if not self._key:
            self._key, self._began_ns = f"{self.code.value}-{self._pipeline}-{now_ns:x}", now_ns
        self._said_ns = now_ns
        return Step(self.code, phase, self._key, self._worst, (now_ns - self._began_ns) / 1e9)

    def end(self, now_ns: int, why: str = "") -> Step | None:
        """End the alarm if one was told."""
        worst, key = self._worst, self._key
        self._worst, self._key = None, ""
        if not key or worst is None:
            return None
        return Step(self.code, Phase.END, key, worst, (now_ns - self._began_ns) / 1e9, why)
