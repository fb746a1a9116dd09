"""Modbus RTU: one serial line with one unit or several. Its logic, shared with TCP, is edge/plc/modbus/link.py.

RTU's answers have no number: a late answer looks like that to the next request. So a unit whose answer was lost is out
of step, and so is each unit at first: it is asked nothing before it has answered a read of a table that none of its
tags lies in. Units answer in order, so what it owed has come before, and no ordinary answer can be taken for this one.
After an unanswered read of this kind, `timeout_ms` has to pass as well, lest its answer be taken for the next one's.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field
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
from edge.plc.modbus.requests import read_of
from edge.plc.modbus.serial_line import LineSettings, SerialLine
from edge.plc.modbus.units import NoAnswer, Unanswered
from edge.plc.options import parse_options
from edge.plc.planning import Planned
from edge.plc.tags.lists import Tag
from edge.settings import Source
from schemas.errors import ConnectorError, SettingsError, TagError

PORT: Final = 0
URL_PATH: Final = "device"
HIGHEST_UNIT: Final = 247
ADDRESSES = f"""{SHARED_ADDRESSES}
A unit is 1 to {HIGHEST_UNIT}. One source serves a whole line: give the tags of its units their number (`3/hr:0`). A
unit that is silent makes its own tags Bad, and is asked again after 0.2 s, later every 5 s.

Options: `device` (the port: a path in /dev/serial/by-id stays the same when the adapter is moved), `baudrate` (19200),
`parity` (E, N or O), `stop_bits` (1; 2 without parity), `answer_ms` (how long a unit may think, 100), `turnaround_ms`
(a pause before each request, for units that need more than 3.5 bytes), `echo` (the adapter hears itself), `settle_ms`
(see below), {SHARED_OPTIONS}. `host` and `port` are not used; `timeout_ms` bounds `answer_ms`,
and is how late an answer may come without being taken for another's.

RTU's answers have no number. To take none for another's, a unit that missed one is first asked for a bit or register of
a table that none of its tags lies in: a refusal will do. Units that give no answer at all to a function that they do
not know, and units with tags in all four tables, take `settle_ms` instead (1000 for the latter): they are asked again
once they have been left alone for so long.
"""
_PROBED: Final = (Area.COIL, Area.DISCRETE, Area.INPUT, Area.HOLDING)
_SETTLE_MS: Final = 1000.0
_WIRE_ERRORS = (ModbusException, struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError)


class RtuOptions(ModbusOptions):
    """The driver's options."""

    unit: Annotated[int, Field(ge=1, le=HIGHEST_UNIT)] = 1
    device: str = ""
    baudrate: Annotated[int, Field(ge=300, le=4_000_000)] = 19_200
    parity: Literal["E", "N", "O"] = "E"
    stop_bits: Literal[1, 2] = 1
    answer_ms: Annotated[float, Field(gt=0, le=10_000)] = 100.0
    turnaround_ms: Annotated[float, Field(ge=0, le=1000)] = 0.0
    echo: bool = False
    settle_ms: Annotated[float, Field(ge=0, le=5000)] = 0.0


def check_address(tag: Tag) -> None:
    """Raise TagError where a tag's address is not Modbus RTU or does not fit its type."""
    unit = point_of(tag).unit
    if unit is not None and not 1 <= unit <= HIGHEST_UNIT:
        raise TagError(f"{tag.name}: address {tag.address!r}: a unit on a serial line is 1 to {HIGHEST_UNIT}")


def open_connector(source: Source) -> ModbusConnector:
    """Return a connector that is not connected yet.

    Raises:
        SettingsError: an option that is missing, not known or out of range.
    """
    options = parse_options(RtuOptions, source)
    if not options.device:
        raise SettingsError([f"{source.driver} option device: name the serial port, such as /dev/serial/by-id/..."])
    return ModbusConnector(RtuWire(options, source.timeout_ms), options)


def planned(source: Source, tags: Sequence[Tag]) -> list[Planned]:
    """Return the requests of one scan of a poll group: TCP's, with unit and checksum in place of its header."""
    found = [request.planned for request in plan_scan(parse_options(RtuOptions, source), tags)]
    return [Planned(one.tags, one.asked - 4, one.answered - 4) for one in found]


