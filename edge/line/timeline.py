"""When each stage of a start was reached, in seconds since the command was typed: `run/timeline.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil

Say = Callable[[str], None]


class Timeline:
    """Notes stages, and says each as it is reached."""

    def __init__(self, say: Say) -> None:
        """Count from the start of this process, imports included."""
        self.stages: dict[str, float] = {}
        self._say = say
        self._zero = time.monotonic() - max(0.0, time.time() - psutil.Process().create_time())

    def now(self) -> float:
        """Return seconds since the start."""
        return time.monotonic() - self._zero

    def mark(self, stage: str, text: str = "") -> None:
        """Note a stage, the first time that it is reached."""
        if stage not in self.stages:
            self.stages[stage] = round(self.now(), 3)
            self._say(f"{self.stages[stage]:6.1f} s  {text or stage}")

    def write(self, work: Path) -> None:
        """Write what was reached."""
        path = work / "run" / "timeline.json"
        path.write_text(json.dumps({"stages": self.stages}, indent=1) + "\n")
