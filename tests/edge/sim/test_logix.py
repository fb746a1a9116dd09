"""The simulated Logix controller, held to clients that share no code with it or with our connector's library."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pycomm3 import LogixDriver
from pylogix import PLC

from edge.sim.logix_memory import WRONG_TYPE, CipError
from tests.conftest import find_node_module, find_program
from tests.peers.logix_peer import logix_peer
from tests.peers.logix_server import filled

CLIENT = Path(__file__).resolve().parents[2] / "peers" / "logix_client.js"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with logix_peer() as (port, _):
        yield port


@contextlib.contextmanager
def pylogix(port: int) -> Iterator[Any]:
    plc = PLC("127.0.0.1", port=port, timeout=5.0)
    plc.conn.msg_socket.close()  # for messages from a PLC, which it never closes
    with plc:
        yield plc


@pytest.fixture(scope="module")
def plc(port: int) -> Iterator[Any]:
    with pylogix(port) as plc:
        yield plc


def read(plc: Any, *words: Any) -> Any:
    answer = plc.Read(*words)
    assert answer.Status == "Success", answer
    return answer.Value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Speed", 12.5), ("Count", 11), ("Small", -7), ("Word", 0x1234), ("Big", -(2**40)), ("Switch", True),
        ("Text", "filler 1"), ("Temps[199]", 99.5), ("Recipes[1].Number", 42), ("Recipes[1].Off", True),
        ("Recipes[1].On", False), ("Recipes[1].Temps[3]", 3.5), ("Recipes[1].Name", "0.5 PET"),
        ("Recipes[1].Total", 2**40), ("Cell.Recipe.Temps[2]", -1.5), ("Program:Main.Local", 55), ("Flags[5]", True),
        ("Flags[6]", False), ("Flags[32]", True), ("Bits.2", True), ("Bits.1", False),
    ],
)  # fmt: skip
def test_pylogix_reads(plc: Any, name: str, value: object) -> None:
    assert read(plc, name) == value


def test_pylogix_reads_an_array_in_fragments(plc: Any) -> None:
    assert read(plc, "Many", 2000) == list(range(2000))


def test_pylogix_reads_several_tags_in_one_packet_and_each_has_its_own_status(plc: Any) -> None:
    answers = plc.Read(["Speed", "Nothing", "Count", "Text"])
    assert [answer.Status for answer in answers] == ["Success", "Path segment error", "Success", "Success"]
    assert [answer.Value for answer in answers] == [12.5, None, 11, "filler 1"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("Set", -4.25), ("Text", "other"), ("Recipes[2].Temps[1]", 7.0), ("Recipes[2].On", True), ("Bits.9", True),
     ("Flags[70]", True), ("Program:Main.Local", -3)],
)  # fmt: skip
def test_pylogix_writes_and_reads_back(plc: Any, name: str, value: object) -> None:
    before = read(plc, name)
    assert plc.Write(name, value).Status == "Success"
    assert read(plc, name) == value
    plc.Write(name, before)


def test_what_can_not_be_is_refused(plc: Any) -> None:
    assert plc.Read("Temps[200]").Status != "Success"
    assert plc.Read("Recipes[1].Nothing").Status == "Path segment error"
    assert plc.Write("Fixed", 6).Status != "Success"
    assert read(plc, "Fixed") == 5


def test_a_type_that_is_not_the_tags_is_refused() -> None:
    memory = filled()
    with pytest.raises(CipError) as caught:
        memory.write(memory.locate(["Count"]), memory.type_of("REAL"), 1, 0, bytes(4))
    assert caught.value.status == WRONG_TYPE


def test_pylogix_uploads_the_tags_and_the_layout_of_their_types(plc: Any) -> None:
    tags = {tag.TagName: tag for tag in plc.GetTagList().Value}
    assert tags["Temps"].DataType == "REAL" and tags["Temps"].Size == 200 and tags["Temps"].Array
    assert tags["Recipes"].DataType == "Recipe" and tags["Program:Main.Local"].DataType == "DINT"
    fields = [field.TagName for field in plc.UDTByName["Recipe"].Fields]
    assert [name for name in fields if not name.startswith("ZZ")] == [
        "Number", "On", "Off", "Temps", "Name", "Total",
    ]  # fmt: skip
    whole = read(plc, "Recipes[1]")
    number, total = whole[:4], whole[-8:]
    assert int.from_bytes(number, "little") == 42 and int.from_bytes(total, "little") == 2**40


def test_a_controller_without_large_connections_serves_small_ones() -> None:
    with logix_peer("127.0.0.1", 0, "small") as (port, _), pylogix(port) as plc:
        assert read(plc, "Many", 2000) == list(range(2000))
        assert plc.ConnectionSize < 600


def test_pycomm3_reads_elements_and_members_by_the_instance_of_their_tag(port: int) -> None:
    names = ["Many[3]", "Many[4]", "Temps[199]", "Recipes[1].Temps[3]", "Count"]
    with LogixDriver(f"127.0.0.1:{port}/0") as plc:
        assert [answer.value for answer in plc.read(*names)] == [3, 4, 99.5, 3.5, 11]
        assert plc.read("Many[2000]").error


def test_st_ethernet_ip_reads_writes_and_uploads() -> None:
    node, modules = find_program("node"), find_node_module("st-ethernet-ip").parent
    host = f"127.77.{os.getpid() % 250 + 1}.1"  # the library fixes the port
    with logix_peer(host, 44818):
        told = json.loads(
            subprocess.run(
                [node, CLIENT, modules, host], capture_output=True, text=True, timeout=40, check=True
            ).stdout
        )  # fmt: skip
    assert told["read"] == {
        "Speed": 12.5, "Count": 11, "Small": -7, "Word": 4660, "Switch": True, "Temps[7]": 3.5,
        "Recipes[1].Number": 42, "Local": 55,
    }  # fmt: skip
    assert told["group"] == [11, 12.5] and told["set"] == 99.5 and told["bits"] == 0x80000007
    assert {"Speed", "Recipes", "Cell", "Local"} <= set(told["tags"])
    assert told["refused"], "a tag that is not there"
