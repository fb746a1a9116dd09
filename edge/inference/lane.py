"""One thread, several pipelines: what runs next, what gives way, who is let in.

The pipeline of the highest priority that has a batch ready goes first, of two the one whose next deadline comes first.
A run in progress is never interrupted, which is what admission counts with. Between two runs the loop receives, so
that what came in meanwhile has its turn.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from edge.inference.admission import Load, largest_batch
from edge.inference.cpu_cap import CpuCap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge.inference.pipeline import Pipeline
    from edge.inference.work import Answer

_SOON_S: Final = 0.0005  # a wait shorter than this is not worth a timer


class Served(Protocol):
    """A pipeline with somewhere for its answers to go."""

    pipeline: Pipeline
    actuates: bool

    def publish(self, answers: list[Answer]) -> None:
        """Send answers."""
        ...


class Lane:
    """Schedules the pipelines of one runtime on its loop."""

    def __init__(self, cap: CpuCap | None = None) -> None:
        """Start empty, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._cap = cap or CpuCap()
        self._served: list[Served] = []
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, served: Served) -> None:
        """Let a pipeline compete; its models are admitted from now on by what the others need."""
        pipeline = served.pipeline
        pipeline.admit = lambda worst_ms: self._admit(served, worst_ms)
        if pipeline.settings.overload == "shed_lowest_priority":
            pipeline.room = lambda: self._make_room(pipeline)
        self._served.append(served)

    def wake(self) -> None:
        """Run, after all that this turn of the loop has received: that is the batch."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        self._scheduled = False
        if wait_ns := self._cap.wait_ns():
            self._scheduled = True  # whatever comes in meanwhile waits with the rest
            self._loop.call_later(wait_ns / 1e9, self._step)
            return
        now_ns = time.monotonic_ns()
        chosen, soonest_ns = choose(self._served, now_ns)
        if chosen is None:
            if soonest_ns is not None:
                self._look_again(soonest_ns - now_ns)
            return
        try:
            chosen.publish(chosen.pipeline.step())
        finally:
            if any(served.pipeline.waiting for served in self._served):
                self.wake()

    def _look_again(self, wait_ns: int) -> None:
        """Wake when a delayed batch is due; what comes in before wakes it too."""
        if wait_ns / 1e9 < _SOON_S:
            self.wake()
            return
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(wait_ns / 1e9, self.wake)

    def _make_room(self, pipeline: Pipeline) -> bool:
        """Shed the oldest input of the lowest priority that waits, if that is lower than this pipeline's."""
        lower = [s for s in self._served if s.pipeline.waiting and _level(s.pipeline) > _level(pipeline)]
        if not lower:
            return False
        victim = max(lower, key=lambda served: _level(served.pipeline))
        victim.publish([victim.pipeline.shed()])
        return True

    def _admit(self, served: Served, worst_ms: Mapping[int, float]) -> int:
        others = [self._load(other) for other in self._served if other is not served and other.pipeline.graph()]
        return largest_batch(self._load(served, worst_ms), others)

    def _load(self, served: Served, worst_ms: Mapping[int, float] | None = None) -> Load:
        pipeline, graph = served.pipeline, served.pipeline.graph()
        times = worst_ms or (graph.worst_ms if graph else {})
        largest = pipeline.settings.max_batch_size if worst_ms else pipeline.largest
        return Load(pipeline.name, pipeline.settings.deadline_ms, _level(pipeline), served.actuates, times, largest)


def choose(served: Sequence[Served], now_ns: int) -> tuple[Served | None, int | None]:
    """Return whose batch runs now; without one, when the first will be ready (None: nothing waits)."""
    best: Served | None = None
    best_rank: tuple[int, int] | None = None
    soonest_ns: int | None = None
    for one in served:
        ready_ns = one.pipeline.ready_ns(now_ns)
        if ready_ns is None:
            continue
        if ready_ns > now_ns:
            soonest_ns = ready_ns if soonest_ns is None else min(soonest_ns, ready_ns)
            continue
        rank = (_level(one.pipeline), one.pipeline.queue.deadline_ns)
        if best_rank is None or rank < best_rank:
            best, best_rank = one, rank
    return best, soonest_ns


def _level(pipeline: Pipeline) -> int:
    return pipeline.settings.dynamic_batching.priority_level
