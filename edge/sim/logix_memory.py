"""The tags of a simulated Logix controller: atomic types, user-defined types with their layout, bytes. Pure.

Source: Rockwell, 1756-PM020 "Logix 5000 Controllers Data Access": type codes, templates, error codes. Members of a
user-defined type are aligned to their size; BOOLs are bits of hidden bytes; a BOOL array is one of 32-bit words.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

ATOMIC: Final = {
    "BOOL": (0xC1, "B"), "SINT": (0xC2, "b"), "INT": (0xC3, "h"), "DINT": (0xC4, "i"), "LINT": (0xC5, "q"),
    "USINT": (0xC6, "B"), "UINT": (0xC7, "H"), "UDINT": (0xC8, "I"), "ULINT": (0xC9, "Q"), "REAL": (0xCA, "f"),
    "LREAL": (0xCB, "d"), "DWORD": (0xD3, "I"),
}  # fmt: skip
STRUCTURE: Final = 0x02A0
PATH_ERROR, BEYOND_END, WRONG_TYPE = (0x04, 0x0000), (0xFF, 0x2105), (0xFF, 0x2107)
NO_SERVICE, NO_OBJECT, TOO_LITTLE, TOO_MUCH = (0x08, None), (0x05, 0x0000), (0x13, None), (0x15, None)
READ_ONLY, NO_ATTRIBUTE = (0x0F, None), (0x14, None)
_TEMPLATES_FROM: Final = 0x100
Step = str | int


class CipError(Exception):
    """A service is refused: its general and extended status."""

    def __init__(self, status: tuple[int, int | None]) -> None:
        """Of the constants above."""
        super().__init__(f"CIP status {status[0]:#04x}")
        self.status = status


@dataclass(frozen=True)
class Member:
    """One member as it is declared: an atomic type or another user-defined one; `count` elements of an array."""

    name: str
    kind: str
    count: int = 0


@dataclass(frozen=True)
class Laid:
    """Where a member lies: `bit` of a BOOL in its hidden byte."""

    member: Member
    offset: int
    bit: int = 0


@dataclass(frozen=True)
class Template:
    """A user-defined type; `handle` identifies its layout in reads and writes."""

    name: str
    instance: int
    handle: int
    size: int
    laid: tuple[Laid, ...]


@dataclass
class Tag:
    """One tag: of a controller, or of a program (`Program:Main`); `read_only` by its external access."""

    name: str
    kind: str
    count: int = 0
    program: str = ""
    read_only: bool = False
    data: bytearray = field(default_factory=bytearray)
    instance: int = 0


@dataclass(frozen=True)
class Place:
    """What a path leads to: `count` elements of a type from `at` bytes into a tag on; a BOOL member's bit."""

    tag: Tag
    kind: str
    at: int
    count: int
    bit: int | None = None


