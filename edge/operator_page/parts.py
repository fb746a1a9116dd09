"""One part as the page knows it, kept so that it can be judged: what was said of it, never its picture."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from edge.operator_page.counts import Kind
from schemas.messages import Latency, Outcome, Quality, Result, Verdict

SCORES: Final = 8  # the highest that are kept
TEXT: Final = 200  # characters of what came from a model


class Really(StrEnum):
    """What a person says of a part."""

    BAD = "bad"
    GOOD = "good"
    UNSURE = "unsure"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part and its verdict. `number`: at random, 0 to 1, by which good parts are drawn; `part`: its id in digits."""

    result_id: str
    pipeline: str
    kind: Kind
    shift_ms: int
    number: float
    part: str
    verdict: Verdict
    label: str
    score: float
    scores: dict[str, float]
    quality: Quality
    reason: str
    late: bool
    model: str
    version: str
    latency: Latency
    deadline_ms: float
    time_ms: int


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody said of a part."""

    result_id: str
    really: Really
    by: str
    at_ms: int


def part_of(result: Result, kind: Kind, shift_ms: int, number: float) -> Part:
    """Return a result's part."""
    highest = sorted(result.scores.items(), key=lambda item: -item[1])[:SCORES]
    return Part(
        result_id=result.result_id, pipeline=result.pipeline, kind=kind, shift_ms=shift_ms, number=number,
        part="" if result.part_id is None else str(result.part_id), verdict=result.verdict, label=result.label[:TEXT],
        score=result.score, scores={name[:TEXT]: score for name, score in highest}, quality=result.quality,
        reason=result.reason[:TEXT], late=result.outcome is Outcome.LATE, model=result.model, version=result.version,
        latency=result.latency, deadline_ms=result.deadline_ms, time_ms=result.time_ns // 1_000_000,
    )  # fmt: skip
