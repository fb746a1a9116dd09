"""What every file in edge/cameras/ keeps to, each against a peer. A driver without a peer fails.

The peer of rtsp (GStreamer) shares no code with FFmpeg's client; that of genicam is Aravis' own simulated camera. There
is no V4L2 camera without hardware: v4l2 is held to what it says when there is none, and its pictures come from a
sequence of images through the same code.
"""

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edge.cameras import Tunable, camera_drivers, load_grabber
from edge.cameras.genicam import _as_opencv
from edge.grabbing.aravis import Taken
from edge.grabbing.capture import Capture
from edge.grabbing.options import Options
from edge.grabbing.shaping import SHAPING, shaping_of
from edge.grabbing.thread import pictures_of
from edge.settings import Camera
from edge.sim.album import Album
from edge.sim.camera import CameraServer, Feed
from schemas.errors import ConnectorError
from schemas.messages import Quality
from tests.peers.camera_peers import gige_camera, rtsp_server

pytestmark = pytest.mark.slow

TIMEOUT_MS = 2000
SOON_S = 8.0  # GigE Vision's own heartbeat takes three of them


@dataclass(frozen=True)
class Peer:
    """A running camera: how to reach it, what its pictures are, how to end it ("" where it has no link to cut)."""

    settings: Camera
    shape: tuple[int, ...]
    cut: Callable[[], None] | None
    stall: Callable[[], None] | None = None  # lets it live, and say nothing more


@contextlib.asynccontextmanager
async def folder(home: Path) -> AsyncIterator[Peer]:
    paint(home / "images")
    yield Peer(Camera(driver="folder", address="images", options={"rate_hz": 50}), (20, 30, 3), None)


@contextlib.asynccontextmanager
async def plant(home: Path) -> AsyncIterator[Peer]:
    album = Album(lambda number: np.full((64, 64, 3), number % 200, np.uint8).tobytes())
    album.start()
    server = CameraServer({"line": Feed(album.take, (64, 64, 3), "uint8", album.want)})
    port = await server.listen("127.0.0.1", 0)

    async def shoot() -> None:
        for part in range(1, 3000):
            server.feeds["line"].shoot(part, time.monotonic_ns())
            await asyncio.sleep(0.02)

    shooting = asyncio.create_task(shoot())
    try:
        yield Peer(
            Camera(driver="plant", address=f"127.0.0.1:{port}"), (64, 64, 3), server.close,
        )  # fmt: skip
    finally:
        shooting.cancel()
        server.close()
        album.close()


@contextlib.asynccontextmanager
async def rtsp(home: Path) -> AsyncIterator[Peer]:
    with rtsp_server() as (port, child):
        settings = Camera(driver="rtsp", address=f"rtsp://127.0.0.1:{port}/line", timeout_ms=TIMEOUT_MS)
        yield Peer(settings, (64, 96, 3), child.kill, lambda: child.send_signal(signal.SIGSTOP))


@contextlib.asynccontextmanager
async def genicam(home: Path) -> AsyncIterator[Peer]:
    with gige_camera() as child:
        options = {"width": 96, "height": 64}  # small: the loopback of a busy machine loses packets of large pictures
        settings = Camera(driver="genicam", address="127.0.0.1", timeout_ms=TIMEOUT_MS, options=options)
        yield Peer(settings, (64, 96, 3), child.kill, lambda: child.send_signal(signal.SIGSTOP))


@contextlib.asynccontextmanager
async def v4l2(home: Path) -> AsyncIterator[Peer]:
    found = sorted(Path("/dev").glob("video*"))  # noqa: ASYNC240 - a glance at /dev
    if not found:
        pytest.skip("no V4L2 camera on this machine")
    settings = Camera(driver="v4l2", address=str(found[0]), options={"width": 640, "height": 480})
    yield Peer(settings, (480, 640, 3), None)


PEERS = {"folder": folder, "genicam": genicam, "plant": plant, "rtsp": rtsp, "v4l2": v4l2}
NOWHERE = {
    "folder": "void", "genicam": "127.0.0.77", "plant": "127.0.0.1:9", "rtsp": "rtsp://127.0.0.1:9/line",
    "v4l2": "/dev/video99",
}  # fmt: skip
every_driver = pytest.mark.parametrize("driver", camera_drivers())


