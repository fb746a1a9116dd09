"""What waits and what becomes of it: one input of a pipeline, and its one answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from edge.inference.verdicts import UNJUDGED
from schemas.messages import Decision, Latency, Outcome, Proof, Quality, Result, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge.inference.graph import Graph
    from edge.inference.verdicts import Judgement

_REASON_LENGTH: Final = 500  # others write parts of it


class Work(msgspec.Struct, frozen=True, gc=False):
    """One input, owned by us: the packet that it came in is gone. A frozen dataclass takes ten times as long to make.

    `inputs`: the graph's roots, each [1, ...]; None if it can't be run. `timeout_ns`: when it has waited too long.
    `variant`: the recipe that it runs under.
    """

    input: str
    epoch: int
    seq: int
    part_id: int | None
    trigger_ns: int
    received_ns: int
    deadline_ns: int
    timeout_ns: int
    quality: Quality
    reason: str
    inputs: Mapping[str, NDArray[Any]] | None = None
    variant: str = ""


class Answer(NamedTuple):
    """What became of one input; the decision is published first.

    `inputs` and `outputs` (by `step.output`) are of this input alone, None where it was not run; `batch` and `row` say
    in which batch it ran, for its bits depend on the batch's size.
    """

    decision: Decision
    result: Result
    inputs: Mapping[str, NDArray[Any]] | None = None
    outputs: Mapping[str, NDArray[Any]] | None = None
    batch: int = 0
    row: int = 0
    variant: str = ""


class Times(NamedTuple):
    """CLOCK_MONOTONIC in ns: a batch was taken from the queue, was put together, had been run."""

    taken_ns: int
    ready_ns: int
    done_ns: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose answers: the pipeline and this boot of the machine."""

    pipeline: str
    model: str
    deadline_ms: float
    boot: str

    def answer(
        self, work: Work, judgement: Judgement, unproven: str, times: Times, graph: Graph
    ) -> tuple[Decision, Result]:
        """Return what a run says: what is late decides nothing, what is not believed is told as no verdict."""
        late = times.done_ns > work.deadline_ns
        reason = judgement.reason or unproven
        latency = Latency(
            ingest=(work.received_ns - work.trigger_ns) / 1e6,
            queue=(times.taken_ns - work.received_ns) / 1e6,
            preprocess=(times.ready_ns - times.taken_ns) / 1e6,
            infer=(times.done_ns - times.ready_ns) / 1e6,
            total=(times.done_ns - work.trigger_ns) / 1e6,
        )
        decided, why = (Verdict.UNKNOWN, "late") if late else (judgement.verdict, reason)
        if reason:
            decided, judgement = Verdict.UNKNOWN, UNJUDGED
        return self._both(
            work, judgement, latency, graph, outcome=Outcome.LATE if late else Outcome.RESULT,
            quality=Quality.BAD if reason else work.quality, reason=reason or work.reason, decided=decided, why=why,
        )  # fmt: skip

    def drop(self, work: Work, reason: str, now_ns: int, graph: Graph | None) -> tuple[Decision, Result]:
        """Return what is said of an input that is given up."""
        latency = Latency(
            ingest=(work.received_ns - work.trigger_ns) / 1e6, queue=(now_ns - work.received_ns) / 1e6, preprocess=0.0,
            infer=0.0, total=(now_ns - work.trigger_ns) / 1e6,
        )  # fmt: skip
        return self._both(
            work, UNJUDGED, latency, graph, outcome=Outcome.DROPPED, quality=Quality.BAD, reason=reason,
            decided=Verdict.UNKNOWN, why=reason,
        )  # fmt: skip

    def _both(
        self, work: Work, judgement: Judgement, latency: Latency, graph: Graph | None, *, outcome: Outcome,
        quality: Quality, reason: str, decided: Verdict, why: str,
    ) -> tuple[Decision, Result]:  # fmt: skip
        contract = graph.judge.contract if graph else None
        result_id = f"{self.pipeline}-{work.epoch:x}-{work.seq}"
        decision = Decision(
            pipeline=self.pipeline, result_id=result_id, part_id=work.part_id, verdict=decided, proof=Proof.PART,
            boot=self.boot, trigger_ns=work.trigger_ns, deadline_ns=work.deadline_ns, reason=why[:_REASON_LENGTH],
        )  # fmt: skip
        result = Result(
            result_id=result_id, pipeline=self.pipeline, input=work.input, source_epoch=work.epoch,
            source_seq=work.seq, part_id=work.part_id, outcome=outcome, verdict=judgement.verdict,
            label=judgement.label, score=judgement.score, scores=judgement.scores, quality=quality,
            reason=reason[:_REASON_LENGTH], latency=latency, deadline_ms=self.deadline_ms,
            model=contract.name if contract else self.model, version=contract.version if contract else "",
            digest=contract.sha256 if contract else "", recipe=work.variant, time_ns=time.time_ns(),
            models=graph.versions if graph else {},
        )  # fmt: skip
        return decision, result
