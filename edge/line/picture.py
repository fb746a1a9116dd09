"""What is to be seen of a running device: in one line, or as a table for a terminal of 80 columns and more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edge.line.demo import SOURCE, control_socket
from edge.line.parts_count import PartsCount
from edge.line.report import notes_of
from edge.line.tally import Percentiles, Tally
from edge.processes import CONNECT
from edge.sim.control import send_fault
from edge.supervision.run_state import ChildState, command_name, shortened
from edge.supervision.supervisor import Supervisor
from schemas.errors import StartError
from schemas.messages import State

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from edge.line.ground import Ground

CUT_S = 5.0
TOLD_S = 10.0  # for so long a notice stays after what it is about
FIGURES_WIDE = 66  # columns of a pipeline's figures behind its name
OTHER_LINES = 9  # blank ones, headings and the footer
RATE_S = 60.0  # what is sent at the start, handshakes and all, says nothing of a day
REASON_AT = 45  # the columns before a process's reason
_WELL = ("active", "ready", "idle")


class Picture:
    """Looks at everything that there is of one `plantedge up`."""

    def __init__(self, ground: Ground, supervisor: Supervisor, tally: Tally, parts: PartsCount) -> None:
        """Look at nothing yet."""
        self.ground, self.supervisor, self.tally, self.parts = ground, supervisor, tally, parts
        self._cut_until_s = 0.0
        self._problem = ""

    def line(self) -> str:
        """Return everything in one line."""
        tally, total = self.tally, self.tally.deciding(self.ground.settings.outputs)
        said = [
            f"{tally.results} results ({self._rate():.1f}/s), p50 {_ms(total, 0.5)} ms, p99 {_ms(total, 0.99)} ms,"
            f" {tally.late} late, {tally.dropped} dropped, {tally.bad} bad input, {tally.lost} lost",
            self._parts(),
        ]
        if self.ground.settings.uplink.host:
            said.append(f"upstream {self._upstream()}")
        unwell = [f"{name} {state} {why}".rstrip() for name, state, why in map(self._state_of, self._children())
                  if state not in _WELL]  # fmt: skip
        return "; ".join([*filter(None, said), *(f"not well: {text}" for text in unwell)])

    def cut_cable(self) -> None:
        """Cut the PLC's cable for some seconds; the device must write its fail-safe and recover."""
        if not self.ground.demo:
            return
        self._problem = ""
        try:
            send_fault(control_socket(self.ground.work), "cut", CUT_S)
        except StartError as error:
            self._problem = str(error)
        self._cut_until_s = time.monotonic() + CUT_S

    def table(self, columns: int, lines: int) -> RenderableType:
        """Return everything as one picture for a terminal of this size; a low one gets the processes not well alone."""
        from rich.console import Console, Group  # rich is slow to import, and plain output needs none of it
        from rich.text import Text

        head = self._head()
        folded = len(Console(width=columns).render_lines(head))
        needed = folded + len(self.tally.pipelines) + len(self._children()) + OTHER_LINES
        blocks = [head, self._pipelines(columns), self._processes(columns - REASON_AT, lines >= needed), self._footer()]
        return Group(*(part for block in blocks for part in (Text(), block)))

    def _head(self) -> RenderableType:
        head = _grid()
        notes = notes_of(self.ground)
        for name, url in self.supervisor.about.urls.items():
            head.add_row(f"[bold]{name}", f"[link={url}]{url}[/link]")
            if name in notes:
                head.add_row("", f"[dim]{notes[name]}")
        if parts := self._parts():
            head.add_row("[bold]line", parts)
        if self.ground.settings.uplink.host:
            head.add_row("[bold]upstream", self._upstream())
        if self.ground.warning:
            head.add_row("[bold]broker", f"[yellow]{self.ground.warning}")
        return head

    def _pipelines(self, columns: int) -> RenderableType:
        from rich.text import Text

        if not self.tally.pipelines:
            return Text("no pipelines", style="dim")
        gap = 2 if columns >= FIGURES_WIDE + max(map(len, self.tally.pipelines)) else 1
        headings = ("pipeline", "results", "/s", "p50 ms", "p99 ms", "limit", "late", "dropped", "bad input")
        table = _columns(*headings, gap=gap)
        for name, one in sorted(self.tally.pipelines.items()):
            table.add_row(
                name, str(one.results), f"{one.rate_hz:.1f}", _ms(one.total, 0.5), _ms(one.total, 0.99),
                f"{one.deadline_ms:g}", _alarming(one.late), _alarming(one.dropped), _alarming(one.bad, "yellow"),
            )  # fmt: skip
        return table

    def _processes(self, room: int, full: bool) -> RenderableType:
        table = _columns("process", "state", "MB", "restarts", "", left=("process", "state", ""))
        children = self._children()
        shown = [child for child in children if full or self._state_of(child)[1] not in _WELL]
        for child in shown:
            name, state, why = self._state_of(child)
            colour = "green" if state in _WELL else "yellow"
            restarts = _alarming(child.restarts, "yellow")
            table.add_row(name, f"[{colour}]{state}", f"{child.rss_mb:.0f}", restarts, _cut(why, room))
        if len(shown) < len(children):
            table.add_row(f"[dim]{len(children) - len(shown)} others", "[green]well")
        return table

    def _footer(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        cut = "f  cut the PLC's cable for 5 s   " if self.ground.demo else ""
        about = "" if self.ground.demo else f" --home {shortened(self.ground.home)}"
        elsewhere = f"in another terminal: {command_name()} watch | status | logs | doctor{about}"
        lines = [Text(f"{cut}q  quit", style="dim"), Text(elsewhere, style="dim")]
        return Group(*lines, Text(self._notice(), style="yellow"))

    def _notice(self) -> str:
        """Return what was just done to the line, and how it stands."""
        rest = self._cut_until_s - time.monotonic()
        if self._problem:
            return self._problem if rest > -TOLD_S else ""
        if rest > 0:
            return f"the PLC's cable is cut for {rest:.0f} s more: the PLC rejects every part by itself"
        if not self._cut_until_s or rest < -TOLD_S:
            return ""
        status = self.tally.states.get(CONNECT.identity(SOURCE))
        armed = (
            "the PLC has re-armed the outputs"
            if status and status.state is State.ACTIVE
            else "fail-safe until re-armed"
        )
        return f"the PLC's cable is whole again: {armed}"

    def _children(self) -> list[ChildState]:
        return self.supervisor.state().children

    def _state_of(self, child: ChildState) -> tuple[str, str, str]:
        """Return a child's name, its state in its own words once it runs, and why."""
        status = self.tally.states.get(child.name)
        said = status.state.value if status and child.phase == "ready" else child.phase.value
        return child.name, said, status.reason if status and status.reason else child.reason if child.restarts else ""

    def _parts(self) -> str:
        parts = self.parts.now()
        if parts is not None:
            return str(parts)
        if not self.ground.settings.outputs:
            return ""
        return f"{self.tally.outputs} outputs, {self.tally.failsafe} of them fail-safe"

    def _upstream(self) -> str:
        sent = self.tally.upstream_bytes
        if sent is None:
            return "nothing yet"
        per_day = self.tally.upstream_bytes_per_day if self.tally.seconds >= RATE_S else None
        return f"{sent / 1e3:.1f} kB" + ("" if per_day is None else f", {per_day / 1e6:.1f} MB a day at this rate")

    def _rate(self) -> float:
        return sum(pipeline.rate_hz for pipeline in self.tally.pipelines.values())


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=8)
    grid.add_column(overflow="fold")
    return grid


def _columns(*headings: str, left: tuple[str, ...] = (), gap: int = 2) -> Table:
    """Return a table whose columns are as wide as their headings at least: numbers that grow don't move it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for place, heading in enumerate(headings):
        to_left = place == 0 or heading in left
        width = 14 if place == 0 else 8 if heading == "state" else max(4, len(heading))
        last = heading == ""
        table.add_column(
            heading, justify="left" if to_left else "right", no_wrap=True, min_width=None if last else width,
            overflow="ellipsis",
        )  # fmt: skip
    return table


def _alarming(count: int, colour: str = "red") -> str:
    return f"[{colour}]{count}" if count else "0"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"


def _ms(times: Percentiles, share: float) -> str:
    value = times.at(share)
    return "-" if value is None else f"{value:.1f}"
