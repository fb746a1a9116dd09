"""Which units of a Modbus line or gateway answer, and to what: who is silent is left alone for a while. Pure.

Times are nanoseconds of CLOCK_MONOTONIC, given by the caller.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from schemas.errors import ConnectorError, TagError

FIRST_S: Final = 0.2  # after the first silence
MOST_S: Final = 5.0  # a dead unit costs the line one wait for an answer this often


class NoAnswer(ConnectorError):
    """One unit gave no answer, or none that can be believed; the others may be fine."""


class Unanswered(TagError):
    """A unit that is there gave no answer to this one request."""


@dataclass
class Patience:
    """With a unit, or with one request that a unit gives no answer to. `silent`: why it rests, "" while it answers."""

    silent: str = ""
    _tries: int = 0
    _retry_ns: int = 0

    def answered(self) -> None:
        """It has answered."""
        self.silent, self._tries = "", 0

    def failed(self, reason: str, now_ns: int) -> None:
        """It has not: leave it alone, at each further time for longer."""
        delay_s = min(MOST_S, FIRST_S * 2**self._tries) * random.uniform(0.7, 1.0)  # noqa: S311 - jitter
        self._tries = min(self._tries + 1, 10)
        self._retry_ns = now_ns + int(delay_s * 1e9)
        self.silent = reason

    def rests(self, now_ns: int) -> bool:
        """Whether it is not to be asked yet."""
        return bool(self.silent) and now_ns < self._retry_ns


@dataclass
class Unit(Patience):
    """One device. `write_lost`: it missed a write while it was silent."""

    number: int = 1
    write_lost: bool = False
