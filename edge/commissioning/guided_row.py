"""What was seen of one guided step, as a row of the acceptance. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge.commissioning.faults import REARM_MS, Times
from edge.commissioning.heard import Told
from edge.commissioning.record import Figure, Lane, Mark, Trace, Verdict, at_most, holds, told
from edge.commissioning.steps import Step
from edge.settings import Outputs


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whose outputs a step is about, and what stands for `{source}`, `{process}` and `{unit}`."""

    pipeline: str
    outputs: Outputs
    times: Times
    process: str = ""
    unit: str = ""

    def words(self, text: str) -> str:
        """Return a text of the table for this device."""
        return text.format(source=self.outputs.source, process=self.process, unit=self.unit)


@dataclass(kw_only=True)
class Seen:
    """What was seen of one step. Moments are CLOCK_MONOTONIC, in seconds; None: not seen.

    `went_on`: parts had verdicts again before the lease had ended, which can't be seen where no part came. `safe_tags`:
    the fail-safe stood in the PLC, None where its tags are not read. `spoke`: an output was the pipeline's own while
    the fail-safe was latched. `rejected`: the engineer's answer.
    """

    begun: float
    sign: float | None = None
    latched: Told | None = None
    latched_at: float | None = None
    mended: float | None = None
    stayed: bool = False
    safe_tags: bool | None = None
    went_on: bool = False
    spoke: bool = False
    released: Told | None = None
    pressed: float | None = None
    rejected: bool | None = None


def wanted_of(step: Step, target: Target) -> str:
    """Return what is wanted of a step, in words."""
    limit = step.limit(target.times)
    within = f" within {limit:g} ms of {step.sign}" if limit is not None else ""
    return f"fail-safe latched{within}, and it stays until the reset"


def figures_of(step: Step, target: Target, seen: Seen) -> list[Figure]:
    """Return the figures of one step, judged."""
    if seen.latched is None and step.may_be_back and seen.sign is not None:
        name = "no fail-safe needed: parts had verdicts again before the lease had ended"
        return [Figure(name=name, value=seen.went_on, verdict=Verdict.PASS if seen.went_on else Verdict.SKIPPED)]
    figures = [_latched(step, target, seen)]
    figures += [told("the device's reason", str(seen.latched.event.args.get("reason", "")))] if seen.latched else []
    figures += [
        holds("PLC read again, heartbeat moves", seen.mended is not None),
        holds("stayed latched until the reset", seen.mended is not None and seen.stayed and not seen.spoke),
    ]
    if seen.safe_tags is not None:
        figures.append(holds("fail-safe value and not armed, as read from the PLC", seen.safe_tags))
    figures.append(holds("released by the reset", seen.released is not None))
    if seen.released is not None and seen.pressed is not None:
        figures.append(at_most("released after the reset was read", (seen.released.at - seen.pressed) * 1e3, REARM_MS))
    name = "the PLC rejected every part, says the engineer"
    if seen.rejected is None:
        return [*figures, Figure(name=name, value="not answered", verdict=Verdict.SKIPPED)]
    return [*figures, holds(name, seen.rejected)]


def _latched(step: Step, target: Target, seen: Seen) -> Figure:
    """The first figure: when the fail-safe was latched, or only that it was, where nothing shows since when."""
    limit = step.limit(target.times)
    name = f"fail-safe latched, from {step.sign}"
    if limit is None or (seen.sign is None and seen.latched is not None):
        return holds("fail-safe latched", seen.latched is not None)
    if seen.sign is None or seen.latched_at is None:
        return at_most(name, None, limit)
    return at_most(name, max(0.0, (seen.latched_at - seen.sign) * 1e3), limit)


def moment_of(told_: Told) -> float:
    """Return when an event happened, not when it was heard: a broker that is away holds it back."""
    ago = (time.time_ns() - told_.event.time_ns) / 1e9
    return min(told_.at, time.monotonic() - ago)


def trace_of(seen: Seen, now: float) -> Trace | None:
    """Return a picture of a step, from its first sign on; None where there was none."""
    zero = seen.sign if seen.sign is not None else seen.latched_at
    if zero is None:
        return None
    end = seen.released.at if seen.released else now

    def at(moment: float) -> float:
        return round(moment - zero, 3)

    lanes = [Lane(name="fault, as seen", spans=[(0.0, at(seen.mended if seen.mended is not None else now))])]
    if seen.latched_at is not None:
        lanes.append(Lane(name="fail-safe latched", spans=[(at(seen.latched_at), at(end))]))
    marks = [Mark(at_s=at(seen.pressed), text="reset")] if seen.pressed is not None else []
    return Trace(
        from_s=min(0.0, at(seen.begun)) if seen.sign is None else -0.1, to_s=at(end) + 1.0, lanes=lanes, marks=marks
    )
