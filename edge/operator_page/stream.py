"""The event stream (SSE): everything at one moment, whenever something has changed, at most a few times a second.

There is no queue per reader: the next event is made when the last one has left, from the state of that moment; all
readers of that moment get the same bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from edge.operator_page.guard import Problem
from edge.operator_page.views import Snapshot

PERIOD_S: Final = 0.4
MOST_STREAMS: Final = 16
STUCK_S: Final = 20.0  # a reader that takes nothing for so long is gone


class _Stream(StreamingResponse):
    """A stream that ends when its reader does not read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the reader is gone."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STUCK_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except* TimeoutError:
            pass


class Streams:
    """All open event streams of a page."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        """Ask `snapshot` for what to tell."""
        self._snapshot = snapshot
        self._open = 0
        self._made: tuple[float, bytes] = (float("-inf"), b"")

    async def serve(self, request: Request) -> Response:
        """Answer `GET /api/v1/events`."""
        if self._open >= MOST_STREAMS:
            raise Problem(503, "Too many pages", f"{MOST_STREAMS} pages are open; close one and reload")
        return _Stream(self._events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def _events(self) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            yield b"retry: 1000\n\n"
            while True:
                yield self._now()
                await asyncio.sleep(PERIOD_S)
        finally:
            self._open -= 1

    def _now(self) -> bytes:
        if time.monotonic() - self._made[0] >= PERIOD_S / 2:
            self._made = (time.monotonic(), b"data: %s\n\n" % msgspec.json.encode(self._snapshot()))
        return self._made[1]
