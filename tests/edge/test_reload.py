"""A runtime whose models change while frames come: each frame has one answer, and what is wrong never serves."""

import asyncio
import gc
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from edge.models.loaded import LoadedModel
from edge.models.slot_states import StateVoice, worst
from edge.process import Process
from edge.processes import RUNTIME
from edge.settings import load_settings
from schemas.messages import Slot, Verdict
from schemas.topics import SLOT_STATE
from tests.device import Device
from tests.edge.slot_line import LINE, USERS, SlotLine, SlowDisk, slot_line
from tests.edge.small_models import seal, write_classifier


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path, USERS)
    made.add("device.toml", LINE)
    with made.running():
        yield made


async def serving(line: SlotLine, version: str = "1", **how) -> Path:
    folder = write_classifier(line.models, version=version, **how)
    line.desire(folder)
    assert (await line.said("active", version)).serving == version
    return folder


def _cut_short(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:200])


def _bit_flipped(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)


def _no_model_at_all(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"<html>404</html>")
    seal(folder)


def _other_answers(folder: Path) -> None:
    other = write_classifier(folder.parent.parent.parent / "elsewhere", inverted=True)
    (folder / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    seal(folder)


def _other_labels(folder: Path) -> None:
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace('["ok", "bad"]', '["fine", "faulty"]'))


def _no_golden(folder: Path) -> None:
    (folder / "golden.npz").unlink()


def _no_contract(folder: Path) -> None:
    (folder / "model.toml").write_text("this is = not TOML =")


HARMS = {
    "cut short": (_cut_short, "corrupt or of another version"),
    "a bit flipped": (_bit_flipped, "corrupt or of another version"),
    "no model at all": (_no_model_at_all, "ONNX Runtime can't load it"),
    "other answers": (_other_answers, "away from its golden vector"),
    "other labels": (_other_labels, "bad"),
    "no golden vectors": (_no_golden, "golden.npz"),
    "no contract": (_no_contract, "can't be read as TOML"),
}


async def test_what_is_wrong_with_a_model_is_said_and_the_one_before_it_goes_on(device):
    async with slot_line(device) as line:
        await serving(line)
        for number, (harm, reason) in enumerate(HARMS.values(), 2):
            folder = write_classifier(line.models, version=str(number))
            harm(folder)
            line.shoot(255)
            line.desire(folder)
            line.shoot(255)
            refused = await line.said("rejected", str(number))
            assert reason in refused.reason
            assert refused.serving == "1"
            line.shoot(255)
            assert (await line.result(line.seq)).version == "1"
        results = await line.answered()
        assert {(result.version, result.outcome, result.verdict) for result in results} == {("1", "result", "nok")}


async def test_a_model_of_another_digest_or_name_than_was_asked_for_does_not_serve(device):
    async with slot_line(device) as line:
        await serving(line)
        folder = write_classifier(line.models, version="2")
        line.desire(folder, digest="0" * 64)
        assert "fetch the model again" in (await line.said("rejected", "2")).reason
        line.desire(folder, version="3")
        assert "holds caps 2, asked for is caps 3" in (await line.said("rejected", "3")).reason
        line.desire(line.models / "caps" / "4")
        assert "model.toml: not found" in (await line.said("rejected", "4")).reason
        line.shoot()
        assert {result.version for result in await line.answered()} == {"1"}


async def test_a_version_that_served_before_serves_again(device):
    async with slot_line(device) as line:
        first = await serving(line)
        line.shoot(0)
        await line.result(1)
        await serving(line, "2", inverted=True)
        line.shoot(0)
        await line.result(2)
        line.desire(first)
        await line.said("active", "1")
        line.shoot(0)
        results = await line.answered()
        assert [(result.version, result.verdict) for result in results] == [
            ("1", Verdict.OK), ("2", Verdict.NOK), ("1", Verdict.OK),
        ]  # fmt: skip


async def test_the_old_model_answers_while_the_new_one_loads(device):
    async with slot_line(device) as line:
        await serving(line)
        folder = write_classifier(line.models, version="2", inverted=True)
        disk = SlowDisk(folder)
        line.desire(folder)
        await disk.reached()
        assert (await line.said("loading", "2")).serving == "1"
        for _ in range(50):
            assert (await line.result(line.shoot())).version == "1"
        await disk.deliver_all()
        await line.said("active", "2")
        assert (await line.result(line.shoot())).version == "2"
        await line.answered()


async def test_what_is_desired_last_wins_and_what_was_overtaken_never_serves(device):
    async with slot_line(device) as line:
        await serving(line)
        slow = write_classifier(line.models, version="2", inverted=True)
        disk = SlowDisk(slow)
        line.desire(slow)
        await disk.reached()
        for version in ("3", "4"):
            line.desire(write_classifier(line.models, version=version))
        line.shoot()
        await line.result(line.seq)
        await disk.deliver_all()
        await line.said("active", "4")
        line.shoot()
        assert [result.version for result in await line.answered()] == ["1", "4"]
        assert not [slot for slot in line.slots.all if slot.version in ("2", "3") and slot.phase == "active"]


