"""What keeping evidence of rejects costs: on the runtime's loop, in the ring on disk, and in a decision's latency.

Run `python -m tests.bench.evidence`: about a minute, mosquitto needed. Each figure stands beside its floor, taken in
turns: for the loop the publishing of the same bytes ready made, for the ring a plain file, and for the latency a second
runtime with the same model whose pipeline keeps nothing, at FRAMES_HZ rejects a second each.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from bus import Delivery
from bus.codec import decode
from bus.hot import HotBus
from bus.typed import Publisher
from edge.config.pipeline import Pipeline as PipelineSettings
from edge.history.evidence import EvidenceReader, keys_of
from edge.history.ring import RingReader, RingWriter
from edge.history.sealed import Item
from edge.host.clock import boot_id
from edge.inference.witness import Computer, Seen, Witness
from edge.inference.work import Answer
from schemas.evidence import Evidence
from schemas.messages import Decision, Frame, Latency, Outcome, Proof, Quality, Result, Slot, Verdict
from schemas.topics import DECISION, EVIDENCE, FRAME, SLOT_DESIRED, SLOT_STATE
from tests.bench.machine import real_time
from tests.bench.shown import Targets, arguments, finish
from tests.bench.windows import Window, interleave, p50, p99, until
from tests.device import Device
from tests.edge.small_models import write_classifier

PICTURES = {"12 kB": (1, 64, 64, 3), "150 kB": (1, 224, 224, 3)}
ROUNDS, REJECTS = 5, 300
RING_MB, BATCH = 48, 20
FRAMES_HZ, FRAMES_S = 400, 2.0
LOOP_RATIO, RING_RATIO, LATENCY_RATIO = 3.0, 0.4, 1.15  # targets: at most, at least, at most
USERS = ("runtime-kept", "runtime-bare", "camera-kept", "camera-bare", "connect-plc", "agent", "historian")
LANES = """
[cameras.{name}]
driver = "plant"
address = "127.0.0.1:1"
[pipelines.{name}]
lane = "{name}"
model = "caps"
input = {{ frames = "{name}" }}
deadline_ms = 1000
decision = {{ reject = ["ok", "bad"] }}
evidence = {{ keep = {keep} }}
"""


# --- the loop -------------------------------------------------------------------------------------------------------


def reject(shape: tuple[int, ...]) -> tuple[Decision, Answer]:
    """An answer that says NOK."""
    decision = Decision(
        pipeline="kept", result_id="kept-1-1", part_id=1, verdict=Verdict.NOK, proof=Proof.PART, boot="b",
        trigger_ns=1, deadline_ns=2,
    )  # fmt: skip
    result = Result(
        result_id="kept-1-1", pipeline="kept", input="cam1", source_epoch=1, source_seq=1, part_id=1,
        outcome=Outcome.RESULT, verdict=Verdict.NOK, label="bad", score=0.9, scores={"ok": 0.1, "bad": 0.9},
        quality=Quality.GOOD, reason="", latency=Latency(ingest=0, queue=0, preprocess=0, infer=0, total=0),
        deadline_ms=50, model="caps", version="1", digest="0" * 64, time_ns=1,
    )  # fmt: skip
    draw = np.random.default_rng(0)
    inputs = {"input": draw.integers(0, 255, shape, np.uint8)}
    return decision, Answer(decision, result, inputs, {"model.probabilities": np.array([[0.1, 0.9]], np.float32)}, 1, 0)


class Loop:
    """A loop with a bus, as the runtime has it; the time is this thread's CPU, for N rejects and the turns after."""

    def __init__(self, bus: HotBus, device: Device) -> None:
        """Make what a rejected picture needs."""
        settings = PipelineSettings.model_validate(
            {"model": "caps", "input": {"frames": "cam1"}, "deadline_ms": 50, "evidence": {"max_kb_per_s": 20_000}}
        )
        self._witness = Witness(settings, lambda: time.monotonic_ns() * 10_000)  # a budget that is never spent
        self._computer = Computer("cpu", "onnxruntime 1", "{}", "x86_64")
        self._evidence = Publisher(bus, EVIDENCE, Evidence, device.place, pipeline="kept")

    async def evidence(self, shape: tuple[int, ...], qos: int) -> float:
        """Microseconds of one reject's evidence with a QoS."""
        seen = Seen(reject(shape)[1], "nok", Verdict.OK)
        return await self._timed(lambda: self._payload(seen), qos)

    async def floor(self, shape: tuple[int, ...], qos: int) -> float:
        """Microseconds of publishing the same bytes, ready made."""
        payload = self._payload(Seen(reject(shape)[1], "nok", Verdict.OK))
        return await self._timed(lambda: payload, qos)

    def _payload(self, seen: Seen) -> bytes:
        evidence = self._witness.testify(seen, self._computer)
        assert evidence is not None
        return self._evidence._stamped(evidence)

    async def _timed(self, payload: Callable[[], bytes], qos: int) -> float:
        topic, bus, spent = self._evidence.name, self._evidence._bus, 0.0
        taken = 0
        while taken < REJECTS:
            begin = time.thread_time()
            if not bus.publish(topic, payload(), qos=qos):  # the broker is behind: that turn counts for nothing
                await asyncio.sleep(0.01)
                continue
            taken += 1
            await asyncio.sleep(0)
            spent += time.thread_time() - begin
            await asyncio.sleep(0.001)  # the broker and the reader have their turn
            begin = time.thread_time()
            await asyncio.sleep(0)  # what came back for it
            spent += time.thread_time() - begin
        return spent / REJECTS * 1e6


