"""An IP camera by RTSP (OpenCV with FFmpeg; `pip install plantedge[camera]`).

`address` is `rtsp://host[:port]/path`. Options: `user` and `password_file` (its first line; relative to the home),
`transport` (tcp, the default, or udp), `delay_ms` (0), and those of `edge/grabbing/shaping.py`.

How old a picture is when it comes is not known: the camera encodes and buffers, the network adds to it, and RTSP
carries no time of ours. The trigger of a picture is therefore when it was grabbed, less `delay_ms`; measure that once
with a lamp on a PLC output. Where a part moves fast, take a camera with a trigger input (`genicam`).
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import cv2

from edge.grabbing.address import shown, with_credentials
from edge.grabbing.capture import QUIET, Capture
from edge.grabbing.options import Options
from edge.grabbing.shaping import SHAPING, shaping_of
from edge.grabbing.thread import pictures_of
from schemas.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from edge.cameras import Picture
    from edge.settings import Camera

_OPTIONS: Final = ("user", "password_file", "transport", "delay_ms", *SHAPING)
# Without these FFmpeg looks at a stream for up to 5 s before it gives the first picture, and keeps some back.
_AT_ONCE: Final = "fflags;nobuffer|flags;low_delay|fpsprobesize;0"


@asynccontextmanager
async def open_camera(settings: Camera, home: Path) -> AsyncGenerator[AsyncIterator[Picture], None]:
    """Connect; see `edge.cameras.Grabber`."""
    options = Options(settings.options, _OPTIONS)
    if not settings.address.startswith("rtsp://"):
        raise ConnectorError(f"camera address {shown(settings.address)!r}: write rtsp://host[:port]/path")
    transport = options.word("transport", "tcp", ("tcp", "udp"))
    delay_ns = int((options.number("delay_ms", 0, 10_000) or 0) * 1e6)
    whole = with_credentials(settings.address, options.word("user", ""), options.word("password_file", ""), home)
    timeout_ms = int(settings.timeout_ms)

    def opener() -> cv2.VideoCapture:
        # FFmpeg takes these only from the environment; a camera process has one camera.
        os.environ.update(QUIET, OPENCV_FFMPEG_CAPTURE_OPTIONS=f"rtsp_transport;{transport}|{_AT_ONCE}")
        wanted = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        return cv2.VideoCapture(whole, cv2.CAP_FFMPEG, wanted)

    device = Capture(shown(settings.address), opener, shaping_of(options), timeout_ms / 1e3, delay_ns)
    async with pictures_of(device) as pictures:
        yield pictures
