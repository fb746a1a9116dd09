"""Modbus TCP. Options: `unit` (device id), `gap`, `max_registers`, `max_bits` (what one request may read).

pymodbus' synchronous client: its asynchronous one is 3 to 5 times slower, and the source has a thread of its own. Its
defaults are 3 s and 3 retries, 12 s for one wrong unit id: both are set. A refusal is a response, not an exception.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

from pydantic import Field, ValidationError
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from edge.config.section import Section
from edge.plc.planning import Planned
from edge.plc.registers import MAX_BITS, MAX_REGISTERS, Area, Held, Reader, Request, encode, plan, point_of
from edge.plc.tags import Native, Tag
from edge.settings import Source
from schemas.errors import ConnectorError, SettingsError, TagError
from schemas.messages import Quality, Sample

ADDRESSES = """
| address | meaning |
|---|---|
| `hr:0`, `ir:0`, `di:0`, `coil:0` | holding register, input register, discrete input, coil, from 0 |
| `40001` or `400001`, `30001`, `10001`, `1` or `00001` | the same as manuals count them, from 1 |

A bool in a register has its `bit` (0 to 15). Numbers of 8 bits have a register of their own. An array of bools lies in
coils or discrete inputs. A tag is read and written in one request: at most 125 registers or 2000 bits, 123 or 1968 if
it is written. There are no `wstring` and no `datetime`.

Options: `unit` (device id), `gap` (registers that are read along rather than asked for in two requests; for bits 16
times as many), `max_registers` and `max_bits` (what one request may read, for devices that take less).
"""
_REFUSALS = {
    1: "function not supported", 2: "no such address", 3: "value refused", 4: "device failure", 5: "not done yet",
    6: "device busy", 10: "gateway has no path", 11: "gateway got no answer",
}  # fmt: skip
_SPLIT_ON = (2, 3)  # part of the range is not there, or the device reads fewer at once
_TOO_LARGE = Sample(quality=Quality.BAD, reason="larger than max_registers or max_bits lets one request be")
_LINK_CODES = (10, 11)  # a gateway lives, the device behind it does not
# What garbage on the wire makes the framer raise, besides its own exceptions.
_WIRE_ERRORS = (ModbusException, OSError, struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError)


class ModbusOptions(Section):
    """The driver's options."""

    unit: Annotated[int, Field(ge=0, le=255)] = 1
    gap: Annotated[int, Field(ge=0, le=124)] = 16
    max_registers: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] = MAX_REGISTERS
    max_bits: Annotated[int, Field(ge=1, le=MAX_BITS)] = MAX_BITS


def check_address(tag: Tag) -> None:
    """Raise TagError where a tag's address is not Modbus or does not fit its type."""
    point_of(tag)


def open_connector(source: Source) -> ModbusConnector:
    """Return a connector that is not connected yet.

    Raises:
        SettingsError: an option that is not known or out of range.
    """
    return ModbusConnector(source, _options(source))


def planned(source: Source, tags: Sequence[Tag]) -> list[Planned]:
    """Return the requests of one scan of a poll group."""
    return [request.planned for request in _plan(_options(source), tags)]


