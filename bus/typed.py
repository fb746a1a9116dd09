"""The typed ends of a bus: a Publisher stamps, limits and encodes; a Reader decodes and counts gaps.

Both take their limits from the row in `schemas.topics`. Neither raises for what the other side did wrong: it is
counted, and logged once per kind and topic, so that bad input can't stop a process or fill a disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from bus import Bus, Delivery
from bus.codec import decode, encode
from schemas.errors import CodecError, Oversized
from schemas.messages import Message
from schemas.topics import Place, Topic

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Message)


@dataclass(slots=True)
class TypedStats:
    """What happened at one typed end since its start."""

    messages: int = 0
    gaps: int = 0
    repeats: int = 0
    bad: int = 0
    limited: int = 0
    dropped: int = 0


class RateLimit:
    """A token bucket of `max_hz` with a burst of one second's worth, at least `burst`."""

    def __init__(self, max_hz: float, burst: float = 5.0, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Start full."""
        self._rate = max_hz / 1e9
        self._size = max(max_hz, burst)
        self._tokens = self._size
        self._clock = clock
        self._last = clock()

    def take(self) -> bool:
        """Return whether one more message is within the limit."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._last) * self._rate)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Publisher(Generic[M]):
    """Publishes one row's messages under one topic name; epoch is its start, seq counts from 1."""

    def __init__(self, bus: Bus, topic: Topic, kind: type[M], place: Place, /, **fields: str) -> None:
        """Build the name once."""
        if kind not in topic.messages:
            raise TypeError(f"{topic.key} does not carry {kind.__name__}; see schemas/topics.py")
        self.topic = topic
        self.name = topic.name(place, **fields)
        self.epoch = time.time_ns()
        self.stats = TypedStats()
        self._bus = bus
        self._seq = 0
        self._limit = RateLimit(topic.max_hz)

    def send(self, message: M) -> bool:
        """Stamp, encode and publish without waiting; return False if it was dropped (and counted).

        Raises:
            Oversized: the message is over the row's `max_bytes`: a fault of the caller.
        """
        if not self._limit.take():
            self.stats.limited += 1
            return False
        payload = self._stamped(message)
        if self._bus.publish(self.name, payload, qos=self.topic.qos, retain=self.topic.retain):
            self.stats.messages += 1
            return True
        self.stats.dropped += 1
        return False

    async def deliver(self, message: M, timeout_s: float = 5.0) -> None:
        """Stamp, encode and publish; return when the broker has acknowledged it (see `Bus.deliver`)."""
        payload = self._stamped(message)
        await self._bus.deliver(self.name, payload, retain=self.topic.retain, timeout_s=timeout_s)
        self.stats.messages += 1

    def _stamped(self, message: M) -> bytes:
        self._seq += 1
        msgspec.structs.force_setattr(message, "epoch", self.epoch)
        msgspec.structs.force_setattr(message, "seq", self._seq)
        return encode(self.topic, message)


@dataclass(slots=True)
class _Source:
    epoch: int = 0
    seq: int = 0


@dataclass
class Reader(Generic[M]):
    """Decodes one row's messages for `handler(message, delivery)` and counts gaps per topic name.

    A repeat (same epoch, seq not above the last) is passed on and counted: QoS 1 delivers at least once, and who must
    not count twice deduplicates by id.
    """

    topic: Topic
    kind: type[M]
    handler: Callable[[M, Delivery], None]
    unread: Callable[[CodecError, Delivery], None] | None = None  # for who answers what it can't read
    stats: TypedStats = field(default_factory=TypedStats)
    _sources: dict[str, _Source] = field(default_factory=dict[str, _Source])
    _said: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    async def attach(self, bus: Bus, place: Place | None = None, *, manual_ack: bool = False, **fields: str) -> None:
        """Subscribe on `bus`; fields that are not given match every value."""
        await bus.subscribe(self.topic.filter(place, **fields), self.topic.qos, self.take, manual_ack=manual_ack)

    def take(self, delivery: Delivery) -> None:
        """Decode, count and pass on one delivery; bad ones are counted, acknowledged and logged once per kind."""
        if not delivery.payload:  # an empty retained message clears a topic
            delivery.ack()
            return
        try:
            message = decode(self.topic, self.kind, delivery.payload)
        except CodecError as error:
            self.stats.bad += 1
            self._say_once(delivery.topic, error)
            if self.unread is not None:
                self.unread(error, delivery)
            delivery.ack()
            return
        self.stats.messages += 1
        if not delivery.retained:
            self._count(delivery.topic, message)
        self.handler(message, delivery)

    def _count(self, name: str, message: M) -> None:
        source = self._sources.get(name)
        if source is None:
            source = self._sources[name] = _Source()
        if message.epoch == source.epoch:
            if message.seq <= source.seq:
                self.stats.repeats += 1
                return
            self.stats.gaps += message.seq - source.seq - 1
        elif message.epoch > source.epoch > 0:  # its publisher was started again, and we were here all the while
            self.stats.gaps += message.seq - 1
        source.epoch, source.seq = message.epoch, message.seq

    def _say_once(self, name: str, error: CodecError) -> None:
        kind = (name, type(error).__name__)
        if kind not in self._said and len(self._said) < 256:
            self._said.add(kind)
            level = logging.INFO if isinstance(error, Oversized) else logging.WARNING
            log.log(level, "%s: not read, dropped and counted from now on: %s", name, error)
