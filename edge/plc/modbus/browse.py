"""What a Modbus line has: which units answer, what they say of themselves, which ranges answer. Found by asking.

Modbus has no list of what there is, so ranges are probed: one register at places where devices begin their tables, then
up and down from each that answers. Source: MODBUS Application Protocol V1.1b3, 6.21 (43/14, device identification).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest, ReadDeviceInformationResponse

from edge.plc.browsing import Bounds, Offered
from edge.plc.modbus.registers import MAX_REGISTERS, Area
from edge.plc.modbus.requests import GATEWAY, read_of, refusal
from edge.plc.modbus.units import NoAnswer, Unanswered

UNITS: Final = tuple(range(1, 17))
TABLES: Final = {
    Area.HOLDING: "holding registers", Area.INPUT: "input registers", Area.COIL: "coils",
    Area.DISCRETE: "discrete inputs",
}  # fmt: skip
_MARKS: Final = tuple(sorted({*(1 << n for n in range(16)), 0, *range(100, 1000, 100), *range(1000, 65_536, 1000)}))
_END: Final = 65_536
_UNSUPPORTED: Final = 1
_PATIENCE: Final = 3  # reads of one table without an answer; some devices are silent where they should refuse
_REGULAR: Final = 0x02
_MOST_ANSWERS: Final = 16
_OBJECTS: Final = (
    "vendor", "product code", "revision", "vendor URL", "product name", "model name", "application name",
)  # fmt: skip


class _NoTable(Exception):
    """The unit does not have this table. The text says how it told."""


@dataclass(frozen=True)
class Line:
    """How the units are asked: `ask` raises NoAnswer for a silent one. `unit`: the source's own."""

    ask: Callable[[ModbusPDU], ModbusPDU]
    unit: int
    max_registers: int
    max_bits: int


def browse(line: Line, bounds: Bounds) -> Iterator[Offered]:
    """Yield the units that answer, and for the first (or each of `bounds.numbers`) what it has."""
    probed, others = 0, list[int]()
    for unit in bounds.numbers or dict.fromkeys((line.unit, *UNITS)):
        if not _answers(line, bounds, unit):
            continue
        if probed and not bounds.numbers:
            others.append(unit)
            continue
        probed += 1
        yield Offered(path=(f"unit {unit}",), note="answers; ranges are found by probing")
        for area, name in TABLES.items():
            yield from _Table(line, bounds, unit, area, name).browse()
        yield from _identity(line, bounds, unit)
    if others:
        told = ", ".join(_runs(others))
        note = f"answer{'' if len(others) > 1 else 's'} as well; --numbers {others[0]} probes what is there"
        yield Offered(path=(f"unit{'s' if len(others) > 1 else ''} {told}",), note=note)


def _runs(numbers: list[int]) -> list[str]:
    """Return numbers in order as `2-5`, `9`."""
    starts = [one for one in numbers if one - 1 not in numbers]
    ends = [one for one in numbers if one + 1 not in numbers]
    return [f"{a}-{b}" if b > a else str(a) for a, b in zip(sorted(starts), sorted(ends), strict=True)]


def _answers(line: Line, bounds: Bounds, unit: int) -> bool:
    """Whether a unit is there: a refusal is an answer, a gateway's for a silent unit is none."""
    bounds.ask(f"unit {unit}")
    try:
        answer = line.ask(read_of(Area.HOLDING, 0, 1, unit))
    except Unanswered:
        return True
    except NoAnswer:
        return False
    return not (isinstance(answer, ExceptionResponse) and answer.exception_code in GATEWAY)