def _options(source: Source) -> ModbusOptions:
    try:
        return ModbusOptions.model_validate(source.options)
    except ValidationError as error:
        raise SettingsError(
            [f"modbus option {'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
        ) from error


def _plan(options: ModbusOptions, tags: Sequence[Tag]) -> list[Request]:
    points = [point_of(tag) for tag in tags]
    return plan(points, gap=options.gap, max_registers=options.max_registers, max_bits=options.max_bits)


class ModbusConnector:
    """One Modbus TCP connection."""

    def __init__(self, source: Source, options: ModbusOptions) -> None:
        """Connect nothing yet."""
        self.requests = 0
        self._where = f"{source.host}:{source.port}"
        self._options = options
        self._plans: dict[tuple[str, ...], list[Request]] = {}
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a dead PLC is one event of ours, no line per try
        self._client = ModbusTcpClient(source.host, port=source.port, timeout=source.timeout_ms / 1e3, retries=0)

    def connect(self) -> None:
        """Open the TCP connection."""
        if not self._client.connect():  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped
            raise ConnectorError(f"{self._where} can't be reached; check cable, address and that Modbus TCP is enabled")
        if self._client.socket is not None:
            self._client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Reset the TCP connection: what a dead link has not delivered must not reach the PLC minutes later."""
        if self._client.socket is not None:
            self._client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.close()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        """Read in as few requests as the plan allows; a range that the device refuses is split until it answers."""
        key = tuple(tag.name for tag in tags)
        requests = self._plans.get(key)
        if requests is None:
            requests = self._plans[key] = _plan(self._options, tags)
        waiting = requests[::-1]
        answered: list[Request] = []
        while waiting:
            request = waiting.pop()
            if request.count > self._most(request.area):  # one tag alone: nothing is cut in two
                yield dict.fromkeys((point.tag.name for point in request.points), _TOO_LARGE)
                answered.append(request)
                continue
            answer = self._fetch(request)
            if isinstance(answer, ExceptionResponse) and answer.exception_code in _SPLIT_ON and len(request.points) > 1:
                waiting.extend(request.halves()[::-1])
                continue
            answered.append(request)
            yield self._samples(request, answer)
        self._plans[key] = answered

    def write(self, tag: Tag, value: Native) -> None:
        """Write coils, the registers of one value, or one bit of a register (by mask: its neighbours stay)."""
        point, unit = point_of(tag), self._options.unit
        if point.area is Area.COIL and isinstance(value, list):
            bits = [bool(bit) for bit in value]
            answer = self._call(lambda: self._client.write_coils(point.address, bits, device_id=unit))
        elif point.area is Area.COIL:
            answer = self._call(lambda: self._client.write_coil(point.address, bool(value), device_id=unit))
        elif tag.bit is not None:
            mask = 1 << tag.bit
            answer = self._call(
                lambda: self._client.mask_write_register(
                    address=point.address, and_mask=0xFFFF ^ mask, or_mask=mask if value else 0, device_id=unit
                )
            )
        else:
            words = encode(tag, value)
            answer = self._call(lambda: self._client.write_registers(point.address, words, device_id=unit))
        if isinstance(answer, ExceptionResponse):
            raise TagError(f"{tag.name} at {self._where}: {_refusal(answer)}")

    def _most(self, area: Area) -> int:
        return self._options.max_bits if area.bits else self._options.max_registers

    def _fetch(self, request: Request) -> ModbusPDU:
        reads: dict[Area, Callable[..., ModbusPDU]] = {
            Area.COIL: self._client.read_coils,
            Area.DISCRETE: self._client.read_discrete_inputs,
            Area.HOLDING: self._client.read_holding_registers,
            Area.INPUT: self._client.read_input_registers,
        }
        read = reads[request.area]
        return self._call(lambda: read(request.address, count=request.count, device_id=self._options.unit))

    def _call(self, ask: Callable[[], ModbusPDU]) -> ModbusPDU:
        """Make one request.

        Raises:
            ConnectorError: no answer, or one that is not Modbus.
        """
        self.requests += 1
        if not self._client.connected:
            raise ConnectorError(f"{self._where} is not connected")
        try:
            answer = ask()
        except _WIRE_ERRORS as error:
            raise ConnectorError(
                f"{self._where}: no usable answer ({_first_line(error)}); check cable and PLC"
            ) from error
        if isinstance(answer, ExceptionResponse) and answer.exception_code in _LINK_CODES:
            raise ConnectorError(f"{self._where}: unit {self._options.unit}: {_refusal(answer)}")
        if answer.isError() and not isinstance(answer, ExceptionResponse):
            raise ConnectorError(f"{self._where}: answered {answer}")
        return answer

    def _samples(self, request: Request, answer: ModbusPDU) -> dict[str, Sample]:
        if isinstance(answer, ExceptionResponse):
            bad = Sample(quality=Quality.BAD, reason=_refusal(answer))
            return {point.tag.name: bad for point in request.points}
        held: Sequence[int] = answer.bits if request.area.bits else answer.registers
        if len(held) < request.count:
            raise ConnectorError(f"{self._where}: {len(held)} values came for {request.count} asked")
        answered = Held(held)
        return {name: _sample(read, answered) for name, read in request.readers}


def _sample(read: Reader, held: Held) -> Sample:
    try:
        return Sample(value=read(held))
    except TagError as error:
        return Sample(quality=Quality.BAD, reason=str(error))


def _refusal(answer: ExceptionResponse) -> str:
    code = int(answer.exception_code)
    return f"{_REFUSALS.get(code, 'refused')} (Modbus exception {code})"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
