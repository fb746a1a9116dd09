"""A cv2.VideoCapture as a device: what RTSP and V4L2 have in common."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import cv2

from edge.cameras import Picture
from schemas.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge.grabbing.shaping import Shaping

# OpenCV and FFmpeg write to stderr what they open, a password in an address included. Their silence is no loss: what
# fails is told by us, with the address as `edge.grabbing.address.shown` writes it.
QUIET: Final = {"OPENCV_FFMPEG_LOGLEVEL": "-8"}


class Capture:
    """Opens by `opener`, then grabs. `delay_ns`: how old a picture is known to be when it is grabbed.

    `tunable`: option -> property, of those that may change while it runs.
    """

    def __init__(
        self, name: str, opener: Callable[[], cv2.VideoCapture], shaping: Shaping, timeout_s: float, delay_ns: int = 0,
        tunable: Mapping[str, int] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Nothing is opened yet."""
        self.name, self.timeout_s = name, timeout_s
        self._opener, self._shaping, self._delay_ns = opener, shaping, delay_ns
        self._tunable = tunable
        self._capture: cv2.VideoCapture | None = None
        self._count = 0

    def open(self) -> None:
        """Open it; see `edge.grabbing.thread.Device`."""
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._capture = self._opener()
        if not self._capture.isOpened():
            raise ConnectorError(f"camera {self.name} does not answer within {self.timeout_s:g} s or refuses; {HINT}")

    def take(self) -> Picture | None:
        """Take the next picture; its time is that of the grab, less the known delay."""
        capture = self._capture
        if capture is None or not capture.grab():
            raise ConnectorError(
                f"camera {self.name} gives no more pictures ({self.timeout_s:g} s of silence, or ended)"
            )
        grabbed_ns = time.monotonic_ns()
        self._count += 1
        try:
            taken, pixels = capture.retrieve()
            if taken:
                return Picture(self._count, grabbed_ns - self._delay_ns, self._shaping.apply(pixels))
        except cv2.error as error:
            raise ConnectorError(f"camera {self.name} sent what can't be decoded ({error.err})") from error
        raise ConnectorError(f"camera {self.name} sent what can't be decoded")

    def adjust(self, values: Mapping[str, float]) -> None:
        """Set properties while it runs."""
        if unknown := sorted(values.keys() - self._tunable.keys()):
            there = ", ".join(sorted(self._tunable)) or "nothing"
            raise ConnectorError(f"camera {self.name}: {unknown[0]} can't be changed while it runs; {there} can")
        if self._capture is not None:
            set_all(self._capture, self.name, [(name, self._tunable[name], value) for name, value in values.items()])

    def close(self) -> None:
        """Let go of it."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


HINT: Final = "is the address right, the camera on, the password?"


def set_all(capture: cv2.VideoCapture, name: str, wanted: list[tuple[str, int, float]]) -> None:
    """Set properties (option, property, value), and read each back.

    Raises:
        ConnectorError: the camera took another value.
    """
    for option, number, value in wanted:
        capture.set(number, value)
        found: Any = capture.get(number)
        if abs(found - value) > max(1e-6, abs(value) * 0.02):
            raise ConnectorError(f"camera {name}: option {option} = {value:g} was not taken, it is {found:g}")
