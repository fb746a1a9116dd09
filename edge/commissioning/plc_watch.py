"""Looks at the simulated PLC all the time, and turns what it saw into spans and marks. Nothing is written to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from edge.commissioning.record import Lane, Mark, Trace
from edge.sim.control import State, read_state
from schemas.errors import StartError

ASK_S: Final = 0.01
SAMPLES_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The PLC at one moment (CLOCK_MONOTONIC, seconds). `passes`: parts that the ejector let go by since its start."""

    at: float
    armed: bool
    tripped: bool
    reject: bool
    heartbeat: int
    passes: int

    @property
    def safe(self) -> bool:
        """Whether no later verdict can pass a part: the watchdog has tripped, or the fail-safe stands unarmed."""
        return self.tripped or (self.reject and not self.armed)

    @property
    def how(self) -> str:
        """What it stands at."""
        coil = f"reject {str(self.reject).lower()}, armed {str(self.armed).lower()}"
        return f"{coil}, watchdog tripped: all rejected" if self.tripped else coil


def sample_of(state: State, at: float) -> Sample:
    """Return what a plant's answer says of its PLC."""
    heartbeat, passes = state["heartbeat"], state["passes"]
    return Sample(
        at, bool(state["armed"]), bool(state["watchdog_tripped"]), bool(state["reject"]),
        heartbeat if isinstance(heartbeat, int) else 0, passes if isinstance(passes, int) else 0,
    )  # fmt: skip


class PlcWatch:
    """Samples of the simulated PLC since `begin_anew`."""

    def __init__(self, control: Path) -> None:
        """Ask nothing yet; `control` is the plant's socket."""
        self.control = control
        self.samples: list[Sample] = []
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            before = time.monotonic()
            with contextlib.suppress(StartError):
                state = await asyncio.to_thread(read_state, self.control)
                if len(self.samples) < SAMPLES_KEPT:
                    self.samples.append(sample_of(state, (before + time.monotonic()) / 2))
                self._news.set()
                self._news = asyncio.Event()
            await asyncio.sleep(ASK_S)

    async def begin_anew(self) -> Sample:
        """Forget what was seen; return the first sample from now on."""
        self.samples = []
        first = await self.until(lambda one: True, 0.0, 10.0)
        if first is None:
            raise StartError(f"{self.control}: the simulated plant does not answer any more")
        return first

    def first(self, holds: Callable[[Sample], bool], since: float) -> Sample | None:
        """Return the first sample after a moment of which something holds."""
        return next((one for one in self.samples if one.at > since and holds(one)), None)

    async def until(self, holds: Callable[[Sample], bool], since: float, timeout_s: float) -> Sample | None:
        """Wait for a sample after a moment of which something holds; None where it did not come in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.first(holds, since) is None:
                    await self._news.wait()
        return self.first(holds, since)

    def between(self, from_s: float, to_s: float) -> list[Sample]:
        """Return the samples from one moment to another."""
        return [one for one in self.samples if from_s <= one.at <= to_s]


def stands_since(samples: Sequence[Sample]) -> Sample | None:
    """Return the sample from which on the PLC is safe to the last one; None where it is not safe at the end.

    On a slow cable a late heartbeat can end the watchdog's trip once more: what counts is when it stands for good.
    """
    found: Sample | None = None
    for one in samples:
        found = (found or one) if one.safe else None
    return found


def longest_gap_ms(samples: Sequence[Sample]) -> float:
    """Return the longest time without a sample: so far a moment may lie from the one that is told."""
    return max(((later.at - earlier.at) * 1e3 for earlier, later in pairwise(samples)), default=0.0)


def trace_of(samples: Sequence[Sample], zero: float, fault_to: float, marks: Sequence[Mark]) -> Trace:
    """Return a picture of samples around a fault that began at `zero` and ended at `fault_to`."""
    from_s = samples[0].at - zero if samples else 0.0
    to_s = samples[-1].at - zero if samples else 0.0
    lanes = [
        Lane(name="fault", spans=[(0.0, round(max(fault_to - zero, 0.0), 3))]),
        Lane(name="device armed", spans=_spans(samples, zero, lambda one: one.armed)),
        Lane(name="reject coil on", spans=_spans(samples, zero, lambda one: one.reject)),
        Lane(name="PLC watchdog tripped", spans=_spans(samples, zero, lambda one: one.tripped)),
        Lane(name="PLC at fail-safe", spans=_spans(samples, zero, lambda one: one.safe)),
    ]
    passed = [round(b.at - zero, 3) for a, b in pairwise(samples) for _ in range(b.passes - a.passes)]
    return Trace(from_s=round(from_s, 3), to_s=round(to_s, 3), lanes=lanes, marks=list(marks), passed=passed)


def _spans(samples: Sequence[Sample], zero: float, holds: Callable[[Sample], bool]) -> list[tuple[float, float]]:
    spans: list[tuple[float, float]] = []
    since: float | None = None
    for one in samples:
        if holds(one) and since is None:
            since = one.at
        elif not holds(one) and since is not None:
            spans.append((round(since - zero, 3), round(one.at - zero, 3)))
            since = None
    if since is not None:
        spans.append((round(since - zero, 3), round(samples[-1].at - zero, 3)))
    return spans
