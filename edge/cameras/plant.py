"""A camera or sensor of the simulated plant (`plantedge sim plant`): a TCP server that pushes one shot per trigger.

`address` is `host:port`. Option `view`: `line` (the camera at the ejector, the default), `tray` (the accumulation
table) or `gear` (the vibration of the filler's gearbox, float32 [samples, 2] in m/s2). The framing is described in
edge/sim/camera.py. With each shot its age travels, not an instant: the trigger lies that long before the moment when
the shot began to arrive.
"""

from __future__ import annotations

import asyncio
import io
import socket
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.cameras import Picture
from edge.sim.camera import MAX_SHOT_BYTES, Shot, read_shot
from schemas.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from edge.settings import Camera

# A cable that is pulled says nothing: the kernel asks each second, and gives up after the third silence.
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3))
_LENGTH_BYTES: Final = 4
VIEWS: Final = ("line", "tray", "gear")


@asynccontextmanager
async def open_camera(settings: Camera, home: Path) -> AsyncGenerator[AsyncIterator[Picture], None]:
    """Connect; see `edge.cameras.Grabber`."""
    view = _view(settings)
    host, _, port = settings.address.rpartition(":")
    if not host or not port.isdigit():
        raise ConnectorError(f"camera address {settings.address!r}: write host:port")
    try:
        async with asyncio.timeout(settings.timeout_ms / 1e3):
            reader, writer = await asyncio.open_connection(host, int(port))
    except (OSError, TimeoutError) as error:
        raise ConnectorError(
            f"camera {settings.address} does not answer ({error or 'timeout'}); does it run, is the address right?"
        ) from error
    try:
        _watch_link(writer)
        writer.write(f"{view}\n".encode())
        async with aclosing(_pictures(f"{settings.address} ({view})", reader)) as pictures:
            yield pictures
    finally:
        writer.transport.abort()


def _view(settings: Camera) -> str:
    if unknown := sorted(settings.options.keys() - {"view"}):
        raise ConnectorError(f"camera option {unknown[0]}: not known; there is view")
    view = str(settings.options.get("view", VIEWS[0]))
    if view not in VIEWS:
        raise ConnectorError(f"camera option view = {view!r}: there are {', '.join(VIEWS)}")
    return view


def _watch_link(writer: asyncio.StreamWriter) -> None:
    link: socket.socket = writer.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        link.setsockopt(socket.IPPROTO_TCP, option, value)


async def _pictures(address: str, reader: asyncio.StreamReader) -> AsyncGenerator[Picture, None]:
    while True:
        try:
            head = await reader.readexactly(_LENGTH_BYTES)
            arrived_ns = time.monotonic_ns()
            size = int.from_bytes(head, "big")
            body = await reader.readexactly(size) if size <= MAX_SHOT_BYTES else b""
            shot = read_shot(io.BytesIO(head + body).read)
            yield _picture(shot, arrived_ns)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ConnectorError(f"camera {address} ended the connection ({error})") from error
        except (ValueError, TypeError) as error:
            raise ConnectorError(f"camera {address} sent what is no picture: {error}") from error


def _picture(shot: Shot, arrived_ns: int) -> Picture:
    pixels = np.frombuffer(shot.data, np.dtype(shot.dtype)).reshape(shot.shape)
    return Picture(shot.part_id, arrived_ns - max(shot.age_us, 0) * 1000, pixels)
