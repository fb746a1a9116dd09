"""What a person sees while a run goes on: a bar with what is being done on a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from edge.commissioning.record import Figure, Row, Verdict

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_WORDS: Final = {Verdict.PASS: "PASS", Verdict.FAIL: "FAIL", Verdict.SKIPPED: "skipped"}
_TICK_S: Final = 0.25


class Progress:
    """Tells a person how far a run is. `expected_s` is a guess of the whole, for the bar alone."""

    def __init__(self, expected_s: float) -> None:
        """Say nothing yet."""
        self._expected_s = expected_s
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    @contextlib.contextmanager
    def shown(self) -> Generator[None]:
        """Show the bar within the block, where there is a terminal."""
        told = any(os.environ.get(name) for name in ("NO_COLOR", "CI")) or os.environ.get("TERM") == "dumb"
        if told or not sys.stdout.isatty():
            yield
            return
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn  # rich is slow to import
        from rich.progress import Progress as Bar

        columns = (BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
        with Bar(*columns, transient=True) as self._bar:
            self._task = self._bar.add_task("", total=self._expected_s)
            ticking = asyncio.ensure_future(self._tick(time.monotonic()))
            try:
                yield
            finally:
                ticking.cancel()
                self._bar = None

    async def _tick(self, begun: float) -> None:
        while self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=min(time.monotonic() - begun, self._expected_s * 0.99))
            await asyncio.sleep(_TICK_S)

    def doing(self, text: str) -> None:
        """Say what is being done now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text)

    def say(self, text: str) -> None:
        """Say one line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            with contextlib.suppress(BrokenPipeError):
                print(text, flush=True)

    def done(self, row: Row) -> None:
        """Say what a row has found, in one line."""
        self.say(line_of(row))


def line_of(row: Row) -> str:
    """Return a row in one line: its verdict, its title, and the figures that were judged."""
    judged = [figure_text(one) for one in row.figures if one.limit is not None or one.verdict is Verdict.FAIL]
    said = "; ".join(judged) or row.note
    return f"{_WORDS[row.verdict]:<8} {row.title}" + (f": {said}" if said else "")


def figure_text(figure: Figure) -> str:
    """Return a figure with its limit, in words."""
    limit = "" if figure.limit is None else f" (at most {number(figure.limit)})"
    return f"{figure.name} {value_text(figure)}{limit}"


def value_text(figure: Figure) -> str:
    """Return a figure's value with its unit."""
    value = figure.value
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (value if isinstance(value, str) else number(value)) + (f" {figure.unit}" if figure.unit else "")


def number(value: float) -> str:
    """Return a number as a person reads it."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
