"""The loopback lane: an MQTT 5 client on asyncio's BufferedProtocol, made for uvloop.

`HotLink` parses in place: the socket is read into one growing buffer, a payload is a view into it, and the head of a
PUBLISH that came before is found in a cache by its bytes. What a callback sends leaves in one write.
tests/bench/bus.py measures it beside a raw TCP echo.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Protocol, cast

from bus import BusStats
from bus import packets as wire
from bus.outbox import LAST_PID, Outgoing
from bus.routes import Head, Route, Routes
from bus.session import Session
from schemas.errors import BusDisconnected, BusRefused

MAXIMUM_PACKET = 4_194_304  # told to the broker; bounds the read buffer
_READ = 65_536
_UNSENT_LIMIT = 4_194_304  # bytes that may wait for a slow broker before QoS 0 is dropped
_CACHE_LIMIT = 8_192
CLOSE_S = 1.0


class _Owner(Protocol):
    """What a link tells its session."""

    routes: Routes
    names: dict[str, bytes]

    @property
    def stats(self) -> BusStats: ...

    def acknowledged(self, pid: int, code: int) -> None: ...

    def unrouted(
        self, head: Head, payload: bytes | memoryview, retained: bool, pid: int, ack: Callable[[int], None]
    ) -> bool: ...


class HotLink(asyncio.BufferedProtocol):
    """One connection, in MQTT 5; bus/hot311.py is the one in MQTT 3.1.1."""

    encode_connect = staticmethod(wire.connect)
    _encode_subscribe = staticmethod(wire.subscribe)
    _decode_connack = staticmethod(wire.connack)
    _decode_suback = staticmethod(wire.suback)

    def __init__(self, owner: _Owner) -> None:
        """Wait for `connection_made`."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._owner, self._routes, self._stats = owner, owner.routes, owner.stats
        self.closed: asyncio.Future[str] = loop.create_future()
        self.connack: asyncio.Future[wire.Connack] = loop.create_future()
        self.session_present, self.receive_maximum, self._maximum_packet = False, 1, 0
        self._buffer = memoryview(bytearray(4 * _READ))
        self._start = self._end = self._need = 0
        self._heads: dict[bytes, tuple[Head, tuple[Route, ...]]] = {}
        self._heads_version = -1
        self._out: list[bytes] = []
        self._unsent = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._subscribing: dict[int, asyncio.Future[int]] = {}
        self._last_subscribe = LAST_PID
        self._heard = True
        self._tick: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    # --- the connection -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket up."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.sock: socket.socket = transport.get_extra_info("socket")
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(high=_UNSENT_LIMIT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everyone who waits for this connection."""
        self._transport = None
        self._writable.set()
        if self._tick:
            self._tick.cancel()
        self._fail(str(exc) if exc else "the broker closed the connection")
        lost = BusDisconnected(f"the connection ended: {self.closed.result()}")
        pending: list[asyncio.Future[wire.Connack] | asyncio.Future[int]] = [self.connack, *self._subscribing.values()]
        for waiting in pending:
            if not waiting.done():
                waiting.set_exception(lost)
                waiting.exception()  # retrieved, in case nobody waits any more

    def pause_writing(self) -> None:
        """Stop QoS 0: the broker does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    async def start(self, connect: bytes, keepalive_s: int, timeout_s: float) -> wire.Connack:
        """Send CONNECT, and return the broker's word."""
        self._write(connect)
        async with asyncio.timeout(timeout_s):
            answer = await self.connack
        told = answer.properties
        self.session_present, self._maximum_packet = answer.session_present, told.maximum_packet
        self.receive_maximum = told.receive_maximum
        if told.server_keep_alive_s >= 0:
            keepalive_s = told.server_keep_alive_s
        if keepalive_s:
            self._tick = self._loop.call_later(keepalive_s / 2, self._beat, keepalive_s / 2)
        return answer

    def _beat(self, period_s: float) -> None:
        """Ping; give up when nothing at all came since the last one."""
        if not self._heard:
            self._fail(f"the broker was silent for {period_s:g} s after a ping")
            return
        self._heard = False
        self._write(wire.PINGREQ)
        self._tick = self._loop.call_later(period_s, self._beat, period_s)

    def _fail(self, why: str) -> None:
        """End the connection at once."""
        if not self.closed.done():
            self.closed.set_result(why)
        if self._transport:
            self._transport.abort()

    async def drain(self) -> None:
        """Wait until everything is handed to the operating system."""
        self.flush()
        if self._transport:
            self._transport.set_write_buffer_limits(high=0)
        await self._writable.wait()

    async def close(self, *, goodbye: bool) -> None:
        """End the connection, bounded by 1 s."""
        if self._transport and goodbye:
            self._write(wire.GOODBYE)
            self.flush()
            self._transport.close()
            await asyncio.wait([self.closed], timeout=CLOSE_S)
        self._fail("closed")

    # --- out ----------------------------------------------------------------------------------------------------

    def publish_now(self, topic: str, payload: bytes, retain: bool, response_topic: str, correlation: bytes) -> bool:
        """Send with QoS 0."""
        if not self._writable.is_set():
            return False
        properties = b""
        if response_topic or correlation:
            properties = wire.request_properties(response_topic, correlation)
        return self._publish(topic, payload, 0, retain, False, 0, properties)

    def publish(self, message: Outgoing, again: bool) -> bool:
        """Send with QoS 1."""
        properties = b""
        if not message.plain:
            properties = wire.request_properties(message.response_topic, message.correlation, message.expiry_s)
        return self._publish(message.topic, message.payload, 1, message.retain, again, message.pid, properties)

    def _publish(
        self, topic: str, payload: bytes, qos: int, retain: bool, dup: bool, pid: int, properties: bytes
    ) -> bool:
        name = self._owner.names.get(topic) or wire.topic_bytes(topic)
        head = wire.publish_head(name, len(payload), qos, retain, dup, pid, properties)
        if len(head) + len(payload) > self._maximum_packet:
            return False
        self._write(head + payload if len(payload) < 4_096 else head, payload if len(payload) >= 4_096 else b"")
        return True

    def _write(self, data: bytes, more: bytes = b"") -> None:
        """Send at the end of this turn of the loop, together with what else it brings."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)
        self._unsent += len(data)
        if more:
            self._out.append(more)
            self._unsent += len(more)
        if self._unsent >= _UNSENT_LIMIT // 4:
            self.flush()

    def flush(self) -> None:
        """Hand what waits to the transport, which writes it when this turn's callbacks are done."""
        out, self._out = self._out, []
        self._stats.bytes_out += self._unsent
        self._unsent = 0
        if out and self._transport:
            if len(out) == 1:
                self._transport.write(out[0])
            else:
                self._transport.writelines(out)

    def _acknowledge(self, pid: int) -> None:
        if self._transport:
            self._write(wire.puback(pid))

    async def subscribe(self, topic_filter: str, qos: int, identifier: int) -> None:
        """Subscribe; see `Link`."""
        if self.closed.done():
            raise BusDisconnected(f"the connection ended: {self.closed.result()}")
        pid = self._last_subscribe = (
            self._last_subscribe % 65_535 + 1 if self._last_subscribe < 65_535 else LAST_PID + 1
        )
        answer: asyncio.Future[int] = self._loop.create_future()
        self._subscribing[pid] = answer
        ids = self.connack.result().properties.subscription_ids_available
        self._write(self._encode_subscribe(pid, topic_filter, qos, identifier if ids else 0))
        try:
            code = await answer
        finally:
            self._subscribing.pop(pid, None)
        if code >= 0x80:
            raise BusRefused(f"subscription {topic_filter} was refused: {wire.reason(code)}; check the ACL")

    # --- in -----------------------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give room for what comes next: at least 64 KiB, or the rest of the packet that has begun."""
        size = len(self._buffer)
        waiting = self._end - self._start
        if size - self._end < _READ or self._start + self._need > size:
            room = max(self._need, waiting + _READ)
            target = self._buffer if room <= size else memoryview(bytearray(max(room, 2 * size)))
            target[:waiting] = self._buffer[self._start : self._end]
            self._buffer, self._start, self._end = target, 0, waiting
        return self._buffer[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take every whole packet out of the buffer."""
        now = time.monotonic_ns()
        self._heard = True
        self._stats.bytes_in += nbytes
        self._end += nbytes
        buffer, end = self._buffer, self._end
        try:
            while True:
                body, stop = wire.frame(buffer, self._start, end, MAXIMUM_PACKET)
                if not body or stop > end:
                    self._need = stop - self._start if body else 0
                    break
                first = buffer[self._start]
                self._start = stop
                if first & 0xF0 == wire.PUBLISH:
                    self._receive(first, body, stop, now)
                elif first == wire.PUBACK and stop - body == 2:  # two for each result: no view, no reason code
                    self._owner.acknowledged(buffer[body] << 8 | buffer[body + 1], 0)
                else:
                    self._control(first, buffer[body:stop])
                if self._transport is None or self.closed.done():
                    return
        except wire.MalformedPacket as error:
            self._fail(f"the broker broke the protocol: {error}")
        if self._start == self._end:
            self._start = self._end = 0

    def _receive(self, first: int, body: int, stop: int, now: int) -> None:
        buffer = self._buffer
        if stop - body < 3:
            raise wire.MalformedPacket("PUBLISH cut short")
        topic_end = at = body + 2 + (buffer[body] << 8 | buffer[body + 1])
        pid = 0
        if first & 0x06:
            at += 2
            if first & 0x04 or at >= stop:
                raise wire.MalformedPacket("PUBLISH with QoS 2 or cut short")
            pid = buffer[topic_end] << 8 | buffer[topic_end + 1]
        if at >= stop:
            raise wire.MalformedPacket("PUBLISH cut short")
        length, payload_at = (buffer[at], at + 1) if buffer[at] < 128 else wire.read_varint(buffer, at, stop)
        payload_at += length
        if length < 0 or payload_at > stop:
            raise wire.MalformedPacket("PUBLISH cut short")
        key = bytes(buffer[body:topic_end]) + bytes(buffer[at:payload_at])
        if self._heads_version != self._routes.version:
            self._heads.clear()
            self._heads_version = self._routes.version
        known = self._heads.get(key)
        head, routes = known or self._head(key, body, topic_end, at, payload_at)
        retained = bool(first & 1)
        payload = buffer[payload_at:stop]
        if routes:
            settled = self._routes.call(routes, head, payload, now, retained, pid, self._acknowledge)
        else:
            settled = self._owner.unrouted(head, payload, retained, pid, self._acknowledge)
        if pid and settled:
            self._acknowledge(pid)

    def _head(self, key: bytes, body: int, topic_end: int, at: int, payload_at: int) -> tuple[Head, tuple[Route, ...]]:
        """Decode what `key` stands for, and keep it if each message with this key says the same."""
        topic = wire.decoded(bytes(self._buffer[body + 2 : topic_end]))
        told = wire.properties(self._buffer[:payload_at], at)
        head = Head(topic, told.subscription_ids, told.response_topic, told.correlation)
        found = head, self._routes.find(topic, told.subscription_ids)
        if told.constant:
            if len(self._heads) >= _CACHE_LIMIT:  # topics are made by others: bounded
                self._heads.clear()
            self._heads[key] = found
        return found

    def _control(self, first: int, body: memoryview) -> None:
        kind = first & 0xF0
        if kind == wire.PUBACK:
            self._owner.acknowledged(*wire.acknowledgement(body))
        elif kind == wire.SUBACK:
            pid, code = self._decode_suback(body)
            waiting = self._subscribing.get(pid)
            if waiting and not waiting.done():
                waiting.set_result(code)
        elif kind == wire.CONNACK and not self.connack.done():
            self.connack.set_result(self._decode_connack(body))
        elif kind == wire.DISCONNECT:
            code, text = wire.disconnect(body)
            self._fail(f"the broker disconnected us: {text or wire.reason(code)}")
        elif kind != wire.PINGRESP:
            raise wire.MalformedPacket(f"packet type 0x{first:02x} is not for a client")


class HotBus(Session):
    """The `Bus` of the data path: a local broker over TCP or a unix socket, on uvloop or the stock loop.

    Raises ValueError for an address with TLS: that is `bus.client.ControlBus`.
    """

    async def _open(self) -> HotLink:
        if self.address.tls:
            raise BusRefused("HotBus is the loopback lane and speaks no TLS; use bus.client.ControlBus")
        link = self._new_link()
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await self._reach(link)
            connect = link.encode_connect(
                self.client_id, self.address.username, self.address.password, self.will, self.keepalive_s,
                self.session_expiry_s, MAXIMUM_PACKET,
            )  # fmt: skip
            answer = await link.start(connect, self.keepalive_s, self.connect_timeout_s)
        except BaseException as error:
            await link.close(goodbye=False)
            if isinstance(error, OSError | TimeoutError):
                raise BusDisconnected(f"no MQTT broker at {self.where}: {error or 'no answer'}") from error
            raise
        if answer.code:
            await link.close(goodbye=False)
            refused = BusRefused if answer.code in wire.PERMANENT else BusDisconnected
            text = answer.properties.reason_string or wire.reason(answer.code)
            raise refused(f"{self.where} refused {self.client_id}: {text}")
        return link

    def _new_link(self) -> HotLink:
        if self.address.mqtt == "5":
            return HotLink(self)
        from bus.hot311 import HotLink311  # a broker of last resort: seldom needed, and it imports us

        return HotLink311(self)

    async def _reach(self, link: HotLink) -> None:
        loop = asyncio.get_running_loop()
        if self.address.socket:
            await loop.create_unix_connection(lambda: link, self.address.socket)
        else:
            await loop.create_connection(lambda: link, self.address.host, self.address.port)
