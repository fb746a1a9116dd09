"""Stored values as the bytes of a HistoryRead's answer (OPC 10000-6, 5.2.2.16 and .17): one struct for most of them.

asyncua makes four objects a value first, which costs more than to read the value from the disk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import variant_to_binary

from edge.opcua_server.history.aggregates import TICK_NS
from schemas.fields import Value

EPOCH_TICKS: Final = 116_444_736_000_000_000  # from 1601 to 1970
_VALUE, _STATUS, _SOURCE_TIME = 1, 2, 4  # bits that say what a DataValue has
_FORMATS: Final[Mapping[ua.VariantType, str]] = MappingProxyType({
    ua.VariantType.Boolean: "?", ua.VariantType.SByte: "b", ua.VariantType.Byte: "B", ua.VariantType.Int16: "h",
    ua.VariantType.UInt16: "H", ua.VariantType.Int32: "i", ua.VariantType.UInt32: "I", ua.VariantType.Int64: "q",
    ua.VariantType.UInt64: "Q", ua.VariantType.Float: "f", ua.VariantType.Double: "d",
})  # fmt: skip
_WHOLE: Final = frozenset(_FORMATS) - {ua.VariantType.Boolean, ua.VariantType.Float, ua.VariantType.Double}
_NOTHING: Final = struct.Struct("<BIq")
Encode = Callable[[int, Value, int], bytes]  # time in ns, value, status code -> a DataValue


def ticks(time_ns: int) -> int:
    """Return a wall-clock time as OPC UA counts it: 100 ns since 1601."""
    return time_ns // TICK_NS + EPOCH_TICKS


def encoder(variant: ua.VariantType) -> Encode:
    """Return what encodes a node's values; one that does not fit the node's type is told as BadTypeMismatch."""
    if variant not in _FORMATS:
        return _encode_text
    good = struct.Struct(f"<BB{_FORMATS[variant]}q")
    other = struct.Struct(f"<BB{_FORMATS[variant]}Iq")
    kind, whole = variant.value, variant in _WHOLE

    def encode(time_ns: int, value: Value, status: int) -> bytes:
        at = time_ns // TICK_NS + EPOCH_TICKS
        if value is None:
            return _NOTHING.pack(_STATUS | _SOURCE_TIME, status, at)
        try:
            number = int(value) if whole else float(value)  # type: ignore[arg-type]  # what is no number raises
            if status:
                return other.pack(_VALUE | _STATUS | _SOURCE_TIME, kind, number, status, at)
            return good.pack(_VALUE | _SOURCE_TIME, kind, number, at)
        except (struct.error, TypeError, ValueError, OverflowError):
            return _NOTHING.pack(_STATUS | _SOURCE_TIME, StatusCodes.BadTypeMismatch, at)

    return encode


def _encode_text(time_ns: int, value: Value, status: int) -> bytes:
    at = ticks(time_ns)
    if value is None:
        return _NOTHING.pack(_STATUS | _SOURCE_TIME, status, at)
    held = variant_to_binary(ua.Variant(str(value), ua.VariantType.String))
    if status:
        return bytes((_VALUE | _STATUS | _SOURCE_TIME,)) + held + struct.pack("<Iq", status, at)
    return bytes((_VALUE | _SOURCE_TIME,)) + held + struct.pack("<q", at)


def encode_fields(values: list[ua.Variant]) -> bytes:
    """Return an event's fields as a HistoryEventFieldList."""
    return struct.pack("<i", len(values)) + b"".join(map(variant_to_binary, values))


def time_ns(moment: datetime | None) -> int | None:
    """Return a client's time in ns of the wall clock, None for one that it left open (OPC 10000-11, 6.5.3)."""
    if moment is None:
        return None
    passed = moment - _FIRST
    if passed.total_seconds() <= 0 or moment.year >= _LAST_YEAR:
        return None
    return ((passed.days * 86_400 + passed.seconds) * 10_000_000 + passed.microseconds * 10 - EPOCH_TICKS) * TICK_NS


_FIRST: Final = ua.get_win_epoch()
_LAST_YEAR: Final = 9999
