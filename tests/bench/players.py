"""The other processes of `bench e2e`: who publishes frames, and the floor that answers them with nothing in between."""

import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path
from typing import Any

import numpy as np

from bus import Address
from bus.codec import decode, encode
from edge.engines import load_engine
from edge.host.clock import boot_id
from edge.models.contract import Contract
from schemas.messages import Frame, Quality
from schemas.topics import DECISION, FRAME, RESULT, Place
from tests.bench.machine import real_time
from tests.bench.raw_mqtt import RawMqtt, payload_of

SEQ = struct.Struct("<q")
REPLY_BYTES, DECISION_BYTES = 520, 260  # about a Result, and a Decision


@dataclass(frozen=True)
class Plan:
    """What to publish: `first` to `first + count - 1`, at `rate` frames a second, to the floor or to the runtime.

    Each `bad_every`-th frame is one that its camera calls Bad, 0 for none.
    """

    floor: bool
    first: int
    count: int
    rate: float
    bad_every: int = 0

    def quality(self, seq: int) -> Quality:
        """Return what the camera says of a frame."""
        return Quality.BAD if self.bad_every and seq % self.bad_every == 0 else Quality.GOOD


def publish_frames(
    pipe: Connection,
    address: Address,
    place: Place,
    sent_ns: "SynchronizedArray[Any]",
    shape: tuple[int, ...],
    fifo: int,
) -> None:
    """Publish each plan that comes through `pipe`; note in `sent_ns` when each frame left."""
    if fifo:
        real_time(0, fifo)
    link = RawMqtt(address, "bench-camera")
    pixels = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    times = sent_ns.get_obj()
    floor_name, name = FRAME.name(place, stream="floor"), FRAME.name(place, stream="cam1")
    raw, boot, epoch = pixels.tobytes(), boot_id(), time.time_ns()
    pipe.send("ready")
    while plan := pipe.recv():
        link.ping()

        def floor(seq: int, _now_ns: int) -> bytes:
            return SEQ.pack(seq) + raw

        def frame(seq: int, now_ns: int, plan: Plan = plan) -> bytes:
            return encode(
                FRAME,
                Frame(stream="cam1", part_id=seq, boot=boot, trigger_ns=now_ns, time_ns=0, shape=shape, dtype="uint8",
                      data=memoryview(raw), quality=plan.quality(seq), epoch=epoch, seq=seq),
            )  # fmt: skip

        _paced(link, floor_name if plan.floor else name, plan, floor if plan.floor else frame, times)
        pipe.send("done")


def _paced(link: RawMqtt, name: str, plan: Plan, make: Callable[[int, int], bytes], times: Any) -> None:
    start = time.monotonic()
    for index in range(plan.count):
        wait_s = start + index / plan.rate - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        seq = plan.first + index
        times[seq] = now_ns = time.monotonic_ns()
        payload = make(seq, now_ns)
        link.link.sendall(link.publisher(name, len(payload)) + payload)


def answer_frames(
    pipe: Connection, address: Address, place: Place, folder: Path, shape: tuple[int, ...], fifo: int
) -> None:  # fmt: skip
    """The floor: one blocking socket, one run of the same model, one small answer."""
    contract = Contract.load(folder)
    session, name = load_engine("cpu").load(contract), contract.inputs[0].name
    link = RawMqtt(address, "bench-floor")
    link.subscribe(FRAME.filter(place, stream="floor"))
    head = link.publisher(RESULT.name(place, pipeline="floor"), REPLY_BYTES)
    filler = bytes(REPLY_BYTES - SEQ.size)
    session.run({name: np.zeros((1, *shape), np.uint8)})
    if fifo:
        real_time(0, fifo)
    pipe.send("ready")
    while not pipe.poll():
        for _, body in link.messages(time.monotonic() + 1.0):
            payload = payload_of(body)
            session.run({name: np.frombuffer(payload, np.uint8, offset=SEQ.size).reshape(1, *shape)})
            link.link.sendall(head + payload[: SEQ.size] + filler)
        link.ping()


def work_bare(
    pipe: Connection, address: Address, place: Place, folder: Path, shape: tuple[int, ...], fifo: int
) -> None:  # fmt: skip
    """What one frame can't cost less than, on one core: read its message, run the model, two writes to the broker.

    For each number of seconds that comes through `pipe`, tells what each frame took, in microseconds.
    """
    contract = Contract.load(folder)
    session, name = load_engine("cpu").load(contract), contract.inputs[0].name
    pixels = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    frame = encode(
        FRAME,
        Frame(stream="cam1", part_id=1, boot=boot_id(), trigger_ns=time.monotonic_ns(), time_ns=0, shape=shape,
              dtype="uint8", data=memoryview(pixels.tobytes()), epoch=time.time_ns(), seq=1),
    )  # fmt: skip
    link = RawMqtt(address, "bench-bare")
    decision = link.publisher(DECISION.name(place, pipeline="bare"), DECISION_BYTES) + bytes(DECISION_BYTES)
    result = link.publisher(RESULT.name(place, pipeline="bare"), REPLY_BYTES) + bytes(REPLY_BYTES)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    real_time(0, fifo)
    pipe.send("ready")
    while seconds := pipe.recv():
        link.ping()
        times, until = [], time.monotonic() + seconds
        while (start := time.monotonic()) < until:
            taken = decode(FRAME, Frame, frame)
            session.run({name: np.frombuffer(taken.data, np.uint8).reshape(1, *shape)})
            link.link.sendall(decision)
            link.link.sendall(result)
            times.append((time.monotonic() - start) * 1e6)
        pipe.send(times)
