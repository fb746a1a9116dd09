"""Lists that a client pages through, and the handles that it lets go of (OPC 40100-1, 7.10.2.3 and 7.10.2.4).

A list is fixed when it begins: results that come meanwhile do not move its pages. Each session has some of its own.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from edge.opcua_server.vision.results import Filter, Record

LISTED: Final = 500  # results of one answer: some 300 kB
LOOKED_PAGES: Final = 40  # of the store, for one answer: some 0.4 s of a thread
HANDLES: Final = 5  # of a session
LONGEST_S: Final = 120.0  # a handle is kept for so long
_numbers: Final = itertools.count(1)


@dataclass
class Listing:
    """A walk over results, where it stands, and what is asked for next where the client goes on with it."""

    pipeline: str
    wanted: Filter
    walk: Iterator[Record | None]
    told: int = 0
    next: int = 0
    ahead: list[Record | None] = field(default_factory=list[Record | None])

    def go_on(self, skip: int, most: int) -> tuple[list[Record], bool]:
        """Return up to `most` wanted results after `skip` more, and whether that was all. It belongs on a thread.

        Raises:
            HistoryError: the store can't be read.
        """
        found: list[Record] = []
        pages = 0
        for one in itertools.chain(self._drained(), self.walk):
            if one is None:
                pages += 1
            elif self.wanted.passes(one):
                if len(found) >= most:
                    self.ahead.append(one)
                    return found, False
                skip -= 1
                if skip < 0:
                    found.append(one)
            if pages >= LOOKED_PAGES:
                return found, False
        return found, True

    def _drained(self) -> Iterator[Record | None]:
        while self.ahead:
            yield self.ahead.pop()


@dataclass
class _Held:
    listing: Listing | None
    until_s: float


class Handles:
    """What a session holds of results: so many, none for long. What has no list gives way first, then the oldest."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._held: dict[int, _Held] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._held)

    def keep(self, listing: Listing | None, timeout_ms: int) -> int:
        """Return a handle, unique in the server; a negative time is one that the client can't estimate."""
        self._forget()
        while len(self._held) >= HANDLES:
            idle = (number for number, one in self._held.items() if one.listing is None)
            del self._held[next(idle, next(iter(self._held)))]
        held_s = timeout_ms / 1000 if 0 < timeout_ms < LONGEST_S * 1000 else LONGEST_S
        handle = next(_numbers) % 2**32
        self._held[handle] = _Held(listing, time.monotonic() + held_s)
        return handle

    def following(self, pipeline: str, wanted: Filter, start: int) -> tuple[int, Listing] | None:
        """Return the list that a client goes on with, and its handle."""
        self._forget()
        for handle, held in reversed(self._held.items()):
            one = held.listing
            if one is not None and (one.pipeline, one.wanted, one.next) == (pipeline, wanted, start):
                return handle, one
        return None

    def release(self, handle: int) -> bool:
        """Let go; whether it was held."""
        return self._held.pop(handle, None) is not None

    def _forget(self) -> None:
        now = time.monotonic()
        for handle in [handle for handle, held in self._held.items() if held.until_s < now]:
            del self._held[handle]
