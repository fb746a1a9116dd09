"""EtherNet/IP: Logix and Micro800 tags, CIP attributes. Options: `family`, `slot`, `route`, `size`, `items`.

Of pycomm3 its session, its Forward Open and its paths; not its reads, see `edge/plc/cip/session.py`, and not its tag
upload, see `edge/plc/cip/browse.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from edge.config.section import Section
from edge.plc.browsing import Bounds, Offered
from edge.plc.cip.browse import Upload
from edge.plc.cip.points import (
    READ_FRAGMENT,
    SEVERAL,
    Ask,
    Point,
    asks,
    multi_reads,
    point_of,
)  # fmt: skip
from edge.plc.cip.points import planned as planned_request
from edge.plc.cip.replies import EMBEDDED, Reply, reply_of, several
from edge.plc.cip.session import LARGE, SMALL, WIRE_ERRORS, CipSession
from edge.plc.cip.values import Held, check_type, decode, encode, held_of, masks
from edge.plc.options import parse_options
from edge.plc.planning import Planned, Plans
from edge.plc.tags.lists import Native, Tag
from edge.settings import Source
from schemas.errors import ConnectorError, SettingsError, TagError
from schemas.messages import Quality, Sample

PORT: Final = 44818
URL_PATH: Final = ""
ADDRESSES = """
| address | meaning |
|---|---|
| `Line.Speed`, `Recipe[3].Name` | a controller tag, a member, an element; as many indices as the array has dimensions |
| `Program:Main.Speeds[5]` | a tag of a program |
| `Status.5`, or `Status` with `bit` 5 | a bit of an integer |
| `Flags[37]` | an element of a BOOL array |
| `@4/100/3` | class, instance and attribute of any CIP device, also as `@0x04/0x64/3` |

The type is compared with the PLC's: a REAL is `float32`, a DINT `int32` (or `uint32`), an INT `int16`, a SINT `int8`, a
LINT `int64`, a BOOL `bool`. What differs is Bad, and never a number that only looks right. A STRING (or a type like it)
is `string:82`; Micro800's are too. An attribute has no type of its own: its length must be that of the tag. An array is
read from the element that its address names on, one of BOOLs with `bool[N]`. There are no `wstring` and no `datetime`,
and `order` is not used. Tags need External Access "Read Only" or "Read/Write". An element's bit is written alone.

