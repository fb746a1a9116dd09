"""The control plane's bus: aiomqtt, with mutual TLS. The one file that imports aiomqtt and paho.

aiomqtt joins paho to the loop, connects and subscribes. What it does not offer is taken from the paho client below it
(`_client`, a private attribute of aiomqtt 2.x, hence the pin below 3): acknowledging by hand (`manual_ack_set`, `ack`),
the reason code of a PUBACK, the broker's Receive Maximum, messages without a task each and an unbounded queue between,
and an end without a goodbye (`_sock_close`, private in paho).
"""

# pyright: reportPrivateUsage=false
# (the reasons stand above)

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
import time
from typing import TypedDict

import aiomqtt
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bus import BusStats, MqttVersion, Tls, Will
from bus.outbox import Outgoing
from bus.packets import PERMANENT, reason
from bus.packets311 import WINDOW
from bus.routes import Head
from bus.session import Session
from schemas.errors import BusDisconnected, BusRefused

MAXIMUM_PACKET = 4_194_304
_UNSENT_LIMIT = 4_194_304  # bytes of QoS 0 that may wait for a slow broker
_UNLIMITED = 268_435_460
CLOSE_S = 1.0
_NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
_PAHO_LOG = logging.getLogger("bus.client.paho")
_PAHO_LOG.setLevel(logging.CRITICAL)  # what it logs reaches us as a result or an end of the connection


