"""`plantedge plc check` and `plc import`, as a person runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge.commands.tag_lists import check, import_tags
from edge.plc.tags.lists import load_tags
from schemas.errors import SettingsError
from tests.conftest import ROOT

DEMO = ROOT / "edge/sim/demo"
HEAD = "name,address,type,access,group,min,max\n"
TIA = """Name,Path,Data Type,Logical Address,Comment
Pump.Speed,T,Real,%MD100,"of the shaft, rpm"
Pump.Time,T,Time,%MD104,
Valve,T,Bool,%I0.3,
valve[1],T,Bool,%I0.4,
A/B,T,Bool,%I0.5,
Valve,T,Bool,%I0.6,
Delay,T,S5Time,%MW10,
"""


def test_a_right_list_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(DEMO / "tags/plant.csv", "modbus", "fast=20,process=250", None) == 0
    out = capsys.readouterr().out
    rows = [line.split("│") for line in out.splitlines() if line.startswith("│ fast")]
    assert [cell.strip() for cell in rows[0][1:-1]] == ["fast", "3", "2 bool, 1 uint32", "2", "24", "23", "100"]
    assert "14 tags" in out and "no problems" in out and "note" not in out


def test_a_devices_own_source_says_driver_and_groups(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags/plc.csv").write_text(HEAD + "A,hr:0,uint16,r,quick,,\nB,hr:10,uint16,r,quick,,\n")
    (tmp_path / "device.toml").write_text(
        '[device]\nsite = "s"\nline = "l"\nnode = "n"\n[sources.plc]\ndriver = "modbus"\ntags = "tags/plc.csv"\n'
        "groups = { quick = 50 }\noptions = { gap = 0 }\n"
    )
    assert check(tmp_path / "tags/plc.csv", "", "", tmp_path) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("│ quick"))
    assert [cell.strip() for cell in row.split("│")[4:5]] == ["2"], "two requests, as the source's gap is 0"
    with pytest.raises(SettingsError, match="no source in"):
        check(DEMO / "tags/plant.csv", "", "", tmp_path)


def test_every_problem_is_reported_and_the_status_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plc.csv"
    path.write_text(HEAD + "A,hr:0,uint17,r,fats,,\nB,DB1.DBW0,uint16,r,fast,9,1\n")
    words = [sys.executable, "-m", "edge.cli", "plc", "check", path, "--driver", "modbus", "--groups", "fast=20"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ended.returncode == 1
    said = [line.split(f"{path}:")[1] for line in ended.stderr.splitlines()]
    assert [line.split(":")[0] for line in said] == ["2", "2", "3"]
    assert "did you mean uint16" in said[0] and "did you mean fast" in said[1] and "min 9 is over max 1" in said[2]


@pytest.mark.parametrize(("driver", "groups", "said"), [
    ("modbos", "", "did you mean modbus"), ("modbus", "fast", "NAME=MILLISECONDS"), ("modbus", "fast=0", "NAME=MILL"),
])  # fmt: skip
def test_wrong_arguments_are_explained(driver: str, groups: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        check(DEMO / "tags/plant.csv", driver, groups, None)


def test_names_that_share_a_topic_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plc.csv"
    path.write_text(HEAD + "Tank.Level,hr:0,uint16,r,fast,,\ntank.level,hr:1,uint16,r,fast,,\n")
    assert check(path, "modbus", "fast=20", None) == 0
    assert "Tank.Level and tank.level share a topic of mes/tag" in capsys.readouterr().out


def test_an_import_is_a_list_that_can_be_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(TIA)
    assert import_tags(path, "s7", "slow", [], []) == 0
    out, err = capsys.readouterr()
    (tmp_path / "made.csv").write_text(out)
    tags = load_tags(tmp_path / "made.csv", ("slow",))
    assert {tag.name: (tag.address, tag.type, tag.group, tag.access.value) for tag in tags.values()} == {
        "Pump.Speed": ("MD100", "float32", "slow", "r"), "Pump.Time": ("MD104", "int32", "slow", "r"),
        "Valve": ("I0.3", "bool", "slow", "r"), "valve[1]": ("I0.4", "bool", "slow", "r"),
    }  # fmt: skip
    assert tags["Pump.Time"].scale == 0.001 and tags["Pump.Speed"].description == "of the shaft, rpm"
    left = [line.removeprefix(f"{path}:") for line in err.splitlines()]
    assert [line.split(":")[0] for line in left[:3]] == ["6", "7", "8"]
    assert "one of / + #" in left[0] and "another of this name" in left[1] and "S5Time" in left[2]
    assert left[3].endswith("4 tags, 3 left out")


@pytest.mark.parametrize(("only", "names"), [
    (["pump*"], ["Pump.Speed", "Pump.Time"]), (["*[?]"], ["valve[1]"]), (["*.Speed", "VALVE"], ["Pump.Speed", "Valve"]),
    (["nothing"], []),
])  # fmt: skip
def test_only_takes_what_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], only: list[str], names: list[str]
) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(TIA)
    assert import_tags(path, "s7", "slow", only, []) == (0 if names else 1)
    out, err = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == names
    assert "not asked for" in err


def test_a_blocks_number_is_given_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.db"
    path.write_text('DATA_BLOCK "Re=cipe"\nSTRUCT\nSpeed : Real;\nEND_STRUCT;\nBEGIN\nEND_DATA_BLOCK\n')
    assert import_tags(path, "s7", "slow", [], ["Re=cipe=12"]) == 0
    assert "Re=cipe.Speed,DB12.DBD0,float32,r,slow" in capsys.readouterr().out
    with pytest.raises(SettingsError, match="NAME=NUMBER"):
        import_tags(path, "s7", "slow", [], ["Recipe=x"])
