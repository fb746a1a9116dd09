"""The page of tag lists is what the classes say, and its examples are what they seem."""

import re
from pathlib import Path

import pytest

from edge.connectors import driver_names
from edge.connectors.modbus import check_address
from edge.plc.tags.forms import EXAMPLES
from edge.plc.tags.lists import KEYS, ORDERS, load_tags
from edge.plc.tags.reference import FILE, reference
from schemas.errors import SettingsError
from tests.conftest import ROOT

GROUPS = ("process", "slow", "fast")


def test_the_page_is_the_generated_one() -> None:
    assert (ROOT / FILE).read_text() == reference(), "run: python -m edge.plc.tags.reference"


@pytest.mark.parametrize("name", [*KEYS, *(name for name in EXAMPLES if ":1" not in name), *ORDERS])
def test_it_tells_every_key_type_and_order(name: str) -> None:
    assert f"`{name}`" in reference()


@pytest.mark.parametrize("name", driver_names())
def test_every_driver_tells_its_addresses(name: str) -> None:
    assert f"## Addresses of `{name}`" in reference()


def example(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", reference(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_its_list_has_the_one_problem_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text(example("csv"))
    with pytest.raises(SettingsError) as caught:
        load_tags(path, GROUPS, check_address)
    assert [problem.removeprefix(f"{path}:") for problem in caught.value.problems] == [
        "5: Pump.Fault: a bool in a register needs its bit (0 to 15)"
    ]


def test_its_toml_is_right(tmp_path: Path) -> None:
    path = tmp_path / "tags.toml"
    path.write_text(example("text"))
    assert load_tags(path, GROUPS, check_address)["Pump.Fault"].bit == 3
