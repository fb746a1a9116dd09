"""The one way in and out of MQTT: one `Bus`, two implementations, one conformance suite (tests/bus/).

`bus.client.ControlBus` (aiomqtt) serves the control plane and TLS; `bus.hot.HotBus` is the loopback lane on uvloop.
Both speak MQTT 5, set TCP_NODELAY, reconnect with backoff, subscribe again, and never block their caller. To a broker
that speaks MQTT 3.1.1 only (`Address.mqtt`; bus/amqtt.py) the contract holds but for what 3.1.1 can't say: see `Bus`.
Use the typed ends in `bus.typed`; this module is what lies below them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self

import msgspec

MqttVersion = Literal["5", "3.1.1"]


@dataclass(frozen=True)
class Tls:
    """Files of a TLS connection, PEM. With a certificate and its key of ours it is mutual."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Address:
    """Where a broker is and who we are to it. `socket` is the path of a unix socket and wins over host and port.

    `mqtt`: the version that the broker speaks. It is told, not found out: who starts a broker knows which one it is.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    socket: str = ""
    mqtt: MqttVersion = "5"


@dataclass(frozen=True)
class Will:
    """What the broker publishes when this connection ends without a goodbye."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


def _nothing() -> None:
    """Acknowledge nothing: the delivery is QoS 0, or was acknowledged by its bus."""


class Delivery(msgspec.Struct, gc=False):
    """A received message. `received_ns`: CLOCK_MONOTONIC. `payload` is valid only during the handler's call.

    Call `ack` once the message is safe, if the subscription was made with `manual_ack=True`.
    """

    topic: str
    payload: bytes | memoryview
    received_ns: int
    retained: bool = False
    response_topic: str = ""
    correlation: bytes = b""
    ack: Callable[[], None] = _nothing


Handler = Callable[[Delivery], None]


@dataclass(slots=True)
class BusStats:
    """Counters since the start of a bus.

    `dropped`: published without a connection, over the bound or larger than the broker takes. `refused`: QoS 1 that
    the broker acknowledged with an error. `unrouted`: received without a handler. Bytes are those on the socket: MQTT
    and TLS framing included.
    """

    published: int = 0
    received: int = 0
    dropped: int = 0
    refused: int = 0
    unrouted: int = 0
    handler_errors: int = 0
    connects: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


class Bus(Protocol):
    """A connection to a broker, used as an async context manager.

    Entering waits for the first connection and raises BusRefused at once when the broker says no, BusDisconnected
    when none came within `connect_timeout_s`. After that it reconnects by itself with backoff and jitter.

    Constructor arguments common to both: `address, client_id, *, will=None, session_expiry_s=0 (a session over 0 makes
    the broker keep QoS 1 messages while we are away), queue_limit=10_000, on_connection=None (called with True and
    False as the connection comes and goes), connect_timeout_s=10.0`.

    In MQTT 3.1.1 there are no response topics and no correlation data (BusRefused), no overlapping subscriptions on one
    bus (BusRefused: the copies that a broker may send can't be told apart), no reasons with an acknowledgement (what
    the broker forbids looks delivered), no known packet limit of the broker, and no end to a kept session.
    """

    @property
    def stats(self) -> BusStats:
        """Counters since the start."""
        ...

    async def __aenter__(self) -> Self:
        """Connect."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Send what is queued (bounded by 1 s) and disconnect with a goodbye: the will is not published."""
        ...

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        ...

    async def subscribe(self, topic_filter: str, qos: int, handler: Handler, *, manual_ack: bool = False) -> None:
        """Call `handler` on the loop for each message; kept over reconnects. A handler must not block or raise.

        Raises:
            BusRefused: the broker refused it, or in MQTT 3.1.1 it overlaps another subscription of this bus.
        """
        ...

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        response_topic: str = "",
        correlation: bytes = b"",
    ) -> bool:
        """Send without waiting. QoS 0 without a connection is dropped; QoS 1 is kept up to `queue_limit` and re-sent.

        Returns False when the message was dropped (and counted).

        Raises:
            ValueError: not a topic's name, or a QoS other than 0 and 1.
            BusRefused: a response topic or correlation data, in MQTT 3.1.1.
        """
        ...

    def flush(self) -> None:
        """Let what was published leave at the end of this callback, not of the loop's next turn."""
        ...

    async def deliver(self, topic: str, payload: bytes, *, retain: bool = False, timeout_s: float = 5.0) -> None:
        """Publish with QoS 1 and return when the broker has acknowledged it.

        Raises:
            BusDisconnected: not acknowledged within `timeout_s`.
        """
        ...

    async def request(self, topic: str, payload: bytes, *, reply_to: str, timeout_s: float = 5.0) -> Delivery:
        """Publish with MQTT 5 response topic `reply_to` and correlation data, and return the matching reply.

        Raises:
            RequestTimeout: no reply within `timeout_s`.
            BusRefused: MQTT 3.1.1 has no requests.
        """
        ...
