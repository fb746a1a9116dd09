"""S7 (ISO on TCP). Options: `rack`, `slot`, `connection`, `gap`, `pdu`, `items`. The port is 102.

Of python-snap7 its transport and its requests; not its Client, which waits 5 s whatever one asks for, fails a
multi-read for one item, and sends up to four requests at once to PLCs that may take one.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field
from snap7.connection import ISOTCPConnection
from snap7.datatypes import S7Area, S7WordLen
from snap7.error import S7Error, S7TimeoutError
from snap7.s7protocol import S7Protocol, S7UserDataGroup

from edge.config.section import Section
from edge.plc.browsing import Bounds, Offered
from edge.plc.options import parse_options
from edge.plc.planning import Planned, Plans
from edge.plc.s7.browse import DB, Cpu, browse, told
from edge.plc.s7.points import (
    LARGEST_PDU,
    MAX_ITEMS,
    SMALLEST_PDU,
    Piece,
    Point,
    Range,
    most_written,
    multi_reads,
    point_of,
    ranges,
)  # fmt: skip
from edge.plc.s7.points import planned as planned_request
from edge.plc.s7.replies import Refused, pdu_of, read_items, written
from edge.plc.s7.values import check_room, encode, header_size, placed
from edge.plc.tags.batches import Decoding
from edge.plc.tags.forms import Kind
from edge.plc.tags.lists import Native, Tag
from edge.settings import Source
from schemas.errors import ConnectorError, TagError
from schemas.messages import Quality, Sample

PORT: Final = 102
URL_PATH: Final = ""
ADDRESSES = """
| address | meaning |
|---|---|
| `DB1.DBX0.3` | data block 1, byte 0, bit 3 |
| `DB1.DBB0`, `DB1.DBW2`, `DB1.DBD4` | data block 1 from byte 0, 2, 4: types of one, two, four bytes |
| `DB1.DBB10` | any other type by its first byte: 64 bits, texts, times |
| `I0.3`, `Q0.1`, `M0.0` | input, output, flag (also `E`, `A`), each also with B, W, D: `IB4`, `QW2`, `MD10` |

A `%` before the address is ignored. A bool lies in a bit, or in a byte or word with its `bit` (0 is the lowest). An
array has the address of its first element, one of bools that of its first bit; it is written if it begins at bit 0 and
has 8, 16, 24... of them. Data blocks need standard access ("optimized block access" off), the PLC has to permit
PUT/GET. Counters, timers and S5TIME are not read.

A STRING is `string:N` (N to 254), a WSTRING `wstring:N`, read with their headers; a text is written only where the
PLC's own string has room for it. Times are `datetime:dt`, `datetime:dtl` and `datetime:ldt`, and have no zone. A tag
that is larger than one reply (462 bytes, 222 with a PDU of 240) is read in several, and may change between two; one
request writes 452 bytes (212).

Options: `rack` and `slot` (0 and 1; a S7-300 has slot 2), `connection` (`pg`, `op` or `basic`: whose connections of
the PLC are used), `gap` (bytes that are read along rather than asked for in two items), `pdu` and `items` (what one
request may be, for devices that take less). The source's `port` is 102.
"""
_Answer = TypeVar("_Answer")
_AREAS: Final = {"I": S7Area.PE, "Q": S7Area.PA, "M": S7Area.MK, "DB": S7Area.DB}
_MOST_PARTS: Final = 64  # of an answer about the CPU
_CONNECTIONS: Final = {"pg": 1, "op": 2, "basic": 3}
# What garbage on the wire makes the library raise, besides its own exceptions.
_WIRE_ERRORS = (S7Error, OSError, struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError)


class S7Options(Section):
    """The driver's options."""

    rack: Annotated[int, Field(ge=0, le=7)] = 0
    slot: Annotated[int, Field(ge=0, le=31)] = 1
    connection: Literal["pg", "op", "basic"] = "pg"
    gap: Annotated[int, Field(ge=0, le=200)] = 16
    pdu: Annotated[int, Field(ge=SMALLEST_PDU, le=LARGEST_PDU)] = LARGEST_PDU
    items: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = MAX_ITEMS


def check_address(tag: Tag) -> None:
    """Raise TagError where a tag's address is not S7 or does not fit its type."""
    point_of(tag)


def open_connector(source: Source) -> S7Connector:
    """Return a connector that is not connected yet.

    Raises:
        SettingsError: an option that is not known or out of range.
    """
    return S7Connector(source, parse_options(S7Options, source))


def planned(source: Source, tags: Sequence[Tag]) -> list[Planned]:
    """Return the requests of one scan of a poll group, as a PLC that agrees to the PDU asked for gets them."""
    options = parse_options(S7Options, source)
    found = ranges(tags, options.gap, options.pdu)
    return [planned_request(request) for request in multi_reads(found, options.pdu, options.items)]


