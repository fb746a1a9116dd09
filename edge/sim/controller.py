"""The simulated PLC's Modbus TCP server: the ladder's state as registers, mapped as in edge/sim/demo/tags/plant.csv."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from dataclasses import dataclass
from typing import cast

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.sim.ladder import Ladder

COIL_REJECT, COIL_ARMED, COIL_DATA_VALID = 0, 1, 2
HOLD_PART_ID, HOLD_HEARTBEAT, HOLD_RESULT_ID, HOLD_SETPOINT = 0, 2, 3, 10
HOLDING, INPUTS = 12, 8
TRIGGER_S = 0.01  # the trigger bit stays on for so long


@dataclass
class LineState:
    """What the line's sensors read. `speed_setpoint_ppm` is written from outside."""

    speed_ppm: float = 0.0
    motor_c: float = 0.0
    fill_c: float = 0.0
    parts: int = 0
    trigger_s: float = 0.0
    running: bool = True
    speed_setpoint_ppm: float = 600.0


class Controller:
    """Serves ladder and line over Modbus TCP; every unit id answers."""

    def __init__(self, ladder: Ladder, line: LineState) -> None:
        """Serve nobody until `listen`."""
        self.requests = 0
        self._ladder = ladder
        self._line = line
        self._holding = [0] * HOLDING
        self._holding[HOLD_SETPOINT : HOLD_SETPOINT + 2] = _words(">f", line.speed_setpoint_ppm)
        self._server: ModbusTcpServer | None = None

    async def listen(self, host: str, port: int) -> int:
        """Start to serve; return the port."""
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a client's mistakes are no news of the plant's
        device = SimDevice(
            0,
            simdata=(
                [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
                [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
                [SimData(0, count=HOLDING, values=0, datatype=DataType.REGISTERS)],
                [SimData(0, count=INPUTS, values=0, datatype=DataType.REGISTERS)],
            ),
            action=self._access,
        )
        self._server = ModbusTcpServer(device, address=(host, port))
        await self._server.serve_forever(background=True)
        listener = cast(asyncio.Server, self._server.transport)  # pymodbus keeps its listener under this name
        return int(listener.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop to serve."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped

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
        now_s = time.monotonic()
        self._ladder.scan(now_s)
        if values is None:
            registers[: len(registers) - 1] = self._block(function, now_s)[: len(registers) - 1]
        elif function in (5, 15):
            self._write_coils(address, [bool(value) for value in values], now_s)
        else:
            self._write_holding(address, [int(value) for value in values], now_s)
        return None

    def _block(self, function: int, now_s: float) -> list[int]:
        ladder, line = self._ladder, self._line
        if function == 1:
            return [ladder.reject | ladder.armed << 1 | ladder.data_valid << 2]
        if function == 2:
            trigger = now_s - line.trigger_s < TRIGGER_S
            return [trigger | line.running << 1 | ladder.rearm(now_s) << 2 | ladder.watchdog_tripped << 3]
        if function == 4:
            return [
                *_words(">f", line.speed_ppm), round(line.motor_c * 10) & 0xFFFF, round(line.fill_c * 10) & 0xFFFF,
                *_words(">I", line.parts), int(now_s * 10) & 0xFFFF, ladder.result_ack,
            ]  # fmt: skip
        return self._holding

    def _write_coils(self, address: int, values: list[bool], now_s: float) -> None:
        for coil, value in enumerate(values, address):
            if coil == COIL_REJECT:
                self._ladder.reject = value
            elif coil == COIL_ARMED:
                self._ladder.write_armed(value, now_s)
            elif coil == COIL_DATA_VALID:
                self._ladder.data_valid = value

    def _write_holding(self, address: int, values: list[int], now_s: float) -> None:
        end = address + len(values)
        self._holding[address:end] = values
        if address <= HOLD_PART_ID < end:
            (part_id,) = struct.unpack(">I", struct.pack(">2H", *self._holding[HOLD_PART_ID : HOLD_PART_ID + 2]))
            self._ladder.write_part_id(part_id)
        if address <= HOLD_RESULT_ID < end:
            self._ladder.write_result_id(self._holding[HOLD_RESULT_ID])
        if address <= HOLD_HEARTBEAT < end:
            self._ladder.write_heartbeat(self._holding[HOLD_HEARTBEAT], now_s)
        if address <= HOLD_SETPOINT + 1 and end > HOLD_SETPOINT:
            (speed,) = struct.unpack(">f", struct.pack(">2H", *self._holding[HOLD_SETPOINT : HOLD_SETPOINT + 2]))
            self._line.speed_setpoint_ppm = speed


def _words(form: str, value: float) -> list[int]:
    return list(struct.unpack(">2H", struct.pack(form, value)))
