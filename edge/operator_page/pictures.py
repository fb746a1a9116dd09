"""Pictures of parts: frames that wait for their result, and thumbnails. In memory, bounded, for this page alone.

Nothing of it is published or written. A thumbnail holds what a model saw as 8-bit grey, RGB or RGBA; for a window, or a
picture of another kind, there is none.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from bus.typed import RateLimit
from edge.host.frame_ring import RingReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from schemas.messages import Frame, Result

SIDE: Final = 480  # the longest of a thumbnail, in pixels
SMALL: Final = 160  # up to here PNG: a few kB, and no edge is smeared
WAITING: Final = 64  # frames of a stream that wait for their result
WAITING_BYTES: Final = 16_000_000  # of all streams together
KEPT: Final = 300
FRAMES_HZ: Final = 200.0  # more are not kept: a part then has no picture
_MODES: Final = {1: "L", 3: "RGB", 4: "RGBA"}
Key = tuple[str, int, int]


class FramePool:
    """The newest frames, so that a result can find the one that it came from."""

    def __init__(self, home: Path) -> None:
        """Hold none yet."""
        self._frames: OrderedDict[Key, tuple[Frame, bytes]] = OrderedDict()
        self._rings = RingReader(home)
        self._limit = RateLimit(FRAMES_HZ)
        self._bytes = 0
        self._per_stream: dict[str, int] = {}
        self.passed_over = 0

    def take(self, frame: Frame) -> None:
        """Keep a frame; of one in a ring only where it lies. A picture that can be none is not kept."""
        if frame.dtype != "uint8" or not is_picture(frame.shape):
            return
        if not self._limit.take():
            self.passed_over += 1
            return
        key = (frame.stream, frame.epoch, frame.seq)
        self.drop(key)
        data = bytes(frame.data)
        self._frames[key] = (frame, data)
        self._bytes += len(data)
        self._per_stream[frame.stream] = self._per_stream.get(frame.stream, 0) + 1
        while self._bytes > WAITING_BYTES or self._per_stream[frame.stream] > WAITING:
            mine = next((held for held in self._frames if held[0] == frame.stream), key)
            self.drop(mine if self._per_stream[frame.stream] > WAITING else next(iter(self._frames)))

    def drop(self, key: Key) -> None:
        """Forget a frame."""
        held = self._frames.pop(key, None)
        if held is not None:
            self._bytes -= len(held[1])
            self._per_stream[key[0]] -= 1

    def thumbnail(self, result: Result) -> bytes | None:
        """Return the picture of a result's part, None if it is not there (any more)."""
        held = self._frames.get((result.input, result.source_epoch, result.source_seq))
        if held is None:
            return None
        frame, data = held
        found = self._rings.pixels(frame) if frame.ring else data
        return None if isinstance(found, str) else encoded(found, frame.shape)


def is_picture(shape: Sequence[int]) -> bool:
    """Return whether 8-bit numbers of this shape are grey, RGB or RGBA."""
    return (len(shape) == 2 or (len(shape) == 3 and shape[2] in _MODES)) and min(shape[:2]) > 1


def encoded(data: bytes | memoryview, shape: Sequence[int]) -> bytes | None:
    """Return pixels as JPEG, small ones as PNG, at most `SIDE` long; None if they are not of that shape."""
    try:
        pixels: NDArray[Any] = np.frombuffer(data, np.uint8).reshape(tuple(shape))
    except ValueError:
        return None
    stride = max(1, max(shape[:2]) // (2 * SIDE))  # a cheap first step: the filter below then sees few pixels
    pixels = np.ascontiguousarray(pixels[::stride, ::stride])
    image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    if max(image.size) <= SMALL:
        image.save(file, "PNG")
    else:
        image.thumbnail((SIDE, SIDE))
        image.convert("L" if image.mode == "L" else "RGB").save(file, "JPEG", quality=85)
    return file.getvalue()


def kind_of_image(data: bytes) -> str:
    """Return the media type of a thumbnail."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


class Album:
    """Thumbnails by result; the oldest go first."""

    def __init__(self, most: int = KEPT) -> None:
        """Hold none yet."""
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._most = most

    def __contains__(self, result_id: str) -> bool:
        return result_id in self._held

    def put(self, result_id: str, picture: bytes) -> None:
        """Keep a picture."""
        self._held[result_id] = picture
        self._held.move_to_end(result_id)
        while len(self._held) > self._most:
            self._held.popitem(last=False)

    def get(self, result_id: str) -> bytes | None:
        """Return a picture that is still held."""
        return self._held.get(result_id)
