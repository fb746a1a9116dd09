"""One pipeline: an input becomes a Decision and a Result, whatever happens to it. Pure but for the engine's run.

Each input that was taken has exactly one answer: a result, a late result, or a drop with its reason (expired,
overload, bad_quality, bad_input, no_model). Only a result in time, of an input that was not Bad, from a model whose
golden vector still holds, can say OK or NOK; all else says UNKNOWN, so that the outputs go to their fail-safe.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from edge.inference.reasons import BAD_INPUT, BAD_QUALITY, EXPIRED, NO_MODEL, OVERLOAD
from edge.inference.verdicts import Judgement, Rule, rule_for
from edge.inference.windows import WindowBuffer
from edge.settings import FrameInput, WindowInput
from schemas.errors import ContractError
from schemas.messages import Decision, Frame, Latency, Outcome, Proof, Quality, Reading, Result, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.inference.loaded import LoadedModel
    from edge.settings import Pipeline as PipelineSettings

_REASON_LENGTH: Final = 500  # others write parts of it
QUEUE_BATCHES: Final = 4  # inputs that may wait, in batches; what is older gives way to what is newer


class Answer(NamedTuple):
    """What became of one input; the decision is published first."""

    decision: Decision
    result: Result


@dataclass(frozen=True, slots=True)
class Work:
    """One input, owned by us: the packet that it came in is gone. `tensor` is [1, ...]; None if it can't be run."""

    input: str
    epoch: int
    seq: int
    part_id: int | None
    trigger_ns: int
    received_ns: int
    deadline_ns: int
    quality: Quality
    reason: str
    tensor: NDArray[Any] | None = None


