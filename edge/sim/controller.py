"""The simulated PLC's Modbus server: the ladder's state as registers, mapped as in edge/sim/demo/tags/plant.csv."""

from __future__ import annotations

import asyncio
import logging
import struct
from typing import Literal, cast

from pymodbus.constants import ExcCodes
from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.sim.image import Image, LineState
from edge.sim.ladder import Ladder

__all__ = ["Controller", "LineState", "RtuController"]
COIL_REJECT, COIL_ARMED, COIL_DATA_VALID = 0, 1, 2
HOLD_PART_ID, HOLD_HEARTBEAT, HOLD_RESULT_ID, HOLD_SETPOINT = 0, 2, 3, 10
HOLDING, INPUTS = 12, 8
BAUDRATE, RTU_UNIT = 19_200, 1
_EVERY_UNIT = 0


class Controller:
    """Serves ladder and line over Modbus TCP; every unit id answers."""

    name = "modbus"

    def __init__(self, ladder: Ladder, line: LineState) -> None:
        """Serve nobody until `listen`."""
        self.requests = 0
        self._image = Image(ladder, line)
        self._changed = False
        self._holding = [0] * HOLDING
        self._holding[HOLD_SETPOINT : HOLD_SETPOINT + 2] = _words(">f", line.speed_setpoint_ppm)
        self._server: ModbusTcpServer | ModbusSerialServer | None = None

    async def listen(self, host: str, port: int) -> int:
        """Start to serve; return the port."""
        self._server = ModbusTcpServer(self._device(_EVERY_UNIT), address=(host, port), identity=_identity())
        await self._server.serve_forever(background=True)
        listener = cast(asyncio.Server, self._server.transport)  # pymodbus keeps its listener under this name
        return int(listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop to serve."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped

    def spoil(self, kind: Literal["wrong-type", "freeze"] | None) -> None:
        """Stand still, or refuse each read as a program without these registers does."""
        self._image.freeze(kind == "freeze")
        self._changed = kind == "wrong-type"

    def _device(self, unit: int) -> SimDevice:
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a client's mistakes are no news of the plant's
        return SimDevice(
            unit,
            simdata=(
                [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
                [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
                [SimData(0, count=HOLDING, values=0, datatype=DataType.REGISTERS)],
                [SimData(0, count=INPUTS, values=0, datatype=DataType.REGISTERS)],
            ),
            action=self._access,
        )

    async def _access(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Called by the server on each access: refresh what is read, carry out what is written."""
        self.requests += 1
        if values is None:
            if self._changed:
                return ExcCodes.ILLEGAL_ADDRESS
            registers[: len(registers) - 1] = self._block(function)[: len(registers) - 1]
        elif function in (5, 15):
            self._write_coils(address, [bool(value) for value in values])
        else:
            self._write_holding(address, [int(value) for value in values])
        return None

    def _block(self, function: int) -> list[int]:
        if function not in (1, 2, 4):
            return self._holding
        shown = self._image.shown()
        if function == 1:
            return [shown.reject | shown.armed << 1 | shown.data_valid << 2]
        if function == 2:
            return [shown.trigger | shown.running << 1 | shown.rearm << 2 | shown.watchdog_tripped << 3]
        return [
            *_words(">f", shown.speed_ppm), shown.motor_decidegrees & 0xFFFF, shown.fill_decidegrees & 0xFFFF,
            *_words(">I", shown.parts), shown.heartbeat, shown.result_ack,
        ]  # fmt: skip

    def _write_coils(self, address: int, values: list[bool]) -> None:
        for coil, value in enumerate(values, address):
            if coil == COIL_REJECT:
                self._image.put_reject(value)
            elif coil == COIL_ARMED:
                self._image.put_armed(value)
            elif coil == COIL_DATA_VALID:
                self._image.put_data_valid(value)

    def _write_holding(self, address: int, values: list[int]) -> None:
        end = address + len(values)
        self._holding[address:end] = values
        if address <= HOLD_PART_ID < end:
            (part_id,) = struct.unpack(">I", struct.pack(">2H", *self._holding[HOLD_PART_ID : HOLD_PART_ID + 2]))
            self._image.put_part(part_id)
        if address <= HOLD_RESULT_ID < end:
            self._image.put_result_id(self._holding[HOLD_RESULT_ID])
        if address <= HOLD_HEARTBEAT < end:
            self._image.put_heartbeat(self._holding[HOLD_HEARTBEAT])
        if address <= HOLD_SETPOINT + 1 and end > HOLD_SETPOINT:
            (speed,) = struct.unpack(">f", struct.pack(">2H", *self._holding[HOLD_SETPOINT : HOLD_SETPOINT + 2]))
            self._image.put_speed(speed)


class RtuController(Controller):
    """The same as unit 1 of a serial line, at 19200 Bd."""

    name = "rtu"

    async def listen_on(self, device: str) -> None:
        """Start to serve on a serial device."""
        self._server = ModbusSerialServer(
            self._device(RTU_UNIT), port=device, baudrate=BAUDRATE, ignore_missing_devices=True, identity=_identity()
        )
        await self._server.serve_forever(background=True)


def _identity() -> ModbusDeviceIdentification:
    """What `plantedge plc browse` is told (function 43/14)."""
    return ModbusDeviceIdentification(  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped
        info_name={
            "VendorName": "PlantEdge", "ProductCode": "sim-plant", "MajorMinorRevision": "1.0",
            "ProductName": "simulated bottling line",
        }
    )  # fmt: skip


def _words(form: str, value: float) -> list[int]:
    return list(struct.unpack(">2H", struct.pack(form, value)))
