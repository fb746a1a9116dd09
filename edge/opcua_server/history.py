"""HistoryRead (OPC 10000-4, 5.11.3 and OPC 10000-11): raw, processed, at times and events, in pages.

What is read and encoded is so on threads, a few at a time; the loop waits for them. A page is bounded in values and in
what may be looked at to find them: a client that asks for a month gets continuation points, some of them after nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes

from edge.history.query import History, HistoryError, Row
from edge.opcua_server import walks
from edge.opcua_server.aggregates import FUNCTIONS, Configuration, Function
from edge.opcua_server.deadband import FilterRefused
from edge.opcua_server.encoding import encode_fields, time_ns
from edge.opcua_server.filters import Supertypes, Wanted, wanted
from edge.opcua_server.happenings import Happening
from edge.opcua_server.limits import CONTINUATION_S, CONTINUATIONS, HISTORY_NODES, HISTORY_PAGES, HISTORY_VALUES
from edge.opcua_server.walks import Historized, Span, Walk

DATA: Final = ua.NodeId(ua.Int32(ObjectIds.HistoryData_Encoding_DefaultBinary))
EVENTS: Final = ua.NodeId(ua.Int32(ObjectIds.HistoryEvent_Encoding_DefaultBinary))
_AT_ONCE: Final = 2  # reads on threads: they share one interpreter with the loop
_FUNCTIONS: Final[Mapping[object, Function]] = {one.identifier: one for one in FUNCTIONS.values()}
_TIMES: Final = 10_000  # of one at-time read


class ReadRefused(Exception):
    """A node that can't be read so; `code` is its StatusCode."""

    def __init__(self, code: int) -> None:
        """Keep the code."""
        super().__init__(ua.StatusCode(ua.UInt32(code)).name)
        self.code = code


@dataclass(frozen=True)
class Chronicle:
    """Whose past events a node tells: points of a measurement, and how each becomes an event."""

    measurement: str
    where: Mapping[str, str]
    tell: Callable[[Row], Happening]


@dataclass
class Suspended:
    """A walk that goes on when its client asks: what it answers with, of which node, and until when."""

    walk: Walk
    kind: ua.NodeId
    node: ua.NodeId
    most: int  # values of a page, 0 for as many as there may be
    until_s: float = 0.0
    ahead: list[bytes | None] = field(default_factory=list[bytes | None])  # taken of the walk, not yet told


class Continuations:
    """The continuation points of one session: so many, the oldest gives way, and none for long."""

    def __init__(self) -> None:
        """Have none."""
        self._kept: dict[bytes, Suspended] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._kept)

    def keep(self, walk: Suspended) -> bytes:
        """Return the continuation point of a walk."""
        self._forget()
        while len(self._kept) >= CONTINUATIONS:
            del self._kept[next(iter(self._kept))]
        walk.until_s = time.monotonic() + CONTINUATION_S
        point = secrets.token_bytes(16)
        self._kept[point] = walk
        return point

    def take(self, point: bytes, node: ua.NodeId) -> Suspended:
        """Return the walk of a continuation point, which is used up.

        Raises:
            ReadRefused: there is none, or it is of another node.
        """
        self._forget()
        found = self._kept.get(point)
        if found is None or found.node != node:
            raise ReadRefused(StatusCodes.BadContinuationPointInvalid)
        return self._kept.pop(point)

    def release(self, point: bytes) -> int:
        """Forget a continuation point; return a status code."""
        known = self._kept.pop(point, None) is not None
        return StatusCodes.Good if known else StatusCodes.BadContinuationPointInvalid

    def _forget(self) -> None:
        now = time.monotonic()
        for point in [point for point, walk in self._kept.items() if walk.until_s < now]:
            del self._kept[point]


