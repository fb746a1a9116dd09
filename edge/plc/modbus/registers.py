"""Modbus without its wire: addresses, the plan of requests, and values in 16-bit registers. Pure.

Addresses are written `hr:0`, `ir:0`, `di:0`, `coil:0` (from 0), or as PLC manuals do (from 1): 40001 or 400001 holding,
30001 input register, 10001 discrete input, 1 or 00001 coil. `3/hr:0` is that of unit 3 of a line or gateway.
Source: MODBUS Application Protocol 1.1b3: one request reads at most 125 registers or 2000 bits, and writes 123 or 1968.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from edge.plc.planning import Planned, Reach, runs
from edge.plc.tags.batches import Decoding, Placed
from edge.plc.tags.binary import FORMATS, decoder_of, encode_numbers, size_of
from edge.plc.tags.forms import Kind
from edge.plc.tags.tag import Access, Native, Tag
from schemas.errors import TagError

MAX_REGISTERS = 125
MAX_BITS = 2000
MAX_WRITTEN_REGISTERS = 123
MAX_WRITTEN_BITS = 1968
HIGHEST_UNIT = 255


class Area(StrEnum):
    """The four tables of a Modbus device."""

    COIL = "coil"
    DISCRETE = "di"
    HOLDING = "hr"
    INPUT = "ir"

    @property
    def bits(self) -> bool:
        """Whether the table holds bits, not registers."""
        return self in (Area.COIL, Area.DISCRETE)


_AREA_OF_DIGIT = {"0": Area.COIL, "1": Area.DISCRETE, "3": Area.INPUT, "4": Area.HOLDING}
_NATIVE = re.compile(r"^(coil|di|hr|ir):(\d{1,5})$")
_NUMBER = re.compile(r"^\d{1,6}$")
_FORMATS = FORMATS | {"int8": "h", "uint8": "H"}  # a small number has a register of its own


Reader = Callable[["Held"], Native]


@dataclass(frozen=True)
class Point:
    """Where a tag lies: `count` bits or registers from `address`, which counts from 0."""

    tag: Tag
    area: Area
    address: int
    count: int
    unit: int | None = None  # None: the source's own

    @property
    def end(self) -> int:
        """The address after the last."""
        return self.address + self.count


@dataclass(frozen=True)
class Request:
    """One read request to a unit, and the points that it answers."""

    area: Area
    address: int
    count: int
    points: tuple[Point, ...]
    unit: int = 1

    @property
    def planned(self) -> Planned:
        """Its size on the wire: header, function and range; header, function, length and data (sections 4.1, 6.1)."""
        data = (self.count + 7) // 8 if self.area.bits else 2 * self.count
        return Planned(tags=len(self.points), asked=12, answered=9 + data)

    @cached_property
    def decoding(self) -> Decoding[Held]:
        """What takes the values of the tags out of an answer; made once."""
        return Decoding(_placed(point, self.address) for point in self.points)

    def halves(self) -> tuple[Request, Request]:
        """Split by points: what a device that refuses the whole may still answer."""
        middle = len(self.points) // 2
        return _request(self.points[:middle], self.unit), _request(self.points[middle:], self.unit)


def point_of(tag: Tag) -> Point:
    """Return where a tag lies.

    Raises:
        TagError: the address is not Modbus, or does not fit the tag's type or access.
    """
    unit, text = _unit_of(tag)
    area, address = _parse(tag, text)
    count = max(1, tag.count) if tag.form.kind is Kind.BOOL else width(tag)
    problem = _misfit(tag, area) or _too_far(tag, area, address, count)
    if problem:
        raise TagError(f"{tag.name}: {problem}")
    return Point(tag, area, address, count, unit)


def _misfit(tag: Tag, area: Area) -> str:
    """Return why a tag can't lie in an area, "" if it can."""
    form, is_bool = tag.form, tag.form.kind is Kind.BOOL
    if form.kind is Kind.MOMENT or form.element == "wstring":
        return f"Modbus has no {tag.type}; take string:N, or the numbers that it is made of"
    if area.bits and not is_bool:
        return f"a {tag.type} can't lie in {tag.address!r}; bits have the type bool"
    if area.bits and tag.bit is not None:
        return f"{tag.address!r} is one bit; bit is for a bool in a register"
    if not area.bits and is_bool and form.count:
        return f"a {tag.type} can't lie in registers; take coils or discrete inputs, or one bool for each bit"
    if not area.bits and is_bool and (tag.bit is None or tag.bit > 15):
        return "a bool in a register needs its bit (0 to 15)"
    if area in (Area.DISCRETE, Area.INPUT) and tag.access is Access.WRITE:
        return f"{tag.address!r} can only be read; access rw needs a coil or a holding register"
    return ""


def _too_far(tag: Tag, area: Area, address: int, count: int) -> str:
    """Return why a tag does not fit into the area or one request, "" if it does."""
    if address + count > 65_536:
        return f"address {tag.address!r} ends beyond 65535"
    read, write = (MAX_BITS, MAX_WRITTEN_BITS) if area.bits else (MAX_REGISTERS, MAX_WRITTEN_REGISTERS)
    most, verb = (write, "write") if tag.access is Access.WRITE else (read, "read")
    if count > most:
        kind = "bits" if area.bits else "registers"
        return (
            f"a {tag.type} takes {count} {kind}, more than one request can {verb} ({most}); split it into several tags"
        )
    return ""


