"""EtherNet/IP without its wire: addresses of Logix tags and of CIP attributes, and what one scan asks. Pure.

Source: Rockwell, 1756-PM020 "Logix 5000 Controllers Data Access": a request names its tag by symbolic segments, reads
`count` elements of it, and several requests share one Multiple Service Packet (8 bytes, and 2 for each of them).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pycomm3 import DataSegment, LogicalSegment
from pycomm3.cip.data_types import PADDED_EPATH

from edge.plc.planning import Planned, Room, packets
from edge.plc.tags.forms import Kind
from edge.plc.tags.tag import Access, Tag
from schemas.errors import TagError

READ_TAG, READ_FRAGMENT, GET_ATTRIBUTE, SEVERAL = 0x4C, 0x52, 0x0E, 0x0A
ENVELOPE: Final = 46  # encapsulation header, connected address and data items, sequence number
_MULTI_ASKED, _MULTI_ANSWERED, _ITEM = 8, 6, 2
_REPLY: Final = 8  # service, status and type (a structure's type has four bytes)
_SIZES: Final = {
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "bcd16": 2, "int32": 4, "uint32": 4, "bcd32": 4, "float32": 4,
    "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip
WORD_BITS: Final = 32
_NAME: Final = r"[A-Za-z_]\w{0,39}(?:(?::\d{1,3})?:[A-Z]{1,2}\d?)?(?:\[\d{1,9}(?:,\d{1,9}){0,2}\])?"
_SYMBOL: Final = re.compile(rf"^(Program:[A-Za-z_]\w{{0,39}}\.)?({_NAME}(?:\.{_NAME})*)(?:\.(\d{{1,2}}))?$")
_NUMBER: Final = r"(0x[0-9a-fA-F]{1,4}|\d{1,5})"
_ATTRIBUTE: Final = re.compile(rf"^@{_NUMBER}/{_NUMBER}/{_NUMBER}$")


@dataclass(frozen=True)
class Point:
    """Where a tag lies: `path` encoded, `count` elements from it on; the `bit` of a bool in them, None for a BOOL.

    `attribute`: a CIP attribute; its bytes are read as they are, without a type of their own. `words`: the elements
    are the 32-bit words of a BOOL array.
    """

    tag: Tag
    path: bytes
    count: int = 1
    bit: int | None = None
    attribute: bool = False
    words: bool = False

    @property
    def size(self) -> int:
        """Bytes of its value, as far as its type tells: a text's own size is the PLC's matter."""
        form = self.tag.form
        if form.kind is Kind.TEXT:
            return 6 + form.length
        return (4 if form.kind is Kind.BOOL else _SIZES[form.element]) * self.count


@dataclass(frozen=True)
class Ask:
    """One read, and the points that it answers: bits of one word are read once."""

    path: bytes
    count: int
    attribute: bool
    points: tuple[Point, ...]

    @property
    def request(self) -> bytes:
        """The service."""
        if self.attribute:
            return bytes([GET_ATTRIBUTE]) + self.path
        return bytes([READ_TAG]) + self.path + self.count.to_bytes(2, "little")

    @property
    def answered(self) -> int:
        """Bytes of the reply, as far as the types tell."""
        return _REPLY + max(point.size for point in self.points)


def point_of(tag: Tag) -> Point:
    """Return where a tag lies.

    Raises:
        TagError: the address is not Logix or CIP, or does not fit the tag's type.
    """
    problem = _unknown(tag)
    if problem:
        raise TagError(f"{tag.name}: {problem}")
    if found := _ATTRIBUTE.match(tag.address.strip()):
        class_id, instance, attribute = (int(one, 0) for one in found.groups())
        path = _encoded([
            LogicalSegment(class_id, "class_id"), LogicalSegment(instance, "instance_id"),
            LogicalSegment(attribute, "attribute_id"),
        ])  # fmt: skip
        return Point(tag, path, max(1, tag.count), tag.bit, attribute=True)
    symbol = _SYMBOL.match(tag.address.strip())
    if symbol is None:
        raise TagError(
            f"{tag.name}: address {tag.address!r} is no Logix tag; write Line.Speed, Program:Main.Temps[3], Word.5, or "
            "@4/100/3 for a CIP attribute"
        )
    return _symbolic(tag, symbol)


def _unknown(tag: Tag) -> str:
    """Return why a type is none of this protocol, "" if it is one."""
    if tag.form.kind is Kind.MOMENT or tag.form.element == "wstring":
        return f"Logix has no {tag.type}"
    if tag.order != "ABCD":
        return f"order {tag.order}: Logix has one byte order; leave it out"
    return ""


def _symbolic(tag: Tag, symbol: re.Match[str]) -> Point:
    program, names, digits = symbol.groups()
    bit = int(digits) if digits is not None else tag.bit
    is_bool = tag.form.kind is Kind.BOOL
    if digits is not None and tag.bit is not None:
        raise TagError(f"{tag.name}: address {tag.address!r} has a bit, and the tag another; leave one out")
    if (bit is not None and (not is_bool or bit > 63)) or (bit is not None and tag.count):
        raise TagError(f"{tag.name}: a bit (0 to 63) is one bool, not {tag.type}")
    parts = names.split(".")
    base, indices = _indexed(parts[-1])
    words = is_bool and bit is None and len(indices) == 1
    if is_bool and tag.count and not words:
        raise TagError(f"{tag.name}: an array of BOOLs begins at an element, such as {tag.address}[0]")
    count = max(1, tag.count)
    if words:
        bit = indices[0] % WORD_BITS
        count = -(-(bit + count) // WORD_BITS)
        indices = [indices[0] // WORD_BITS]
    segments: list[DataSegment | LogicalSegment] = [DataSegment(program[:-1])] if program else []
    for part in parts[:-1]:
        segments += _segments(*_indexed(part))
    return Point(tag, _encoded([*segments, *_segments(base, indices)]), count, bit, words=words)


def _indexed(part: str) -> tuple[str, list[int]]:
    name, _, rest = part.partition("[")
    return name, [int(one) for one in rest[:-1].split(",")] if rest else []


def _segments(name: str, indices: list[int]) -> list[DataSegment | LogicalSegment]:
    return [DataSegment(name), *(LogicalSegment(index, "member_id") for index in indices)]


def _encoded(segments: list[DataSegment | LogicalSegment]) -> bytes:
    path: bytes = PADDED_EPATH.encode(segments, length=True)
    return path


def asks(tags: Iterable[Tag]) -> list[Ask]:
    """Return what is to be read: each path once, for as many elements as the longest tag there takes."""
    by_path: dict[tuple[bytes, bool], list[Point]] = {}
    for tag in tags:
        point = point_of(tag)
        by_path.setdefault((point.path, point.attribute), []).append(point)
    return [
        Ask(path, max(point.count for point in points), attribute, tuple(points))
        for (path, attribute), points in by_path.items()
    ]


def multi_reads(found: Iterable[Ask], size: int, items: int) -> list[tuple[Ask, ...]]:
    """Put reads into as few packets as a connection of `size` bytes allows; what is larger stands alone."""
    room = Room(asked=size - 2 - _MULTI_ASKED, answered=size - 2 - _MULTI_ANSWERED, items=items)
    return packets(found, lambda ask: (_ITEM + len(ask.request), _ITEM + ask.answered), room)


def planned(request: tuple[Ask, ...]) -> Planned:
    """Return a packet's size on the wire."""
    several = len(request) > 1
    asked = sum(len(ask.request) + (_ITEM if several else 0) for ask in request)
    answered = sum(ask.answered + (_ITEM if several else 0) for ask in request)
    return Planned(
        tags=sum(len(ask.points) for ask in request),
        asked=ENVELOPE + asked + (_MULTI_ASKED if several else 0),
        answered=ENVELOPE + answered + (_MULTI_ANSWERED if several else 0),
    )


def writable(tag: Tag) -> bool:
    """Whether the bus may write a tag."""
    return tag.access is Access.WRITE
