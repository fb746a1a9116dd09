"""MQTT 3.1.1 on the wire, where it differs from MQTT 5 (bus/packets.py): no properties, and refusals have other codes.

Section numbers are those of the OASIS standard MQTT Version 3.1.1 (29 October 2014).
"""

from __future__ import annotations

from bus import Will
from bus.packets import PUBLISH, Connack, MalformedPacket, Properties, binary, text, topic_bytes, varint

_CONNECT, _SUBSCRIBE = 0x10, 0x82
WINDOW = 20  # 3.1.1 knows no Receive Maximum; mosquitto's own default
TOLD = Properties(receive_maximum=WINDOW, subscription_ids_available=False)
# CONNACK's return codes (3.2.2.3) in the words of MQTT 5: version, client id, unavailable, password, authorisation.
_REASONS = {0: 0, 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}


def connect(
    client_id: str, username: str, password: str, will: Will | None, keepalive_s: int, session_expiry_s: int,
    maximum_packet: int = 0,
) -> bytes:  # fmt: skip
    """Encode CONNECT (3.1). Any session expiry asks for a session that is kept; its time can't be said."""
    del maximum_packet  # nor can this: the reader's own limit ends a connection that goes beyond it
    flags = 0 if session_expiry_s else 0x02
    payload = [text(client_id)]
    if will:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        payload += [topic_bytes(will.topic), binary(will.payload)]
    if username:
        flags |= 0x80
        payload.append(text(username))
    if password:
        flags |= 0x40
        payload.append(text(password))
    body = b"\0\x04MQTT\x04" + bytes((flags,)) + keepalive_s.to_bytes(2, "big") + b"".join(payload)
    return bytes((_CONNECT,)) + varint(len(body)) + body


def subscribe(pid: int, topic_filter: str, qos: int, subscription_id: int = 0) -> bytes:
    """Encode SUBSCRIBE (3.8) for one filter; there are no subscription identifiers."""
    del subscription_id
    body = pid.to_bytes(2, "big") + text(topic_filter) + bytes((qos,))
    return bytes((_SUBSCRIBE,)) + varint(len(body)) + body


def publish_head(topic: bytes, size: int, qos: int, retain: bool, dup: bool, pid: int) -> bytes:
    """Encode PUBLISH (3.3) up to its payload of `size` bytes; `topic` as of `topic_bytes`."""
    first = PUBLISH | dup << 3 | qos << 1 | retain
    packet_id = pid.to_bytes(2, "big") if qos else b""
    return bytes((first,)) + varint(len(topic) + len(packet_id) + size) + topic + packet_id


def connack(body: memoryview) -> Connack:
    """Decode the body of CONNACK (3.2), its code as MQTT 5 would say it."""
    if len(body) != 2:
        raise MalformedPacket("CONNACK of a wrong length")
    return Connack(bool(body[0] & 1), _REASONS.get(body[1], 0x80), TOLD)


def suback(body: memoryview) -> tuple[int, int]:
    """Decode the body of SUBACK (3.9) for one filter: (packet id, return code)."""
    if len(body) != 3:
        raise MalformedPacket("SUBACK of a wrong length")
    return body[0] << 8 | body[1], body[2]
