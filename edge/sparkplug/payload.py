"""Sparkplug B payloads (Sparkplug 3.0, 6.4): metrics to bytes, and what a host sends back to metrics.

The messages are declared here and built by protobuf's own library, so that no generated file has to fit its version.
Templates, data sets and property lists, which we neither send nor read, are left out: protobuf skips them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from schemas.errors import CodecError
from schemas.fields import Value

_Field = descriptor_pb2.FieldDescriptorProto
_UINT32, _UINT64, _BOOL = _Field.TYPE_UINT32, _Field.TYPE_UINT64, _Field.TYPE_BOOL
_FLOAT, _DOUBLE, _STRING, _BYTES = _Field.TYPE_FLOAT, _Field.TYPE_DOUBLE, _Field.TYPE_STRING, _Field.TYPE_BYTES
_PACKAGE: Final = "plantedge.sparkplug"

# message -> (field, number, type or message); "*" repeats, "|" is one of the values.
_MESSAGES: Final[dict[str, tuple[tuple[str, int, Any], ...]]] = {
    "PropertyValue": (
        ("type", 1, _UINT32), ("is_null", 2, _BOOL), ("|int_value", 3, _UINT32), ("|long_value", 4, _UINT64),
        ("|float_value", 5, _FLOAT), ("|double_value", 6, _DOUBLE), ("|boolean_value", 7, _BOOL),
        ("|string_value", 8, _STRING),
    ),
    "PropertySet": (("*keys", 1, _STRING), ("*values", 2, "PropertyValue")),
    "Metric": (
        ("name", 1, _STRING), ("alias", 2, _UINT64), ("timestamp", 3, _UINT64), ("datatype", 4, _UINT32),
        ("is_historical", 5, _BOOL), ("is_transient", 6, _BOOL), ("is_null", 7, _BOOL),
        ("properties", 9, "PropertySet"), ("|int_value", 10, _UINT32), ("|long_value", 11, _UINT64),
        ("|float_value", 12, _FLOAT), ("|double_value", 13, _DOUBLE), ("|boolean_value", 14, _BOOL),
        ("|string_value", 15, _STRING), ("|bytes_value", 16, _BYTES),
    ),
    "Payload": (("timestamp", 1, _UINT64), ("*metrics", 2, "Metric"), ("seq", 3, _UINT64)),
}  # fmt: skip


class DataType(IntEnum):
    """Types of values and their numbers (6.4.16)."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    INT8_ARRAY = 22
    INT16_ARRAY = 23
    INT32_ARRAY = 24
    INT64_ARRAY = 25
    UINT8_ARRAY = 26
    UINT16_ARRAY = 27
    UINT32_ARRAY = 28
    UINT64_ARRAY = 29
    FLOAT_ARRAY = 30
    DOUBLE_ARRAY = 31
    BOOLEAN_ARRAY = 32


class Quality(IntEnum):
    """The property `Quality` of a metric (6.4.6): there only where it is not good."""

    BAD = 0
    GOOD = 192
    STALE = 500


_ARRAYS: Final = {
    DataType.INT8_ARRAY: "b", DataType.INT16_ARRAY: "h", DataType.INT32_ARRAY: "i", DataType.INT64_ARRAY: "q",
    DataType.UINT8_ARRAY: "B", DataType.UINT16_ARRAY: "H", DataType.UINT32_ARRAY: "I", DataType.UINT64_ARRAY: "Q",
    DataType.FLOAT_ARRAY: "f", DataType.DOUBLE_ARRAY: "d",
}  # fmt: skip
# UInt32 too: the standard names no field, Tahu and sparkplug-payload write it there, and the latter reads no other.
_LONGS: Final = (DataType.INT64, DataType.UINT64, DataType.UINT32)


@dataclass(frozen=True)
class Metric:
    """One value on its way to the host. `name` stands in births, `alias` in both; `time_ms` is UTC since 1970."""

    type: DataType
    value: Value
    time_ms: int
    name: str = ""
    alias: int | None = None
    quality: Quality = Quality.GOOD
    historical: bool = False
    properties: Mapping[str, str | float] = field(default_factory=dict[str, str | float])