async def measure_loop(device: Device) -> dict[str, dict[str, float]]:
    """Return size -> floor, QoS 0 and QoS 1, medians in microseconds."""
    async with HotBus(device.address("runtime-kept"), "loop") as bus:
        loop = Loop(bus, device)
        found: dict[str, dict[str, list[float]]] = {}
        for _ in range(ROUNDS):
            for size, shape in PICTURES.items():
                row = found.setdefault(size, {})
                for name, take, qos in (
                    ("floor", loop.floor, 0),
                    ("qos0", loop.evidence, 0),
                    ("qos1", loop.evidence, 1),
                ):
                    row.setdefault(name, []).append(await take(shape, qos))
    return {size: {name: float(np.median(times)) for name, times in row.items()} for size, row in found.items()}


# --- the ring -------------------------------------------------------------------------------------------------------


def measure_ring(home: Path) -> dict[str, dict[str, float]]:
    """Return size -> MB/s sealed and on the disk, the same of a plain file, and ms to find the oldest record."""
    found: dict[str, dict[str, float]] = {}
    for size, shape in {"2 kB": (1, 2_000), **PICTURES}.items():
        body = os.urandom(int(np.prod(shape)))
        sealed, plain = [], []
        for turn in range(3):
            folder = home / f"{size}-{turn}".replace(" ", "")
            writer = RingWriter(folder, keys_of(home), 4 * RING_MB * 1_000_000)
            sealed.append(_rate(writer.add, body))
            writer.close()
            plain.append(_plain_rate(home / "plain", body))
        reader = RingReader(folder, keys_of(home))
        begin = time.perf_counter()
        assert reader.find("kept-1-0") is not None
        found[size] = {
            "sealed_mb_s": float(np.median(sealed)), "plain_mb_s": float(np.median(plain)),
            "ratio": float(np.median([one / other for one, other in zip(sealed, plain, strict=True)])),
            "find_ms": (time.perf_counter() - begin) * 1e3,
        }  # fmt: skip
    return found


def _rate(add: Callable[[list[Item]], None], body: bytes) -> float:
    count = RING_MB * 1_000_000 // len(body)
    begin = time.perf_counter()
    for first in range(0, count, BATCH):
        add([Item(f"kept-1-{number}", number, bytes(200), body) for number in range(first, first + BATCH)])
    return count * len(body) / 1e6 / (time.perf_counter() - begin)


def _plain_rate(path: Path, body: bytes) -> float:
    with path.open("wb", buffering=0) as file:

        def add(items: list[Item]) -> None:
            for item in items:
                file.write(item.head + item.body)
            os.fdatasync(file.fileno())

        return _rate(add, body)


# --- the latency of a decision --------------------------------------------------------------------------------------


class Cameras:
    """Publishes pictures of two lanes and times their decisions."""

    def __init__(self, device: Device, buses: dict[str, HotBus]) -> None:
        """Over one bus per lane, and one that hears decisions."""
        self._device, self._buses = device, buses
        self._sent: dict[int, int] = {}
        self._took: list[float] = []
        self._seq = 0
        self._epoch = time.time_ns()
        self._data = memoryview(reject(PICTURES["12 kB"])[1].inputs["input"].tobytes())  # type: ignore[index]

    def heard(self, delivery: Delivery) -> None:
        """Time a decision."""
        part = decode(DECISION, Decision, delivery.payload).part_id
        if part in self._sent:
            self._took.append((time.monotonic_ns() - self._sent.pop(part)) / 1e3)

    async def window(self, lane: str) -> Window:
        """Return FRAMES_S seconds of one lane."""
        self._took, self._sent = [], {}
        begin, count = time.monotonic(), int(FRAMES_HZ * FRAMES_S)
        publisher = Publisher(self._buses[lane], FRAME, Frame, self._device.place, stream=lane)
        for number in range(count):
            await asyncio.sleep(max(0.0, begin + number / FRAMES_HZ - time.monotonic()))
            self._seq += 1
            now_ns = time.monotonic_ns()
            self._sent[self._seq] = now_ns
            publisher.send(
                Frame(stream=lane, part_id=self._seq, boot=boot_id(), trigger_ns=now_ns, time_ns=0,
                      shape=PICTURES["12 kB"][1:], dtype="uint8", data=self._data)
            )  # fmt: skip
        await asyncio.sleep(0.1)
        return Window(np.sort(self._took), FRAMES_S, count, lost=len(self._sent))


