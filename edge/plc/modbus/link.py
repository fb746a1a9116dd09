"""What Modbus TCP and RTU share: a connector for a line or gateway with one unit or several.

A unit that is silent makes its own tags Bad and is left alone for a while (`modbus_units`); when every unit is silent
the link is lost. A unit that missed a write and is there again gets a new connection, whose first writes are the
fail-safe: it may have started anew meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Protocol

from pydantic import Field
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from edge.config.section import Section
from edge.plc.browsing import Bounds, Offered
from edge.plc.modbus.browse import Line, browse
from edge.plc.modbus.registers import MAX_BITS, MAX_REGISTERS, Area, Held, Request, plan, point_of
from edge.plc.modbus.requests import GATEWAY, SPLIT_ON, mismatch, reads_of, refusal, write_of
from edge.plc.modbus.units import NoAnswer, Patience, Unanswered, Unit
from edge.plc.planning import Plans
from edge.plc.tags.lists import Native, Tag
from schemas.errors import ConnectorError, TagError
from schemas.messages import Quality, Sample

ADDRESSES = """
| address | meaning |
|---|---|
| `hr:0`, `ir:0`, `di:0`, `coil:0` | holding register, input register, discrete input, coil, from 0 |
| `40001` or `400001`, `30001`, `10001`, `1` or `00001` | the same as manuals count them, from 1 |
| `3/hr:0`, `3/40001` | the same of unit 3; without it, of the option `unit` |

