"""Messages that wait for a broker: so many, and the oldest give way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Told:
    """A message as it is published: encoded once, so that what is sent again is the same."""

    topic: str
    payload: bytes
    retain: bool


class Waiting:
    """At most `most` messages in their order. `dropped`: those that gave way since the start."""

    def __init__(self, most: int) -> None:
        """Start empty."""
        self.dropped = 0
        self._most = most
        self._kept: deque[Told] = deque()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._kept)

    def add(self, message: Told) -> None:
        """Let the newest wait."""
        self._kept.append(message)
        self._give_way()

    def take(self, most: int) -> list[Told]:
        """Return the oldest, which wait no longer."""
        return [self._kept.popleft() for _ in range(min(most, len(self._kept)))]

    def put_back(self, messages: list[Told]) -> None:
        """Let the oldest wait again: they were not delivered."""
        self._kept.extendleft(reversed(messages))
        self._give_way()

    def _give_way(self) -> None:
        while len(self._kept) > self._most:
            self._kept.popleft()
            self.dropped += 1
