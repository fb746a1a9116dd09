"""Conversations between a driver and its peer: recorded by a proxy, then replayed by a server that spoils one answer.

The server answers what it is asked as the peer did, with the live request's numbers in place of the recorded ones, so
that a spoilt answer is otherwise a valid one. What the peer was never asked ends the connection.
"""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

Spoiling = Literal["cut and closed", "cut and silent", "cut as said", "flipped"]
GIVE_UP_S = 10.0


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, as bytes of the wire."""

    request: bytes
    answer: bytes


@dataclass(frozen=True)
class Spoilt:
    """Which answer of a conversation is spoilt, how, and at which byte (cut) or bit (flipped)."""

    number: int
    how: Spoiling
    at: int

    def applied(self, frame: bytes, framing: "Telling") -> bytes:
        """The answer as it is sent."""
        if self.how == "flipped":
            at, bit = divmod(self.at, 8)
            return frame[:at] + bytes([frame[at] ^ 1 << bit]) + frame[at + 1 :]
        return framing.telling(frame[: self.at]) if self.how == "cut as said" else frame[: self.at]


class Telling(Protocol):
    """What makes a message whole that was cut."""

    def telling(self, cut: bytes) -> bytes: ...


@dataclass(frozen=True)
class Framing:
    """Where a protocol's header says how long a message is: `size` bytes of header, the length at `at`, plus `more`."""

    size: int
    at: int
    form: str
    more: int = 0

    def telling(self, cut: bytes) -> bytes:
        """What is left of a message, its length made right where that is still there."""
        if len(cut) < self.size:
            return cut
        told = struct.pack(self.form, len(cut) - self.more)
        return cut[: self.at] + told + cut[self.at + len(told) :]

    def receive(self, link: socket.socket) -> bytes:
        """One message; OSError where the link ends."""
        head = _exactly(link, self.size)
        (told,) = struct.unpack_from(self.form, head, self.at)
        return head + _exactly(link, told + self.more - self.size)


class Dialect(Protocol):
    """What a protocol numbers anew on each connection; one object a connection."""

    framing: Framing

    def meaning(self, request: bytes) -> bytes:
        """A request without its numbers: the same for the same question."""
        ...

    def fitted(self, exchange: Exchange, request: bytes) -> bytes:
        """The recorded answer with the numbers of a live request."""
        ...


@dataclass
class Recording:
    """What was said on connections to a peer, in order."""

    dialect: Callable[[], Dialect]
    exchanges: list[Exchange] = field(default_factory=list)

    def library(self) -> dict[bytes, int]:
        """The first exchange of each meaning."""
        found: dict[bytes, int] = {}
        for number, one in enumerate(self.exchanges):
            found.setdefault(self.dialect().meaning(one.request), number)
        return found


