"""The simulated PLC's further faces, read and written by clients that share no code with them."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.sim import control
from schemas.errors import StartError
from tests.edge.sim.test_plant import running

CLIENT = Path(__file__).parents[2] / "peers" / "s7_client.js"
pytestmark = pytest.mark.slow


def test_nodes7_reads_and_writes_the_s7_face(tmp_path: Path, node_module: Callable[[str], Path]) -> None:
    modules = node_module("nodes7").parent
    reads = {"speed": "DB1,REAL0", "motor": "DB1,INT4", "parts": "DB1,DWORD8", "running": "DB1,X14.1"}

    def asked(port: int, **writes: object) -> dict[str, float]:
        words = ["node", str(CLIENT), str(port), json.dumps({"read": reads, "write": writes})]
        env = os.environ | {"NODE_PATH": str(modules), "HOME": str(tmp_path)}
        said = subprocess.run(words, capture_output=True, text=True, timeout=30, env=env)
        assert said.returncode == 0, said.stdout + said.stderr
        values: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
        return values

    with running(tmp_path, "--s7-port", "0", "--parts-per-s", "20") as (ports, path):
        values = asked(ports["s7_port"], setpoint=["DB2,REAL10", 300.0])
        assert 250 < values["speed"] < 700 and 200 < values["motor"] < 900 and values["running"] is True
        assert values["setpoint"] == 300.0
        assert asked(ports["s7_port"], part=["DB2,DWORD4", 12345])["part"] == 12345
        state = control.read_state(path)
        assert state["part_id"] == 12345 and state["stray_writes"] == 1


def test_mbpoll_reads_and_writes_the_serial_face(tmp_path: Path, peer: Callable[[str], Path]) -> None:
    port = tmp_path / "ttyPLC"
    with running(tmp_path, "--rtu", str(port)) as (_, path):
        words = [str(peer("mbpoll")), "-m", "rtu", "-b", "19200", "-P", "none", "-a", "1", "-0", "-1"]
        read = subprocess.run(
            [*words, "-t", "1", "-r", "1", str(port)], capture_output=True, text=True, timeout=10, check=True
        ).stdout
        assert re.search(r"^\[1\]:\s*1", read, re.MULTILINE), "Line.Running"
        subprocess.run([*words, "-t", "4", "-r", "2", str(port), "4711"], capture_output=True, timeout=10, check=True)
        assert control.read_state(path)["heartbeat"] == 4711
    assert not port.is_symlink()


def test_a_face_that_is_not_there_and_a_fault_that_a_camera_can_not_have_are_named(tmp_path: Path) -> None:
    with running(tmp_path) as (_, path):
        with pytest.raises(StartError, match="'s7' is not one of camera, modbus"):
            control.send_fault(path, "cut", 1, "s7")
        with pytest.raises(StartError, match="'camera' is not one of modbus"):
            control.send_fault(path, "freeze", 1, "camera")


def test_a_file_in_the_place_of_the_serial_port_is_left_alone(tmp_path: Path) -> None:
    taken = tmp_path / "notes.txt"
    taken.write_text("mine")
    words = ["-m", "edge.sim.plant", "--modbus-port", "0", "--camera-port", "0", "--rtu", str(taken)]
    said = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=20)
    assert said.returncode == 1 and "is no link" in said.stderr and taken.read_text() == "mine"
