"""An EtherNet/IP server: sessions, unconnected and connected explicit messages, in front of a message router.

Source: ODVA, CIP volume 2 (encapsulation: header of 24 bytes, common packet format) and volume 1, 3-5 (connection
manager: Forward Open, Large Forward Open, Forward Close, Unconnected Send). There are no implicit (cyclic) connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from dataclasses import dataclass
from typing import Final, Protocol

from edge.sim.logix_memory import NO_SERVICE, TOO_LITTLE, CipError
from edge.sim.logix_services import identity_fields, parse_path

LIST_SERVICES, LIST_IDENTITY, REGISTER, UNREGISTER, SEND_RR, SEND_UNIT = 0x04, 0x63, 0x65, 0x66, 0x6F, 0x70
_HEADER: Final = struct.Struct("<HHII8sI")
_NULL, _CONNECTED, _CONNECTED_DATA, _UNCONNECTED_DATA = 0x00, 0xA1, 0xB1, 0xB2
_MANAGER: Final = 0x06
_FORWARD_OPEN, _LARGE_FORWARD_OPEN, _FORWARD_CLOSE, _UNCONNECTED_SEND = 0x54, 0x5B, 0x4E, 0x52
_MOST_CONNECTIONS: Final = 64
_UNCONNECTED_ROOM: Final = 504
_BAD_COMMAND, _NO_SESSION, _BAD_DATA = 0x01, 0x64, 0x03
_IDLE_S: Final = 120.0


class Messages(Protocol):
    """What carries out a CIP request."""

    def answer(self, request: bytes, room: int) -> bytes:
        """Return the reply, in at most `room` bytes."""
        ...


@dataclass(frozen=True)
class _Connection:
    """An explicit connection: what the client calls it, and how large a message may be."""

    client_id: int
    room: int
    serial: bytes


class EtherNetIpServer:
    """Serves a router over TCP; a client that says what is no EtherNet/IP is cut off."""

    def __init__(self, router: Messages, large: bool = True) -> None:
        """`large`: grants Large Forward Opens, as controllers from 2013 on do."""
        self._router, self._large = router, large
        self._server: asyncio.Server | None = None
        self._sessions = itertools.count(1)
        self._links: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Start to serve; return the port."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop to serve, and end the links."""
        if self._server is not None:
            self._server.close()
        for task in self._links:
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._links.add(task)
            task.add_done_callback(self._links.discard)
        link = _Link(self._router, next(self._sessions), self._large)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.CancelledError):
            while not link.over:
                async with asyncio.timeout(_IDLE_S):
                    head = await reader.readexactly(_HEADER.size)
                    body = await reader.readexactly(int.from_bytes(head[2:4], "little"))
                writer.write(link.take(head, body))
                await writer.drain()
        writer.close()


class _Link:
    """One client's TCP connection: its session and its connections."""

    def __init__(self, router: Messages, session: int, large: bool) -> None:
        self.over = False
        self._router, self._large = router, large
        self._session, self._registered = session, False
        self._connections: dict[int, _Connection] = {}
        self._ids = itertools.count(session << 16 | 1)

    def take(self, head: bytes, body: bytes) -> bytes:
        """Return the answer to one message; nothing where there is none."""
        command, _, session, _, context, _ = _HEADER.unpack(head)
        status, data = 0, b""
        if command == REGISTER:
            self._registered, session, data = True, self._session, body[:4]
        elif command == UNREGISTER:
            self.over = True
            return b""
        elif command == LIST_SERVICES:
            data = struct.pack("<HHHHH16s", 1, 0x100, 20, 1, 0x120, b"Communications")
        elif command == LIST_IDENTITY:
            data = _listed()
        elif command in (SEND_RR, SEND_UNIT):
            if not self._registered or session != self._session:
                status = _NO_SESSION
            else:
                try:
                    data = self._message(body)
                except (struct.error, IndexError, KeyError):
                    status = _BAD_DATA
        else:
            status = _BAD_COMMAND
        return _HEADER.pack(command, len(data), session, status, context, 0) + data

    def _message(self, body: bytes) -> bytes:
        items = _items(body)
        if _CONNECTED in items:
            (number,) = struct.unpack("<I", items[_CONNECTED])
            connection, packet = self._connections[number], items[_CONNECTED_DATA]
            reply = packet[:2] + self._router.answer(packet[2:], connection.room)
            address = struct.pack("<HHI", _CONNECTED, 4, connection.client_id)
            return body[:6] + struct.pack("<H", 2) + address + struct.pack("<HH", _CONNECTED_DATA, len(reply)) + reply
        reply = self._unconnected(items[_UNCONNECTED_DATA])
        head = struct.pack("<HHHHH", 2, _NULL, 0, _UNCONNECTED_DATA, len(reply))
        return body[:6] + head + reply

    def _unconnected(self, request: bytes) -> bytes:
        service, end = request[0], 2 + 2 * request[1]
        try:
            if parse_path(request[2:end]).value(0) != _MANAGER:
                return self._router.answer(request, _UNCONNECTED_ROOM)
            return self._manage(service, request[end:])
        except CipError as error:
            return bytes([service | 0x80, 0, error.status[0], 0])

    def _manage(self, service: int, data: bytes) -> bytes:
        if service == _UNCONNECTED_SEND:
            (size,) = struct.unpack_from("<H", data, 2)
            if len(data) < 4 + size or not size:
                raise CipError(TOO_LITTLE)
            return self._router.answer(data[4 : 4 + size], _UNCONNECTED_ROOM)
        if service == _FORWARD_OPEN or (service == _LARGE_FORWARD_OPEN and self._large):
            return bytes([service | 0x80, 0, 0, 0]) + self._open(data, service == _LARGE_FORWARD_OPEN)
        if service == _FORWARD_CLOSE:
            serial = data[2:10]
            self._connections = {n: one for n, one in self._connections.items() if one.serial != serial}
            return bytes([service | 0x80, 0, 0, 0]) + serial + bytes(2)
        raise CipError(NO_SERVICE)

    def _open(self, data: bytes, large: bool) -> bytes:
        if len(self._connections) >= _MOST_CONNECTIONS:
            raise CipError((0x01, None))
        _, client_id = struct.unpack_from("<II", data, 2)
        serial = data[10:18]
        form, size_mask = ("<IIII", 0xFFFF) if large else ("<IHIH", 0x1FF)
        out_rpi, _, in_rpi, in_parameters = struct.unpack_from(form, data, 22)
        number = next(self._ids)
        self._connections[number] = _Connection(client_id, in_parameters & size_mask, serial)
        return struct.pack("<II", number, client_id) + serial + struct.pack("<IIBB", out_rpi, in_rpi, 0, 0)


def _items(body: bytes) -> dict[int, bytes]:
    """Return the items of a common packet after the interface handle and the timeout."""
    (count,) = struct.unpack_from("<H", body, 6)
    found: dict[int, bytes] = {}
    at = 8
    for _ in range(min(count, 4)):
        kind, length = struct.unpack_from("<HH", body, at)
        if at + 4 + length > len(body):
            raise IndexError("an item is cut short")
        found[kind] = body[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def _listed() -> bytes:
    """Return the one item of an answer to List Identity."""
    address = struct.pack(">HHI8s", 2, 44818, 0x7F00_0001, bytes(8))
    item = struct.pack("<H", 1) + address + b"".join(identity_fields().values()) + b"\x03"
    return struct.pack("<HHH", 1, 0x0C, len(item)) + item
