"""Ten seconds of one pipeline in one message, and the life of its alarm. Pure."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from schemas.messages import Drift, Insight, Outcome, Phase, Result, Verdict

if TYPE_CHECKING:
    from edge.inference.pipeline import Pipeline

WINDOW_S: Final = 10.0
UNWATCHED: Final = Drift()
_KEPT: Final = 65_536  # latencies of one window: 10 s at the topic's highest rate, and some more
_UPDATE_NS: Final = 5_000_000_000


class Tally:
    """Counts the results of one pipeline until `insight` takes them."""

    def __init__(self) -> None:
        """Start empty."""
        self._clear()

    def _clear(self) -> None:
        self._dropped: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._latencies = array("d")
        self._late = self._inputs = 0
        self._score_sum, self._scores = 0.0, 0

    def add(self, result: Result) -> None:
        """Count one result."""
        self._inputs += 1
        if result.outcome is Outcome.DROPPED:
            self._dropped[result.reason.partition(":")[0]] += 1
            return
        self._late += result.outcome is Outcome.LATE
        self._verdicts[result.verdict.value] += 1
        if len(self._latencies) < _KEPT:
            self._latencies.append(result.latency.total)
        if result.verdict is not Verdict.UNKNOWN:
            self._score_sum += result.score
            self._scores += 1

    def insight(self, pipeline: Pipeline, window_s: float, gaps: int, drift: Drift = UNWATCHED) -> Insight:
        """Return what was counted, and start again."""
        times = np.frombuffer(self._latencies, dtype=np.float64) if self._latencies else np.zeros(1)
        p50, p99 = np.percentile(times, [50, 99])
        model = pipeline.model
        found = Insight(
            pipeline=pipeline.name, model=pipeline.settings.judge, version=model.contract.version if model else "",
            window_s=window_s, inputs=self._inputs, results=sum(self._verdicts.values()), late=self._late,
            dropped=dict(self._dropped), gaps=gaps, verdicts=dict(self._verdicts), p50_ms=float(p50),
            p99_ms=float(p99), max_ms=float(times.max()), time_ns=time.time_ns(),
            score_mean=self._score_sum / self._scores if self._scores else 0.0, drift=drift,
        )  # fmt: skip
        self._clear()
        return found


@dataclass(frozen=True, slots=True)
class Alarm:
    """One step in the life of an alarm; `key` joins its steps, `label` is what the last NOK was."""

    phase: Phase
    key: str
    score: float
    peak: float
    seconds: float
    label: str


class AlarmWatch:
    """Turns a stream of results into alarms: new at the `confirm`-th NOK in a row, an update each 5 s.

    It ends at the `confirm`-th OK in a row. A single odd window wakes nobody.
    """

    def __init__(self, confirm: int = 1) -> None:
        """Start without an alarm."""
        self._confirm, self._against = confirm, 0  # results in a row that speak against what is said now
        self._key = self._label = ""
        self._began_ns = self._said_ns = 0
        self._peak = self._last = 0.0

    def see(self, result: Result, now_ns: int) -> Alarm | None:
        """Return what to say about `result`; what is unknown neither begins nor ends an alarm."""
        if result.verdict is Verdict.UNKNOWN:
            return None
        bad = result.verdict is Verdict.NOK
        self._against = 0 if bad is bool(self._key) else self._against + 1
        confirmed = self._against >= self._confirm
        if not bad and not (self._key and confirmed):
            return None
        self._last = result.score
        if bad and not self._key and not confirmed:
            return None
        if confirmed:
            self._against = 0
        if not self._key:
            self._key, self._label, self._peak = result.result_id, result.label, result.score
            self._began_ns = self._said_ns = now_ns
            return self._alarm(Phase.NEW, now_ns)
        if result.verdict is Verdict.OK:
            return self.end(now_ns)
        self._label = result.label
        self._peak = max(self._peak, result.score)
        if now_ns - self._said_ns < _UPDATE_NS:
            return None
        self._said_ns = now_ns
        return self._alarm(Phase.UPDATE, now_ns)

    def end(self, now_ns: int) -> Alarm | None:
        """End the alarm, if there is one: its watch ends."""
        if not self._key:
            return None
        alarm = self._alarm(Phase.END, now_ns)
        self._key = ""
        return alarm

    def _alarm(self, phase: Phase, now_ns: int) -> Alarm:
        return Alarm(phase, self._key, self._last, self._peak, (now_ns - self._began_ns) / 1e9, self._label)
