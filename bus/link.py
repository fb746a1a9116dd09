"""What a session needs of one connection, and how long it waits between two."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from bus.outbox import Outgoing


class Link(Protocol):
    """One connection, open and accepted by the broker. `closed` resolves to the reason of its end."""

    session_present: bool
    receive_maximum: int
    closed: asyncio.Future[str]

    def publish_now(self, topic: str, payload: bytes, retain: bool, response_topic: str, correlation: bytes) -> bool:
        """Send with QoS 0; return False when the broker does not keep up, or does not take messages of this size."""
        ...

    def publish(self, message: Outgoing, again: bool) -> bool:
        """Send with QoS 1 under `message.pid`; return False when the broker does not take messages of this size."""
        ...

    def flush(self) -> None:
        """Hand what was sent so far to the operating system when this callback ends."""
        ...

    async def subscribe(self, topic_filter: str, qos: int, identifier: int) -> None:
        """Subscribe and wait for the broker's word.

        Raises:
            BusRefused: the broker said no.
            BusDisconnected: the connection ended before it said anything.
        """
        ...

    async def drain(self) -> None:
        """Wait until everything is handed to the operating system."""
        ...

    async def close(self, *, goodbye: bool) -> None:
        """End the connection: with a DISCONNECT, or abruptly. Leaves no task and no socket."""
        ...


class Backoff:
    """Pauses between attempts: doubled from 0.05 to 2 s, each cut by up to a half at random."""

    def __init__(self, first_s: float = 0.05, last_s: float = 2.0) -> None:
        """Start with the first pause."""
        self._first_s, self._last_s = first_s, last_s
        self._next_s = first_s

    def take(self) -> float:
        """Return the next pause in seconds."""
        pause, self._next_s = self._next_s, min(self._next_s * 2, self._last_s)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects, no secret

    def reset(self) -> None:
        """Start over."""
        self._next_s = self._first_s
