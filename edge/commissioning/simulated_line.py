"""The demo line of an acceptance: `plantedge up` in a folder of its own, with a reset that only we press.

`python -m edge.commissioning.simulated_line --parts-per-s 20` runs it in $PLANTEDGE_DIR.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import psutil

from edge.line.demo import SOURCE, control_socket
from edge.line.ground import Options
from edge.sim.control import read_state, send_rearm
from edge.supervision import spawn
from edge.supervision.run_state import Phase, RunState, work_folder
from edge.supervision.run_state import read_state as read_run_state
from schemas.errors import StartError

READY_S: Final = 120.0
STOP_S: Final = 20.0
_ASK_S: Final = 0.2
ALIVE: Final = {"sources": {SOURCE: {"alive": "Plc.Heartbeat", "alive_ms": 1000}}}  # else a frozen PLC goes unnoticed


class SimulatedLine:
    """A running demo line."""

    def __init__(self, work: Path) -> None:
        """Start nothing yet."""
        self.work = work
        self.home = work / "demo" / "device"
        self.control = control_socket(work)
        self._log = work / "commission.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, parts_per_s: float) -> None:
        """Start it; it dies with us."""
        argv = spawn.python("edge.commissioning.simulated_line", "--parts-per-s", str(parts_per_s))
        self._process = await spawn.spawn(argv, log=self._log, run=self.work, env={"PLANTEDGE_DIR": str(self.work)})

    @property
    def state(self) -> RunState | None:
        """What its supervisor has written down."""
        return read_run_state(self.work)

    async def ready(self) -> None:
        """Press the reset until the device is armed and the line says that it is ready.

        Raises:
            StartError: it did not come up; with what it said.
        """
        end = time.monotonic() + READY_S
        while (state := self.state) is None or state.ready_s is None:
            if self._process is None or self._process.returncode is not None or time.monotonic() > end:
                said = spawn.last_lines(self._log)
                raise StartError("\n  ".join(["the simulated line did not come up:", *said]))
            await asyncio.to_thread(self.press)
            await asyncio.sleep(_ASK_S)

    def press(self) -> None:
        """Press the reset unless the device is armed."""
        with contextlib.suppress(StartError):
            if not read_state(self.control).get("armed"):
                send_rearm(self.control)

    def notes(self) -> list[str]:
        """Return what a reader has to know of this machine."""
        state = self.state
        usual = sorted(child.name for child in state.children if child.realtime is False) if state else []
        return [f"Without real-time priority, which this machine does not permit: {', '.join(usual)}."] if usual else []

    def pid(self, name: str) -> int:
        """Return the process of a child that is up, 0 while none is known."""
        state = self.state
        for child in state.children if state else []:
            if child.name == name and child.phase is Phase.READY and psutil.pid_exists(child.pid):
                return child.pid
        return 0

    async def stop(self) -> None:
        """End it as Ctrl-C does, and then whatever is left."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()
        spawn.sweep(self.work)


@contextlib.asynccontextmanager
async def simulated_line(parts_per_s: float) -> AsyncGenerator[SimulatedLine]:
    """Start a line in a folder of its own, which goes when it ends."""
    work = Path(tempfile.mkdtemp(prefix="plantedge-commission-"))
    try:
        line = SimulatedLine(work)
        try:
            await line.start(parts_per_s)
            yield line
        finally:
            await line.stop()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    """Entry point of `python -m edge.commissioning.simulated_line`."""
    from edge.line.up import up  # not for who only starts it

    parser = argparse.ArgumentParser(description="Run the demo line whose reset nobody presses.")
    parser.add_argument("--parts-per-s", type=float, default=20.0)
    given = parser.parse_args()
    work_folder().mkdir(parents=True, exist_ok=True)
    return up(Options(plain=True, parts_per_s=given.parts_per_s, fleet=False, manual_rearm=True, settings=ALIVE))


if __name__ == "__main__":
    sys.exit(main())
