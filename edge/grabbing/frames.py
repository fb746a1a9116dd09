"""From a picture to a frame on the bus: small ones travel in the message, large ones lie in the camera's ring."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from edge.host.frame_ring import FrameRing, ring_path
from schemas.errors import Oversized
from schemas.messages import Frame

if TYPE_CHECKING:
    from bus.typed import Publisher
    from edge.cameras import Picture
    from edge.process import Process

RING_BYTES: Final = 150_000  # the ring is faster from 50 kB on, by 0.1 ms; docs/explanation/measured.md
_MEGA: Final = 2**20


class FrameSender:
    """Sends the pictures of one camera."""

    def __init__(self, process: Process, frames: Publisher[Frame], stream: str) -> None:
        """Make no ring yet: most cameras need none."""
        self._process, self._frames, self._stream = process, frames, stream
        self._most_bytes = process.settings.cameras[process.instance].ring_mb * _MEGA
        self._ring: FrameRing | None = None

    def send(self, picture: Picture) -> None:
        """Send a picture.

        Raises:
            Oversized: it fits neither the message nor the ring; the message says what to do.
        """
        pixels, ring, slot, generation = picture.pixels, "", 0, 0
        if pixels.nbytes >= RING_BYTES and self._most_bytes:
            slot, generation = self._ringed(pixels.nbytes).put(pixels)
            ring = self._process.identity
        frame = Frame(
            stream=self._stream, part_id=picture.part_id, boot=self._process.boot, trigger_ns=picture.trigger_ns,
            time_ns=time.time_ns() - (time.monotonic_ns() - picture.trigger_ns), shape=pixels.shape,
            dtype=pixels.dtype.name, data=memoryview(b"" if ring else pixels.tobytes()), quality=picture.quality,
            reason=picture.reason, ring=ring, slot=slot, generation=generation, size=pixels.nbytes if ring else 0,
        )  # fmt: skip
        try:
            self._frames.send(frame)
        except Oversized as error:
            raise Oversized(
                f"a picture of {pixels.shape} {pixels.dtype.name} does not fit: {error}; let the camera send a smaller"
                " region or fewer pixels, or give it a ring (ring_mb)"
            ) from error

    def _ringed(self, picture_bytes: int) -> FrameRing:
        ring = self._ring
        if ring is None or not picture_bytes <= ring.slot_bytes:
            try:
                ring = FrameRing(ring_path(self._process.home, self._process.identity), picture_bytes, self._most_bytes)
            except (OSError, ValueError) as error:
                raise Oversized(f"no ring for a picture of {picture_bytes} bytes: {error}") from error
            self._ring = ring
        return ring

    def close(self) -> None:
        """Take the ring away."""
        if self._ring is not None:
            self._ring.remove()
            self._ring = None
