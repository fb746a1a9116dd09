"""Numbers as the bytes of a PLC: one tag's, in its byte order, alone or in an array. Pure.

ABCD is big-endian as the protocols send it; the words of the others (CDAB, BADC, DCBA) are of 16 bits each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, cast

from edge.plc.coercion import engineering, native
from edge.plc.forms import from_bcd, to_bcd
from edge.plc.tag import Native, Tag

FORMATS: Final = {
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d", "bcd16": "H", "bcd32": "I",
}  # fmt: skip


def size_of(tag: Tag, formats: Mapping[str, str] = FORMATS) -> int:
    """Return how many bytes a number or an array of numbers takes."""
    return struct.calcsize(f">{formats[tag.form.element]}") * max(1, tag.count)


def decode_numbers(tag: Tag, data: bytes, formats: Mapping[str, str] = FORMATS) -> Native:
    """Return the value in engineering units of exactly the bytes that a number or an array of numbers takes.

    Raises:
        TagError: they are no number of the type.
    """
    form, letter = tag.form, formats[tag.form.element]
    raws: tuple[int | float, ...] = struct.unpack(f">{max(1, form.count)}{letter}", reordered(tag, data, letter))
    if form.bcd:
        raws = tuple(from_bcd(cast(int, raw), form.bcd) for raw in raws)
    return engineering(tag, raws if form.count else raws[0])


def encode_numbers(tag: Tag, value: Native, formats: Mapping[str, str] = FORMATS) -> bytes:
    """Return the bytes of a value in engineering units that `edge.plc.coercion` has checked."""
    letter = formats[tag.form.element]
    raws = native(tag, value)
    items = cast(list[int | float], raws if isinstance(raws, list) else [raws])
    if tag.form.bcd:
        items = [to_bcd(int(item)) for item in items]
    return reordered(tag, struct.pack(f">{len(items)}{letter}", *items), letter)


def reordered(tag: Tag, data: bytes, letter: str) -> bytes:
    """Turn bytes between the tag's order and big-endian; each order is its own inverse."""
    size = struct.calcsize(f">{letter}")
    if tag.order == "ABCD" or size == 1:
        return data
    elements = (data[at : at + size] for at in range(0, len(data), size))
    return b"".join(_turned(element, tag.order) for element in elements)


def _turned(element: bytes, order: str) -> bytes:
    if order == "DCBA":
        return element[::-1]
    words = [element[at : at + 2] for at in range(0, len(element), 2)]
    if order == "BADC":
        return b"".join(word[::-1] for word in words)
    return b"".join(reversed(words))