def paint(at: Path, count: int = 3) -> None:
    at.mkdir()
    for shade in range(count):
        pixels = np.full((20, 30, 3), shade * 40 + 10, np.uint8)
        pixels[:, :15] += 30
        Image.fromarray(pixels).save(at / f"part{shade}.png")


@pytest.fixture
async def peer(driver: str, tmp_path: Path) -> AsyncIterator[Peer]:
    async with PEERS[driver](tmp_path) as running:
        yield running


@every_driver
async def test_its_pictures_have_their_shape_and_count_up(driver: str, peer: Peer, tmp_path: Path) -> None:
    async with load_grabber(driver).open_camera(peer.settings, tmp_path) as pictures, asyncio.timeout(20):
        taken = [await anext(pictures) for _ in range(4)]
    assert {picture.pixels.shape for picture in taken if picture.quality is Quality.GOOD} == {peer.shape}
    assert {picture.pixels.dtype for picture in taken} == {np.dtype(np.uint8)}
    parts, times = [picture.part_id for picture in taken], [picture.trigger_ns for picture in taken]
    assert parts == sorted(set(parts))
    assert parts[0] >= 1
    assert times == sorted(times)
    assert times[-1] <= time.monotonic_ns()


@every_driver
async def test_it_leaves_nothing_behind_and_opens_again(driver: str, peer: Peer, tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    for _ in range(2):
        async with load_grabber(driver).open_camera(peer.settings, tmp_path) as pictures, asyncio.timeout(10):
            await anext(pictures)
        assert {thread.name for thread in threading.enumerate() if thread.name.startswith("camera-")} <= before


@every_driver
async def test_a_camera_that_is_lost_is_an_error_soon(driver: str, peer: Peer, tmp_path: Path) -> None:
    if peer.cut is None:
        pytest.skip(f"{driver} has no link that could be cut")
    async with load_grabber(driver).open_camera(peer.settings, tmp_path) as pictures:
        await asyncio.wait_for(anext(pictures), 10)
        peer.cut()
        began_s = time.monotonic()
        with pytest.raises(ConnectorError, match=r"camera .* (ended|gives no|no longer|is not there)"):
            async with asyncio.timeout(20):
                while True:
                    await anext(pictures)
        assert time.monotonic() - began_s < SOON_S


@every_driver
async def test_nothing_at_the_address_is_an_error_soon(driver: str, tmp_path: Path) -> None:
    settings = Camera(driver=driver, address=NOWHERE[driver], timeout_ms=500)
    began_s = time.monotonic()
    with pytest.raises(ConnectorError, match="camera"):
        async with load_grabber(driver).open_camera(settings, tmp_path):
            pass
    assert time.monotonic() - began_s < SOON_S


@every_driver
async def test_an_option_that_is_not_known_is_named_with_those_that_are(driver: str, tmp_path: Path) -> None:
    settings = Camera(driver=driver, address=NOWHERE[driver], options={"zoom": 3})
    with pytest.raises(ConnectorError, match=r"camera option zoom: not known; there (are|is) "):
        async with load_grabber(driver).open_camera(settings, tmp_path):
            pass


@pytest.mark.parametrize("garbage", [b"", b"\x00" * 4096, b"RTSP/1.0 200 OK\r\n\r\n" * 50, bytes(range(256)) * 64])
@pytest.mark.parametrize("driver", ["rtsp", "plant"])
async def test_garbage_from_the_network_is_a_lost_camera(driver: str, garbage: bytes, tmp_path: Path) -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(garbage)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(nonsense, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        address = f"rtsp://127.0.0.1:{port}/line" if driver == "rtsp" else f"127.0.0.1:{port}"
        with pytest.raises(ConnectorError):
            async with (
                load_grabber(driver).open_camera(
                    Camera(driver=driver, address=address, timeout_ms=700), tmp_path
                ) as pictures,
                asyncio.timeout(8),
            ):
                await anext(pictures)


# -- each on its own ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_an_rtsp_camera_is_shaped_by_its_options(transport: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s@cret/word\n")
    options = {
        "user": "eye", "password_file": "secret", "transport": transport, "crop": "8,4,80,40", "resize_width": 40,
        "resize_height": 20, "mode": "L", "delay_ms": 1000,
    }  # fmt: skip
    with rtsp_server(0, "eye", "s@cret/word") as (port, _):
        settings = Camera(driver="rtsp", address=f"rtsp://127.0.0.1:{port}/line", timeout_ms=4000, options=options)
        async with load_grabber("rtsp").open_camera(settings, tmp_path) as pictures, asyncio.timeout(15):
            picture = await anext(pictures)
    assert picture.pixels.shape == (20, 40, 1)
    assert picture.pixels.max() > 200  # a white ball on black
    assert time.monotonic_ns() - picture.trigger_ns > 1e9


async def test_a_wrong_password_is_refused_and_told_to_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with rtsp_server(0, "eye", "right") as (port, _):
        settings = Camera(driver="rtsp", address=f"rtsp://eye:hunter2@127.0.0.1:{port}/line", timeout_ms=TIMEOUT_MS)
        with pytest.raises(ConnectorError, match=f"rtsp://127.0.0.1:{port}/line does not answer") as refused:
            async with load_grabber("rtsp").open_camera(settings, tmp_path):
                pass
    heard = capfd.readouterr()
    assert "hunter2" not in str(refused.value) + heard.out + heard.err


async def test_a_genicam_camera_waits_for_its_software_trigger(tmp_path: Path) -> None:
    options = {
        "trigger": "software",
        "width": 96,
        "height": 64,
        "pixel_format": "Mono8",
        "mode": "L",
        "exposure_us": 900,
    }
    with gige_camera():
        settings = Camera(driver="genicam", address="127.0.0.1", timeout_ms=500, options=options)
        async with load_grabber("genicam").open_camera(settings, tmp_path) as pictures:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(pictures), 1)
            shot_ns = time.monotonic_ns()
            pictures.shoot()
            picture = await asyncio.wait_for(anext(pictures), 5)
    assert picture.pixels.shape == (64, 96, 1)
    assert picture.trigger_ns > shot_ns


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"trigger": "Line7"}, "option trigger was refused"),
        ({"pixel_format": "Mono99"}, "option pixel_format was refused"),
        ({"width": 64}, "width and height: write both"),
        ({"features": "Gamma"}, "Name=Value"),
        ({"exposure_us": "long"}, "write a number"),
        ({"features": "NoSuchFeature=1"}, "option features: NoSuchFeature was refused"),
    ],
)
async def test_a_genicam_camera_that_refuses_an_option_says_which(
    options: dict[str, str | int], says: str, tmp_path: Path
) -> None:
    with gige_camera(), pytest.raises(ConnectorError, match=says):
        async with load_grabber("genicam").open_camera(
            Camera(driver="genicam", address="127.0.0.1", options=options), tmp_path
        ):
            pass


