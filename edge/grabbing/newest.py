"""From a thread to the loop, one place: the newest wins, and there is never a backlog."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """`put` from any thread, `take` on the loop that made it. `replaced` counts what nobody took."""

    def __init__(self) -> None:
        """Start empty, on the running loop."""
        self.replaced = 0
        self._loop, self._there = asyncio.get_running_loop(), asyncio.Event()
        self._lock = threading.Lock()
        self._item: T | None = None

    def put(self, item: T) -> None:
        """Leave an item in the place of what lies there."""
        with self._lock:
            first, self._item = self._item is None, item
            self.replaced += not first
        if first:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._there.set)

    async def take(self, timeout_s: float) -> T:
        """Wait for an item.

        Raises:
            TimeoutError: none has come.
        """
        async with asyncio.timeout(timeout_s):
            await self._there.wait()
        with self._lock:
            item, self._item = self._item, None
            self._there.clear()
        if item is None:
            raise TimeoutError
        return item
