"""Walks over the history: what one node of a HistoryRead is answered with, encoded, as a generator (OPC 10000-11, 6.5).

A walk that is not finished stays suspended: that is all that a continuation point is. Between two pages it yields None,
where it may be left for long: nothing is held of the store then, and little of the memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edge.history.query import HOLD_NS, Datum, History, Trend
from edge.opcua_server.history import aggregates
from edge.opcua_server.history.aggregates import (
    INTERPOLATED,
    SUBNORMAL,
    TICK_NS,
    Configuration,
    Function,
    Outcome,
    Point,
)
from edge.opcua_server.history.encoding import encoder
from schemas.fields import Value
from schemas.messages import Quality

Walk = Iterator[bytes | None]
PAGE: Final = 1_000  # values that a suspended walk holds at most
_BLOCK: Final = 500  # intervals that are made at a time where they are told backwards
_EVER: Final = 2**62
_STATUS: Final = {
    Quality.GOOD: StatusCodes.Good,
    Quality.UNCERTAIN: StatusCodes.Uncertain,
    Quality.BAD: StatusCodes.Bad,
    None: StatusCodes.BadBoundNotFound,
}
Told = tuple[int, Value, Quality | None]  # time_ns, value and quality, None for a bound that is not there


@dataclass(frozen=True)
class Historized:
    """What the store has of a node. `holds`: a value is stored again and again, and is not known without."""

    trend: Trend
    variant: ua.VariantType

    @property
    def holds(self) -> bool:
        """Whether a value that is not stored again within `HOLD_NS` is not known any more."""
        return self.trend.measurement == "reading"

    @property
    def numeric(self) -> bool:
        """Whether it can be averaged."""
        return self.variant not in (ua.VariantType.String, ua.VariantType.Boolean)


@dataclass(frozen=True)
class Span:
    """A range of time in ns: from `start_ns`, which belongs to it, to `end_ns`, which does not; either way round.

    None for one that is open. `most`: values in all, 0 for all that there are; `page`: of one page, the same.
    """

    start_ns: int | None
    end_ns: int | None
    most: int = 0
    page: int = 0

    @property
    def backward(self) -> bool:
        """Whether the newest comes first."""
        if self.start_ns is None:
            return True
        return self.end_ns is not None and self.end_ns < self.start_ns

    @property
    def bounds(self) -> tuple[int, int]:
        """The range as `[low, high)` of the store, whose times are finer than a client's."""
        start_ns, end_ns = self.start_ns, self.end_ns
        if start_ns is None:
            return 0, (end_ns or 0) + TICK_NS
        if end_ns is None:
            return start_ns, _EVER
        if end_ns == start_ns:
            return start_ns, start_ns + TICK_NS
        return (end_ns + TICK_NS, start_ns + TICK_NS) if self.backward else (start_ns, end_ns)


def blocks(
    history: History, trend: Trend, low: int, high: int, *, backward: bool = False, most: int = 0
) -> Iterator[Sequence[Datum] | None]:
    """Yield a trend's values page by page, and None before each further one. `most`: values wanted at a time."""
    after = ""
    while True:
        page = history.raw(trend, low, high, backward=backward, limit=min(most or PAGE, PAGE), after=after)
        after = page.next
        yield page.items
        if not after:
            return
        del page  # nothing is held where it may be for long
        yield None


def pages(history: History, trend: Trend, low: int, high: int, *, backward: bool = False) -> Iterator[Datum | None]:
    """Yield a trend's values, and None before each further page."""
    for block in blocks(history, trend, low, high, backward=backward):
        if block is None:
            yield None
        else:
            yield from block


def raw(history: History, what: Historized, span: Span, *, bounds: bool) -> Walk:
    """Walk over the values as they were stored, with those before and after where a client wants `bounds`."""
    encode, good, left = encoder(what.variant), Quality.GOOD, span.most or _EVER
    low, high = span.bounds
    plain = blocks(history, what.trend, low, high, backward=span.backward, most=span.page)
    for block in _bounded(history, what, span, plain) if bounds else plain:
        if block is None:
            yield None
            continue
        block = block[:left]
        left -= len(block)
        # To look up an enum costs 0.2 us.
        yield from [encode(at_ns, value, 0 if quality is good else _STATUS[quality]) for at_ns, value, quality in block]
        if not left:
            return


