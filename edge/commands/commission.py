"""`plantedge commission`: the acceptance of a device and its PLC, or of the simulated line."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from edge.commands.device import device_home, need_device
from edge.commissioning.device import DeviceWish, commission_device
from edge.commissioning.faults import FAULTS
from edge.commissioning.progress import Progress
from edge.commissioning.record import EXIT_STATUS, Acceptance, Verdict
from edge.commissioning.report import write_report
from edge.commissioning.simulated import SimulatedWish, commission_simulated
from edge.commissioning.steps import STEPS
from edge.config.problems import nearest
from edge.supervision.run_state import command_name, shortened
from schemas.errors import BusError, StartError

S = TypeVar("S")


def commission(given: argparse.Namespace) -> int:
    """Run it, write the report, and return the exit status: 0 only where everything passed.

    Raises:
        PlantEdgeError: nothing could be measured, so there is no report.
    """
    folder: Path = given.report or Path(time.strftime("acceptance-%Y%m%dT%H%M%SZ", time.gmtime()))
    work = _simulated(given, folder) if given.simulated else _device(given, folder)
    try:
        accepted = asyncio.run(_stoppable(work))
    except BusError as error:
        raise StartError(f"{error}; does the device run? see `{command_name()} status`") from error
    except asyncio.CancelledError:
        print("plantedge commission: ended before it was done; there is no report", file=sys.stderr)
        return 130
    write_report(folder, accepted)
    _tell(accepted, folder)
    return EXIT_STATUS[accepted.verdict]


async def _simulated(given: argparse.Namespace, folder: Path) -> Acceptance:
    faults = _chosen({fault.key: fault for fault in FAULTS}, given.steps)
    wish = SimulatedWish(
        folder=folder, for_s=given.for_s, faults=faults, limit_ms=given.limit_ms, parts_per_s=given.parts_per_s,
        by=given.by,
    )  # fmt: skip
    progress = Progress(wish.expected_s)
    with progress.shown():
        return await commission_simulated(wish, progress)


async def _device(given: argparse.Namespace, folder: Path) -> Acceptance:
    home = device_home(given.home)
    need_device(home)
    steps = _chosen({step.key: step for step in STEPS}, given.steps)
    wish = DeviceWish(home=home, folder=folder, for_s=given.for_s, steps=steps, step_s=given.step_s, by=given.by)
    return await commission_device(wish, Progress(0.0))  # no bar: it would write over what the engineer types


def _chosen(known: dict[str, S], wanted: str) -> Sequence[S]:
    """Return what `--steps` names, all without it.

    Raises:
        StartError: there is no such step.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in known:
            near = nearest(name, known)
            raise StartError(
                f"--steps {name}: there is no such step; "
                + (f"did you mean {near}?" if near else f"there are {', '.join(known)}")
            )
    return [one for key, one in known.items() if key in names or not names]


async def _stoppable(work: Coroutine[Any, Any, Acceptance]) -> Acceptance:
    """Let SIGTERM and SIGHUP end it as Ctrl-C does: nothing is left running."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def _tell(accepted: Acceptance, folder: Path) -> None:
    left_out = len(accepted.of(Verdict.SKIPPED))
    note = f", {left_out} of {len(accepted.rows)} rows were skipped, which is no pass" if left_out else ""
    with contextlib.suppress(BrokenPipeError):
        print(f"{accepted.verdict.value.upper()}{note}; the report is in {shortened(folder.resolve())}")
