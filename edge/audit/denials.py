"""Tells that somebody was refused: at a login, or for want of a right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import uuid4

from bus.typed import RateLimit
from edge.audit.deeds import ACCESS_DENIED
from edge.process import Process
from schemas.messages import Phase, Severity

Denied = Callable[[str, str], None]  # what somebody wanted, and who that says to be
ANONYMOUS: Final = "anonymous"
_HZ, _AT_ONCE = 0.2, 20.0  # events: who is refused may ask again as often as it likes


def untold(_wanted: str, _by: str) -> None:
    """Tell nobody."""


class Denials:
    """Tells on the bus what was refused: the historian keeps it."""

    def __init__(self, process: Process) -> None:
        """Speak as `process`."""
        self._process = process
        self._limit, self._untold = RateLimit(_HZ, _AT_ONCE), 0

    def tell(self, wanted: str, by: str) -> None:
        """Tell of one; those that are too many are counted, as `untold` of the next that is told."""
        if not self._limit.take():
            self._untold += 1
            return
        count, self._untold = self._untold, 0
        by = by[:64] or ANONYMOUS
        self._process.event(
            ACCESS_DENIED, Phase.NEW, Severity.WARNING, f"{by} was refused {wanted}"[:1000],
            key=f"{ACCESS_DENIED}-{uuid4().hex}", wanted=wanted[:256], by=by, untold=count,
        )  # fmt: skip