class Pipeline:
    """Takes inputs, gives answers. Every method is called from one thread."""

    def __init__(
        self, name: str, settings: PipelineSettings, boot: str, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Start without a model. `clock` is CLOCK_MONOTONIC in nanoseconds, of `boot`."""
        self.name, self.settings = name, settings
        self.model: LoadedModel | None = None
        self.unproven = ""  # why the model is not believed, "" while its golden vector holds
        self._boot, self._clock = boot, clock
        self._budget_ns = int(settings.deadline_ms * 1e6)
        self._queue: deque[Work] = deque()
        self._limit = QUEUE_BATCHES * settings.max_batch_size
        self._rule: Rule | None = None
        self._window: WindowBuffer | None = None
        if isinstance(settings.input, WindowInput):
            self._window = WindowBuffer(settings.input, hold=settings.bad_input == "hold")
        self._selftests = 0

    @property
    def waiting(self) -> int:
        """How many inputs wait for `step`."""
        return len(self._queue)

    def problems_of(self, model: LoadedModel) -> list[str]:
        """Say why a model does not fit this pipeline; nothing if it does."""
        try:
            rule_for(model.contract, self.settings.decision)
        except ContractError as error:
            return [f"pipeline {self.name}: {problem}" for problem in error.problems]
        spec = self.settings.input
        if isinstance(spec, WindowInput) and model.shape != (spec.length, len(spec.tags)):
            return [
                f"pipeline {self.name} gives windows of {spec.length} readings of {len(spec.tags)} tags, model"
                f" {model.contract.name} {model.contract.version} takes {model.shape}"
            ]
        if isinstance(spec, FrameInput) and len(model.shape) < 2:
            return [f"pipeline {self.name} gives frames, model {model.contract.name} takes {model.shape}"]
        return []

    def use(self, model: LoadedModel) -> list[Answer]:
        """Run `model` from now on; answers what waits and does not fit it.

        Raises:
            ContractError: it does not fit the pipeline; the model before it stays.
        """
        rule = rule_for(model.contract, self.settings.decision, self._rule)
        self.model, self._rule, self.unproven = model, rule, ""
        waiting, self._queue = self._queue, deque()
        unfit: list[Answer] = []
        for work in waiting:
            if (
                work.tensor is not None
                and work.tensor.shape[1:] == model.shape
                and work.tensor.dtype.name == model.dtype
            ):
                self._queue.append(work)
            else:
                unfit.append(self._drop(work, f"{BAD_INPUT}: the model changed and takes {model.shape}"))
        return unfit

    # -- in -----------------------------------------------------------------------------------------------------------

    def offer_frame(self, frame: Frame, received_ns: int) -> Answer | None:
        """Take a frame; return an answer for what is dropped because of it."""
        model = self.model
        problem = self._frame_problem(frame, received_ns, model)
        tensor = None
        if model is not None and not problem:
            tensor = np.frombuffer(bytes(frame.data), model.dtype).reshape(1, *model.shape)
        trigger_ns = self._trusted(frame.boot, frame.trigger_ns, received_ns)
        work = Work(
            frame.stream, frame.epoch, frame.seq, frame.part_id, trigger_ns, received_ns,
            trigger_ns + self._budget_ns, frame.quality, frame.reason, tensor,
        )  # fmt: skip
        return self._drop(work, problem) if problem else self._enqueue(work)

    def _trusted(self, boot: str, trigger_ns: int, received_ns: int) -> int:
        """A time of another boot, or of the future, says nothing to who reads the decision: then it is the receipt."""
        return trigger_ns if boot == self._boot and trigger_ns <= received_ns else received_ns

    def _frame_problem(self, frame: Frame, received_ns: int, model: LoadedModel | None) -> str:
        if frame.boot != self._boot:
            return f"{BAD_INPUT}: its trigger is a time of another boot of the machine"
        if frame.trigger_ns > received_ns:
            return f"{BAD_INPUT}: its trigger lies in the future"
        if frame.quality is Quality.BAD:
            return f"{BAD_QUALITY}: {frame.reason or 'the camera calls it bad'}"
        if model is None:
            return NO_MODEL
        if frame.shape != model.shape or frame.dtype != model.dtype or len(frame.data) != model.size:
            return (
                f"{BAD_INPUT}: {frame.dtype} {frame.shape} in {len(frame.data)} bytes,"
                f" the model takes {model.dtype} {model.shape}"
            )
        return ""

    def offer_reading(self, reading: Reading, received_ns: int) -> Answer | None:
        """Take a reading; return an answer if a window is due and refused, or drops another."""
        model, window = self.model, self._window
        if window is None or not window.add(reading):
            return None
        taken = window.take(model.contract.inputs[0] if model else None)
        scan_ns = self._trusted(reading.boot, reading.scan_ns, received_ns)
        work = Work(
            reading.source, reading.epoch, reading.seq, None, scan_ns, received_ns, scan_ns + self._budget_ns,
            taken.quality, taken.reason, taken.tensor,
        )  # fmt: skip
        if reading.boot != self._boot:
            return self._drop(work, f"{BAD_INPUT}: its scan is a time of another boot of the machine")
        if taken.tensor is None:
            return self._drop(work, f"{BAD_QUALITY}: {taken.reason}")
        return self._enqueue(work) if model else self._drop(work, NO_MODEL)

    def _enqueue(self, work: Work) -> Answer | None:
        self._queue.append(work)
        return self._drop(self._queue.popleft(), OVERLOAD) if len(self._queue) > self._limit else None

    # -- out ----------------------------------------------------------------------------------------------------------

    def step(self) -> list[Answer]:
        """Drop what has expired, run one batch of what waits, and answer it."""
        taken_ns = self._clock()
        answers, batch = self._next_batch(taken_ns)
        if not batch or self.model is None or self._rule is None:
            return answers
        tensors = [work.tensor for work in batch if work.tensor is not None]
        ready_ns, judgements = taken_ns, []
        try:
            tensor = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
            ready_ns = self._clock()
            outputs = self.model.session.run({self.model.inputs[0].name: tensor})
            done_ns = self._clock()
            judgements = self._rule.judge(outputs, len(batch))
        except ContractError as error:
            done_ns = self._clock()
            judgements = [Judgement(Verdict.UNKNOWN, reason=f"engine_failed: {error}")] * len(batch)
        for work, judgement in zip(batch, judgements, strict=True):
            answers.append(self._answer(work, judgement, taken_ns, ready_ns, done_ns))
        return answers

    def _next_batch(self, now_ns: int) -> tuple[list[Answer], list[Work]]:
        """Whatever is already there, up to the largest batch that is warm: nothing is waited for."""
        dropped: list[Answer] = []
        batch: list[Work] = []
        size = self.model.batch(min(len(self._queue), self.settings.max_batch_size)) if self.model else 0
        while self._queue and len(batch) < size:
            work = self._queue.popleft()
            if work.deadline_ns <= now_ns:
                dropped.append(self._drop(work, EXPIRED))
            else:
                batch.append(work)
        if batch and self.model:
            fits = self.model.batch(len(batch))
            self._queue.extendleft(reversed(batch[fits:]))
            del batch[fits:]
        return dropped, batch

    def selftest(self) -> Decision | None:
        """Run the golden vector; return a decision that renews the lease, or None with `unproven` saying why not."""
        if self.model is None:
            return None
        now_ns = self._clock()
        self.unproven = self.model.prove()
        if self.unproven:
            return None
        self._selftests += 1
        return Decision(
            pipeline=self.name, result_id=f"{self.name}-selftest-{self._selftests}", part_id=None,
            verdict=Verdict.UNKNOWN, proof=Proof.SELFTEST, boot=self._boot, trigger_ns=now_ns,
            deadline_ns=now_ns + self._budget_ns,
        )  # fmt: skip

    def _answer(self, work: Work, judgement: Judgement, taken_ns: int, ready_ns: int, done_ns: int) -> Answer:
        late = done_ns > work.deadline_ns
        reason = judgement.reason or self.unproven
        believed = not reason
        latency = Latency(
            ingest=(work.received_ns - work.trigger_ns) / 1e6,
            queue=(taken_ns - work.received_ns) / 1e6,
            preprocess=(ready_ns - taken_ns) / 1e6,
            infer=(done_ns - ready_ns) / 1e6,
            total=(done_ns - work.trigger_ns) / 1e6,
        )
        return self._both(
            work, judgement if believed else Judgement(Verdict.UNKNOWN), latency,
            outcome=Outcome.LATE if late else Outcome.RESULT,
            quality=work.quality if believed else Quality.BAD,
            reason=reason or work.reason,
            decided=Verdict.UNKNOWN if late else judgement.verdict if believed else Verdict.UNKNOWN,
            why="late" if late else reason,
        )  # fmt: skip

    def _drop(self, work: Work, reason: str) -> Answer:
        now_ns = self._clock()
        latency = Latency(
            ingest=(work.received_ns - work.trigger_ns) / 1e6, queue=(now_ns - work.received_ns) / 1e6, preprocess=0.0,
            infer=0.0, total=(now_ns - work.trigger_ns) / 1e6,
        )  # fmt: skip
        return self._both(
            work, Judgement(Verdict.UNKNOWN), latency, outcome=Outcome.DROPPED, quality=Quality.BAD, reason=reason,
            decided=Verdict.UNKNOWN, why=reason,
        )  # fmt: skip

    def _both(
        self, work: Work, judgement: Judgement, latency: Latency, *, outcome: Outcome, quality: Quality, reason: str,
        decided: Verdict, why: str,
    ) -> Answer:  # fmt: skip
        contract = self.model.contract if self.model else None
        reason, why = reason[:_REASON_LENGTH], why[:_REASON_LENGTH]
        result_id = f"{self.name}-{work.epoch:x}-{work.seq}"
        decision = Decision(
            pipeline=self.name, result_id=result_id, part_id=work.part_id, verdict=decided, proof=Proof.PART,
            boot=self._boot, trigger_ns=work.trigger_ns, deadline_ns=work.deadline_ns, reason=why,
        )  # fmt: skip
        result = Result(
            result_id=result_id, pipeline=self.name, input=work.input, source_epoch=work.epoch, source_seq=work.seq,
            part_id=work.part_id, outcome=outcome, verdict=judgement.verdict, label=judgement.label,
            score=judgement.score, scores=judgement.scores, quality=quality, reason=reason, latency=latency,
            deadline_ms=self.settings.deadline_ms, model=self.settings.model,
            version=contract.version if contract else "", digest=contract.sha256 if contract else "",
            time_ns=time.time_ns(),
        )  # fmt: skip
        return Answer(decision, result)
