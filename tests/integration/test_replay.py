"""A rejected part is run again from what the device has kept: camera to runtime to historian to the command line."""

import asyncio
import io
import re
import stat
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from edge.commands.operator_page import login_link
from edge.history.evidence import RING, EvidenceReader
from edge.host.clock import boot_id
from edge.settings import load_settings
from schemas.messages import Frame, Reading, Sample, Slot
from schemas.topics import EVIDENCE, FRAME, READING, RESULT, SLOT_DESIRED, SLOT_STATE, STATUS
from tests.device import ROOT, Device
from tests.edge.small_models import SHAPE, TAGS, write_anomaly, write_classifier

pytestmark = pytest.mark.slow

USERS = ("runtime-safety", "camera-cam1", "connect-plant", "agent", "historian", "mes", "cli", "hmi")
LINE = """
[sources.plant]
driver = "modbus"
tags = "tags/plant.csv"
groups = { slow = 100 }
[cameras.cam1]
driver = "plant"
address = "127.0.0.1:1"
[pipelines.inspect]
lane = "safety"
model = "caps"
input = { frames = "cam1" }
deadline_ms = 5000
decision = { reject = ["bad"] }
[pipelines.inspect.evidence]
sample_ok = 2
[pipelines.watch]
lane = "safety"
model = "drift"
input = { source = "plant", group = "slow", tags = ["Line.Speed", "Motor.Temperature"], length = 4 }
deadline_ms = 5000
decision = { threshold = 2.0, clear = 1.0 }
[historian]
flush_ms = 20
"""
TAG_LIST = "name,address,type,access,group\nLine.Speed,ir:0,uint16,r,slow\nMotor.Temperature,ir:1,uint16,r,slow\n"


def picture(seq):
    """A bright part of its own, which the model rejects."""
    return np.random.default_rng(seq).integers(130, 256, SHAPE, np.uint8)


async def _listens(statuses, historian):
    await statuses.until(lambda status: status.pid == historian.pid and status.state in ("idle", "active"))


class Line:
    def __init__(self, device, camera, plc, agent, statuses, historian):
        self.device, self.camera, self.plc, self.agent = device, camera, plc, agent
        self.statuses, self.historian, self.epoch = statuses, historian, time.time_ns()

    def shoot(self, seq, pixels):
        frame = Frame(
            stream="cam1", part_id=seq, boot=boot_id(), trigger_ns=time.monotonic_ns(), time_ns=time.time_ns(),
            shape=SHAPE, dtype="uint8", data=memoryview(pixels.tobytes()), epoch=self.epoch, seq=seq,
        )  # fmt: skip
        self.camera.say(FRAME, frame, stream="cam1")

    def scan(self, seq, value):
        reading = Reading(
            source="plant", group="slow", boot=boot_id(), scan_ns=time.monotonic_ns(), scan_ms=1.0, time_ns=0,
            tags={tag: Sample(value=value) for tag in TAGS}, epoch=self.epoch, seq=seq,
        )  # fmt: skip
        self.plc.say(READING, reading, source="plant")

    def id(self, seq, pipeline="inspect"):
        return f"{pipeline}-{self.epoch:x}-{seq}"

    async def kept(self, count):
        """Wait until the historian has put so many into the ring."""
        end = time.monotonic() + 20
        while len(found := list(EvidenceReader(self.device.home).newest_first())) < count:
            assert time.monotonic() < end, (found, self.device.log("historian"), self.device.log("runtime@safety"))
            await asyncio.sleep(0.05)
        return found


@pytest.fixture
async def line(tmp_path):
    """A running device whose runtime serves and whose historian listens."""
    device = Device(tmp_path, USERS)
    device.add("device.toml", LINE)
    device.write("tags/plant.csv", TAG_LIST)
    write_classifier(device.home / "models")
    write_anomaly(device.home / "models")
    with device.running():
        async with (
            device.user("camera-cam1") as camera, device.user("connect-plant") as plc, device.user("agent") as agent
        ):  # fmt: skip
            slots, statuses = await agent.hear(SLOT_STATE), await agent.hear(STATUS)
            for model in ("caps", "drift"):
                folder = str(device.home / "models" / model / "1")
                agent.say(SLOT_DESIRED, Slot(model=model, version="1", digest="", folder=folder), model=model)
            historian = device.start("historian")
            device.start("runtime@safety")
            for model in ("caps", "drift"):
                await slots.until(lambda slot, m=model: (slot.model, slot.phase) == (m, "active"))
            await _listens(statuses, historian)
            yield Line(device, camera, plc, agent, statuses, historian)