class HistoryReads:
    """Reads the history of nodes."""

    def __init__(
        self, history: History, nodes: Mapping[str, Historized], events: Mapping[ua.NodeId, Chronicle],
        known: Callable[[ua.NodeId], object], supertypes: Supertypes,
    ) -> None:  # fmt: skip
        """`nodes`: what is stored of which, by their identifiers; `events`: whose nodes tell past events."""
        self._history, self._nodes, self._events = history, nodes, events
        self._known, self._supertypes = known, supertypes
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def read(self, params: Any, continuations: Continuations, *, audits: bool = False) -> list[Any]:
        """Return one result a node. `audits`: events that say who did what are among those of the past.

        Raises:
            ServiceError: the request as a whole can't be read.
        """
        nodes = params.NodesToRead
        if len(nodes) > HISTORY_NODES:
            raise ServiceError(StatusCodes.BadTooManyOperations)
        if params.ReleaseContinuationPoints:
            return [_refused(continuations.release(one.ContinuationPoint or b"")) for one in nodes]
        details = params.HistoryReadDetails
        _check(details, params.TimestampsToReturn, len(nodes))
        share = max(1, HISTORY_VALUES // len(nodes)), max(1, HISTORY_PAGES // len(nodes))
        results: list[Any] = []
        for number, asked in enumerate(nodes):
            try:
                if asked.ContinuationPoint:
                    walk = continuations.take(asked.ContinuationPoint, asked.NodeId)
                else:
                    walk = self._begin(details, asked, number, params.TimestampsToReturn, audits)
            except (ReadRefused, FilterRefused) as error:
                results.append(_refused(error.code))
                continue
            async with self._turns:
                items, over = await asyncio.to_thread(_advance, walk, *share)
            results.append(self._answer(walk, items, over, continuations))
        return results

    @staticmethod
    def _answer(walk: Suspended, items: Sequence[bytes] | int, over: bool, continuations: Continuations) -> Any:
        if isinstance(items, int):
            return _refused(items)
        body = len(items).to_bytes(4, "little") + b"".join(items)
        status = StatusCodes.GoodNoData if over and not items else StatusCodes.Good
        return ua.HistoryReadResult(
            StatusCode=_status(status), ContinuationPoint=None if over else continuations.keep(walk),
            HistoryData=ua.ExtensionObject(TypeId=walk.kind, Body=ua.ByteString(body)),
        )  # fmt: skip

    # -- which walk ---------------------------------------------------------------------------------------------------

    def _begin(self, details: Any, asked: Any, number: int, stamps: Any, audits: bool) -> Suspended:
        if self._known(asked.NodeId) is None:
            raise ReadRefused(StatusCodes.BadNodeIdUnknown)
        if asked.IndexRange:
            raise ReadRefused(StatusCodes.BadIndexRangeInvalid)
        if asked.DataEncoding is not None and asked.DataEncoding.Name not in (None, "", "Default Binary"):
            raise ReadRefused(StatusCodes.BadDataEncodingUnsupported)
        if isinstance(details, ua.ReadEventDetails):
            return self._event_walk(details, asked.NodeId, audits)
        if stamps == ua.TimestampsToReturn.Server:
            raise ReadRefused(StatusCodes.BadTimestampNotSupported)  # the store has the source's alone
        what = self._nodes.get(str(asked.NodeId.Identifier)) if asked.NodeId.NamespaceIndex else None
        if what is None:
            raise ReadRefused(StatusCodes.BadHistoryOperationUnsupported)
        most = 0
        if isinstance(details, ua.ReadRawModifiedDetails):
            most = int(cast(Any, details).NumValuesPerNode)
            walk = self._raw_walk(details, what)
        elif isinstance(details, ua.ReadAtTimeDetails):
            walk = self._at_time_walk(details, what)
        else:
            walk = self._processed_walk(details, what, details.AggregateType[number])
        return Suspended(walk, DATA, asked.NodeId, most)

    def _raw_walk(self, details: Any, what: Historized) -> Walk:
        if details.IsReadModified:
            raise ReadRefused(StatusCodes.BadHistoryOperationUnsupported)  # nothing is ever modified
        return walks.raw(self._history, what, _span(details), bounds=bool(details.ReturnBounds))

    def _at_time_walk(self, details: Any, what: Historized) -> Walk:
        times = [time_ns(one) for one in cast("list[ua.DateTime]", details.ReqTimes or [])]
        if not times or None in times:
            raise ReadRefused(StatusCodes.BadInvalidTimestampArgument)
        if len(times) > _TIMES:
            raise ReadRefused(StatusCodes.BadTooManyOperations)
        asked = [one for one in times if one is not None]
        return walks.at_times(self._history, what, asked, simple=bool(details.UseSimpleBounds))

    def _processed_walk(self, details: Any, what: Historized, kind: ua.NodeId) -> Walk:
        function = _FUNCTIONS.get(kind.Identifier) if kind.NamespaceIndex == 0 else None
        if function is None:
            raise ReadRefused(StatusCodes.BadAggregateNotSupported)
        if function.numeric and not what.numeric:
            raise ReadRefused(StatusCodes.BadAggregateInvalidInputs)
        start_ns, end_ns = time_ns(details.StartTime), time_ns(details.EndTime)
        step_ms = float(details.ProcessingInterval)
        if start_ns is None or end_ns is None or start_ns == end_ns or not 0 <= step_ms < 2**40:
            raise ReadRefused(StatusCodes.BadHistoryOperationInvalid)
        step_ns = max(round(step_ms * 10_000) * 100, 100) if step_ms else 0
        return walks.processed(
            self._history, what, function, (start_ns, end_ns, step_ns), _configuration(details.AggregateConfiguration)
        )

    def _event_walk(self, details: Any, node: ua.NodeId, audits: bool) -> Suspended:
        chronicle = self._events.get(node)
        if chronicle is None:
            raise ReadRefused(StatusCodes.BadHistoryOperationUnsupported)
        filtered = wanted(details.Filter, self._supertypes)
        walk = self._tell(chronicle, filtered, _span(details), audits)
        return Suspended(walk, EVENTS, node, int(details.NumValuesPerNode))

    def _tell(self, chronicle: Chronicle, filtered: Wanted, span: Span, audits: bool) -> Walk:
        low, high = span.bounds
        left, after = span.most or None, ""
        while True:
            page = self._history.rows(
                chronicle.measurement, low, high, where=chronicle.where, backward=span.backward, limit=walks.PAGE,
                after=after,
            )  # fmt: skip
            told = (one for one in map(chronicle.tell, page.items) if audits or not one.audit)
            through = (encode_fields(filtered.fields(one)) for one in told if filtered.lets_through(one))
            for item in itertools.islice(through, left):
                left = None if left is None else left - 1
                yield item
            after = page.next
            if not after or left == 0:
                return
            yield None


def _check(details: Any, stamps: Any, count: int) -> None:
    kinds = (ua.ReadRawModifiedDetails, ua.ReadProcessedDetails, ua.ReadAtTimeDetails, ua.ReadEventDetails)
    if not isinstance(details, kinds):
        raise ServiceError(StatusCodes.BadHistoryOperationUnsupported)
    if (
        isinstance(details, ua.ReadProcessedDetails)
        and len(cast("list[Any]", cast(Any, details).AggregateType or [])) != count
    ):
        raise ServiceError(StatusCodes.BadAggregateListMismatch)
    if stamps == ua.TimestampsToReturn.Neither and not isinstance(details, ua.ReadEventDetails):
        raise ServiceError(StatusCodes.BadTimestampsToReturnInvalid)


def _span(details: Any) -> Span:
    """Return the range of a raw or event read: two of its start, its end and a number say what it is (6.5.3.2)."""
    start_ns, end_ns, most = time_ns(details.StartTime), time_ns(details.EndTime), int(details.NumValuesPerNode)
    if (start_ns is None) + (end_ns is None) + (most == 0) > 1:
        raise ReadRefused(StatusCodes.BadHistoryOperationInvalid)
    return Span(start_ns, end_ns, 0 if start_ns is not None and end_ns is not None else most, most)


def _configuration(given: Any) -> Configuration:
    if given.UseServerCapabilitiesDefaults:
        return Configuration()
    made = Configuration(bool(given.TreatUncertainAsBad), int(given.PercentDataBad), int(given.PercentDataGood))
    if not made.valid:
        raise ReadRefused(StatusCodes.BadAggregateConfigurationRejected)
    return made


def _advance(walk: Suspended, most: int, pages: int) -> tuple[list[bytes] | int, bool]:
    """Go on with a walk: return what it finds, or a status code, and whether it is over. It runs on a thread."""
    most = min(walk.most or most, most)
    items: list[bytes] = []
    try:
        for one in itertools.chain(_drained(walk.ahead), walk.walk):
            if one is None:
                pages -= 1
            else:
                items.append(one)
            if pages <= 0 or len(items) >= most:
                return items, _over(walk)
    except HistoryError:
        return StatusCodes.BadResourceUnavailable, True
    return items, True


def _drained(items: list[bytes | None]) -> Iterator[bytes | None]:
    while items:
        yield items.pop()


def _over(walk: Suspended) -> bool:
    """Whether a walk has nothing more; what it has is kept for its next page."""
    for following in walk.walk:
        walk.ahead.append(following)
        return False
    return True


def _refused(code: int) -> Any:
    return ua.HistoryReadResult(StatusCode=_status(code))


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))
