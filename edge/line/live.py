"""What `plantedge up` shows: a live table on a terminal, plain lines elsewhere.

Keys on a terminal: `f` cuts the PLC's cable for five seconds, `q` ends. The terminal is restored whatever happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import time
import tty
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from edge.line.demo import control_socket
from edge.line.report import number, plant_state
from edge.line.tally import Percentiles, Tally
from edge.sim.control import send_fault
from edge.supervision.supervisor import Supervisor
from schemas.errors import StartError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edge.line.ground import Ground

REFRESH_S = 0.5
PLAIN_S = 5.0
CUT_S = 5.0


class View:
    """Speaks to the person: lines while starting, then what the line does."""

    def __init__(self, plain: bool = False) -> None:
        """Be plain where nobody can see colours or press keys."""
        told = any(os.environ.get(name) for name in ("NO_COLOR", "CI")) or os.environ.get("TERM") == "dumb"
        self.plain = plain or told or not (sys.stdout.isatty() and sys.stdin.isatty())

    def say(self, text: str) -> None:
        """Say one line; nobody listening any more is no reason to stop."""
        with contextlib.suppress(BrokenPipeError):
            print(text, flush=True)

    async def show(
        self, ground: Ground, supervisor: Supervisor, tally: Tally, ready_s: float, for_s: float | None
    ) -> None:
        """Show the line until the time is over, or until `q` is pressed."""
        until = None if for_s is None else time.monotonic() + for_s
        picture = Picture(ground, supervisor, tally, ready_s)
        if self.plain:
            await self._lines(picture, until)
        else:
            await _table(picture, until)

    async def _lines(self, picture: Picture, until: float | None) -> None:
        while until is None or time.monotonic() < until:
            rest = PLAIN_S if until is None else min(PLAIN_S, max(0.0, until - time.monotonic()))
            await asyncio.sleep(rest)
            self.say(await asyncio.to_thread(picture.line))


class Picture:
    """What is to be seen of a running device."""

    def __init__(self, ground: Ground, supervisor: Supervisor, tally: Tally, ready_s: float) -> None:
        """Look at nothing yet."""
        self.ground, self.supervisor, self.tally, self.ready_s = ground, supervisor, tally, ready_s
        self.notice = ""

    def line(self) -> str:
        """Return everything in one line."""
        tally, total = self.tally, self.tally.deciding(self.ground.settings.outputs)
        text = (
            f"{tally.results} results ({self._rate():.1f}/s), p50 {_ms(total, 0.5)}, p99 {_ms(total, 0.99)},"
            f" {tally.late} late, {tally.dropped} dropped, {tally.lost} lost; {self._parts()}; {self._upstream()}"
        )
        down = [child.name for child in self.supervisor.state().children if child.phase != "ready"]
        return text + (f"; not ready: {', '.join(down)}" if down else "")

    def cut_cable(self) -> None:
        """Cut the PLC's cable for some seconds; the device must write its fail-safe and recover."""
        if not self.ground.demo:
            self.notice = "only the simulated line's cable can be cut from here"
            return
        try:
            send_fault(control_socket(self.ground.work), "cut", CUT_S)
        except StartError as error:
            self.notice = str(error)
        else:
            self.notice = f"{time.strftime('%H:%M:%S')} the PLC's cable is cut for {CUT_S:g} s"

    def table(self) -> RenderableType:
        """Return everything as one picture for a terminal."""
        from rich.console import Group  # rich is slow to import, and plain output needs none of it
        from rich.text import Text

        keys = "f cut the PLC's cable for 5 s   q quit   (another terminal: plantedge watch, status, logs, doctor)"
        parts = [self._head(), self._pipelines(), self._processes(), Text(keys, style="dim")]
        if self.notice:
            parts.append(Text(self.notice, style="yellow"))
        return Group(*parts)

    def _head(self) -> RenderableType:
        from rich.table import Table

        head = Table.grid(padding=(0, 2))
        for name, url in self.supervisor.about.urls.items():
            head.add_row(f"[bold]{name}", f"[link={url}]{url}[/link]")
        head.add_row("[bold]line", self._parts())
        head.add_row("[bold]upstream", self._upstream())
        if self.ground.warning:
            head.add_row("[bold]broker", f"[yellow]{self.ground.warning}")
        return head

    def _pipelines(self) -> RenderableType:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for heading in ("pipeline", "results", "rate/s", "p50", "p99", "deadline", "late", "dropped", "bad input"):
            table.add_column(heading, justify="left" if heading == "pipeline" else "right")
        for name, one in sorted(self.tally.pipelines.items()):
            numbers = (one.late, one.dropped, one.bad)
            table.add_row(
                name, str(one.results), f"{one.rate_hz:.1f}", _ms(one.total, 0.5), _ms(one.total, 0.99),
                f"{one.deadline_ms:g} ms", *(f"[red]{count}" if count else "0" for count in numbers),
            )  # fmt: skip
        return table

    def _processes(self) -> RenderableType:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for heading in ("process", "state", "MB", "restarts", ""):
            table.add_column(heading, justify="right" if heading in ("MB", "restarts") else "left")
        for child in self.supervisor.state().children:
            status = self.tally.states.get(child.name)
            said = status.state.value if status and child.phase == "ready" else child.phase.value
            why = status.reason if status and status.reason else (child.reason if child.restarts else "")
            colour = "green" if said in ("active", "ready", "idle") else "yellow"
            table.add_row(child.name, f"[{colour}]{said}", f"{child.rss_mb:.0f}", str(child.restarts), why[:60])
        return table

    def _parts(self) -> str:
        state = plant_state(self.ground)
        if not state:
            return f"{self.tally.outputs} outputs, {self.tally.failsafe} of them fail-safe"
        rejected, missed = number(state, "correct_rejects"), number(state, "missed_rejects")
        wrong, failsafe, undecided = (number(state, name) for name in ("false_rejects", "failsafe", "undecided"))
        return (
            f"{number(state, 'parts')} parts: {rejected} rejected rightly, {missed} missed, {wrong} wrongly,"
            f" {failsafe} by fail-safe, {undecided} undecided (rejected by the PLC)"
        )

    def _upstream(self) -> str:
        sent = self.tally.upstream_bytes
        if sent is None:
            return "nothing upstream"
        per_day = self.tally.upstream_bytes_per_day
        return f"{sent / 1e3:.1f} kB upstream" + ("" if per_day is None else f" ({per_day / 1e6:.1f} MB a day so far)")

    def _rate(self) -> float:
        return sum(pipeline.rate_hz for pipeline in self.tally.pipelines.values())


async def _table(picture: Picture, until: float | None) -> None:
    from rich.console import Console
    from rich.live import Live

    quit_asked = asyncio.Event()

    def pressed(key: str) -> None:
        if key in ("q", "Q"):
            quit_asked.set()
        elif key in ("f", "F"):
            picture.cut_cable()

    with keys(pressed), Live(console=Console(), auto_refresh=False, screen=False) as live:
        while not quit_asked.is_set() and (until is None or time.monotonic() < until):
            live.update(await asyncio.to_thread(picture.table), refresh=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(quit_asked.wait(), REFRESH_S)


@contextlib.contextmanager
def keys(pressed: Callable[[str], None]) -> Generator[None, None, None]:
    """Call `pressed` for each key while the terminal gives keys one by one; Ctrl-C stays what it is."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def read() -> None:
        for key in os.read(descriptor, 64).decode(errors="ignore"):
            pressed(key)

    try:
        tty.setcbreak(descriptor)
        loop.add_reader(descriptor, read)
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _ms(times: Percentiles, share: float) -> str:
    value = times.at(share)
    return "-" if value is None else f"{value:.1f} ms"
