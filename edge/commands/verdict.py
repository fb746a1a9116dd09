"""One line of `plantedge doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Verdict:
    """What was looked at, how it is, and what to do where it is not well."""

    level: Level
    about: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.level:<5} {self.about:<12} {self.text}" + (f"; {self.remedy}" if self.remedy else "")
