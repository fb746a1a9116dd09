"""The monitored items of one subscription: filters, bounded queues, and notifications as bytes.

A value is encoded once, however many clients watch its node: with ten subscribers that is a tenth of the work.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final

from asyncua import ua
from asyncua.server.address_space import AddressSpace
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_to_binary

from edge.opcua_server.deadband import CHANGE_FILTER, FilterRefused, Sieve, content, sieve_of
from edge.opcua_server.filters import Supertypes, Wanted
from edge.opcua_server.filters import wanted as wanted_events
from edge.opcua_server.happenings import Happening, overflow
from edge.opcua_server.limits import LONGEST_EVENT_QUEUE, LONGEST_QUEUE

OVERFLOW: Final = 0x480  # InfoType DataValue and the overflow bit (OPC 10000-4, 7.39.1)
_FIRST_ID: Final = 111
_UINT32: Final = struct.Struct("<I")


class _Encoder:
    """The last value's bytes: asyncua tells all items of a node one after another."""

    def __init__(self) -> None:
        self._value: ua.DataValue | None = None
        self._bytes = b""

    def __call__(self, value: ua.DataValue) -> bytes:
        if value is not self._value:
            self._value, self._bytes = value, struct_to_binary(value)
        return self._bytes


encode: Final = _Encoder()


@dataclass
class DataItem:
    """One watched attribute. `queue` holds encoded values, and those that a lost one left behind are marked."""

    mid: int
    client_handle: int
    mode: ua.MonitoringMode
    what: ua.ReadValueId
    sieve: Sieve
    size: int
    discard_oldest: bool
    handle: int = 0
    told: ua.DataValue | None = None
    queue: deque[tuple[ua.DataValue, bytes]] = field(default_factory=deque)

    def take(self, value: ua.DataValue) -> bool:
        """Queue a value if it is to be told."""
        if self.mode == ua.MonitoringMode.Disabled or not self.sieve.passes(self.told, value):
            return False
        self.told = value
        if len(self.queue) < self.size:
            self.queue.append((value, encode(value)))
        elif self.size == 1:
            self.queue[0] = (value, encode(value))
        elif self.discard_oldest:
            self.queue.popleft()
            self.queue.append((value, encode(value)))
            self.queue[0] = _marked(self.queue[0][0])
        else:
            self.queue[-1] = _marked(value)
        return True


def _marked(value: ua.DataValue) -> tuple[ua.DataValue, bytes]:
    status = 0 if value.StatusCode is None else value.StatusCode.value
    lost = replace(value, StatusCode=ua.StatusCode(ua.UInt32(status | OVERFLOW)))
    return lost, struct_to_binary(lost)


@dataclass
class EventItem:
    """One object whose events are watched. `lost`: some were dropped since the last were told."""

    mid: int
    client_handle: int
    mode: ua.MonitoringMode
    node: ua.NodeId
    wanted: Wanted
    size: int
    queue: deque[list[ua.Variant]] = field(default_factory=deque)
    lost: bool = False

    def take(self, happening: Happening, *, always: bool = False) -> bool:
        """Queue an event that the filter lets through, or any with `always`; the oldest gives way."""
        if self.mode == ua.MonitoringMode.Disabled or not (always or self.wanted.lets_through(happening)):
            return False
        if len(self.queue) >= self.size:
            self.queue.popleft()
            self.lost = True
        self.queue.append(self.wanted.fields(happening))
        return True

    def pop(self) -> ua.EventFieldList:
        """Return what is told next: first of all that some were lost (OPC 10000-4, 7.22.3)."""
        fields = self.wanted.fields(overflow()) if self.lost else self.queue.popleft()
        self.lost = False
        return ua.EventFieldList(ClientHandle=ua.UInt32(self.client_handle), EventFields=fields)


