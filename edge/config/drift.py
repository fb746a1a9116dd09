"""`[drift]` of a pipeline: how its watch learns and when it speaks."""

from __future__ import annotations

from typing import Annotated, Self

from edge.config.section import Field, Section, model_validator


class Drift(Section):
    """How a pipeline is watched for drift.

    A window has ten seconds and at least `min_results`; the limits come from the first `learn_windows` clean ones, so
    wide that chance alone gives `false_alarms_per_week`. `alarm_windows` of the last `of_windows` over a limit raise a
    level; its events come at most every `repeat_s`.
    """

    enabled: bool = True
    min_results: Annotated[int, Field(ge=20, le=100_000)] = 100
    learn_windows: Annotated[int, Field(ge=20, le=5_000)] = 120
    false_alarms_per_week: Annotated[float, Field(gt=0, le=100)] = 0.01
    alarm_windows: Annotated[int, Field(ge=1, le=20)] = 3
    of_windows: Annotated[int, Field(ge=1, le=20)] = 5
    repeat_s: Annotated[float, Field(ge=0, le=86_400)] = 600.0

    @model_validator(mode="after")
    def _alarm_can_come(self) -> Self:
        if self.alarm_windows > self.of_windows:
            raise ValueError("alarm_windows is how many of the last of_windows: it can't be more")
        return self
