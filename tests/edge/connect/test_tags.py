"""Tag lists: every problem at once, with file, line and the nearest key."""

from pathlib import Path

import pytest

from edge.connectors.modbus import check_address
from edge.plc.tags.lists import Access, Tag, coerce, load_tags
from schemas.errors import SettingsError, TagError
from schemas.fields import Value

DEMO = Path(__file__).resolve().parents[3] / "edge/sim/demo/tags/plant.csv"
GROUPS = ("fast", "process")


def problems_of(path: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_tags(path, GROUPS, check_address)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_the_shipped_list_is_right() -> None:
    tags = load_tags(DEMO, GROUPS, check_address)
    assert tags["Eject.Reject"].failsafe is True and tags["Eject.Reject"].access is Access.WRITE
    assert (tags["Line.SpeedSetpoint"].min, tags["Line.SpeedSetpoint"].max) == (60, 900)
    assert tags["Fill.Temperature"].scale == 0.1 and tags["Fill.Temperature"].unit == "°C"


def test_toml_says_the_same_as_csv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "name,address,type,access,group,scale,bit,min,failsafe\n"
        "Tank.Level,40001,uint16,rw,fast,0.5,,0,2\n"
        "Pump.On,hr:3,bool,r,fast,,4,,\n"
    )
    (tmp_path / "a.toml").write_text(
        '[tags."Tank.Level"]\naddress = "40001"\ntype = "uint16"\naccess = "rw"\ngroup = "fast"\nscale = 0.5\nmin = 0\n'
        'failsafe = 2\n\n[tags."Pump.On"]\naddress = "hr:3"\ntype = "bool"\ngroup = "fast"\nbit = 4\n'
    )
    csv, toml = (load_tags(tmp_path / name, GROUPS, check_address) for name in ("a.csv", "a.toml"))
    assert [(tag.name, tag.address, tag.scale, tag.bit, tag.min, tag.failsafe) for tag in csv.values()] == [
        (tag.name, tag.address, tag.scale, tag.bit, tag.min, tag.failsafe) for tag in toml.values()
    ]
    assert toml["Pump.On"].line == 10


def test_every_problem_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(
        "name,address,type,acess,group,min,max,bit,failsafe,scale\n"
        "# a comment\n"
        "A,40001,int17,r,fast,,,,,\n"
        "B,hr:70000,int16,r,fsat,,,,,\n"
        "C,coil:1,int16,r,fast,,,,,\n"
        "D,hr:1,int16,r,fast,5,1,,,\n"
        "E,hr:1,int16,r,fast,,,3,,\n"
        "F,hr:1,int16,r,fast,,,,x,\n"
        ",hr:1,int16,r,fast,,,,,\n"
        "G,hr:9,int16,r,fast,,,,,0\n"
        "H,hr:9,int16,r,fast,0,1,,7,\n"
        "I,hr:9,int16,r,fast,q,,,,\n"
        "J,40000,int16,r,fast,,,,,\n"
        "K,hr:1,int16,r,fast,,,,,\n"
        "K,hr:2,int16,r,fast,,,,,\n"
    )
    found = problems_of(path)
    expected = [
        "1: column 'acess' is not known; did you mean access?", "3: type 'int17' is not known; did you mean int16?",
        "4: group 'fsat' is not known; did you mean fast?", "5: C: a int16 can't lie in 'coil:1'",
        "6: min 5 is over max 1", "7: bit 3 of a int16", "8: failsafe: F takes a number, not 'x'", "9: name is missing",
        "10: scale 0", "11: failsafe: H takes 0 to 1, not 7", "12: min 'q' is not a number", "13: J: address '40000'",
        "15: K stands already in line 14",
    ]  # fmt: skip
    for said in expected:
        assert any(problem.startswith(said) for problem in found), (said, found)
    assert len(found) == len(expected)


def test_toml_problems_have_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        '[tags."A"]\naddress = "hr:1"\ntype = "int16"\ngroup = "fast"\nscael = 2\n\n[tags.B]\ntype = "bool"\n'
    )
    found = problems_of(path)
    assert any(problem.startswith("1: A: key 'scael' is not known; did you mean scale?") for problem in found)
    assert any(problem.startswith("7: address is missing") for problem in found)
    path.write_text("[tags\n")
    assert problems_of(path)[0].startswith("1: not TOML")


