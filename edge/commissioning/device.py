"""`plantedge commission` on a device that runs: checks, programs, what its bus shows, the engineer's steps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.commands.deployed import expected, trouble
from edge.commissioning.figures import measured_rows
from edge.commissioning.guided import Guide
from edge.commissioning.heard import Heard, measured
from edge.commissioning.identity import subject, utc_now
from edge.commissioning.programs import write_programs
from edge.commissioning.progress import Progress
from edge.commissioning.record import Acceptance, Latency, Row, Scans, found, holds, overall, told
from edge.commissioning.signals import signals_row
from edge.commissioning.steps import STEPS, Step
from edge.commissioning.terminal import Terminal
from edge.config.contents import missing_models
from edge.config.files import read_settings
from edge.plc.tags.lists import source_tags
from edge.plc.tags.tag import Tag
from edge.settings import Settings
from schemas.errors import StartError
from schemas.messages import Status

SETTLE_S = 3.0  # a process says how it is every 2 s
STEP_S = 60.0  # a guess, for the bar


@dataclass(frozen=True, kw_only=True)
class DeviceWish:
    """What was asked for. `step_s`: for so long each thing that a person has to do is waited for."""

    home: Path
    folder: Path
    for_s: float
    steps: Sequence[Step] = STEPS
    step_s: float = 300.0
    by: str = ""

    @property
    def expected_s(self) -> float:
        """How long it takes, about."""
        return SETTLE_S + self.for_s + STEP_S * len(self.steps)


async def commission_device(wish: DeviceWish, progress: Progress) -> Acceptance:
    """Run it all; the device is looked at, and nothing of it is written.

    Raises:
        SettingsError: every problem of the device's files and tag lists.
        PlantEdgeError: it has no outputs, or its broker does not answer.
    """
    begun = utc_now()
    settings = read_settings(wish.home, with_contents=True)
    if not settings.outputs:
        raise StartError(f"{wish.home} has no [outputs.<pipeline>], so nothing of it reaches a PLC; see `docs/how-to`")
    tags = source_tags(settings, wish.home)
    programs = write_programs(wish.folder, settings, tags)
    heard, terminal = Heard(settings), Terminal(progress.say)
    async with heard.listening(wish.home):
        rows = [_settings_row(settings, wish.home, tags)]
        progress.done(rows[0])
        observed, latencies, scans = await _observed(wish, settings, heard, progress)
        rows += observed
        with terminal.listening():
            rows += await Guide(settings, heard, terminal, progress, wish.step_s).steps(wish.steps)
    return Acceptance(
        simulated=False, begun=begun, ended=utc_now(), verdict=overall(rows), rows=rows, programs=programs,
        subject=subject(settings, wish.home, tags, wish.by, heard.models.values()),
        latencies=latencies, scans=scans,
    )  # fmt: skip


async def _observed(
    wish: DeviceWish, settings: Settings, heard: Heard, progress: Progress
) -> tuple[list[Row], list[Latency], list[Scans]]:
    """Look at the device as it runs: its processes, its handshake's tags, its times."""
    progress.doing("the device's processes tell how they are")
    await asyncio.sleep(SETTLE_S)
    rows = [_processes_row(wish.home, heard.states)]
    progress.done(rows[0])
    progress.doing(f"measuring for {wish.for_s:g} s")
    latencies, scans = await measured(heard, wish.for_s)
    rows += [signals_row(name, outputs, heard, wish.for_s) for name, outputs in settings.outputs.items()]
    rows += measured_rows(latencies, scans, wish.for_s)
    for row in rows[1:]:
        progress.done(row)
    return rows, latencies, scans


def _settings_row(settings: Settings, home: Path, tags: Mapping[str, Mapping[str, Tag]]) -> Row:
    """Return the row of the files: problems have ended the run before, so what is left is what is missing."""
    missing = missing_models(settings, home)
    figures = [
        holds("settings and tag lists without a problem", True), holds("a model for each pipeline", not missing),
        *(told(f"tags of {source}", len(of_source)) for source, of_source in tags.items()),
    ]  # fmt: skip
    return found(
        "settings", "Settings and tag lists", "read and checked", "no problem", figures, note="; ".join(missing)
    )


def _processes_row(home: Path, states: Mapping[str, Status]) -> Row:
    troubles = {name: why for name in expected(home) if (why := trouble(name, states))}
    figures = [holds("every process runs and is well", not troubles)]
    figures += [told(name, why) for name, why in troubles.items()]
    return found("processes", "Processes of the device", "their states heard", "active or idle", figures)
