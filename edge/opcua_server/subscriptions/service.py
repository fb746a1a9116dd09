"""Subscriptions: what a client is told, at its publishing interval, within bounds (OPC 10000-4, 5.13).

They replace asyncua's, whose queues hold 10,000 values an item and 5,000 messages a subscription, which takes any
interval, and never splits a message. The rest of asyncua's server core calls them by the names that they have here.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, cast

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.server.address_space import AddressSpace
from asyncua.server.subscription_service import SubscriptionService
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.address_space.nodes import supertypes
from edge.opcua_server.events.happenings import Happening
from edge.opcua_server.limits import (
    LONGEST_PUBLISHING_MS,
    NOTIFICATIONS_PER_PUBLISH,
    SHORTEST_PUBLISHING_MS,
    UNACKNOWLEDGED,
)
from edge.opcua_server.subscriptions.items import Items
from edge.settings import OpcUaLimits

_CHANGES: Final = ua.NodeId(ua.Int32(ObjectIds.DataChangeNotification_Encoding_DefaultBinary))
_NO_DIAGNOSTICS: Final = (-1).to_bytes(4, "little", signed=True)
_LAST_SEQUENCE: Final = 2**32 - 1
MOST_LIFETIME: Final = 15_000
MOST_KEEP_ALIVE: Final = 5_000

Publish = Callable[..., Awaitable[None]]
Request = Callable[[int], Any]


class Subscription:
    """One subscription. `pub_request_callback` gives a publish request that waits, or None and asks to be called."""

    def __init__(
        self,
        data: Any,
        items: Items,
        session_id: ua.NodeId,
        callbacks: tuple[Publish, Request | None],
        ended: Callable[[], object],
        *,
        enabled: bool,
        most: int,
    ) -> None:
        """Tell at most `most` notifications in one message."""
        self.data, self.monitored_item_srv, self.session_id = data, items, session_id
        self.pub_result_callback, self.pub_request_callback = callbacks
        self.most = most
        self._ended, self._enabled = ended, enabled
        self._first = True
        self._quiet = self._unheard = 0  # publishing intervals: without news, without a publish request
        self._sequence = itertools.cycle(range(1, _LAST_SEQUENCE + 1))
        self._next = next(self._sequence)
        self._kept: dict[int, Any] = {}
        self._status: ua.StatusCode | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Publish from now on."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Publish no more."""
        task, self._task = self._task, None
        self.monitored_item_srv.delete_all_monitored_items()
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task], timeout=1.0)

    async def _run(self) -> None:
        at = time.monotonic()
        while self._unheard <= self.data.RevisedLifetimeCount:
            await self.publish_results()
            at = max(at + self.data.RevisedPublishingInterval / 1000, time.monotonic())
            await asyncio.sleep(at - time.monotonic())
        self.monitored_item_srv.delete_all_monitored_items()
        self._ended()

    async def set_publishing_mode(self, enabled: bool) -> None:
        """Tell news, or keep-alives only."""
        self._enabled = enabled

    @property
    def _news(self) -> bool:
        return self._status is not None or (self._enabled and self.monitored_item_srv.waiting)

    async def publish_results(self, requestdata: object = None) -> bool:
        """Send what is due, in as many messages as there are requests; whether `requestdata` was used."""
        if requestdata is None and not self._due():
            return False
        given = requestdata is not None
        asked: object = requestdata if given else self._ask()
        while asked is not None:
            self._unheard = 0
            await self.pub_result_callback(self._message(asked), *(() if asked is _OURS else (asked,)))
            if not self._news:
                return True
            await asyncio.sleep(0)
            asked = self._ask()
        return given

    def _due(self) -> bool:
        if self._first or self._news:
            return True
        self._quiet += 1
        return bool(self._quiet >= self.data.RevisedMaxKeepAliveCount)

    def _ask(self) -> object:
        if self.pub_request_callback is None:
            return _OURS
        asked = self.pub_request_callback(self.data.SubscriptionId)
        if asked is None:
            self._unheard += 1
        return asked

    def _message(self, asked: object) -> Any:
        result = ua.PublishResult(SubscriptionId=self.data.SubscriptionId)
        message = result.NotificationMessage
        message.NotificationData = self._notifications()
        message.SequenceNumber = ua.UInt32(self._next)
        self._first, self._quiet = False, 0
        if message.NotificationData and asked is not _OURS:
            self._kept[self._next] = message
            self._next = next(self._sequence)
            while len(self._kept) > UNACKNOWLEDGED:
                del self._kept[next(iter(self._kept))]
        result.MoreNotifications = self._news
        result.AvailableSequenceNumbers = [ua.UInt32(number) for number in self._kept]
        return result

    def _notifications(self) -> list[Any]:
        found: list[Any] = []
        if self._enabled:
            count, changes = self.monitored_item_srv.pop_data(self.most)
            if count:
                body = count.to_bytes(4, "little") + changes + _NO_DIAGNOSTICS
                found.append(ua.ExtensionObject(TypeId=_CHANGES, Body=ua.ByteString(body)))
            if count < self.most and (events := self.monitored_item_srv.pop_events(self.most - count)):
                found.append(ua.EventNotificationList(Events=events))
        if self._status is not None:
            found.append(ua.StatusChangeNotification(Status=self._status))
            self._status = None
        return found

    async def enqueue_statuschange(self, code: ua.StatusCode) -> None:
        """Tell that the subscription itself has changed."""
        self._status = code

    def acknowledge(self, number: int) -> ua.StatusCode:
        """Forget a message that has arrived."""
        known = self._kept.pop(number, None) is not None
        return _status(StatusCodes.Good if known else StatusCodes.BadSequenceNumberUnknown)

    def republish(self, number: int) -> Any:
        """Return a message again.

        Raises:
            ServiceError: it was acknowledged, or is too old.
        """
        if number not in self._kept:
            raise ServiceError(StatusCodes.BadMessageNotAvailable)
        return self._kept[number]


