"""What the driver of the simulated plant's cameras gives, and when what came is no picture."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from edge.camera import judged
from edge.cameras import Picture, plant
from edge.settings import Camera
from edge.sim.camera import CameraServer, Feed
from edge.sim.controller import LineState
from edge.sim.gearbox import SHAPE, Gearbox
from edge.sim.vibration import vibration
from schemas.errors import ConnectorError
from schemas.messages import Quality


class Sensor:
    """The plant's server with a gearbox alone; `looked` is set when somebody is connected."""

    def __init__(self) -> None:
        self.looked = asyncio.Event()
        gearbox = Gearbox(3, LineState(speed_ppm=540.0))
        self.feed = Feed(gearbox.snapshot, SHAPE, "float32", lambda _: self.looked.set())
        self.server = CameraServer({"gear": self.feed})
        self.port = 0


@pytest.fixture
async def gear() -> AsyncIterator[Sensor]:
    sensor = Sensor()
    sensor.port = await sensor.server.listen("127.0.0.1", 0)
    yield sensor
    sensor.server.close()


def camera(port: int, **options: str | int) -> Camera:
    return Camera(driver="plant", address=f"127.0.0.1:{port}", options=dict(options))


async def test_a_snapshot_of_the_gearbox_comes_with_its_number_and_trigger(gear: Sensor) -> None:
    async with asyncio.timeout(10), plant.open_camera(camera(gear.port, view="gear"), Path()) as shots:
        await gear.looked.wait()
        triggered_ns = time.monotonic_ns()
        gear.feed.shoot(12, triggered_ns)
        shot = await anext(shots)
    assert shot.part_id == 12
    assert np.array_equal(shot.pixels, vibration(3, 12, 540.0))
    assert abs(shot.trigger_ns - triggered_ns) < 1e9
    assert judged(shot).quality is Quality.GOOD


async def test_a_view_that_the_plant_does_not_have_ends_the_connection(gear: Sensor) -> None:
    with pytest.raises(ConnectorError, match=r"\(tray\) ended the connection"):
        async with asyncio.timeout(10), plant.open_camera(camera(gear.port, view="tray"), Path()) as shots:
            await anext(shots)


@pytest.mark.parametrize(
    ("options", "said"), [({"view": "attic"}, "there are line, tray, gear"), ({"vue": "line"}, "vue: not known")]
)
async def test_an_option_that_is_not_known_is_said(options: dict[str, str | int], said: str) -> None:
    with pytest.raises(ConnectorError, match=said):
        async with plant.open_camera(camera(1, **options), Path()):
            pass


@pytest.mark.parametrize(
    ("value", "reason"), [(0.0, "channel 1 never moves"), (np.nan, "not a finite"), (np.inf, "not a finite")]
)
def test_a_window_from_a_dead_sensor_is_bad(value: float, reason: str) -> None:
    window = vibration(3, 12, 540.0)
    window[:, 1] = value
    seen = judged(Picture(1, 0, window))
    assert seen.quality is Quality.BAD
    assert reason in seen.reason


def test_one_wild_sample_is_enough() -> None:
    window = vibration(3, 12, 540.0)
    window[77, 0] = np.nan
    assert judged(Picture(1, 0, window)).quality is Quality.BAD