Options: `family` (`logix`, `micro800`, or `cip` for devices that have attributes only), `slot` (the controller's, 0),
`route` (instead of it: pairs of port and link such as `bp/0/enet/10.1.1.5/bp/2`), `size` (4000, or 500 for old
controllers and slow networks: what one packet may be), `items` (most tags in a packet). The source's `port` is 44818.
"""
_WRITE_TAG, _MASK, _SET_ATTRIBUTE = 0x4D, 0x4E, 0x10
_ROUTER: Final = b"\x02\x20\x02\x24\x01"
_MOST_FRAGMENTS: Final = 64
_WRITE_HEAD: Final = 10


class EtherNetIpOptions(Section):
    """The driver's options."""

    family: Literal["logix", "micro800", "cip"] = "logix"
    slot: Annotated[int, Field(ge=0, le=31)] = 0
    route: str = ""
    size: Literal[4000, 500] = 4000
    items: Annotated[int, Field(ge=1, le=200)] = 200

    def path(self, source: Source) -> str:
        """Return address and route as pycomm3 writes them."""
        route = self.route or (f"bp/{self.slot}" if self.family == "logix" else "")
        return f"{source.host}:{source.port}" + (f"/{route}" if route else "")


def check_address(tag: Tag) -> None:
    """Raise TagError where a tag's address is not Logix or CIP, or does not fit its type."""
    point_of(tag)


def open_connector(source: Source) -> EtherNetIpConnector:
    """Return a connector that is not connected yet.

    Raises:
        SettingsError: an option that is not known or out of range.
    """
    return EtherNetIpConnector(source, _options(source))


def planned(source: Source, tags: Sequence[Tag]) -> list[Planned]:
    """Return the requests of one scan of a poll group."""
    options = _options(source)
    return [planned_request(one) for one in _plan(tags, options, options.size)]


def _options(source: Source) -> EtherNetIpOptions:
    options = parse_options(EtherNetIpOptions, source)
    try:
        CipSession(options.path(source), connected=False, large=False, timeout_s=1.0)
    except WIRE_ERRORS as error:
        raise SettingsError([f"ethernetip option route: {options.route!r}: {error}"]) from error
    return options


def _plan(tags: Sequence[Tag], options: EtherNetIpOptions, size: int) -> list[tuple[Ask, ...]]:
    found = asks(tags)
    if options.family == "cip":
        return [(ask,) for ask in found]
    return multi_reads(found, size, options.items)


class EtherNetIpConnector:
    """One session with a controller or device."""

    def __init__(self, source: Source, options: EtherNetIpOptions) -> None:
        """Connect nothing yet."""
        self.requests = 0
        self._options, self._source = options, source
        self._where = f"{source.host}:{source.port}"
        self._session: CipSession | None = None
        self._plans: dict[int, Plans[list[tuple[Ask, ...]]]] = {}  # by the size that the session has
        self._like: dict[bytes, Held] = {}  # by path: what a written tag was when it was last looked at

    def connect(self) -> None:
        """Open the TCP connection, the session on it, and the connection to the controller: all within one timeout."""
        options = self._options
        session = CipSession(
            options.path(self._source), connected=options.family != "cip", large=options.size == LARGE,
            timeout_s=self._source.timeout_ms / 1e3,
        )  # fmt: skip
        try:
            session.start()
        except WIRE_ERRORS as error:
            session.reset()
            route = options.path(self._source).partition("/")[2] or "no route"
            raise ConnectorError(
                f"{self._where}, {route}: no EtherNet/IP connection ({_first_line(error)}); check cable, address, slot "
                "and family"
            ) from error
        self._session = session

    def close(self) -> None:
        """Reset the connection."""
        if self._session is not None:
            self._session.reset()
            self._session = None

    def follow(self, before: object) -> None:
        """Know the plans, not what the PLC had: another program may have been loaded."""
        if isinstance(before, EtherNetIpConnector):
            self._plans = before._plans

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        """Read in as few packets as the connection allows."""
        size = self._session.size if self._session else SMALL
        plans = self._plans.setdefault(size, Plans())
        plan = plans.get(tags)
        if plan is None:
            plan = _plan(tags, self._options, size)
            plans.keep(tags, plan)
        for packet in plan:
            samples: dict[str, Sample] = {}
            for ask, reply in zip(packet, self._fetch(packet), strict=True):
                samples |= _samples(ask, self._rest(ask, reply) if reply.partial else reply)
            yield samples

    def write(self, tag: Tag, value: Native) -> None:
        """Write one value, as the PLC has it there; a bit of an integer alone (its neighbours stay)."""
        point = point_of(tag)
        like = self._like.get(point.path) or self._look(point)
        if point.attribute:
            request = bytes([_SET_ATTRIBUTE]) + point.path + encode(point, value, like)
        elif point.bit is not None:
            request = self._masking(point, value, like)
        else:
            data = encode(point, value, like)
            request = bytes([_WRITE_TAG]) + point.path + like.kind + struct.pack("<H", point.count) + data
        most = (self._session.size if self._session else SMALL) - 2
        if len(request) > most:
            raise TagError(f"{tag.name}: {len(request)} bytes; {self._where} takes {most} in one request")
        reply = self._ask(request)
        if not reply.done:
            self._like.pop(point.path, None)  # another program may have been loaded
            raise TagError(f"{tag.name} at {self._where}: {reply.reason}")

    def browse(self, bounds: Bounds) -> Iterator[Offered]:
        """Yield the controller's tags, as it lists them."""
        return Upload(self._ask, bounds).browse()

    def _masking(self, point: Point, value: Native, like: Held) -> bytes:
        if isinstance(value, list):
            raise TagError(f"{point.tag.name}: BOOLs of an array are written one by one; make a tag for each")
        ones, keeps = masks(point, bool(value), like)
        return bytes([_MASK]) + point.path + struct.pack("<H", len(ones)) + ones + keeps

    def _look(self, point: Point) -> Held:
        """Return what lies at a point now: a write needs its type, and a string's room."""
        ask = Ask(point.path, point.count, point.attribute, (point,))
        reply = self._ask(ask.request)
        if reply.partial:
            reply = self._rest(ask, reply)
        if not reply.done:
            raise TagError(f"{point.tag.name} at {self._where}: {reply.reason}")
        try:
            held = Held(b"", reply.data) if point.attribute else held_of(reply.data)
        except ValueError as error:
            raise TagError(f"{point.tag.name} at {self._where}: {error}") from error
        check_type(point, held)
        self._like[point.path] = held
        return held

    def _fetch(self, packet: tuple[Ask, ...]) -> list[Reply]:
        """Ask for all of a packet; one alone needs no packet."""
        if len(packet) == 1:
            return [self._ask(packet[0].request)]
        requests = [ask.request for ask in packet]
        offsets, at = list[int](), 2 + 2 * len(requests)
        for request in requests:
            offsets.append(at)
            at += len(request)
        head = bytes([SEVERAL]) + _ROUTER + struct.pack(f"<H{len(offsets)}H", len(offsets), *offsets)
        reply = self._ask(head + b"".join(requests))
        if reply.status not in (0, EMBEDDED):
            return [reply] * len(packet)
        try:
            return several(reply.data, [request[0] for request in requests])
        except WIRE_ERRORS as error:
            raise self._lost(error) from error

    def _rest(self, ask: Ask, first: Reply) -> Reply:
        """Read on where a reply was too short for its tag; the fragments may be of two scans of the PLC."""
        if ask.attribute:
            return first
        try:
            kind, data = held_of(first.data).kind, held_of(first.data).data
            for _ in range(_MOST_FRAGMENTS):
                request = bytes([READ_FRAGMENT]) + ask.path + struct.pack("<HI", ask.count, len(data))
                reply = self._ask(request)
                if not (reply.done or reply.partial):
                    return reply
                more = held_of(reply.data)
                if more.kind != kind:
                    raise ValueError("the type changed between two fragments")
                data += more.data
                if reply.done:
                    return Reply(0, None, kind + data)
        except ValueError as error:
            raise self._lost(error) from error
        return Reply(0x11, None, b"")

    def _ask(self, request: bytes) -> Reply:
        """Make one request.

        Raises:
            ConnectorError: no answer, or one that is not to this request.
        """
        self.requests += 1
        if self._session is None:
            raise ConnectorError(f"{self._where} is not connected")
        try:
            return reply_of(self._session.exchange(request), request[0])
        except WIRE_ERRORS as error:
            raise self._lost(error) from error

    def _lost(self, error: BaseException) -> ConnectorError:
        self.close()
        return ConnectorError(f"{self._where}: no usable answer ({_first_line(error)}); check cable and PLC")


def _samples(ask: Ask, reply: Reply) -> dict[str, Sample]:
    """Return the samples of all tags that one read answers."""
    if not reply.done:
        bad = Sample(quality=Quality.BAD, reason=reply.reason)
        return {point.tag.name: bad for point in ask.points}
    try:
        held = Held(b"", reply.data) if ask.attribute else held_of(reply.data)
    except ValueError as error:
        bad = Sample(quality=Quality.BAD, reason=str(error))
        return {point.tag.name: bad for point in ask.points}
    return {point.tag.name: _sample(point, held) for point in ask.points}


def _sample(point: Point, held: Held) -> Sample:
    try:
        return Sample(value=decode(point, held))
    except TagError as error:
        return Sample(quality=Quality.BAD, reason=str(error))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
