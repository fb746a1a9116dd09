"""Numbers as the bytes of a PLC: one tag's, in its byte order, alone or in an array. Pure.

Scans decode thousands of tags, so a tag's decoder is made once: `Decoder.read(data, at)` takes about 0.3 us. ABCD is
big-endian as the protocols send it; the words of the other orders are of 16 bits. CDAB and BADC are read from a copy of
the data whose words have their bytes swapped (`swapped_words`), which serves all such tags of an answer.
"""

from __future__ import annotations

import array
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from edge.plc.tags.coercion import engineering, native
from edge.plc.tags.forms import Kind, from_bcd, to_bcd
from edge.plc.tags.tag import Native, Tag
from schemas.errors import TagError

FORMATS: Final = {
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d", "bcd16": "H", "bcd32": "I",
}  # fmt: skip
_Read = Callable[[bytes, int], Native]


@dataclass(frozen=True)
class Decoder:
    """Reads one tag's number or array of numbers, in engineering units, from `size` bytes at an offset.

    `swapped`: it takes the data with the bytes of each word swapped. `read` raises TagError for what is no value.
    """

    size: int
    swapped: bool
    read: _Read


def swapped_words(data: bytes) -> bytes:
    """Return data with the bytes of each 16-bit word swapped; the offsets stay. An odd last byte stays where it is."""
    words = array.array("H", data[: len(data) & ~1])
    words.byteswap()
    return words.tobytes() + data[len(data) & ~1 :]


def decoder_of(tag: Tag, formats: Mapping[str, str] = FORMATS) -> Decoder:
    """Return the decoder of a number or an array of numbers; `formats` are struct's letters by the type's name."""
    letter = formats[tag.form.element]
    order = tag.order if struct.calcsize(letter) > 1 else "ABCD"
    layout = struct.Struct(f"{'<' if order in ('CDAB', 'DCBA') else '>'}{max(1, tag.count)}{letter}")
    read = _reader(tag, layout, letter == FORMATS[tag.form.element])
    return Decoder(layout.size, order in ("CDAB", "BADC"), read)


def _reader(tag: Tag, layout: struct.Struct, fits: bool) -> _Read:
    """Return the shortest way for a tag; `fits`: whatever the bytes hold is within the type's range."""
    unpack: Callable[[bytes, int], tuple[Any, ...]] = layout.unpack_from
    form, digits = tag.form, tag.form.bcd
    if digits or form.count or not fits:
        return lambda data, at: _checked(tag, unpack(data, at), digits)
    if form.kind is Kind.WHOLE and not tag.scaled:
        return lambda data, at: cast(int, unpack(data, at)[0])
    return _finite(unpack, tag.scale, tag.offset)


def _finite(unpack: Callable[[bytes, int], tuple[Any, ...]], scale: float, offset: float) -> _Read:
    """Scaled by 1 and moved by 0 a number is still the same; what is not finite stays so."""

    def read(data: bytes, at: int) -> float:
        number: float = unpack(data, at)[0] * scale + offset
        if not math.isfinite(number):
            raise TagError("not a number")
        return number

    return read


def _checked(tag: Tag, raws: tuple[Any, ...], digits: int) -> Native:
    if digits:
        raws = tuple(from_bcd(raw, digits) for raw in raws)
    return engineering(tag, raws if tag.form.count else raws[0])


def size_of(tag: Tag, formats: Mapping[str, str] = FORMATS) -> int:
    """Return how many bytes a number or an array of numbers takes."""
    return struct.calcsize(f">{formats[tag.form.element]}") * max(1, tag.count)


def decode_numbers(tag: Tag, data: bytes, formats: Mapping[str, str] = FORMATS) -> Native:
    """Return the value in engineering units of exactly the bytes that a number or an array of numbers takes.

    Raises:
        TagError: they are no number of the type.
    """
    decoder = decoder_of(tag, formats)
    return decoder.read(swapped_words(data) if decoder.swapped else data, 0)


def encode_numbers(tag: Tag, value: Native, formats: Mapping[str, str] = FORMATS) -> bytes:
    """Return the bytes of a value in engineering units that `edge.plc.tags.coercion` has checked."""
    letter = formats[tag.form.element]
    raws = native(tag, value)
    items = cast(list[int | float], raws if isinstance(raws, list) else [raws])
    if tag.form.bcd:
        items = [to_bcd(int(item)) for item in items]
    order = tag.order if struct.calcsize(letter) > 1 else "ABCD"
    data = struct.pack(f"{'<' if order in ('CDAB', 'DCBA') else '>'}{len(items)}{letter}", *items)
    return swapped_words(data) if order in ("CDAB", "BADC") else data
