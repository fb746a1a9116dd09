"""A device with its broker, one runtime, and the players around it, as `bench e2e` needs them."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bus.codec import decode
from schemas.messages import Outcome, Result
from schemas.topics import RESULT
from tests.bench.cast import Cast
from tests.bench.clients import Client
from tests.bench.machine import real_time
from tests.bench.players import SEQ, Plan, answer_frames, publish_frames, work_bare
from tests.bench.raw_mqtt import RawMqtt, payload_of
from tests.bench.windows import Window
from tests.device import Device

SHAPE = (64, 64, 3)
WARM = (1, 2, 4, 8)  # up to a pipeline's `max_batch_size` where its settings say nothing
FIFO = {"broker": 45, "runtime": 40, "line": 30}
# Every part is OK: what the evidence of a reject costs is measured by `bench evidence`.
USERS = ("runtime-safety", "runtime-floor", "camera-cam1", "historian")
PIPELINE = """
[cameras.cam1]
driver = "plant"
address = "127.0.0.1:1"
[pipelines.inspect]
lane = "safety"
model = "caps"
input = { frames = "cam1" }
deadline_ms = 1000
decision = { reject = ["bad"], threshold = 0.9 }
"""
START_S = 60.0


def draw_images(count: int = 16) -> Any:
    """Return pictures from dark to bright, so that a model's answers differ."""
    draw = np.random.default_rng(1)
    levels = np.linspace(0.2, 1.0, count).reshape(-1, 1, 1, 1)
    return (draw.integers(0, 255, (count, *SHAPE)) * levels).astype(np.uint8)


def mqtt_client(device: Device, images: Path, stream: str = "cam1", pipeline: str = "inspect") -> Client:
    """Start a closed loop client that publishes `stream` and reads the results of `pipeline`."""
    place = device.place
    return Client(
        {"kind": "mqtt", "camera": asdict(device.address("camera-cam1")), "stream": stream,
         "reader": asdict(device.address("historian")), "pipeline": pipeline,
         "place": [place.site, place.line, place.node], "images": str(images)}
    )  # fmt: skip


class Line:
    """The runtime, its floor, the bare work, who publishes frames, and us, who receive."""

    def __init__(self, device: Device, model: Path) -> None:
        """Start all of them."""
        self._cast = Cast()
        self._sent_ns: Any = self._cast.context.Array("q", 4_000_000)
        self._next = 1
        device.start_broker()
        self.runtime = device.start("runtime@safety")
        self._link = RawMqtt(device.address("historian"), "bench-results")
        self._link.subscribe(RESULT.filter(device.place))
        self.realtime = real_time(device.broker.pid, FIFO["broker"])
        fifo = {name: priority if self.realtime else 0 for name, priority in FIFO.items()}
        camera, worker = device.address("camera-cam1"), device.address("runtime-floor")
        self._camera, _ = self._cast.add(publish_frames, camera, device.place, self._sent_ns, SHAPE, fifo["line"])
        self._cast.add(answer_frames, worker, device.place, model, SHAPE, fifo["runtime"])
        self._bare, _ = self._cast.add(work_bare, worker, device.place, model, SHAPE, fifo["runtime"])
        self._device = device
        self._client: Client | None = None
        self._warm_up()
        if self.realtime:
            real_time(self.runtime.pid, FIFO["runtime"])
            real_time(0, FIFO["line"])

    def _warm_up(self) -> None:
        """Until the runtime serves: its first results that are no drops."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            window = self.paced(floor=False, rate=50, seconds=1.0)
            if window.dropped == 0 and len(window.us) == window.sent:
                self.paced(floor=True, rate=50, seconds=1.0)
                return
        raise RuntimeError(f"the runtime gave no results; its log ends: {self._device.log('runtime@safety')[-2000:]}")

    def paced(self, *, floor: bool, rate: float, seconds: float) -> Window:
        """Publish one window at `rate` and receive its answers."""
        count = int(rate * seconds)
        plan = Plan(floor, self._next, count, rate)
        self._next += count
        self._link.ping()
        self._camera.send(plan)
        came = self._receive(plan, time.monotonic() + seconds + 3.0)
        self._camera.recv()
        times, dropped, infer = [], 0, []
        for now_ns, body in came:
            seq, result = _seq_of(payload_of(body), floor)
            if result is not None and result.outcome is Outcome.DROPPED:
                dropped += 1
                continue
            times.append((now_ns - self._sent_ns[seq]) / 1e3)
            infer.append(result.latency.infer * 1e3 if result is not None else 0.0)
        notes = {"infer_us": float(np.median(infer)) if infer else 0.0}
        return Window(np.array(times), seconds, count, dropped, count - len(came), notes=notes)

    def _receive(self, plan: Plan, until_s: float) -> list[tuple[int, bytes]]:
        came: list[tuple[int, bytes]] = []
        while len(came) < plan.count and (read := self._link.read(until_s)):
            came += read
        return came

    def bare(self, seconds: float) -> Window:
        """Measure what one core can do without a runtime around the model."""
        self._bare.send(seconds)
        return Window(np.array(self._bare.recv()), seconds)

    def saturated(self, in_flight: int, seconds: float) -> Window:
        """Keep so many frames on their way through the runtime; `paced` is over then."""
        if self._client is None:
            self._link.link.close()  # one listener is enough work for the broker
            images = self._device.home / "images.npy"
            np.save(images, draw_images())
            self._client = mqtt_client(self._device, images)
            if self.realtime:
                real_time(self._client.pid, FIFO["line"])
        return self._client.window(in_flight, seconds)[0]

    def close(self) -> None:
        """End the players."""
        if self._client:
            self._client.close()
        self._cast.close()


def _seq_of(payload: bytes, floor: bool) -> tuple[int, Result | None]:
    if floor:
        return int(SEQ.unpack_from(payload)[0]), None
    result = decode(RESULT, Result, payload)
    return result.source_seq, result
