"""The faces of the simulated PLC: protocol servers that show the same ladder and line. A face is one file.

A face over TCP has a row in `tcp_faces`, an option in `plant_options.py` and a tag list in edge/sim/demo/tags/.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol, get_args

from edge.sim.controller import Controller
from edge.sim.image import LineState
from edge.sim.ladder import Ladder
from edge.sim.logix_controller import LogixController
from edge.sim.plant_options import PlantOptions
from edge.sim.s7_controller import S7Controller

FaceFault = Literal["wrong-type", "freeze"]
FACE_FAULTS: Final[tuple[str, ...]] = get_args(FaceFault)


class Face(Protocol):
    """One protocol server."""

    name: str

    @property
    def requests(self) -> int:
        """How many requests it has carried out."""
        ...

    async def listen(self, host: str, port: int) -> int:
        """Start to serve; return the port."""
        ...

    async def close(self) -> None:
        """Stop to serve."""
        ...

    def spoil(self, kind: FaceFault | None) -> None:
        """Stand still, or answer as a PLC whose program was changed under the tag list; None mends both."""
        ...


def tcp_faces(options: PlantOptions, ladder: Ladder, line: LineState) -> list[tuple[Face, int]]:
    """Return the faces that were asked for, each with the port where it is to be found; 0 is any."""
    faces: list[tuple[Face, int]] = [(Controller(ladder, line), options.modbus_port)]
    if options.s7_port is not None:
        faces.append((S7Controller(ladder, line), options.s7_port))
    if options.ethernetip_port is not None:
        faces.append((LogixController(ladder, line), options.ethernetip_port))
    return faces
