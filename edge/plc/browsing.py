"""What a PLC offers, for `plantedge plc browse`, and how long a driver may go on asking."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Offered:
    """One thing that a PLC has, or says of itself.

    `path`: where it stands in its tree, the root first. `address`, `type`: what a tag list would say, "" where it is no
    tag. `kind`: its type in the PLC's own words. `note`: what else there is to know. Texts are as the PLC gave them.
    """

    path: tuple[str, ...]
    address: str = ""
    type: str = ""
    kind: str = ""
    writable: bool = False
    note: str = ""


class TimeIsUp(Exception):
    """There is no time left to ask."""


class Bounds:
    """How far a driver may go. `numbers`: units or data blocks to try, () for the driver's own choice."""

    def __init__(self, for_s: float, depth: int, numbers: tuple[int, ...], tell: Callable[[str], None]) -> None:
        """`tell` shows a person what is asked for."""
        self.depth, self.numbers = depth, numbers
        self.requests = 0
        self._until = time.monotonic() + for_s
        self._tell = tell

    def ask(self, about: str) -> None:
        """Say that a request follows, and what it is about; raises TimeIsUp."""
        if time.monotonic() > self._until:
            raise TimeIsUp
        self.requests += 1
        self._tell(about)
