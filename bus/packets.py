"""MQTT 5 on the wire, client side, QoS 0 and 1: pure functions between values and bytes, no IO.

Section numbers are those of the OASIS standard MQTT Version 5.0 (7 March 2019).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from bus import Will
from schemas.errors import BusError

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 0x20, 0x30, 0x40, 0x90, 0xD0, 0xE0
PINGREQ = b"\xc0\x00"
GOODBYE = b"\xe0\x00"  # DISCONNECT, normal: the will is not published

_CONNECT, _SUBSCRIBE = 0x10, 0x82
_SESSION_EXPIRY, _RECEIVE_MAXIMUM, _MAXIMUM_PACKET, _MESSAGE_EXPIRY = 0x11, 0x21, 0x27, 0x02
_SERVER_KEEP_ALIVE, _REASON_STRING = 0x13, 0x1F
_SUBSCRIPTION_ID, _SUBSCRIPTION_ID_AVAILABLE = 0x0B, 0x29
_RESPONSE_TOPIC, _CORRELATION, _USER = 0x08, 0x09, 0x26

# Property identifier -> size of its fixed value, or how a longer one is read (2.2.2.2).
_FIXED = {0x01: 1, 0x02: 4, 0x11: 4, 0x13: 2, 0x17: 1, 0x18: 4, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1,
          0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}  # fmt: skip
_STRINGS = frozenset({0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F})
_BINARY = frozenset({0x09, 0x16})

REASONS = {
    0x10: "no matching subscribers", 0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error",
    0x83: "implementation specific error", 0x84: "unsupported protocol version", 0x85: "client id not valid",
    0x86: "bad user name or password", 0x87: "not authorized", 0x88: "server unavailable", 0x89: "server busy",
    0x8A: "banned", 0x8B: "server shutting down", 0x8C: "bad authentication method", 0x8D: "keep alive timeout",
    0x8E: "session taken over", 0x8F: "topic filter invalid", 0x90: "topic name invalid",
    0x93: "receive maximum exceeded",
    0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded", 0x99: "payload format invalid",
    0x9C: "use another server", 0x9D: "server moved", 0x9F: "connection rate exceeded",
}  # fmt: skip
# Refusals that a retry can't mend: version, client id, credentials, authorisation, ban, authentication method.
PERMANENT = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})


class MalformedPacket(BusError):
    """Bytes that are not MQTT 5; the connection has to be closed. Never leaves the bus."""


def reason(code: int) -> str:
    """Return what a reason code says, for people."""
    return f"{REASONS.get(code, 'reason')} (0x{code:02x})"


@dataclass(frozen=True, slots=True)
class Properties:
    """The properties that this client acts on."""

    subscription_ids: tuple[int, ...] = ()
    response_topic: str = ""
    correlation: bytes = b""
    receive_maximum: int = 65_535
    maximum_packet: int = 268_435_460
    server_keep_alive_s: int = -1
    subscription_ids_available: bool = True
    reason_string: str = ""
    constant: bool = True  # whether every message with these bytes can share one decoded head


NO_PROPERTIES = Properties()


@dataclass(frozen=True, slots=True)
class Connack:
    """The broker's answer to CONNECT."""

    session_present: bool
    code: int
    properties: Properties


def varint(value: int) -> bytes:
    """Encode a variable byte integer (1.5.5)."""
    if value < 128:
        return bytes((value,))
    out = bytearray()
    while value >= 128:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes | bytearray | memoryview, at: int, end: int) -> tuple[int, int]:
    """Return (value, next offset), or (-1, at) when `end` cuts it short.

    Raises:
        MalformedPacket: longer than four bytes.
    """
    value = shift = 0
    for i in range(at, min(at + 4, end)):
        byte = data[i]
        value |= (byte & 0x7F) << shift
        if byte < 128:
            return value, i + 1
        shift += 7
    if end - at >= 4:
        raise MalformedPacket("a variable byte integer over four bytes")
    return -1, at


def text(value: str) -> bytes:
    """Encode a UTF-8 string with its length (1.5.4)."""
    return binary(value.encode())


