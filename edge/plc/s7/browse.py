"""What an S7 CPU says of itself and of its data blocks, checked as it comes.

Source: Siemens, "System Software for S7-300/400, System and Standard Functions": system status lists 16#0011 (order
numbers) and 16#001C (names); block functions of "S7 communication". S7-1200 and S7-1500 refuse lists of blocks: there
their numbers are tried one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from edge.plc.browsing import Bounds, Offered
from edge.plc.s7.replies import Malformed, Refused, refusal_of

TRIED: Final = tuple(range(1, 100))
LARGEST: Final = 65_536
DB: Final = 0x41
_NAMES: Final = {
    1: "station", 2: "module", 3: "plant", 4: "copyright", 5: "serial number", 7: "CPU", 8: "memory card",
}  # fmt: skip
_HEADER: Final = struct.Struct(">BBHHHH")
_INFO_BYTES: Final = 78
_TAG_BYTES: Final = 200  # a block is offered in pieces that a person may look at
_AREAS: Final = (("M", "flags"), ("I", "inputs"), ("Q", "outputs"))


@dataclass(frozen=True)
class Told:
    """A part of an answer: `more` is to be asked for with `number`."""

    data: bytes
    more: bool
    number: int


@dataclass(frozen=True)
class Cpu:
    """How it is asked. `status_list`, `blocks`, `block_info`: what it answers; `read`: one byte of an area or block."""

    status_list: Callable[[int], bytes | Refused]
    blocks: Callable[[], bytes | Refused]
    block_info: Callable[[int], bytes | Refused]
    read: Callable[[str, int, int], bytes | Refused]


def told(reply: bytes, sequence: int) -> Told | Refused:
    """Return what an answer of the user data kind holds.

    Raises:
        Malformed: it is none to this request.
    """
    if len(reply) > 1 and reply[1] != 0x07:
        refused = refusal_of(reply, sequence)
        if refused is None:
            raise Malformed("no answer to a question about the CPU")
        return refused
    if len(reply) < _HEADER.size:
        raise Malformed(f"{len(reply)} bytes are no S7 answer")
    protocol, _, _, answered, parameters, size = _HEADER.unpack_from(reply)
    if (protocol, answered) != (0x32, sequence) or len(reply) != _HEADER.size + parameters + size or parameters < 12:
        raise Malformed("no answer to this question about the CPU")
    head, data = reply[_HEADER.size : _HEADER.size + parameters], reply[_HEADER.size + parameters :]
    if code := int.from_bytes(head[10:12], "big"):
        return Refused(code, whole=True)
    if size < 4 or data[0] != 0xFF:
        return Refused(data[0] if data else 0)
    length = int.from_bytes(data[2:4], "big")
    if length > len(data) - 4:
        raise Malformed("an answer about the CPU is cut short")
    return Told(data[4 : 4 + length], more=bool(head[9]), number=head[7])


def browse(cpu: Cpu, bounds: Bounds) -> Iterator[Offered]:
    """Yield the CPU's names, its areas, and its data blocks with their sizes."""
    yield from _identity(cpu, bounds)
    for letter, name in _AREAS:
        size = _size(cpu, bounds, letter, 0)
        if size:
            yield from _bytes(("areas", name), f"{letter}B", size, "")
    numbers, listed = _numbers(cpu, bounds)
    if not listed:
        yield Offered(path=("data blocks",), note=f"the CPU lists none; DB{numbers[0]} to DB{numbers[-1]} are tried")
    for number in numbers:
        yield from _block(cpu, bounds, number, listed)


def _identity(cpu: Cpu, bounds: Bounds) -> Iterator[Offered]:
    bounds.ask("names of the CPU")
    names = cpu.status_list(0x001C)
    for index, record in _records(names):
        if index in _NAMES and (text := _text(record)):
            yield Offered(path=("CPU", _NAMES[index]), note=text)
    bounds.ask("order number")
    for index, record in _records(cpu.status_list(0x0011)):
        text = _text(record[:20])
        if index in (1, 6) and text:
            yield Offered(path=("CPU", "order number" if index == 1 else "hardware"), note=text)
        if index == 7 and len(record) >= 26:
            yield Offered(path=("CPU", "firmware"), note=f"V{record[23]}.{record[24]}.{record[25]}")
    if isinstance(names, Refused):
        yield Offered(path=("CPU",), note=f"says nothing of itself: {names}")


def _records(answer: bytes | Refused) -> Iterator[tuple[int, bytes]]:
    """Yield index and content of each record of a status list; what is cut short ends it."""
    if isinstance(answer, Refused) or len(answer) < 8:
        return
    size, count = struct.unpack_from(">HH", answer, 4)
    for at in range(8, 8 + size * count, size) if size > 2 else ():
        record = answer[at : at + size]
        if len(record) == size:
            yield int.from_bytes(record[:2], "big"), record[2:]


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("latin-1").strip()


def _numbers(cpu: Cpu, bounds: Bounds) -> tuple[list[int], bool]:
    """Return the numbers of data blocks, and whether the CPU told them."""
    if bounds.numbers:
        return list(bounds.numbers), False
    bounds.ask("list of data blocks")
    listed = cpu.blocks()
    if isinstance(listed, Refused) or not listed:
        return list(TRIED), False
    return sorted({int.from_bytes(listed[at : at + 2], "big") for at in range(0, len(listed) - 3, 4)}), True


def _block(cpu: Cpu, bounds: Bounds, number: int, listed: bool) -> Iterator[Offered]:
    bounds.ask(f"DB{number}")
    first = cpu.read("DB", number, 0)
    path = ("data blocks", f"DB{number}")
    if isinstance(first, Refused):
        if listed:
            yield Offered(path=path, note=f"can't be read: {first}")
        return
    info = cpu.block_info(number) if listed else Refused(0)
    size = int.from_bytes(info[40:42], "big") if isinstance(info, bytes) and len(info) == _INFO_BYTES else 0
    if not size or isinstance(cpu.read("DB", number, size - 1), Refused):
        size = _size(cpu, bounds, "DB", number)
    yield from _bytes(path, f"DB{number}.DBB", size, f"DB{number}")


def _size(cpu: Cpu, bounds: Bounds, area: str, number: int) -> int:
    """Return how many bytes can be read, by trying: areas and blocks have no holes."""
    low, high = 0, 1
    while high <= LARGEST and _is_there(cpu, bounds, area, number, high - 1):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_there(cpu, bounds, area, number, middle - 1) else (low, middle)
    return low


def _is_there(cpu: Cpu, bounds: Bounds, area: str, number: int, address: int) -> bool:
    bounds.ask(f"{area}{number or ''} byte {address}")
    return not isinstance(cpu.read(area, number, address), Refused)


def _bytes(path: tuple[str, ...], address: str, size: int, block: str) -> Iterator[Offered]:
    """Yield an area or block by its bytes: S7 tells no names and types, those are in the project."""
    told_size = f"{size:,} byte{'s' if size > 1 else ''}"
    if size <= _TAG_BYTES:
        yield Offered(path=path, address=f"{address}0", type=_type(size), kind=told_size)
        return
    yield Offered(path=path, kind=told_size)
    for at in range(0, size, _TAG_BYTES):
        last = min(at + _TAG_BYTES, size) - 1
        name = f"{block + '.' if block else ''}{at}-{last}"
        yield Offered(path=(*path, name), address=f"{address}{at}", type=_type(last + 1 - at))


def _type(size: int) -> str:
    return f"uint8[{size}]" if size > 1 else "uint8"
