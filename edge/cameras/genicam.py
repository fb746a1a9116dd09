"""An industrial camera by GenICam: GigE Vision or USB3 Vision (Aravis: Debian's libaravis-0.8-0; OpenCV for colours).

`address` is the IPv4 address of a GigE camera, or `usb:` and the name that `arv-tool-0.8` lists. Options:
- `trigger`: `free` (the default: pictures at `fps`), `software` (when `[cameras.NAME] trigger` says so), or the name
  of an input of the camera (`Line0`): the part triggers by itself, which is what a fast line needs.
- `exposure_us`, `gain`, `fps`, `pixel_format` (Mono8, RGB8, BGR8, BayerRG8 ...), `width` and `height`, `offset_x`,
  `offset_y`, `packet_size` (GigE: up to what the network card takes), and those of `edge/grabbing/shaping.py`.
- `features`: further ones as GenICam names them, "TriggerActivation=FallingEdge LineDebouncerTime=5".

Part ids are the camera's own frame counter, so that a picture which was lost on the way is a gap. A picture of which
packets are lost is Bad.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from edge.cameras import Picture
from edge.grabbing.aravis import Camera as Link
from edge.grabbing.aravis import Taken
from edge.grabbing.options import Options
from edge.grabbing.shaping import MOST_PIXELS, SHAPING, Shaping, shaping_of
from edge.grabbing.thread import pictures_of
from schemas.errors import ConnectorError
from schemas.messages import Quality

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.settings import Camera

_WHOLE: Final = {
    "width": "Width", "height": "Height", "offset_x": "OffsetX", "offset_y": "OffsetY",
    "packet_size": "GevSCPSPacketSize",
}  # fmt: skip
_SETTERS: Final = {
    "exposure_us": "arv_camera_set_exposure_time", "gain": "arv_camera_set_gain", "fps": "arv_camera_set_frame_rate",
}  # fmt: skip
_OPTIONS: Final = ("trigger", "pixel_format", "features", *_WHOLE, *_SETTERS, *SHAPING)
_FREE: Final = "free"
_LOOK_S: Final = 0.2
_MOST: Final = 1e9
# PFNC: what to do to have it as OpenCV has it. OpenCV names a Bayer pattern by the second row's second and third pixel.
_TO_BGR: Final[dict[int, int | None]] = {
    0x01080001: None,  # Mono8
    0x01100007: None,  # Mono16
    0x02180014: cv2.COLOR_RGB2BGR,  # RGB8
    0x02180015: None,  # BGR8
    0x01080009: cv2.COLOR_BayerBG2BGR,  # BayerRG8
    0x01080008: cv2.COLOR_BayerGB2BGR,  # BayerGR8
    0x0108000A: cv2.COLOR_BayerGR2BGR,  # BayerGB8
    0x0108000B: cv2.COLOR_BayerRG2BGR,  # BayerBG8
}
_FRAME_IDS: Final = 65_535  # GigE Vision 1 counts from 1 to this, and again from 1


class Device:
    """A camera in a thread; see `edge.grabbing.thread.Device`."""

    def __init__(self, settings: Camera, options: Options) -> None:
        """Check the options; nothing is opened yet."""
        self.name, self.timeout_s = settings.address, settings.timeout_ms / 1e3
        self._shaping: Shaping = shaping_of(options)
        self._trigger, self._format = options.word("trigger", _FREE), options.word("pixel_format", "")
        self._features = _features(options.word("features", ""))
        options.pair("width", "height", MOST_PIXELS)
        self._whole = {name: options.whole(name, 0, MOST_PIXELS) for name in _WHOLE}
        self._numbers = {name: options.number(name, 0, _MOST) for name in _SETTERS}
        self._link: Link | None = None
        self._heard_s = 0.0
        self._part_id = self._frame_id = 0

    def open(self) -> None:
        """Open, set, start."""
        link = self._link = Link(self.name)
        if self._format:
            link.set("pixel_format", "arv_camera_set_pixel_format_from_string", self._format.encode())
        for name, value in self._whole.items():
            if value is not None:
                link.set(name, "arv_camera_set_integer", _WHOLE[name].encode(), value)
        for name, number in self._numbers.items():
            if number is not None:
                link.set(name, _SETTERS[name], number)
        if self._trigger == _FREE:
            link.set("trigger", "arv_camera_clear_triggers")
        else:
            source = "Software" if self._trigger == "software" else self._trigger
            link.set("trigger", "arv_camera_set_trigger", source.encode())
        for feature, text in self._features:
            link.set(f"features: {feature}", "arv_camera_set_string", feature.encode(), text.encode())
        link.start()
        self._heard_s = time.monotonic()

    def take(self) -> Picture | None:
        """Wait for a picture; one that waits for its trigger may be silent for ever, if it answers the heartbeat."""
        link = self._link
        if link is None:
            raise ConnectorError(f"camera {self.name} is not open")
        taken, now_ns = link.take(_LOOK_S), time.monotonic_ns()
        if taken is not None:
            self._heard_s = now_ns / 1e9
            return self._picture(taken, now_ns)
        if link.lost:
            raise ConnectorError(f"camera {self.name} no longer answers; is its cable in, its power on?")
        if self._trigger == _FREE and now_ns / 1e9 - self._heard_s > self.timeout_s:
            raise ConnectorError(f"camera {self.name} runs freely and gives no picture for {self.timeout_s:g} s")
        return None

    def _picture(self, taken: Taken, now_ns: int) -> Picture:
        ahead = taken.frame_id - self._frame_id
        if ahead <= 0:  # it began again, or counts in 16 bits
            ahead = ahead + _FRAME_IDS if self._frame_id <= _FRAME_IDS and ahead + _FRAME_IDS > 0 else 1
        self._part_id += ahead if self._frame_id else 1
        self._frame_id = taken.frame_id
        if not taken.whole:
            return Picture(self._part_id, now_ns, np.zeros(0, np.uint8), Quality.BAD, "packets of it were lost")
        return Picture(self._part_id, now_ns, self._shaping.apply(_as_opencv(self.name, taken)))

    def adjust(self, values: Mapping[str, float]) -> None:
        """Set exposure, gain or rate while it runs."""
        for name, value in values.items():
            if name not in _SETTERS:
                raise ConnectorError(
                    f"camera {self.name}: {name} can't be changed while it runs; {', '.join(sorted(_SETTERS))} can"
                )
            if self._link is not None:
                self._link.set(name, _SETTERS[name], value)

    def shoot(self) -> None:
        """Trigger by software."""
        if self._link is not None:
            self._link.shoot()

    def close(self) -> None:
        """Let go of it."""
        if self._link is not None:
            self._link.close()
            self._link = None


def _features(text: str) -> list[tuple[str, str]]:
    found = [(name, value) for name, _, value in (part.partition("=") for part in text.split())]
    if not all(name and value for name, value in found):
        raise ConnectorError(f'camera option features = {text!r}: write "Name=Value Name=Value"')
    return found


def _as_opencv(name: str, taken: Taken) -> NDArray[Any]:
    if taken.format not in _TO_BGR:
        raise ConnectorError(
            f"camera {name} sends pixel format 0x{taken.format:08x}; set option pixel_format to Mono8, RGB8 or BayerRG8"
        )
    channels = 3 if taken.format >> 16 == 0x0218 else 1
    kind = np.dtype(np.uint16 if taken.format == 0x01100007 else np.uint8)
    shape = (taken.height, taken.width, channels) if channels == 3 else (taken.height, taken.width)
    if taken.height * taken.width * channels * kind.itemsize > len(taken.data):
        raise ConnectorError(f"camera {name} sent {len(taken.data)} bytes for {taken.width} x {taken.height} pixels")
    pixels = np.frombuffer(taken.data, kind, taken.height * taken.width * channels).reshape(shape)
    how = _TO_BGR[taken.format]
    return pixels if how is None else cv2.cvtColor(pixels, how)


@asynccontextmanager
async def open_camera(settings: Camera, home: Path) -> AsyncGenerator[AsyncIterator[Picture], None]:
    """Open it; see `edge.cameras.Grabber`."""
    device = Device(settings, Options(settings.options, _OPTIONS))
    async with pictures_of(device, device.shoot) as pictures:
        yield pictures