# PFNC's names say the first two pixels of the first row: what stands at (row, column) of each 2 x 2 square.
MOSAICS = {0x01080009: "RG/GB", 0x01080008: "GR/BG", 0x0108000A: "GB/RG", 0x0108000B: "BG/GR"}


@pytest.mark.parametrize("pattern", MOSAICS)
@pytest.mark.parametrize("colour", ["R", "G", "B"])
def test_the_colours_of_a_bayer_pattern_are_not_exchanged(pattern: int, colour: str) -> None:
    square = [[255 if letter == colour else 0 for letter in row] for row in MOSAICS[pattern].split("/")]
    raw = np.tile(np.array(square, np.uint8), (8, 8))
    taken = Taken(frame_id=1, whole=True, width=16, height=16, format=pattern, data=raw.tobytes())
    shaped = shaping_of(Options({}, SHAPING)).apply(_as_opencv("cam", taken))[4:12, 4:12]
    wanted = [255 if letter == colour else 0 for letter in "RGB"]
    assert shaped.reshape(-1, 3).mean(axis=0).round().tolist() == wanted


@pytest.mark.parametrize(
    ("number", "channels", "kind"), [(0x01080001, 1, "uint8"), (0x01100007, 1, "uint16"), (0x02180014, 3, "uint8")]
)
def test_the_other_formats_come_as_they_are(number: int, channels: int, kind: str) -> None:
    pixels = np.arange(4 * 6 * channels).reshape(4, 6, channels).astype(kind)
    taken = Taken(frame_id=1, whole=True, width=6, height=4, format=number, data=pixels.tobytes())
    mode = "RGB" if channels == 3 else "L"
    assert (shaping_of(Options({"mode": mode}, SHAPING)).apply(_as_opencv("cam", taken)) == pixels).all()


