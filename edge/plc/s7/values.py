"""Values as S7 holds them: big-endian numbers, STRING and WSTRING with their headers, DATE_AND_TIME, DTL, LDT. Pure.

Source: Siemens, "STEP 7 Professional", Data types. STRING begins with its room and its length (a byte each), WSTRING
with the same in words. DATE_AND_TIME is BCD, the weekday (1 is Sunday) in the last digit; LDT counts ns from 1970.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from edge.plc.s7.points import Point
from edge.plc.tags.batches import Placed
from edge.plc.tags.binary import FORMATS, decoder_of, encode_numbers, swapped_words
from edge.plc.tags.coercion import engineering
from edge.plc.tags.forms import Kind, from_bcd, to_bcd
from edge.plc.tags.tag import Native, Tag
from schemas.errors import TagError

Reader = Callable[[bytes], Native]
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # the PLC's clock has no zone
_MICROSECOND: Final = timedelta(microseconds=1)
_DTL: Final = struct.Struct(">HBBBBBBI")


def placed(point: Point, start: int) -> Placed[bytes]:
    """Return a tag's place in the bytes of a range that begins at `start`, with what takes its value out of them."""
    return Placed(point.tag, point.address - start, FORMATS.get(point.tag.form.element, ""), reader_of(point, start))


def reader_of(point: Point, start: int) -> Reader:
    """Return what takes a tag's value in engineering units out of the bytes of a range that begins at `start`.

    It raises TagError where what the PLC holds is no value of the type.
    """
    tag, at, end = point.tag, point.address - start, point.end - start
    if tag.form.kind is Kind.BOOL:
        return _bits(point, at, end)
    if tag.form.kind is Kind.TEXT:
        return lambda data: _text(tag, data[at:end])
    if tag.form.kind is Kind.MOMENT:
        return lambda data: engineering(tag, _moment(tag, data[at:end]))
    decoder = decoder_of(tag)
    read = decoder.read
    if decoder.swapped:  # words are counted from the tag's own first byte, which may be an odd one
        return lambda data: read(swapped_words(data[at:end]), 0)
    return lambda data: read(data, at)


def encode(tag: Tag, value: Native) -> bytes:
    """Return the bytes of a coerced value; a text's without the room that its header begins with, see `text_room`.

    Raises:
        TagError: a time with a zone, or one that the layout can't hold.
    """
    form = tag.form
    if form.kind is Kind.BOOL:
        return _packed(value if isinstance(value, list) else [bool(value)])
    if isinstance(value, str) and form.kind is Kind.TEXT:
        if form.element == "string":
            return bytes([len(value)]) + value.encode("ascii")
        data = value.encode("utf-16-be")
        return struct.pack(">H", len(data) // 2) + data
    if isinstance(value, str):
        return _moment_bytes(tag, datetime.fromisoformat(value))
    return encode_numbers(tag, value)


def header_size(tag: Tag) -> int:
    """Return how many bytes a text's room takes, and its length as many again."""
    return 1 if tag.form.element == "string" else 2


def check_room(tag: Tag, header: bytes, written: bytes) -> None:
    """Raise TagError where a text is longer than the PLC has room for: it would be written over what lies behind."""
    half = header_size(tag)
    room, length = int.from_bytes(header[:half], "big"), int.from_bytes(written[:half], "big")
    if length > room:
        raise TagError(f"{tag.name}: the PLC's string has room for {room} characters, not for {length}")


def _bits(point: Point, at: int, end: int) -> Reader:
    bit, count = point.bit, point.tag.count
    if count:
        return lambda data: _unpacked(data[at:end], bit, count)
    mask = 1 << bit
    return lambda data: data[at] & mask != 0


def _unpacked(data: bytes, bit: int, count: int) -> list[bool | int | float]:
    number = int.from_bytes(data, "little") >> bit
    return [bool(number >> index & 1) for index in range(count)]


def _packed(bits: list[bool | int | float]) -> bytes:
    number = sum(1 << index for index, bit in enumerate(bits) if bit)
    return number.to_bytes((len(bits) + 7) // 8, "little")


def _text(tag: Tag, data: bytes) -> str:
    half = header_size(tag)
    room, length = int.from_bytes(data[:half], "big"), int.from_bytes(data[half : 2 * half], "big")
    if length > room:
        raise TagError(f"no {tag.form.element} lies here: its length {length} is over its room {room}")
    if length > tag.length:
        raise TagError(f"the PLC holds {length} characters, the tag list says at most {tag.length}")
    try:
        return data[2 * half : 2 * half + half * length].decode("ascii" if half == 1 else "utf-16-be")
    except UnicodeDecodeError as error:
        raise TagError("not ASCII text" if half == 1 else "not UTF-16 text") from error


def _moment(tag: Tag, data: bytes) -> datetime:
    try:
        if tag.form.layout == "ldt":
            return _EPOCH + timedelta(microseconds=int.from_bytes(data, "big", signed=True) // 1000)
        if tag.form.layout == "dtl":
            year, month, day, _, hour, minute, second, ns = _DTL.unpack(data)
            return datetime(year, month, day, hour, minute, second, ns // 1000)  # noqa: DTZ001  # no zone
        year, month, day, hour, minute, second = (from_bcd(byte, 2) for byte in data[:6])
        ms = from_bcd(int.from_bytes(data[6:], "big") >> 4, 3)
        return datetime(year + (1900 if year >= 90 else 2000), month, day, hour, minute, second, ms * 1000)  # noqa: DTZ001
    except (ValueError, OverflowError, TagError) as error:
        raise TagError(f"16#{data.hex().upper()} is no time") from error


def _moment_bytes(tag: Tag, moment: datetime) -> bytes:
    if moment.tzinfo is not None:
        raise TagError(f"{tag.name}: the PLC's clock has no zone; write the time without one")
    weekday = moment.isoweekday() % 7 + 1
    if tag.form.layout == "ldt":
        try:
            return struct.pack(">q", (moment - _EPOCH) // _MICROSECOND * 1000)
        except struct.error as error:
            raise TagError(f"{tag.name}: {moment.isoformat()} is later than an LDT can be") from error
    if tag.form.layout == "dtl":
        clock = (moment.hour, moment.minute, moment.second, moment.microsecond * 1000)
        return _DTL.pack(moment.year, moment.month, moment.day, weekday, *clock)
    parts = (moment.year % 100, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    tail = to_bcd(moment.microsecond // 1000) << 4 | weekday
    return bytes(to_bcd(part) for part in parts) + tail.to_bytes(2, "big")
