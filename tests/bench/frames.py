"""A picture from camera to tensor: through the broker, or through the ring with only its descriptor on the bus.

`./run bench frames`: about 30 s, mosquitto needed. Publisher and reader share one loop, and both ways end in what a
pipeline needs: an array that is its own. The two take turns round by round; read p50 and the ratio, not the tails of a
shared machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import uvloop

from bus import Delivery
from bus.codec import decode, encode
from bus.hot import MAXIMUM_PACKET, HotBus
from edge.grabbing.frames import RING_BYTES
from edge.host.frame_ring import FrameRing, RingReader, ring_path
from schemas.messages import Frame
from schemas.topics import FRAME
from tests.bus.conftest import Broker
from tests.conftest import bind_free_port, find_program

SHAPES = ((64, 64, 3), (128, 128, 3), (224, 224, 3), (480, 640, 3), (1080, 1920, 3))
ROUNDS, ROUND_S = 8, 0.25
RING_BYTES_MOST = 64 * 2**20
WAYS = ("broker", "ring")
WIDE = replace(FRAME, max_bytes=8 * 2**20)  # what the row would have to allow without the ring
Times = dict[tuple[str, tuple[int, ...]], list[float]]


class Link:
    """One camera and one reader over one broker connection."""

    def __init__(self, bus: HotBus, home: Path) -> None:
        self._bus, self._home, self._reader = bus, home, RingReader(home)
        self._name = "t/bench/frame"
        self._back: asyncio.Future[np.ndarray] | None = None
        self._rings: dict[int, FrameRing] = {}

    async def start(self) -> None:
        await self._bus.subscribe(self._name, 0, self._take)

    def _take(self, delivery: Delivery) -> None:
        frame = decode(WIDE, Frame, delivery.payload)
        found = self._reader.pixels(frame) if frame.ring else bytes(frame.data)
        assert isinstance(found, bytes)
        assert self._back is not None
        self._back.set_result(np.frombuffer(found, frame.dtype).reshape(1, *frame.shape))

    async def trip(self, way: str, pixels: np.ndarray) -> np.ndarray:
        """Send a picture one way; return the tensor that came out."""
        self._back = asyncio.get_running_loop().create_future()
        slot, generation = self._ring(pixels).put(pixels) if way == "ring" else (0, 0)
        data = b"" if way == "ring" else pixels.tobytes()
        frame = Frame(
            stream="cam1", part_id=1, boot="b", trigger_ns=1, time_ns=1, shape=pixels.shape, dtype="uint8",
            data=memoryview(data), ring="camera-cam1" if way == "ring" else "", slot=slot, generation=generation,
            size=pixels.nbytes if way == "ring" else 0,
        )  # fmt: skip
        assert self._bus.publish(self._name, encode(WIDE, frame), qos=0)
        async with asyncio.timeout(5):
            return await self._back

    def _ring(self, pixels: np.ndarray) -> FrameRing:
        if pixels.nbytes not in self._rings:
            self._rings.clear()
            path = ring_path(self._home, "camera-cam1")
            self._rings[pixels.nbytes] = FrameRing(path, pixels.nbytes, RING_BYTES_MOST)
        return self._rings[pixels.nbytes]


async def _measure(trip: Callable[[str, np.ndarray], Awaitable[np.ndarray]]) -> Times:
    times: Times = {(way, shape): [] for shape in SHAPES for way in WAYS}
    for shape in SHAPES:
        pixels = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
        for turn in range(ROUNDS):
            for way in WAYS if turn % 2 else reversed(WAYS):
                if way == "broker" and pixels.nbytes >= MAXIMUM_PACKET:
                    continue
                assert (await trip(way, pixels) == pixels).all()
                until = time.perf_counter() + ROUND_S
                while (begin := time.perf_counter()) < until:
                    await trip(way, pixels)
                    times[way, shape].append((time.perf_counter() - begin) * 1e6)
    return times


def _table(times: Times) -> list[str]:
    lines = [
        f"{'':>14}{'bytes':>10}" + "".join(f"{f'{way} p50 us':>15}{'p99':>9}" for way in WAYS) + f"{'ring/broker':>14}"
    ]
    for shape in SHAPES:
        line = f"{'x'.join(map(str, shape)):>14}{int(np.prod(shape)):>10}"
        for way in WAYS:
            ordered = sorted(times[way, shape]) or [math.nan]
            line += f"{statistics.median(ordered):15.0f}{ordered[int(len(ordered) * 0.99)]:9.0f}"
        ratio = statistics.median(times["ring", shape]) / statistics.median(times["broker", shape] or [math.nan])
        lines.append(f"{line}{ratio:14.2f}")
    return lines


async def _run(broker: Broker, home: Path) -> Times:
    async with HotBus(replace(broker.address, socket=broker.socket_path), "bench") as bus:
        link = Link(bus, home)
        await link.start()
        try:
            return await _measure(link.trip)
        finally:
            for ring in link._rings.values():
                ring.remove()


def main() -> int:
    argparse.ArgumentParser(prog="./run bench frames", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(find_program("mosquitto"), Path(folder), bind_free_port())
        broker.start()
        try:
            times = uvloop.run(_run(broker, Path(folder)))
        finally:
            broker.kill()
    print("\n".join(_table(times)))
    found = {
        f"{way} {'x'.join(map(str, shape))}": round(statistics.median(us)) for (way, shape), us in times.items() if us
    }
    print(json.dumps({"ring_from_bytes": RING_BYTES, "p50_us": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