async def measure_latency(device: Device) -> Any:
    """Return rounds of both lanes."""
    camera = {name: HotBus(device.address(f"camera-{name}"), f"cam-{name}") for name in ("kept", "bare")}
    async with (
        camera["kept"], camera["bare"], HotBus(device.address("connect-plc"), "plc") as plc,
        device.user("agent") as agent,
    ):  # fmt: skip
        states = await agent.hear(SLOT_STATE)
        folder = str(device.home / "models" / "caps" / "1")
        agent.say(SLOT_DESIRED, Slot(model="caps", version="1", digest="", folder=folder), model="caps")
        children = [device.start(name) for name in ("historian", "runtime@kept", "runtime@bare")]
        await states.until(lambda _: len({s.process for s in states.all if s.phase == "active"}) == 2, 60)
        for child, priority in ((device.broker, 45), (children[1], 40), (children[2], 40)):
            real_time(child.pid, priority)
        cameras = Cameras(device, camera)
        await plc.subscribe(DECISION.filter(device.place), 1, cameras.heard)
        loop = asyncio.get_running_loop()
        for lane in camera:
            await cameras.window(lane)

        def take(lane: str) -> Callable[[], Window]:
            return lambda: asyncio.run_coroutine_threadsafe(cameras.window(lane), loop).result(60)

        return await asyncio.to_thread(interleave, {"kept": take("kept"), "bare": take("bare")}, ROUNDS)


# --- what comes of it -----------------------------------------------------------------------------------------------


def show(loop: dict[str, Any], ring: dict[str, Any], rounds: Any, kept: int) -> dict[str, Any]:
    """Print the tables; return the figures."""
    console, targets = Console(width=None if sys.stdout.isatty() else 100), Targets()
    table = Table("one reject on the loop", "floor us", "QoS 0 us", "QoS 1 us", "QoS 0 / floor")
    for size, row in loop.items():
        ratio = row["qos0"] / row["floor"]
        told = targets.cell(f"loop {size}", f"{ratio:.1f}", ratio <= LOOP_RATIO)
        table.add_row(size, *(f"{row[name]:.0f}" for name in ("floor", "qos0", "qos1")), told)
    console.print(table)
    table = Table("the ring", "plain MB/s", "sealed MB/s", "share", f"find in {RING_MB} MB, ms")
    for size, row in ring.items():
        told = targets.cell(f"ring {size}", f"{row['ratio']:.2f}", row["ratio"] >= RING_RATIO or size == "2 kB")
        table.add_row(size, f"{row['plain_mb_s']:.0f}", f"{row['sealed_mb_s']:.0f}", told, f"{row['find_ms']:.1f}")
    console.print(table)
    ratio50, ratio99 = rounds.ratio("kept", "bare", p50), rounds.ratio("kept", "bare", p99)
    table = Table(f"decision at {FRAMES_HZ} rejects/s", "p50 us", "p99 us", "lost")
    for lane in ("bare", "kept"):
        table.add_row(
            f"{lane}", f"{rounds.median(lane, p50):.0f}", f"{rounds.median(lane, p99):.0f}",
            f"{rounds.total(lane, lambda window: window.lost):.0f}",
        )  # fmt: skip
    table.add_row("ratio", targets.cell("p50 ratio", f"{ratio50:.2f}", ratio50 <= LATENCY_RATIO), f"{ratio99:.2f}", "")
    console.print(table)
    console.print(f"{kept} records were kept of {rounds.total('kept', lambda w: w.sent):.0f} rejects and the warm-up")
    targets.say(console)
    return {
        "loop_us": loop, "ring": ring, "p50_ratio": ratio50, "p99_ratio": ratio99, "kept": kept,
        "missed": len(targets.missed),
    }  # fmt: skip


def main() -> int:
    """Measure all three."""
    arguments("evidence", __doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="plantedge-bench-") as folder:
        device = Device(Path(folder), USERS)
        for name, keep in (("kept", '["nok"]'), ("bare", "[]")):
            device.add("device.toml", LANES.format(name=name, keep=keep))
        write_classifier(device.home / "models", shape=(64, 64, 3), deep=True)
        with device.running():
            loop = uvloop.run(measure_loop(device))
            ring = measure_ring(Path(folder) / "ring")
            rounds = uvloop.run(measure_latency(device))
            until(lambda: any(EvidenceReader(device.home).newest_first()), 10, "evidence is kept")
            kept = sum(1 for _ in EvidenceReader(device.home).newest_first())
        found = show(loop, ring, rounds, kept)
    finish(found)
    return 1 if found["missed"] else 0


if __name__ == "__main__":
    sys.exit(main())