_OURS: Final = object()  # in place of a request: a subscription of the server's own, which asks for nothing


class Subscriptions(SubscriptionService):
    """All subscriptions of the server."""

    def __init__(
        self, space: AddressSpace, server: Any, limits: OpcUaLimits, tick_ms: float,
        audits: Callable[[ua.NodeId], bool],
    ) -> None:  # fmt: skip
        """Have none yet. `audits`: whether a session hears who did what."""
        super().__init__(space, iserver=server)
        self._audits = audits
        self._space, self._limits, self._tick_ms = space, limits, tick_ms
        self._supertypes = supertypes(space)
        self._ids = itertools.count(1)

    @property
    def _mine(self) -> dict[int, Subscription]:
        return cast("dict[int, Subscription]", self.subscriptions)

    def of(self, session_id: ua.NodeId) -> list[Subscription]:
        """Return a session's subscriptions."""
        return [one for one in self._mine.values() if one.session_id == session_id]

    async def create_subscription(
        self, params: Any, callback: Publish, session_id: ua.NodeId, request_callback: Request | None = None
    ) -> Any:
        """Begin one.

        Raises:
            ServiceError: the session has as many as it may have.
        """
        if request_callback is not None and len(self.of(session_id)) >= self._limits.subscriptions:
            raise ServiceError(StatusCodes.BadTooManySubscriptions)
        number = next(self._ids)
        result = _revised(ua.CreateSubscriptionResult(SubscriptionId=ua.UInt32(number)), params)
        items = Items(self._space, self._room, self._tick_ms, self._supertypes)
        made = Subscription(
            result, items, session_id, (callback, request_callback), lambda: self.subscriptions.pop(number, None),
            enabled=params.PublishingEnabled, most=_most(params.MaxNotificationsPerPublish),
        )  # fmt: skip
        self._mine[number] = made
        await made.start()
        return result

    def held(self) -> list[int]:
        """Return how many items each of the clients' subscriptions has."""
        return [len(one.monitored_item_srv) for one in self._mine.values()]

    def tell(self, nodes: Iterable[ua.NodeId], make: Callable[[], Happening]) -> None:
        """Tell an event of nodes to whoever watches them; it is made once, if anybody does."""
        happening: Happening | None = None
        for node in nodes:
            for one in self._mine.values():
                if one.monitored_item_srv.watches(node):
                    happening = happening or make()
                    if not happening.audit or self._audits(one.session_id):
                        one.monitored_item_srv.tell(node, happening)

    def forget_events(self, session_id: ua.NodeId) -> None:
        """Tell a session nothing of what has happened so far: it has become somebody else's."""
        for one in self.of(session_id):
            one.monitored_item_srv.forget_events()

    def refresh(self, number: int, mid: int | None, states: Callable[[ua.NodeId], list[Happening]]) -> int:
        """Tell a subscription, or one item of it, what is retained; return a status code."""
        found = self._mine.get(number)
        return found.monitored_item_srv.refresh(mid, states) if found else StatusCodes.BadSubscriptionIdInvalid

    def _room(self, items: Items) -> int:
        overall = sum(len(one.monitored_item_srv) for one in self._mine.values())
        return max(0, min(self._limits.items - len(items), self._limits.all_items - overall))

    def modify_subscription(self, params: Any) -> Any:
        """Change intervals.

        Raises:
            ServiceError: there is no such subscription.
        """
        found = self._mine.get(params.SubscriptionId)
        if found is None:
            raise ServiceError(StatusCodes.BadSubscriptionIdInvalid)
        _revised(found.data, params)
        found.most = _most(params.MaxNotificationsPerPublish)
        return _revised(ua.ModifySubscriptionResult(), params)

    def acknowledge(self, session_id: ua.NodeId, acks: Iterable[Any]) -> tuple[int, list[ua.StatusCode]]:
        """Take a publish request of a session: return how many subscriptions it has, and a result per acknowledgement.

        Raises:
            ServiceError: it has none.
        """
        mine = {one.data.SubscriptionId: one for one in self.of(session_id)}
        if not mine:
            raise ServiceError(StatusCodes.BadNoSubscription)
        results: list[ua.StatusCode] = []
        for ack in acks:
            found = mine.get(ack.SubscriptionId)
            unknown = _status(StatusCodes.BadSubscriptionIdInvalid)
            results.append(found.acknowledge(ack.SequenceNumber) if found else unknown)
        return len(mine), results


def _revised(result: Any, params: Any) -> Any:
    """Put what a client gets of what it asked for into a result (OPC 10000-4, 5.13.2)."""
    wanted = float(params.RequestedPublishingInterval)
    wanted = SHORTEST_PUBLISHING_MS if math.isnan(wanted) else wanted
    alive = max(1, min(params.RequestedMaxKeepAliveCount or 10, MOST_KEEP_ALIVE))
    result.RevisedPublishingInterval = min(max(wanted, SHORTEST_PUBLISHING_MS), LONGEST_PUBLISHING_MS)
    result.RevisedMaxKeepAliveCount = ua.UInt32(alive)
    result.RevisedLifetimeCount = ua.UInt32(min(max(params.RequestedLifetimeCount, 3 * alive), MOST_LIFETIME))
    return result


def _most(asked: int) -> int:
    return min(asked or NOTIFICATIONS_PER_PUBLISH, NOTIFICATIONS_PER_PUBLISH)


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
