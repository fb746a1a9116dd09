"""The event stream (SSE): a snapshot or what changed since the reader's cursor, coalesced every 250 ms.

There is no queue per reader: the next event is made when the last one has left, from the state of that moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cloud.fleet import Fleet
from cloud.problems import Problem

COALESCE_S = 0.25
BEAT_S = 5.0  # an event at least this often: a page then knows silence from calm
MAX_STREAMS = 64


class Streams:
    """All open event streams of a service."""

    def __init__(self, fleet: Fleet) -> None:
        """Start with none."""
        self._fleet = fleet
        self._open = 0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams; readers reconnect to the next start of the service and get a fresh snapshot."""
        self._closing.set()

    async def serve(self, request: Request) -> Response:
        """Answer `GET /api/v1/events`: resumes at Last-Event-ID, or at `?after=CURSOR`."""
        if self._open >= MAX_STREAMS:
            raise Problem(503, "Too many streams", f"{MAX_STREAMS} pages are open; close one and reload")
        cursor = request.headers.get("last-event-id") or request.query_params.get("after", "")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(cursor), media_type="text/event-stream", headers=headers)

    async def _events(self, cursor: str) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            yield b"retry: 2000\n\n"
            sent_s = float("-inf")
            while not self._closing.is_set():
                now_s = time.monotonic()
                if cursor != self._fleet.cursor or now_s - sent_s >= BEAT_S:
                    snapshot = self._fleet.since(cursor)
                    cursor, sent_s = snapshot.cursor, now_s
                    yield b"id: %s\ndata: %s\n\n" % (cursor.encode(), msgspec.json.encode(snapshot))
                await self._pause()
        finally:
            self._open -= 1

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(COALESCE_S):
                await self._closing.wait()
        except TimeoutError:
            return