class PahoLink:
    """One connection: one aiomqtt client, used once, so that nothing of an old connection is left in paho."""

    def __init__(self, bus: ControlBus, client: aiomqtt.Client) -> None:
        """Put our callbacks in front of aiomqtt's."""
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.session_present, self.receive_maximum = False, 1
        self._maximum_packet = _UNLIMITED
        self._bus, self._client = bus, client
        self._paho: Paho = client._client
        self._pids: dict[int, int] = {}  # paho's message id -> ours
        self._unsent: dict[int, int] = {}  # QoS 0: message id -> bytes
        self._unsent_bytes = 0
        self._watch: asyncio.Task[None] | None = None
        self._paho.manual_ack_set(True)
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_socket_close = self._on_socket_close
        self._paho.on_message = self._on_message
        self._paho.on_publish = self._on_publish

    @property
    def sock(self) -> socket.socket | None:
        """The connection's socket, for its options and its byte counts."""
        found = self._paho.socket()
        return found if isinstance(found, socket.socket) else None

    # --- the connection -----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect.

        Raises:
            BusRefused, BusDisconnected: see `Session`.
        """
        try:
            await self._client.__aenter__()
        except aiomqtt.MqttCodeError as error:
            code = error.rc.value if isinstance(error.rc, ReasonCode) else 0x80
            refused = BusRefused if code in PERMANENT else BusDisconnected
            who = self._bus.address.username or self._bus.client_id
            raise refused(f"{self._bus.where} refused {who}: {reason(code)}") from error
        except (aiomqtt.MqttError, OSError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):  # aiomqtt keeps the text only
                raise BusRefused(f"the certificate of {self._bus.where} is not signed by our CA: {error}") from error
            raise BusDisconnected(f"no MQTT broker at {self._bus.where}: {error}") from error
        self._watch = asyncio.create_task(self._watch_end(), name=f"bus {self._bus.client_id} connection")

    def _on_connect(
        self, client: Paho, data: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self.session_present = flags.session_present
        window = 65_535 if self._bus.address.mqtt == "5" else WINDOW
        self.receive_maximum = getattr(properties, "ReceiveMaximum", window)
        self._maximum_packet = getattr(properties, "MaximumPacketSize", _UNLIMITED)
        self._client._on_connect(client, data, flags, code, properties)

    def _on_disconnect(
        self, client: Paho, data: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        """Note the end. aiomqtt forgets one in the same segment as CONNACK, and waits on after one before it."""
        if not self.closed.done():
            self.closed.set_result(str(code))
        if not self._client._connected.done():
            hint = "; it may not accept our certificate" if self._bus.address.tls else ""
            self._client._connected.set_exception(aiomqtt.MqttError(f"it ended the connection unanswered{hint}"))
        elif not code.is_failure:
            self._client._on_disconnect(client, data, flags, code, properties)

    async def _watch_end(self) -> None:
        """Wait for the end, which aiomqtt tells by its message iterator; messages themselves go to `_on_message`."""
        why = "the broker closed the connection"
        try:
            async for _ in self._client.messages:
                pass
        except aiomqtt.MqttError as error:
            why = str(error.__cause__ or error)
        if not self.closed.done():
            self.closed.set_result(why)

    def flush(self) -> None:
        """Do nothing: paho writes when it is told to publish."""

    async def drain(self) -> None:
        """Do nothing: paho sends its DISCONNECT after all that is queued."""

    async def close(self, *, goodbye: bool) -> None:
        """End the connection, bounded by 1 s."""
        if goodbye:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._client.__aexit__(None, None, None)
        # paho drops a connection only by itself, and after bytes that it could not read not even then.
        self._paho._sock_close()
        if self._watch:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await asyncio.sleep(0)  # aiomqtt cancels its own task by call_soon
        await asyncio.sleep(0)
        if not self.closed.done():
            self.closed.set_result("closed")

    def _on_socket_close(self, client: Paho, data: object, sock: object) -> None:
        if isinstance(sock, socket.socket):
            self._bus.add_traffic(*traffic(sock))
            self._client._on_socket_close(client, data, sock)

    # --- out ----------------------------------------------------------------------------------------------------

    def publish_now(self, topic: str, payload: bytes, retain: bool, response_topic: str, correlation: bytes) -> bool:
        """Send with QoS 0."""
        size = len(topic) + len(payload)
        if self._unsent_bytes > _UNSENT_LIMIT or size + 16 > self._maximum_packet:
            return False
        info = self._paho.publish(topic, payload, 0, retain, _properties(response_topic, correlation, 0))
        if info.rc:
            return False
        if not info.is_published():
            self._unsent[info.mid] = size
            self._unsent_bytes += size
        return True

    def publish(self, message: Outgoing, again: bool) -> bool:
        """Send with QoS 1. paho chooses the packet id, so a message sent `again` is a new one to the broker."""
        if len(message.topic) + len(message.payload) + 32 > self._maximum_packet:
            return False
        properties = _properties(message.response_topic, message.correlation, message.expiry_s)
        info = self._paho.publish(message.topic, message.payload, 1, message.retain, properties)
        self._pids[info.mid] = message.pid
        return True

    def _on_publish(self, client: Paho, data: object, mid: int, code: ReasonCode, properties: Properties) -> None:
        self._unsent_bytes -= self._unsent.pop(mid, 0)
        pid = self._pids.pop(mid, 0)
        if pid:
            self._bus.acknowledged(pid, code.value)

    async def subscribe(self, topic_filter: str, qos: int, identifier: int) -> None:
        """Subscribe; see `Link`."""
        properties = None
        if self._bus.address.mqtt == "5":
            properties = _empty(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = identifier
        try:
            answers = await self._client.subscribe(topic_filter, qos=qos, properties=properties)
        except aiomqtt.MqttError as error:
            raise BusDisconnected(f"subscription {topic_filter}: {error}") from error
        code = answers[0].value if isinstance(answers[0], ReasonCode) else answers[0]
        if code >= 0x80:
            raise BusRefused(f"subscription {topic_filter} was refused: {reason(code)}; check the ACL")

    # --- in -----------------------------------------------------------------------------------------------------

    def _on_message(self, client: Paho, data: object, message: MQTTMessage) -> None:
        now = time.monotonic_ns()
        told = message.properties
        head = Head(
            message.topic,
            tuple(getattr(told, "SubscriptionIdentifier", ())),
            getattr(told, "ResponseTopic", ""),
            getattr(told, "CorrelationData", b""),
        )
        pid = message.mid if message.qos else 0
        payload = bytes(message.payload)
        routes = self._bus.routes.find(head.topic, head.subscription_ids)
        if routes:
            settled = self._bus.routes.call(routes, head, payload, now, message.retain, pid, self._acknowledge)
        else:
            settled = self._bus.unrouted(head, payload, message.retain, pid, self._acknowledge)
        if pid and settled:
            self._acknowledge(pid)

    def _acknowledge(self, pid: int) -> None:
        if not self.closed.done():
            self._paho.ack(pid, 1)


class ControlBus(Session):
    """The `Bus` of the control plane and of TLS: to the local broker, and from the uplink to the fleet's."""

    _received = _sent = 0

    @property
    def stats(self) -> BusStats:
        """Counters since the start; bytes as the kernel counts them on the socket, TLS and repeats included."""
        sock = self._link.sock if isinstance(self._link, PahoLink) else None
        received, sent = traffic(sock) if sock else (0, 0)
        self._stats.bytes_in, self._stats.bytes_out = self._received + received, self._sent + sent
        return self._stats

    def add_traffic(self, received: int, sent: int) -> None:
        """Count the bytes of a connection that ends."""
        self._received += received
        self._sent += sent

    async def _open(self) -> PahoLink:
        tls = await asyncio.to_thread(_tls_context, self.address.tls) if self.address.tls else None
        client = self._client(tls)
        link = PahoLink(self, client)
        opening = asyncio.create_task(link.open())
        try:
            await asyncio.shield(opening)
        except BaseException:
            # aiomqtt connects in a thread that can't be cancelled: wait for it (bounded by paho's connect timeout),
            # else it would leave an open socket behind.
            while not opening.done():
                if link.sock:
                    opening.cancel()
                await asyncio.wait([opening], timeout=0.02)
            await link.close(goodbye=False)
            raise
        return link

    def _client(self, tls: ssl.SSLContext | None) -> aiomqtt.Client:
        address = self.address
        client = aiomqtt.Client(
            address.socket or address.host,
            address.port,
            username=address.username or None,
            password=address.password or None,
            identifier=self.client_id,
            **_version(address.mqtt, self.session_expiry_s),
            will=_will(self.will),
            transport="unix" if address.socket else "tcp",
            timeout=self.connect_timeout_s,
            keepalive=self.keepalive_s,
            max_inflight_messages=65_535,  # our Outbox keeps the broker's window
            tls_context=tls,
            socket_options=() if address.socket else _NODELAY,
            logger=_PAHO_LOG,
        )
        client._client.connect_timeout = min(self.connect_timeout_s, 5.0)
        client.pending_calls_threshold = 10_000  # it warns of what our Outbox bounds
        return client


