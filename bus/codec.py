"""Messages to bytes and back: MessagePack inside the site, JSON where people and other systems read.

A reader accepts schema versions N-1 to N+1 of the message it knows; fields it does not know are ignored
(additive change), except in the closed upstream messages, which forbid them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol, TypeVar, cast

import msgspec

from schemas.errors import CodecError, Oversized, SchemaMismatch
from schemas.messages import Message, schema_of
from schemas.topics import Codec, Topic

M = TypeVar("M", bound=Message)
# msgspec lets the last two through: a string that is not UTF-8, and arrays nested over a thousand deep.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_msgpack_encode = msgspec.msgpack.Encoder().encode
_json_encode = msgspec.json.Encoder().encode


class _Decoder(Protocol):
    def decode(self, buf: bytes | memoryview, /) -> Any: ...


class _Head(msgspec.Struct):
    schema: str


@cache
def _decoder(kind: type[Message] | type[_Head], codec: Codec) -> _Decoder:
    if codec is Codec.MSGPACK:
        return msgspec.msgpack.Decoder(kind)
    return msgspec.json.Decoder(kind)


def encode(topic: Topic, message: Message) -> bytes:
    """Encode `message` for `topic`.

    Raises:
        Oversized: the payload is over the row's `max_bytes`.
    """
    payload = _msgpack_encode(message) if topic.codec is Codec.MSGPACK else _json_encode(message)
    if len(payload) > topic.max_bytes:
        raise Oversized(f"{topic.key}: {len(payload)} bytes, the row in schemas/topics.py allows {topic.max_bytes}")
    return payload


def decode(topic: Topic, kind: type[M], payload: bytes | memoryview) -> M:
    """Read `payload` as `kind`, one of the row's messages.

    Raises:
        Oversized: over the row's `max_bytes`.
        SchemaMismatch: another schema, or a version outside N-1 to N+1.
        CodecError: not readable as `kind`.
    """
    if len(payload) > topic.max_bytes:
        raise Oversized(f"{topic.key}: {len(payload)} bytes, the row in schemas/topics.py allows {topic.max_bytes}")
    try:
        message: M = _decoder(kind, topic.codec).decode(payload)
    except _UNREADABLE as error:
        _check_schema(topic, kind, _peek(topic, payload))
        raise CodecError(f"{topic.key}: {error}") from error
    if message.schema != schema_of(kind):
        _check_schema(topic, kind, message.schema)
    return message


def _peek(topic: Topic, payload: bytes | memoryview) -> str:
    try:
        head = cast(_Head, _decoder(_Head, topic.codec).decode(payload))
    except _UNREADABLE:
        return ""
    return head.schema


def _check_schema(topic: Topic, kind: type[Message], found: str) -> None:
    if not found:
        return
    wanted_name, _, wanted = schema_of(kind).partition("/")
    name, _, version = found.partition("/")
    if name != wanted_name or not version.isdigit() or abs(int(version) - int(wanted)) > 1:
        raise SchemaMismatch(
            f"{topic.key}: schema {found!r}, this reader knows {schema_of(kind)!r} and one version beside it;"
            " update the older of the two"
        )