class RtuWire:
    """One serial line."""

    def __init__(self, options: RtuOptions, timeout_ms: float) -> None:
        """Open nothing yet."""
        self.where = options.device
        self._timeout_s = timeout_ms / 1e3
        self._settle_ms = options.settle_ms
        self._used: dict[int, set[Area]] = {}
        self._in_step: set[int] = set()
        self._asked: dict[int, float] = {}  # when a unit was last asked
        self._owed: dict[int, float] = {}  # when a unit was asked to get in step, and did not answer
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # a dead unit is one event of ours, no line per try
        self._line = SerialLine(
            LineSettings(
                device=options.device,
                baudrate=options.baudrate,
                parity=options.parity,
                stop_bits=options.stop_bits,
                answer_s=min(options.answer_ms, timeout_ms) / 1e3,
                turnaround_s=options.turnaround_ms / 1e3,
                echo=options.echo,
            )
        )

    def open(self, used: dict[int, set[Area]]) -> None:
        """Open the port, and throw away what is still said to who had it before."""
        self._used = used
        self._line.connect()
        settles = max((self._settles_s(unit) for unit in used), default=0.0)
        self._hear_out(max(settles, self._timeout_s))
        self._asked = dict.fromkeys(used, time.monotonic() - settles)

    def close(self) -> None:
        """Close the port."""
        self._line.close()

    def ask(self, request: ModbusPDU) -> ModbusPDU:
        """Make one request, once more where its answer was lost and the unit is in step again."""
        self._get_in_step(request.dev_id)
        try:
            return self._exchange(request)
        except NoAnswer as error:
            if self._settles_s(request.dev_id):
                raise
            first = error
        self._get_in_step(request.dev_id)
        try:
            return self._exchange(request)
        except NoAnswer as error:
            raise Unanswered(f"{first}; the unit answers others") from error

    def _get_in_step(self, unit: int) -> None:
        """See to it that no earlier answer can be on its way."""
        if unit in self._in_step:
            return
        settles = self._settles_s(unit)
        if settles:
            if time.monotonic() - self._asked.get(unit, 0.0) < settles:
                raise NoAnswer(f"{self.where}: unit {unit} is left alone for {settles:g} s, as an answer was lost")
        else:
            self._probe(unit)
        self._in_step.add(unit)

    def _probe(self, unit: int) -> None:
        """Ask for what no tag wants."""
        owed = self._owed.get(unit)
        try:
            self._exchange(read_of(self._probed(unit)[0], 0, 1, unit))
        except NoAnswer:
            self._owed[unit] = self._asked[unit]
            raise
        if owed is not None:
            self._hear_out(owed + self._timeout_s - time.monotonic())
            self._owed.pop(unit)

    def _hear_out(self, for_s: float) -> None:
        """Throw away what comes."""
        try:
            self._line.listen(max(0.0, for_s))
        except ConnectionException as error:
            raise ConnectorError(self._lost(error)) from error

    def _exchange(self, request: ModbusPDU) -> ModbusPDU:
        unit = request.dev_id
        if not self._line.connected:
            raise ConnectorError(f"{self.where} is not open")
        self._asked[unit] = time.monotonic()
        try:
            answer = self._line.ask(request)
        except ConnectionException as error:
            raise ConnectorError(self._lost(error)) from error
        except _WIRE_ERRORS as error:
            self._in_step.discard(unit)
            raise NoAnswer(f"{self.where}: unit {unit}: {self._heard(error)}") from error
        if problem := checked(self.where, request, answer):
            self._in_step.discard(unit)
            raise NoAnswer(problem)
        return answer

    def _settles_s(self, unit: int) -> float:
        """How long a unit has to be left alone to be in step, 0 where a read will tell."""
        return (self._settle_ms or (0.0 if self._probed(unit) else _SETTLE_MS)) / 1e3

    def _probed(self, unit: int) -> list[Area]:
        """The tables that no tag of a unit lies in."""
        return [area for area in _PROBED if area not in self._used.get(unit, ())]

    def _heard(self, error: Exception) -> str:
        count = len(self._line.heard)
        if not count:
            return "no answer; check its power, number and wiring, and the line's baudrate and parity"
        return f"no usable answer in {count} bytes ({_first_line(error)}); check wiring, termination and baudrate"

    def _lost(self, error: Exception) -> str:
        return f"{self.where}: the port is lost ({_first_line(error)}); is the adapter plugged in?"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