def plantedge(device, *arguments):
    """Run the command as a person does; its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "edge.cli", "replay", *arguments, "--home", str(device.home)], cwd=ROOT,
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


async def test_a_reject_is_reproduced_to_the_bit(line, tmp_path):
    device = line.device
    for seq in (1, 2, 3):
        line.shoot(seq, picture(seq))
    for seq in (4, 5):
        line.shoot(seq, np.zeros(SHAPE, np.uint8))
    found = await line.kept(4)
    assert {kept.result_id: kept.kept_for for kept in found} == {
        line.id(1): "nok", line.id(2): "nok", line.id(3): "nok", line.id(5): "sample",
    }  # fmt: skip
    folder = tmp_path / "saved"
    code, out, err = await asyncio.to_thread(plantedge, device, line.id(2), "--save", str(folder))
    assert (code, err) == (0, ""), out
    assert "The same to the bit" in out
    assert "caps 1" in out
    with Image.open(folder / f"{line.id(2)}-input.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), picture(2))
    with np.load(folder / f"{line.id(2)}.npz") as arrays:
        np.testing.assert_array_equal(arrays["in_input"][0], picture(2))
        np.testing.assert_array_equal(arrays["then_model.probabilities"], arrays["now_model.probabilities"])
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    code, out, _ = await asyncio.to_thread(plantedge, device, "--list", "--pipeline", "inspect", "--last", "2")
    assert code == 0
    assert [word for word in out.split() if word.startswith("inspect-")] == [line.id(5), line.id(3)]


async def test_a_batch_of_several_and_an_alarm_that_lasts_are_reproduced(line):
    """Frames that come in one packet run as one batch; a score under the threshold is NOK while the alarm lasts."""
    for seq in range(1, 5):
        line.shoot(seq, picture(seq))
    for seq, value in enumerate([0.0, 0.0, 0.0, 9.0, 0.0, 0.0], 1):
        line.scan(seq, value)
    found = await line.kept(7)
    reader = EvidenceReader(line.device.home)
    batches = {kept.result_id: reader.find(kept.result_id).batch for kept in found}
    assert max(batches.values()) > 1, batches
    lasting = reader.find(line.id(5, "watch"))
    assert lasting.before == "nok"
    several = max(batches, key=lambda result: (batches[result], reader.find(result).row))
    for result in (several, line.id(5, "watch")):
        code, out, err = await asyncio.to_thread(plantedge, line.device, result)
        assert (code, err) == (0, ""), out


async def test_a_killed_historian_loses_nothing_that_was_kept(line):
    for seq in (1, 2):
        line.shoot(seq, picture(seq))
    await line.kept(2)
    line.historian.kill()
    line.historian.wait(5)
    await _listens(line.statuses, line.device.start("historian"))
    line.shoot(3, picture(3))
    assert [kept.part_id for kept in await line.kept(3)] == [3, 2, 1]
    assert len(list((line.device.home / RING).iterdir())) == 2, "nothing is appended to what another has begun"


async def test_nobody_but_the_historian_gets_evidence_and_the_disk_holds_it_sealed(line):
    device, pixels = line.device, picture(1)
    async with device.user("mes") as mes, device.user("cli") as person, device.user("historian") as historian:
        heard = [await user.hear(EVIDENCE) for user in (mes, person, line.agent)]
        ours, results = await historian.hear(EVIDENCE), await historian.hear(RESULT)
        line.shoot(1, pixels)
        evidence = await ours.until()
        await results.until()
        assert bytes(evidence.inputs[0].data) == pixels.tobytes(), "what the search looks for did travel"
        await line.kept(1)
        assert [one.all for one in heard] == [[], [], []]
    content = b"".join(path.read_bytes() for path in (device.home / RING).iterdir())
    assert len(content) > pixels.nbytes
    for secret in (pixels.tobytes()[:32], line.id(1).encode(), b"probabilities"):
        assert secret not in content
    assert not re.search(rb"inspect|caps", content)


async def test_an_operator_replays_a_reject_and_sees_it_again_after_a_restart(line, free_port):
    """The page runs it on a loaded runtime's device, in a process of its own; its picture comes from the ring."""
    url = f"http://127.0.0.1:{free_port()}"
    line.device.add("device.toml", f"[hmi]\nport = {url.rpartition(':')[2]}\npipelines = ['inspect']\n")
    hmi = line.device.start("hmi")
    pixels = picture(1)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
        await _logged_in(http, line)
        path, end = f"/api/v1/parts/{line.id(1)}", time.monotonic() + 30
        line.shoot(1, pixels)
        while (await http.get(path)).status_code != 200:
            assert time.monotonic() < end, line.device.log("hmi")
            await asyncio.sleep(0.05)
        await line.kept(1)
        found = (await http.post(f"{path}/replay", json={})).json()
        assert (found["same"], found["verdict"], found["problem"]) == (True, "nok", "")
        hmi.terminate()
        await asyncio.to_thread(hmi.wait, 10)
        line.device.start("hmi")
        await _logged_in(http, line)
        shown = Image.open(io.BytesIO((await http.get(f"/api/v1/pictures/{line.id(1)}")).content))
        assert np.array_equal(np.asarray(shown), pixels)


async def _logged_in(http, line):
    """Wait for the page, and log in by a link."""
    end = time.monotonic() + 30
    while True:
        try:
            await http.get("/")
            break
        except httpx.TransportError:
            assert time.monotonic() < end, line.device.log("hmi")
            await asyncio.sleep(0.05)
    await http.get(login_link(line.device.home, load_settings(line.device.home), "ann"))
    http.headers["x-csrf-token"] = (await http.get("/api/v1/session")).json()["csrf"]
