"""The simulated plant's cameras and sensors: a TCP server that pushes one shot per trigger to every grabber.

Framing, both ends in this file (`pack_shot`, `read_shot`): a 4-byte big-endian length, then that many bytes of
MessagePack, one map with the keys of `Shot`. `age_us` is the chunk data of a machine-vision camera: the time from the
trigger to the moment when the bytes left, so that a grabber on another clock can date the trigger. A grabber says in
one line which of them it wants (`line`, `tray`, `gear`), then nothing. The newest picture wins: one that a slow grabber
has not taken is replaced and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Mapping

import msgspec

_LENGTH = struct.Struct(">I")
_BUFFER = 65_536  # a few pictures: with the kernel's megabytes a slow grabber would see the past
MAX_SHOT_BYTES = 64 * 1024 * 1024
_NAME_BYTES = 256
_NAMED_S = 5.0


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One picture as it travels: `data` is C-ordered `dtype` of `shape`; `age_us` since the trigger when sent."""

    part_id: int
    age_us: int
    shape: tuple[int, ...]
    dtype: str
    data: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Shot).decode


def pack_shot(shot: Shot) -> bytes:
    """Return a shot as it travels, with its length in front."""
    body = _encode(shot)
    return _LENGTH.pack(len(body)) + body


def read_shot(receive: Callable[[int], bytes]) -> Shot:
    """Read one shot; `receive(n)` returns exactly n bytes or raises.

    Raises:
        ValueError: what came is no shot; close the connection, the framing is lost.
    """
    (size,) = _LENGTH.unpack(receive(_LENGTH.size))
    if not 0 < size <= MAX_SHOT_BYTES:
        raise ValueError(f"a shot of {size} bytes; the most is {MAX_SHOT_BYTES}")
    try:
        return _decode(receive(size))
    except msgspec.DecodeError as error:
        raise ValueError(f"not a shot: {error}") from error


class Feed:
    """What one camera or sensor of the plant shows; `shoot` never waits."""

    def __init__(
        self,
        take: Callable[[int], bytes],
        shape: tuple[int, ...],
        dtype: str,
        want: Callable[[bool], None] | None = None,
    ) -> None:
        """`take` returns the data of a number; `want` is told whether anybody looks."""
        self.sent = 0
        self.replaced = 0
        self._take, self._want = take, want
        self._shape, self._dtype = shape, dtype
        self._grabbers: set[_Grabber] = set()

    @property
    def grabbers(self) -> int:
        """How many are connected."""
        return len(self._grabbers)

    def shoot(self, number: int, trigger_ns: int) -> None:
        """Show what was triggered at `trigger_ns` of CLOCK_MONOTONIC."""
        if not self._grabbers:
            return
        data = self._take(number)
        for grabber in self._grabbers:
            self.replaced += grabber.offer(number, trigger_ns, data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Push to one grabber until its connection ends."""
        grabber = _Grabber(writer, self._pack)
        self._grabbers.add(grabber)
        self._look()
        sender = asyncio.ensure_future(grabber.send_all())
        try:
            await reader.read()  # a grabber says nothing more: this ends with its connection
        except OSError:
            pass
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sender
            self._grabbers.discard(grabber)
            self._look()
            writer.close()

    def close(self) -> None:
        """End all connections."""
        for grabber in list(self._grabbers):
            grabber.close()

    def _look(self) -> None:
        if self._want is not None:
            self._want(bool(self._grabbers))

    def _pack(self, number: int, trigger_ns: int, data: bytes) -> bytes:
        self.sent += 1
        age_us = (time.monotonic_ns() - trigger_ns) // 1000
        return pack_shot(Shot(part_id=number, age_us=age_us, shape=self._shape, dtype=self._dtype, data=data))


class CameraServer:
    """One port for all that the plant's cameras and sensors show."""

    def __init__(self, feeds: Mapping[str, Feed]) -> None:
        """Serve nobody until `listen`. `feeds` by the name that a grabber asks for."""
        self.feeds = feeds
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Start to serve; return the port."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=_NAME_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop to serve and end all connections."""
        if self._server is not None:
            self._server.close()
        for feed in self.feeds.values():
            feed.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_NAMED_S):
                feed = self.feeds.get((await reader.readline()).decode(errors="replace").strip())
        except (OSError, ValueError, TimeoutError):
            feed = None
        if feed is None:
            writer.close()
            return
        await feed.serve(reader, writer)


class _Grabber:
    """One connection and the newest picture that it has not been sent."""

    def __init__(self, writer: asyncio.StreamWriter, pack: Callable[[int, int, bytes], bytes]) -> None:
        self._writer = writer
        self._pack = pack
        self._newest: tuple[int, int, bytes] | None = None
        self._arrived = asyncio.Event()
        connection: socket.socket | None = writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits until the socket has taken all

    def offer(self, part_id: int, trigger_ns: int, pixels: bytes) -> int:
        """Put a picture in; return 1 if it replaced one, else 0."""
        replaced = int(self._newest is not None)
        self._newest = (part_id, trigger_ns, pixels)
        self._arrived.set()
        return replaced

    async def send_all(self) -> None:
        """Send the newest picture each time that the last one has left."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._newest is None:
                continue
            shot, self._newest = self._newest, None
            self._writer.write(self._pack(*shot))
            await self._writer.drain()

    def close(self) -> None:
        self._writer.close()
