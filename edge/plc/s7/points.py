"""S7 without its wire: addresses of areas and data blocks, and the plan of multi-reads. Pure.

Source: Siemens, "S7 communication": a request has 12 bytes and 12 for each item, its reply 14 and 4 for each item,
whose data is filled up to an even length; one PDU takes both, and a request at most 20 items.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edge.plc.planning import Planned, Reach, Room, packets, runs
from edge.plc.tags.binary import size_of
from edge.plc.tags.forms import Kind
from edge.plc.tags.tag import Access, Tag
from schemas.errors import TagError

MAX_ITEMS: Final = 20
LARGEST_PDU, SMALLEST_PDU = 480, 112
ENVELOPE: Final = 7  # TPKT and COTP
_REQUEST, _REPLY, _ASKED_ITEM, _ANSWERED_ITEM = 12, 14, 12, 4
_WRITE: Final = 28  # header, item and the data's own header
_AREA_END: Final = 65_536
_NATIVE: Final = re.compile(r"^%?([IQMEA])([BWD]?)(\d{1,5})(?:\.([0-7]))?$")
_BLOCK: Final = re.compile(r"^%?DB(\d{1,5})\.DB([XBWD])(\d{1,5})(?:\.([0-7]))?$")
_GERMAN: Final = {"E": "I", "A": "Q"}
_SIZES: Final = {"B": 1, "W": 2, "D": 4}
_MOMENTS: Final = {"dt": 8, "dtl": 12, "ldt": 8}


@dataclass(frozen=True)
class Point:
    """Where a tag lies: `size` bytes from `address` of an area (`I`, `Q`, `M`, `DB` and its block); a bool's bit."""

    tag: Tag
    letter: str
    block: int
    address: int
    size: int
    bit: int = 0

    @property
    def area(self) -> str:
        """What one item of a read can't leave."""
        return f"{self.letter}{self.block}"

    @property
    def end(self) -> int:
        """The byte after the last."""
        return self.address + self.size


@dataclass(frozen=True, eq=False)
class Range:
    """Bytes of one area that are read together, and the points that lie in them; itself alone its equal."""

    letter: str
    block: int
    address: int
    size: int
    points: tuple[Point, ...]

    def halves(self) -> list[Range]:
        """Split by points: what a PLC that refuses the whole may still answer."""
        middle = len(self.points) // 2
        return [_range(self.points[:middle]), _range(self.points[middle:])]


@dataclass(frozen=True)
class Piece:
    """One item of a multi-read: as much of a range as one reply carries, from `at` bytes into it; one of `among`."""

    of: Range
    at: int
    size: int
    among: int

    @property
    def last(self) -> bool:
        """Whether the range is whole with it."""
        return self.at + self.size == self.of.size


