"""MQTT 5 request and response: who waits for which correlation data."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager

from msgspec.structs import replace

from bus import Bus, Delivery


class Replies:
    """The requests of one bus that are still open."""

    def __init__(self) -> None:
        """Start without any."""
        self._waiting: dict[bytes, asyncio.Future[Delivery]] = {}
        self._listening: set[str] = set()
        self._lock = asyncio.Lock()

    def correlation(self) -> bytes:
        """Return correlation data that nobody else has: replies to an earlier process must not match."""
        return os.urandom(12)

    async def listen(self, bus: Bus, reply_to: str) -> None:
        """Subscribe to `reply_to`, once."""
        async with self._lock:
            if reply_to not in self._listening:
                await bus.subscribe(reply_to, 1, self._take)
                self._listening.add(reply_to)

    @contextmanager
    def waiting(self, correlation: bytes) -> Generator[asyncio.Future[Delivery], None, None]:
        """Give a future of the reply to `correlation`; later replies match nothing."""
        reply: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = reply
        try:
            yield reply
        finally:
            del self._waiting[correlation]

    def _take(self, delivery: Delivery) -> None:
        reply = self._waiting.get(delivery.correlation)
        if reply and not reply.done():
            reply.set_result(replace(delivery, payload=bytes(delivery.payload)))
