"""Which handlers a received message goes to.

A subscription carries an identifier (MQTT 5, 3.8.2.1.2), because a broker sends one copy per overlapping
subscription: by topic alone, three filters that match would call each handler three times. The identifier is made
from the filter, so that messages kept by the broker for a session find their handler after a restart too.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

from bus import BusStats, Delivery, Handler

log = logging.getLogger(__name__)
_KNOWN_LIMIT = 8_192
_NO_ROUTES: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One call of `subscribe`."""

    topic_filter: str
    qos: int
    handler: Handler
    manual_ack: bool
    identifier: int


@dataclass(frozen=True, slots=True)
class Head:
    """What a PUBLISH says before its payload."""

    topic: str
    subscription_ids: tuple[int, ...] = ()
    response_topic: str = ""
    correlation: bytes = b""


def _nothing() -> None:
    """Acknowledge nothing."""


class SharedAck:
    """Acknowledges a message once, after `count` calls: one by each handler that asked to do it itself."""

    __slots__ = ("_acknowledge", "_left", "_pid")

    def __init__(self, acknowledge: Callable[[int], None], pid: int, count: int) -> None:
        """Bind to the connection that the message came on: packet ids mean nothing on another."""
        self._acknowledge, self._pid, self._left = acknowledge, pid, count

    def __call__(self) -> None:
        """Count one acknowledgement; further ones do nothing."""
        self._left -= 1
        if self._left == 0:
            self._acknowledge(self._pid)


class Routes:
    """The subscriptions of one bus, kept over reconnects."""

    def __init__(self, stats: BusStats) -> None:
        """Start without any."""
        self._stats = stats
        self._by_id: dict[int, tuple[Route, ...]] = {}
        self._known: dict[tuple[str, tuple[int, ...]], tuple[Route, ...]] = {}
        self.version = 0  # changes with each addition: who caches `find` compares it

    def add(self, topic_filter: str, qos: int, handler: Handler, manual_ack: bool) -> Route:
        """Add a subscription.

        Raises:
            ValueError: not a filter, or a QoS other than 0 and 1.
        """
        check_filter(topic_filter)
        if qos not in (0, 1):
            raise ValueError(f"QoS {qos} is not spoken here; use 0 or 1")
        identifier = self._identifier(topic_filter)
        before = self._by_id.get(identifier, ())
        route = Route(topic_filter, max([qos, *(r.qos for r in before)]), handler, manual_ack, identifier)
        self._by_id[identifier] = (*before, route)
        self._changed()
        return route

    def remove(self, route: Route) -> None:
        """Forget a subscription that the broker refused."""
        left = tuple(r for r in self._by_id.get(route.identifier, ()) if r is not route)
        if left:
            self._by_id[route.identifier] = left
        else:
            self._by_id.pop(route.identifier, None)
        self._changed()

    def filters(self) -> list[Route]:
        """Return one route per filter, the one with the highest QoS, in the order of subscription."""
        return [routes[-1] for routes in self._by_id.values()]

    def find(self, topic: str, identifiers: tuple[int, ...]) -> tuple[Route, ...]:
        """Return where a message goes: by its subscription identifiers, or by its topic where the broker sent none."""
        key = (topic, identifiers)
        routes = self._known.get(key)
        if routes is None:
            if len(self._known) >= _KNOWN_LIMIT:  # topics are made by others: bounded
                self._known.clear()
            routes = self._known[key] = self._look_up(topic, identifiers)
        return routes

    def call(
        self, routes: tuple[Route, ...], head: Head, payload: bytes | memoryview, received_ns: int, retained: bool,
        pid: int, acknowledge: Callable[[int], None],
    ) -> bool:  # fmt: skip
        """Call each handler; one that raises is counted and logged, and stops nothing.

        Returns whether the caller shall acknowledge `pid` now: no handler asked to do it itself.
        """
        self._stats.received += 1
        manual = sum([route.manual_ack for route in routes]) if pid else 0
        ack = SharedAck(acknowledge, pid, manual) if manual else _nothing
        for route in routes:
            own_ack = ack if route.manual_ack else _nothing
            try:
                route.handler(
                    Delivery(head.topic, payload, received_ns, retained, head.response_topic, head.correlation, own_ack)
                )
            except Exception:
                self._stats.handler_errors += 1
                log.exception("the handler of %s raised; the message is dropped", route.topic_filter)
                own_ack()  # else messages that it can't take would fill the window and stop all others
        return not manual

    def _look_up(self, topic: str, identifiers: tuple[int, ...]) -> tuple[Route, ...]:
        if not identifiers:
            return tuple(r for routes in self._by_id.values() for r in routes if matches(r.topic_filter, topic))
        return tuple(r for i in identifiers for r in self._by_id.get(i, _NO_ROUTES) if matches(r.topic_filter, topic))

    def _identifier(self, topic_filter: str) -> int:
        identifier = zlib.crc32(topic_filter.encode()) & 0x0FFF_FFFF or 1
        while self._by_id.get(identifier, _NO_ROUTES) and self._by_id[identifier][0].topic_filter != topic_filter:
            identifier = identifier % 0x0FFF_FFFF + 1
        return identifier

    def _changed(self) -> None:
        self._known.clear()
        self.version += 1


def check_filter(topic_filter: str) -> None:
    """Check a filter (4.7.1).

    Raises:
        ValueError: a wildcard that does not stand alone in its level, or a `#` that is not the last.
    """
    levels = topic_filter.split("/")
    misplaced = any(("+" in level or "#" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]
    if not topic_filter or "\0" in topic_filter or misplaced:
        raise ValueError(f"{topic_filter!r} is not a topic filter; + and # stand alone in a level, # in the last")


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether a filter matches a topic's name (4.7)."""
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[2]
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels, strict=True))


def overlap(one: str, other: str) -> bool:
    """Return whether some topic matches both filters."""
    for mine, theirs in zip_longest(one.split("/"), other.split("/")):
        if "#" in (mine, theirs):  # it matches its parent level too
            return True
        if mine is None or theirs is None or (mine != theirs and "+" not in (mine, theirs)):
            return False
    return True