class Items:
    """What asyncua's MonitoredItemService does, with its names: its server core calls them."""

    def __init__(
        self, space: AddressSpace, room: Callable[[Items], int], tick_ms: float, supertypes: Supertypes
    ) -> None:
        """Watch nothing yet. `room` says how many more items these may become."""
        self._space, self._room, self._tick_ms, self._supertypes = space, room, tick_ms, supertypes
        self._monitored_items: dict[int, DataItem | EventItem] = {}  # asyncua's ConditionRefresh looks here
        self._by_handle: dict[int, DataItem] = {}
        self._by_node: dict[ua.NodeId, list[EventItem]] = {}
        self._last = _FIRST_ID
        self._data: dict[int, DataItem] = {}  # those with something queued, in the order in which it came
        self._events: dict[int, EventItem] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._monitored_items)

    # -- services -----------------------------------------------------------------------------------------------------

    async def create_monitored_items(self, params: Any) -> list[Any]:
        """Create as many as there is room for."""
        room = self._room(self)
        results: list[Any] = []
        for number, asked in enumerate(params.ItemsToCreate):
            try:
                if number >= room:
                    raise FilterRefused(StatusCodes.BadTooManyMonitoredItems)
                results.append(self._create(asked))
            except FilterRefused as error:
                results.append(ua.MonitoredItemCreateResult(StatusCode=_status(error.code)))
        return results

    def _create(self, asked: Any) -> Any:
        what = asked.ItemToMonitor
        if what.IndexRange:
            raise FilterRefused(StatusCodes.BadIndexRangeInvalid)
        self._last += 1
        events = what.AttributeId == AttributeIds.EventNotifier
        item = self._event_item(asked) if events else self._data_item(asked)
        self._monitored_items[item.mid] = item
        return ua.MonitoredItemCreateResult(
            StatusCode=_status(StatusCodes.Good), MonitoredItemId=ua.UInt32(item.mid),
            RevisedSamplingInterval=0.0 if events else self._tick_ms, RevisedQueueSize=ua.UInt32(item.size),
        )  # fmt: skip

    def _data_item(self, asked: Any) -> DataItem:
        what, wanted = asked.ItemToMonitor, asked.RequestedParameters
        value = self._space.read_attribute_value(what.NodeId, what.AttributeId)
        if value.StatusCode in (
            _status(StatusCodes.BadNodeIdUnknown),
            _status(StatusCodes.BadAttributeIdInvalid),
        ):
            raise FilterRefused(value.StatusCode.value)
        item = DataItem(
            self._last, wanted.ClientHandle, asked.MonitoringMode, what, self._sieve(what, wanted.Filter),
            _size(wanted.QueueSize, LONGEST_QUEUE), wanted.DiscardOldest,
        )  # fmt: skip
        status, item.handle = self._space.add_datachange_callback(what.NodeId, what.AttributeId, self.changed)
        if not status.is_good():
            raise FilterRefused(status.value)
        self._by_handle[item.handle] = item
        self._offer(item, value)
        return item

    def _sieve(self, what: Any, given: object) -> Sieve:
        if what.AttributeId != AttributeIds.Value and isinstance(given, CHANGE_FILTER) and given.DeadbandType:
            raise FilterRefused(StatusCodes.BadFilterNotAllowed)
        return sieve_of(given, self._example(what.NodeId), self._range(what.NodeId))

    def _example(self, node: ua.NodeId) -> object:
        """Return a value of the node's type: whether it is a number is known before the first one came."""
        kind = content(self._space.read_attribute_value(node, AttributeIds.DataType))
        rank = content(self._space.read_attribute_value(node, AttributeIds.ValueRank))
        number = isinstance(kind, ua.NodeId) and kind.NamespaceIndex == 0 and kind.Identifier in _NUMBERS
        one: object = 0.0 if number else ""
        return [one] if isinstance(rank, int) and rank >= 1 else one

    def _range(self, node: ua.NodeId) -> Sequence[float] | None:
        data = self._space.get(node)
        for reference in data.references if data else ():
            if reference.IsForward and reference.BrowseName == _EU_RANGE:
                limits = content(self._space.read_attribute_value(reference.NodeId, AttributeIds.Value))
                return (limits.Low, limits.High) if isinstance(limits, ua.Range) else None
        return None

    def _event_item(self, asked: Any) -> EventItem:
        node, wanted = asked.ItemToMonitor.NodeId, asked.RequestedParameters
        notifier = content(self._space.read_attribute_value(node, AttributeIds.EventNotifier))
        if not isinstance(notifier, int) or not notifier & 1 << ua.EventNotifier.SubscribeToEvents:
            raise FilterRefused(StatusCodes.BadAttributeIdInvalid)
        item = EventItem(
            self._last, wanted.ClientHandle, asked.MonitoringMode, node, wanted_events(wanted.Filter, self._supertypes),
            _size(wanted.QueueSize or LONGEST_EVENT_QUEUE, LONGEST_EVENT_QUEUE),
        )  # fmt: skip
        self._by_node.setdefault(node, []).append(item)
        return item

    def modify_monitored_items(self, params: Any) -> list[Any]:
        """Change filters and queues."""
        return [self._modify(asked) for asked in params.ItemsToModify]

    def _modify(self, asked: Any) -> Any:
        item, wanted = self._monitored_items.get(asked.MonitoredItemId), asked.RequestedParameters
        if item is None:
            return ua.MonitoredItemModifyResult(StatusCode=_status(StatusCodes.BadMonitoredItemIdInvalid))
        try:
            if isinstance(item, DataItem):
                item.sieve = self._sieve(item.what, wanted.Filter)
                item.discard_oldest = wanted.DiscardOldest
            else:
                item.wanted = wanted_events(wanted.Filter, self._supertypes)
        except FilterRefused as error:
            return ua.MonitoredItemModifyResult(StatusCode=_status(error.code))
        item.client_handle = wanted.ClientHandle
        item.size = _size(wanted.QueueSize, LONGEST_QUEUE if isinstance(item, DataItem) else LONGEST_EVENT_QUEUE)
        while len(item.queue) > item.size:
            item.queue.popleft()
        return ua.MonitoredItemModifyResult(
            StatusCode=_status(StatusCodes.Good), RevisedSamplingInterval=self._tick_ms,
            RevisedQueueSize=ua.UInt32(item.size),
        )  # fmt: skip

    async def set_monitoring_mode(self, mode: ua.MonitoringMode, ids: list[int]) -> list[ua.StatusCode]:
        """Disable, sample only, or report."""
        return [self._set_mode(mode, mid) for mid in ids]

    def _set_mode(self, mode: ua.MonitoringMode, mid: int) -> ua.StatusCode:
        item = self._monitored_items.get(mid)
        if item is None:
            return _status(StatusCodes.BadMonitoredItemIdInvalid)
        woken, item.mode = item.mode == ua.MonitoringMode.Disabled != mode, mode
        if mode == ua.MonitoringMode.Disabled:
            item.queue.clear()
        if isinstance(item, DataItem):
            if woken:
                item.told = None
                self._offer(item, self._space.read_attribute_value(item.what.NodeId, item.what.AttributeId))
            elif item.queue:
                self._data[mid] = item
        return _status(StatusCodes.Good)

    def delete_monitored_items(self, ids: list[int]) -> list[ua.StatusCode]:
        """Stop watching."""
        return [self._delete(mid) for mid in ids]

    def _delete(self, mid: int) -> ua.StatusCode:
        item = self._monitored_items.pop(mid, None)
        if item is None:
            return _status(StatusCodes.BadMonitoredItemIdInvalid)
        if isinstance(item, DataItem):
            self._space.delete_datachange_callback(item.handle)
            del self._by_handle[item.handle]
        else:
            self._by_node[item.node].remove(item)
        self._data.pop(mid, None)
        self._events.pop(mid, None)
        return _status(StatusCodes.Good)

    def delete_all_monitored_items(self) -> None:
        """Stop watching anything."""
        self.delete_monitored_items(list(self._monitored_items))

    # -- what happens -------------------------------------------------------------------------------------------------

    async def changed(self, handle: int, value: ua.DataValue, error: ua.StatusCode | None = None) -> None:
        """Take a new value of a watched attribute; asyncua's address space calls this."""
        item = self._by_handle.get(handle)
        if item is not None and error is None:
            self._offer(item, value)

    def _offer(self, item: DataItem, value: ua.DataValue) -> None:
        if item.take(value):
            self._data[item.mid] = item

    def watches(self, node: ua.NodeId) -> bool:
        """Whether events of a node are watched."""
        return bool(self._by_node.get(node))

    def tell(self, node: ua.NodeId, happening: Happening) -> None:
        """Take an event that a node tells."""
        for item in self._by_node.get(node, ()):
            if item.take(happening):
                self._events[item.mid] = item

    def forget_events(self) -> None:
        """Drop the events that wait to be told."""
        for item in self._events.values():
            item.queue.clear()
            item.lost = False
        self._events.clear()

    def refresh(self, mid: int | None, states: Callable[[ua.NodeId], list[Happening]]) -> int:
        """Take the states that a client asks to be told again, all items or one; return a status code."""
        if mid is not None and not isinstance(self._monitored_items.get(mid), EventItem):
            return StatusCodes.BadMonitoredItemIdInvalid
        for item in self._monitored_items.values():
            if isinstance(item, EventItem) and mid in (None, item.mid):
                first, *told, last = states(item.node)
                taken = [item.take(first, always=True), *map(item.take, told), item.take(last, always=True)]
                if any(taken):
                    self._events[item.mid] = item
        return StatusCodes.Good

    async def trigger_event(self, event: Any) -> None:
        """Take an event that asyncua itself has made."""
        self.tell(event.emitting_node, Happening(event.EventType, event.get_event_props_as_fields_dict()))

    # -- what is told -------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether something is to be told."""
        reporting = ua.MonitoringMode.Reporting
        queued: Iterator[DataItem | EventItem] = chain(self._data.values(), self._events.values())
        return any(item.mode == reporting for item in queued)

    def pop_data(self, most: int) -> tuple[int, bytes]:
        """Return up to `most` changes, encoded: handle and value each (OPC 10000-4, 7.25.2), and how many they are."""
        parts: list[bytes] = []
        for item in list(self._data.values()):
            if item.mode != ua.MonitoringMode.Reporting:
                continue
            handle = _UINT32.pack(item.client_handle)
            while item.queue and len(parts) < most:
                parts.append(handle + item.queue.popleft()[1])
            if item.queue:
                break
            del self._data[item.mid]
        return len(parts), b"".join(parts)

    def pop_events(self, most: int) -> list[ua.EventFieldList]:
        """Return up to `most` events."""
        found: list[ua.EventFieldList] = []
        for item in list(self._events.values()):
            if item.mode != ua.MonitoringMode.Reporting:
                continue
            while (item.queue or item.lost) and len(found) < most:
                found.append(item.pop())
            if item.queue:
                break
            del self._events[item.mid]
        return found


_NUMBERS: Final = frozenset({*range(2, 12), 26, 27, 28})  # SByte to Double, Number, Integer, UInteger
_EU_RANGE: Final = ua.QualifiedName("EURange", ua.UInt16(0))


def _size(asked: int, most: int) -> int:
    return max(1, min(int(asked), most))


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
