"""Whether data flows through a process: said within half a second of the first message, denied after two of silence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from schemas.messages import State

LOOK_S = 0.5
IDLE_AFTER_S = 2.0


class Flow:
    """Looks at a counter of messages."""

    def __init__(self, count: Callable[[], int]) -> None:
        """Start now, with nothing seen."""
        self._count = count
        self._last = count()
        self._began = self._moved = time.monotonic()

    async def look(self) -> tuple[State, str]:
        """Wait for the next look, and return the state with its reason."""
        await asyncio.sleep(LOOK_S)
        now, count = time.monotonic(), self._count()
        if count != self._last:
            self._last, self._moved = count, now
        if now - self._moved > IDLE_AFTER_S:
            return State.IDLE, "nothing arrives"
        return (State.ACTIVE if self._moved > self._began else State.STARTING), ""
