"""From a PLC's counter to the decision: the camera process and the runtime, behind a real broker."""

import asyncio
import time
from contextlib import asynccontextmanager

import msgspec
import numpy as np
import pytest
from PIL import Image

from edge.host.clock import boot_id
from edge.host.frame_ring import ring_path
from edge.sim.camera import CameraServer, Feed
from schemas.messages import Outcome, Phase, Quality, Reading, Sample, Slot, State, Verdict
from schemas.topics import DECISION, EVENT, EVIDENCE, FRAME, READING, RESULT, SLOT_DESIRED, SLOT_STATE, STATUS
from tests.device import INSPECT, Device
from tests.edge.small_models import write_classifier

pytestmark = [pytest.mark.alone, pytest.mark.slow]

LARGE = (240, 240, 3)  # 172,800 bytes: over what travels on the bus by default
USERS = ("camera-cam1", "runtime-safety", "connect-plc", "connect-test", "historian", "agent")
LINE = """
[sources.plc]
driver = "modbus"
tags = "tags/plc.csv"
groups = {{ fast = 10 }}
[cameras.cam1]
driver = "{driver}"
address = "{address}"
options = {{ {options} }}
{camera}
"""
KEPT = 'evidence = { keep = ["nok"], max_kb_per_s = 2000 }\n'
TAGS = """name,address,type,access,group,scale,offset,unit,order,bit,deadband,min,max,failsafe,description
Count,ir:0,uint16,r,fast,,,,,,,,,,
"""
TRIGGERED = 'trigger = "plc/Count"\nwait_ms = 300\n'


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path, USERS)
    made.write("tags/plc.csv", TAGS)
    (made.home / "images").mkdir()
    pixels = np.full(LARGE, 250, np.uint8)
    pixels[:, :20] = 200
    Image.fromarray(pixels).save(made.home / "images" / "part.png")
    with made.running():
        yield made


class Line:
    """The test plays the PLC's connect process, and hears the others."""

    def __init__(self, plc):
        self.plc, self.epoch, self.seq = plc, time.time_ns(), 0

    def scan(self, count, quality=Quality.GOOD):
        self.seq += 1
        reading = Reading(
            source="plc", group="fast", boot=boot_id(), scan_ns=time.monotonic_ns(), scan_ms=0.1,
            time_ns=time.time_ns(), tags={"Count": Sample(value=count, quality=quality)}, epoch=self.epoch,
            seq=self.seq,
        )  # fmt: skip
        self.plc.say(READING, reading, source="plc")


@asynccontextmanager
async def line(device, camera, driver="folder", address="images"):
    options = "rate_hz = 100" if driver == "folder" else ""
    line = LINE.format(camera=camera, driver=driver, address=address, options=options)
    device.add("device.toml", f"{line}{INSPECT}{KEPT}")
    async with (
        device.user("connect-plc") as plc,
        device.user("runtime-safety") as runtime,
        device.user("historian") as historian,
        device.user("agent") as agent,
    ):
        made = Line(plc)
        made.frames, made.events = await runtime.hear(FRAME), await historian.hear(EVENT)
        made.decisions, made.results = await plc.hear(DECISION), await historian.hear(RESULT)
        made.evidence = await historian.hear(EVIDENCE)
        made.statuses, made.slots = await agent.hear(STATUS), await agent.hear(SLOT_STATE)
        made.agent = agent
        yield made


async def ready(seen, device):
    """Start the camera; scan until it has seen a trigger, for it may not be subscribed yet."""
    device.start("camera@cam1")
    count = 100
    async with asyncio.timeout(15):
        while not seen.frames.all:
            seen.scan(count := count + 1)
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.4)  # what still waits for a picture has one, or is overdue
    return count


async def test_a_counter_that_moves_takes_the_picture_of_its_part(device):
    async with line(device, TRIGGERED) as seen:
        count = await ready(seen, device)
        before = len(seen.frames.all)
        for part in (count + 1, count + 2):
            seen.scan(part)
            frame = await seen.frames.until(lambda frame, part=part: frame.part_id == part)
            assert (frame.quality, frame.shape, frame.ring) == (Quality.GOOD, LARGE, "camera-cam1")
        assert [frame.part_id for frame in seen.frames.all[before:]] == [count + 1, count + 2]  # and no other picture
        status = await seen.statuses.until(lambda status: status.counters.get("triggers", 0) >= 3)
        assert status.counters["trigger_faults"] == 0


async def test_missed_triggers_are_bad_frames_of_their_parts_and_an_event(device):
    async with line(device, TRIGGERED) as seen:
        count = await ready(seen, device)
        seen.scan(count + 3)
        missed = [await seen.frames.until(lambda f, p=p: f.part_id == p) for p in (count + 1, count + 2)]
        assert {frame.quality for frame in missed} == {Quality.BAD}
        assert f"the counter went from {count} to {count + 3}" in missed[0].reason
        assert (await seen.frames.until(lambda frame: frame.part_id == count + 3)).quality is Quality.GOOD
        event = await seen.events.until(lambda event: event.code == "triggers_faulty")
        assert (event.phase, f"part {count + 1}" in event.text) == (Phase.NEW, True)


