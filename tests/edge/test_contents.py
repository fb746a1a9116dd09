"""Tag lists and models are read before anything starts: what a pipeline names must be in them."""

import re
import shutil
from pathlib import Path

import pytest

import edge
from edge.config.contents import missing_models
from edge.config.files import read_settings
from edge.config.overrides import ConfigRefused, ConfigStore
from schemas.errors import SettingsError
from schemas.topics import Role

DEMO = Path(edge.__file__).parent / "sim" / "demo"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "device"))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def problems(home: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_settings(home, with_contents=True)
    return list(caught.value.problems)


def line_of(file: Path, text: str) -> int:
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def test_the_shipped_device_has_no_problem(home: Path) -> None:
    assert missing_models(read_settings(home, with_contents=True), home) == []


def test_every_wrong_reference_is_told_at_once_with_its_line_and_what_was_meant(home: Path) -> None:
    tags, device = home / "tags" / "plant.csv", home / "device.toml"
    window, frames = (home / "pipelines" / f"{name}.toml" for name in ("line_anomaly", "cap_inspection"))
    replace(window, '"Motor.Temperature"', '"Motor.Temprature"')
    replace(tags, "Line.Speed,ir:0,float32", "Line.Speed,rr:0,flaot32")
    replace(tags, "Fill.Temperature,ir:3", "Fill.Temperature,ir:70000")
    replace(frames, '"scratch"', '"scrach"')
    replace(device, '"Eject.PartId"', '"Eject.Part"')
    found = problems(home)

    def one(place: str) -> str:
        (text,) = [problem for problem in found if problem.startswith(place)]
        return text.removeprefix(place)

    where = f"pipelines/line_anomaly.toml:{line_of(window, 'Temprature')}: pipelines.line_anomaly.input.tags.1: "
    assert one(where).endswith("in tags/plant.csv; did you mean Motor.Temperature?")
    assert "did you mean float32?" in one(f"tags/plant.csv:{line_of(tags, 'Line.Speed')}: type ")
    assert "70000" in one(f"tags/plant.csv:{line_of(tags, 'Fill.Temperature')}: ")
    where = f"pipelines/cap_inspection.toml:{line_of(frames, 'scrach')}: pipelines.cap_inspection.decision.reject.0: "
    assert one(where) == "model cap_inspection 1 has no label 'scrach'; did you mean scratch?"
    where = f"device.toml:{line_of(device, 'Eject.Part')}: outputs.cap_inspection.part: "
    assert "did you mean Eject.PartId?" in one(where)
    assert len(found) == 5


def test_an_address_that_the_driver_refuses_is_told(home: Path) -> None:
    tags = home / "tags" / "plant.csv"
    replace(tags, "Line.Speed,ir:0,", "Line.Speed,xy:0,")
    (text,) = problems(home)
    assert re.match(rf"tags/plant\.csv:{line_of(tags, 'Line.Speed')}: .*xy:0", text)


def test_a_tag_of_another_poll_group_is_told(home: Path) -> None:
    replace(home / "tags" / "plant.csv", "Line.Speed,ir:0,float32,r,process", "Line.Speed,ir:0,float32,r,fast")
    (text,) = problems(home)
    assert "tag 'Line.Speed' is polled in group 'fast', not in 'process'" in text


def test_an_output_of_the_wrong_kind_is_told_at_its_key(home: Path) -> None:
    replace(home / "device.toml", '"Edge.Heartbeat"', '"Line.Speed"')
    (text,) = problems(home)
    assert text.startswith(f"device.toml:{line_of(home / 'device.toml', 'Line.Speed')}: outputs.cap_inspection: heart")


def test_an_option_that_the_driver_does_not_know_is_told(home: Path) -> None:
    replace(home / "device.toml", "timeout_ms = 300", "timeout_ms = 300\noptions = { unti = 1 }")
    (text,) = problems(home)
    assert "sources.plant.options: modbus option unti" in text


def test_the_labels_of_the_pinned_version_count(home: Path) -> None:
    model = home / "models" / "cap_inspection"
    shutil.copytree(model / "1", model / "2")
    replace(model / "2" / "model.toml", '"scratch"', '"scuff"')
    found = problems(home)
    assert [text.partition(":")[0] for text in found] == [
        "pipelines/cap_inspection.toml",
        "pipelines/tray_inspection.toml",
    ]
    assert all("model cap_inspection 2 has no label 'scratch'" in text for text in found)
    (home / "state").mkdir()
    (home / "state" / "slots.json").write_text('{"cap_inspection": "1"}')
    read_settings(home, with_contents=True)


def test_a_model_that_is_not_there_yet_is_a_warning(home: Path) -> None:
    (home / "models" / "line_anomaly").rename(home / "models" / "line_anomly")
    (text,) = missing_models(read_settings(home, with_contents=True), home)
    assert text.startswith("pipeline line_anomaly: there is no model 'line_anomaly'")
    assert "did you mean line_anomly?" in text


def test_a_change_by_topic_is_held_to_the_same(home: Path) -> None:
    with pytest.raises(ConfigRefused, match=r"has no label 'blbo'; did you mean blob\?"):
        ConfigStore(home).check("pipelines", {"cap_inspection": {"decision": {"reject": ["blbo"]}}}, 0, Role.CLI)
