"""How a simulated plant is set up: what `plantedge sim plant` and `python -m edge.sim.plant` take."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.sim.ports import CAMERA_PORT, MODBUS_PORT

_S7 = "serve the PLC by S7, too (tags/plant-s7.csv); 0 takes any free port"
_LOGIX = "serve the PLC as a Logix controller, too (tags/plant-ethernetip.csv); 0 takes any free port"
_RTU = "serve the PLC by Modbus RTU, too (tags/plant-rtu.csv): a serial port is made at PATH"


@dataclass(frozen=True, kw_only=True)
class PlantOptions:
    """How a plant is set up; port 0 takes any that is free. A face without a port or path is not there."""

    host: str = "127.0.0.1"
    modbus_port: int = 0
    camera_port: int = 0
    s7_port: int | None = None
    ethernetip_port: int | None = None
    rtu: Path | None = None
    control: Path | None = None
    parts_per_s: float = 20.0
    defect_rate: float = 0.05
    travel_ms: float = 60.0
    seed: int = 1
    manual_rearm: bool = False
    cycle_ms: float = 0.0
    handshake: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a plant's options to a command line."""
    default = PlantOptions()
    parser.add_argument("--host", default=default.host, help="address to serve on (default: %(default)s)")
    port = "(default: %(default)s, as in the example device); 0 takes any free port"
    parser.add_argument("--modbus-port", type=int, default=MODBUS_PORT, help=port)
    parser.add_argument("--camera-port", type=int, default=CAMERA_PORT, help=port)
    parser.add_argument("--s7-port", type=int, default=None, help=_S7)
    parser.add_argument("--ethernetip-port", type=int, default=None, metavar="PORT", help=_LOGIX)
    parser.add_argument("--rtu", type=Path, default=None, metavar="PATH", help=_RTU)
    parser.add_argument("--control", type=Path, default=None, help="unix socket for `plantedge sim state|fault|clear`")
    parser.add_argument("--parts-per-s", type=float, default=default.parts_per_s)
    parser.add_argument("--defect-rate", type=float, default=default.defect_rate)
    parser.add_argument("--travel-ms", type=float, default=default.travel_ms, help="from the camera to the ejector")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--manual-rearm", action="store_true", help="the reset is pressed by `sim rearm` alone")
    cycle = "of the PLC's program; 0 runs it at each write"
    parser.add_argument("--cycle-ms", type=float, default=default.cycle_ms, help=cycle)
    parser.add_argument("--handshake", action="store_true", help="the PLC latches by result id and acknowledges it")


def options_of(arguments: argparse.Namespace) -> PlantOptions:
    """Return the options that `add_arguments` parsed."""
    names = PlantOptions.__dataclass_fields__
    return PlantOptions(**{name: getattr(arguments, name) for name in names})


def parsed(argv: Sequence[str] | None, program: str) -> PlantOptions:
    """Return what a command line asks for; `program` is what the person typed before it."""
    parser = argparse.ArgumentParser(prog=program, description="Run a simulated bottling plant.")
    add_arguments(parser)
    return options_of(parser.parse_args(argv))