def width(tag: Tag) -> int:
    """Return how many registers a number, an array of numbers or a text takes."""
    if tag.form.kind is Kind.TEXT:
        return (tag.length + 1) // 2
    return 0 if tag.form.kind is Kind.MOMENT else size_of(tag, _FORMATS) // 2


def _unit_of(tag: Tag) -> tuple[int | None, str]:
    """Return the unit before the `/` of an address, and the rest of it."""
    before, slash, rest = tag.address.strip().lower().rpartition("/")
    if not slash:
        return None, rest
    if not before.isdecimal() or int(before) > HIGHEST_UNIT:
        raise TagError(f"{tag.name}: address {tag.address!r}: the unit before / is a number up to {HIGHEST_UNIT}")
    return int(before), rest


def _parse(tag: Tag, text: str) -> tuple[Area, int]:
    native = _NATIVE.match(text)
    if native:
        return Area(native[1]), int(native[2])
    if not _NUMBER.match(text):
        raise TagError(f"{tag.name}: address {tag.address!r} is not Modbus; write hr:0, ir:0, di:0, coil:0 or 40001")
    digits = text if len(text) >= 5 else text.zfill(5)
    area, number = _AREA_OF_DIGIT.get(digits[0]), int(digits[1:])
    if area is None or not 1 <= number <= 65_536:
        raise TagError(
            f"{tag.name}: address {tag.address!r}: the first of 5 or 6 digits is 0, 1, 3 or 4, the rest from 1"
        )
    return area, number - 1


def plan(
    points: Iterable[Point], *, gap: int, max_registers: int = MAX_REGISTERS, max_bits: int = MAX_BITS, unit: int = 1
) -> list[Request]:
    """Merge neighbours into few requests: up to `gap` unwanted registers (or 16 times as many bits) are read along.

    `unit` is that of the points that name none; the requests stand in the order of their units.
    """
    registers, bits = Reach(gap, max_registers), Reach(gap * 16, max_bits)
    by_unit: dict[int, list[Point]] = {}
    for point in points:
        by_unit.setdefault(unit if point.unit is None else point.unit, []).append(point)
    return [
        _request(run, of)
        for of in sorted(by_unit)
        for run in runs(by_unit[of], lambda point: bits if point.area.bits else registers)
    ]


def _request(points: Sequence[Point], unit: int) -> Request:
    first = min(point.address for point in points)
    return Request(points[0].area, first, max(point.end for point in points) - first, tuple(points), unit)


# -- values -----------------------------------------------------------------------------------------------------------


class Held:
    """What a device answered: its words (registers or bits), and as bytes for those who need them."""

    def __init__(self, words: Sequence[int]) -> None:
        """Make no bytes yet."""
        self.words = words

    @cached_property
    def straight(self) -> bytes:
        """The registers as they came."""
        return struct.pack(f">{len(self.words)}H", *self.words)

    @cached_property
    def swapped(self) -> bytes:
        """The registers with their bytes swapped."""
        return struct.pack(f"<{len(self.words)}H", *self.words)


def _placed(point: Point, start: int) -> Placed[Held]:
    letter = "" if point.area.bits else _FORMATS.get(point.tag.form.element, "")
    return Placed(point.tag, 2 * (point.address - start), letter, reader_of(point, start))


def reader_of(point: Point, start: int) -> Reader:
    """Return what takes a tag's value in engineering units out of an answer that begins at `start`.

    It raises TagError where what the device holds is no value of the type.
    """
    tag, at = point.tag, point.address - start
    if tag.form.kind is Kind.BOOL:
        return _bits(point, at)
    if tag.form.kind is Kind.TEXT:
        return lambda held: _text(tag, held.words[at : at + point.count])
    if tag.form.element == "uint16" and not tag.count and not tag.scaled and tag.order in ("ABCD", "CDAB"):
        return lambda held: held.words[at]
    decoder = decoder_of(tag, _FORMATS)
    read, offset = decoder.read, 2 * at
    if decoder.swapped:
        return lambda held: read(held.swapped, offset)
    return lambda held: read(held.straight, offset)


def _bits(point: Point, at: int) -> Reader:
    bit, end = point.tag.bit, at + point.count
    if bit is not None:
        mask = 1 << bit
        return lambda held: held.words[at] & mask != 0
    if point.tag.count:
        return lambda held: [bool(one) for one in held.words[at:end]]
    return lambda held: bool(held.words[at])


def _text(tag: Tag, words: Sequence[int]) -> str:
    try:
        return struct.pack(_text_format(tag, words), *words)[: tag.length].split(b"\0", 1)[0].decode("ascii")
    except UnicodeDecodeError as error:
        raise TagError("not ASCII text") from error


def decode(tag: Tag, words: Sequence[int]) -> Native:
    """Return a tag's value in engineering units from its registers, or from the bits of an array.

    Raises:
        TagError: what the registers hold is no value of the type.
    """
    return reader_of(Point(tag, Area.HOLDING, 0, len(words)), 0)(Held(words))


def encode(tag: Tag, value: Native) -> list[int]:
    """Return the registers of a value in engineering units (numbers and texts, checked by `edge.plc.tags.coercion`)."""
    if isinstance(value, str):
        data = value.encode("ascii").ljust(2 * width(tag), b"\0")
        return list(struct.unpack(_text_format(tag, range(width(tag))), data))
    data = encode_numbers(tag, value, _FORMATS)
    return list(struct.unpack(f">{len(data) // 2}H", data))


def _text_format(tag: Tag, words: Sequence[int]) -> str:
    """Texts only ever have the bytes of a register swapped."""
    return f"{'<' if tag.order in ('BADC', 'DCBA') else '>'}{len(words)}H"
