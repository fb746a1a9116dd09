"""`plantedge plc browse`: what real servers offer, as a tree, as JSON and as a list that `plc check` takes."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from edge.plc.tags.lists import load_tags
from tests.conftest import ROOT
from tests.edge.plc_commands.conftest import LISTS, Plc, plantedge
from tests.peers.logix_peer import logix_peer
from tests.peers.modbus_peer import modbus_peer
from tests.peers.opcua_peer import opcua_peer, shared_opcua_peer
from tests.peers.s7_peer import libsnap7, s7_peer
from tests.peers.serial_bus import rtu_unit, serial_bus


def checked(plc: Plc, folder: Path, url: str, *words: object) -> list[str]:
    """Make a list of what a PLC offers, hold it to `plc check`, read all of it; return its names."""
    made = plc("browse", url, "--csv", *words)
    assert made.status == 0, made.err
    path = folder / "made.csv"
    path.write_text(made.out)
    driver = url.partition("://")[0]
    env = {**os.environ, "PLANTEDGE_DIR": str(folder)}
    argv = [str(word) for word in plantedge("plc", "check", path, "--driver", driver)]
    check = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=50, cwd=ROOT)
    assert check.returncode == 0 and "no problems" in check.stdout, check.stderr
    return list(load_tags(path, ()))


@pytest.mark.slow
def test_libmodbus_ranges_are_found_to_the_register(plc: Plc, tmp_path: Path) -> None:
    with modbus_peer(registers=1234) as (port, _):
        url = f"modbus://127.0.0.1:{port}"
        ended = plc("browse", url, "--numbers", "1")
        names = checked(plc, tmp_path, url, "--numbers", "1")
        last = plc("read", url, "hr:1233:uint16", "hr:1234:uint16").rows()
    rows = ended.rows()
    assert ended.status == 0
    assert rows["hr:0-1233"][0] == "1,234 registers"
    assert rows["hr:0-124"][:2] == ["hr:0", "uint16[125]"] and rows["hr:1125-1233"][:2] == ["hr:1125", "uint16[109]"]
    assert "coils" in rows and "identification" not in rows, "libmodbus has no function 43"
    assert "holding registers.hr:0-1233.hr:1125-1233" in names
    assert (last["hr:1233:uint16"][-1], last["hr:1234:uint16"][-2]) == ("Good", "Bad")


@pytest.mark.slow
def test_a_serial_line_is_probed_and_only_who_is_there_answers(plc: Plc) -> None:
    with tempfile.TemporaryDirectory() as folder, serial_bus(Path(folder)) as bus, rtu_unit(bus, 5):
        url = f"modbus_rtu://{bus.port}"
        ended = plc("browse", url, "--numbers", "4-5", "-o", "answer_ms=400", "--timeout-ms", "400")
    rows = ended.rows()
    assert [name for name in rows if name.startswith("unit")] == ["unit 5"]
    assert rows["hr:0-199"] == ["200 registers"] and rows["hr:125-199"][:2] == ["5/hr:125", "uint16[75]"]
    assert ended.status == 0


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["modbus", "modbus_rtu"])
def test_the_plant_says_what_it_is_by_function_43(plc: Plc, faces: dict[str, str], driver: str) -> None:
    rows = plc("browse", faces[driver], "*identification*").rows()
    assert (rows["vendor"], rows["product name"]) == (["PlantEdge"], ["simulated bottling line"])


@pytest.mark.slow
@pytest.mark.parametrize("driver", LISTS)
def test_what_each_face_of_the_plant_offers_is_a_list(
    plc: Plc, faces: dict[str, str], driver: str, tmp_path: Path
) -> None:
    assert checked(plc, tmp_path, faces[driver])
    read = plc("read", faces[driver], "--list", tmp_path / "made.csv")
    assert read.status == 0 and " Good" in read.out


@pytest.mark.slow
def test_a_logix_controller_uploads_programs_members_and_arrays(plc: Plc, tmp_path: Path) -> None:
    with logix_peer() as (port, _):
        url = f"ethernetip://127.0.0.1:{port}"
        told = [json.loads(line) for line in plc("browse", url, "--json").out.splitlines()]
        names = checked(plc, tmp_path, url)
        read = plc("read", url, "--list", tmp_path / "made.csv", "--json")
        cell = plc("browse", url, "Cell.*")
    types = {one["address"]: one["type"] for one in told if one["type"]}
    assert types["Recipes[1].Temps"] == "float32[4]" and types["Recipes[2].Name"] == "string:82"
    assert types["Cell.Recipe.Total"] == "int64" and types["Recipes[0].On"] == "bool"
    assert (
        types["Program:Main.Local"] == "int32" and types["Flags[0]"] == "bool[128]" and types["Many"] == "int32[2000]"
    )
    assert not any("ZZZZ" in address for address in types), "the hidden hosts of BOOLs are nobody's"
    assert {"Recipes[1].Total", "Local", "Cell.Recipe.Temps"} <= {name.removeprefix("Main.") for name in names}
    values = {one["address"]: one["value"] for one in json.loads(read.out)["tags"]}
    assert (values["Recipes[1].Number"], values["Recipes[1].Name"], values["Program:Main.Local"]) == (42, "0.5 PET", 55)
    assert "Cell.Speed" in cell.out and "Recipes" not in cell.out


@pytest.mark.slow
def test_node_opcua_shows_its_tree_with_types_and_access(plc: Plc, tmp_path: Path) -> None:
    with shared_opcua_peer() as server:
        url, slow = f"opcua://127.0.0.1:{server.port}", ("--timeout-ms", "3000")
        rows = plc("browse", url, *slow).rows()
        names = checked(plc, tmp_path, url, *slow)
        flat = plc("browse", url, "--depth", "1", *slow).rows()
    assert rows["Floats"] == ["ns=2;s=Floats", "float32[3]", "Float[3]", "rw"]
    assert rows["ReadOnly"] == ["ns=2;s=ReadOnly", "float32", "Float"]
    assert rows["Numbered"][0] == "ns=2;i=1001" and "Server" not in rows
    assert {"Bool", "Set.Time", "Bytes"} <= set(names)
    assert list(flat) == ["name", "Plant"]


@pytest.mark.slow
def test_names_of_a_hostile_server_command_no_terminal_and_spoil_no_list(plc: Plc, tmp_path: Path) -> None:
    hostile = ["\x1b[2Jwiped", "bell\x07", "a/b+c#", "\u202eturned", "x" * 300, 'quo"te,comma', "Line\nfeed", "=1+1"]
    with opcua_peer(extra=hostile) as server:
        url, slow = f"opcua://127.0.0.1:{server.port}", ("--timeout-ms", "4000")
        ended = plc("browse", url, *slow)
        names = checked(plc, tmp_path, url, *slow)
        made, ended_list = (tmp_path / "made.csv").read_text(), plc("browse", url, "--csv", "*wiped", *slow)
    assert not {"\x1b", "\x07", "\u202e"} & set(ended.out + ended.err)
    assert "\\x1b[2Jwiped" in ended.out and "Line\\nfeed" in ended.out
    assert "a_b_c_" in names and 'quo"te,comma' in names
    assert made.replace("\n", "").isprintable() and "its address has signs that can't be seen" in ended_list.err


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["python-snap7", "libsnap7"])
def test_an_s7_cpu_tells_its_order_number_and_the_size_of_its_blocks(plc: Plc, tmp_path: Path, peer: str) -> None:
    with s7_peer(libsnap7() if peer == "libsnap7" else "") as (port, _):
        url = f"s7://127.0.0.1:{port}"
        ended = plc("browse", url)
        names = checked(plc, tmp_path, url)
    rows = ended.rows()
    assert rows["order number"][0].startswith("6ES7 315-2EH14")
    assert rows["DB1"][:3] == ["DB1.DBB0", "uint8[100]", "100 bytes"] and rows["DB2"][0] == "8,192 bytes"
    assert rows["flags"][0] == "256 bytes" and rows["inputs"][:2] == ["IB0", "uint8[128]"]
    assert "DB2.DB2.8000-8191" in names


@pytest.mark.slow
def test_it_is_bounded_in_count_and_time_and_says_so(plc: Plc) -> None:
    with logix_peer() as (port, _):
        ended = plc("browse", f"ethernetip://127.0.0.1:{port}", "--count", "3")
    assert ended.status == 0 and "3 found" in ended.err and "there is more; --count takes more than 3" in ended.err
    with modbus_peer() as (port, _):
        short = plc("browse", f"modbus://127.0.0.1:{port}", "--for", "0.01")
    assert "not all: ended after 0.01 s; --for takes longer" in short.err


def test_a_plc_that_is_not_there_is_one_message(plc: Plc) -> None:
    ended = plc("browse", "modbus://127.0.0.1:1")
    assert (ended.status, ended.out) == (1, "") and "can't be reached" in ended.err
