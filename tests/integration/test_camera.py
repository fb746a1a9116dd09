"""Cameras onto the bus: the simulated plant's own server, a folder of images, and what goes wrong with both."""

import asyncio
import struct
import time

import numpy as np
import pytest
from PIL import Image

from edge.camera import judged
from edge.cameras import Picture, camera_drivers, load_grabber
from edge.host.clock import boot_id
from edge.settings import Camera
from edge.sim.album import Album
from edge.sim.camera import CameraServer, Feed, Shot, pack_shot
from edge.sim.parts import PartStream
from schemas.errors import ConnectorError
from schemas.messages import Phase, Quality, State
from schemas.topics import EVENT, FRAME, STATUS
from tests.device import Device

pytestmark = [pytest.mark.alone, pytest.mark.slow]

CAMERA = """
[cameras.cam1]
driver = "{driver}"
address = "{address}"
timeout_ms = 500
ring_mb = 0
options = {{ {options} }}
[pipelines.inspect]
model = "caps"
input = {{ frames = "cam1" }}
deadline_ms = 50
"""


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path, ("camera-cam1", "runtime-safety", "historian", "agent"))
    with made.running():
        yield made


@pytest.fixture
async def plant_camera():
    stream = PartStream(1)
    album = Album(lambda number: stream.image(number).tobytes())
    album.start()
    server = CameraServer({"line": Feed(album.take, (64, 64, 3), "uint8", album.want)})
    yield server
    server.close()
    album.close()


class Watched:
    """What a camera process says."""

    def __init__(self, frames, events, statuses):
        self.frames, self.events, self.statuses = frames, events, statuses

    async def event(self, code, phase):
        return await self.events.until(lambda event: (event.code, event.phase) == (code, phase))

    async def state(self, state):
        return await self.statuses.until(lambda status: status.process == "camera-cam1" and status.state is state)


@pytest.fixture
async def watched(device):
    async with (
        device.user("runtime-safety") as runtime,
        device.user("historian") as historian,
        device.user("agent") as agent,
    ):
        yield Watched(await runtime.hear(FRAME), await historian.hear(EVENT), await agent.hear(STATUS))


def start(device, driver, address, options=""):
    device.add("device.toml", CAMERA.format(driver=driver, address=address, options=options))
    return device.start("camera@cam1")


async def shoot_until(server, frames, count):
    """Shoot parts until `count` frames have come."""
    part = len(frames.all)
    async with asyncio.timeout(10):
        while len(frames.all) < count:
            part += 1
            server.feeds["line"].shoot(part, time.monotonic_ns())
            await asyncio.sleep(0.01)


async def test_the_plants_pictures_arrive_with_their_parts_and_triggers(device, watched, plant_camera):
    port = await plant_camera.listen("127.0.0.1", 0)
    start(device, "plant", f"127.0.0.1:{port}")
    await watched.state(State.IDLE)
    before_ns = time.monotonic_ns()
    async with asyncio.timeout(5):
        while not watched.frames.all:  # a grabber that is connected may not be accepted yet
            plant_camera.feeds["line"].shoot(7, before_ns - 1_000_000_000)
            await asyncio.sleep(0.01)
    frame = await watched.frames.until()
    assert (frame.part_id, frame.stream, frame.boot, frame.shape, frame.dtype) == (
        7, "cam1", boot_id(), (64, 64, 3), "uint8",
    )  # fmt: skip
    assert bytes(frame.data) == PartStream(1).image(7).tobytes()
    assert abs(frame.trigger_ns - (before_ns - 1_000_000_000)) < 500_000_000
    assert frame.trigger_ns < before_ns
    assert abs(frame.time_ns - time.time_ns()) < 5e9
    await watched.state(State.ACTIVE)


async def test_a_lost_camera_is_one_event_until_it_is_back(device, watched, plant_camera, free_port):
    port = free_port()
    start(device, "plant", f"127.0.0.1:{port}")
    lost = await watched.event("camera_lost", Phase.NEW)
    assert str(port) in lost.text
    degraded = await watched.state(State.DEGRADED)
    assert "does not answer" in degraded.reason
    await plant_camera.listen("127.0.0.1", port)
    back = await watched.event("camera_lost", Phase.END)
    assert back.key == lost.key
    await shoot_until(plant_camera, watched.frames, 1)
    seqs = [frame.seq for frame in watched.frames.all]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_password_in_an_address_is_in_no_event_state_or_log(device, watched, free_port):
    start(device, "rtsp", f"rtsp://eye:hunter2@127.0.0.1:{free_port()}/line?key=hunter2")
    lost = await watched.event("camera_lost", Phase.NEW)
    degraded = await watched.state(State.DEGRADED)
    assert "rtsp://127.0.0.1:" in lost.text
    assert "hunter2" not in lost.text + degraded.reason + device.log("camera@cam1")