@pytest.mark.parametrize(
    ("number", "size", "says"), [(0x12345678, 24, "pixel format 0x12345678"), (0x01080001, 23, "23")]
)
def test_a_format_or_size_that_can_not_be_is_an_error(number: int, size: int, says: str) -> None:
    taken = Taken(frame_id=1, whole=True, width=6, height=4, format=number, data=bytes(size))
    with pytest.raises(ConnectorError, match=says):
        _as_opencv("cam", taken)


async def test_what_opencv_captures_comes_shaped_and_its_end_is_a_lost_camera(tmp_path: Path) -> None:
    """The code that v4l2 and rtsp share, with a sequence of images in the place of a device."""
    paint(tmp_path / "images", 5)
    shaping = shaping_of(Options({"crop": "5,5,20,10"}, SHAPING))
    device = Capture(
        "images", lambda: cv2.VideoCapture(str(tmp_path / "images/part%d.png"), cv2.CAP_IMAGES), shaping, 1
    )
    seen = []
    with pytest.raises(ConnectorError, match="gives no more pictures"):
        async with pictures_of(device) as pictures, asyncio.timeout(5):
            async for picture in pictures:
                seen.append((picture.part_id, picture.pixels.shape))
    assert seen == sorted(seen)  # the newest wins: those between may have been replaced
    assert {shape for _, shape in seen} <= {(10, 20, 3)}


async def test_a_driver_that_hangs_is_a_lost_camera(tmp_path: Path) -> None:
    hung = threading.Event()

    class Hangs:
        name, timeout_s = "stuck", 0.1

        def open(self) -> None: ...
        def take(self) -> None:
            hung.wait(20)

        def adjust(self, values: object) -> None: ...
        def close(self) -> None: ...

    with pytest.raises(ConnectorError, match="hangs in its driver"):
        async with pictures_of(Hangs()) as pictures, asyncio.timeout(10):
            try:
                await anext(pictures)
            finally:
                hung.set()


async def test_a_genicam_camera_takes_another_exposure_while_it_runs(tmp_path: Path) -> None:
    """Aravis' camera scales its pattern by exposure and gain: what was set can be seen."""
    options = {"width": 96, "height": 64, "exposure_us": 10_000, "fps": 50}
    with gige_camera():
        settings = Camera(driver="genicam", address="127.0.0.1", timeout_ms=TIMEOUT_MS, options=options)
        async with load_grabber("genicam").open_camera(settings, tmp_path) as pictures, asyncio.timeout(15):
            bright = (await anext(pictures)).pixels.mean()
            assert isinstance(pictures, Tunable)
            pictures.adjust({"exposure_us": 500})
            async for picture in pictures:
                if picture.quality is Quality.GOOD and picture.pixels.mean() < bright / 4:
                    break
            pictures.adjust({"width": 4})
            with pytest.raises(ConnectorError, match="width can't be changed while it runs"):
                while True:
                    await anext(pictures)


@pytest.mark.parametrize("driver", ["rtsp", "genicam"])
async def test_a_camera_that_falls_silent_is_lost_soon(driver: str, tmp_path: Path) -> None:
    async with PEERS[driver](tmp_path) as peer:
        assert peer.stall is not None
        async with load_grabber(driver).open_camera(peer.settings, tmp_path) as pictures:
            await asyncio.wait_for(anext(pictures), 10)
            peer.stall()
            began_s = time.monotonic()
            with pytest.raises(ConnectorError, match="gives no"):
                async with asyncio.timeout(20):
                    while True:
                        await anext(pictures)
            assert time.monotonic() - began_s < SOON_S


@pytest.mark.parametrize("options", [{"crop": "1,2,3"}, {"crop": "0,0,0,4"}, {"mode": "CMYK"}, {"resize_width": 5}])
def test_shaping_that_makes_no_sense_is_refused(options: dict[str, str | int]) -> None:
    with pytest.raises(ConnectorError, match="camera option"):
        shaping_of(Options(options, SHAPING))