class Memory:
    """Types and tags of a controller."""

    def __init__(self, types: Mapping[str, Sequence[Member]], tags: Iterable[Tag]) -> None:
        """Lay out the types, in their order, and give each tag its bytes."""
        self.templates: dict[str, Template] = {}
        for name, members in types.items():
            self.templates[name] = self._lay(name, members)
        self.tags = list(tags)
        for number, tag in enumerate(self.tags, start=1):
            tag.instance = number
            tag.data = bytearray(self.size_of(tag.kind) * max(1, tag.count))
        self._by_name = {(tag.program.lower(), tag.name.lower()): tag for tag in self.tags}

    def size_of(self, kind: str) -> int:
        """Return the bytes of one element."""
        return self.templates[kind].size if kind in self.templates else struct.calcsize("<" + ATOMIC[kind][1])

    def type_of(self, kind: str) -> bytes:
        """Return a type as services name it."""
        if kind in self.templates:
            return struct.pack("<HH", STRUCTURE, self.templates[kind].handle)
        return struct.pack("<H", ATOMIC[kind][0])

    def symbol_type(self, tag: Tag) -> int:
        """Return a tag's type as the symbol object tells it: a template's instance, and the dimensions."""
        code = 0x8000 | self.templates[tag.kind].instance if tag.kind in self.templates else ATOMIC[tag.kind][0]
        return code | (0x2000 if tag.count else 0)

    def programs(self) -> list[str]:
        """Return the programs that have tags."""
        return list(dict.fromkeys(tag.program for tag in self.tags if tag.program))

    def locate(self, path: Sequence[Step]) -> Place:
        """Return what the names and indices of a path lead to; CipError where they lead nowhere."""
        steps = list(path)
        program = str(steps.pop(0)) if steps and str(steps[0]).lower().startswith("program:") else ""
        name = steps.pop(0) if steps else ""
        tag = self._by_name.get((program.lower(), str(name).lower()))
        if tag is None:
            raise CipError(PATH_ERROR)
        return self._within(tag, steps)

    def numbered(self, instance: int, steps: Sequence[Step]) -> Place:
        """Return what names and indices lead to from a symbol's instance on: pycomm3 asks so."""
        for tag in self.tags:
            if tag.instance == instance:
                return self._within(tag, steps)
        raise CipError(NO_OBJECT)

    def _within(self, tag: Tag, steps: Iterable[Step]) -> Place:
        place = Place(tag, tag.kind, 0, tag.count)
        for step in steps:
            place = self._element(place, step) if isinstance(step, int) else self._member(place, step)
        return Place(place.tag, place.kind, place.at, max(1, place.count), place.bit)

    def read(self, place: Place, count: int) -> bytes:
        """Return the bytes of elements."""
        self._check(place, count)
        if place.bit is not None:
            return bytes([place.tag.data[place.at] >> place.bit & 1])
        return bytes(place.tag.data[place.at : place.at + count * self.size_of(place.kind)])

    def write(self, place: Place, kind: bytes, count: int, offset: int, data: bytes) -> None:
        """Put the bytes of elements, which the writer takes to be of a type."""
        self._check(place, count)
        if kind != self.type_of(place.kind):
            raise CipError(WRONG_TYPE)
        if place.tag.read_only:
            raise CipError(READ_ONLY)
        whole = count * self.size_of(place.kind)
        if offset >= whole:
            raise CipError(TOO_MUCH)
        data = data[: whole - offset]  # pycomm3 sends more
        if place.bit is not None:
            mask = 1 << place.bit
            held = place.tag.data[place.at]
            place.tag.data[place.at] = held | mask if data[0] & 1 else held & ~mask
            return
        place.tag.data[place.at + offset : place.at + offset + len(data)] = data

    def mask(self, place: Place, ones: bytes, keeps: bytes) -> None:
        """Set and clear bits of one element: OR, then AND."""
        if place.tag.read_only:
            raise CipError(READ_ONLY)
        if len(ones) != len(keeps) or len(ones) > self.size_of(place.kind):
            raise CipError(TOO_LITTLE)
        for index, (one, keep) in enumerate(zip(ones, keeps, strict=True), start=place.at):
            place.tag.data[index] = (place.tag.data[index] | one) & keep

    def _check(self, place: Place, count: int) -> None:
        if not 1 <= count <= place.count:
            raise CipError(BEYOND_END)

    def _element(self, place: Place, index: int) -> Place:
        if index >= place.count:
            raise CipError(BEYOND_END if place.count else PATH_ERROR)
        return Place(place.tag, place.kind, place.at + index * self.size_of(place.kind), place.count - index)

    def _member(self, place: Place, name: str) -> Place:
        template = self.templates.get(place.kind)
        for laid in template.laid if template else ():
            if laid.member.name.lower() == name.lower():
                member, at = laid.member, place.at + laid.offset
                is_bit = member.kind == "BOOL"
                return Place(place.tag, member.kind, at, member.count, laid.bit if is_bit else None)
        raise CipError(PATH_ERROR)

    def _lay(self, name: str, members: Sequence[Member]) -> Template:
        laid: list[Laid] = []
        end, bits = 0, 8
        for member in members:
            if member.kind == "BOOL":
                if bits == 8:
                    end, bits = end + 1, 0
                laid.append(Laid(member, end - 1, bits))
                bits += 1
                continue
            bits = 8
            size = self.size_of(member.kind)
            align = 4 if member.kind in self.templates or member.count else min(size, 8)
            end = -(-end // align) * align
            laid.append(Laid(member, end))
            end += size * max(1, member.count)
        number = len(self.templates)
        handle = 0x0FCE if name == "STRING" else 0x1000 + number  # Logix' own string is known by its handle
        return Template(name, _TEMPLATES_FROM + number, handle, -(-end // 4) * 4, tuple(laid))
