"""Decides which answers are kept as evidence, and says what they came from. Pure: it neither encodes nor sends.

A burst of rejects must not flood the bus: evidence is what is given up first, by a budget of bytes, and counted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from schemas.evidence import Evidence, ModelUsed, Tensor
from schemas.messages import Outcome, Verdict
from schemas.topics import EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edge.config.pipeline import Pipeline
    from edge.inference.work import Answer
    from schemas.messages import Result

_BURST_S: Final = 2.0  # what a quiet time saves up
_ROOM: Final = 8_192  # of the largest message, for all that is no tensor and no setting


class Computer(NamedTuple):
    """What computed: the engine's name, its version, its options as JSON, and the machine."""

    engine: str
    version: str
    options: str
    machine: str


class Seen(NamedTuple):
    """An answer to be kept: why, and the verdict before it."""

    answer: Answer
    why: str
    before: Verdict


class Witness:
    """Sees every answer of one pipeline, in order."""

    def __init__(self, settings: Pipeline, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """`clock` is CLOCK_MONOTONIC in nanoseconds."""
        self.withheld = 0  # over the budget
        self.too_large = 0  # for one message
        self._rule, self._clock = settings.evidence, clock
        self._settings, self._judged = settings.model_dump_json(), settings.graph[-1].name + "."
        self._limit = EVIDENCE.max_bytes - len(self._settings) - _ROOM
        self._rate = settings.evidence.max_kb_per_s / 1e6  # bytes per ns
        self._most = max(self._rate * 1e9 * _BURST_S, EVIDENCE.max_bytes)
        self._left, self._looked_ns = self._most, clock()
        self._before = Verdict.UNKNOWN
        self._ok = 0

    def see(self, answer: Answer) -> Seen | None:
        """Return an answer that shall be kept, None for the others. Every answer comes by here, in order."""
        before, verdict = self._before, answer.result.verdict
        if verdict is not Verdict.UNKNOWN:
            self._before = verdict
        why = self._why(answer.result)
        return Seen(answer, why, before) if why and answer.inputs is not None and answer.outputs is not None else None

    def testify(self, seen: Seen, computer: Computer) -> Evidence | None:
        """Return what shall be kept, None where the budget does not allow it."""
        answer, why, before = seen
        inputs, outputs = _tensors(answer.inputs or {}), _tensors(answer.outputs or {})
        if _size(inputs) + _size(outputs) > self._limit:  # what was judged shows a difference, if not where it began
            outputs = [tensor for tensor in outputs if tensor.name.startswith(self._judged)]
        if not self._affordable(_size(inputs) + _size(outputs)):
            return None
        result = answer.result
        return Evidence(
            result_id=result.result_id, pipeline=result.pipeline, input=result.input, part_id=result.part_id,
            kept_for=why, outcome=result.outcome, verdict=result.verdict, before=before, label=result.label,
            score=result.score, quality=result.quality, reason=result.reason, inputs=inputs, outputs=outputs,
            models=_models(result), recipe=answer.variant, settings=self._settings, engine=computer.engine,
            engine_version=computer.version, engine_options=computer.options, machine=computer.machine,
            batch=answer.batch, row=answer.row, time_ns=result.time_ns,
        )  # fmt: skip

    def _why(self, result: Result) -> str:
        """Why an answer is kept, "" if it is not. A late reject is a reject."""
        keep = self._rule.keep
        if result.verdict is Verdict.NOK and "nok" in keep:
            return "nok"
        if result.outcome is Outcome.LATE and "late" in keep:
            return "late"
        if result.verdict is Verdict.UNKNOWN:
            return "unknown" if "unknown" in keep else ""
        if result.verdict is Verdict.OK and self._rule.sample_ok:
            self._ok += 1
            if self._ok % self._rule.sample_ok == 0:
                return "sample"
        return ""

    def _affordable(self, tensor_bytes: int) -> bool:
        if tensor_bytes > self._limit:
            self.too_large += 1
            return False
        now_ns = self._clock()
        self._left = min(self._most, self._left + (now_ns - self._looked_ns) * self._rate)
        self._looked_ns = now_ns
        cost = tensor_bytes + len(self._settings)
        if cost > self._left:
            self.withheld += 1
            return False
        self._left -= cost
        return True


def _size(tensors: list[Tensor]) -> int:
    return sum(tensor.data.nbytes for tensor in tensors)


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> list[Tensor]:
    """The arrays as they are: their bytes are copied once, into the message."""
    return [
        Tensor(name=name, dtype=array.dtype.name, shape=list(array.shape), data=np.ascontiguousarray(array).data)
        for name, array in arrays.items()
    ]


def _models(result: Result) -> list[ModelUsed]:
    """The models as the result names them; the judge, which it names in full, comes last."""
    others = [(name, text.partition(" ")) for name, text in result.models.items() if name != result.model]
    judge = ModelUsed(name=result.model, version=result.version, digest=result.digest)
    return [*(ModelUsed(name=name, version=version, digest=digest) for name, (version, _, digest) in others), judge]
