"""What both buses share: everything above one connection.

A `Session` keeps subscriptions, unacknowledged QoS 1 messages and waiting requests over reconnects. A `Link` is one
connection; `bus.hot` and `bus.client` each bring their own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Self

from bus import Address, Bus, BusStats, Delivery, Handler, Will
from bus.link import Backoff, Link
from bus.outbox import Outbox, Outgoing
from bus.packets import reason, topic_bytes
from bus.replies import Replies
from bus.routes import Head, Route, Routes, overlap
from schemas.errors import BusDisconnected, BusRefused, RequestTimeout

log = logging.getLogger(__name__)
FLUSH_S = 1.0
STABLE_S = 5.0  # a connection that lived this long was good: the next backoff starts small again
NAMES_LIMIT = 8_192
HELD_LIMIT = 65_535  # messages of a kept session that wait for their subscription: what a broker may have in flight


class Session(Bus):
    """A `Bus` over links that `_open` makes."""

    def __init__(
        self,
        address: Address,
        client_id: str,
        *,
        will: Will | None = None,
        session_expiry_s: int = 0,
        queue_limit: int = 10_000,
        on_connection: Callable[[bool], None] | None = None,
        connect_timeout_s: float = 10.0,
        keepalive_s: int = 10,
    ) -> None:
        """See `Bus`. A dead peer is noticed within about `keepalive_s`, twice that with ControlBus."""
        self.address, self.client_id, self.will = address, client_id, will
        self.session_expiry_s, self.keepalive_s = session_expiry_s, keepalive_s
        self.connect_timeout_s = connect_timeout_s
        self._stats = BusStats()
        self.routes = Routes(self._stats)
        self.names: dict[str, bytes] = {}  # topics that were published on, as PUBLISH carries them
        self._outbox = Outbox(queue_limit)
        self._replies = Replies()
        self._held: deque[tuple[Head, bytes, bool, int, Callable[[int], None]]] = deque()
        self._on_connection = on_connection
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._said = ""
        self._refused: set[str] = set()
        self._drained = asyncio.Event()

    @abstractmethod
    async def _open(self) -> Link:
        """Connect.

        Raises:
            BusRefused: the broker said no, and a retry can't mend it.
            BusDisconnected: there is no broker, or it can't take us now.
        """

    @property
    def stats(self) -> BusStats:
        """Counters since the start."""
        return self._stats

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._link is not None

    def __repr__(self) -> str:
        """Name the client and its broker, never a secret."""
        return f"<{type(self).__name__} {self.client_id} at {self.where}>"

    # --- life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect; see `Bus`."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(first), name=f"bus {self.client_id}")
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await first
        except TimeoutError:
            await self._stop()
            raise BusDisconnected(
                f"no MQTT broker at {self.where} within {self.connect_timeout_s:g} s ({self._said or 'no answer'});"
                " check that it runs and listens there"
            ) from None
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Send what is queued (bounded by 1 s) and disconnect with a goodbye: the will is not published."""
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._send_all()
        except TimeoutError:
            pass
        finally:
            await self._stop()

    async def _send_all(self) -> None:
        while self._link and len(self._outbox):
            self._drained.clear()
            await self._drained.wait()
        if self._link:
            await self._link.drain()

    async def _stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper:
            keeper.cancel()
            await asyncio.wait([keeper])
        self._stats.dropped += self._outbox.abandon(BusDisconnected(f"the bus to {self.where} was closed"))

    async def _keep(self, first: asyncio.Future[None]) -> None:
        """Connect, live, and connect again, until cancelled."""
        backoff = Backoff()
        while True:
            began = time.monotonic()
            try:
                await self._live(await self._open(), first)
            except BusRefused as error:
                if not first.done():
                    first.set_exception(error)
                    return
                self._say(logging.WARNING, str(error))
            except BusDisconnected as error:
                self._say(logging.INFO, str(error))
            except Exception:
                log.exception("%s: a fault of the bus itself; it connects again", self.client_id)
            if time.monotonic() - began > STABLE_S:
                backoff.reset()
            await asyncio.sleep(backoff.take())

    async def _live(self, link: Link, first: asyncio.Future[None]) -> None:
        """Restore what the session holds, stay until the connection ends, and leave nothing of it behind."""
        try:
            await self._subscribe_all(link)
            self._stats.connects += 1
            self._link, self._said = link, ""
            for message in self._outbox.resume(link.session_present, link.receive_maximum):
                link.publish(message, again=True)
            self._pump()
            log.info("%s: connected to %s", self.client_id, self.where)
            self._tell(True)
            if not first.done():
                first.set_result(None)
            await asyncio.wait([link.closed])
            raise BusDisconnected(f"lost {self.where}: {link.closed.result()}")
        finally:
            await link.close(goodbye=not link.closed.done())
            self._gone()

    async def _subscribe_all(self, link: Link) -> None:
        """Subscribe, also to what is added meanwhile; `connected` only after that."""
        done: set[tuple[str, int]] = set()
        while todo := [r for r in self.routes.filters() if (r.topic_filter, r.qos) not in done]:
            answers = await asyncio.gather(*(self._ask(link, r) for r in todo), return_exceptions=True)
            for answer in answers:
                if isinstance(answer, BusRefused):
                    log.warning("%s: %s", self.client_id, answer)
                elif isinstance(answer, BaseException):
                    raise answer
            done |= {(r.topic_filter, r.qos) for r in todo}

    async def _ask(self, link: Link, route: Route) -> None:
        """Subscribe. A broker that does not answer in time may answer pings for ever: the connection is given up.

        Raises:
            BusRefused, BusDisconnected: see `Link`.
        """
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                await link.subscribe(route.topic_filter, route.qos, route.identifier)
        except (TimeoutError, BusDisconnected) as error:
            if not link.closed.done():
                link.closed.set_result(f"no answer to a subscription within {self.connect_timeout_s:g} s")
            raise BusDisconnected(f"subscription {route.topic_filter}: {link.closed.result()}") from error

    def _gone(self) -> None:
        was, self._link = self._link, None
        self._held.clear()  # the broker sends them again
        self._drained.set()
        if was:
            self._tell(False)

    def _tell(self, connected: bool) -> None:
        if self._on_connection:
            try:
                self._on_connection(connected)
            except Exception:
                log.exception("%s: on_connection(%s) raised", self.client_id, connected)

    def _say(self, level: int, what: str) -> None:
        """Log a state, once as long as it lasts."""
        if what != self._said:
            self._said = what
            log.log(level, "%s: %s", self.client_id, what)

    @property
    def where(self) -> str:
        """The broker's address, for people."""
        return self.address.socket or f"{self.address.host}:{self.address.port}"

    # --- out ----------------------------------------------------------------------------------------------------

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
        """Send without waiting; see `Bus`."""
        if response_topic or correlation:
            self._need_properties(topic)
        if qos:
            if qos != 1:
                raise ValueError(f"QoS {qos} is not spoken here; use 0 or 1")
            return self._offer(Outgoing(topic, payload, retain, response_topic, correlation))
        if topic not in self.names:
            self._learn(topic)
        link = self._link
        if link is None or not link.publish_now(topic, payload, retain, response_topic, correlation):
            self._stats.dropped += 1
            return False
        self._stats.published += 1
        return True

    def flush(self) -> None:
        """Hand what was published to the operating system; see `Bus`."""
        if self._link:
            self._link.flush()

    def _learn(self, topic: str) -> None:
        name = topic_bytes(topic)
        if len(self.names) >= NAMES_LIMIT:
            self.names.clear()
        self.names[topic] = name

    def _offer(self, message: Outgoing) -> bool:
        if message.topic not in self.names:
            self._learn(message.topic)
        if self._keeper is None or not self._outbox.offer(message):
            self._stats.dropped += 1
            return False
        self._stats.published += 1
        self._pump()
        return True

    def _pump(self) -> None:
        link = self._link
        if link is None:
            return
        while self._outbox.queue and (message := self._outbox.take()):
            if not link.publish(message, again=False):
                self._stats.dropped += 1
                self._outbox.acknowledge(message.pid, 0x95)

    def acknowledged(self, pid: int, code: int) -> None:
        """Take the broker's word on a QoS 1 message; for links."""
        message = self._outbox.acknowledge(pid, code)
        if message is None:
            return
        if code >= 0x80:
            self._stats.refused += 1
            if message.topic not in self._refused and len(self._refused) < 256:
                self._refused.add(message.topic)
                log.warning("%s: %s was refused, counted from now on: %s", self.client_id, message.topic, reason(code))
        if self._outbox.queue:
            self._pump()
        if not len(self._outbox):
            self._drained.set()

    async def deliver(self, topic: str, payload: bytes, *, retain: bool = False, timeout_s: float = 5.0) -> None:
        """Publish with QoS 1 and return when the broker has acknowledged it; see `Bus`."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        message = Outgoing(topic, payload, retain, done=done)
        if not self._offer(message):
            raise BusDisconnected(f"{topic}: the queue to {self.where} is full or closed; nothing was sent")
        try:
            async with asyncio.timeout(timeout_s):
                code = await done
        except TimeoutError:
            raise BusDisconnected(f"{topic}: not acknowledged by {self.where} within {timeout_s:g} s") from None
        finally:
            self._outbox.forget(message)
        if code >= 0x80:
            raise BusRefused(f"{topic}: {self.where} refused it: {reason(code)}; check the ACL and the size")

    async def request(self, topic: str, payload: bytes, *, reply_to: str, timeout_s: float = 5.0) -> Delivery:
        """Publish with a response topic and correlation data, and return the matching reply; see `Bus`."""
        self._need_properties(topic)
        message = Outgoing(topic, payload, response_topic=reply_to, correlation=self._replies.correlation())
        message.expires_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        try:
            async with asyncio.timeout(timeout_s):
                await self._replies.listen(self, reply_to)
                with self._replies.waiting(message.correlation) as reply:
                    if not self._offer(message):
                        raise BusDisconnected(f"{topic}: the queue to {self.where} is full or closed")
                    return await reply
        except TimeoutError:
            raise RequestTimeout(f"{topic}: no reply on {reply_to} within {timeout_s:g} s") from None
        finally:
            self._outbox.forget(message)

    def _need_properties(self, topic: str) -> None:
        if self.address.mqtt != "5":
            raise BusRefused(
                f"{topic}: requests and replies need MQTT 5, and the broker at {self.where} speaks"
                f" {self.address.mqtt} only; install mosquitto and start again"
            )

    # --- in -----------------------------------------------------------------------------------------------------

    async def subscribe(self, topic_filter: str, qos: int, handler: Handler, *, manual_ack: bool = False) -> None:
        """Call `handler` for each message; see `Bus`. Without a connection: from the next one on."""
        if self.address.mqtt != "5":
            self._refuse_overlap(topic_filter)
        route = self.routes.add(topic_filter, qos, handler, manual_ack)
        self._release_held()
        if link := self._link:
            try:
                await self._ask(link, route)
            except BusRefused:
                self.routes.remove(route)
                raise
            except BusDisconnected:
                pass  # subscribed again with the next connection

    def _refuse_overlap(self, topic_filter: str) -> None:
        """A broker may send one copy or one per filter (MQTT 3.1.1, 3.3.5), and nothing says which it was."""
        for other in self.routes.filters():
            if other.topic_filter != topic_filter and overlap(other.topic_filter, topic_filter):
                raise BusRefused(
                    f"subscription {topic_filter} overlaps {other.topic_filter}, and the broker at {self.where} speaks"
                    f" MQTT {self.address.mqtt}: use a bus of its own for it, or install mosquitto"
                )

    def unrouted(
        self, head: Head, payload: bytes | memoryview, retained: bool, pid: int, ack: Callable[[int], None]
    ) -> bool:
        """Take a message without a handler; return whether to acknowledge it now. For links.

        After a restart the broker sends what it kept for the session before anyone has subscribed: held, not lost.
        """
        if pid and self.session_expiry_s:
            if len(self._held) < HELD_LIMIT:
                self._held.append((head, bytes(payload), retained, pid, ack))
            return False  # acknowledged it would be lost, and the broker would send the next into the same hole
        self._stats.unrouted += 1
        return True

    def _release_held(self) -> None:
        held, self._held = self._held, deque()
        for head, payload, retained, pid, ack in held:
            routes = self.routes.find(head.topic, head.subscription_ids)
            if not routes:
                self._held.append((head, payload, retained, pid, ack))
            elif self.routes.call(routes, head, payload, time.monotonic_ns(), retained, pid, ack):
                ack(pid)
