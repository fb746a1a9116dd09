import json
from pathlib import Path

import pytest

from edge.config.overrides import ConfigRefused, ConfigStore, leaves
from schemas.topics import Role

DEVICE = """
[device]
site = "s"
line = "l"
node = "n"

[mirror]
tag_hz = 2.0
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "device.toml").write_text(DEVICE)
    return tmp_path


def test_a_change_is_pending_until_it_is_confirmed(home: Path) -> None:
    store = ConfigStore(home)
    assert store.check("mirror", {"tag_hz": 5.0}, 0, Role.CLI).mirror.tag_hz == 5.0
    assert store.begin("mirror", {"tag_hz": 5.0}).version == 1
    assert ConfigStore(home).pending() == ["mirror"]
    store.confirm("mirror")
    assert ConfigStore(home).pending() == []
    assert ConfigStore(home).held("mirror").values == {"tag_hz": 5.0}


def test_a_reverted_change_leaves_the_previous_values_as_a_new_version(home: Path) -> None:
    store = ConfigStore(home)
    store.begin("mirror", {"tag_hz": 5.0})
    store.confirm("mirror")
    store.begin("mirror", {"tag_hz": 7.0})
    held = store.revert("mirror")
    assert (held.version, held.values, held.pending) == (3, {"tag_hz": 5.0}, False)


def test_a_stale_writer_is_refused(home: Path) -> None:
    store = ConfigStore(home)
    store.begin("mirror", {"tag_hz": 5.0})
    with pytest.raises(ConfigRefused, match="based on version 0, the device has 1"):
        store.check("mirror", {"tag_hz": 6.0}, 0, Role.CLI)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("outputs", {"cap": {"failsafe": False}}),
        ("uplink", {"policy": "aggregates"}),
        ("historian", {"influx": {"url": "http://outside"}}),
        ("opcua", {"endpoint": "opc.tcp://0.0.0.0:4840"}),
        ("pipelines", {"p": {"deadline_ms": 5000}}),
        ("sources", {"plant": {"host": "elsewhere"}}),
    ],
)
def test_the_fleet_can_not_set_what_is_the_sites(home: Path, section: str, change: dict[str, object]) -> None:
    with pytest.raises(ConfigRefused, match="is set on the site"):
        ConfigStore(home).check(section, change, None, Role.UPLINK)


def test_the_fleet_may_set_what_is_listed(home: Path) -> None:
    assert ConfigStore(home).check("mirror", {"tag_hz": 3.0}, None, Role.UPLINK).mirror.tag_hz == 3.0


def test_a_wrong_value_is_refused_with_its_reason_and_changes_nothing(home: Path) -> None:
    store = ConfigStore(home)
    with pytest.raises(ConfigRefused, match="tag_hz"):
        store.check("mirror", {"tag_hz": 1000.0}, 0, Role.CLI)
    assert not (home / "state").exists()


def test_no_section_is_refused_by_name(home: Path) -> None:
    with pytest.raises(ConfigRefused, match="no section 'device'"):
        ConfigStore(home).check("device", {"node": "other"}, 0, Role.CLI)


def test_an_unreadable_file_is_put_aside(home: Path) -> None:
    (home / "state").mkdir()
    (home / "state" / "config.json").write_text("{")
    assert ConfigStore(home).held("mirror").version == 0
    assert (home / "state" / "config.unreadable").exists()


def test_the_file_is_what_the_loader_reads(home: Path) -> None:
    store = ConfigStore(home)
    store.begin("mirror", {"tag_hz": 5.0})
    held = json.loads((home / "state" / "config.json").read_text())
    assert held["mirror"]["version"] == 1
    assert held["mirror"]["values"] == {"tag_hz": 5.0}


def test_leaves_are_dotted_paths() -> None:
    assert leaves({"a": {"b": 1, "c": {}}, "d": 2}, "x") == ["x.a.b", "x.a.c", "x.d"]