@contextlib.contextmanager
def recorder(peer_port: int, recording: Recording) -> Iterator[int]:
    """The port of a proxy to a peer that notes what is said on it."""
    framing = recording.dialect().framing

    def serve(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", peer_port), GIVE_UP_S) as peer:
            while True:
                ready, _, _ = select.select([client, peer], [], [], GIVE_UP_S)
                if client in ready:
                    request = framing.receive(client)
                    recording.exchanges.append(Exchange(request, b""))
                    peer.sendall(request)
                elif peer in ready:
                    answer = framing.receive(peer)
                    asked = recording.exchanges[-1].request
                    recording.exchanges[-1] = Exchange(asked, recording.exchanges[-1].answer + answer)
                    client.sendall(answer)
                else:
                    return

    with _served(serve) as port:
        yield port


class HostileServer:
    """Replays a recording; `spoilt` says what of the next connection."""

    def __init__(self, recording: Recording) -> None:
        self.spoilt: Spoilt | None = None
        self.sent = False  # whether the spoilt answer was sent
        self.astray: list[bytes] = []  # what was asked that the peer was never asked
        self._recording = recording
        self._library = recording.library()

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """Serve on a port."""
        with _served(self._serve) as port:
            yield port

    def _serve(self, client: socket.socket) -> None:
        dialect, spoilt = self._recording.dialect(), self.spoilt
        self.sent = False
        while True:
            request = dialect.framing.receive(client)
            number = self._library.get(dialect.meaning(request))
            if number is None:
                self.astray.append(request)
                return
            answer = dialect.fitted(self._recording.exchanges[number], request)
            if spoilt is None or number != spoilt.number or self.sent:
                client.sendall(answer)
                continue
            self.sent = True
            client.sendall(spoilt.applied(answer, dialect.framing))
            if spoilt.how == "cut and closed":
                return
            if spoilt.how == "cut and silent":
                client.recv(1)
                return


@contextlib.contextmanager
def _served(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """One connection after the other, each with a time to end in."""

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.settimeout(GIVE_UP_S)
                with client, contextlib.suppress(OSError):
                    serve(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), name="hostile", daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            thread.join(GIVE_UP_S)


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            raise OSError("closed")
        data += part
    return data


# -- dialects ----------------------------------------------------------------------------------------------------------


class ModbusTcp:
    """A transaction's number, then 0, length, unit."""

    framing = Framing(6, 4, ">H", 6)

    def meaning(self, request: bytes) -> bytes:
        return request[2:]

    def fitted(self, exchange: Exchange, request: bytes) -> bytes:
        return request[:2] + exchange.answer[2:]


class S7:
    """The PDU reference, at 4 of the S7 header behind TPKT (4) and COTP (3); the connection request has none."""

    framing = Framing(4, 2, ">H")

    def meaning(self, request: bytes) -> bytes:
        return request[:11] + request[13:] if request[7] == 0x32 else request[:6]

    def fitted(self, exchange: Exchange, request: bytes) -> bytes:
        answer = exchange.answer
        return answer[:11] + request[11:13] + answer[13:] if request[7] == 0x32 else answer


class EtherNetIp:
    """Session and context, the client's connection id, which is random, and the count of a connected message."""

    framing = Framing(24, 2, "<H", 24)
    _CONNECTED, _ID = b"\x70\0", slice(36, 40)

    def __init__(self) -> None:
        self._opened: tuple[bytes, bytes] | None = None  # the recorded id of the connection, the live one

    def meaning(self, request: bytes) -> bytes:
        if request[:2] == self._CONNECTED:
            return request[:2] + request[46:]
        at = self._forward_open(request)
        return request[:2] + (request[24:] if at is None else request[24:at])

    def fitted(self, exchange: Exchange, request: bytes) -> bytes:
        answer = exchange.answer
        if request[:2] == self._CONNECTED:
            answer = answer[:44] + request[44:46] + answer[46:]
        at = self._forward_open(request)
        if at is not None:
            self._opened = exchange.request[at : at + 4], request[at : at + 4]
        if self._opened is not None:
            answer = answer.replace(*self._opened)
        session = answer[4:8] if request[:2] == b"\x65\0" else request[4:8]
        return answer[:4] + session + answer[8:12] + request[12:20] + answer[20:]

    def _forward_open(self, request: bytes) -> int | None:
        """Where the client's connection id lies in a (Large) Forward Open."""
        service = request[40:41]
        return 40 + 2 + 2 * request[41] + 6 if request[:2] == b"\x6f\0" and service in (b"\x54", b"\x5b") else None


class OpcUa:
    """Sequence numbers and request ids of the channel, the request's handle; the server counts its own messages."""

    framing = Framing(8, 4, "<I")
    _READ, _WRITE = 631, 673
    _HEADER = 27  # behind the token: time, handle, diagnostics, no audit entry, timeout, no additional header

    def __init__(self) -> None:
        self._sequence: int | None = None

    def meaning(self, request: bytes) -> bytes:
        if request[:3] != b"MSG":
            return request[:3]
        kind = int.from_bytes(request[26:28], "little")
        if kind not in (self._READ, self._WRITE):
            return request[24:28]
        token = _node_id_size(request[28:])
        return request[24:28] + request[28 + token + self._HEADER :]

    def fitted(self, exchange: Exchange, request: bytes) -> bytes:
        answer = exchange.answer
        if request[:3] == b"OPN":
            at = 12 + 4 + int.from_bytes(answer[12:16], "little") + 8  # no certificates without security
            self._sequence = int.from_bytes(answer[at : at + 4], "little")
        if request[:3] != b"MSG" or self._sequence is None:
            return answer
        self._sequence += 1
        handle = 28 + _node_id_size(request[28:]) + 8
        numbers = struct.pack("<I", self._sequence) + request[20:24]
        return answer[:16] + numbers + answer[24:36] + request[handle : handle + 4] + answer[40:]


def _node_id_size(data: bytes) -> int:
    """How long a NodeId is: two-byte, four-byte, numeric, text, GUID, bytes."""
    form = data[0]
    if form in (3, 5):
        return 7 + int.from_bytes(data[3:7], "little")
    return {0: 2, 1: 4, 2: 7, 4: 19}[form]
