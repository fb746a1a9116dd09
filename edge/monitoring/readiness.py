"""Whether data flows: a pure judgement over what processes say and what their counters show.

Ready: every process that the settings ask for is up and not degraded, every lane that has input gives results, and one
lane at least has input. A line that stands still is not ready: no data flows. A dropped input is no result; a late one
is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge.config.pipeline import WindowInput
from schemas.messages import State, Status
from schemas.topics import STATUS

if TYPE_CHECKING:
    from edge.config.pipeline import Pipeline
    from edge.settings import Settings

PERIODS: Final = 3  # of a window pipeline, before its silence counts


@dataclass(frozen=True)
class Answers:
    """What a pipeline has answered since its process started."""

    results: float = 0.0
    others: float = 0.0


@dataclass(frozen=True)
class Reason:
    """Why a device is not ready: of which process, pipeline or bus, and in words."""

    of: str
    text: str


@dataclass
class _Seen:
    """The last figures, and when they last moved."""

    answers: Answers
    results_s: float | None = None
    others_s: float | None = None


class Readiness:
    """Looks at a device. All times are of one monotonic clock, in seconds."""

    def __init__(self, settings: Settings, expected: list[str], lanes: Mapping[str, list[str]]) -> None:
        """`expected`: the processes; `lanes`: process -> its pipelines."""
        self._expected, self._lanes = expected, lanes
        self._window_s = {
            name: window_s(settings, pipeline) for name, pipeline in settings.pipelines.items()
        }  # fmt: skip
        self._statuses: dict[str, tuple[Status, float]] = {}
        self._seen: dict[str, _Seen] = {}

    def status(self, status: Status, now_s: float) -> None:
        """Take a process's last words."""
        self._statuses[status.process] = status, now_s

    @property
    def statuses(self) -> dict[str, Status]:
        """The last words of the device's processes, of those it has."""
        return {name: self._statuses[name][0] for name in self._expected if name in self._statuses}

    def look(self, answered: Mapping[str, Answers], now_s: float) -> None:
        """Take the counters of all pipelines; one that is not there has lost its process."""
        for name in self._seen.keys() - answered.keys():
            del self._seen[name]
        for name, answers in answered.items():
            seen = self._seen.get(name)
            if seen is None:
                self._seen[name] = _Seen(answers)
                continue
            if answers.results != seen.answers.results:
                seen.results_s = now_s
            if answers.others != seen.answers.others:
                seen.others_s = now_s
            seen.answers = answers

    def reasons(self, now_s: float) -> list[Reason]:
        """Return why the device is not ready, nothing if it is."""
        found = [reason for name in self._expected if (reason := self._process(name, now_s))]
        flowing = False
        for lane, pipelines in self._lanes.items():
            found += [reason for name in pipelines if (reason := self._pipeline(name, now_s))]
            paced = [name for name in pipelines if math.isfinite(self._window_s[name])]
            flows = any(self._moved(name, now_s) for name in pipelines) or (not paced and self._active(lane))
            flowing = flowing or flows
            if not flows and self._active(lane) and not any(reason.of in pipelines for reason in found):
                longest_s = max(self._window_s[name] for name in paced)
                found.append(Reason(lane, f"has input, but no results for {longest_s:g} s"))
        if self._lanes and not flowing and not found:
            found.append(Reason("device", "no data flows: no lane has input"))
        return found

    def _process(self, name: str, now_s: float) -> Reason | None:
        if name not in self._statuses:
            return Reason(name, "has not spoken")
        status, heard_s = self._statuses[name]
        if status.state not in (State.ACTIVE, State.IDLE):
            return Reason(name, f"{status.state.value}: {status.reason}".rstrip(": "))
        if now_s - heard_s > STATUS.stale_after_s:
            return Reason(name, f"silent for {now_s - heard_s:.0f} s")
        return None

    def _pipeline(self, name: str, now_s: float) -> Reason | None:
        """Its inputs are answered, but by no result."""
        seen = self._seen.get(name)
        if seen is None or seen.others_s is None or self._moved(name, now_s):
            return None
        if now_s - seen.others_s > self._window_s[name]:
            return None
        return Reason(name, f"drops its inputs: no result for {self._window_s[name]:g} s")

    def _moved(self, name: str, now_s: float) -> bool:
        seen = self._seen.get(name)
        return seen is not None and seen.results_s is not None and now_s - seen.results_s <= self._window_s[name]

    def _active(self, lane: str) -> bool:
        """Whether a lane says that it has input."""
        found = self._statuses.get(lane)
        return found is not None and found[0].state is State.ACTIVE


def window_s(settings: Settings, pipeline: Pipeline) -> float:
    """Return the silence after which a pipeline gives no results: the setting, or some periods of a slow window.

    Of one that the PLC asks, no silence says anything.
    """
    spec = pipeline.input
    if not isinstance(spec, WindowInput):
        return settings.monitor.window_s
    if spec.request:
        return math.inf
    period_ms = settings.sources[spec.source].groups.get(spec.group, 0.0) if spec.source in settings.sources else 0.0
    return max(settings.monitor.window_s, PERIODS * period_ms * spec.every / 1e3)