def binary(value: bytes) -> bytes:
    """Encode binary data with its length (1.5.6)."""
    if len(value) > 65_535:
        raise ValueError(f"{len(value)} bytes do not fit a field of 65535")
    return len(value).to_bytes(2, "big") + value


def topic_bytes(topic: str) -> bytes:
    """Encode a topic's name as PUBLISH carries it.

    Raises:
        ValueError: empty, too long, or with a wildcard or NUL.
    """
    if not topic or "+" in topic or "#" in topic or "\0" in topic:
        raise ValueError(f"{topic!r} is not a topic's name; a name is not empty and has no wildcard")
    return text(topic)


def connect(
    client_id: str, username: str, password: str, will: Will | None, keepalive_s: int, session_expiry_s: int,
    maximum_packet: int,
) -> bytes:  # fmt: skip
    """Encode CONNECT (3.1). Clean Start is set when no session shall outlive the connection."""
    flags = 0 if session_expiry_s else 0x02
    payload = [text(client_id)]
    if will:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        payload += [b"\0", topic_bytes(will.topic), binary(will.payload)]
    if username:
        flags |= 0x80
        payload.append(text(username))
    if password:
        flags |= 0x40
        payload.append(text(password))
    properties = struct.pack(">BIBI", _SESSION_EXPIRY, session_expiry_s, _MAXIMUM_PACKET, maximum_packet)
    head = b"\0\x04MQTT\x05" + struct.pack(">BH", flags, keepalive_s) + varint(len(properties)) + properties
    body = head + b"".join(payload)
    return bytes((_CONNECT,)) + varint(len(body)) + body


def subscribe(pid: int, topic_filter: str, qos: int, subscription_id: int) -> bytes:
    """Encode SUBSCRIBE (3.8); `subscription_id` 0 means none."""
    properties = bytes((_SUBSCRIPTION_ID,)) + varint(subscription_id) if subscription_id else b""
    body = pid.to_bytes(2, "big") + varint(len(properties)) + properties + text(topic_filter) + bytes((qos,))
    return bytes((_SUBSCRIBE,)) + varint(len(body)) + body


def request_properties(response_topic: str, correlation: bytes, expiry_s: int = 0) -> bytes:
    """Encode the properties of a PUBLISH, without their length."""
    out = b""
    if expiry_s:
        out += struct.pack(">BI", _MESSAGE_EXPIRY, expiry_s)
    if response_topic:
        out += bytes((_RESPONSE_TOPIC,)) + text(response_topic)
    if correlation:
        out += bytes((_CORRELATION,)) + binary(correlation)
    return out


def publish_head(topic: bytes, size: int, qos: int, retain: bool, dup: bool, pid: int, properties: bytes) -> bytes:
    """Encode PUBLISH (3.3) up to its payload of `size` bytes; `topic` as of `topic_bytes`."""
    first = PUBLISH | dup << 3 | qos << 1 | retain
    properties = varint(len(properties)) + properties if properties else b"\0"
    if qos:
        properties = pid.to_bytes(2, "big") + properties
    rest = len(topic) + len(properties) + size
    if 128 <= rest < 16_384:  # nearly all
        return bytes((first, rest & 0x7F | 0x80, rest >> 7)) + topic + properties
    return bytes((first,)) + varint(rest) + topic + properties


def puback(pid: int) -> bytes:
    """Encode PUBACK (3.4), success."""
    return b"\x40\x02" + pid.to_bytes(2, "big")


def frame(data: bytes | bytearray | memoryview, start: int, end: int, limit: int) -> tuple[int, int]:
    """Return (offset of the body, offset after the packet) of the packet at `start`; (0, 0) when its head is cut short.

    The body itself may not have arrived yet: compare the second value with `end`.

    Raises:
        MalformedPacket: a bad length, or a packet over `limit` bytes.
    """
    if end - start < 2:
        return 0, 0
    length = data[start + 1]
    if length < 128:
        return start + 2, start + 2 + length
    length, body = read_varint(data, start + 1, end)
    if length < 0:
        return 0, 0
    if length > limit:
        raise MalformedPacket(f"a packet of {length} bytes, the limit is {limit}")
    return body, body + length