class _Version(TypedDict, total=False):
    """What `aiomqtt.Client` takes for one version of MQTT, and refuses for the other."""

    protocol: aiomqtt.ProtocolVersion
    clean_start: bool
    clean_session: bool
    properties: Properties


def _version(mqtt: MqttVersion, session_expiry_s: int) -> _Version:
    if mqtt != "5":
        return _Version(protocol=aiomqtt.ProtocolVersion.V311, clean_session=not session_expiry_s)
    properties = _empty(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = session_expiry_s
    properties.MaximumPacketSize = MAXIMUM_PACKET
    return _Version(protocol=aiomqtt.ProtocolVersion.V5, clean_start=not session_expiry_s, properties=properties)


def _will(will: Will | None) -> aiomqtt.Will | None:
    return aiomqtt.Will(will.topic, will.payload, will.qos, will.retain) if will else None


def _empty(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho's Properties has no annotations


def _properties(response_topic: str, correlation: bytes, expiry_s: int) -> Properties | None:
    if not (response_topic or correlation or expiry_s):
        return None
    properties = _empty(PacketTypes.PUBLISH)
    if response_topic:
        properties.ResponseTopic = response_topic
    if correlation:
        properties.CorrelationData = correlation
    if expiry_s:
        properties.MessageExpiryInterval = expiry_s
    return properties


class _TlsSocket(ssl.SSLSocket):
    """Closes itself when its handshake fails, which paho leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        """See `ssl.SSLSocket`."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Read the files anew for each connection: certificates are rotated while we run."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        context.sslsocket_class = _TlsSocket
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise BusRefused(
            f"TLS files {tls.ca}, {tls.certificate}, {tls.key}: {error}; check paths and rights"
        ) from error
    return context


def traffic(sock: socket.socket) -> tuple[int, int]:
    """Return the bytes that the kernel received and sent on a TCP connection (struct tcp_info, Linux 4.19)."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 208)
    except OSError:  # a unix socket, or already closed
        return 0, 0
    if len(info) < 208:
        return 0, 0
    return struct.unpack_from("=Q", info, 128)[0], struct.unpack_from("=Q", info, 200)[0]
