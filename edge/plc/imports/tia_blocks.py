"""Data blocks of TIA Portal and STEP 7 as sources (.db, .scl, with .udt): members with the offsets of standard access.

The rules: bits fill bytes; what is larger than a byte begins at an even one; arrays, structures and texts begin at an
even one, and arrays and structures end before one. Where sources disagree (a bit or byte behind a text of odd length,
several dimensions of bits or bytes), the rest of the block is left out: an offset that is guessed reads a wrong value
as Good. Blocks with optimized access have no offsets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from edge.plc.imports import Export, Found
from edge.plc.imports.block_source import Block, Member, blocks_of
from edge.plc.imports.s7_types import S7Type, array_of, elementary
from edge.plc.imports.tia import data_block
from edge.plc.tags.forms import MAX_COUNT
from schemas.errors import SettingsError

_NUMBER: Final = re.compile(r"^DB(\d+)$", re.IGNORECASE)
_OPTIMIZED: Final = (
    "has optimized access, so its members have no offsets; switch that off in the block's properties, "
    "or read it by OPC UA"
)
_MAX_TAGS: Final = 50_000


class _Stop(Exception):
    """What follows in the block can't be placed; the message is the reason."""


def read(text: str, export: Export) -> None:
    """Read every data block of a source.

    Raises:
        SettingsError: it is no source, or holds no data block.
    """
    blocks = blocks_of(text)
    types = {block.name.lower(): block for block in blocks if block.is_type}
    data = [block for block in blocks if not block.is_type]
    if not data:
        raise SettingsError(["1: no DATA_BLOCK in it; put it and the types that it uses into one file"])
    for block in data:
        _take(block, types, export)


def _take(block: Block, types: Mapping[str, Block], export: Export) -> None:
    by_name = _NUMBER.match(block.name)
    number = export.blocks.get(block.name, int(by_name[1]) if by_name else None)
    like = types.get(block.like.lower())
    reason = ""
    if block.optimized:
        reason = _OPTIMIZED
    elif number is None:
        reason = f"its number is not in the source; say --db '{block.name}=NUMBER'"
    elif block.like and like is None:
        reason = f"is made of {block.like}, which this file does not declare"
    if reason or number is None:
        export.leave_out(block.line, block.name, reason)
        return
    layout = _Layout(number, block.like.lower(), types, export)
    try:
        layout.place(like.members if like else block.members, block.name)
    except _Stop as stop:
        export.leave_out(layout.line, block.name, f"this member and all that follow it: {stop}")


class _Layout:
    """Places members one after the other; `line` is the member's that is being placed."""

    def __init__(self, number: int, like: str, types: Mapping[str, Block], export: Export) -> None:
        self.line = 0
        self._number = number
        self._types = types
        self._export = export
        self._byte = self._bit = 0
        self._odd_text = False
        self._open = [like]

    def place(self, members: list[Member], path: str) -> None:
        """Place a structure's members, from an even byte on, up to one."""
        self._even()
        for member in members:
            self.line = member.line
            self._member(f"{path}.{member.name}", member.kind, member)
        self._even()

    def _member(self, path: str, kind: str, member: Member) -> None:
        array = array_of(kind)
        if array is not None:
            self._array(path, *array, member)
        elif one := elementary(kind):
            self._one(path, one, member)
        elif member.members:
            self.place(member.members, path)
        else:
            self._user_type(path, kind, member)

    def _user_type(self, path: str, kind: str, member: Member) -> None:
        known = self._types.get(kind.lower())
        if known is None:
            raise _Stop(f"{path} is a {kind}, which this file does not declare")
        if kind.lower() in self._open:
            raise _Stop(f"{path}: {kind} holds itself")
        self._open.append(kind.lower())
        self.place(known.members, path)
        self._open.pop()
        self.line = member.line

    def _array(self, path: str, ranges: list[tuple[int, int]], kind: str, member: Member) -> None:
        one = elementary(kind)
        count = math.prod(last - first + 1 for first, last in ranges)
        if not ranges or any(last < first for first, last in ranges):
            raise _Stop(f"{path}: the bounds of its array are not in the source")
        if one is not None and one.size < 2 and len(ranges) > 1:
            raise _Stop(
                f"{path}: where rows of bits or bytes begin depends on the CPU; look its offsets up in TIA Portal"
            )
        self._even()
        if one is not None and one.type.split(":")[0] not in ("string", "wstring", "datetime"):
            self._numbers(path, one, count, member)
        else:
            for number in range(count):
                self._member(f"{path}[{_index(number, ranges)}]", kind, member)
        self._even()

    def _numbers(self, path: str, one: S7Type, count: int, member: Member) -> None:
        """An array of bits or numbers is one tag; several dimensions are its rows one after the other."""
        if count > MAX_COUNT:
            self._export.leave_out(member.line, path, f"has {count} elements, a tag at most {MAX_COUNT}")
        else:
            self._tell(path, one, member, f"[{count}]")
        self._byte += (count + 7) // 8 if one.size == 0 else one.size * count

    def _one(self, path: str, one: S7Type, member: Member) -> None:
        if one.size == 0:
            self._certain(path)
            self._tell(path, one, member)
            self._bit += 1
            if self._bit == 8:
                self._byte, self._bit = self._byte + 1, 0
            return
        if one.size == 1:
            self._certain(path)
            self._close_bits()
        else:
            self._even()
        self._tell(path, one, member)
        self._byte += one.size
        self._odd_text = self._byte % 2 == 1 and one.size > 1

    def _certain(self, path: str) -> None:
        if self._odd_text:
            raise _Stop(f"{path} lies behind a text of odd length; look its offset up in TIA Portal")

    def _close_bits(self) -> None:
        if self._bit:
            self._byte, self._bit = self._byte + 1, 0

    def _even(self) -> None:
        self._close_bits()
        self._byte += self._byte % 2
        self._odd_text = False

    def _tell(self, path: str, one: S7Type, member: Member, many: str = "") -> None:
        if not one.type:
            self._export.leave_out(member.line, path, one.reason)
            return
        if len(self._export.found) >= _MAX_TAGS:
            raise _Stop(f"over {_MAX_TAGS:,} tags")
        address = data_block(self._number, self._byte, self._bit, one.size)
        self._export.found.append(
            Found(
                name=path,
                address=address,
                type=one.type + many,
                line=member.line,
                scale=one.scale,
                unit=one.unit,
                description=member.comment,
            )
        )


def _index(number: int, ranges: list[tuple[int, int]]) -> str:
    """Return an element's index as the source writes it; the last dimension runs fastest."""
    found: list[str] = []
    for first, last in reversed(ranges):
        number, at = divmod(number, last - first + 1)
        found.append(str(first + at))
    return ",".join(reversed(found))
