"""The engineer at a guided run: what they are told to do, and what they answer, a line at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator
from enum import StrEnum
from typing import Final

_LOOK_S: Final = 0.02
_LINES_KEPT: Final = 16
_READ: Final = 1_024


class Answer(StrEnum):
    """What came of waiting for something."""

    SEEN = "seen"
    SKIPPED = "skipped"
    LATE = "late"


class Terminal:
    """Asks a person. What was typed before a question is no answer to it, and is dropped."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Nobody is there where input or output is no terminal."""
        self.there = sys.stdin.isatty() and sys.stdout.isatty()
        self.say = say
        self._lines: list[str] = []
        self._piece = ""

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Take lines within the block."""
        if not self.there:
            yield
            return
        loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
        loop.add_reader(descriptor, self._read, descriptor)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)

    def _read(self, descriptor: int) -> None:
        data = os.read(descriptor, _READ)
        if not data:  # the terminal has gone
            self.there = False
            asyncio.get_running_loop().remove_reader(descriptor)
        *lines, self._piece = (self._piece + data.decode(errors="replace")).split("\n")
        self._piece = self._piece[-_READ:]
        self._lines = [*self._lines, *(line.strip().lower() for line in lines)][-_LINES_KEPT:]

    async def until(self, seen: Callable[[], bool], timeout_s: float) -> Answer:
        """Wait for something to be seen; the person may skip it by `s`."""
        self._lines = []
        end = time.monotonic() + timeout_s
        while not seen():
            if not self.there or "s" in self._lines:
                return Answer.SKIPPED
            if time.monotonic() > end:
                return Answer.LATE
            await asyncio.sleep(_LOOK_S)
        return Answer.SEEN

    async def yes(self, question: str, timeout_s: float) -> bool | None:
        """Ask for yes or no; None where nobody says it."""
        self.say(f"  {question} [y/n]")
        self._lines = []
        end = time.monotonic() + timeout_s
        while self.there and time.monotonic() < end:
            for line in self._lines:
                if line in ("y", "yes", "n", "no"):
                    return line.startswith("y")
            self._lines = []
            await asyncio.sleep(_LOOK_S)
        return None
