"""The simulated plant as a process: its pace, its pictures, and what its control takes."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymodbus.client import ModbusTcpClient

from edge.sim import control
from edge.sim.camera import read_shot
from edge.sim.controller import LineState
from edge.sim.gearbox import WEAR_S, Gearbox
from edge.sim.parts import PartStream
from edge.sim.tray import TrayStream
from schemas.errors import StartError

pytestmark = pytest.mark.alone

ANY_PORTS = ("--modbus-port", "0", "--camera-port", "0")


@contextlib.contextmanager
def running(folder: Path, *words: str) -> Iterator[tuple[dict[str, int], Path]]:
    path = folder / "plant.sock"
    arguments = [sys.executable, "-m", "edge.sim.plant", "--control", str(path), *ANY_PORTS, *words]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            yield json.loads(child.stdout.readline()), path
        finally:
            child.terminate()
            assert child.wait(5) == 0
    assert not path.exists()


def receiver(link: socket.socket, view: str = "") -> Callable[[int], bytes]:
    if view:
        link.sendall(f"{view}\n".encode())

    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = link.recv(size - len(data))
            assert piece, "the camera has closed the connection"
            data += piece
        return data

    return exactly


def test_the_camera_shows_each_part_of_its_stream(tmp_path: Path) -> None:
    with running(tmp_path, "--parts-per-s", "50", "--seed", "7", "--defect-rate", "0.5") as (ports, path):
        with socket.create_connection(("127.0.0.1", ports["camera_port"]), timeout=5) as link:
            receive = receiver(link, "line")
            shots = [read_shot(receive) for _ in range(20)]
        stream = PartStream(7, 0.5)
        assert [shot.part_id for shot in shots] == list(range(shots[0].part_id, shots[0].part_id + 20))
        for shot in shots:
            assert (shot.shape, shot.dtype) == ((64, 64, 3), "uint8")
            assert np.array_equal(np.frombuffer(shot.data, np.uint8).reshape(shot.shape), stream.image(shot.part_id))
            assert 0 <= shot.age_us < 200_000
        state = control.read_state(path)
        assert state["pictures_sent"] >= 20


@pytest.mark.slow
def test_a_slow_grabber_gets_the_newest_picture_and_delays_nobody(tmp_path: Path) -> None:
    with running(tmp_path, "--parts-per-s", "200") as (ports, path):
        where = ("127.0.0.1", ports["camera_port"])
        with socket.socket() as slow, socket.create_connection(where, timeout=5) as quick:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
            slow.settimeout(5)
            slow.connect(where)
            slow.sendall(b"line\n")
            receive = receiver(quick, "line")
            for _ in range(500):
                newest = read_shot(receive)
            assert control.read_state(path)["pictures_replaced"] > 0
            receive_slowly = receiver(slow)
            late = [read_shot(receive_slowly) for _ in range(60)]
            assert late[-1].part_id - late[0].part_id > 60, "it skipped what it was too slow for"
            assert newest.part_id > 500 - 5


@pytest.mark.slow
def test_two_hundred_parts_a_second_hold_with_a_grabber(tmp_path: Path) -> None:
    with running(tmp_path, "--parts-per-s", "200", "--travel-ms", "60") as (ports, path):
        with socket.create_connection(("127.0.0.1", ports["camera_port"]), timeout=5) as link:
            receive = receiver(link, "line")
            first, began = read_shot(receive), time.monotonic()
            for _ in range(799):
                last = read_shot(receive)
            took_s = time.monotonic() - began
        state: dict[str, Any] = control.read_state(path)
    assert last.part_id - first.part_id == 799, "every part has its picture"
    assert 799 / 200 * 0.9 < took_s < 799 / 200 * 1.5 + 1, "its own pace, not as fast as it can"
    assert state["stalls"] == 0


def test_control_refuses_what_it_does_not_know_and_says_what_it_knows(tmp_path: Path) -> None:
    with running(tmp_path) as (_, path):
        for request, said in [
            ({"do": "explode"}, "not one of state, passed"), ({"do": "fault", "kind": "melt"}, "cut, slow, garbage"),
            ({"do": "fault", "kind": "cut", "for_s": "x"}, "for_s"), ({"do": "disturb", "kind": "flood"}, "overheat"),
            ({"do": "passed", "after": -1}, "after"),
        ]:  # fmt: skip
            with pytest.raises(StartError, match=said):
                control.ask(path, request)
        assert control.send_fault(path, "slow", 30)["faults"] == {"modbus": "slow"}
        assert control.send_fault(path, "cut", 30, "camera")["faults"] == {"modbus": "slow", "camera": "cut"}
        assert control.send_clear(path)["faults"] == {}
        assert control.send_disturbance(path, "overheat")["parts"] is not None
    with pytest.raises(StartError, match="no simulated plant answers"):
        control.read_state(path)


@pytest.mark.slow
def test_the_plant_names_each_part_that_it_let_go_by_and_no_other(tmp_path: Path) -> None:
    with running(tmp_path, "--parts-per-s", "20", "--travel-ms", "300") as (ports, path):
        vouched: set[int] = set()
        with ModbusTcpClient("127.0.0.1", port=ports["modbus_port"]) as plc:
            plc.write_coil(1, True)  # armed
            for beat in range(1, 101):
                plc.write_register(2, beat)
                high, low = plc.read_input_registers(4, count=2).registers
                part = high << 16 | low
                plc.write_coil(0, bool(part % 2))  # only even ones pass
                plc.write_registers(0, [high, low])
                vouched |= {part} - {0} if not part % 2 else set()
                time.sleep(0.02)
        time.sleep(0.8)  # the belt runs empty, and the watchdog has tripped
        passed = [part_id for part_id, _ in control.read_passed(path)]
        assert len(passed) > 5 and set(passed) <= vouched and passed == sorted(passed)
        assert [part_id for part_id, _ in control.read_passed(path, passed[3])] == passed[4:]
        assert control.read_state(path)["passes"] == len(passed)


@pytest.mark.slow
def test_the_tray_camera_shows_the_table_whose_truth_the_plant_knows(tmp_path: Path) -> None:
    with running(tmp_path, "--seed", "7", "--defect-rate", "0.5") as (ports, path):
        with socket.create_connection(("127.0.0.1", ports["camera_port"]), timeout=10) as link:
            shot = read_shot(receiver(link, "tray"))
        state = control.read_state(path)
    trays = TrayStream(7, 0.5)
    assert shot.shape == (160, 256, 3)
    assert np.array_equal(np.frombuffer(shot.data, np.uint8).reshape(shot.shape), trays.image(shot.part_id))
    assert state["tray_good"] is trays.tray(int(str(state["glances"]))).good


@pytest.mark.slow
def test_the_gearbox_turns_with_the_line_and_wears_when_told(tmp_path: Path) -> None:
    with running(tmp_path) as (ports, path), socket.create_connection(("127.0.0.1", ports["camera_port"]), 10) as link:
        receive = receiver(link, "gear")
        sound = read_shot(receive)
        assert control.read_state(path)["gear"] == "healthy"
        assert control.send_disturbance(path, "bearing", 1.0)["gear"] == "bearing"
        assert read_shot(receive).part_id > sound.part_id
        assert 0 < float(str(control.read_state(path)["gear_wear"])) < 1
        assert control.send_clear(path)["gear"] == "healthy"
    window = np.frombuffer(sound.data, np.float32).reshape(sound.shape)
    assert (window.shape, sound.dtype) == ((4096, 2), "float32")
    assert 0.1 < window.std() < 5


def test_a_grabber_that_asks_for_what_there_is_not_is_let_go(tmp_path: Path) -> None:
    with running(tmp_path) as (ports, _), socket.create_connection(("127.0.0.1", ports["camera_port"]), 10) as link:
        link.sendall(b"attic\n")
        assert link.recv(1) == b""


def test_wear_grows_to_its_severity_and_is_gone_after_a_repair() -> None:
    now = 0.0
    gearbox = Gearbox(1, LineState(speed_ppm=600.0), lambda: now)
    assert (gearbox.condition, gearbox.wear) == ("healthy", 0.0)
    gearbox.disturb("imbalance", 0.8)
    now = WEAR_S / 2
    assert gearbox.wear == pytest.approx(0.4)
    now = 10 * WEAR_S
    assert (gearbox.condition, gearbox.wear) == ("imbalance", 0.8)
    gearbox.disturb(None)
    assert gearbox.wear == 0.0
