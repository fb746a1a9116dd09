"""Modbus TCP: a device, or a gateway with several units. Its logic, shared with RTU, is edge/plc/modbus/link.py.

pymodbus' synchronous client: its asynchronous one is 3 to 5 times slower, and the source has a thread of its own. Its
defaults are 3 s and 3 retries, 12 s for one wrong unit id: both are set. A refusal is a response, not an exception.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Sequence
from typing import Final

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ModbusPDU

from edge.plc.modbus.link import (
    ADDRESSES as SHARED_ADDRESSES,
)
from edge.plc.modbus.link import (
    SHARED_OPTIONS,
    ModbusConnector,
    ModbusOptions,
    checked,
    plan_scan,
)
from edge.plc.modbus.registers import Area, point_of
from edge.plc.modbus.requests import HoldingRegisters, InputRegisters
from edge.plc.modbus.units import NoAnswer
from edge.plc.options import parse_options
from edge.plc.planning import Planned
from edge.plc.tags.lists import Tag
from edge.settings import Source
from schemas.errors import ConnectorError

ADDRESSES = f"""{SHARED_ADDRESSES}
Behind a gateway, a unit that is silent makes its own tags Bad, and is asked again after 0.2 s, later every 5 s.

Options: {SHARED_OPTIONS}.
"""
PORT: Final = 502
URL_PATH: Final = ""
_MBAP = struct.Struct(">HHH")
# What garbage on the wire makes the framer raise, besides its own exceptions.
_WIRE_ERRORS = (ModbusException, OSError, struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError)


def check_address(tag: Tag) -> None:
    """Raise TagError where a tag's address is not Modbus or does not fit its type."""
    point_of(tag)


def open_connector(source: Source) -> ModbusConnector:
    """Return a connector that is not connected yet.

    Raises:
        SettingsError: an option that is not known or out of range.
    """
    return ModbusConnector(TcpWire(source), parse_options(ModbusOptions, source))


def planned(source: Source, tags: Sequence[Tag]) -> list[Planned]:
    """Return the requests of one scan of a poll group."""
    return [request.planned for request in plan_scan(parse_options(ModbusOptions, source), tags)]


class TcpWire:
    """One TCP connection."""

    def __init__(self, source: Source) -> None:
        """Connect nothing yet."""
        self.where = f"{source.host}:{source.port}"
        self._heard = b""
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a dead PLC is one event of ours, no line per try
        self._client = ModbusTcpClient(
            source.host, port=source.port, timeout=source.timeout_ms / 1e3, retries=0, trace_packet=self._trace
        )
        for answer in (HoldingRegisters, InputRegisters):
            self._client.register(answer)

    def open(self, used: dict[int, set[Area]]) -> None:
        """Open the connection."""
        del used  # an answer has its request's number: none is taken for another's
        if not self._client.connect():  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped
            raise ConnectorError(f"{self.where} can't be reached; check cable, address and that Modbus TCP is enabled")
        if self._client.socket is not None:
            self._client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Reset the connection: what a dead link has not delivered must not reach the PLC minutes later."""
        if self._client.socket is not None:
            self._client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.close()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped

    def ask(self, request: ModbusPDU) -> ModbusPDU:
        """Make one request."""
        if not self._client.connected:
            raise ConnectorError(f"{self.where} is not connected")
        self._heard = b""
        try:
            answer = self._client.execute(False, request)
        except _WIRE_ERRORS as error:
            said = f"{self.where}: no usable answer ({_first_line(error)}); check cable and PLC"
            if isinstance(error, ModbusException) and not isinstance(error, ConnectionException) and not self._heard:
                raise NoAnswer(said.replace("no usable answer", f"unit {request.dev_id}: no usable answer")) from error
            raise ConnectorError(said) from error
        if problem := checked(self.where, request, answer):
            raise ConnectorError(f"{problem}; check what answers there")
        return answer

    def _trace(self, sending: bool, data: bytes) -> bytes:
        """Keep what came and is no whole message: after that, nothing on this connection can be trusted."""
        if not sending:
            self._heard = _rest(data)
        return data


def _rest(data: bytes) -> bytes:
    """Return what is left after the whole messages (late answers, which are skipped) of a buffer."""
    while len(data) >= _MBAP.size:
        _, protocol, length = _MBAP.unpack_from(data)
        if protocol or len(data) < _MBAP.size + length:
            break
        data = data[_MBAP.size + length :]
    return data


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