def _bounded(
    history: History, what: Historized, span: Span, plain: Iterator[Sequence[Datum] | None]
) -> Iterator[Sequence[Told] | None]:
    """Yield blocks of values with their bounds."""
    ahead = not span.backward
    start_ns = span.end_ns if span.start_ns is None else span.start_ns
    started = False
    for block in plain:
        if block and not started:
            started = True
            if block[0].time_ns // TICK_NS * TICK_NS != start_ns:
                yield [_bound(history, what.trend, start_ns or 0, ahead=not ahead)]
        yield block
    if not started:
        yield [_bound(history, what.trend, start_ns or 0, ahead=not ahead)]
    if span.start_ns is not None and span.end_ns is not None and span.end_ns != span.start_ns:
        yield [_bound(history, what.trend, span.end_ns, ahead=ahead)]


def _bound(history: History, trend: Trend, at_ns: int, *, ahead: bool) -> Told:
    low, high = (at_ns, _EVER) if ahead else (0, at_ns + TICK_NS)
    return _first(history, trend, low, high, backward=not ahead) or (at_ns, None, None)


def _first(history: History, trend: Trend, low: int, high: int, *, backward: bool = False) -> Datum | None:
    after = ""
    while True:
        page = history.raw(trend, low, high, backward=backward, limit=1, after=after)
        if page.items:
            return page.items[0]
        after = page.next
        if not after:
            return None


def at_times(history: History, what: Historized, times_ns: Sequence[int], *, simple: bool) -> Walk:
    """Walk over the values that held at times (6.5.5): raw where one was stored at that time, else interpolated.

    `simple`: a Bad value before the time makes it unknown; otherwise the last usable one is told as subnormal.
    """
    encode = encoder(what.variant)
    newest = _first(history, what.trend, 0, _EVER, backward=True)
    for count, at_ns in enumerate(times_ns, start=1):
        held = _before(history, what, at_ns + TICK_NS)
        last = held[-1] if held else None
        if last is not None and last.time_ns >= at_ns:
            yield encode(at_ns, last.value, _STATUS[last.quality])
        else:
            usable = next((one for one in reversed(held) if one.quality is Quality.GOOD), None)
            known = usable if usable is last or not simple else None
            good = known is last and newest is not None and newest.time_ns >= at_ns
            status = (StatusCodes.Good if good else SUBNORMAL) | INTERPOLATED if known else aggregates.NO_DATA
            yield encode(at_ns, known.value if known else None, status)
        if count % (PAGE // 10) == 0:
            yield None


def _before(history: History, what: Historized, time_ns: int) -> list[Datum]:
    """Return the last Good value before a time and, if others came since, the last of them; in the order of time."""
    low = time_ns - HOLD_NS if what.holds else 0
    found: list[Datum] = []
    for one in pages(history, what.trend, low, time_ns, backward=True):
        if one is None:
            continue
        if one.quality is Quality.GOOD:
            return [one, *found]
        found = found or [one]
    return found


def processed(
    history: History, what: Historized, function: Function, span: tuple[int, int, int], configuration: Configuration
) -> Walk:
    """Walk over the outcomes of an aggregate. `span`: start, end and interval in ns."""
    start_ns, end_ns, _ = span
    encode = encoder({"double": ua.VariantType.Double, "count": ua.VariantType.Int32}.get(function.kind, what.variant))
    asked = aggregates.intervals(*span)
    if start_ns < end_ns:
        points = _points(history, what, start_ns, end_ns)
        for one in aggregates.outcomes(function, asked, points, configuration):
            yield None if one is None else encode(*one)
        return
    while block := list(itertools.islice(asked, _BLOCK)):
        points = _points(history, what, block[-1].start_ns, block[0].end_ns)
        made: list[Outcome] = []
        for one in aggregates.outcomes(function, reversed(block), points, configuration):
            if one is None:
                yield None
            else:
                made.append(one)
        yield from (encode(*one) for one in reversed(made))


def _points(history: History, what: Historized, low: int, high: int) -> Iterator[Point | None]:
    """Yield a range's points, with those that say what held at its start, and the first one after it."""
    last_ns = 0
    after = _first(history, what.trend, high, _EVER)
    before = _before(history, what, low)
    for one in itertools.chain(before, pages(history, what.trend, low, high), [after] if after else []):
        if one is None:
            yield None
            continue
        if what.holds and last_ns and one.time_ns - last_ns > HOLD_NS:
            yield Point(last_ns + HOLD_NS, None, Quality.BAD)  # the device was away
        last_ns = one.time_ns
        yield Point(*one)
