"""A camera of this machine by Video4Linux 2: USB, or a ribbon cable (OpenCV; `pip install plantedge[camera]`).

`address` is the device, for example `/dev/video0`, or better a name of `/dev/v4l/by-id/`, which stays with the camera.
Options: `width` and `height`, `fps`, `pixel_format` (four letters: MJPG, YUYV), `exposure` (in the driver's units,
mostly 100 us; without it the camera exposes by itself), `gain`, and those of `edge/grabbing/shaping.py`. A value that
the camera does not take is an error, never a silent other one. Part ids count the pictures from 1.

Tried without a camera only, by a sequence of images through the same code: no machine of ours has one.
"""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2

from edge.grabbing.capture import Capture, set_all
from edge.grabbing.options import Options
from edge.grabbing.shaping import MOST_PIXELS, SHAPING, shaping_of
from edge.grabbing.thread import pictures_of
from schemas.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from edge.cameras import Picture
    from edge.settings import Camera

_OPTIONS: Final = ("width", "height", "fps", "pixel_format", "exposure", "gain", *SHAPING)
_BY_HAND: Final = 1  # V4L2_EXPOSURE_MANUAL
_MOST: Final = 1e6
_TUNABLE: Final = {"exposure": cv2.CAP_PROP_EXPOSURE, "gain": cv2.CAP_PROP_GAIN}


@asynccontextmanager
async def open_camera(settings: Camera, home: Path) -> AsyncGenerator[AsyncIterator[Picture], None]:
    """Open it; see `edge.cameras.Grabber`."""
    options = Options(settings.options, _OPTIONS)
    wanted, timeout_s = _properties(options), settings.timeout_ms / 1e3
    device = home / settings.address

    def opener() -> cv2.VideoCapture:
        _refuse_other(device)
        # The only way to bound a read, in whole seconds; the thread's own watch is finer.
        os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] = str(max(1, round(timeout_s)))
        capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        if capture.isOpened():
            set_all(capture, settings.address, wanted)
        return capture

    async with pictures_of(Capture(settings.address, opener, shaping_of(options), timeout_s, 0, _TUNABLE)) as pictures:
        yield pictures


def _refuse_other(device: Path) -> None:
    """OpenCV says nothing of why it can't open a device."""
    try:
        mode = device.stat().st_mode
    except OSError as error:
        there = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"
        raise ConnectorError(f"camera {device} is not there ({error.strerror}); there are: {there}") from error
    if not stat.S_ISCHR(mode):
        raise ConnectorError(f"camera {device} is no video device; write /dev/videoN or a name of /dev/v4l/by-id")
    if not os.access(device, os.R_OK | os.W_OK):
        raise ConnectorError(f"camera {device} may not be opened; add the device's user to the group video")


def _properties(options: Options) -> list[tuple[str, int, float]]:
    """Return what is to be set, in the order in which a camera takes it: the format decides on sizes and rates."""
    size, letters = options.pair("width", "height", MOST_PIXELS), options.word("pixel_format", "")
    found: list[tuple[str, int, float]] = []
    if letters:
        if len(letters) != 4 or not letters.isascii():
            raise ConnectorError(f"camera option pixel_format = {letters!r}: write four letters, for example MJPG")
        found.append(("pixel_format", cv2.CAP_PROP_FOURCC, float(int.from_bytes(letters.encode(), "little"))))
    if size:
        found += [("width", cv2.CAP_PROP_FRAME_WIDTH, size[0]), ("height", cv2.CAP_PROP_FRAME_HEIGHT, size[1])]
    if (fps := options.number("fps", 0.1, 1000)) is not None:
        found.append(("fps", cv2.CAP_PROP_FPS, fps))
    if (exposure := options.number("exposure", 0, _MOST)) is not None:
        found += [("exposure", cv2.CAP_PROP_AUTO_EXPOSURE, _BY_HAND), ("exposure", cv2.CAP_PROP_EXPOSURE, exposure)]
    if (gain := options.number("gain", 0, _MOST)) is not None:
        found.append(("gain", cv2.CAP_PROP_GAIN, gain))
    return found
