"""Pulls one fault of the simulated line, and measures what its PLC and its device do until it is re-armed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Final

from msgspec import structs

from edge.commissioning.faults import HOLD_S, REARM_MS, Acts, Fault, Times
from edge.commissioning.heard import Heard
from edge.commissioning.plc_watch import PlcWatch, Sample, longest_gap_ms, stands_since, trace_of
from edge.commissioning.progress import line_of
from edge.commissioning.record import Figure, Mark, Row, Verdict, at_most, found, holds, told
from edge.commissioning.simulated_line import SimulatedLine
from edge.line.demo import SOURCE
from edge.line.plan import BROKER
from edge.processes import CONNECT, RUNTIME
from edge.sim import control
from edge.supervision import spawn
from schemas.errors import StartError

CALM_S: Final = 60.0
STOOD_MS: Final = 100.0  # without an answer of the plant, which is asked every 10 ms: the machine stood still
TRIES: Final = 3
STILL_S: Final = 1.0  # for so long the fail-safe must stay after the device is well again, with nobody at the reset
AFTER_S: Final = 0.5  # of the trace, once parts pass again
HEARD_S: Final = 5.0  # for what was told of a part to come through a broker that was away
PIPELINE: Final = "cap_inspection"  # of the demo, the one with outputs
CAUSES: Final = {"connect": CONNECT.identity(SOURCE), "runtime": RUNTIME.identity("safety"), BROKER: BROKER}
MOST_S: Final = 60.0  # a fault that nobody would end
PASSES_S: Final = 5.0  # for a part to pass once all is well
FACE: Final = "modbus"  # of the demo's plant
_LOOK_S: Final = 0.02


@dataclass
class Pull:
    """One fault from its beginning to the first part that passes again. Moments are CLOCK_MONOTONIC, None: not seen."""

    fault: Fault
    begun: float
    parts_before: int
    ended: float = 0.0
    safe: Sample | None = None
    bad: float | None = None  # when the tags were first said to be Bad
    back: Sample | None = None
    stayed: bool | None = None
    pressed: float | None = None
    armed: Sample | None = None
    passed_again: Sample | None = None
    went_on: bool = False  # parts had verdicts again before the limit
    passed: int = 0
    unvouched: list[int] = field(default_factory=list[int])


class Puller:
    """Pulls faults one after the other."""

    def __init__(
        self, line: SimulatedLine, heard: Heard, watch: PlcWatch, times: Times, limit_ms: float | None
    ) -> None:
        """`limit_ms` takes the place of the limits that follow from the settings."""
        self._line, self._heard, self._watch = line, heard, watch
        self._times, self._limit_ms = times, limit_ms

    def limit(self, fault: Fault) -> float:
        """Return the stated limit of a fault, milliseconds."""
        return self._limit_ms if self._limit_ms is not None else self._times.limit(fault)

    async def pull(self, fault: Fault) -> Row:
        """Pull one and return what was found; again where the machine stood still meanwhile, which is then said.

        A part that passed without a fresh OK is never pulled away.

        Raises:
            StartError: the line does not come to rest before it.
        """
        notes: list[str] = []
        while True:
            pull, row = await self._pulled(fault)
            stood_ms = longest_gap_ms(self._watch.samples)
            if row.verdict is not Verdict.FAIL or pull.unvouched or stood_ms < STOOD_MS or len(notes) == TRIES - 1:
                return structs.replace(row, note=" ".join([*notes, row.note]).strip())
            notes.append(
                f"Pulled once more: the simulated plant gave no answer for {stood_ms:.0f} ms ({line_of(row)})."
            )

    async def _pulled(self, fault: Fault) -> tuple[Pull, Row]:
        await self.calm()
        while (await self._watch.begin_anew()).safe:  # a fault would be credited with what was there before it
            await self.calm()
        pull = Pull(fault, time.monotonic(), max(await self._passed(0), default=0))
        async with self._struck(pull) if fault.process else self._spoilt(pull):
            if fault.acts is Acts.LOST:
                await self._see_bad(pull)
            await self._see_safe(pull)
        await self._see_recovery(pull)
        await self._account(pull)
        await asyncio.sleep(AFTER_S)
        return pull, self._row(pull)

    async def calm(self) -> None:
        """Wait until the line is armed, every child is up, and outputs are the pipeline's own verdicts.

        Raises:
            StartError: it is not within a minute.
        """
        begun = time.monotonic()
        while True:
            state = self._line.state
            up = state is not None and state.time_ns > 0 and all(self._line.pid(name) for name in CAUSES.values())
            fresh = self._heard.vouched.get(PIPELINE, 0.0) > max(begun, time.monotonic() - 1.0)
            if up and fresh and not self._heard.bad.get(SOURCE):
                return
            if time.monotonic() > begun + CALM_S:
                raise StartError(f"the line does not come to rest within {CALM_S:g} s; nothing was pulled")
            await asyncio.to_thread(self._line.press)
            await asyncio.sleep(0.2)

    # -- the fault ----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _struck(self, pull: Pull) -> AsyncGenerator[None]:
        """Kill or stop a process. Its supervisor starts it again, but a broker that hangs goes on by itself."""
        fault = pull.fault
        name, hangs = CAUSES[fault.process], fault.kind == "hung"
        pid = self._line.pid(name)
        if not pid:  # it is just being started again; process 0 would be ourselves
            raise StartError(f"{name} does not run; nothing was pulled")
        pull.begun = pull.ended = time.monotonic()
        spawn.signal_process(pid, signal.SIGSTOP if hangs else signal.SIGKILL)
        try:
            yield
            if hangs and fault.process == BROKER:
                await self._held(pull)
        finally:
            if hangs and fault.process == BROKER:
                spawn.signal_process(pid, signal.SIGCONT)
                pull.ended = time.monotonic()

    @contextlib.asynccontextmanager
    async def _spoilt(self, pull: Pull) -> AsyncGenerator[None]:
        """Spoil the PLC's cable, or what it answers, within the block."""
        pull.begun = time.monotonic()
        await asyncio.to_thread(control.send_fault, self._line.control, pull.fault.kind, MOST_S, FACE)
        try:
            yield
            await self._held(pull)
        finally:
            await asyncio.to_thread(control.send_clear, self._line.control)
            pull.ended = time.monotonic()

    @staticmethod
    async def _held(pull: Pull) -> None:
        await asyncio.sleep(max(0.0, pull.begun + HOLD_S - time.monotonic()))

    # -- what is seen -------------------------------------------------------------------------------------------------

    async def _see_safe(self, pull: Pull) -> None:
        """Wait until the PLC is safe; a process that was back in time disturbs nobody."""
        wait_s = self._times.limit(pull.fault) / 1e3 * 2 + 1.0
        pull.safe = await self._watch.until(lambda one: one.safe, pull.begun, wait_s)

    async def _see_bad(self, pull: Pull) -> None:
        pull.bad = await self._seen(lambda: self._heard.bad.get(SOURCE) or None, HOLD_S)

    async def _see_recovery(self, pull: Pull) -> None:
        if pull.safe is not None:
            await self._see_back(pull, pull.safe.at)
            await self._see_latch(pull)

    async def _see_back(self, pull: Pull, safe: float) -> None:
        """Wait until the heartbeat moves again: the link is up and the lease holds, so a reset would be obeyed."""
        stood = await self._watch.until(lambda one: True, max(pull.ended, safe), 5.0)
        if stood is not None:
            beat, wait_s = stood.heartbeat, self._times.recovery(pull.fault) / 1e3 + 5.0
            pull.back = await self._watch.until(lambda one: one.heartbeat != beat and not one.tripped, stood.at, wait_s)

    async def _see_latch(self, pull: Pull) -> None:
        """Look for a while whether it stays latched, then press the reset and wait for the first part that passes."""
        if pull.back is None:
            return
        await asyncio.sleep(STILL_S)
        pull.pressed = time.monotonic()
        held = self._watch.between(pull.begun, pull.pressed)
        limit_s = self._times.limit(pull.fault) / 1e3
        pull.safe = stands_since(held) or pull.safe
        pull.stayed = all(one.safe for one in held if one.at > pull.begun + limit_s)
        await asyncio.to_thread(control.send_rearm, self._line.control)
        pull.armed = await self._watch.until(lambda one: one.armed, pull.pressed, REARM_MS / 1e3 + 1.0)
        if pull.armed is not None:
            passes = pull.armed.passes
            pull.passed_again = await self._watch.until(lambda one: one.passes > passes, pull.armed.at, PASSES_S)

    async def _seen(self, look: Callable[[], float | None], timeout_s: float) -> float | None:
        """Return what a look finds as soon as it finds something, None where it did not in time."""
        end = time.monotonic() + timeout_s
        while True:
            if (at := look()) is not None or time.monotonic() > end:
                return at
            await asyncio.sleep(_LOOK_S)

    # -- accounts -----------------------------------------------------------------------------------------------------

    async def _passed(self, after: int) -> list[int]:
        passed = await asyncio.to_thread(control.read_passed, self._line.control, after)
        return [part_id for part_id, _ in passed]

    async def _account(self, pull: Pull) -> None:
        """Ask for every part that passed since the fault whether it had a fresh OK."""
        parts = await self._passed(pull.parts_before)
        pull.passed = len(parts)
        await self._seen(lambda: 0.0 if not self._silent(parts) else None, HEARD_S)
        pull.unvouched = self._silent(parts)
        pull.went_on = self._heard.went_on(PIPELINE, pull.begun, self.limit(pull.fault) / 1e3)

    def _silent(self, parts: list[int]) -> list[int]:
        return [part for part in parts if not self._heard.may_pass(PIPELINE, part)]

    def _row(self, pull: Pull) -> Row:
        fault, samples = pull.fault, self._watch.samples
        figures = self._latching(pull)
        if fault.acts is Acts.LOST:
            figures.append(at_most("tags Bad after", _ms(pull.begun, pull.bad), self._times.bad))
        figures += [
            told("parts passed, from the fault on", pull.passed),
            at_most("parts passed without a fresh OK", len(pull.unvouched), 0, ""),
            told("resolution of these times", longest_gap_ms(samples), "ms"),
        ]
        limit = self.limit(fault)
        wanted = f"PLC at its fail-safe within {limit:g} ms, by {fault.acts}"
        return found(
            fault.key, fault.title, fault.how, wanted, figures, events=self._heard.since(pull.begun),
            note=f"without a fresh OK: parts {', '.join(map(str, pull.unvouched[:20]))}" if pull.unvouched else "",
            trace=trace_of(samples, pull.begun, pull.ended, self._marks(pull)),
        )  # fmt: skip

    def _latching(self, pull: Pull) -> list[Figure]:
        """The figures of a fault that has to latch the fail-safe."""
        if pull.safe is None and pull.fault.may_be_back:
            return [holds("no fail-safe needed: parts had verdicts again before the lease had ended", pull.went_on)]
        safe = pull.safe.at if pull.safe else None
        figures = [at_most("PLC at its fail-safe after", _ms(pull.begun, safe), self.limit(pull.fault))]
        figures += [told("value there", pull.safe.how)] if pull.safe else []
        back, pressed = pull.back.at if pull.back else None, pull.pressed
        figures += [
            at_most(
                "device ready to be re-armed, from its end", _ms(pull.ended, back), self._times.recovery(pull.fault)
            ),
            holds("stayed latched until the reset", bool(pull.stayed)),
            at_most("armed after the reset", _ms(pressed, pull.armed.at if pull.armed else None), REARM_MS),
        ]
        again = pull.passed_again.at if pull.passed_again else None
        return [*figures, told("first part passes after the reset", _ms(pressed, again), "ms")]

    def _marks(self, pull: Pull) -> list[Mark]:
        marks = [Mark(at_s=round(self.limit(pull.fault) / 1e3, 3), text="limit")]
        if pull.pressed is not None:
            marks.append(Mark(at_s=round(pull.pressed - pull.begun, 3), text="reset"))
        return marks


def _ms(begun: float | None, at: float | None) -> float | None:
    return None if begun is None or at is None else (at - begun) * 1e3
