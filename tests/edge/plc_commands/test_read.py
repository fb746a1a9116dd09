"""`plantedge plc read`: every protocol by one command, what is wrong in one message, hostile texts made harmless."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from edge.commands.plc.shown import clean
from edge.commands.plc.target import addressed, matches
from schemas.errors import StartError
from tests.conftest import ROOT
from tests.edge.plc_commands.conftest import DEMO, LISTS, Plc, plantedge
from tests.peers.logix_peer import logix_peer
from tests.peers.modbus_peer import modbus_peer
from tests.peers.opcua_peer import shared_opcua_peer
from tests.peers.s7_peer import libsnap7, s7_peer


@pytest.mark.slow
@pytest.mark.parametrize("driver", LISTS)
def test_each_face_of_the_plant_is_read_by_its_list(plc: Plc, faces: dict[str, str], driver: str) -> None:
    ended = plc("read", faces[driver], "--list", DEMO / "tags" / LISTS[driver], "Line.SpeedSetpoint", "Line.Run*")
    rows = ended.rows()
    assert ended.status == 0
    assert {"600", "1/min"} < set(rows["Line.SpeedSetpoint"]) and rows["Line.SpeedSetpoint"][-1] == "Good"
    assert "true" in rows["Line.Running"] and rows["Line.Running"][-1] == "Good"
    assert "2 Good;" in ended.out.splitlines()[-1]


@pytest.mark.slow
def test_addresses_of_libmodbus_are_read_without_any_settings(plc: Plc) -> None:
    with modbus_peer() as (port, _):
        url = f"modbus://127.0.0.1:{port}"
        ended = plc(
            "read", url, "hr:7:uint16", "40012:int16,scale=0.5,unit=bar", "hr:40:uint16[3],order=DCBA", "hr:200:uint16"
        )
        assert ended.status == 1, "one is Bad"
        rows = ended.rows()
        assert rows["hr:7:uint16"][0] == "7"
        assert rows["40012:int16"][:2] == ["5.5", "bar"]
        assert rows["hr:40:uint16[3]"][0] == "[10240, 10496, 10752]"
        assert rows["hr:200:uint16"][-2:] == ["Bad", "no such address (Modbus exception 2)"]
        assert plc("read", url, "hr:7:uint16").status == 0


def test_a_c_s7_server_is_read(plc: Plc) -> None:
    with s7_peer(libsnap7()) as (port, _):
        rows = plc(
            "read", f"s7://127.0.0.1:{port}?rack=0", "-o", "slot=2", "DB1.DBW98:uint16", "MW10:int16,scale=0.5"
        ).rows()
    assert rows["DB1.DBW98:uint16"][0] == str(98 << 8 | 99) and rows["MW10:int16"][0] == "1285.5"


@pytest.mark.slow
def test_node_opcua_tells_quality_and_reason(plc: Plc) -> None:
    with shared_opcua_peer() as server:
        url = f"opcua://127.0.0.1:{server.port}"
        ended = plc("read", url, "ns=2;s=Float:float32", "ns=2;s=Uncertain:float32", "--json", "--timeout-ms", "3000")
    told = json.loads(ended.out)
    assert [(one["value"], one["quality"]) for one in told["tags"]] == [(1.5, "good"), (4.5, "uncertain")]
    assert "UncertainLastUsableValue" in told["tags"][1]["reason"]
    assert ended.status == 1 and told["driver"] == "opcua"


def test_a_devices_source_is_read_by_its_settings(plc: Plc, tmp_path: Path) -> None:
    (tmp_path / "plc.csv").write_text("name,address,type,access,group\nTank.Level,hr:12,uint16,r,fast\n")
    with modbus_peer() as (port, _):
        (tmp_path / "device.toml").write_text(
            '[device]\nsite = "s"\nline = "l"\nnode = "n"\n[sources.press]\ndriver = "modbus"\n'
            f'port = {port}\ntags = "plc.csv"\ngroups = {{ fast = 50 }}\n'
        )
        ended = plc("read", "press", "--home", tmp_path)
        assert ended.rows()["Tank.Level"][:2] == ["hr:12", "12"]
        misspelt = plc("read", "pres", "--home", tmp_path)
        assert "did you mean press" in misspelt.err and misspelt.status == 1
        assert "did you mean Tank.Level?" in plc("read", "press", "Tank.Leval", "--home", tmp_path).err


@pytest.mark.parametrize(("words", "said"), [
    (("modbos://127.0.0.1", "hr:0:uint16"), "did you mean modbus?"),
    (("modbus://127.0.0.1", "DB1.DBW0:uint16"), "write hr:0, ir:0, di:0, coil:0 or 40001"),
    (("modbus://127.0.0.1", "hr:0:uint61"), "has its type behind it"),
    (("modbus://127.0.0.1", "hr:0:uint16,ordre=CDAB"), "'ordre' is no key of a tag"),
    (("modbus://127.0.0.1", "hr:0:uint16,order=CADB"), "order 'CADB' is not known"),
    (("modbus://127.0.0.1",), "which tags of modbus://127.0.0.1?"),
    (("modbus://127.0.0.1:port", "hr:0:uint16"), "write modbus://HOST:PORT"),
    (("modbus://", "hr:0:uint16"), "host is missing"),
    (("modbus_rtu:///dev/nowhere", "hr:0:uint16"), "/dev/nowhere can't be opened: there is no such device"),
    (("modbus://127.0.0.1", "hr:0:uint16", "-o", "unti=3"), "modbus option unti"),
    (("modbus://127.0.0.1", "hr:0:uint16", "-o", "unit"), "write KEY=VALUE"),
])  # fmt: skip
def test_what_is_wrong_is_one_message(plc: Plc, words: tuple[str, ...], said: str) -> None:
    ended = plc("read", *words)
    assert (ended.status, ended.out) == (1, "")
    assert said in ended.err and len(ended.err.splitlines()) == 1


def test_a_plc_that_is_not_there_or_silent_is_told_with_where_it_was_sought(plc: Plc) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        ended = plc("read", f"s7://127.0.0.1:{port}", "MB0:uint8", "--timeout-ms", "100")
        assert ended.status == 1 and f"127.0.0.1:{port}, rack 0, slot 1" in ended.err and "check cable" in ended.err
    gone = plc("read", f"modbus://127.0.0.1:{port}", "hr:0:uint16", "--timeout-ms", "100")
    assert f"127.0.0.1:{port} can't be reached" in gone.err


@pytest.mark.slow
def test_a_text_of_the_plc_commands_no_terminal(plc: Plc) -> None:
    with logix_peer() as (port, _):
        url = f"ethernetip://127.0.0.1:{port}"
        assert plc("write", url, "Text:string:82", '"\\u001b[2Jgone"', "--direct", "--yes").status == 0
        ended = plc("read", url, "Text:string:82")
    assert "\x1b" not in ended.out and '"\\x1b[2Jgone"' in ended.out


def test_controls_and_signs_that_turn_a_text_are_written_out() -> None:
    assert clean("Tank °C 液") == "Tank °C 液"
    assert clean("a\x1b[31m\r\n\x9b\u202eb\ud800") == "a\\x1b[31m\\r\\n\\x9b\\u202eb?"


def test_an_address_is_cut_from_its_type_at_the_right_colon() -> None:
    cut = {word: addressed(word) for word in ("hr:0:string:8", "ns=2;s=a:b:bool", "3/hr:1:float32,order=CDAB", "hr:7")}
    assert [tag and (tag.name, tag.address, tag.type) for tag in cut.values()] == [
        ("hr:0:string:8", "hr:0", "string:8"), ("ns=2;s=a:b:bool", "ns=2;s=a:b", "bool"),
        ("3/hr:1:float32", "3/hr:1", "float32"), None,
    ]  # fmt: skip
    with pytest.raises(StartError, match="bit 99"):
        addressed("hr:0:bool,bit=99")


def test_brackets_of_a_name_are_no_pattern() -> None:
    assert matches("Recipes[1].Temps[3]", "recipes[1].*") and not matches("Recipes1.Temps", "recipes[1].*")


@pytest.mark.slow
def test_as_a_process_it_prints_what_a_person_sees(tmp_path: Path) -> None:
    with modbus_peer() as (port, _):
        words = plantedge("plc", "read", f"modbus://127.0.0.1:{port}", "hr:7:uint16", "hr:8:int16,unit=bar")
        env = {**os.environ, "PLANTEDGE_DIR": str(tmp_path)}
        argv = [str(word) for word in words]
        ended = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=50, cwd=ROOT)
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0 and ended.stderr == ""
    assert lines[0].split() == ["tag", "value", "unit", "time", "quality"]
    assert lines[1].startswith("hr:7:uint16      7  ") and lines[2].startswith("hr:8:int16       8  bar   ")
    assert lines[3].startswith(f"modbus 127.0.0.1:{port}: 2 Good; ")
