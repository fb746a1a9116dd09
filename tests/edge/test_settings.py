"""A person mends a file once: every problem, at its line, with the key that was meant."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
from edge.config.files import read_settings
from edge.config.toml_lines import KeyPath, key_lines
from edge.settings import Settings, load_settings
from schemas.errors import SettingsError

DEMO = Path(edge.__file__).parent / "sim" / "demo"

NASTY = """\
# a device whose author was in a hurry
[device]
site = "Demo Site"
line = "line1"
nod = "edge1"

[broker]
port = "1883"
hots = "10.0.0.1"

[sources.plant]
driver = "modbus"
port = 70000
tags = "tags/plnt.csv"
groups = { fast = 20, "slow one" = "x" }

["sources"."Bad Name"]
driver = "modbus"
tags = "tags/plant.csv"
groups.fast = 20

[outputs.cap_inspection]
source = "plnt"
verdict = "Eject.Reject"
part = "Eject.Reject"

[outputs.second]
source = "plnt"
verdict = "Eject.Reject"

[cameras.cam1]
driver = "plant"
address = '127.0.0.1:5021'
options = { exposure = [1, 2] }

[historian]
quota_mb = 1
influx = { version = 4, url = "http://127.0.0.1", buket = "x" }

[opcu]
anonymous = true
"""

BROKEN_PIPELINE = """\
lane = "safety"
model = "cap_inspection"
input = { frames = "cam2" }
deadline_ms = 0

[decision]
reject = ["scratch",
          7]
