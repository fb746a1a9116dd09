"""What waits for a pipeline: bounded, in the order of arrival, in batches of Triton's words. Pure.

Nothing that is taken in gets lost here: what leaves without being run leaves with its reason.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from edge.inference.reasons import OVERLOAD, SAMPLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.config.pipeline import Pipeline
    from edge.inference.work import Work

QUEUE_BATCHES: Final = 4  # inputs that may wait, in batches; what is older gives way to what is newer
_MOST_SKIPPED: Final = 64

Dropped = list[tuple["Work", str]]


class WorkQueue:
    """One pipeline's inputs. `fit(variant, waiting)` says how many of those that wait can run as one batch."""

    def __init__(self, settings: Pipeline) -> None:
        """Start empty."""
        batching = settings.dynamic_batching
        policy = batching.default_queue_policy
        self.limit = policy.max_queue_size or QUEUE_BATCHES * settings.max_batch_size
        self._largest = settings.max_batch_size
        self._preferred = sorted(batching.preferred_batch_size)
        self._delay_ns = batching.max_queue_delay_microseconds * 1000
        self._delays = policy.timeout_action == "DELAY"
        self._samples = settings.overload == "sample"
        self._works: deque[Work] = deque()
        self._late: deque[Work] = deque()  # timed out, and to be run when nothing else waits
        self._every = self._offered = 1

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._works) + len(self._late)

    def __iter__(self) -> Iterator[Work]:
        """Go through what waits."""
        yield from self._works
        yield from self._late

    @property
    def full(self) -> bool:
        """Whether something must give way to what comes next."""
        return len(self) >= self.limit

    def push(self, work: Work, room: Callable[[], bool] | None = None) -> Dropped:
        """Take an input; return what gives way. `room` may have made place elsewhere when the queue is full."""
        if self._samples and self._skips():
            return [(work, SAMPLED)]
        given_way: Dropped = []
        if self.full and not (room and room()):
            given_way.append((self.shed(), OVERLOAD))
        self._works.append(work)
        return given_way

    def _skips(self) -> bool:
        """Take each n-th only; n doubles each time that the queue runs full and halves when it runs empty."""
        if self.full:
            self._every = min(self._every * 2, _MOST_SKIPPED)
        elif not self._works and self._every > 1:
            self._every //= 2
        self._offered += 1
        return self._offered % self._every != 0

    def shed(self) -> Work:
        """Give up the oldest; what is late already goes first."""
        return (self._late or self._works).popleft()

    def ready_ns(self, now_ns: int, fit: Callable[[str, int], int]) -> int | None:
        """Return when a batch may run: now or earlier, or when its delay is over; None if nothing waits."""
        if not self._works:
            return now_ns if self._late else None
        if not self._delay_ns:
            return now_ns
        head = self._works[0]
        wanted = self._preferred[-1] if self._preferred else max(1, fit(head.variant, self._largest))
        if len(self._works) >= wanted:
            return now_ns
        return min(head.received_ns + self._delay_ns, head.timeout_ns)

    @property
    def deadline_ns(self) -> int:
        """Return the deadline of what is next."""
        return (self._works or self._late)[0].deadline_ns

    def take(self, now_ns: int, fit: Callable[[str, int], int]) -> tuple[list[Work], list[Work]]:
        """Return what has expired, and the next batch: of one variant, in a size that is warm."""
        expired = self._time_out(now_ns)
        works = self._works or self._late
        if not works:
            return expired, []
        variant, alike = works[0].variant, 0
        for work in works:
            if work.variant != variant or alike >= self._largest:
                break
            alike += 1
        size = fit(variant, alike)
        if self._preferred and alike < self._largest:
            size = max((n for n in self._preferred if n <= size), default=size)
        return expired, [works.popleft() for _ in range(size)]

    def _time_out(self, now_ns: int) -> list[Work]:
        """Put aside what has waited too long, wherever it stands."""
        if not any(work.timeout_ns <= now_ns for work in self._works):
            return []
        over = [work for work in self._works if work.timeout_ns <= now_ns]
        self._works = deque(work for work in self._works if work.timeout_ns > now_ns)
        if not self._delays:
            return over
        self._late.extend(over)
        return []

    def filter(self, keeps: Callable[[Work], bool]) -> list[Work]:
        """Keep what still can be run; return what can't."""
        unfit = [work for work in self if not keeps(work)]
        self._works = deque(work for work in self._works if keeps(work))
        self._late = deque(work for work in self._late if keeps(work))
        return unfit