A bool in a register has its `bit` (0 to 15). Numbers of 8 bits have a register of their own. An array of bools lies in
coils or discrete inputs. A tag is read and written in one request: at most 125 registers or 2000 bits, 123 or 1968 if
it is written. There are no `wstring` and no `datetime`.
"""
SHARED_OPTIONS = """`unit` (device id), `gap` (registers that are read along rather than asked for in two requests; for
bits 16 times as many), `max_registers` and `max_bits` (what one request may read, for devices that take less)"""
_TOO_LARGE = Sample(quality=Quality.BAD, reason="larger than max_registers or max_bits lets one request be")


class ModbusOptions(Section):
    """What both drivers are told."""

    unit: Annotated[int, Field(ge=0, le=255)] = 1
    gap: Annotated[int, Field(ge=0, le=124)] = 16
    max_registers: Annotated[int, Field(ge=1, le=MAX_REGISTERS)] = MAX_REGISTERS
    max_bits: Annotated[int, Field(ge=1, le=MAX_BITS)] = MAX_BITS


class Wire(Protocol):
    """A way to the units."""

    where: str

    def open(self, used: dict[int, set[Area]]) -> None:
        """Open it; `used` says which tables of which units will be read. Raises ConnectorError."""
        ...

    def ask(self, request: ModbusPDU) -> ModbusPDU:
        """Return the answer to a request.

        Raises:
            NoAnswer: the unit gave none that can be believed.
            Unanswered: the unit is there, and gave none to this request.
            ConnectorError: the wire failed.
        """
        ...

    def close(self) -> None:
        """Close it; never raises."""
        ...


def plan_scan(options: ModbusOptions, tags: Sequence[Tag]) -> list[Request]:
    """Return the requests of one scan of a poll group."""
    points = [point_of(tag) for tag in tags]
    return plan(
        points, gap=options.gap, max_registers=options.max_registers, max_bits=options.max_bits, unit=options.unit
    )


class ModbusConnector:
    """One Modbus TCP connection or serial line."""

    def __init__(self, wire: Wire, options: ModbusOptions) -> None:
        """Connect nothing yet."""
        self.requests = 0
        self._wire = wire
        self._options = options
        self._units: dict[int, Unit] = {}
        self._used: dict[int, set[Area]] = {}
        self._unanswered: dict[tuple[int, Area, int, int], Patience] = {}
        self._plans = Plans[list[Request]]()
        self._unsplit = Plans[list[Request]]()

    def survey(self, tags: Sequence[Tag]) -> None:
        """See whose tags will be read: a link is not lost before all of these units are silent."""
        for point in map(point_of, tags):
            number = self._options.unit if point.unit is None else point.unit
            self._used.setdefault(number, set()).add(point.area)
            self._units.setdefault(number, Unit(number=number))

    def follow(self, before: object) -> None:
        """Know the units, and the plans as they were before the PLC refused parts of them."""
        if isinstance(before, ModbusConnector):
            self._unsplit, self._used = before._unsplit, before._used
            self._units = {number: Unit(number=number) for number in before._used}

    def connect(self) -> None:
        """Open the wire."""
        self._wire.open(self._used)

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        """Read in as few requests as the plan allows; a range that the device refuses is split until it answers."""
        known = self._plans.get(tags)
        waiting = (known or self._planned(tags))[::-1]
        answered: list[Request] = []
        while waiting:
            request = waiting.pop()
            samples = self._read(request)
            if samples is None:
                waiting.extend(request.halves()[::-1])
                continue
            answered.append(request)
            yield samples
        if known is None or len(answered) != len(known):
            self._plans.keep(tags, answered)

    def _planned(self, tags: Sequence[Tag]) -> list[Request]:
        plan = self._unsplit.get(tags)
        if plan is None:
            self.survey(tags)
            plan = plan_scan(self._options, tags)
            self._unsplit.keep(tags, plan)
        return plan

    def write(self, tag: Tag, value: Native) -> None:
        """Write one value in one request."""
        point = point_of(tag)
        number = self._options.unit if point.unit is None else point.unit
        unit = self._units.setdefault(number, Unit(number=number))
        if unit.rests(time.monotonic_ns()):
            unit.write_lost = True
            raise TagError(_missed(tag, unit))
        try:
            answer = self._ask(unit, write_of(point, value, number))
        except NoAnswer as error:
            unit.write_lost = True
            self._silent(unit, str(error))
            raise TagError(_missed(tag, unit)) from error
        if isinstance(answer, ExceptionResponse):
            raise TagError(f"{tag.name} at {self._wire.where}: {refusal(answer)}")

    def browse(self, bounds: Bounds) -> Iterator[Offered]:
        """Yield which units answer, and what they have."""
        options = self._options
        return browse(Line(self._wire.ask, options.unit, options.max_registers, options.max_bits), bounds)

    def _read(self, request: Request) -> dict[str, Sample] | None:
        """Return the samples of one request, None where it is to be split."""
        if request.count > (self._options.max_bits if request.area.bits else self._options.max_registers):
            return dict.fromkeys((point.tag.name for point in request.points), _TOO_LARGE)  # one tag: nothing to cut
        unit = self._units[request.unit]
        key = (request.unit, request.area, request.address, request.count)
        for one in (unit, self._unanswered.get(key)):
            if one is not None and one.rests(time.monotonic_ns()):
                return _bad(request, one.silent)
        try:
            answer = self._ask(unit, reads_of(request))
        except NoAnswer as error:
            self._silent(unit, str(error))
            return _bad(request, str(error))
        except Unanswered as error:
            if len(request.points) > 1:
                return None
            self._unanswered.setdefault(key, Patience()).failed(str(error), time.monotonic_ns())
            return _bad(request, str(error))
        self._unanswered.pop(key, None)
        if isinstance(answer, ExceptionResponse):
            if answer.exception_code in SPLIT_ON and len(request.points) > 1:
                return None
            return _bad(request, refusal(answer))
        held = Held(answer.bits if request.area.bits else answer.registers)
        return request.decoding.samples(lambda: held.straight, held)

    def _ask(self, unit: Unit, request: ModbusPDU) -> ModbusPDU:
        self.requests += 1
        answer = self._wire.ask(request)
        if isinstance(answer, ExceptionResponse) and answer.exception_code in GATEWAY:
            raise NoAnswer(f"{self._wire.where}: unit {unit.number}: {refusal(answer)}")
        unit.answered()
        if unit.write_lost:
            raise ConnectorError(
                f"{self._wire.where}: unit {unit.number} answers again after it missed writes: the connection begins "
                "anew, with the fail-safe"
            )
        return answer

    def _silent(self, unit: Unit, reason: str) -> None:
        """Note that a unit is silent; raises ConnectorError once all are."""
        unit.failed(reason, time.monotonic_ns())
        if all(other.silent for other in self._units.values()):
            raise ConnectorError(reason)


def checked(where: str, request: ModbusPDU, answer: ModbusPDU) -> str:
    """Return why an answer can't be believed, with where it came from; "" if it can."""
    problem = mismatch(request, answer)
    return f"{where}: unit {request.dev_id}: {problem}" if problem else ""


def _missed(tag: Tag, unit: Unit) -> str:
    """The same at each try: a change would be told anew."""
    return f"{tag.name}: {unit.silent}; whether what was written arrived is not known"


def _bad(request: Request, reason: str) -> dict[str, Sample]:
    bad = Sample(quality=Quality.BAD, reason=reason)
    return {point.tag.name: bad for point in request.points}
