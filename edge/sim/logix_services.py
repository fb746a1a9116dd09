"""CIP services of a simulated Logix controller: a request's bytes in, its reply's bytes out. Pure.

Source: Rockwell, 1756-PM020; ODVA, CIP volume 1 (message router, identity, connection manager).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.sim.logix_memory import (
    ATOMIC,
    NO_ATTRIBUTE,
    NO_OBJECT,
    NO_SERVICE,
    PATH_ERROR,
    TOO_LITTLE,
    CipError,
    Memory,
    Place,
    Step,
)

READ, READ_PART, WRITE, WRITE_PART, MASK = 0x4C, 0x52, 0x4D, 0x53, 0x4E
GET_ALL, GET_LIST, SEVERAL, GET_ONE, INSTANCES = 0x01, 0x03, 0x0A, 0x0E, 0x55
IDENTITY, ROUTER, SYMBOL, TEMPLATE, PROGRAM_NAME = 0x01, 0x02, 0x6B, 0x6C, 0x64
MORE, EMBEDDED = 0x06, 0x1E
_READ_WRITE: Final = 0
_ROOM: Final = 2  # a reply's own sequence number on a connection
_HEAD: Final = 4


@dataclass(frozen=True)
class Path:
    """A request path: names and indices of a tag, or class, instance and attribute."""

    steps: tuple[Step, ...] = ()
    logical: tuple[tuple[int, int], ...] = ()

    def value(self, kind: int) -> int | None:
        """Return the class (0), the instance (1) or the attribute (3)."""
        return next((number for of, number in self.logical if of == kind), None)


def parse_path(data: bytes) -> Path:
    """Return a padded path; CipError where it is none."""
    steps: list[Step] = []
    logical: list[tuple[int, int]] = []
    at = 0
    try:
        while at < len(data):
            segment = data[at]
            if segment == 0x91:
                length = data[at + 1]
                steps.append(data[at + 2 : at + 2 + length].decode("ascii"))
                at += 2 + length + length % 2
                continue
            kind, form = (segment >> 2) & 7, segment & 3
            if segment >> 5 != 1 or form > 2 or kind not in (0, 1, 2, 4):
                raise CipError(PATH_ERROR)
            width = (1, 2, 4)[form]
            start = at + (1 if form == 0 else 2)
            number = int.from_bytes(data[start : start + width], "little")
            if len(data) < start + width:
                raise CipError(PATH_ERROR)
            at = start + width
            if kind == 2:
                steps.append(number)
            else:
                logical.append((3 if kind == 4 else kind, number))
    except (IndexError, UnicodeDecodeError) as error:
        raise CipError(PATH_ERROR) from error
    return Path(tuple(steps), tuple(logical))


class Router:
    """Carries out requests on a controller's memory. `before` refreshes it, `after` is told what was written."""

    def __init__(self, memory: Memory, before: Callable[[], None], after: Callable[[Place], None]) -> None:
        """Of a controller whose program runs between the requests."""
        self.memory = memory
        self.requests = 0
        self._before, self._after = before, after
        self._tag_services: dict[int, Callable[[Place, bytes, int], tuple[bytes, int]]] = {
            READ: self._read, READ_PART: self._read_part, WRITE: self._write, WRITE_PART: self._write_part,
            MASK: self._mask,
        }  # fmt: skip

    def answer(self, request: bytes, room: int) -> bytes:
        """Return the reply to one request, in at most `room` bytes."""
        service = request[0] if request else 0
        self._before()
        self.requests += 1
        try:
            if len(request) < 2 or len(request) < 2 + 2 * request[1]:
                raise CipError(TOO_LITTLE)
            end = 2 + 2 * request[1]
            data, status = self._serve(service, parse_path(request[2:end]), request[end:], room - _HEAD - _ROOM)
        except CipError as error:
            return _refused(service, error)
        except (struct.error, IndexError):
            return _refused(service, CipError(TOO_LITTLE))
        return bytes([service | 0x80, 0, status, 0]) + data

    def _serve(self, service: int, path: Path, data: bytes, room: int) -> tuple[bytes, int]:
        of = path.value(0)
        if of == ROUTER and service == SEVERAL:
            return self._several(data, room)
        if of == SYMBOL and service == INSTANCES:
            return self._instances(path, data, room)
        if of == TEMPLATE:
            return self._template(service, path.value(1) or 0, data, room)
        if of == IDENTITY:
            return self._identity(service, path.value(3))
        if of == PROGRAM_NAME and service == GET_ALL:
            return struct.pack("<H", 8) + b"Bottling", 0
        if of not in (None, SYMBOL):
            raise CipError(NO_OBJECT)
        serve = self._tag_services.get(service)
        if serve is None:
            raise CipError(NO_SERVICE)
        memory, steps = self.memory, path.steps
        place = memory.locate(steps) if of is None else memory.numbered(path.value(1) or 0, steps)
        return serve(place, data, room)

    # -- tags ---------------------------------------------------------------------------------------------------------

    def _read(self, place: Place, data: bytes, room: int) -> tuple[bytes, int]:
        return self._read_part(place, data[:2] + bytes(4), room)

    def _read_part(self, place: Place, data: bytes, room: int) -> tuple[bytes, int]:
        count, offset = struct.unpack_from("<HI", data)
        kind = self.memory.type_of(place.kind)
        whole = self.memory.read(place, count)
        rest, most = whole[offset:], max(4, (room - len(kind)) // 4 * 4)
        return kind + rest[:most], MORE if len(rest) > most else 0

    def _write(self, place: Place, data: bytes, room: int) -> tuple[bytes, int]:
        del room
        size = 4 if data[:2] == b"\xa0\x02" else 2
        (count,) = struct.unpack_from("<H", data, size)
        self._put(place, data[:size], count, 0, data[size + 2 :], whole=True)
        return b"", 0

    def _write_part(self, place: Place, data: bytes, room: int) -> tuple[bytes, int]:
        del room
        size = 4 if data[:2] == b"\xa0\x02" else 2
        count, offset = struct.unpack_from("<HI", data, size)
        self._put(place, data[:size], count, offset, data[size + 6 :], whole=False)
        return b"", 0

    def _put(self, place: Place, kind: bytes, count: int, offset: int, data: bytes, *, whole: bool) -> None:
        if not data or (whole and len(data) < count * self.memory.size_of(place.kind)):
            raise CipError(TOO_LITTLE)
        self.memory.write(place, kind, count, offset, data)
        self._after(place)

    def _mask(self, place: Place, data: bytes, room: int) -> tuple[bytes, int]:
        del room
        (size,) = struct.unpack_from("<H", data)
        self.memory.mask(place, data[2 : 2 + size], data[2 + size : 2 + 2 * size])
        self._after(place)
        return b"", 0

    def _several(self, data: bytes, room: int) -> tuple[bytes, int]:
        (count,) = struct.unpack_from("<H", data)
        starts = [*struct.unpack_from(f"<{count}H", data, 2), len(data)]
        replies: list[bytes] = []
        left = room - 2 - 2 * count
        for start, end in itertools.pairwise(starts):
            replies.append(self.answer(data[start:end], left))
            left -= len(replies[-1])
        offsets = [2 + 2 * count + sum(map(len, replies[:index])) for index in range(count)]
        status = EMBEDDED if any(reply[2] for reply in replies) else 0
        return struct.pack(f"<H{count}H", count, *offsets) + b"".join(replies), status

    # -- what browsing asks for ---------------------------------------------------------------------------------------

    def _instances(self, path: Path, data: bytes, room: int) -> tuple[bytes, int]:
        (count,) = struct.unpack_from("<H", data)
        wanted = struct.unpack_from(f"<{count}H", data, 2)
        program = str(path.steps[0]) if path.steps else ""
        found = b""
        for number, name, kind, dimension, size in self._symbols(program):
            if number < (path.value(1) or 0):
                continue
            row = struct.pack("<I", number)
            row += b"".join(_symbol_attribute(one, name, kind, dimension, size) for one in wanted)
            if len(found) + len(row) > room:
                return found, MORE
            found += row
        return found, 0

    def _symbols(self, program: str) -> list[tuple[int, str, int, int, int]]:
        """Return instance, name, type, dimension and size of the symbols of a scope; programs are symbols as well."""
        memory = self.memory
        rows = [
            (tag.instance, tag.name, memory.symbol_type(tag), tag.count, memory.size_of(tag.kind))
            for tag in memory.tags
            if tag.program.lower() == program.lower()
        ]
        if not program:
            first = len(memory.tags) + 1
            rows += [(first + at, name, 0x1068, 0, 0) for at, name in enumerate(memory.programs())]
        return rows

    def _template(self, service: int, instance: int, data: bytes, room: int) -> tuple[bytes, int]:
        template = next((one for one in self.memory.templates.values() if one.instance == instance), None)
        if template is None:
            raise CipError(NO_OBJECT)
        definition = self._definition(template.name)
        if service == GET_LIST:
            (count,) = struct.unpack_from("<H", data)
            held = {
                1: struct.pack("<H", template.handle), 2: struct.pack("<H", len(self._members(template.name))),
                3: struct.pack("<H", 0), 4: struct.pack("<I", (len(definition) + 20) // 4),
                5: struct.pack("<I", template.size),
            }  # fmt: skip
            asked = struct.unpack_from(f"<{count}H", data, 2)
            rows = [struct.pack("<HH", one, 0 if one in held else 0x14) + held.get(one, b"") for one in asked]
            return struct.pack("<H", count) + b"".join(rows), 0
        if service != READ:
            raise CipError(NO_SERVICE)
        offset, size = struct.unpack_from("<IH", data)
        rest = definition[offset : offset + size]
        return rest[:room], MORE if len(rest) > room else 0

    def _members(self, name: str) -> list[tuple[str, int, int, int]]:
        """Return name, info (elements of an array, bit of a BOOL), type and offset; hidden bytes hold the BOOLs."""
        memory, rows, hosts = self.memory, list[tuple[str, int, int, int]](), set[int]()
        for laid in memory.templates[name].laid:
            member = laid.member
            if member.kind == "BOOL":
                if laid.offset not in hosts:
                    hosts.add(laid.offset)
                    rows.append((f"ZZZZZZZZZZ{name[:20]}{len(hosts)}", 0, ATOMIC["SINT"][0], laid.offset))
                rows.append((member.name, laid.bit, ATOMIC["BOOL"][0], laid.offset))
                continue
            inner = memory.templates.get(member.kind)
            code = 0x8000 | inner.instance if inner else ATOMIC[member.kind][0]
            rows.append((member.name, member.count, code | (0x2000 if member.count else 0), laid.offset))
        return rows

    def _definition(self, name: str) -> bytes:
        rows = self._members(name)
        numbers = b"".join(struct.pack("<HHI", info, code, offset) for _, info, code, offset in rows)
        title = "ASCIISTRING82" if name == "STRING" else name
        names = [f"{title};n{'EA' * len(rows)}", *(row[0] for row in rows)]
        text = b"".join(one.encode("ascii") + b"\0" for one in names)
        return numbers + text + bytes(4 - len(text) % 4)  # clients don't ask for the last bytes

    def _identity(self, service: int, attribute: int | None) -> tuple[bytes, int]:
        fields = identity_fields()
        if service == GET_ALL:
            return b"".join(fields.values()), 0
        if service != GET_ONE:
            raise CipError(NO_SERVICE)
        if attribute not in fields:
            raise CipError(NO_ATTRIBUTE)
        return fields[attribute], 0


def identity_fields() -> dict[int, bytes]:
    """Return the attributes of the identity object: vendor, type, product, revision, status, serial number, name."""
    name = b"PlantEdge simulated Logix"
    return {
        1: struct.pack("<H", 0x1337), 2: struct.pack("<H", 0x0E), 3: struct.pack("<H", 1), 4: bytes([33, 11]),
        5: struct.pack("<H", 0x3060), 6: struct.pack("<I", 0x504C_4745), 7: bytes([len(name)]) + name,
    }  # fmt: skip


def _symbol_attribute(number: int, name: str, kind: int, dimension: int, size: int) -> bytes:
    held = {
        1: struct.pack("<H", len(name)) + name.encode("ascii"), 2: struct.pack("<H", kind), 3: bytes(4), 5: bytes(4),
        6: struct.pack("<I", 1 << 26), 7: struct.pack("<H", size), 8: struct.pack("<III", dimension, 0, 0),
        10: bytes([_READ_WRITE]),
    }  # fmt: skip
    if number not in held:
        raise CipError(NO_ATTRIBUTE)
    return held[number]


def _refused(service: int, error: CipError) -> bytes:
    status, extended = error.status
    more = b"" if extended is None else struct.pack("<H", extended)
    return bytes([service | 0x80, 0, status, len(more) // 2]) + more
