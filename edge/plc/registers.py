"""Modbus without its wire: addresses, the plan of requests, and values in 16-bit registers. Pure.

Addresses are written `hr:0`, `ir:0`, `di:0`, `coil:0` (from 0), or as PLC manuals do (from 1): 40001 or 400001 holding,
30001 input register, 10001 discrete input, 1 or 00001 coil.
Source: MODBUS Application Protocol 1.1b3: 125 registers and 2000 bits are the most that one request reads.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edge.plc.tags import INTEGERS, Access, Tag
from schemas.errors import TagError
from schemas.messages import Value

MAX_REGISTERS = 125
MAX_BITS = 2000


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
_FORMS = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d",
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """Where a tag lies: `count` bits or registers from `address`, which counts from 0."""

    tag: Tag
    area: Area
    address: int
    count: int

    @property
    def end(self) -> int:
        """The address after the last."""
        return self.address + self.count


@dataclass(frozen=True)
class Request:
    """One read request and the points that it answers."""

    area: Area
    address: int
    count: int
    points: tuple[Point, ...]

    def halves(self) -> tuple[Request, Request]:
        """Split by points: what a device that refuses the whole may still answer."""
        middle = len(self.points) // 2
        return _request(self.points[:middle]), _request(self.points[middle:])


def point_of(tag: Tag) -> Point:
    """Return where a tag lies.

    Raises:
        TagError: the address is not Modbus, or does not fit the tag's type or access.
    """
    area, address = _parse(tag)
    count = 1 if tag.type == "bool" else width(tag)
    if address + count > 65_536:
        raise TagError(f"{tag.name}: address {tag.address!r} ends beyond 65535")
    if area.bits and tag.type != "bool":
        raise TagError(f"{tag.name}: a {tag.type} can't lie in {tag.address!r}; bits have the type bool")
    if not area.bits and tag.type == "bool" and tag.bit is None:
        raise TagError(f"{tag.name}: a bool in a register needs its bit (0 to 15)")
    if area in (Area.DISCRETE, Area.INPUT) and tag.access is Access.WRITE:
        raise TagError(f"{tag.name}: {tag.address!r} can only be read; access rw needs a coil or a holding register")
    return Point(tag, area, address, count)


def width(tag: Tag) -> int:
    """Return how many registers a number or a string takes."""
    return (tag.length + 1) // 2 if tag.length else struct.calcsize(_FORMS[tag.type]) // 2


def _parse(tag: Tag) -> tuple[Area, int]:
    text = tag.address.strip().lower()
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
    points: Iterable[Point], *, gap: int, max_registers: int = MAX_REGISTERS, max_bits: int = MAX_BITS
) -> list[Request]:
    """Merge neighbours into few requests: up to `gap` unwanted registers (or 16 times as many bits) are read along."""
    requests: list[Request] = []
    ordered = sorted(points, key=lambda point: (point.area, point.address, point.count))
    run: list[Point] = []
    for point in ordered:
        if run and not _joins(run, point, gap, max_registers, max_bits):
            requests.append(_request(run))
            run = []
        run.append(point)
    return requests + ([_request(run)] if run else [])


def _joins(run: Sequence[Point], point: Point, gap: int, max_registers: int, max_bits: int) -> bool:
    first, end = run[0], max(member.end for member in run)
    bits = first.area.bits
    room = max_bits if bits else max_registers
    near = point.address - end <= (gap * 16 if bits else gap)
    return point.area is first.area and near and max(point.end, end) - first.address <= room


def _request(points: Sequence[Point]) -> Request:
    first = min(point.address for point in points)
    return Request(points[0].area, first, max(point.end for point in points) - first, tuple(points))


# -- values -----------------------------------------------------------------------------------------------------------


def decode(tag: Tag, words: Sequence[int]) -> Value:
    """Return a tag's value in engineering units from its registers.

    Raises:
        TagError: what the registers hold is no value of the type.
    """
    if tag.type == "bool":
        return bool(words[0] >> (tag.bit or 0) & 1)
    data = _bytes(tag, words)
    if tag.length:
        try:
            return data[: tag.length].split(b"\0", 1)[0].decode("ascii")
        except UnicodeDecodeError as error:
            raise TagError("not ASCII text") from error
    (raw,) = struct.unpack(">" + _FORMS[tag.type], data)
    if isinstance(raw, float) and not math.isfinite(raw):
        raise TagError("not a number")
    return raw * tag.scale + tag.offset if tag.scaled else raw  # type: ignore[no-any-return]  # struct.unpack is untyped


def encode(tag: Tag, value: bool | int | float | str) -> list[int]:
    """Return the registers of a value in engineering units (numbers and strings, checked by `edge.plc.tags`)."""
    if isinstance(value, str):
        data = value.encode("ascii").ljust(2 * width(tag), b"\0")
    else:
        raw = (value - tag.offset) / tag.scale if tag.scaled else value
        data = struct.pack(">" + _FORMS[tag.type], _whole(tag, raw) if tag.type in INTEGERS else raw)
    words = list(struct.unpack(f">{len(data) // 2}H", data))
    return list(struct.unpack(f">{len(words)}H", _bytes(tag, words)))  # each order is its own inverse


def _whole(tag: Tag, raw: float) -> int:
    low, high = INTEGERS[tag.type]
    return min(max(round(raw), low), high)


def _bytes(tag: Tag, words: Sequence[int]) -> bytes:
    """Return the registers in the order that `struct` reads as big-endian; words are swapped as a whole."""
    turned = reversed(words) if tag.order in ("CDAB", "DCBA") and not tag.length else words
    form = "<" if tag.order in ("BADC", "DCBA") else ">"
    return struct.pack(f"{form}{len(words)}H", *turned)