def connack(body: memoryview) -> Connack:
    """Decode the body of CONNACK (3.2)."""
    if len(body) < 2:
        raise MalformedPacket("CONNACK cut short")
    return Connack(bool(body[0] & 1), body[1], properties(body, 2))


def acknowledgement(body: memoryview) -> tuple[int, int]:
    """Decode the body of PUBACK (3.4): (packet id, reason code)."""
    if len(body) < 2:
        raise MalformedPacket("PUBACK cut short")
    return body[0] << 8 | body[1], body[2] if len(body) > 2 else 0


def suback(body: memoryview) -> tuple[int, int]:
    """Decode the body of SUBACK (3.9) for one filter: (packet id, reason code)."""
    length, at = read_varint(body, 2, len(body))
    if length < 0 or at + length != len(body) - 1:
        raise MalformedPacket("SUBACK of a wrong length")
    return body[0] << 8 | body[1], body[-1]


def disconnect(body: memoryview) -> tuple[int, str]:
    """Decode the body of DISCONNECT (3.14): (reason code, reason string)."""
    if not len(body):
        return 0, ""
    return body[0], properties(body, 1).reason_string if len(body) > 1 else ""


def properties(data: memoryview, at: int) -> Properties:
    """Decode the properties from their length at `at` to their end.

    Raises:
        MalformedPacket: cut short, or an identifier that MQTT 5 does not have.
    """
    length, at = read_varint(data, at, len(data))
    if length < 0 or at + length > len(data):
        raise MalformedPacket("properties cut short")
    if not length:
        return NO_PROPERTIES
    found: dict[int, bytes] = {}
    ids: list[int] = []
    end = at + length
    while at < end:
        at = _property(data, at, end, found, ids)
    return _known(found, tuple(ids))


def _property(data: memoryview, at: int, end: int, found: dict[int, bytes], ids: list[int]) -> int:
    """Read one property into `found` or `ids`; return the offset after it."""
    key, at = data[at], at + 1
    if key == _SUBSCRIPTION_ID:
        value, stop = read_varint(data, at, end)
        if value < 1:
            raise MalformedPacket("a subscription identifier of 0 or cut short")
        ids.append(value)
        return stop
    if key in _FIXED:
        stop = at + _FIXED[key]
    elif key in _STRINGS or key in _BINARY:
        at, stop = _field(data, at, end)
    elif key == _USER:
        _, at = _field(data, at, end)
        at, stop = _field(data, at, end)
    else:
        raise MalformedPacket(f"property 0x{key:02x} does not exist")
    if stop > end:
        raise MalformedPacket("a property cut short")
    found[key] = bytes(data[at:stop])
    return stop


def _field(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """Return the offsets of a length-prefixed field's content."""
    if at + 2 > end:
        raise MalformedPacket("a field cut short")
    stop = at + 2 + (data[at] << 8 | data[at + 1])
    if stop > end:
        raise MalformedPacket("a field cut short")
    return at + 2, stop


def _known(found: dict[int, bytes], ids: tuple[int, ...]) -> Properties:
    def number(key: int, default: int) -> int:
        return int.from_bytes(found[key], "big") if key in found else default

    return Properties(
        subscription_ids=ids,
        response_topic=decoded(found.get(_RESPONSE_TOPIC, b"")),
        correlation=found.get(_CORRELATION, b""),
        receive_maximum=number(_RECEIVE_MAXIMUM, 65_535) or 1,
        maximum_packet=number(_MAXIMUM_PACKET, 268_435_460),
        server_keep_alive_s=number(_SERVER_KEEP_ALIVE, -1),
        subscription_ids_available=bool(number(_SUBSCRIPTION_ID_AVAILABLE, 1)),
        reason_string=decoded(found.get(_REASON_STRING, b"")),
        constant=not found,
    )


def decoded(data: bytes) -> str:
    """Decode UTF-8.

    Raises:
        MalformedPacket: not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedPacket("a string that is not UTF-8") from None