async def test_a_tag_that_goes_bad_is_told(device):
    async with line(device, TRIGGERED) as seen:
        count = await ready(seen, device)
        async with asyncio.timeout(15):  # at its start a tag gets some time to become Good
            while not any(event.code == "trigger_lost" for event in seen.events.all):
                seen.scan(count, Quality.BAD)
                await asyncio.sleep(0.1)
        degraded = await seen.statuses.until(lambda status: status.state is State.DEGRADED)
        assert "plc/Count" in degraded.reason


async def test_skipped_faults_make_no_frame(device):
    async with line(device, TRIGGERED + 'faulty = "skip"\n') as seen:
        count = await ready(seen, device)
        seen.scan(count + 3)
        await seen.frames.until(lambda frame: frame.part_id == count + 3)
        assert not {count + 1, count + 2} & {frame.part_id for frame in seen.frames.all}
        status = await seen.statuses.until(lambda status: status.counters.get("trigger_faults") == 2)
        assert status.process == "camera-cam1"


async def test_a_large_picture_is_judged_under_its_part_and_kept_as_evidence(device):
    folder = write_classifier(device.home / "models", shape=LARGE)
    async with line(device, TRIGGERED) as seen:
        seen.agent.say(SLOT_DESIRED, Slot(model="caps", version="1", digest="", folder=str(folder)), model="caps")
        device.start("runtime@safety")
        await seen.slots.until(lambda slot: slot.phase == "active", 20)
        count = await ready(seen, device)
        seen.scan(count + 1)
        decision = await seen.decisions.until(lambda decision: decision.part_id == count + 1)
        result = await seen.results.until(lambda result: result.part_id == count + 1)
        assert (decision.verdict, result.outcome, result.label) == (Verdict.NOK, Outcome.RESULT, "bad")
        evidence = await seen.evidence.until(lambda evidence: evidence.part_id == count + 1)
        pixels = np.frombuffer(evidence.inputs[0].data, np.uint8).reshape(LARGE)
        assert (pixels[:, :20] == 200).all()
        assert (pixels[:, 20:] == 250).all()
        seen.scan(count + 3)  # one was not seen: it must not pass
        decision = await seen.decisions.until(lambda decision: decision.part_id == count + 2)
        assert decision.verdict is Verdict.UNKNOWN
        assert decision.reason.startswith("bad_quality: the counter went from")


async def test_a_slot_that_is_gone_is_decided_fail_safe(device):
    folder = write_classifier(device.home / "models", shape=LARGE)
    async with line(device, TRIGGERED) as seen:
        seen.agent.say(SLOT_DESIRED, Slot(model="caps", version="1", digest="", folder=str(folder)), model="caps")
        count = await ready(seen, device)
        seen.scan(count + 1)
        frame = await seen.frames.until(lambda frame: frame.part_id == count + 1)
        device.start("runtime@safety")
        await seen.slots.until(lambda slot: slot.phase == "active", 20)
        async with device.user("camera-cam1") as camera:
            stale = msgspec.structs.replace(frame, generation=frame.generation - 1, part_id=9_999, seq=9_999)
            camera.say(FRAME, stale, stream="cam1")
            decision = await seen.decisions.until(lambda decision: decision.part_id == 9_999)
        assert (decision.verdict, decision.reason) == (
            Verdict.UNKNOWN, "bad_quality: its slot in the ring was overwritten before it was read",
        )  # fmt: skip


def shaded(number):
    pixels = np.full((16, 16, 3), number % 200, np.uint8)
    pixels[:8] += 40
    return pixels.tobytes()


async def test_a_wired_cameras_pictures_get_the_counters_numbers_in_order(device):
    """Two parts between two scans: one step of two, and each has its own picture."""
    feed = Feed(shaded, (16, 16, 3), "uint8")
    server = CameraServer({"line": feed})
    address = f"127.0.0.1:{await server.listen('127.0.0.1', 0)}"
    camera = 'trigger = "plc/Count"\ntriggered_by = "wire"\nwait_ms = 400\n'
    try:
        async with line(device, camera, "plant", address) as seen:
            device.start("camera@cam1")
            count = 100
            async with asyncio.timeout(15):
                while not any(frame.quality is Quality.GOOD for frame in seen.frames.all):
                    feed.shoot(1, time.monotonic_ns())
                    seen.scan(count := count + 1)
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.6)  # what still waits for the other is overdue
            shot_ns = [time.monotonic_ns()]
            feed.shoot(50, shot_ns[0])
            await asyncio.sleep(0.05)
            shot_ns.append(time.monotonic_ns())
            feed.shoot(90, shot_ns[1])
            await asyncio.sleep(0.05)
            seen.scan(count + 2)
            for part, number, at_ns in ((count + 1, 50, shot_ns[0]), (count + 2, 90, shot_ns[1])):
                frame = await seen.frames.until(lambda frame, part=part: frame.part_id == part)
                assert bytes(frame.data) == shaded(number)
                assert abs(frame.trigger_ns - at_ns) < 30_000_000  # since the wire's trigger, not since the scan
    finally:
        server.close()


async def test_the_ring_goes_with_its_camera_and_a_killed_ones_is_taken_over(device):
    async with line(device, "") as seen:
        child = device.start("camera@cam1")
        first = await seen.frames.until()
        child.kill()
        child.wait(5)
        path = ring_path(device.home, "camera-cam1")
        assert path.exists()
        again = device.start("camera@cam1")
        await seen.frames.until(lambda frame: frame.epoch != first.epoch)
        again.terminate()
        await asyncio.to_thread(again.wait, 5)
        assert not path.exists()