@dataclass(frozen=True)
class Command:
    """One metric that a host wants to have written; it names it, or gives its alias."""

    name: str
    alias: int | None
    value: Value


def encode(metrics: Iterable[Metric], time_ms: int, seq: int | None) -> bytes:
    """Return a payload; `seq` is None in a death of the node only."""
    payload = _PAYLOAD(timestamp=time_ms)
    if seq is not None:
        payload.seq = seq
    for metric in metrics:
        _put(payload.metrics.add(), metric)
    encoded: bytes = payload.SerializeToString()
    return encoded


def decode_commands(data: bytes) -> list[Command]:
    """Return what a host's NCMD or DCMD asks for.

    Raises:
        CodecError: it is no payload.
    """
    try:
        payload = _PAYLOAD.FromString(data)
    except DecodeError as error:
        raise CodecError(f"not a Sparkplug B payload: {error}") from error
    return [_command(metric) for metric in payload.metrics]


def _command(metric: Any) -> Command:
    which = metric.WhichOneof("value")
    value = getattr(metric, which) if which and which != "bytes_value" and not metric.is_null else None
    return Command(metric.name, metric.alias if metric.HasField("alias") else None, value)


def _put(made: Any, metric: Metric) -> None:
    made.timestamp, made.datatype = metric.time_ms, metric.type
    if metric.name:
        made.name = metric.name
    if metric.alias is not None:
        made.alias = metric.alias
    if metric.historical:
        made.is_historical = True
    for key, value in metric.properties.items():
        made.properties.keys.append(key)
        if isinstance(value, str):
            made.properties.values.add(type=DataType.STRING, string_value=value)
        else:
            made.properties.values.add(type=DataType.DOUBLE, double_value=value)
    if metric.quality is not Quality.GOOD:
        made.properties.keys.append("Quality")
        made.properties.values.add(type=DataType.INT32, int_value=metric.quality)
    if metric.value is None:
        made.is_null = True
    else:
        _put_value(made, metric.type, metric.value)


def _put_value(made: Any, kind: DataType, value: Any) -> None:
    if kind is DataType.BOOLEAN:
        made.boolean_value = value
    elif kind is DataType.STRING:
        made.string_value = value
    elif kind is DataType.FLOAT:
        made.float_value = value
    elif kind is DataType.DOUBLE:
        made.double_value = value
    elif kind in _LONGS:
        made.long_value = value & 0xFFFF_FFFF_FFFF_FFFF  # two's complement (6.4.16)
    elif kind is DataType.BOOLEAN_ARRAY:
        made.bytes_value = _packed_bits(value)
    elif kind in _ARRAYS:
        made.bytes_value = struct.pack(f"<{len(value)}{_ARRAYS[kind]}", *value)
    else:
        made.int_value = value & 0xFFFF_FFFF


def _packed_bits(values: Sequence[bool]) -> bytes:
    """Return a count and the bits, the first one in the highest bit of the first byte (6.4.17)."""
    bits = bytearray((len(values) + 7) // 8)
    for place, value in enumerate(values):
        bits[place // 8] |= bool(value) << (7 - place % 8)
    return struct.pack("<I", len(values)) + bytes(bits)


def _build() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="plantedge/sparkplug.proto", package=_PACKAGE, syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if any(label.startswith("|") for label, _, _ in fields):
            message.oneof_decl.add(name="value")
        for label, number, kind in fields:
            _declare(message.field.add(name=label.lstrip("*|"), number=number), label[0], kind)
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))


def _declare(made: descriptor_pb2.FieldDescriptorProto, mark: str, kind: Any) -> None:
    made.label = _Field.LABEL_REPEATED if mark == "*" else _Field.LABEL_OPTIONAL
    if isinstance(kind, str):
        made.type, made.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        made.type = kind
    if mark == "|":
        made.oneof_index = 0


_PAYLOAD: Final[Any] = _build()
