"""What is done to a picture before it leaves: its part of interest, its size, its colours. Options of every driver.

`crop` ("x,y,width,height", in the camera's pixels), then `resize_width` and `resize_height`, then `mode` (RGB; BGR; L
for grey). What is cropped here has been transferred: a region that the camera itself cuts out costs less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from schemas.errors import ConnectorError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.grabbing.options import Options

SHAPING: Final = ("crop", "resize_width", "resize_height", "mode")
MOST_PIXELS: Final = 16_384  # of a side
_FROM_BGR: Final = {"RGB": cv2.COLOR_BGR2RGB, "L": cv2.COLOR_BGR2GRAY}


@dataclass(frozen=True)
class Shaping:
    """What the options say."""

    crop: tuple[int, int, int, int] | None
    size: tuple[int, int] | None
    mode: str

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return [height, width, channels] of a picture as OpenCV has it: BGR, or grey without a third axis.

        Raises:
            ConnectorError: the part of interest lies outside of the picture.
        """
        if self.crop:
            x, y, width, height = self.crop
            if y + height > pixels.shape[0] or x + width > pixels.shape[1]:
                raise ConnectorError(
                    f"camera option crop: {x},{y},{width},{height} lies outside of a picture of"
                    f" {pixels.shape[1]} x {pixels.shape[0]}"
                )
            pixels = pixels[y : y + height, x : x + width]
        if self.size:
            pixels = cv2.resize(pixels, self.size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(self._coloured(pixels))

    def _coloured(self, pixels: NDArray[Any]) -> NDArray[Any]:
        grey = pixels.ndim == 2 or pixels.shape[2] == 1
        if grey:
            flat = pixels.reshape(pixels.shape[:2])
            return flat[:, :, None] if self.mode == "L" else np.repeat(flat[:, :, None], 3, axis=2)
        if self.mode in _FROM_BGR:
            pixels = cv2.cvtColor(pixels, _FROM_BGR[self.mode])
        return pixels if pixels.ndim == 3 else pixels[:, :, None]


def shaping_of(options: Options) -> Shaping:
    """Return what the options say.

    Raises:
        ConnectorError: one of them will not do.
    """
    text, crop = options.word("crop", ""), None
    if text:
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != 4 or not all(part.isdecimal() and len(part) < 6 for part in parts) or "0" in parts[2:]:
            raise ConnectorError(f'camera option crop = {text!r}: write "x,y,width,height" in pixels')
        crop = (int(parts[0]), int(parts[1]), int(parts[2]), int(parts[3]))
    size = options.pair("resize_width", "resize_height", MOST_PIXELS)
    return Shaping(crop, size, options.word("mode", "RGB", ("RGB", "BGR", "L")))
