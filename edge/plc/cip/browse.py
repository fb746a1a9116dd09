"""The tags of a Logix controller, uploaded: programs, members of structures, arrays. Checked as it comes.

Source: Rockwell, 1756-PM020 "Logix 5000 Controllers Data Access": instances of the Symbol object (class 16#6B) with
their names, types and dimensions; templates (class 16#6C) with the members of each structure.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from edge.plc.browsing import Bounds, Offered
from edge.plc.cip.replies import Reply
from edge.plc.cip.values import NAMES
from edge.plc.imports import Export
from edge.plc.imports.logix_types import Expansion, Member, Structure

_LIST, _ATTRIBUTES, _READ, _ALL = 0x55, 0x03, 0x4C, 0x01
_SYMBOLS: Final = struct.pack("<HHHH", 3, 1, 2, 8)  # of each instance: name, type, dimensions
_OF_TEMPLATE: Final = struct.pack("<HHHH", 3, 2, 4, 5)  # members, words of the definition, bytes of the structure
_BIT_WORDS, _STRUCTURE, _SYSTEM = 0xD3, 0x8000, 0x1000
_CODE, _INSTANCE = 0xFF, 0x0FFF
_MEMBER: Final = struct.Struct("<HHI")
_NAME: Final = re.compile(r"^[A-Za-z_]\w{0,39}(?::\w{1,40}){0,2}$")
_IDENTITY: Final = b"\x02\x20\x01\x24\x01"
_DEEPEST: Final = 8
_MOST_REPLIES: Final = 10_000


@dataclass(frozen=True)
class _Symbol:
    """A tag as the controller lists it."""

    name: str
    kind: int
    dimensions: tuple[int, ...]


@dataclass
class Upload:
    """Asks a controller for its tags; `ask` makes one request and raises ConnectorError where the link fails."""

    ask: Callable[[bytes], Reply]
    bounds: Bounds
    _types: dict[str, Structure] = field(default_factory=dict[str, Structure])
    _titles: dict[str, str] = field(default_factory=dict[str, str])

    def browse(self) -> Iterator[Offered]:
        """Yield what the controller says of itself, its tags, then those of each program."""
        yield from self._identity()
        programs: list[str] = []
        for symbol in self._symbols(""):
            if symbol.name.startswith("Program:"):
                programs.append(symbol.name.removeprefix("Program:"))
            else:
                yield from self._tag(symbol, "")
        for program in programs:
            for symbol in self._symbols(program):
                yield from self._tag(symbol, program)

    def _identity(self) -> Iterator[Offered]:
        self.bounds.ask("identity")
        reply = self.ask(bytes([_ALL]) + _IDENTITY)
        if not reply.done or len(reply.data) < 15:
            return
        vendor, _, _, major, minor, _, serial, size = struct.unpack_from("<HHHBBHIB", reply.data)
        name = reply.data[15 : 15 + size].decode("latin-1")
        yield Offered(path=("controller",), note=f"{name}, revision {major}.{minor}, vendor {vendor}, {serial:08X}")

    def _symbols(self, program: str) -> Iterator[_Symbol]:
        """Yield the tags of a scope; a reply that is full is followed by one that begins after it."""
        instance, scope = 0, _symbolic(f"Program:{program}") if program else b""
        for _ in range(_MOST_REPLIES):
            self.bounds.ask(f"tags of {program or 'the controller'}")
            reply = self.ask(bytes([_LIST]) + _path(scope + _logical(0x6B, instance)) + _SYMBOLS)
            if not (reply.done or reply.partial):
                yield _Symbol(f"({reply.reason})", 0, ())
                return
            rows = list(_listed(reply.data))
            yield from (symbol for _, symbol in rows)
            if reply.done or not rows or rows[-1][0] < instance:
                return
            instance = rows[-1][0] + 1

    def _tag(self, symbol: _Symbol, program: str) -> Iterator[Offered]:
        """Yield a tag, down to what a tag list can name; what is the system's own is left out."""
        scope = (f"Program:{program}",) if program else ("controller tags",)
        if not symbol.kind:
            yield Offered(path=(*scope, symbol.name), note="the controller does not list its tags")
            return
        if symbol.kind & _SYSTEM or symbol.name.startswith("__") or not _NAME.match(symbol.name):
            return
        kind, dimensions = self._kind(symbol.kind, symbol.dimensions, 0)
        export = Export()
        told = self._titles.get(kind, kind) + (f"[{','.join(map(str, dimensions))}]" if dimensions else "")
        Expansion(export, self._types, missing="it has no members that can be read").take(
            Member(symbol.name, kind, dimensions), program, 0
        )
        prefix = f"Program:{program}." if program else ""
        if len(export.found) != 1 or export.found[0].address != f"{prefix}{symbol.name}":
            yield Offered(path=(*scope, symbol.name), kind=told)
        for found in export.found:
            inner = found.address.removeprefix(prefix)
            path = (*scope, *_steps(inner))
            bits = found.type.startswith("bool[")  # which begin at an element
            yield Offered(
                path=path, address=found.address + ("[0]" if bits else ""), type=found.type,
                kind=told if inner == symbol.name else "",
            )  # fmt: skip
        for left in export.left_out:
            yield Offered(path=(*scope, *_steps(left.name.removeprefix(f"{program}."))), note=left.reason)

    # -- types --------------------------------------------------------------------------------------------------------

    def _kind(self, code: int, dimensions: tuple[int, ...], deep: int) -> tuple[str, tuple[int, ...]]:
        """Return a type by its name, with its structure known; an array of BOOLs is one of 32-bit words there."""
        if code & _STRUCTURE:
            return self._structure(code & _INSTANCE, deep), dimensions
        if code & _CODE == _BIT_WORDS and len(dimensions) == 1:
            return "BOOL", (32 * dimensions[0],)
        return NAMES.get(code & _CODE, f"type 16#{code & _CODE:02X}"), dimensions

    def _structure(self, instance: int, deep: int) -> str:
        """Return the name of a structure, whose members are asked for once."""
        key = f"16#{instance:03X}"
        if key in self._types or deep > _DEEPEST:
            return key
        self._types[key] = Structure()
        self.bounds.ask(f"structure {key}")
        reply = self.ask(bytes([_ATTRIBUTES]) + _path(_logical(0x6C, instance)) + _OF_TEMPLATE)
        if not reply.done or len(reply.data) < 24 or any(reply.data[4:6] + reply.data[10:12]):
            return key
        count, words = int.from_bytes(reply.data[6:8], "little"), int.from_bytes(reply.data[12:16], "little")
        data = self._definition(instance, 4 * words - 21)
        self._titles[key] = data[count * _MEMBER.size :].split(b";")[0].split(b"\0")[0].decode("latin-1") or "structure"
        self._types[key] = self._members(data, count, deep)
        if self._types[key].characters:
            self._titles[key] = "STRING"
        return key

    def _definition(self, instance: int, size: int) -> bytes:
        data = b""
        while 0 < size - len(data) <= 0xFFFF:
            self.bounds.ask(f"structure 16#{instance:03X}")
            rest = struct.pack("<IH", len(data), size - len(data))
            reply = self.ask(bytes([_READ]) + _path(_logical(0x6C, instance)) + rest)
            data += reply.data if reply.done or reply.partial else b""
            if not reply.partial or not reply.data:
                break
        return data

    def _members(self, data: bytes, count: int, deep: int) -> Structure:
        """Return the members; those that hold the bits of BOOLs are hidden. LEN and DATA alone are a text."""
        if count * _MEMBER.size > len(data):
            return Structure()
        rows = [_MEMBER.unpack_from(data, at * _MEMBER.size) for at in range(count)]
        names = [one.decode("latin-1") for one in data[count * _MEMBER.size :].split(b"\0")[1 : 1 + count]]
        members: list[Member] = []
        for (info, code, _), name in zip(rows, names, strict=False):
            if not _NAME.match(name) or name.startswith(("ZZZZZZZZZZ", "__")):
                continue
            size = (info,) if code & 0x2000 and info else ()
            members.append(Member(name, *self._kind(code, size, deep + 1)))
        if [(one.name, one.kind) for one in members] == [("LEN", "DINT"), ("DATA", "SINT")] and members[1].dimensions:
            return Structure(characters=members[1].dimensions[0])
        return Structure(tuple(members))


def _listed(data: bytes) -> Iterator[tuple[int, _Symbol]]:
    """Yield instance and tag of each row; what is cut short ends it."""
    at = 0
    while at + 6 <= len(data):
        instance, length = struct.unpack_from("<IH", data, at)
        end = at + 6 + length
        if end + 14 > len(data):
            return
        kind, *sizes = struct.unpack_from("<HIII", data, end)
        dimensions = tuple(sizes[: kind >> 13 & 3])
        yield instance, _Symbol(data[at + 6 : end].decode("latin-1"), kind, dimensions if all(dimensions) else ())
        at = end + 14


def _steps(address: str) -> tuple[str, ...]:
    """Return an address as a way down a tree: `Recipes[1].Name` is an element of `Recipes`."""
    return tuple(part for piece in address.split(".") for part in re.split(r"(?=\[)", piece) if part)


def _logical(of: int, instance: int) -> bytes:
    return bytes([0x20, of, 0x25, 0]) + struct.pack("<H", instance)


def _symbolic(name: str) -> bytes:
    data = name.encode("ascii")
    return bytes([0x91, len(data)]) + data + bytes(len(data) % 2)


def _path(segments: bytes) -> bytes:
    return bytes([len(segments) // 2]) + segments