treshold = 0.5
"""

WINDOW_PIPELINE = """\
model = "line_anomaly"
deadline_ms = 500
[input]
source = "plant"
group = "fsat"
tags = []
lenght = 32
[decision]
threshold = 1.0
clear = 2.0
"""


def device(tmp_path: Path) -> Path:
    home = tmp_path / "device"
    for folder in ("tags", "pipelines"):
        (home / folder).mkdir(parents=True)
    (home / "device.toml").write_text((DEMO / "device.toml").read_text())
    (home / "tags" / "plant.csv").write_text("name\n")
    for file in (DEMO / "pipelines").glob("*.toml"):
        shutil.copy(file, home / "pipelines")
    return home


def problems(home: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(home)
    return list(caught.value.problems)


def one_of(found: list[str], place: str) -> str:
    """The only problem at `file:line: key`."""
    (text,) = [problem for problem in found if problem.startswith(place)]
    return text.removeprefix(place)


def test_the_demo_device_has_no_problem(tmp_path: Path) -> None:
    settings = load_settings(device(tmp_path))
    assert settings.lanes == {
        "safety": ["cap_inspection"], "bulk": ["gear_vibration", "line_anomaly", "tray_inspection"]
    }  # fmt: skip


def test_every_problem_of_every_file_is_told_at_its_line(tmp_path: Path) -> None:
    home = device(tmp_path)
    for other in ("gear_vibration", "tray_inspection"):
        (home / "pipelines" / f"{other}.toml").unlink()
    (home / "device.toml").write_text(NASTY)
    (home / "pipelines" / "cap_inspection.toml").write_text(BROKEN_PIPELINE)
    (home / "pipelines" / "line_anomaly.toml").write_text(WINDOW_PIPELINE)
    (home / "pipelines" / "third.toml").write_text('model = "x"\ninput = \n')
    found = problems(home)

    assert "write 1 to 64 of a-z" in one_of(found, "device.toml:3: device.site: ")
    assert one_of(found, "device.toml:5: device.nod: ") == "unknown key; did you mean node?"
    assert "write a whole number" in one_of(found, "device.toml:8: broker.port: ")
    assert one_of(found, "device.toml:9: broker.hots: ") == "unknown key; did you mean host?"
    assert one_of(found, "device.toml:13: sources.plant.port: ") == "70000 will not do; write 65535 or less"
    assert "did you mean tags/plant.csv?" in one_of(found, "device.toml:14: sources.plant.tags: ")
    assert one_of(found, "device.toml:15: sources.plant.groups.slow one: ") == '"x" will not do; write a number'
    assert "can't stand in a topic" in one_of(found, "device.toml:17: sources.Bad Name: ")
    assert one_of(found, "device.toml:23: outputs.cap_inspection.source: ").endswith("did you mean plant?")
    assert "already written by outputs.cap_inspection.verdict" in one_of(found, "device.toml:25: ")
    assert "there is no pipeline 'second'" in one_of(found, "device.toml:27: outputs.second: ")
    assert one_of(found, "device.toml:28: outputs.second.source: ").endswith("did you mean plant?")
    assert "already written by" in one_of(found, "device.toml:29: outputs.second.verdict: ")
    assert "write text in quotes or a whole number or a number or true or false" in one_of(
        found, "device.toml:34: cameras.cam1.options.exposure: "
    )
    assert one_of(found, "device.toml:37: historian.quota_mb: ") == "1 will not do; write 16 or more"
    assert one_of(found, "device.toml:38: historian.influx.version: ") == "4 will not do; write 1, 2 or 3"
    assert one_of(found, "device.toml:38: historian.influx.buket: ") == "unknown key; did you mean bucket?"
    assert one_of(found, "device.toml:40: opcu: ") == "unknown key; did you mean opcua?"

    cap = "pipelines/cap_inspection.toml"
    assert one_of(found, f"{cap}:3: pipelines.cap_inspection.input.frames: ").endswith("did you mean cam1?")
    assert "write a number over 0" in one_of(found, f"{cap}:4: pipelines.cap_inspection.deadline_ms: ")
    assert "write text in quotes" in one_of(found, f"{cap}:8: pipelines.cap_inspection.decision.reject.1: ")
    assert one_of(found, f"{cap}:9: pipelines.cap_inspection.decision.treshold: ").endswith("mean threshold?")

    window = "pipelines/line_anomaly.toml"
    assert one_of(found, f"{window}:5: pipelines.line_anomaly.input.group: ").endswith("did you mean fast?")
    assert "at least 1 of them" in one_of(found, f"{window}:6: pipelines.line_anomaly.input.tags: ")
    assert one_of(found, f"{window}:7: pipelines.line_anomaly.input.lenght: ").endswith("did you mean length?")
    assert "over the threshold" in one_of(found, f"{window}:10: pipelines.line_anomaly.decision.clear: ")

    assert "not TOML" in one_of(found, "pipelines/third.toml:2: ")
    assert len(found) == 27


def test_a_file_that_is_not_toml_is_the_only_problem(tmp_path: Path) -> None:
    home = device(tmp_path)
    (home / "device.toml").write_text("[device]\nsite = demo\n")
    (text,) = problems(home)
    assert text.startswith("device.toml:2: not TOML")


def test_a_text_that_never_ends_is_told_at_the_last_line(tmp_path: Path) -> None:
    home = device(tmp_path)
    (home / "device.toml").write_text('[device]\nsite = "demo"\nline = [1,\n')
    (text,) = problems(home)
    assert text.startswith("device.toml:3: not TOML")


def test_a_folder_without_device_toml_is_told_where_an_example_is(tmp_path: Path) -> None:
    (text,) = problems(tmp_path)
    assert text.startswith("device.toml:1: not found in ")
    assert "edge/sim/demo" in text


def test_a_pipeline_that_is_not_toml_does_not_accuse_its_outputs(tmp_path: Path) -> None:
    home = device(tmp_path)
    (home / "pipelines" / "cap_inspection.toml").write_text("lane = \n")
    (text,) = problems(home)
    assert text.startswith("pipelines/cap_inspection.toml:1: not TOML")


def test_a_missing_key_is_told_at_its_table(tmp_path: Path) -> None:
    home = device(tmp_path)
    text = (home / "device.toml").read_text().replace('address = "127.0.0.1:5021"\n', "", 1)
    (home / "device.toml").write_text(text)
    (found,) = problems(home)
    line = text.splitlines().index("[cameras.cam1]") + 1
    assert found == f"device.toml:{line}: cameras.cam1.address is missing; add `address = ...`"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('trigger = "Line.PartCounter"', "trigger: 'Line.PartCounter' will not do; write SOURCE/TAG"),
        ('trigger = "plnt/Line.PartCounter"', "trigger: there is no source 'plnt'; did you mean plant?"),
        ('part = "plant/Line.PartCounter"', "part: it has no trigger; both come from one source"),
        ('trigger = "plant/A"\npart = "other/B"', "part: its trigger is of another source; both come from one source"),
        (
            'recipe = { source = "plnt", tag = "R", choices = { 7 = { gain = 1 } } }',
            "source 'plnt'; did you mean plant?",
        ),
        ('triggered_by = "hand"', "write 'plc' or 'wire'"),
        ("ring_mb = -1", "-1 will not do; write 0 or more"),
    ],
)
def test_a_cameras_trigger_and_recipe_must_lead_somewhere(tmp_path: Path, line: str, says: str) -> None:
    home = device(tmp_path)
    text = (home / "device.toml").read_text().replace("[cameras.cam1]\n", f"[cameras.cam1]\n{line}\n", 1)
    (home / "device.toml").write_text(text)
    assert any(says in found for found in problems(home)), problems(home)


def test_overlay_and_overrides_are_laid_over_the_files(tmp_path: Path) -> None:
    home = device(tmp_path)
    (home / "overlay.toml").write_text("[sources.plant]\nport = 15020\n[broker]\nport = 11883\n")
    (home / "state").mkdir()
    held = {"pipelines": {"version": 3, "values": {"cap_inspection": {"decision": {"threshold": 0.7}}}}}
    (home / "state" / "config.json").write_text(json.dumps(held))
    settings = load_settings(home)
    assert (settings.sources["plant"].port, settings.broker.port) == (15020, 11883)
    assert settings.sources["plant"].groups == {"fast": 20, "process": 100}
    decision = settings.pipelines["cap_inspection"].decision
    assert (decision.threshold, decision.reject) == (0.7, ["scratch", "blob", "missing_cap"])


def test_a_problem_is_told_in_the_uppermost_file_that_has_the_key(tmp_path: Path) -> None:
    home = device(tmp_path)
    (home / "overlay.toml").write_text("\n[sources.plant]\nport = 0\n")
    (home / "state").mkdir()
    held = {"mirror": {"version": 1, "values": {"tag_hz": -1}}}
    (home / "state" / "config.json").write_text(json.dumps(held))
    found = problems(home)
    assert "write 1 or more" in one_of(found, "overlay.toml:3: sources.plant.port: ")
    assert "write a number over 0" in one_of(found, "state/config.json:1: mirror.tag_hz: ")
    assert len(found) == 2


def test_new_values_can_be_tried_before_they_are_held(tmp_path: Path) -> None:
    home = device(tmp_path)
    assert read_settings(home, {"mirror": {"tag_hz": 2.0}}).mirror.tag_hz == 2.0
    with pytest.raises(SettingsError, match=r"^mirror\.tag_hz"):
        read_settings(home, {"mirror": {"tag_hz": 100.0}})


LINES = """\
a = 1 # [not.a.table]
"quo.ted" = { x = 1, y = { "z #" = [1, { w = 'k = 2' }] } }
b.c."d e" = \"\"\"
[no] = "table"
\\\"\"\" still inside\"\"\"\"
'lit' = '''
x = 1
'''

