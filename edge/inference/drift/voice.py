"""The drift watch of a pipeline on the bus: its level goes into the insight, what changes it becomes an event."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge.inference.drift.levels import Level, Step
from edge.inference.drift.subject import Subject, subject_of
from edge.inference.drift.watch import DriftWatch
from schemas.messages import Drift, Phase, Severity

if TYPE_CHECKING:
    from edge.inference.drift.keeper import Keeper
    from edge.inference.pipeline import Pipeline
    from edge.inference.work import Answer
    from edge.process import Process

_SAYS = {
    Level.INPUTS_CHANGED: "what comes in is not as it was learned",
    Level.MODEL_DEGRADED: "the model's answers are not as they were learned; label some parts and compare",
}


class DriftVoice:
    """Of one pipeline; silent where its settings say so."""

    def __init__(self, process: Process, pipeline: Pipeline, keeper: Keeper) -> None:
        """Go on with what was learned before."""
        self._process, self._pipeline, self._keeper = process, pipeline, keeper
        self._watch: DriftWatch | None = None
        settings = pipeline.settings.drift
        if settings.enabled:
            kept, alarms = keeper.read(pipeline.name), pipeline.settings.event
            self._watch = DriftWatch(pipeline.name, settings, kept, self._describe, alarms)

    def _describe(self, answer: Answer) -> Subject | None:
        graph = self._pipeline.graph(answer.variant)
        return subject_of(graph, answer.variant) if graph else None

    def see(self, answer: Answer) -> None:
        """Take an answer that has been published."""
        if self._watch is not None:
            self._watch.see(answer)

    def close_window(self) -> Drift:
        """End the window: tell what changed, and return what the insight says."""
        if self._watch is None:
            return Drift()
        report = self._watch.close_window(time.monotonic_ns())
        for step in report.steps:
            self._say(step)
        if report.save:
            self._keeper.keep(self._pipeline.name, self._watch.baselines)
        return report.drift

    def relearn(self, who: str) -> bool:
        """Learn anew from now on; false where nothing is watched."""
        if self._watch is None:
            return False
        for step in self._watch.relearn(time.monotonic_ns(), who):
            self._say(step)
        self._keeper.keep(self._pipeline.name, self._watch.baselines)
        return True

    def close(self) -> None:
        """End the alarms: their watch ends."""
        if self._watch is not None:
            for step in self._watch.end(time.monotonic_ns(), "the runtime stops"):
                self._say(step)

    def _say(self, step: Step) -> None:
        name, worst = self._pipeline.name, step.worst
        limits = {key: limit for key, limit in (("low", worst.low), ("high", worst.high)) if limit is not None}
        told = " to ".join(f"{limit:.4g}" for limit in limits.values())
        text = f"{name}: {_SAYS[step.code]}: {worst.name} {worst.value:.4g}, learned {told}"
        if step.phase is Phase.END:
            text = f"{name}: {step.code.value.replace('_', ' ')} ends{f' ({step.why})' if step.why else ''}"
        self._process.event(
            step.code.value, step.phase, Severity.INFO if step.phase is Phase.END else Severity.WARNING, text,
            key=step.key, pipeline=name, signal=worst.name, value=worst.value, score=worst.score, seconds=step.seconds,
            **limits,
        )  # fmt: skip
