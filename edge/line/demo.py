"""The demo line of `plantedge up`: its device folder, made anew from edge/sim/demo, and its plant."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

import edge
from edge.host.ports import PortChoice
from edge.host.socket_path import socket_path
from edge.settings import HMI_PORT, MONITOR_PORT
from edge.sim.control import read_state
from edge.sim.ports import CAMERA_PORT, MODBUS_PORT
from edge.supervision.child import Command
from edge.supervision.spawn import python
from schemas.errors import StartError

PLANT = "plant"
SHIPPED = Path(edge.__file__).parent / "sim" / "demo"
SOURCE, CAMERAS = "plant", ("cam1", "tray1", "gear1")  # their names in the shipped device.toml
_DEFAULTS = {
    "broker": 1883, "modbus": MODBUS_PORT, "camera": CAMERA_PORT, "opcua": 4840, "monitor": MONITOR_PORT,
    "hmi": HMI_PORT,
}  # fmt: skip


@dataclass(frozen=True)
class DemoPorts:
    """The ports of this run, and those that were taken: default -> chosen."""

    broker: int
    modbus: int
    camera: int
    opcua: int
    monitor: int
    hmi: int

    @property
    def moved(self) -> dict[str, tuple[int, int]]:
        """What could not have its usual port: name -> (usual, chosen)."""
        return {name: (usual, getattr(self, name)) for name, usual in _DEFAULTS.items() if getattr(self, name) != usual}


def copy_demo(home: Path) -> Path:
    """Bring the shipped example into `home`; what a device adds there (state, identity) stays."""
    shutil.copytree(SHIPPED, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return home


def choose_ports(ports: PortChoice) -> DemoPorts:
    """Return the usual ports where they are free, others where not."""
    return DemoPorts(**{name: ports.choose(port) for name, port in _DEFAULTS.items()})


def demo_overlay(ports: DemoPorts) -> dict[str, object]:
    """Return the overlay that lets the device find its plant on these ports."""
    return {
        "sources": {SOURCE: {"port": ports.modbus}},
        "cameras": {name: {"address": f"127.0.0.1:{ports.camera}"} for name in CAMERAS},
        "opcua": {"endpoint": f"opc.tcp://127.0.0.1:{ports.opcua}"},
        "monitor": {"port": ports.monitor},
        "hmi": {"port": ports.hmi},
    }


def control_socket(work: Path) -> Path:
    """Return where the demo's plant is asked and disturbed."""
    return socket_path(work / "run", "plant.sock")


def plant_command(work: Path, ports: DemoPorts, parts_per_s: float, manual_rearm: bool = False) -> Command:
    """Return the command that runs the simulated plant."""
    control = control_socket(work)

    async def answers() -> bool:
        try:
            await asyncio.to_thread(read_state, control)
        except StartError:
            return False
        return True

    ports_given = ("--modbus-port", str(ports.modbus), "--camera-port", str(ports.camera))
    return Command(
        name=PLANT, probe=answers, watchdog_s=12.0,
        argv=python(
            "edge.sim.plant", *ports_given, "--control", str(control), "--parts-per-s", str(parts_per_s),
            *(("--manual-rearm",) if manual_rearm else ()),
        ),
    )  # fmt: skip
