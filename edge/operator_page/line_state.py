"""What a line does, from what `connect` and the runtime say. Pure; times are seconds of one clock.

`connect` says of its outputs what it says of its link (`Reporter` in edge/connect.py): its status is retained, so that
a page that starts late knows too; outputs and events only make it sooner and tell who it was.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from schemas.messages import Output, State, Status
from schemas.topics import STATUS

FAILSAFE: Final = ": fail-safe: "  # how connect's status tells a latched one: PIPELINE: fail-safe: REASON
MANUAL: Final = "manual"


class LineState(StrEnum):
    """What a person wants to know first."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAILSAFE = "failsafe"
    MANUAL = "manual"


class LinkState(StrEnum):
    """Whether the PLC can be reached."""

    UP = "up"
    LOST = "lost"
    UNKNOWN = "unknown"  # nothing was heard of the process that would know
    NONE = "none"  # the pipeline has no outputs


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """The way to the PLC. `why`: what is wrong with it."""

    state: LinkState
    source: str = ""
    why: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What the line does, and since when."""

    state: LineState
    why: str
    since_s: float
    link: Link


class LineWatch:
    """Watches one pipeline and its outputs. `connect` and `runtime` are the processes that serve it, "" for none."""

    def __init__(self, pipeline: str, connect: str, runtime: str, stopped_after_s: float) -> None:
        """Know nothing yet."""
        self._pipeline, self._connect, self._runtime = pipeline, connect, runtime
        self._stopped_after_s = stopped_after_s
        self._heard: dict[str, tuple[Status, float]] = {}
        self._result_s: float | None = None
        self._output: Output | None = None
        self._shown: tuple[LineState, float] = (LineState.STOPPED, 0.0)

    def status(self, status: Status, now_s: float) -> None:
        """Take a process's words about itself."""
        if status.process in (self._connect, self._runtime):
            self._heard[status.process] = (status, now_s)

    def result(self, now_s: float) -> None:
        """A part has passed."""
        self._result_s = now_s

    def output(self, output: Output) -> None:
        """Take what was written for a part."""
        self._output = output

    def now(self, now_s: float) -> Line:
        """Say what the line does."""
        link = self._link(now_s)
        state, why = self._state(link, now_s)
        if state is not self._shown[0] or not self._shown[1]:
            self._shown = (state, now_s)
        return Line(state=state, why=why, since_s=self._shown[1], link=link)

    def _state(self, link: Link, now_s: float) -> tuple[LineState, str]:
        latched = self._latched(now_s)
        if latched.startswith(MANUAL) or (self._output is not None and self._output.manual and self._flows(now_s)):
            return LineState.MANUAL, "the outputs are the operator's; verdicts are shown but not written"
        if link.state is LinkState.LOST:
            return LineState.FAILSAFE, f"{link.source}: {link.why}"
        if latched:
            return LineState.FAILSAFE, latched
        gone = self._silent(self._runtime, now_s)
        if gone:
            return (LineState.FAILSAFE if self._connect else LineState.STOPPED), f"inspection: {gone}"
        if self._flows(now_s):
            return LineState.RUNNING, ""
        return LineState.STOPPED, f"no part for {self._stopped_after_s:g} s" if self._result_s else "no part yet"

    def _flows(self, now_s: float) -> bool:
        return self._result_s is not None and now_s - self._result_s <= self._stopped_after_s

    def _latched(self, now_s: float) -> str:
        """Why the fail-safe of this pipeline is latched, "" if it is not, as far as is known."""
        status = self._fresh(self._connect, now_s)
        _, found, rest = (status.reason if status else "").partition(f"{self._pipeline}{FAILSAFE}")
        return rest.partition("; ")[0] if found else ""

    def _link(self, now_s: float) -> Link:
        if not self._connect:
            return Link(state=LinkState.NONE)
        source = self._connect.partition("-")[2]
        silent = self._silent(self._connect, now_s)
        if silent:
            known = self._connect in self._heard
            return Link(state=LinkState.LOST if known else LinkState.UNKNOWN, source=source, why=silent)
        status = self._heard[self._connect][0]
        if status.state is State.DEGRADED and FAILSAFE not in status.reason:
            return Link(state=LinkState.LOST, source=source, why=status.reason)
        return Link(state=LinkState.UNKNOWN if status.state is State.STARTING else LinkState.UP, source=source)

    def _fresh(self, process: str, now_s: float) -> Status | None:
        status, heard_s = self._heard.get(process, (None, 0.0))
        return status if now_s - heard_s <= STATUS.stale_after_s else None

    def _silent(self, process: str, now_s: float) -> str:
        """Why nothing can be known of a process, "" if it speaks."""
        if not process:
            return ""
        if process not in self._heard:
            return f"{process} was not heard yet"
        status = self._fresh(process, now_s)
        if status is None:
            return f"{process} has been silent for {now_s - self._heard[process][1]:.0f} s"
        return f"{process} stopped: {status.reason}".rstrip(": ") if status.state is State.STOPPED else ""
