"""What `plantedge up` shows: a live table on a terminal, plain lines elsewhere.

Keys on a terminal: `f` cuts the simulated PLC's cable for five seconds, `q` ends, also while all is still starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator

from edge.line.picture import Picture
from edge.line.terminal import keys

REFRESH_S = 0.5
PLAIN_S = 5.0


class View:
    """Speaks to the person: lines while starting, then what the line does."""

    def __init__(self, plain: bool = False) -> None:
        """Be plain where nobody can see colours or press keys."""
        told = any(os.environ.get(name) for name in ("NO_COLOR", "CI")) or os.environ.get("TERM") == "dumb"
        self.plain = plain or told or not (sys.stdout.isatty() and sys.stdin.isatty())
        self._cut: Callable[[], None] | None = None

    def say(self, text: str) -> None:
        """Say one line; nobody listening any more is no reason to stop."""
        with contextlib.suppress(BrokenPipeError):
            print(text, flush=True)

    @contextlib.contextmanager
    def listening(self, quit_asked: Callable[[], None]) -> Generator[None, None, None]:
        """Heed keys within the block; none is echoed."""

        def pressed(key: str) -> None:
            if key in ("q", "Q"):
                quit_asked()
            elif key in ("f", "F") and self._cut:
                self._cut()

        with contextlib.nullcontext() if self.plain else keys(pressed):
            yield

    async def show(self, picture: Picture, for_s: float | None) -> None:
        """Show the line until the time is over; endlessly without one."""
        until = None if for_s is None else time.monotonic() + for_s
        self._cut = picture.cut_cable
        await (self._lines(picture, until) if self.plain else _table(picture, until))

    async def _lines(self, picture: Picture, until: float | None) -> None:
        while until is None or time.monotonic() < until:
            rest = PLAIN_S if until is None else min(PLAIN_S, max(0.0, until - time.monotonic()))
            await asyncio.sleep(rest)
            self.say(await asyncio.to_thread(picture.line))


async def _table(picture: Picture, until: float | None) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while until is None or time.monotonic() < until:
            live.update(await asyncio.to_thread(picture.table, *console.size), refresh=True)
            await asyncio.sleep(REFRESH_S)