def point_of(tag: Tag) -> Point:
    """Return where a tag lies.

    Raises:
        TagError: the address is not S7, or does not fit the tag's type or access.
    """
    text = tag.address.strip().upper()
    if block := _BLOCK.match(text):
        area, number, letter, byte, bit = "DB", int(block[1]), block[2], int(block[3]), block[4]
        wrong = "data blocks have numbers from 1 to 65535" if not 1 <= number <= 65_535 else ""
    elif found := _NATIVE.match(text):
        area, number, letter = _GERMAN.get(found[1], found[1]), 0, found[2] or "X"
        byte, bit, wrong = int(found[3]), found[4], ""
    else:
        raise TagError(f"{tag.name}: address {tag.address!r} is not S7; write DB1.DBX0.3, DB1.DBW2, M0.0, MW10 or IB4")
    wrong = wrong or _misfit(tag, letter, bit)
    size = 0 if wrong else _size(tag, int(bit or 0))
    if not wrong and byte + max(size, _SIZES.get(letter, 1)) > _AREA_END:
        wrong = f"address {tag.address!r} ends beyond byte 65535"
    wrong = wrong or _unwritable(tag, area, int(bit or 0), size)
    if wrong:
        raise TagError(f"{tag.name}: {wrong}")
    if tag.bit is not None:  # words are big-endian: bit 0 lies in the last byte
        return Point(tag, area, number, byte + _SIZES[letter] - 1 - tag.bit // 8, 1, tag.bit % 8)
    return Point(tag, area, number, byte, size, int(bit or 0))


def _misfit(tag: Tag, letter: str, bit: str | None) -> str:
    """Return why a type can't lie at an address, "" if it can."""
    form = tag.form
    if form.kind is Kind.MOMENT and not form.layout:
        return "S7 has several times; write datetime:dt (DATE_AND_TIME), datetime:dtl or datetime:ldt"
    if form.element == "string" and form.length > 254:
        return f"a {tag.type}: an S7 string has at most 254 characters"
    if letter != "X" and bit is not None:
        return f"address {tag.address!r} has a bit besides its {_SIZES[letter]} bytes"
    if form.kind is Kind.BOOL:
        return _bool_misfit(tag, letter, bit)
    if letter == "X":
        return f"a {tag.type} can't lie in {tag.address!r}; bits have the type bool"
    element = _element_size(tag)
    if letter != "B" and element != _SIZES[letter]:
        right = {1: "B", 2: "W", 4: "D"}.get(element, "B")
        return f"a {tag.type} has {element} bytes, {tag.address!r} has {_SIZES[letter]}; write {right} for {letter}"
    return ""


def _bool_misfit(tag: Tag, letter: str, bit: str | None) -> str:
    if letter == "X":
        if tag.bit is not None:
            return f"{tag.address!r} is one bit; bit is for a bool in a byte or word"
        return "" if bit is not None else f"address {tag.address!r} has no bit; write for example {tag.address}.0"
    if tag.count:
        return f"a {tag.type} begins at a bit, such as DB1.DBX0.0 or M0.0"
    most = 8 * _SIZES[letter] - 1
    if tag.bit is None or tag.bit > most:
        return f"a bool in {tag.address!r} needs its bit (0 to {most})"
    return ""


def _unwritable(tag: Tag, area: str, bit: int, size: int) -> str:
    if tag.access is not Access.WRITE:
        return ""
    if area == "I":
        return f"{tag.address!r} is an input, which can only be read; access rw needs Q, M or a data block"
    if tag.form.kind is Kind.BOOL and tag.count and (bit or tag.count % 8):
        return "an array of bools is written in whole bytes: from bit 0, 8, 16, 24 ... of them; or one tag for each bit"
    if tag.form.kind is not Kind.TEXT and size > most_written(LARGEST_PDU):
        most = most_written(LARGEST_PDU)
        return f"a {tag.type} takes {size} bytes, more than one request can write ({most}); split it into several tags"
    return ""


def _element_size(tag: Tag) -> int:
    form = tag.form
    if form.kind is Kind.TEXT:
        return 2 + form.length if form.element == "string" else 4 + 2 * form.length
    return _MOMENTS[form.layout] if form.kind is Kind.MOMENT else size_of(tag) // max(1, tag.count)


def _size(tag: Tag, bit: int) -> int:
    """Return how many bytes hold a tag."""
    if tag.form.kind is Kind.BOOL:
        return (bit + max(1, tag.count) + 7) // 8
    return _element_size(tag) * max(1, tag.count)


def most_read(pdu: int) -> int:
    """Return how many bytes one item can answer."""
    return (pdu - _REPLY - _ANSWERED_ITEM) & ~1


def most_written(pdu: int) -> int:
    """Return how many bytes one request can write."""
    return pdu - _WRITE


def ranges(tags: Iterable[Tag], gap: int, pdu: int) -> list[Range]:
    """Merge neighbours: up to `gap` unwanted bytes are read along."""
    reach = Reach(gap, most_read(pdu))
    return [_range(run) for run in runs((point_of(tag) for tag in tags), lambda _: reach)]


def _range(points: Sequence[Point]) -> Range:
    first = min(point.address for point in points)
    size = max(point.end for point in points) - first
    return Range(points[0].letter, points[0].block, first, size, tuple(points))


def multi_reads(found: Iterable[Range], pdu: int, items: int) -> list[tuple[Piece, ...]]:
    """Put ranges into as few requests as a PDU and the number of items allow; those of no PDU are cut in pieces."""
    room = Room(asked=pdu - _REQUEST, answered=pdu - _REPLY, items=items)
    most = most_read(pdu)
    pieces = [
        Piece(one, at, min(most, one.size - at), -(-one.size // most))
        for one in found
        for at in range(0, one.size, most)
    ]
    return packets(pieces, lambda piece: (_ASKED_ITEM, _ANSWERED_ITEM + piece.size + piece.size % 2), room)


def planned(request: Sequence[Piece]) -> Planned:
    """Return a request's size on the wire; a tag counts where its last byte comes."""
    data = sum(_ANSWERED_ITEM + piece.size + piece.size % 2 for piece in request) - request[-1].size % 2
    return Planned(
        tags=sum(len(piece.of.points) for piece in request if piece.last),
        asked=ENVELOPE + _REQUEST + _ASKED_ITEM * len(request),
        answered=ENVELOPE + _REPLY + data,
    )
