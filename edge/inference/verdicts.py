"""From a model's output to a verdict: one rule per kind of model. Pure.

A score that is not a finite number, or an output of a shape that the contract does not promise, is unknown: never OK.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from schemas.errors import ContractError
from schemas.messages import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge.config.pipeline import DecisionRule
    from edge.models.contract import Contract

MAX_SCORES: Final = 16  # of a result; a classifier of more labels reports its likeliest


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """What the model says of one input; `reason` says why the verdict is unknown."""

    verdict: Verdict
    label: str = ""
    score: float = 0.0
    scores: dict[str, float] = {}
    reason: str = ""


class Rule(Protocol):
    """Judges a batch."""

    def judge(self, outputs: Mapping[str, NDArray[Any]], batch: int) -> list[Judgement]:
        """Return one judgement per input, in order. Never raises for what the model put out."""
        ...


def rule_for(contract: Contract, settings: DecisionRule, before: Rule | None = None) -> Rule:
    """Return the rule of a model under a pipeline's settings; an anomaly in progress outlives a change of model.

    Raises:
        ContractError: the pipeline rejects labels that the model does not have.
    """
    output = contract.outputs[0]
    if contract.kind == "classifier":
        missing = [label for label in settings.reject if label not in output.labels]
        if missing:
            raise ContractError(
                [
                    f"model {contract.name} {contract.version} has no label {', '.join(missing)} that the pipeline's"
                    f" [decision] reject names; its labels are {', '.join(output.labels)}"
                ]
            )
        return ClassifierRule(output.name, output.labels, frozenset(settings.reject), settings.threshold)
    if contract.kind != "anomaly":
        raise ContractError(
            [f"model {contract.name} {contract.version} is a {contract.kind}; a classifier or an anomaly model judges"]
        )
    clear = settings.threshold if settings.clear is None else settings.clear
    alarmed = before.alarmed if isinstance(before, AnomalyRule) else False
    return AnomalyRule(output.name, settings.threshold, clear, alarmed)


def worst_of(rows: Sequence[Judgement], empty: Verdict) -> Judgement:
    """Return the judgement of an input in which several things were found: one that is NOK rejects it.

    What is unknown of one thing is unknown of the whole, unless another is NOK anyway.
    """
    if not rows:
        return Judgement(empty, "empty", reason="nothing_found" if empty is Verdict.UNKNOWN else "")
    order = (Verdict.OK, Verdict.UNKNOWN, Verdict.NOK)
    return max(rows, key=lambda row: (order.index(row.verdict), row.score))


class ClassifierRule:
    """NOK when the probabilities of the rejected labels add up to the threshold."""

    def __init__(self, output: str, labels: tuple[str, ...], reject: frozenset[str], threshold: float) -> None:
        """Turn labels into indices once."""
        self._output, self._labels, self._threshold = output, labels, threshold
        self._reject = tuple(index for index, label in enumerate(labels) if label in reject)

    def judge(self, outputs: Mapping[str, NDArray[Any]], batch: int) -> list[Judgement]:
        """Judge by [batch, labels] probabilities."""
        rows = outputs[self._output]
        if rows.shape != (batch, len(self._labels)):
            return [_wrong_shape(rows, (batch, len(self._labels)))] * batch
        return [self._judge(row) for row in rows.tolist()]

    def _judge(self, row: list[float]) -> Judgement:
        if not math.isfinite(sum(row)):
            return _NOT_FINITE
        best = max(row)
        verdict = Verdict.NOK if sum([row[index] for index in self._reject]) >= self._threshold else Verdict.OK
        scores = dict(zip(self._labels, row, strict=True))
        if len(scores) > MAX_SCORES:
            scores = dict(sorted(scores.items(), key=lambda item: -item[1])[:MAX_SCORES])
        return Judgement(verdict, self._labels[row.index(best)], best, scores)


class AnomalyRule:
    """NOK when the score reaches the threshold, until it falls under `clear`."""

    def __init__(self, output: str, threshold: float, clear: float, alarmed: bool = False) -> None:
        """Go on where an earlier rule stood."""
        self._output, self._threshold, self._clear = output, threshold, clear
        self.alarmed = alarmed

    def judge(self, outputs: Mapping[str, NDArray[Any]], batch: int) -> list[Judgement]:
        """Judge by [batch] or [batch, 1] scores."""
        scores = outputs[self._output]
        if scores.shape not in ((batch,), (batch, 1)):
            return [_wrong_shape(scores, (batch,))] * batch
        return [self._judge(score) for score in scores.ravel().tolist()]

    def _judge(self, score: float) -> Judgement:
        if not math.isfinite(score):
            return _NOT_FINITE
        self.alarmed = score >= (self._clear if self.alarmed else self._threshold)
        if self.alarmed:
            return Judgement(Verdict.NOK, "anomaly", score)
        return Judgement(Verdict.OK, "normal", score)


UNJUDGED: Final = Judgement(Verdict.UNKNOWN)
_NOT_FINITE: Final = Judgement(Verdict.UNKNOWN, reason="bad_output: a score is not a finite number")


def _wrong_shape(output: NDArray[Any], wanted: tuple[int, ...]) -> Judgement:
    return Judgement(Verdict.UNKNOWN, reason=f"bad_output: shape {output.shape}, the contract promises {wanted}")