async def test_a_folder_that_disappears_while_it_is_read_is_refused(device):
    async with slot_line(device) as line:
        await serving(line)
        folder = write_classifier(line.models, version="2")
        disk = SlowDisk(folder)
        line.desire(folder)
        await disk.reached()
        disk.remove()
        refused = await line.said("rejected", "2")
        assert "golden.npz: can't be read" in refused.reason
        line.shoot()
        assert [result.version for result in await line.answered()] == ["1"]


@pytest.mark.parametrize("seed", range(3))
async def test_every_frame_has_one_answer_though_the_new_model_takes_another_shape(device, seed):
    rng = np.random.default_rng(seed)
    async with slot_line(device) as line:
        await serving(line)
        folder = write_classifier(line.models, version="2", shape=(4, 4, 3))
        disk = SlowDisk(folder)
        line.desire(folder)
        await disk.reached()
        delivery = asyncio.create_task(disk.deliver_all())
        while not [slot for slot in line.slots.all if (slot.phase, slot.version) == ("active", "2")]:
            for _ in range(int(rng.integers(1, 40))):  # more than a queue holds, of both shapes
                line.shoot(0, (8, 8, 3) if rng.random() < 0.5 else (4, 4, 3))
            if rng.random() < 0.5:
                await line.result(line.seq)
            await asyncio.sleep(0)
        await delivery
        line.shoot(0, (4, 4, 3))
        results = await line.answered()
        assert results[-1].version == "2"
        ran = [result for result in results if result.outcome == "result"]
        assert [result.version for result in ran] == sorted(result.version for result in ran)
        reasons = {result.reason.partition(":")[0] for result in results if result.outcome != "result"}
        assert reasons <= {"bad_input", "overload"}


async def test_two_lanes_that_share_a_model_say_each_what_became_of_it(tmp_path):
    device = Device(tmp_path, USERS)
    strict = LINE.partition("[pipelines")[2].replace("inspect]", "sort]").replace('"safety"', '"bulk"')
    device.add("device.toml", LINE + "[pipelines" + strict.replace('["bad"]', '["scratched"]'))
    with device.running():
        async with slot_line(device, "safety", "bulk") as line:
            line.desire(write_classifier(line.models))
            serves = await line.slots.until(lambda slot: slot.process == "runtime-safety" and slot.phase == "active")
            assert serves.serving == "1"
            refused = await line.slots.until(lambda slot: slot.process == "runtime-bulk" and slot.phase == "rejected")
            assert "scratched" in refused.reason
            assert refused.serving == ""


async def test_a_replaced_model_is_freed_without_the_collector(device):
    """It was frozen with all else that lived when the line was warm: in a cycle it would stay for ever."""
    async with slot_line(device) as line:
        await serving(line)
        line.shoot()
        await line.answered()
        gc.unfreeze()
        gc.collect()  # what earlier tests left
        (model,) = [found for found in gc.get_objects() if isinstance(found, LoadedModel)]
        freed = [freeing(model), freeing(model.session)]
        del model
        gc.freeze()
        gc.disable()
        try:
            await serving(line, "2")
            line.shoot()
            await line.answered()
            async with asyncio.timeout(5.0):
                for event in freed:
                    await event.wait()
        finally:
            gc.enable()


def freeing(kept: object) -> asyncio.Event:
    """Return an event that comes when an object is gone, in whatever thread it goes."""
    gone = asyncio.Event()
    weakref.finalize(kept, asyncio.get_running_loop().call_soon_threadsafe, gone.set)
    return gone


@pytest.mark.slow
async def test_a_runtime_that_starts_again_with_other_settings_leaves_nothing_behind(device):
    """Settings change within one interpreter, where all that lived was frozen; a runtime and its models are a cycle."""
    async with slot_line(device) as line:
        await serving(line)
        await line.statuses.until(lambda status: status.process == "runtime-safety" and status.state == "idle")
        assert gc.get_freeze_count() > 0
        gc.unfreeze()
        gc.collect()
        (model,) = [found for found in gc.get_objects() if isinstance(found, LoadedModel)]
        freed = freeing(model)
        del model
        gc.freeze()
    gc.collect()
    async with asyncio.timeout(5.0):
        await freed.wait()


async def test_a_runtime_that_is_stopped_does_not_wait_for_a_load(device):
    async with slot_line(device) as line:
        await serving(line)
        folder = write_classifier(line.models, version="2")
        disk = SlowDisk(folder)
        line.desire(folder)
        await disk.reached()
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 2.0
    await disk.deliver_all()


async def test_the_last_of_many_states_is_said_though_the_topic_has_a_rate(device):
    async with device.user("agent") as agent, device.user("runtime-safety") as user:
        states = await agent.hear(SLOT_STATE)
        process = Process(RUNTIME, "safety", device.home, load_settings(device.home))
        process.bus = user.bus
        voice = StateVoice(process)
        for number in range(100):
            voice.say(Slot(model="caps", version=str(number), digest="", process="runtime-safety"))
        await states.until(lambda slot: slot.version == "99")
        assert len(states.all) < 50
        voice.close()


def test_a_device_is_as_far_with_a_model_as_its_last_runtime():
    def state(phase: str) -> Slot:
        return Slot(model="caps", version="2", digest="", process=f"runtime-{phase}", phase=phase)

    assert worst([state("active"), state("loading")]).phase == "loading"
    assert worst([state("active"), state("rejected"), state("loading")]).phase == "rejected"
    assert worst([state("active")]).phase == "active"
