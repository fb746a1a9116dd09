"""The agent and a runtime: which version of a model shall run, by a person, by the folder, or after a fall."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.commands.model import list_models, rollback, use_model
from edge.models.folder_watch import PATIENCE_S, FolderWatch
from schemas.errors import StartError
from schemas.messages import Phase
from tests.device import Device
from tests.edge.slot_line import LINE, USERS, SlotLine, slot_line
from tests.edge.small_models import seal, write_anomaly, write_classifier


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path, USERS)
    made.add("device.toml", LINE)
    with made.running():
        yield made


def broken(models: Path, version: str) -> Path:
    """A version whose folder keeps its contract, but whose answers are others than when it was made."""
    folder = write_classifier(models, version=version)
    other = write_classifier(models.parent / "elsewhere" / version, inverted=True)
    (folder / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    return seal(folder)


async def served_by(line: SlotLine) -> str:
    return (await line.result(line.shoot())).version


async def command(run, *arguments):
    """Give a command of `plantedge model` as a person does: in a process of its own, here in a thread."""
    return await asyncio.to_thread(run, *arguments)


async def test_a_person_runs_a_version_and_returns_to_the_one_before(device, capsys):
    models = device.home / "models"
    write_classifier(models)
    write_anomaly(models)
    async with slot_line(device, agent=True) as line:
        await line.said("active", "1")
        write_classifier(models, version="2", inverted=True)
        assert await command(use_model, device.home, "caps", "2") == 0
        assert "caps 2 serves and is pinned" in capsys.readouterr().out
        assert await served_by(line) == "2"
        assert json.loads((device.home / "state" / "slots.json").read_text()) == {"caps": "2"}
        audit = await line.events.until(lambda event: event.code == "config_applied")
        assert (audit.text, audit.args) == ("caps 2 serves", {"section": "models", "origin": "cli"})
        assert await command(rollback, device.home, "caps") == 0
        assert await served_by(line) == "1"
        assert await command(list_models, device.home) == 0
        told = capsys.readouterr().out
        assert "caps   1        serves in runtime-safety; pinned\ncaps   2" in told
        assert "drift  1        no pipeline names it" in told
        assert await command(rollback, device.home, "caps") == 0
        assert await served_by(line) == "2"
        assert await command(use_model, device.home, "caps", "1") == 0
        assert await command(use_model, device.home, "caps", None) == 0
        assert await served_by(line) == "2"
        await line.answered()


async def test_a_version_that_a_runtime_refuses_is_not_pinned_and_the_one_before_it_returns(device, capsys):
    models = device.home / "models"
    write_classifier(models)
    async with slot_line(device, agent=True) as line:
        await line.said("active", "1")
        broken(models, "2")
        assert await command(use_model, device.home, "caps", "2") == 1
        told = capsys.readouterr().err
        assert "refused: runtime-safety refuses caps 2: " in told
        assert "away from its golden vector" in told
        assert await served_by(line) == "1"
        await line.said("active", "1")
        assert not (device.home / "state" / "slots.json").exists()
        assert await command(use_model, device.home, "caps", "3") == 1
        assert "model.toml: not found" in capsys.readouterr().err
        with pytest.raises(StartError, match="did you mean caps"):
            await command(use_model, device.home, "cap", "1")
        events = {(event.code, event.phase) for event in line.events.all}
        assert {("model_rejected", Phase.NEW), ("model_rejected", Phase.END), ("config_reverted", Phase.NEW)} <= events
        assert {result.version for result in await line.answered()} == {"1"}


@pytest.mark.parametrize("how", ["refused by its runtime", "unreadable"])
async def test_a_device_that_starts_beside_a_bad_version_falls_back_to_the_one_that_served(device, how):
    models = device.home / "models"
    write_classifier(models)
    async with slot_line(device, agent=True) as line:
        await line.said("active", "1")
        assert await served_by(line) == "1"
    folder = broken(models, "2")
    if how == "unreadable":
        (folder / "model.toml").write_text("= no TOML")
    async with slot_line(device, agent=True) as line:
        state = await line.said("active", "1")
        assert state.serving == "1"
        assert await served_by(line) == "1"
        code = "model_unusable" if how == "unreadable" else "model_rejected"
        alarm = await line.events.until(lambda event: event.code == code)
        assert alarm.phase is Phase.NEW
        assert not [event for event in line.events.all if event.phase is Phase.END], "what is wrong is still wrong"


async def test_versions_that_nothing_can_be_made_of_are_each_tried_once(device):
    models = device.home / "models"
    write_classifier(models)
    async with slot_line(device, agent=True) as line:
        await line.said("active", "1")
        write_classifier(models, version="2")
        assert await command(use_model, device.home, "caps", "2") == 0
    for version in ("1", "2"):
        shutil.rmtree(models / "caps" / version)
        shutil.rmtree(models.parent / "elsewhere" / version, ignore_errors=True)
        broken(models, version)
    async with slot_line(device, agent=True) as line:
        await line.said("rejected", "2")
        await line.said("rejected", "1")
        await asyncio.sleep(0.3)
        assert len([slot for slot in line.slots.all if slot.phase == "rejected"]) == 0
        assert (await line.result(line.shoot())).reason == "no_model"


@pytest.mark.slow
@pytest.mark.parametrize("agent", [True, False], ids=["with an agent", "alone"])
async def test_a_folder_that_is_copied_bit_by_bit_is_loaded_once_it_is_whole(device, agent):
    device.add("device.toml", "[runtime]\nwatch = true\n")
    models = device.home / "models"
    write_classifier(models)
    async with slot_line(device, agent=agent) as line:
        await line.said("active", "1")
        whole = write_classifier(models.parent / "elsewhere", version="2", inverted=True)
        for _ in copied_by_halves(whole, models / "caps" / "2"):
            await asyncio.sleep(0.4)
        await line.said("active", "2")
        assert await served_by(line) == "2"
        assert not [slot for slot in line.slots.all if slot.phase == "rejected"]
        assert not [event for event in line.events.all if event.code.startswith("model_")]
        for file in write_classifier(models.parent / "again", version="2").iterdir():
            shutil.copy(file, models / "caps" / "2")  # trained again, under the same version
        await line.said("active", "2")
        assert (await line.result(line.shoot())).verdict == "ok"


def copied_by_halves(source: Path, target: Path) -> Iterator[None]:
    """Copy a folder; comes back after every half of a file. model.toml first: it looks like a version at once."""
    target.mkdir()
    for file in sorted(source.iterdir(), reverse=True):
        content = file.read_bytes()
        with (target / file.name).open("wb", buffering=0) as out:
            for half in (content[: len(content) // 2], content[len(content) // 2 :]):
                out.write(half)
                yield


class Watched:
    """A folder watch whose clock the test moves: `look` is one second later each time."""

    def __init__(self, models: Path, version: str = "") -> None:
        self.watch, self.now_s, self.version = FolderWatch(models, lambda _: self.version), 0.0, version
        self.look()

    def look(self) -> list[tuple[str, str]]:
        self.now_s += 1.0
        found = self.watch.look(["caps"], self.now_s)
        return [(c.contract.version if c.contract else "", "; ".join(c.problems)) for c in found]


def test_a_change_is_told_once_when_it_has_settled(tmp_path):
    write_classifier(tmp_path)
    watched = Watched(tmp_path)
    assert watched.look() == []
    folder = write_classifier(tmp_path, version="2")
    assert [watched.look() for _ in range(3)] == [[], [("2", "")], []]
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace("made by a test", "made by hand"))
    assert [watched.look() for _ in range(3)] == [[], [("2", "")], []]
    shutil.rmtree(folder)
    assert [watched.look() for _ in range(3)] == [[], [("1", "")], []]


def test_a_folder_that_stays_broken_is_told_once_its_time_is_over(tmp_path):
    write_classifier(tmp_path)
    watched = Watched(tmp_path)
    folder = write_classifier(tmp_path, version="2")
    (folder / "golden.npz").unlink()
    told = [watched.look() for _ in range(int(PATIENCE_S) + 3)]
    assert [len(found) for found in told] == [0] * int(PATIENCE_S) + [1, 0, 0]
    assert "golden.npz" in told[-3][0][1]
    shutil.copy(tmp_path / "caps" / "1" / "golden.npz", folder)
    assert [watched.look() for _ in range(3)] == [[], [("2", "")], []]


def test_only_the_pinned_version_is_watched_where_one_is_pinned(tmp_path):
    write_classifier(tmp_path)
    watched = Watched(tmp_path, "1")
    write_classifier(tmp_path, version="2")
    assert [watched.look() for _ in range(3)] == [[], [], []]
    watched.version = ""
    assert [watched.look() for _ in range(3)] == [[], [("2", "")], []]


def test_a_models_folder_that_is_not_there_is_no_change(tmp_path):
    assert Watched(tmp_path / "nowhere").look() == []
