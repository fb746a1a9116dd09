"""Which good parts are judged: drawn so that what is said of them holds for all of them. Pure.

Each part gets a random number at its birth; the sample is the parts with the smallest ones so far, and they are judged
from the smallest on. The ten (twenty, ...) with the smallest numbers of all that came so far are a simple random
sample, however late or early in the shift somebody had time to judge them. A part that comes later with a smaller
number goes to the front; until it is judged, those behind it count only as a sample of the parts before it: that is
what `Fair` holds. They count by tens: if each counted at once, parts judged early would count more often, because they
lie ready behind those that are judged now (the test shows it).
Source: bottom-k sampling, E. Cohen and H. Kaplan, Summarizing data using bottom-k sketches, PODC 2007.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Final

import msgspec

from edge.operator_page.intervals import LEAST

STEP: Final = LEAST


class Fair(msgspec.Struct, frozen=True, kw_only=True):
    """Parts that were a fair sample of all parts until `at_ms`, each of them judged."""

    names: list[str] = []
    at_ms: int = 0


class Sample:
    """The smallest numbers of all that were offered."""

    def __init__(self, size: int) -> None:
        """Hold at most `size` parts."""
        self._size = size
        self._held: list[tuple[float, str]] = []

    def __contains__(self, name: str) -> bool:
        return any(held == name for _, held in self._held)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def limit(self) -> float:
        """What a part's number must be under to come in."""
        return self._held[-1][0] if len(self._held) >= self._size else 1.0

    def offer(self, number: float, name: str) -> str | None:
        """Take a part whose number is under `limit`; return the one that leaves for it."""
        insort(self._held, (number, name))
        return self._held.pop()[1] if len(self._held) > self._size else None

    def in_turn(self) -> list[str]:
        """Return the parts in the order in which they are to be judged."""
        return [name for _, name in self._held]

    def ready(self, is_judged: Callable[[str], bool]) -> list[str]:
        """Return the parts before the first one that is not judged."""
        found: list[str] = []
        for _, name in self._held:
            if not is_judged(name):
                break
            found.append(name)
        return found

    def judged(self, is_judged: Callable[[str], bool]) -> list[str]:
        """Return the parts that count now: as many tens as are ready."""
        found = self.ready(is_judged)
        return found[: len(found) // STEP * STEP]
