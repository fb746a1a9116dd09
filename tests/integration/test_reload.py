"""A model that changes in a runtime process of its own, which is killed in the middle of it."""

import asyncio

import pytest

from tests.device import Device
from tests.edge.slot_line import LINE, USERS, SlowDisk, slot_line
from tests.edge.small_models import write_classifier

pytestmark = [pytest.mark.alone, pytest.mark.slow]


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path, USERS)
    made.add("device.toml", LINE)
    with made.running():
        yield made


async def test_a_runtime_that_is_killed_while_it_loads_comes_back_with_a_whole_model(device):
    async with slot_line(device, runtimes=False) as line:
        line.desire(write_classifier(line.models))
        child = device.start("runtime@safety")
        await line.said("active", "1")
        folder = write_classifier(line.models, version="2", inverted=True)
        disk = SlowDisk(folder)
        line.desire(folder)
        await disk.reached()
        line.shoot()
        assert (await line.result(1)).version == "1"
        child.kill()
        await asyncio.to_thread(child.wait, 5)
        disk.become_a_file()
        device.start("runtime@safety")
        assert (await line.said("active", "2")).serving == "2"
        line.shoot()
        results = await line.answered()
        assert [result.version for result in results] == ["1", "2"]
