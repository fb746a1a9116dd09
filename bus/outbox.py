"""QoS 1 messages on their way out: a bounded queue, and a window of those that wait for the broker's word.

The window is the broker's Receive Maximum (MQTT 5, 3.2.2.3.3). After a reconnect what was not acknowledged goes out
again: with its packet id and DUP where the broker kept the session, as new where it did not (4.4).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import msgspec

from schemas.errors import BusError

LAST_PID = 32_767  # the ids above are those of SUBSCRIBE


class Outgoing(msgspec.Struct, eq=False):
    """A QoS 1 message. `expires_ns`: CLOCK_MONOTONIC, 0 for never. `done` resolves to the broker's reason code."""

    topic: str
    payload: bytes
    retain: bool = False
    response_topic: str = ""
    correlation: bytes = b""
    expires_ns: int = 0
    done: asyncio.Future[int] | None = None
    pid: int = 0
    forgotten: bool = False

    @property
    def plain(self) -> bool:
        """Whether it needs none of MQTT 5's properties."""
        return not (self.response_topic or self.correlation or self.expires_ns)

    @property
    def expiry_s(self) -> int:
        """The rest of its life in whole seconds, at least 1, as MQTT 5's Message Expiry Interval; 0 for no end."""
        return max(1, -((time.monotonic_ns() - self.expires_ns) // 1_000_000_000)) if self.expires_ns else 0

    @property
    def dead(self) -> bool:
        """Whether nobody wants it sent any more."""
        return self.forgotten or (self.expires_ns > 0 and time.monotonic_ns() >= self.expires_ns)


class Outbox:
    """At most `limit` messages, queued and in flight together."""

    def __init__(self, limit: int) -> None:
        """Start empty, with the smallest window."""
        self._limit = limit
        self.queue: deque[Outgoing] = deque()  # not sent yet
        self._in_flight: dict[int, Outgoing] = {}
        self._pid = 0
        self.window = 1

    def __len__(self) -> int:
        """Return how many are not acknowledged yet."""
        return len(self.queue) + len(self._in_flight)

    def offer(self, message: Outgoing) -> bool:
        """Queue a message; return False when the bound is reached."""
        if len(self.queue) + len(self._in_flight) >= self._limit:
            return False
        self.queue.append(message)
        return True

    def take(self) -> Outgoing | None:
        """Return the next message that may be sent now, with its packet id, or None."""
        while self.queue and len(self._in_flight) < self.window:
            message = self.queue.popleft()
            if not message.dead:
                message.pid = self._next_pid()
                self._in_flight[message.pid] = message
                return message
        return None

    def acknowledge(self, pid: int, code: int) -> Outgoing | None:
        """Take the broker's word on `pid`; return the message, or None if there is none of that id."""
        message = self._in_flight.pop(pid, None)
        if message and message.done and not message.done.done():
            message.done.set_result(code)
        return message

    def resume(self, session_present: bool, window: int) -> list[Outgoing]:
        """Begin a new connection; return what has to be sent again with DUP, before anything new."""
        self.window = min(window, LAST_PID)
        for message in [m for m in self._in_flight.values() if m.dead]:
            del self._in_flight[message.pid]
        if session_present:
            return list(self._in_flight.values())
        for message in reversed(self._in_flight.values()):
            message.pid = 0
            self.queue.appendleft(message)
        self._in_flight.clear()
        return []

    def forget(self, message: Outgoing) -> None:
        """Send it no (further) time: its caller has given up. Only its acknowledgement is still awaited."""
        message.forgotten = True
        if not message.pid and message in self.queue:
            self.queue.remove(message)

    def abandon(self, why: BusError) -> int:
        """Drop everything; return how many messages were lost, whose waiters get `why`."""
        lost = [m for m in (*self._in_flight.values(), *self.queue) if not m.dead]
        self.queue.clear()
        self._in_flight.clear()
        for message in lost:
            if message.done and not message.done.done():
                message.done.set_exception(why)
        return len(lost)

    def _next_pid(self) -> int:
        while True:
            self._pid = self._pid % LAST_PID + 1
            if self._pid not in self._in_flight:
                return self._pid
