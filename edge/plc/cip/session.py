"""One EtherNet/IP connection: session and Forward Open by pycomm3, then requests, each with one deadline.

pycomm3's own reads wait `timeout` for each 256 bytes, take any reply for the one to their request, and its LogixDriver
uploads every tag of the controller before the first read. So the exchange is ours: session, connection and sequence
number of a reply have to be those of the request.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from typing import Final

from pycomm3 import CIPDriver
from pycomm3.exceptions import PycommError
from pycomm3.socket_ import Socket

LARGE, SMALL = 4000, 500
_HEADER: Final = struct.Struct("<HHII8sI")
_SEND_RR, _SEND_UNIT = 0x6F, 0x70
_NULL, _CONNECTED, _CONNECTED_DATA, _UNCONNECTED_DATA = 0x00, 0xA1, 0xB1, 0xB2
_UNCONNECTED_SIZE: Final = 504
_CONTEXT: Final = b"plntedge"
_MOST_BYTES: Final = 65_535 + _HEADER.size
# What garbage on the wire makes pycomm3 or us raise.
WIRE_ERRORS: Final = (PycommError, OSError, struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError)


class _Wire(Socket):
    """pycomm3's socket with a deadline: a peer that trickles bytes can't hold it up."""

    def __init__(self, timeout_s: float) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.deadline = time.monotonic() + timeout_s

    def connect(self, host: str, port: int) -> None:
        self._limit()
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, msg: bytes, timeout: float = 0) -> int:
        del timeout
        self._limit()
        self.sock.sendall(msg)
        return len(msg)

    def receive(self, timeout: float = 0) -> bytes:
        del timeout
        head = self._exactly(_HEADER.size)
        return head + self._exactly(int.from_bytes(head[2:4], "little"))

    def reset(self) -> None:
        """Close at once: what a dead link has not delivered must not reach the PLC minutes later."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _limit(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        self.sock.settimeout(left)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._limit()
            part = self.sock.recv(size - len(data))
            if not part:
                raise ConnectionError("the PLC closed the connection")
            data += part
        return data


class CipSession(CIPDriver):
    """A session with a controller, and where it takes one a connection to its message router."""

    def __init__(self, path: str, *, connected: bool, large: bool, timeout_s: float) -> None:
        """`path`: address, port and route as pycomm3 writes them, such as `10.0.0.5:44818/bp/0`."""
        super().__init__(path)  # pyright: ignore[reportUnknownMemberType]  # the same
        for name in ("pycomm3", "pycomm3.cip_driver"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # a dead PLC is one event of ours, no line per try
        self.size = _UNCONNECTED_SIZE
        self._connected, self._timeout_s = connected, timeout_s
        self._number = 0
        self._cfg["extended forward open"] = large
        self._wire: _Wire | None = None

    def start(self) -> None:
        """Connect, register the session, open the connection: all within one timeout.

        Raises:
            ConnectionError: the device refused the session or the connection; WIRE_ERRORS for all else.
        """
        self._sock = self._wire = _Wire(self._timeout_s)
        if not self.open():  # type: ignore[no-untyped-call]  # pycomm3 leaves it untyped
            raise ConnectionError("it refused the session")
        if not self._connected:
            return
        sizes = [LARGE, SMALL] if self._cfg["extended forward open"] else [SMALL]
        for size in sizes:
            self._cfg["extended forward open"], self._cfg["connection_size"] = size == LARGE, size
            if self._forward_open():  # type: ignore[no-untyped-call]  # pycomm3 leaves it untyped
                self.size = size
                return
        raise ConnectionError("it refused the connection (Forward Open); is the slot right, are connections left?")

    def exchange(self, request: bytes) -> bytes:
        """Return the reply to one CIP request.

        Raises:
            ValueError: what came is no reply to it; nothing after it can be trusted. WIRE_ERRORS for all else.
        """
        wire = self._wire
        if wire is None:
            raise ConnectionError("not connected")
        wire.deadline = time.monotonic() + self._timeout_s
        if not self._connected:
            item = struct.pack("<HHHH", _NULL, 0, _UNCONNECTED_DATA, len(request)) + request
            wire.send(self._message(_SEND_RR, item))
            return self._unconnected(wire.receive())
        self._number = self._number % 0xFFFF + 1
        item = struct.pack("<HH4sHHH", _CONNECTED, 4, self._target_cid, _CONNECTED_DATA, len(request) + 2, self._number)
        wire.send(self._message(_SEND_UNIT, item + request))
        return self._answered(wire.receive())

    def reset(self) -> None:
        """Close the socket; never raises."""
        if self._wire is not None:
            self._wire.reset()
            self._wire = self._sock = None

    def _message(self, command: int, items: bytes) -> bytes:
        body = struct.pack("<IHH", 0, 0, 2) + items
        return _HEADER.pack(command, len(body), self._session, 0, _CONTEXT, 0) + body

    def _items(self, message: bytes, command: int) -> tuple[int, bytes, int, bytes]:
        """Return type and bytes of the two items of an answer."""
        told, _, session, status, _, _ = _HEADER.unpack_from(message)
        if (told, session, status) != (command, self._session, 0):
            raise ValueError(f"an answer of command 16#{told:02X}, session {session}, status {status}")
        count, first, size = struct.unpack_from("<HHH", message, _HEADER.size + 6)
        at = _HEADER.size + 12 + size
        second, length = struct.unpack_from("<HH", message, at)
        if count != 2 or len(message) != at + 4 + length:
            raise ValueError("an answer of another length than it says")
        return first, message[at - size : at], second, message[at + 4 :]

    def _answered(self, message: bytes) -> bytes:
        first, address, second, data = self._items(message, _SEND_UNIT)
        if (first, second) != (_CONNECTED, _CONNECTED_DATA) or address != self._cfg["cid"]:
            raise ValueError("an answer of another connection")
        if int.from_bytes(data[:2], "little") != self._number or len(data) < 2:
            raise ValueError("an answer to another request")
        return data[2:]

    def _unconnected(self, message: bytes) -> bytes:
        first, _, second, data = self._items(message, _SEND_RR)
        if (first, second) != (_NULL, _UNCONNECTED_DATA) or message[12:20] != _CONTEXT:
            raise ValueError("an answer to another request")
        return data
