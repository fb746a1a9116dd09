"""A device's small HTTP servers: bounded in connections and in time, ended by their process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any, ClassVar, Final

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from schemas.errors import StartError

HEAD_BYTES: Final = 16_384  # the most that a request's head may have
END_S: Final = 1.0  # what answers may still take when the process ends
_BACKLOG: Final = 64


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def listen(host: str, port: int, who: str, section: str) -> socket.socket:
    """Return a listening socket. `who` listens, and `section` of the settings says where.

    Raises:
        StartError: the address is not ours, or the port is taken.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"{who} can't listen on {host}:{port} ({error.strerror}); choose another port in [{section}]"
        ) from error
    return listener


class BoundedProtocol(H11Protocol):
    """A connection that is cut off where there are too many, or when its time is over."""

    cut_off: ClassVar[int]
    time_s: ClassVar[float]
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin, if there are not too many."""
        super().connection_made(transport)
        if len(self.connections) > self.cut_off:
            transport.abort()
            return
        self._deadline = self.loop.call_later(self.time_s, self.time_is_over)

    def time_is_over(self) -> None:
        """End it."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End: a deadline that stays would hold what was sent here."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)


async def serve(
    app: Starlette, listener: socket.socket, protocol: type[BoundedProtocol], connections: int, keep_alive_s: int = 5
) -> None:
    """Serve until cancelled; beyond so many `connections` a request is told to come again (503)."""
    http: Any = protocol  # uvicorn takes a class, which its annotation has for asyncio.Protocol alone
    server = _Server(
        uvicorn.Config(
            app, http=http, loop="none", lifespan="off", ws="none", access_log=False, log_config=None,
            server_header=False, proxy_headers=False, limit_concurrency=connections, timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=int(END_S), h11_max_incomplete_event_size=HEAD_BYTES,
        )
    )  # fmt: skip
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(running)
    finally:
        server.should_exit = True
        await asyncio.wait([running], timeout=2 * END_S)
