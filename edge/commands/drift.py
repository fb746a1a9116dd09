"""`plantedge drift status|relearn`: what the watches of a running device say, and what is normal from now on."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bus.typed import Reader
from edge.commands.bus import ANSWER_S, ask, on_bus
from edge.commands.device import device_home
from edge.config.problems import nearest
from edge.line.plan import CLI
from edge.line.tally import open_bus
from edge.settings import Settings, load_settings
from schemas.errors import StartError
from schemas.messages import Drift, DriftSignal, Insight, Relearn
from schemas.topics import INSIGHT, RELEARN

if TYPE_CHECKING:
    from bus import Bus

RETAINED_S: Final = 1.0
_SHOWN: Final = 4  # signals of a pipeline


def status(home: Path | None) -> int:
    """Print each pipeline's level and the signals nearest to their limits."""
    folder = device_home(home)
    settings = load_settings(folder)

    async def work() -> int:
        async with open_bus(settings, folder) as bus:
            found = await _insights(bus, settings)
        for name in sorted(settings.pipelines):
            print("\n".join(described(name, found.get(name))))
        return 0

    return on_bus(work())


async def _insights(bus: Bus, settings: Settings) -> dict[str, Insight]:
    """Return what is retained of each pipeline."""
    found: dict[str, Insight] = {}
    complete = asyncio.Event()

    def take(insight: Insight, _: object) -> None:
        found[insight.pipeline] = insight
        if settings.pipelines.keys() <= found.keys():
            complete.set()

    await Reader(INSIGHT, Insight, take).attach(bus, settings.place)
    with contextlib.suppress(TimeoutError):  # of a pipeline that never ran nothing is retained
        async with asyncio.timeout(RETAINED_S):
            await complete.wait()
    return found


def described(pipeline: str, insight: Insight | None) -> list[str]:
    """Return one pipeline's lines."""
    if insight is None:
        return [f"{pipeline}: nothing yet; the first window ends 10 s after the runtime's start"]
    drift = insight.drift
    head = f"{pipeline}: {drift.level.replace('_', ' ')}"
    if drift.level != "off" and not drift.learned:
        head += f", {drift.windows} of {drift.of} clean windows learned"
    if drift.unclean:
        head += f" (the last window was not clean: {drift.unclean})"
    return [head, *_signals(drift)]


def _signals(drift: Drift) -> list[str]:
    worst = sorted(drift.signals.items(), key=lambda item: -item[1].score)[:_SHOWN]
    return [f"  {name:<24} {signal.value:10.4g}   {_limits(signal)}" for name, signal in worst]


def _limits(signal: DriftSignal) -> str:
    low = "" if signal.low is None else f"{signal.low:.4g} to "
    high = "" if signal.high is None else f"{signal.high:.4g}"
    return f"limit {low}{high}, {signal.score:.0%} of the way"


def relearn(home: Path | None, pipeline: str) -> int:
    """Ask the runtime to take what comes in from now on as normal."""
    folder = device_home(home)
    settings = load_settings(folder)
    if pipeline not in settings.pipelines:
        near = nearest(pipeline, settings.pipelines)
        known = f"did you mean {near}?" if near else ", ".join(settings.pipelines)
        raise StartError(f"there is no pipeline {pipeline}; {known}")

    async def work() -> int:
        async with open_bus(settings, folder) as bus:
            topic = RELEARN.name(settings.place, pipeline=pipeline, origin=CLI)
            request = Relearn(request_id=uuid.uuid4().hex)
            return await ask(bus, settings, RELEARN, topic, request, timeout_s=ANSWER_S, done="{} learns anew")

    return on_bus(work())
