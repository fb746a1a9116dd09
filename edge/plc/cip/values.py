"""Values as Logix holds them: typed, little-endian; a tag list that says another type than the PLC is told so. Pure.

Source: Rockwell, 1756-PM020: type codes; a structure's type is 0x02A0 and its handle; STRING and types like it are
structures of LEN (DINT) and DATA. Micro800 has a string of its own: a length byte and its characters.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge.plc.cip.points import WORD_BITS, Point
from edge.plc.tags.coercion import engineering, native
from edge.plc.tags.forms import Kind, from_bcd, to_bcd
from edge.plc.tags.tag import Native, Tag
from schemas.errors import TagError

STRUCTURE: Final = 0x02A0
_BOOL, _WORDS, _SHORT_STRING = 0xC1, 0xD3, 0xDA
_TYPES: Final = {
    0xC1: ("BOOL", "B"), 0xC2: ("SINT", "b"), 0xC3: ("INT", "h"), 0xC4: ("DINT", "i"), 0xC5: ("LINT", "q"),
    0xC6: ("USINT", "B"), 0xC7: ("UINT", "H"), 0xC8: ("UDINT", "I"), 0xC9: ("ULINT", "Q"), 0xCA: ("REAL", "f"),
    0xCB: ("LREAL", "d"), 0xD1: ("BYTE", "B"), 0xD2: ("WORD", "H"), 0xD3: ("DWORD", "I"), 0xD4: ("LWORD", "Q"),
}  # fmt: skip
_LETTERS: Final = {
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "bcd16": "H", "int32": "i", "uint32": "I", "bcd32": "I",
    "int64": "q", "uint64": "Q", "float32": "f", "float64": "d",
}  # fmt: skip
NAMES: Final = {code: name for code, (name, _) in _TYPES.items()}


@dataclass(frozen=True)
class Held:
    """What a read answered: the type's code (with the handle of a structure) and its bytes."""

    kind: bytes
    data: bytes

    @property
    def code(self) -> int:
        """The type's code, 0x02A0 of a structure; 0 for an attribute, which has none."""
        return int.from_bytes(self.kind[:2], "little")

    @property
    def name(self) -> str:
        """What Logix calls the type."""
        return "a structure" if self.code == STRUCTURE else NAMES.get(self.code, f"type 16#{self.code:02X}")


def held_of(data: bytes) -> Held:
    """Split a read's reply into type and bytes.

    Raises:
        ValueError: it is too short to have both.
    """
    size = 4 if data[:2] == b"\xa0\x02" else 2
    if len(data) <= size:
        raise ValueError(f"{len(data)} bytes are no value")
    return Held(data[:size], data[size:])


def check_type(point: Point, held: Held) -> None:
    """Raise TagError where the PLC has another type than the tag list, which would make a wrong value look Good."""
    tag, told = point.tag, f"the PLC has {held.name} here"
    if point.attribute:
        return
    if tag.form.kind is Kind.TEXT:
        fits = held.code in (STRUCTURE, _SHORT_STRING)
    elif point.words:
        fits, told = held.code == _WORDS, f"{told}, and no array of BOOLs"
    elif point.bit is not None:
        fits, told = (
            _TYPES.get(held.code, ("", "f"))[1] not in "fd" and held.code != _BOOL,
            f"{told}, which has no bits",
        )
    elif tag.form.kind is Kind.BOOL:
        fits, told = held.code == _BOOL, f"{told}; name its bit, such as {tag.address}.0"
    else:  # a DINT may be taken as unsigned
        letter, its = _LETTERS[tag.form.element], _TYPES.get(held.code, ("", "-"))[1]
        fits = its.lower() == letter.lower() and held.code != _BOOL
    if not fits:
        raise TagError(f"{told}, the tag list says {tag.type}")


def decode(point: Point, held: Held) -> Native:
    """Return a tag's value in engineering units.

    Raises:
        TagError: the PLC holds another type, or fewer elements.
    """
    check_type(point, held)
    tag = point.tag
    if tag.form.kind is Kind.BOOL:
        return _bools(point, held)
    if tag.form.kind is Kind.TEXT:
        return _text(tag, held)
    layout = struct.Struct(f"<{point.count}{_LETTERS[tag.form.element]}")
    if len(held.data) < layout.size or (point.attribute and len(held.data) != layout.size):
        raise TagError(f"{len(held.data)} bytes came, {tag.type} has {layout.size}")
    raws: Sequence[int | float] = layout.unpack_from(held.data)
    if tag.form.bcd:
        raws = [from_bcd(int(raw), tag.form.bcd) for raw in raws]
    return engineering(tag, raws if tag.form.count else raws[0])


def _bools(point: Point, held: Held) -> Native:
    tag, bit = point.tag, point.bit
    if bit is None:
        return held.data[0] != 0
    number = int.from_bytes(held.data, "little")
    if bit + max(1, tag.count) > 8 * len(held.data):
        raise TagError(f"bit {bit} is beyond the {8 * len(held.data)} bits that came")
    if tag.count:
        return [bool(number >> bit + index & 1) for index in range(tag.count)]
    return bool(number >> bit & 1)


def _text(tag: Tag, held: Held) -> str:
    half = 4 if held.code == STRUCTURE else 1
    length = int.from_bytes(held.data[:half], "little", signed=half == 4)
    if not 0 <= length <= len(held.data) - half:
        raise TagError(f"no string lies here: its length would be {length}")
    if length > tag.length:
        raise TagError(f"the PLC holds {length} characters, the tag list says at most {tag.length}")
    try:
        return held.data[half : half + length].decode("ascii")
    except UnicodeDecodeError as error:
        raise TagError("not ASCII text") from error


# -- towards the PLC --------------------------------------------------------------------------------------------------


def encode(point: Point, value: Native, like: Held) -> bytes:
    """Return the bytes of a coerced value, as what a read of the tag was like.

    Raises:
        TagError: the PLC has another type, or a string with less room.
    """
    tag = point.tag
    check_type(point, like)
    if isinstance(value, str):
        return _text_bytes(tag, value, like)
    if tag.form.kind is Kind.BOOL:
        return b"\1" if value else b"\0"
    raws = native(tag, value)
    items: Sequence[int | float] = raws if isinstance(raws, list) else [raws]  # type: ignore[list-item]  # no text here
    if tag.form.bcd:
        items = [to_bcd(int(item)) for item in items]
    letter = _LETTERS[tag.form.element]
    return struct.pack(f"<{len(items)}{letter}", *items)


def masks(point: Point, on: bool, like: Held) -> tuple[bytes, bytes]:
    """Return the OR and the AND mask that set or clear one bit of an element, and leave its neighbours."""
    bit = point.bit or 0
    check_type(point, like)
    if bit >= 8 * len(like.data):
        raise TagError(f"{point.tag.name}: bit {bit} is beyond the {8 * len(like.data)} bits of the PLC's {like.name}")
    size = WORD_BITS // 8 if point.words else len(like.data)
    full = (1 << 8 * size) - 1
    mask = 1 << bit
    return (mask if on else 0).to_bytes(size, "little"), (full if on else full ^ mask).to_bytes(size, "little")


def _text_bytes(tag: Tag, value: str, like: Held) -> bytes:
    data = value.encode("ascii")
    if like.code == STRUCTURE:
        room = len(like.data) - 4
        if len(data) > room:
            raise TagError(f"{tag.name}: the PLC's string has room for {room} characters, not for {len(data)}")
        return struct.pack("<i", len(data)) + data.ljust(room, b"\0")
    return bytes([len(data)]) + data