@pytest.mark.parametrize("text", ["", "# nothing\n", "name,address,type,group\n"])
def test_an_empty_list_is_a_problem(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(text)
    assert "no tags" in problems_of(path)[0]


def test_a_list_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can.t be read"):
        load_tags(tmp_path / "none.csv", GROUPS)


def tag(kind: str, low: float | None = None, high: float | None = None, scale: float = 1.0) -> Tag:
    return Tag(name="T", address="hr:0", type=kind, min=low, max=high, scale=scale, unit="bar")


@pytest.mark.parametrize(("one", "value", "taken"), [
    (tag("bool"), True, True), (tag("bool"), 1, True), (tag("int16"), 5.0, 5), (tag("int16", scale=0.1), 5.5, 5.5),
    (tag("float32"), 5, 5.0), (tag("string:4"), "ab", "ab"),
])  # fmt: skip
def test_a_value_that_fits_takes_the_type_of_its_tag(one: Tag, value: Value, taken: Value) -> None:
    assert coerce(one, value) == taken and type(coerce(one, value)) is type(taken)


@pytest.mark.parametrize(("one", "value", "said"), [
    (tag("bool"), "on", "true or false"), (tag("int16"), 40000, "-32768 to 32767 bar"),
    (tag("int16"), 1.5, "whole"),
    (tag("int16"), True, "a number"), (tag("float32"), float("nan"), "a number"),
    (tag("float32"), float("inf"), "a number"),
    (tag("float32"), 1e39, "3.40282e+38"), (tag("float32", 0, 10), 10.1, "0 to 10 bar"),
    (tag("int16"), None, "a number"),
    (tag("string:4"), "abcde", "4 characters"), (tag("string:4"), 5, "ASCII"),
    (tag("uint16", scale=0.1), 6553.6, "6553.5"),
    (tag("int16"), [1], "a number"),
])  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_with_the_range(one: Tag, value: Value, said: str) -> None:
    with pytest.raises(TagError, match=said.replace("+", r"\+")):
        coerce(one, value)


def write_list(path: Path, text: str) -> Path:
    path.write_text("name,address,type,group,access,min,max,deadband,limit,failsafe\n" + text)
    return path


def test_a_deadband_may_be_a_share_of_the_range(tmp_path: Path) -> None:
    tags = load_tags(
        write_list(tmp_path / "a.csv", "A,hr:0,int16,fast,r,-10,40,2%,,\nB,hr:1,int16,fast,r,,,0.5,,\n"), GROUPS
    )
    assert (tags["A"].deadband, tags["B"].deadband) == (1.0, 0.5)


@pytest.mark.parametrize(("row", "said"), [
    ("hr:0,int16,fast,r,,,2%,,", "give the tag min and max"), ("hr:0,int16,fast,r,0,9,200%,,", "0 to 100"),
    ("hr:0,int16,fast,r,0,9,x%,,", "0 to 100"), ("hr:0,int16,fast,r,,,-1,,", "negative"),
    ("coil:0,bool,fast,r,,,1,,", "deadband of a bool; only numbers"), ("coil:0,bool,fast,r,1,,,,", "min of a bool"),
    ("hr:0,string:4,fast,rw,,,,clamp,", "limit of a string:4"), ("hr:0,int16,fast,rw,,,,clmp,", "did you mean clamp"),
    ("hr:0,int16,fast,rw,40000,50000,,,", "no int16 lies between"), ("hr:0,int16,fast,r,,,,,1", "takes access rw"),
    ("hr:0,int16,fast,rw,0,9,,clamp,10", "takes 0 to 9, not 10"),
    ("hr:0,int16[2],fast,rw,,,,,1", "a list of 2 values, not a list of 1"),
])  # fmt: skip
def test_what_does_not_go_together_is_said(tmp_path: Path, row: str, said: str) -> None:
    problems = problems_of(write_list(tmp_path / "a.csv", f"A,{row}\n"))
    assert len(problems) == 1 and said in problems[0]


@pytest.mark.parametrize(("kind", "address", "text", "value"), [
    ("int16[3]", "hr:0", "1; 2;3", [1, 2, 3]), ("bool[2]", "coil:0", "true;0", [True, False]),
    ("uint64", "hr:0", str(2**64 - 1), 2**64 - 1), ("string:4", "hr:0", "12", "12"), ("bool", "coil:0", "FALSE", False),
])  # fmt: skip
def test_a_failsafe_in_csv_has_the_tags_type(tmp_path: Path, kind: str, address: str, text: str, value: Value) -> None:
    tags = load_tags(write_list(tmp_path / "a.csv", f"A,{address},{kind},fast,rw,,,,,{text}\n"), GROUPS, check_address)
    assert tags["A"].failsafe == value and type(tags["A"].failsafe) is type(value)


def test_a_failsafe_in_toml_may_be_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        '[tags."A"]\naddress = "hr:0"\ntype = "float32[2]"\naccess = "rw"\ngroup = "fast"\nfailsafe = [1, 2.5]\n'
    )
    assert load_tags(path, GROUPS, check_address)["A"].failsafe == [1.0, 2.5]
