"""The loopback lane to a broker that speaks MQTT 3.1.1 only (amqtt): `HotLink` without properties.

`HotBus` chooses it when it connects, so that the lane of MQTT 5 asks nothing per message.
"""

from __future__ import annotations

from bus import packets as wire
from bus import packets311 as old
from bus.hot import HotLink
from bus.outbox import Outgoing
from bus.routes import Head


class HotLink311(HotLink):
    """One connection. Messages find their handlers by topic: there are no subscription identifiers."""

    encode_connect = staticmethod(old.connect)
    _encode_subscribe = staticmethod(old.subscribe)
    _decode_connack = staticmethod(old.connack)
    _decode_suback = staticmethod(old.suback)

    def publish_now(self, topic: str, payload: bytes, retain: bool, response_topic: str, correlation: bytes) -> bool:
        """Send with QoS 0; the session has refused what needs properties."""
        return self._writable.is_set() and self._publish(topic, payload, 0, retain, False, 0, b"")

    def publish(self, message: Outgoing, again: bool) -> bool:
        """Send with QoS 1."""
        return self._publish(message.topic, message.payload, 1, message.retain, again, message.pid, b"")

    def _publish(
        self, topic: str, payload: bytes, qos: int, retain: bool, dup: bool, pid: int, properties: bytes
    ) -> bool:
        name = self._owner.names.get(topic) or wire.topic_bytes(topic)
        self._write(old.publish_head(name, len(payload), qos, retain, dup, pid), payload)
        return True

    def _receive(self, first: int, body: int, stop: int, now: int) -> None:
        buffer = self._buffer
        if stop - body < 2:
            raise wire.MalformedPacket("PUBLISH cut short")
        topic_end = at = body + 2 + (buffer[body] << 8 | buffer[body + 1])
        pid = 0
        if first & 0x06:
            at += 2
            if first & 0x04 or at > stop:
                raise wire.MalformedPacket("PUBLISH with QoS 2 or cut short")
            pid = buffer[topic_end] << 8 | buffer[topic_end + 1]
        if at > stop:
            raise wire.MalformedPacket("PUBLISH cut short")
        topic = wire.decoded(bytes(buffer[body + 2 : topic_end]))
        head, payload, retained = Head(topic), buffer[at:stop], bool(first & 1)
        if routes := self._routes.find(topic, ()):
            settled = self._routes.call(routes, head, payload, now, retained, pid, self._acknowledge)
        else:
            settled = self._owner.unrouted(head, payload, retained, pid, self._acknowledge)
        if pid and settled:
            self._acknowledge(pid)
