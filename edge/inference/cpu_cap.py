"""A bound on the share of a core that a real-time lane takes.

The kernel stops every SCHED_FIFO task of a core that has been busy for 950 of 1,000 ms (sched_rt_runtime_us), for the
50 ms that remain: at saturation that was a stall of 50 ms in each second. A lane that leaves a little of each window
itself never meets that limit, and whoever must stop a lane that runs wild finds time to do it. The window is short
because its rest is a stall, too: at saturation (16 in flight, 4 a batch) p99 was 10.8 ms with one of 100 ms, 5.7 ms
with one of 20, 4.4 ms without any.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW_NS: Final = 20_000_000
SHARE: Final = 0.94  # of a window; the kernel's limit is 0.95, and what receives runs beside it


def in_real_time() -> bool:
    """Return whether this process runs under SCHED_FIFO now; a supervisor may raise it after its start."""
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO


class CpuCap:
    """Says how long a lane must wait before its next run."""

    def __init__(
        self,
        clock: Callable[[], int] = time.monotonic_ns,
        used: Callable[[], int] = time.thread_time_ns,
        applies: Callable[[], bool] = in_real_time,
    ) -> None:
        """`used`: CPU time of the lane's thread in ns. `applies`: asked once in each window."""
        self._clock, self._used, self._ask = clock, used, applies
        self._end_ns = self._before_ns = 0
        self._applies = False

    def wait_ns(self) -> int:
        """Return how long to wait, 0 nearly always."""
        now_ns = self._clock()
        if now_ns >= self._end_ns:
            self._begin(now_ns)
        if not self._applies or self._used() - self._before_ns < SHARE * WINDOW_NS:
            return 0
        return self._end_ns - now_ns

    def _begin(self, now_ns: int) -> None:
        """Begin a window; what a run took of the last one beyond its share counts in this one."""
        used_ns, follows = self._used(), now_ns < self._end_ns + WINDOW_NS
        over_ns = max(0, used_ns - self._before_ns - int(SHARE * WINDOW_NS)) if follows else 0
        self._end_ns, self._before_ns = now_ns + WINDOW_NS, used_ns - min(over_ns, WINDOW_NS)
        self._applies = self._ask()
