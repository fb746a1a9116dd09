"""A closed loop: so many requests in flight, the next is sent when one is answered. Standard library alone.

A client is a program of its own, in whichever environment has its packages: its first line on stdin is JSON for the
transport; each line after it orders a window, and is answered by one line of JSON on stdout.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

WARM_UP = 30  # requests of each window that are not counted: who was stopped has to wake up
SAMPLE = 40  # answers of each window whose contents are handed on to be compared
PATIENCE_S = 10.0
Answer = tuple[int, int, Any]  # seq, CLOCK_MONOTONIC in ns, the reply; None in its place if it was no result


class Transport(Protocol):
    """How requests travel to one kind of server."""

    def open(self, in_flight: int) -> None:
        """Be ready for so many at once."""
        ...

    def send(self, seq: int) -> None:
        """Send request `seq`."""
        ...

    def receive(self, timeout_s: float) -> list[Answer]:
        """Wait for at least one answer; none at the timeout."""
        ...

    def content(self, seq: int, reply: Any) -> tuple[int, list[float]]:
        """Return which image was asked about, and the probabilities that came."""
        ...


class Loop:
    """Windows over one transport; `seq` counts on over all of them."""

    def __init__(self, transport: Transport) -> None:
        """Start with request 1."""
        self._transport = transport
        self._next = 1
        self._sent_ns: dict[int, int] = {}
        self.replies: list[tuple[int, Any]] = []

    def _send(self) -> None:
        self._sent_ns[self._next] = time.monotonic_ns()
        self._transport.send(self._next)
        self._next += 1

    def window(self, in_flight: int, seconds: float) -> dict[str, Any]:
        """Return latencies in microseconds, and how many were sent, answered by no result, and not at all."""
        self._transport.open(in_flight)
        self._run(in_flight, PATIENCE_S, WARM_UP)
        self.replies = []
        start = time.monotonic()
        us, dropped, last_ns = self._run(in_flight, seconds, 0)
        lost = len(self._sent_ns)
        self._sent_ns.clear()
        picked = random.sample(self.replies, min(SAMPLE, len(self.replies)))
        return {
            "us": us, "seconds": last_ns / 1e9 - start, "sent": len(us) + dropped + lost, "dropped": dropped,
            "lost": lost, "sample": [self._transport.content(seq, reply) for seq, reply in picked],
        }  # fmt: skip

    def _run(self, in_flight: int, seconds: float, at_most: int) -> tuple[list[float], int, int]:
        """Keep `in_flight` on their way for `seconds`, or until `at_most` were sent (0: no end), then take the rest."""
        us: list[float] = []
        dropped, last_ns = 0, time.monotonic_ns() + 1
        until_ns, stop_at = time.monotonic_ns() + int(seconds * 1e9), self._next + at_most if at_most else 1 << 62
        for _ in range(in_flight):
            self._send()
        while self._sent_ns:
            answers = self._transport.receive(PATIENCE_S)
            if not answers:
                break
            for seq, now_ns, reply in answers:
                sent_ns = self._sent_ns.pop(seq, None)
                if sent_ns is None:
                    continue  # of a window that had given it up
                last_ns = now_ns
                if reply is None:
                    dropped += 1
                else:
                    us.append((now_ns - sent_ns) / 1e3)
                    self.replies.append((seq, reply))
                if now_ns < until_ns and self._next < stop_at:
                    self._send()
        return us, dropped, last_ns


def play(make: Callable[[dict[str, Any]], Transport]) -> None:
    """Be a client: until stdin ends."""
    loop = Loop(make(json.loads(sys.stdin.readline())))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(loop.window(order["in_flight"], order["seconds"])), flush=True)
