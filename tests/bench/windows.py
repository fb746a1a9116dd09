"""Windows of several contestants, interleaved in one run, so that whatever the machine does it does to all of them.

A round is one window of each. A round from which the hypervisor stole more than the limit is dropped, counted and
repeated; figures are medians over the rounds that were kept.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.bench.machine import steal_and_all, steal_share

STEAL_LIMIT = 0.02
TRIES = 3  # rounds that may be tried, for each that is wanted


@dataclass(frozen=True)
class Window:
    """One window: the latencies of its answers in microseconds, and what had none or was answered by a drop."""

    us: Any
    seconds: float
    sent: int = 0
    dropped: int = 0
    lost: int = 0
    steal: float = 0.0
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Answers in a second."""
        return len(self.us) / self.seconds


@dataclass(frozen=True)
class Rounds:
    """The rounds that were kept."""

    kept: tuple[Mapping[str, Window], ...]
    spoilt: int
    worst_steal: float

    def median(self, name: str, figure: Callable[[Window], float]) -> float:
        """Return the median over the rounds of one contestant's figure."""
        return float(np.median([figure(window[name]) for window in self.kept]))

    def ratio(self, name: str, other: str, figure: Callable[[Window], float]) -> float:
        """Return the median over the rounds of `name`'s figure divided by `other`'s in the same round."""
        return float(np.median([figure(window[name]) / figure(window[other]) for window in self.kept]))

    def total(self, name: str, figure: Callable[[Window], float]) -> float:
        """Return the sum over the rounds."""
        return sum(figure(window[name]) for window in self.kept)

    def all_us(self, name: str) -> Any:
        """Return every latency of a contestant, sorted."""
        return np.sort(np.concatenate([window[name].us for window in self.kept]))

    def __add__(self, other: "Rounds") -> "Rounds":
        """Join two runs of the same contestants."""
        return Rounds(self.kept + other.kept, self.spoilt + other.spoilt, max(self.worst_steal, other.worst_steal))


def percentile(percent: float) -> Callable[[Window], float]:
    """Return the figure that is a percentile of a window's latencies, in microseconds; infinite without any."""
    return lambda window: float(np.percentile(window.us, percent)) if len(window.us) else float("inf")


p50, p99, p999 = percentile(50), percentile(99), percentile(99.9)


def per_second(window: Window) -> float:
    """Return the figure that is a window's answers in a second."""
    return window.per_second


def interleave(
    contestants: Mapping[str, Callable[[], Window]], wanted: int, advance: Callable[[], object] = lambda: None
) -> Rounds:
    """Take `wanted` rounds that nobody stole from; `advance` is told of each.

    Raises:
        RuntimeError: every round was spoilt.
    """
    kept: list[Mapping[str, Window]] = []
    spoilt, worst = 0, 0.0
    names = list(contestants)
    for turn in range(TRIES * wanted):
        order = names if turn % 2 == 0 else names[::-1]  # who comes second in one round comes first in the next
        taken = {name: timed(contestants[name]) for name in order}
        stolen = max(window.steal for window in taken.values())
        worst = max(worst, stolen)
        if stolen > STEAL_LIMIT:
            spoilt += 1
            continue
        kept.append(taken)
        advance()
        if len(kept) == wanted:
            break
    if not kept:
        raise RuntimeError(f"the hypervisor stole more than {STEAL_LIMIT:.0%} of every round; try again later")
    return Rounds(tuple(kept), spoilt, worst)


def timed(take: Callable[[], Window]) -> Window:
    """Take one window, with the share of it that the hypervisor stole."""
    gc.collect()
    before = steal_and_all()
    window = take()
    return replace(window, steal=steal_share(before))


def until(holds: Callable[[], bool], within_s: float, what: str) -> None:
    """Wait for a condition, asked ten times a second.

    Raises:
        RuntimeError: it did not come true.
    """
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {within_s:g} s")
        time.sleep(0.1)
