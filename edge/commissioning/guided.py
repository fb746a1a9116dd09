"""The steps of a guided run: an engineer acts at the real PLC, the bus shows what the device does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from edge.commissioning.faults import times_of
from edge.commissioning.guided_row import Seen, Target, figures_of, moment_of, trace_of, wanted_of
from edge.commissioning.heard import Heard
from edge.commissioning.progress import Progress
from edge.commissioning.record import Row, found, skipped
from edge.commissioning.steps import STEPS, Sign, Step
from edge.commissioning.terminal import Answer, Terminal
from edge.processes import CONNECT, RUNTIME
from edge.settings import Settings
from schemas.messages import Phase

STILL_S: Final = 2.0  # for so long the fail-safe must stay after the device is well again, with nobody at the reset
BACK_S: Final = 2.0  # beyond the lease, in which a fail-safe would have been told
NOBODY: Final = "no terminal to ask at: a person has to do it"


def targets(settings: Settings, step: Step) -> list[Target]:
    """Return what a step has to be done to: each source with outputs, each lane with them, or the one broker."""
    held: dict[str, Target] = {}
    for pipeline, outputs in settings.outputs.items():
        lane, source = settings.pipelines[pipeline].lane, outputs.source
        key, process, unit = {
            "broker": ("", "broker", "plantedge-broker"),
            RUNTIME.name: (lane, RUNTIME.identity(lane), f"plantedge@{RUNTIME.name}@{lane}"),
            CONNECT.name: (source, CONNECT.identity(source), f"plantedge@{CONNECT.name}@{source}"),
        }.get(step.process, (source, "", ""))
        times = times_of(outputs, settings.sources[source])
        held.setdefault(key, Target(pipeline=pipeline, outputs=outputs, times=times, process=process, unit=unit))
    return list(held.values())


class Guide:
    """Leads through the steps."""

    def __init__(
        self, settings: Settings, heard: Heard, terminal: Terminal, progress: Progress, timeout_s: float
    ) -> None:
        """`timeout_s`: for so long each thing that a person has to do is waited for."""
        self._settings, self._heard, self._terminal = settings, heard, terminal
        self._progress, self._timeout_s = progress, timeout_s

    async def steps(self, wanted: Sequence[Step]) -> list[Row]:
        """Do what was asked for; what was left out is told as skipped."""
        rows: list[Row] = []
        for step in STEPS:
            for target in targets(self._settings, step):
                rows.append(await self._step(step, target, asked_for=step in wanted))
                self._progress.done(rows[-1])
        return rows

    async def _step(self, step: Step, target: Target, *, asked_for: bool) -> Row:
        title = target.words(step.title)
        key = f"{step.key}-{target.process or target.outputs.source}"
        if not asked_for or not self._terminal.there:
            return skipped(key, title, NOBODY if asked_for else "not asked for (--steps)")
        if not await self._armed(target):
            return skipped(key, title, "the device was not armed, so nothing could be seen")
        seen = Seen(begun=time.monotonic())
        self._terminal.say(f"\n{title}: {target.words(step.pull)} (s: skip)")
        if why := await self._see_latched(step, target, seen):
            return skipped(key, title, why)
        if seen.latched is not None:
            await self._see_recovery(step, target, seen)
        return found(
            key, title, target.words(step.pull).rstrip("."), wanted_of(step, target), figures_of(step, target, seen),
            events=self._heard.since(seen.begun), trace=trace_of(seen, time.monotonic()),
        )  # fmt: skip

    async def _armed(self, target: Target) -> bool:
        """Have the reset pressed if the outputs are not armed: a verdict of the pipeline's own shows that they are."""
        since = time.monotonic()

        def armed() -> bool:
            if target.outputs.armed:
                return self._heard.value(target.outputs.source, target.outputs.armed) is True
            return self._heard.vouched.get(target.pipeline, 0.0) > since

        if not armed():
            self._terminal.say(f"\n{target.pipeline} is not armed: press the reset, and let parts pass. (s: skip)")
        return await self._terminal.until(armed, self._timeout_s) is Answer.SEEN

    # -- fault and fail-safe ------------------------------------------------------------------------------------------

    def _sign(self, step: Step, target: Target, begun: float) -> float | None:
        at = {
            Sign.WILL: self._heard.gone.get(target.process, 0.0), Sign.BUS: self._heard.lost,
            Sign.LINK: self._heard.good.get(target.outputs.source, 0.0),
        }.get(step.sign, 0.0)  # fmt: skip
        ahead_s = target.times.notice / 1e3 if step.sign is Sign.LINK else 0.0  # the last scan may have been before
        return at if at > begun - ahead_s else None

    async def _see_latched(self, step: Step, target: Target, seen: Seen) -> str:
        """Wait until the fail-safe is latched; return why the step was skipped, "" if it was not."""

        def latched() -> bool:
            seen.sign = self._sign(step, target, seen.begun) or seen.sign
            seen.latched = self._heard.told("failsafe", seen.begun, Phase.NEW, pipeline=target.pipeline)
            if seen.latched is not None and seen.latched_at is None:
                seen.latched_at = moment_of(seen.latched)
            return seen.latched is not None

        def shown() -> bool:
            return latched() or (step.may_be_back and seen.sign is not None)

        answer = await self._terminal.until(shown, self._timeout_s)
        if answer is Answer.SEEN:
            if seen.latched is None:
                await self._terminal.until(latched, target.times.lease / 1e3 + BACK_S)
                limit_s = (target.times.lease + target.times.heartbeat) / 1e3
                seen.went_on = self._heard.went_on(target.pipeline, seen.sign or seen.begun, limit_s)
            return ""
        if answer is Answer.SKIPPED:
            return "skipped by the engineer"
        done = await self._terminal.yes("The device has told no fail-safe. Was it done?", self._timeout_s)
        return "" if done else f"not done within {self._timeout_s:g} s"

    # -- recovery -----------------------------------------------------------------------------------------------------

    async def _see_recovery(self, step: Step, target: Target, seen: Seen) -> None:
        if step.mend:
            self._terminal.say(f"  The fail-safe is latched. {step.mend}")
        since = time.monotonic()
        if await self._terminal.until(lambda: self._well(target, since), self._timeout_s) is not Answer.SEEN:
            return
        seen.mended = time.monotonic()
        await asyncio.sleep(STILL_S)
        self._see_latch(target, seen)
        self._terminal.say("  Press the reset.")
        asked = time.monotonic()

        def released() -> bool:
            seen.released = self._heard.told("failsafe", asked, Phase.END, pipeline=target.pipeline)
            return seen.released is not None

        await self._terminal.until(released, self._timeout_s)
        rose = self._heard.rose.get((target.outputs.source, target.outputs.rearm), 0.0)
        seen.pressed = rose if rose > asked else None
        seen.rejected = await self._terminal.yes(step.asked, self._timeout_s)

    def _well(self, target: Target, since: float) -> bool:
        """Whether the PLC is read again, and the device's heartbeat moves in it, so that a reset would be obeyed."""
        source, beat = target.outputs.source, target.outputs.heartbeat
        moves = not beat or self._heard.moved.get((source, beat), 0.0) > since
        return moves and self._heard.good.get(source, 0.0) > since

    def _see_latch(self, target: Target, seen: Seen) -> None:
        """Look whether it has stayed latched, by what the device told and by what stands in the PLC."""
        outputs, heard = target.outputs, self._heard
        at = seen.latched.at if seen.latched else seen.begun
        seen.stayed = heard.told("failsafe", at, Phase.END, pipeline=target.pipeline) is None
        seen.spoke = heard.vouched.get(target.pipeline, 0.0) > at
        stands = [(outputs.verdict, outputs.failsafe), *([(outputs.armed, False)] if outputs.armed else [])]
        values = [(heard.value(outputs.source, tag), wanted) for tag, wanted in stands]
        seen.safe_tags = None if any(value is None for value, _ in values) else all(a == b for a, b in values)
