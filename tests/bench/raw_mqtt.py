"""The fastest client that Python has: one blocking socket, QoS 0, heads made once. Benchmarks measure by it."""

import socket
import time
from collections.abc import Iterator

from bus import Address
from bus import packets as wire

MAXIMUM_PACKET = 1 << 22


class RawMqtt:
    """A connection that publishes under one name and reads what it has subscribed to."""

    def __init__(self, address: Address, client_id: str) -> None:
        """Connect and wait for the broker's word."""
        if address.socket:
            self.link = socket.socket(socket.AF_UNIX)
            self.link.connect(address.socket)
        else:
            self.link = socket.create_connection((address.host, address.port))
            self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.link.sendall(wire.connect(client_id, address.username, address.password, None, 0, 0, MAXIMUM_PACKET))
        if wire.connack(memoryview(self._packet())).code:
            raise ConnectionError(f"{client_id} was refused")

    def subscribe(self, topic_filter: str) -> None:
        """Subscribe with QoS 0."""
        self.link.sendall(wire.subscribe(1, topic_filter, 0, 0))
        self._packet()

    def publisher(self, topic: str, size: int) -> bytes:
        """Return the head of a message of `size` bytes; send `head + payload` on `link`."""
        return wire.publish_head(wire.topic_bytes(topic), size, 0, False, False, 0, b"")

    def ping(self) -> None:
        """Show the broker that we live."""
        self.link.sendall(b"\xc0\x00")

    def messages(self, until_s: float) -> Iterator[tuple[int, bytes]]:
        """Yield (CLOCK_MONOTONIC in ns when it was there, packet's body) until `until_s` of time.monotonic.

        Who ends the iteration early loses what came in the same read.
        """
        while time.monotonic() < until_s:
            yield from self.read(until_s)

    def read(self, until_s: float) -> list[tuple[int, bytes]]:
        """Return the next messages, all that one read brings; none only at `until_s`."""
        found: list[tuple[int, bytes]] = []
        while not found and (left_s := until_s - time.monotonic()) > 0:
            self.link.settimeout(left_s)
            try:
                data = self.link.recv(1 << 18)
            except TimeoutError:
                break
            if not data:
                raise ConnectionError("the broker closed the connection")
            self._buffer += data
            found = self._whole()
        return found

    def _whole(self) -> list[tuple[int, bytes]]:
        """Take the whole packets out of the buffer."""
        now_ns = time.monotonic_ns()
        found, at = [], 0
        while True:
            body, stop = wire.frame(self._buffer, at, len(self._buffer), MAXIMUM_PACKET)
            if not body or stop > len(self._buffer):
                break
            if self._buffer[at] & 0xF0 == wire.PUBLISH:
                found.append((now_ns, bytes(self._buffer[body:stop])))
            at = stop
        del self._buffer[:at]
        return found

    def _packet(self) -> bytes:
        """Return the body of the next packet."""
        while True:
            body, stop = wire.frame(self._buffer, 0, len(self._buffer), MAXIMUM_PACKET)
            if body and stop <= len(self._buffer):
                found = bytes(self._buffer[body:stop])
                del self._buffer[:stop]
                return found
            data = self.link.recv(1 << 16)
            if not data:
                raise ConnectionError("the broker closed the connection")
            self._buffer += data


def payload_of(body: bytes) -> bytes:
    """Return the payload of a QoS 0 PUBLISH's body."""
    at = 2 + (body[0] << 8 | body[1])
    length, at = wire.read_varint(body, at, len(body))
    return body[at + length :]
