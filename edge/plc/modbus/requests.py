"""Modbus requests as pymodbus' PDUs, and whether an answer is one to them. Pure.

pymodbus checks unit, transaction and checksum. That an answer has the function and the size that were asked for, and
that a write's answer repeats the write, is checked here: RTU has no transaction id.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    MaskWriteRegisterRequest,
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
    WriteMultipleRegistersRequest,
)

from edge.plc.modbus.registers import Area, Point, Request, encode
from edge.plc.tags.lists import Native

REFUSALS: Final = {
    1: "function not supported", 2: "no such address", 3: "value refused", 4: "device failure", 5: "not done yet",
    6: "device busy", 10: "gateway has no path", 11: "gateway got no answer",
}  # fmt: skip
SPLIT_ON: Final = (2, 3)  # part of the range is not there, or the device reads fewer at once
GATEWAY: Final = (10, 11)  # a gateway lives, the device behind it does not
_READS: Final[dict[Area, type[ModbusPDU]]] = {
    Area.COIL: ReadCoilsRequest, Area.DISCRETE: ReadDiscreteInputsRequest, Area.HOLDING: ReadHoldingRegistersRequest,
    Area.INPUT: ReadInputRegistersRequest,
}  # fmt: skip


class HoldingRegisters(ReadHoldingRegistersResponse):
    """An answer whose registers are unpacked at once: pymodbus takes 0.2 us for each."""

    def decode(self, data: bytes) -> None:
        """Take the registers; ValueError and struct.error end up as pymodbus' own refusal to read the message."""
        if data[0] % 2 or data[0] >= len(data):
            raise ValueError(f"{data[0]} bytes of registers in a message of {len(data)}")
        self.registers = list(struct.unpack_from(f">{data[0] // 2}H", data, 1))


class InputRegisters(HoldingRegisters, ReadInputRegistersResponse):
    """The same from the table of input registers."""

    function_code = ReadInputRegistersResponse.function_code


def read_of(area: Area, address: int, count: int, unit: int) -> ModbusPDU:
    """Return the request that reads a range."""
    return _READS[area](address=address, count=count, dev_id=unit)


def reads_of(request: Request) -> ModbusPDU:
    """Return a planned request."""
    return read_of(request.area, request.address, request.count, request.unit)


def write_of(point: Point, value: Native, unit: int) -> ModbusPDU:
    """Return the request that writes coils, the registers of one value, or one bit by mask (its neighbours stay)."""
    if point.area is Area.COIL and isinstance(value, list):
        return WriteMultipleCoilsRequest(address=point.address, bits=[bool(bit) for bit in value], dev_id=unit)
    if point.area is Area.COIL:
        return WriteSingleCoilRequest(address=point.address, bits=[bool(value)], dev_id=unit)
    if point.tag.bit is not None:
        mask = 1 << point.tag.bit
        return MaskWriteRegisterRequest(point.address, 0xFFFF ^ mask, mask if value else 0, unit)
    return WriteMultipleRegistersRequest(address=point.address, registers=encode(point.tag, value), dev_id=unit)


def answer_size(request: ModbusPDU) -> int:
    """Return how many bytes the function code and the data of an answer take, if it is no refusal."""
    if isinstance(request, (ReadCoilsRequest, ReadDiscreteInputsRequest)):
        return 2 + (request.count + 7) // 8
    if isinstance(request, (ReadHoldingRegistersRequest, ReadInputRegistersRequest)):
        return 2 + 2 * request.count
    return 7 if isinstance(request, MaskWriteRegisterRequest) else 5


def mismatch(request: ModbusPDU, answer: ModbusPDU) -> str:
    """Return why an answer is none to a request, "" if it is one."""
    if answer.function_code & 0x7F != request.function_code:
        return f"an answer to function {answer.function_code & 0x7F} came, {request.function_code} was asked"
    if isinstance(answer, ExceptionResponse):
        return ""
    if isinstance(request, (ReadCoilsRequest, ReadDiscreteInputsRequest)):
        return _count_problem(answer.bits, (request.count + 7) // 8 * 8)
    if isinstance(request, (ReadHoldingRegistersRequest, ReadInputRegistersRequest)):
        return _count_problem(answer.registers, request.count)
    return "" if _echoed(request) == _echoed(answer) else "the answer to another write came"


def refusal(answer: ExceptionResponse) -> str:
    """Return what a refusal says."""
    code = int(answer.exception_code)
    return f"{REFUSALS.get(code, 'refused')} (Modbus exception {code})"


def _count_problem(held: Sequence[int], wanted: int) -> str:
    return "" if len(held) == wanted else f"{len(held)} values came for {wanted} asked"


def _echoed(pdu: ModbusPDU) -> tuple[object, ...]:
    """What a write's answer repeats of it; some servers answer a coil's value as it was before."""
    return pdu.address, pdu.count or len(pdu.bits), getattr(pdu, "and_mask", None), getattr(pdu, "or_mask", None)