def _identity(line: Line, bounds: Bounds, unit: int) -> Iterator[Offered]:
    """Yield what a unit says of itself; many have no such function, and libmodbus is deaf for 0.5 s after it."""
    first = 0
    for _ in range(_MOST_ANSWERS):
        bounds.ask(f"unit {unit}, identification")
        try:
            answer = line.ask(ReadDeviceInformationRequest(read_code=_REGULAR, object_id=first, dev_id=unit))
        except (NoAnswer, Unanswered):
            return
        if not isinstance(answer, ReadDeviceInformationResponse):
            return
        for number, value in answer.information.items():
            name = _OBJECTS[number] if number < len(_OBJECTS) else f"object {number}"
            if text := _text(value):
                yield Offered(path=(f"unit {unit}", "identification", name), note=text)
        if not answer.more_follows or answer.next_object_id <= first:
            return
        first = answer.next_object_id


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value or "")


class _Table:
    """One table of one unit."""

    def __init__(self, line: Line, bounds: Bounds, unit: int, area: Area, name: str) -> None:
        self._line, self._bounds, self._unit, self._area = line, bounds, unit, area
        self._most = line.max_bits if area.bits else min(line.max_registers, MAX_REGISTERS)
        self._path = (f"unit {unit}", name)
        self._silent = 0

    def browse(self) -> Iterator[Offered]:
        """Yield the ranges that answer, in the order of their addresses."""
        found, end, refused = 0, 0, -1
        try:
            for mark in _MARKS:
                if mark < end:
                    continue
                if not self._read(mark, 1):
                    refused = mark
                    continue
                first = self._back(max(end - 1, refused), mark)
                end = self._forward(mark)
                found += 1
                yield from self._range(first, end)
        except _NoTable as error:
            yield Offered(path=self._path, note=str(error))
            return
        if not found:
            yield Offered(path=self._path, note="none found where tables usually begin")

    def _read(self, address: int, count: int) -> bool:
        """Whether a range answers as a whole."""
        self._bounds.ask(f"{self._path[0]}, {self._area}:{address}")
        try:
            answer = self._line.ask(read_of(self._area, address, count, self._unit))
        except (NoAnswer, Unanswered) as error:
            self._silent += 1
            if self._silent >= _PATIENCE:
                raise _NoTable("no answer to reads of this table") from error
            return False
        self._silent = 0
        if not isinstance(answer, ExceptionResponse):
            return True
        if answer.exception_code == _UNSUPPORTED:
            raise _NoTable(f"not there: {refusal(answer)}")
        return False

    def _back(self, outside: int, inside: int) -> int:
        """Return the first address of the range that one lies in; `outside` is before it."""
        while inside - outside > 1:
            middle = (outside + inside) // 2
            if self._read(middle, min(inside - middle + 1, self._most)):
                inside = middle
            else:
                outside = middle
        return inside

    def _forward(self, inside: int) -> int:
        """Return the address after the last of the range that one lies in."""
        end = inside + 1
        while end < _END and self._read(end, min(self._most, _END - end)):
            end += min(self._most, _END - end)
        low, high = 0, min(self._most, _END - end)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._read(end, middle) else (low, middle)
        return end + low

    def _range(self, first: int, end: int) -> Iterator[Offered]:
        """Yield a range, and its parts where one request can't read it."""
        name = f"{self._area}:{first}" + (f"-{end - 1}" if end - first > 1 else "")
        whole, size = end - first <= self._most, end - first
        told = f"{size:,} {'bit' if self._area.bits else 'register'}{'s' if size > 1 else ''}"
        path = (*self._path, name)
        yield self._part(path, first, end, told) if whole else Offered(path=path, kind=told)
        for at in () if whole else range(first, end, self._most):
            last = min(at + self._most, end)
            yield self._part((*path, f"{self._area}:{at}-{last - 1}"), at, last, f"{last - at:,}")

    def _part(self, path: tuple[str, ...], first: int, end: int, told: str) -> Offered:
        element = "bool" if self._area.bits else "uint16"
        kind = f"{element}[{end - first}]" if end - first > 1 else element
        unit = "" if self._unit == self._line.unit else f"{self._unit}/"
        return Offered(path=path, address=f"{unit}{self._area}:{first}", type=kind, kind=told)