[ t . "u v" ]
k = [ # a comment ]
  "a", "]",
  [ 2, 3,
    4 ],
]
when = 1979-05-27 07:32:00Z
[[list]]
n = 1
[list.sub]
m = 1
[[list]]
n = 2
[[list.deep]]
o = inf
"""


def test_lines_of_all_kinds_of_keys() -> None:
    tomllib.loads(LINES)
    lines = key_lines(LINES.replace("\n", "\r\n"))
    wanted: dict[KeyPath, int] = {
        ("a",): 1,
        ("quo.ted", "y", "z #", 1, "w"): 2,
        ("b", "c", "d e"): 3,
        ("lit",): 6,
        ("t", "u v"): 10,
        ("t", "u v", "k", 1): 12,
        ("t", "u v", "k", 2, 2): 14,
        ("t", "u v", "when"): 16,
        ("list", 0, "n"): 18,
        ("list", 0, "sub", "m"): 20,
        ("list", 1, "n"): 22,
        ("list", 1, "deep", 0, "o"): 24,
    }
    assert {path: lines.get(path) for path in wanted} == wanted
    assert ("no",) not in lines


NAMES = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=12)
LEAVES = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), TEXT)


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{as_toml(key)} = {as_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[ " + ", ".join(map(as_toml, value)) + " ]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool) else str(value)


def paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path} | {deeper for key, item in children for deeper in paths(item, (*path, key))}


@given(
    st.dictionaries(
        TEXT, st.recursive(LEAVES, lambda s: st.lists(s, max_size=3) | st.dictionaries(TEXT, s, max_size=3))
    )
)
def test_every_key_of_any_valid_file_has_its_line(tree: dict[str, object]) -> None:
    text = "\n" + "\n".join(f"{as_toml(key)} = {as_toml(value)}" for key, value in tree.items())
    assert tomllib.loads(text) == tree
    lines = key_lines(text)
    assert set(lines) == paths(tree) - {()}
    assert [lines[(key,)] for key in tree] == list(range(2, len(tree) + 2))


@st.composite
def devices(draw: st.DrawFn) -> dict[str, object]:
    """Settings that are right by the model and by their references."""
    ports, periods = st.integers(1, 65535), st.floats(1, 3_600_000)
    groups = st.dictionaries(NAMES, periods, min_size=1, max_size=3)
    source = st.fixed_dictionaries({"driver": st.just("modbus"), "tags": st.just("tags/plant.csv"), "groups": groups})
    camera = st.fixed_dictionaries({"driver": st.just("folder"), "address": TEXT})
    sources = draw(st.dictionaries(NAMES, source, min_size=1, max_size=3))
    cameras = draw(st.dictionaries(NAMES, camera, min_size=1, max_size=3))
    frames = st.fixed_dictionaries({"frames": st.sampled_from(sorted(cameras))})
    windows = [
        {"source": name, "group": group, "tags": ["a"], "length": 3}
        for name, entry in sources.items()
        for group in entry["groups"]
    ]
    pipeline = st.fixed_dictionaries(
        {"model": NAMES, "deadline_ms": periods, "input": frames | st.sampled_from(windows)},
        optional={"lane": NAMES, "event": st.booleans(), "decision": st.just({"threshold": 1, "clear": 0.5})},
    )
    pipelines = draw(st.dictionaries(NAMES, pipeline, min_size=1, max_size=3))
    outputs = {
        name: {"source": draw(st.sampled_from(sorted(sources))), "verdict": f"tag{number}"}
        for number, name in enumerate(pipelines)
    }
    place = draw(st.fixed_dictionaries({"site": NAMES, "line": NAMES, "node": NAMES}))
    whole: dict[str, object] = {"device": place, "sources": sources, "cameras": cameras, "outputs": outputs}
    return whole | {"pipelines": pipelines, "broker": {"port": draw(ports)}}


@settings(max_examples=30, deadline=None)
@given(devices())
def test_a_valid_device_has_no_problem(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, object]) -> None:
    home = tmp_path_factory.mktemp("device")
    (home / "tags").mkdir()
    (home / "tags" / "plant.csv").write_text("name\n")
    (home / "device.toml").write_text("\n".join(f"{key} = {as_toml(value)}" for key, value in tree.items()))
    assert load_settings(home) == Settings.model_validate(tree)
