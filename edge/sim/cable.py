"""A cable that can be cut: a TCP relay in front of a simulated server.

`cut` is a pulled plug: nothing is forwarded, nobody is accepted (the kernel's backlog still shakes hands, as a dead
gateway does), no connection is reset. `slow` delays each piece. `garbage` flips bits of what the server says.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Literal, get_args

FaultKind = Literal["cut", "slow", "garbage"]
FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)
_PIECE = 65_536
_BUFFER = 65_536  # a wire holds little: what a reader does not take has to press back on its sender
_NOTICE_S = 0.01  # for the loop to see what became of the connections meanwhile


@dataclass(frozen=True)
class CableFault:
    """What is wrong with a cable until `until_s` of the monotonic clock."""

    kind: FaultKind
    until_s: float
    delay_s: float = 0.2


class Breakable:
    """What can be damaged for some seconds, inside a running loop."""

    def __init__(self, seed: int = 1) -> None:
        """Whole at first."""
        self.fault: CableFault | None = None
        self._random = random.Random(seed)  # noqa: S311 - reproducible noise, no secret
        self._whole = asyncio.Event()
        self._whole.set()
        self._mend: asyncio.TimerHandle | None = None

    def damage(self, kind: FaultKind, for_s: float, delay_s: float = 0.2) -> None:
        """Break it for some seconds; a new fault takes the place of the one before."""
        self.clear()
        self.fault = CableFault(kind, time.monotonic() + for_s, delay_s)
        if kind == "cut":
            self._whole.clear()
        self._mend = asyncio.get_running_loop().call_later(for_s, self.clear)

    def clear(self) -> None:
        """Mend it."""
        if self._mend is not None:
            self._mend.cancel()
        self.fault = None
        self._whole.set()

    def close(self) -> None:
        """Let nothing pass any more."""
        if self._mend is not None:
            self._mend.cancel()

    def _spoilt(self, piece: bytes) -> bytes:
        if self.fault is None or self.fault.kind != "garbage":
            return piece
        return bytes(byte ^ (self._random.getrandbits(8) if self._random.random() < 0.3 else 0) for byte in piece)


class Cable(Breakable):
    """Relays one listening port to one server."""

    def __init__(self, seed: int = 1) -> None:
        """Relay nothing until `lay`."""
        super().__init__(seed)
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def lay(self, host: str, port: int, to_port: int) -> int:
        """Listen on `host:port` and relay to `127.0.0.1:to_port`; return the port."""
        self._listener = socket.create_server((host, port), backlog=64)
        self._listener.setblocking(False)
        self._spawn(self._accept(self._listener, to_port))
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """End all connections and stop to listen."""
        super().close()
        for task in self._tasks:
            task.cancel()
        if self._listener is not None:
            self._listener.close()

    async def _accept(self, listener: socket.socket, to_port: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._whole.wait()
            near, _ = await loop.sock_accept(listener)
            self._spawn(self._relay(near, to_port))

    async def _relay(self, near: socket.socket, to_port: int) -> None:
        await self._whole.wait()
        with contextlib.suppress(OSError):
            far = socket.create_connection(("127.0.0.1", to_port), timeout=1.0)  # our own server: connects at once
            ends = (await _streams(near), await _streams(far))
            try:
                await _either(
                    self._forward(ends[0][0], ends[1][1], bytes), self._forward(ends[1][0], ends[0][1], self._spoilt)
                )
            finally:
                for _, writer in ends:
                    writer.close()
            return
        near.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(_PIECE):
                if not self._whole.is_set():
                    await self._whole.wait()
                    await asyncio.sleep(_NOTICE_S)
                    if reader.exception() is not None:  # its sender has reset the connection: nobody sends this again
                        return
                if self.fault is not None and self.fault.kind == "slow":
                    await asyncio.sleep(self.fault.delay_s)
                writer.write(change(piece))
                await writer.drain()
            await self._whole.wait()  # a goodbye does not get through a cut cable either

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _streams(end: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        end.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER)
    end.setblocking(False)
    return await asyncio.open_connection(sock=end)


async def _either(*works: Coroutine[None, None, None]) -> None:
    """Run both directions; when one ends, so does the other."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