class _Link(ISOTCPConnection):
    """The library's transport with one deadline for all of an answer: a peer that trickles bytes can't hold it up."""

    deadline = 0.0

    def reset(self) -> None:
        """Close at once: what a dead link has not delivered must not reach the PLC minutes later."""
        self.connected = False
        if self.socket is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()
            self.socket = None

    def exchange(self, request: bytes, timeout_s: float) -> bytes:
        """Return the answer to a request."""
        self.deadline = time.monotonic() + timeout_s
        if self.socket is not None:
            self.socket.settimeout(timeout_s)
        self.send_data(request)
        return self.receive_data()

    def _recv_exact(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            left = self.deadline - time.monotonic()
            if left <= 0 or self.socket is None:
                raise S7TimeoutError("no answer in time")
            self.socket.settimeout(left)
            part = self.socket.recv(size - len(data))
            if not part:
                raise S7Error("the PLC closed the connection")
            data += part
        return data


class _Scan:
    """How a poll group is read: ranges put into requests, and what takes each tag's value out of its range."""

    def __init__(self, found: list[Range], pdu: int, items: int) -> None:
        """Plan the requests."""
        self.ranges = found
        self.requests = multi_reads(found, pdu, items)
        self._decodings: dict[Range, Decoding[bytes]] = {
            one: Decoding(placed(point, one.address) for point in one.points) for one in found
        }

    def samples(self, of: Range, data: bytes) -> dict[str, Sample]:
        """Return the samples of a range's tags."""
        return self._decodings[of].samples(lambda: data, data)


class S7Connector:
    """One connection to an S7 PLC."""

    def __init__(self, source: Source, options: S7Options) -> None:
        """Connect nothing yet."""
        self.requests = 0
        self.pdu = options.pdu
        self._source = source
        self._where = f"{source.host}:{source.port}"
        self._options = options
        self._scans = Plans[_Scan]()
        self._unsplit: dict[int, Plans[_Scan]] = {}  # by the PDU agreed on
        self._protocol = S7Protocol()
        self._link: _Link | None = None
        logging.getLogger("snap7").setLevel(logging.CRITICAL)  # a dead PLC is one event of ours, no line per try

    def connect(self) -> None:
        """Open the TCP connection, the ISO connection on it, and agree on a PDU: all within one timeout."""
        options, timeout = self._options, self._source.timeout_ms / 1e3
        place = _CONNECTIONS[options.connection] << 8 | options.rack << 5 | options.slot
        link = _Link(self._source.host, self._source.port, local_tsap=0x0100, remote_tsap=place)
        link.deadline = time.monotonic() + timeout
        try:
            link.connect(timeout)
            self._link = link
            request = self._protocol.build_setup_communication_request(pdu_length=options.pdu)
            pdu = pdu_of(link.exchange(request, link.deadline - time.monotonic()), self._protocol.sequence)
        except _WIRE_ERRORS as error:
            self.close()
            link.reset()
            raise ConnectorError(
                f"{self._where}, rack {options.rack}, slot {options.slot}: no S7 connection ({_first_line(error)}); "
                "check cable, address, rack and slot"
            ) from error
        if pdu < SMALLEST_PDU:
            self.close()
            raise ConnectorError(f"{self._where}: a PDU of {pdu} bytes is none that S7 has; check what answers there")
        self.pdu = min(pdu, options.pdu)

    def close(self) -> None:
        """Reset the connection."""
        if self._link is not None:
            self._link.reset()
            self._link = None

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        """Read in as few requests as the plan allows; a range that the PLC refuses is split until it answers."""
        scan = self._scans.get(tags)
        if scan is None:
            scan = self._planned(tags)
            self._scans.keep(tags, scan)
        waiting: list[_Scan] = [scan]
        settled: list[Range] = []
        while waiting:
            asked = waiting.pop()
            split: list[Range] = []
            gathered: dict[Range, dict[int, bytes | Refused]] = {}
            for request in asked.requests:
                samples: dict[str, Sample] = {}
                for piece, answer in zip(request, self._fetch(request), strict=True):
                    answers = gathered.setdefault(piece.of, {})
                    answers[piece.at] = answer
                    if len(answers) < piece.among:
                        continue
                    found = _settle(asked, piece.of, answers)
                    (split if found is None else settled).append(piece.of)
                    samples |= found or {}
                if samples:
                    yield samples
            if split:
                waiting.append(self._plan([half for one in split for half in one.halves()]))
        if len(settled) > len(scan.ranges):
            self._scans.keep(tags, self._plan(settled))

    def write(self, tag: Tag, value: Native) -> None:
        """Write one value in one request: a bit alone (its neighbours stay), a text only where there is room for it."""
        point, data = point_of(tag), encode(tag, value)
        if len(data) > most_written(self.pdu):
            raise TagError(
                f"{tag.name}: {len(data)} bytes; {self._where} takes {most_written(self.pdu)} in one request"
            )
        start, width = point.address, S7WordLen.BYTE
        if tag.form.kind is Kind.TEXT:
            check_room(tag, self._header(point), data)
            start += header_size(tag)
        elif tag.form.kind is Kind.BOOL and not tag.count:
            start, width = point.address * 8 + point.bit, S7WordLen.BIT
        request = self._protocol.build_write_request(_AREAS[point.letter], point.block, start, width, data)
        refused = self._ask(request, written)
        if refused is not None:
            raise TagError(f"{tag.name} at {self._where}: {refused}")

    def browse(self, bounds: Bounds) -> Iterator[Offered]:
        """Yield what the CPU says of itself, and what can be read of it."""
        protocol = self._protocol

        def status_list(number: int) -> bytes | Refused:
            return self._told(protocol.build_read_szl_request(number, 0), S7UserDataGroup.SZL, 1)

        def blocks() -> bytes | Refused:
            return self._told(protocol.build_list_blocks_of_type_request(DB), S7UserDataGroup.BLOCK_INFO, 2)

        def block_info(number: int) -> bytes | Refused:
            return self._told(protocol.build_get_block_info_request(DB, number), S7UserDataGroup.BLOCK_INFO, 3)

        def read(area: str, block: int, address: int) -> bytes | Refused:
            return self._read([(_AREAS[area], block, address, 1)])[0]

        return browse(Cpu(status_list, blocks, block_info, read), bounds)

    def _told(self, request: bytes, group: int, function: int) -> bytes | Refused:
        """Return an answer about the CPU, put together from its parts."""
        data = b""
        for _ in range(_MOST_PARTS):
            answer = self._ask(request, told)
            if isinstance(answer, Refused):
                return answer
            data += answer.data
            if not answer.more:
                break
            request = self._protocol.build_userdata_followup_request(group, function, answer.number)
        return data

    def follow(self, before: object) -> None:
        """Know the plans as they were before the PLC refused parts of them."""
        if isinstance(before, S7Connector):
            self._unsplit = before._unsplit

    def _planned(self, tags: Sequence[Tag]) -> _Scan:
        plans = self._unsplit.setdefault(self.pdu, Plans[_Scan]())
        scan = plans.get(tags)
        if scan is None:
            scan = self._plan(ranges(tags, self._options.gap, self.pdu))
            plans.keep(tags, scan)
        return scan

    def _plan(self, found: list[Range]) -> _Scan:
        return _Scan(found, self.pdu, self._options.items)

    def _header(self, point: Point) -> bytes:
        size = 2 * header_size(point.tag)
        (answer,) = self._read([(_AREAS[point.letter], point.block, point.address, size)])
        if isinstance(answer, Refused):
            raise TagError(f"{point.tag.name} at {self._where}: {answer}")
        return answer

    def _fetch(self, request: Sequence[Piece]) -> list[bytes | Refused]:
        """Ask for pieces; a request that is refused as a whole is halved, for PLCs that take fewer items."""
        answers = self._read(
            [(_AREAS[one.of.letter], one.of.block, one.of.address + one.at, one.size) for one in request]
        )
        first = answers[0]
        if len(request) > 1 and isinstance(first, Refused) and first.whole and not first.forbidden:
            middle = len(request) // 2
            return self._fetch(request[:middle]) + self._fetch(request[middle:])
        return answers

    def _read(self, items: list[tuple[int, int, int, int]]) -> list[bytes | Refused]:
        sizes = [size for *_, size in items]
        request = self._protocol.build_multi_read_request(items)
        return self._ask(request, lambda reply, sequence: read_items(reply, sequence, sizes))

    def _ask(self, request: bytes, parse: Callable[[bytes, int], _Answer]) -> _Answer:
        """Make one request.

        Raises:
            ConnectorError: no answer, or one that is not to this request; nothing that comes after it can be trusted.
        """
        self.requests += 1
        link = self._link
        if link is None:
            raise ConnectorError(f"{self._where} is not connected")
        try:
            return parse(link.exchange(request, self._source.timeout_ms / 1e3), self._protocol.sequence)
        except _WIRE_ERRORS as error:
            self.close()
            raise ConnectorError(
                f"{self._where}: no usable answer ({_first_line(error)}); check cable and PLC"
            ) from error


def _settle(scan: _Scan, of: Range, answers: dict[int, bytes | Refused]) -> dict[str, Sample] | None:
    """Return the samples of a range that has all its answers, None where it is refused and can be split."""
    data: list[bytes] = []
    for at in sorted(answers):
        answer = answers[at]
        if isinstance(answer, Refused):
            if len(of.points) > 1 and not answer.forbidden:
                return None
            bad = Sample(quality=Quality.BAD, reason=str(answer))
            return {point.tag.name: bad for point in of.points}
        data.append(answer)
    return scan.samples(of, data[0] if len(data) == 1 else b"".join(data))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
