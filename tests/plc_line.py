"""A device at a simulated PLC, to be broken by tests/plc_faults.py: its broker, connect, runtime, camera and agent."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from bus.typed import Reader
from edge.config.held import discard, keep
from edge.processes import row
from edge.settings import load_settings
from edge.sim import control
from schemas.messages import Decision, Proof, Verdict
from schemas.topics import DECISION
from tests.bench.machine import real_time
from tests.device import ROOT, Device
from tests.device_process import HANG, WAKE

USERS = ("connect-plant", "runtime-safety", "camera-cam1", "agent")
PROCESSES = ("connect@plant", "runtime@safety", "camera@cam1", "agent")
PIPELINE = "cap_inspection"
PLC_FIFO, BROKER_FIFO = 50, 45
PARTS_PER_S, TRAVEL_MS = 25.0, 60.0
SETTINGS = """
[sources.plant]
driver = "modbus"
port = {modbus_port}
timeout_ms = 300
tags = "tags/plant.csv"
groups = {{ fast = 20, process = 100 }}
[outputs.{pipeline}]
source = "plant"
verdict = "Eject.Reject"
part = "Eject.PartId"
armed = "Edge.Armed"
rearm = "Plc.Rearm"
heartbeat = "Edge.Heartbeat"
heartbeat_ms = 100
lease_ms = 500
[cameras.cam1]
driver = "plant"
address = "127.0.0.1:{camera_port}"
"""


async def until(condition: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
    """Return the first true value of a condition.

    Raises:
        RuntimeError: it did not come true.
    """
    end = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {within_s:g} s")
        await asyncio.sleep(0.005)
    return value


class PlcLine:
    """The PLC and its parts, the device and its broker, and who hears the runtime's decisions."""

    def __init__(self, folder: Path) -> None:
        """Start the PLC and write the device's folder; `running` starts the rest."""
        self._socket = folder / "plant.sock"
        words = ["--modbus-port", "0", "--camera-port", "0", "--parts-per-s", str(PARTS_PER_S), "--manual-rearm"]
        self._plant = subprocess.Popen(
            [sys.executable, "-m", "edge.sim.plant", "--control", str(self._socket), *words,
             "--travel-ms", str(TRAVEL_MS)], cwd=ROOT, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._plant.stdout is not None
        ports = json.loads(self._plant.stdout.readline())
        self.device = Device(folder, USERS)
        demo = ROOT / "edge" / "sim" / "demo"
        for name in (f"models/{PIPELINE}", f"pipelines/{PIPELINE}.toml", "tags/plant.csv"):
            to = self.device.home / name
            to.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (demo / name).is_dir() else shutil.copyfile)(demo / name, to)
        self.device.add("device.toml", SETTINGS.format(pipeline=PIPELINE, **ports))
        self.stuck = folder / "stuck"  # while it exists, the driver's calls don't return
        self.ok: dict[int, float] = {}  # part -> when it was triggered, of the runtime's OKs
        self.realtime = real_time(self._plant.pid, PLC_FIFO)
        self._live: dict[str, subprocess.Popen[bytes]] = {}
        self._spares: dict[str, subprocess.Popen[bytes]] = {}

    # -- the PLC ------------------------------------------------------------------------------------------------------

    def plc(self, **request: object) -> dict[str, Any]:
        """Ask the plant; without a request for its state."""
        return control.ask(self._socket, request or {"do": "state"}, timeout_s=10.0)

    def passed(self) -> list[tuple[int, float]]:
        """The newest parts that passed, with when."""
        return control.read_passed(self._socket)

    # -- the device ---------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["PlcLine"]:
        """With everything that the device runs, until the end of the block."""
        try:
            keep(self.device.home, load_settings(self.device.home))  # as a supervisor does
            self.start_broker()
            for name in PROCESSES:
                self.start(name)
            async with self.device.user("connect-plant") as user:
                await Reader(DECISION, Decision, lambda told, _: self._hear(told)).attach(user.bus, user.place)
                yield self
        finally:
            self.signal(signal.SIGCONT, *PROCESSES)
            self.signal_broker(signal.SIGCONT)
            self.stuck.unlink(missing_ok=True)
            self.device.stop()
            discard(self.device.home)
            self._plant.terminate()
            self._plant.wait(10)
            assert self._plant.stdout is not None
            self._plant.stdout.close()

    def _hear(self, decision: Decision) -> None:
        if decision.proof is Proof.PART and decision.verdict is Verdict.OK and decision.part_id is not None:
            self.ok[decision.part_id] = decision.trigger_ns / 1e9

    def start_broker(self) -> None:
        """Start it, with the priority that systemd gives it."""
        self.device.start_broker()
        if self.realtime:
            real_time(self.device.broker.pid, BROKER_FIFO)

    def start(self, name: str) -> None:
        """Start a process with its spare, if there is one: its modules are loaded."""
        child = self._spares.pop(name, None) or self._spare(name)
        assert child.stdin is not None
        child.stdin.write(b"start\n")
        child.stdin.close()
        self._live[name] = child
        priority = row(name.partition("@")[0]).priority(name.partition("@")[2])
        if self.realtime and priority:
            real_time(child.pid, priority)

    def load_spares(self, *names: str) -> None:
        """Let there be one of each, so that the next start is quick."""
        for name in names:
            if name not in self._spares:
                self._spares[name] = self._spare(name)

    def _spare(self, name: str) -> subprocess.Popen[bytes]:
        return self.device.start(name, "tests.device_process", "--spare", "--stuck", str(self.stuck))

    def kill(self, *names: str) -> None:
        """End processes at once, all before any is waited for."""
        self.signal(signal.SIGKILL, *names)
        for name in names:
            self._live[name].wait(10)

    def signal(self, number: int, *names: str) -> None:
        """Send a signal to processes."""
        for name in names:
            if name in self._live:
                self._live[name].send_signal(number)

    def signal_broker(self, number: int) -> None:
        """Send the broker a signal."""
        if pid := self.device.broker.pid:
            os.kill(pid, number)

    def hang_loop(self, name: str) -> None:
        """Stop the event loop of a process; its other threads go on."""
        self.signal(HANG, name)

    def wake_loop(self, name: str) -> None:
        """Let it go on."""
        self.signal(WAKE, name)

    def logs(self) -> Iterator[str]:
        """The ends of the processes' logs."""
        for name in PROCESSES:
            yield f"{name}: {self.device.log(name)[-1500:]}"
