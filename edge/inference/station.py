"""A pipeline on the bus: takes its inputs, sends its answers, keeps its lease, tells its insights and alarms."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from edge.inference.drift.voice import DriftVoice
from edge.inference.evidence_voice import EvidenceVoice
from edge.inference.gauges import PipelineGauges
from edge.inference.insights import Alarm, AlarmWatch, Tally
from edge.inference.pipeline import Pipeline
from schemas.messages import Decision, Frame, Insight, Outcome, Phase, Reading, Result, Severity
from schemas.topics import DECISION, INSIGHT, RESULT

if TYPE_CHECKING:
    from bus import Bus, Delivery
    from edge.inference.drift.keeper import Keeper
    from edge.inference.lane import Lane
    from edge.inference.work import Answer
    from edge.models.loaded import LoadedModel
    from edge.process import Process

_SELFTEST_S: Final = 0.5  # of a pipeline without outputs; with outputs it is a quarter of their lease
_LEASE_PARTS: Final = 4
_NOTED: Final = 64  # results that are counted together: one by one, between two runs of a model, each finds cold caches


class Station:
    """One pipeline of a lane. `actuates`: its decisions go to a PLC."""

    def __init__(self, process: Process, name: str, lane: Lane, bulk: Bus, machine: str, keeper: Keeper) -> None:
        """Make its publishers, and let it compete in its lane. Evidence goes over `bulk`, and names `machine`."""
        settings = process.settings.pipelines[name]
        outputs = process.settings.outputs.get(name)
        self.pipeline = Pipeline(name, settings, process.boot)
        self.selftest_s = outputs.lease_ms / 1e3 / _LEASE_PARTS if outputs else _SELFTEST_S
        self.counters: dict[str, int] = {}
        self.gauges = PipelineGauges(process.metrics, name, asyncio.get_running_loop().call_soon)
        self.decided_ns = self.input_ns = 0
        self.actuates = outputs is not None
        self._process, self._lane = process, lane
        self._decisions = process.publisher(DECISION, Decision, pipeline=name)
        self._results = process.publisher(RESULT, Result, pipeline=name)
        self._insights = process.publisher(INSIGHT, Insight, pipeline=name)
        self._evidence = EvidenceVoice(process, self.pipeline, bulk, machine)
        self._drift = DriftVoice(process, self.pipeline, keeper)
        self._tally, self._alarms = Tally(), AlarmWatch(settings.decision.confirm)
        self._later = asyncio.get_running_loop().call_soon
        self._sent: list[tuple[list[Answer], int]] = []
        self._noted: list[Result] = []
        self._gaps = 0
        self._sick = False
        lane.add(self)

    def frame(self, frame: Frame, delivery: Delivery) -> None:
        """Take a frame."""
        self._take(self.pipeline.offer_frame(frame, delivery.received_ns), delivery.received_ns)

    def reading(self, reading: Reading, delivery: Delivery) -> None:
        """Take a reading."""
        self._take(self.pipeline.offer_reading(reading, delivery.received_ns), delivery.received_ns)

    def _take(self, answer: Answer | None, received_ns: int) -> None:
        self.input_ns = received_ns
        if answer is not None:
            self.publish([answer])
        if self.pipeline.waiting:
            self._lane.wake()

    def publish(self, answers: list[Answer]) -> None:
        """Send all decisions, then what explains them. All else is done once they are on the wire."""
        if not answers:
            return
        for answer in answers:
            self._decisions.send(answer.decision)
        self.decided_ns = now_ns = time.monotonic_ns()
        for answer in answers:
            self._results.send(answer.result)
        self._process.bus.flush()
        if not self._sent:
            self._later(self._look_at_sent)
        self._sent.append((answers, now_ns))

    def use(self, model: LoadedModel) -> None:
        """Run `model` from now on; what was sent under the one before is looked at first.

        Raises:
            ContractError: it does not fit the pipeline; the model before it stays.
        """
        self._look_at_sent()
        self.publish(self.pipeline.use(model))

    def _look_at_sent(self) -> None:
        """Keep evidence, watch for alarms and drift, and note what is to be counted."""
        sent, self._sent = self._sent, []
        alarms = self.pipeline.settings.event
        for answers, now_ns in sent:
            self.gauges.answered(answers, now_ns)
            for answer in answers:
                self._evidence.see(answer)
                self._drift.see(answer)
                self._noted.append(answer.result)
                if alarms:
                    self._say(self._alarms.see(answer.result, now_ns))
        if len(self._noted) >= _NOTED:
            self._later(self._count)

    def counts(self) -> dict[str, int]:
        """Return what it did since its start."""
        self._count()
        kept = self._evidence
        return self.counters | {"evidence_sent": kept.sent, "evidence_dropped": kept.dropped}

    def _count(self) -> None:
        """Count what was noted."""
        noted, self._noted = self._noted, []
        for result in noted:
            self._tally.add(result)
            name = "results"
            if result.outcome is Outcome.DROPPED:
                name = "dropped_" + result.reason.partition(":")[0]
            elif result.outcome is Outcome.LATE:
                name = "late"
            self.counters[name] = self.counters.get(name, 0) + 1

    def selftest(self, now_ns: int) -> None:
        """Renew the lease of an idle line, or find that the model can't be believed any more."""
        if now_ns - self.decided_ns < self.selftest_s * 1e9 and not self.pipeline.unproven:
            return
        decision = self.pipeline.selftest()
        if decision is not None:
            self._decisions.send(decision)
            self.decided_ns = now_ns
            self.counters["selftests"] = self.counters.get("selftests", 0) + 1
        if bool(self.pipeline.unproven) is not self._sick:
            self._sick = bool(self.pipeline.unproven)
            phase, severity = (Phase.NEW, Severity.ALARM) if self._sick else (Phase.END, Severity.INFO)
            text = self.pipeline.unproven or "the golden vector holds again"
            self._process.event("selftest", phase, severity, f"{self.pipeline.name}: {text}"[:1000],
                                key=f"selftest-{self.pipeline.name}", pipeline=self.pipeline.name)  # fmt: skip

    def insight(self, window_s: float, gaps: int) -> None:
        """Publish what the window held. `gaps`: of its input since the start."""
        self._count()
        drift = self._drift.close_window()
        self._insights.send(self._tally.insight(self.pipeline, window_s, gaps - self._gaps, drift))
        self._gaps = gaps

    def relearn(self, who: str) -> bool:
        """Learn anew what is normal; false where the pipeline is not watched."""
        return self._drift.relearn(who)

    def close(self) -> None:
        """Look at what was sent last, and end the alarms that nobody watches any more."""
        self._look_at_sent()
        self._count()
        self._say(self._alarms.end(time.monotonic_ns()))
        self.gauges.settle()
        self._drift.close()
        self.pipeline.close()

    def _say(self, alarm: Alarm | None) -> None:
        if alarm is None:
            return
        name, threshold = self.pipeline.name, self.pipeline.settings.decision.threshold
        code = "anomaly" if self.pipeline.model and self.pipeline.model.contract.kind == "anomaly" else "reject"
        severity = Severity.INFO if alarm.phase is Phase.END else Severity.WARNING
        text = f"{name}: {alarm.label}, score {alarm.score:.3g}, threshold {threshold:g}, highest {alarm.peak:.3g}"
        self._process.event(
            code, alarm.phase, severity, text, key=alarm.key, pipeline=name, label=alarm.label, score=alarm.score,
            peak=alarm.peak, threshold=threshold, seconds=alarm.seconds,
        )  # fmt: skip