async def test_a_camera_that_talks_nonsense_is_lost_and_opened_again(device, watched):
    opened = asyncio.Queue()

    async def nonsense(reader, writer):
        opened.put_nowait(writer)
        writer.write(struct.pack(">I", 5) + b"hello")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(nonsense, "127.0.0.1", 0) as server:
        camera = start(device, "plant", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        lost = await watched.event("camera_lost", Phase.NEW)
        assert "no picture" in lost.text
        for _ in range(3):
            await asyncio.wait_for(opened.get(), 10)
        camera.terminate()
        await asyncio.to_thread(camera.wait, 5)


async def test_a_picture_over_the_limit_is_said_clearly_and_the_next_ones_pass(device, watched):
    large = Shot(part_id=1, age_us=0, shape=(300, 300, 3), dtype="uint8", data=bytes(270_000))
    small = Shot(part_id=2, age_us=0, shape=(8, 8, 3), dtype="uint8", data=bytes(192))
    said = asyncio.Event()

    async def serve(reader, writer):
        writer.write(pack_shot(large))
        await said.wait()
        writer.write(pack_shot(small))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        camera = start(device, "plant", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        fault = await watched.event("frame_oversized", Phase.NEW)
        assert "(300, 300, 3)" in fault.text
        assert str(FRAME.max_bytes) in fault.text
        said.set()
        assert (await watched.frames.until()).part_id == 2
        await watched.event("frame_oversized", Phase.END)
        camera.terminate()
        await asyncio.to_thread(camera.wait, 5)


def paint(folder, count=3):
    folder.mkdir()
    for shade in range(count):
        pixels = np.full((20, 30, 3), shade * 40 + 10, np.uint8)
        pixels[:, :15] += 30
        image = Image.fromarray(pixels)
        image.save(folder / f"part{shade}.{'png' if shade % 2 else 'jpg'}")


async def test_a_folder_of_images_loops_at_its_rate_and_counts_parts(device, watched):
    paint(device.home / "images")
    start(device, "folder", "images", "rate_hz = 50, width = 16, height = 12")
    frames = await watched.frames.count(6)
    first = [frame.part_id for frame in frames[:6]]
    assert first == list(range(first[0], first[0] + 6))
    assert {frame.shape for frame in frames} == {(12, 16, 3)}
    shades = [round((np.frombuffer(frame.data, np.uint8).mean() - 25) / 40) for frame in frames[:6]]
    assert shades == [(part - 1) % 3 for part in first]
    apart_ms = np.diff([frame.trigger_ns for frame in frames]) / 1e6
    assert np.median(apart_ms) == pytest.approx(20, rel=0.5)


async def test_an_image_that_can_not_be_read_is_a_bad_picture(device, watched):
    paint(device.home / "images", 1)
    (device.home / "images" / "part9.png").write_bytes(b"not a png")
    start(device, "folder", "images", "rate_hz = 50, width = 16, height = 12")
    bad = await watched.frames.until(lambda frame: frame.quality is Quality.BAD)
    assert "part9.png can't be read" in bad.reason


@pytest.mark.parametrize(
    ("driver", "address", "options", "says"),
    [
        ("plant", "nowhere", {}, "write host:port"),
        ("folder", "empty", {}, "holds no PNG or JPEG"),
        ("folder", "images", {"rate_hz": 0}, "rate_hz over 0"),
        ("folder", "images", {"width": 5}, "both width and height"),
        ("folder", "images", {"colour": True}, "colour: not known"),
        ("folder", "images", {"rate_hz": "fast"}, "camera options"),
    ],
)
async def test_a_camera_that_can_not_be_opened_says_what_to_do(tmp_path, driver, address, options, says):
    paint(tmp_path / "images")
    settings = Camera(driver=driver, address=address, options=options)
    with pytest.raises(ConnectorError, match=says):
        async with load_grabber(driver).open_camera(settings, tmp_path):
            pass


async def test_a_folder_that_does_not_loop_ends(tmp_path):
    paint(tmp_path / "images")
    settings = Camera(driver="folder", address="images", options={"rate_hz": 500, "loop": False})
    async with load_grabber("folder").open_camera(settings, tmp_path) as pictures:
        assert [picture.part_id async for picture in pictures] == [1, 2, 3]


@pytest.mark.parametrize("level", [0, 128, 252])
def test_a_picture_that_shows_nothing_is_bad(level):
    """A black picture was an OK part with a probability of 1.0 to a model that had been trained on parts alone."""
    blind = Picture(1, 0, np.full((64, 64, 3), level, np.uint8))
    assert (judged(blind).quality, judged(blind).reason.partition(":")[0]) == (Quality.BAD, "no contrast")
    blind.pixels[3, 3] += 3
    assert judged(blind).quality is Quality.BAD
    part = Picture(1, 0, PartStream(1).image(1))
    assert judged(part) is part


@pytest.mark.parametrize("driver", camera_drivers())
def test_every_driver_can_be_loaded_by_its_file_name(driver):
    assert callable(load_grabber(driver).open_camera)


def test_a_driver_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ConnectorError, match=r"'lens'; there are folder, genicam, plant, rtsp, v4l2"):
        load_grabber("lens")
