"""The simulated line camera: a TCP server that pushes one picture per trigger to every grabber that is connected.

Framing, both ends in this file (`pack_shot`, `read_shot`): a 4-byte big-endian length, then that many bytes of
MessagePack, one map with the keys of `Shot`. `age_us` is the chunk data of a machine-vision camera: the time from the
trigger to the moment when the bytes left, so that a grabber on another clock can date the trigger. A grabber sends
nothing. The newest picture wins: one that a slow grabber has not taken is replaced and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

import msgspec
import numpy as np

from edge.sim.parts import PartStream

_LENGTH = struct.Struct(">I")
_BUFFER = 65_536  # a few pictures: with the kernel's megabytes a slow grabber would see the past
MAX_SHOT_BYTES = 64 * 1024 * 1024


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


class Album:
    """Pictures drawn a few parts ahead in a thread of its own, while somebody looks."""

    def __init__(self, stream: PartStream, ahead: int = 24) -> None:
        """Draw nothing until `start`."""
        self.drawn_late = 0
        self._stream = stream
        self._ahead = ahead
        self._ready: dict[int, bytes] = {}
        self._next = 1
        self._wanted = False
        self._open = True
        self._turn = threading.Condition()
        self._thread = threading.Thread(target=self._draw, name="sim-album", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and wait for it."""
        with self._turn:
            self._open = False
            self._turn.notify()
        self._thread.join(timeout=2.0)

    def want(self, wanted: bool) -> None:
        """Say whether anybody looks."""
        with self._turn:
            self._wanted = wanted
            self._turn.notify()

    def take(self, part_id: int) -> bytes:
        """Return the pixels of a part; drawn on the spot, and counted, if the thread has not come that far."""
        with self._turn:
            pixels = self._ready.pop(part_id, None)
            for old in [known for known in self._ready if known < part_id]:
                del self._ready[old]
            self._next = max(self._next, part_id + 1)
            self._turn.notify()
        if pixels is None:
            self.drawn_late += 1
            pixels = self._stream.image(part_id).tobytes()
        return pixels

    def _draw(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: not self._open or (self._wanted and len(self._ready) < self._ahead))
                if not self._open:
                    return
                part_id, self._next = self._next, self._next + 1
            pixels = self._stream.image(part_id).tobytes()
            with self._turn:
                self._ready[part_id] = pixels


class CameraServer:
    """Pushes each picture to the grabbers; `shoot` never waits."""

    def __init__(
        self, album: Album, shape: tuple[int, ...] = (64, 64, 3), dtype: str = np.dtype(np.uint8).name
    ) -> None:
        """Serve nobody until `listen`."""
        self.sent = 0
        self.replaced = 0
        self._album = album
        self._shape, self._dtype = shape, dtype
        self._grabbers: set[_Grabber] = set()
        self._server: asyncio.Server | None = None

    @property
    def grabbers(self) -> int:
        """How many are connected."""
        return len(self._grabbers)

    async def listen(self, host: str, port: int) -> int:
        """Start to serve; return the port."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop to serve and end all connections."""
        if self._server is not None:
            self._server.close()
        for grabber in list(self._grabbers):
            grabber.close()

    def shoot(self, part_id: int, trigger_ns: int) -> None:
        """Take a picture of a part, triggered at `trigger_ns` of CLOCK_MONOTONIC."""
        if not self._grabbers:
            return
        pixels = self._album.take(part_id)
        for grabber in self._grabbers:
            self.replaced += grabber.offer(part_id, trigger_ns, pixels)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        grabber = _Grabber(writer, self._pack)
        self._grabbers.add(grabber)
        self._album.want(True)
        sender = asyncio.ensure_future(grabber.send_all())
        try:
            await reader.read()  # a grabber says nothing: this ends with its connection
        except OSError:
            pass
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sender
            self._grabbers.discard(grabber)
            self._album.want(bool(self._grabbers))
            writer.close()

    def _pack(self, part_id: int, trigger_ns: int, pixels: bytes) -> bytes:
        self.sent += 1
        age_us = (time.monotonic_ns() - trigger_ns) // 1000
        return pack_shot(Shot(part_id=part_id, age_us=age_us, shape=self._shape, dtype=self._dtype, data=pixels))


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
