"""`plantedge commission --simulated`: starts the demo line, measures it, pulls each fault, and leaves no trace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.commissioning.faults import FAULTS, Fault, times_of
from edge.commissioning.figures import measured_rows
from edge.commissioning.heard import Heard, measured
from edge.commissioning.identity import subject, utc_now
from edge.commissioning.plc_watch import PlcWatch
from edge.commissioning.programs import write_programs
from edge.commissioning.progress import Progress
from edge.commissioning.pulling import PIPELINE, Puller
from edge.commissioning.record import Acceptance, Row, found, holds, overall, skipped
from edge.commissioning.simulated_line import simulated_line
from edge.plc.tags.lists import source_tags
from edge.settings import load_settings
from schemas.errors import StartError

NOTE: Final = (
    "Measured on the simulated plant, on one machine: it shows how the device acts, and nothing about a PLC, its "
    "program or its wiring."
)
START_S: Final = 25.0  # guesses, for the bar
PULL_S: Final = 9.0


@dataclass(frozen=True, kw_only=True)
class SimulatedWish:
    """What was asked for. `faults`: those to pull. `limit_ms`: in place of the limits that follow from the settings."""

    folder: Path
    for_s: float
    faults: Sequence[Fault] = FAULTS
    limit_ms: float | None = None
    parts_per_s: float = 20.0
    by: str = ""

    @property
    def expected_s(self) -> float:
        """How long it takes, about."""
        return START_S + self.for_s + PULL_S * len(self.faults)


async def commission_simulated(wish: SimulatedWish, progress: Progress) -> Acceptance:
    """Run it all.

    Raises:
        PlantEdgeError: the line did not come up, or does not come to rest.
    """
    begun = utc_now()
    async with simulated_line(wish.parts_per_s) as line:
        progress.doing("the simulated line starts")
        await line.ready()
        settings = load_settings(line.home)
        heard, watch = Heard(settings), PlcWatch(line.control)
        async with heard.listening(line.home), _running(watch):
            outputs = settings.outputs[PIPELINE]
            times = times_of(outputs, settings.sources[outputs.source])
            puller = Puller(line, heard, watch, times, wish.limit_ms)
            progress.doing("the line comes to rest")
            await puller.calm()
            progress.doing(f"parts pass for {wish.for_s:g} s")
            latencies, scans = await measured(heard, wish.for_s)
            rows = measured_rows(latencies, scans, wish.for_s)
            for row in rows:
                progress.done(row)
            rows += await _pulled(wish, progress, puller)
        tags = source_tags(settings, line.home)
        return Acceptance(
            simulated=True, begun=begun, ended=utc_now(), verdict=overall(rows), rows=rows, latencies=latencies,
            scans=scans, programs=write_programs(wish.folder, settings, tags),
            subject=subject(settings, line.home, tags, wish.by, heard.models.values(), [NOTE, *line.notes()]),
        )  # fmt: skip


@contextlib.asynccontextmanager
async def _running(watch: PlcWatch) -> AsyncGenerator[None]:
    looking = asyncio.ensure_future(watch.run())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _pulled(wish: SimulatedWish, progress: Progress, puller: Puller) -> list[Row]:
    """Pull what was asked for, as long as the line comes to rest in between."""
    rows: list[Row] = []
    lost = ""
    for number, fault in enumerate(FAULTS, start=1):
        if fault not in wish.faults or lost:
            why = lost if fault in wish.faults else "not asked for (--steps)"
            rows.append(skipped(fault.key, fault.title, why))
        else:
            progress.doing(f"{number} of {len(FAULTS)}: {fault.title}, {fault.how}")
            try:
                rows.append(await puller.pull(fault))
            except StartError as error:
                lost = f"not pulled: {fault.title} could not be"
                figures = [holds("the line is at rest, and its plant answers", False)]
                rows.append(found(fault.key, fault.title, fault.how, "", figures, note=str(error)))
        progress.done(rows[-1])
    return rows
