"""The simulated PLC as a Logix controller: ladder and line as in edge/sim/demo/tags/plant-ethernetip.csv."""

from __future__ import annotations

import struct
from typing import Final, Literal

from edge.sim.ethernetip_server import EtherNetIpServer
from edge.sim.image import Image, LineState
from edge.sim.ladder import Ladder
from edge.sim.logix_memory import ATOMIC, Member, Memory, Place, Tag
from edge.sim.logix_services import Router

_TYPES: Final = {
    "STRING": (Member("LEN", "DINT"), Member("DATA", "SINT", 82)),
    "LineData": (
        Member("Speed", "REAL"), Member("SpeedSetpoint", "REAL"), Member("PartCounter", "DINT"),
        Member("Trigger", "BOOL"), Member("Running", "BOOL"), Member("Product", "STRING"),
    ),
    "SensorData": (Member("Temperature", "INT"),),
    "PlcData": (Member("Heartbeat", "INT"), Member("Rearm", "BOOL"), Member("WatchdogTripped", "BOOL")),
    "EjectData": (Member("Reject", "BOOL"), Member("PartId", "DINT")),
    "EdgeData": (Member("Armed", "BOOL"), Member("Heartbeat", "INT")),
}  # fmt: skip
_OTHER_TYPES: Final = _TYPES | {
    "SensorData": (Member("Temperature", "REAL"),),
    "LineData": (Member("Speed", "DINT"), *_TYPES["LineData"][1:]),
}


def _tags() -> list[Tag]:
    return [
        Tag("Line", "LineData"), Tag("Motor", "SensorData"), Tag("Fill", "SensorData"), Tag("Plc", "PlcData"),
        Tag("Eject", "EjectData"), Tag("Edge", "EdgeData"), Tag("Speeds", "REAL", 60, program="Program:Main"),
    ]  # fmt: skip


class LogixController:
    """Serves ladder and line over EtherNet/IP."""

    name = "ethernetip"

    def __init__(self, ladder: Ladder, line: LineState) -> None:
        """Serve nobody until `listen`."""
        self._image = Image(ladder, line)
        self._router = Router(Memory(_TYPES, _tags()), self._refresh, self._carry_out)
        self._server = EtherNetIpServer(self._router)
        self._write_value("Line.SpeedSetpoint", line.speed_setpoint_ppm)
        self._write_value("Line.Product.LEN", 7)
        self._router.memory.locate(["Line", "Product"]).tag.data[-84:-77] = b"0.5 PET"

    @property
    def requests(self) -> int:
        """How many requests it has carried out."""
        return self._router.requests

    async def listen(self, host: str, port: int) -> int:
        """Start to serve; return the port."""
        return await self._server.listen(host, port)

    async def close(self) -> None:
        """Stop to serve."""
        await self._server.close()

    def spoil(self, kind: Literal["wrong-type", "freeze"] | None) -> None:
        """Stand still, or have numbers of another type, as after a download of another program."""
        self._image.freeze(kind == "freeze")
        setpoint = self._value("Line.SpeedSetpoint")
        self._router.memory = Memory(_OTHER_TYPES if kind == "wrong-type" else _TYPES, _tags())
        self._write_value("Line.SpeedSetpoint", setpoint)

    def _refresh(self) -> None:
        shown = self._image.shown()
        values: dict[str, float | int] = {
            "Line.Speed": shown.speed_ppm, "Line.PartCounter": shown.parts, "Line.Trigger": shown.trigger,
            "Line.Running": shown.running, "Motor.Temperature": shown.motor_decidegrees,
            "Fill.Temperature": shown.fill_decidegrees, "Plc.Heartbeat": shown.heartbeat & 0x7FFF,
            "Plc.Rearm": shown.rearm, "Plc.WatchdogTripped": shown.watchdog_tripped, "Eject.Reject": shown.reject,
            "Edge.Armed": shown.armed,
        }  # fmt: skip
        for name, value in values.items():
            self._write_value(name, value)

    def _carry_out(self, place: Place) -> None:
        """Do what the program does with what was written: of a structure that is written whole, with all of it."""
        written = (place.tag.name, place.at)
        image = self._image
        if place.tag.name == "Eject" and self._is(place, "Eject.Reject"):
            image.put_reject(bool(self._value("Eject.Reject")))
        if place.tag.name == "Eject" and self._is(place, "Eject.PartId"):
            image.put_part(int(self._value("Eject.PartId")))
        if place.tag.name == "Edge" and self._is(place, "Edge.Armed"):
            image.put_armed(bool(self._value("Edge.Armed")))
        if place.tag.name == "Edge" and self._is(place, "Edge.Heartbeat"):
            image.put_heartbeat(int(self._value("Edge.Heartbeat")))
        if written[0] == "Line" and self._is(place, "Line.SpeedSetpoint"):
            image.put_speed(float(self._value("Line.SpeedSetpoint")))

    def _is(self, place: Place, name: str) -> bool:
        """Whether a write that began at a place was to a member, or to the whole."""
        other = self._router.memory.locate(name.split("."))
        return place.kind not in ATOMIC or (place.at, place.bit) == (other.at, other.bit)

    def _value(self, name: str) -> float | int:
        memory = self._router.memory
        place = memory.locate(name.split("."))
        value: float | int = struct.unpack("<" + ATOMIC[place.kind][1], memory.read(place, 1))[0]
        return value

    def _write_value(self, name: str, value: float | int) -> None:
        memory = self._router.memory
        place = memory.locate(name.split("."))
        letter = ATOMIC[place.kind][1]
        raw = float(value) if letter in "fd" else int(value)
        memory.write(place, memory.type_of(place.kind), 1, 0, struct.pack("<" + letter, raw))
