"""Board profiles: each is valid, has an effect, and gives way to what a device says of itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge
from edge.commands import printed
from edge.commands.hardware import board_verdicts
from edge.commands.verdict import Level
from edge.config.boards import Board, board_names, board_of, load_board
from edge.config.files import read_settings
from edge.line.plan import process_commands
from edge.supervision.spawn import pin
from schemas.errors import SettingsError

ROOT = Path(edge.__file__).parent.parent
DEVICE = '[device]\nsite = "s"\nline = "l"\nnode = "n"\nhardware = "{}"\n'
MINIMAL = {
    "title": "t", "sources": ["s"], "tried": "no", "cores": 4, "cameras": 1, "governor": "performance",
    "install": [], "affinity": {"broker": [2], "runtime@safety": [3], "runtime": [1], "*": [0]}, "isolated": [3],
}  # fmt: skip


def device(home, hardware, more=""):
    (home / "device.toml").write_text(DEVICE.format(hardware) + more)
    return home


@pytest.mark.parametrize("name", board_names())
def test_every_profile_gives_settings_that_a_device_can_run_with(name, tmp_path):
    board, settings = load_board(name), read_settings(device(tmp_path, name), with_contents=True)
    for section, values in board.settings.items():
        held = getattr(settings, section).model_dump()
        assert all(held[key] == value for key, value in values.items())
    assert {"runtime@safety", "runtime", "broker", "*"} <= board.affinity.keys()
    assert set(board.isolated) == set(board.cpus("runtime", "safety"))  # nothing else may run there
    assert not set(board.isolated) & {core for key in ("broker", "runtime", "*") for core in board.affinity[key]}
    guide = (ROOT / "docs" / "explanation" / "hardware-guide.md").read_text()
    assert name in guide
    assert all(source in guide for source in board.sources)


def test_a_device_has_the_last_word(tmp_path):
    home = device(tmp_path, "raspberry-pi-5", "[historian]\nquota_mb = 64\n")
    assert read_settings(home).historian.quota_mb == 64
    assert read_settings(home).runtime.engine == load_board("raspberry-pi-5").settings["runtime"]["engine"]
    assert read_settings(device(tmp_path, "raspberry-pi-5")).historian.quota_mb == 1024


def test_hardware_without_a_profile_changes_nothing(tmp_path):
    assert board_of("generic") is None
    assert read_settings(device(tmp_path, "generic")).runtime == read_settings(device(tmp_path, "my-box")).runtime
    with pytest.raises(SettingsError, match=r"no board 'my-box'; there are .*raspberry-pi-5"):
        load_board("my-box")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"affinity": {"broker": [4]}}, "core 4 is named, but there are 4"),
        ({"settings": {"uplink": {"host": "x"}}}, "settings.uplink: a board says nothing of that"),
        ({"sources": []}, "sources"),
    ],
)
def test_a_profile_that_can_t_be_is_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Board.model_validate(MINIMAL | wrong)


def test_cores_become_affinities_of_processes_and_units(tmp_path):
    home = device(tmp_path, "industrial-pc")
    board, settings = load_board("industrial-pc"), read_settings(home)
    assert {command.name: command.cpus for command in process_commands(home, settings)}["opcua"] == board.cpus("opcua")
    found = printed.units(home)
    assert "CPUAffinity=0 1\n" in found["plantedge@opcua.service.d/10-table.conf"]
    assert "CPUAffinity=2\n" in found["plantedge-broker.service.d/10-board.conf"]
    assert "echo performance" in found["plantedge-governor.service"]
    other = printed.units(board="jetson-orin")
    assert "CPUAffinity=5\n" in other["plantedge@runtime@safety.service.d/10-table.conf"]
    assert not any("CPUAffinity" in text for text in printed.units().values())


@pytest.mark.parametrize(
    ("runtime", "seen"),
    [
        ('engine = "cpu"', False),
        ('engine = "openvino"', False),
        ('engine = "openvino"\noptions.openvino.device = "GPU"', True),
        ('engine = "tensorrt"', True),
        ('engine = "auto"', True),
    ],
)
def test_the_runtime_sees_accelerators_where_its_engine_may_use_one(runtime, seen, tmp_path):
    pipeline = '[pipelines.p]\nmodel = "m"\ndeadline_ms = 10\ninput = { frames = "c" }\n[cameras.c]\n'
    home = device(tmp_path, "generic", f'[runtime]\n{runtime}\n{pipeline}driver = "folder"\naddress = "x"\n')
    assert ("PrivateDevices=no" in printed.units(home)["plantedge@runtime@bulk.service.d/10-table.conf"]) is seen


def test_systemd_understands_the_units_of_a_board(tmp_path, peer):
    for path in (ROOT / "deploy" / "systemd").glob("plantedge*.*"):
        if path.is_file():
            text = path.read_text().replace("/opt/plantedge/bin/plantedge", "/bin/true")
            (tmp_path / path.name).write_text(text.replace("/usr/sbin/mosquitto", "/bin/true"))
    printed.write_units(tmp_path, printed.units(board="raspberry-pi-5"))
    units = ["plantedge-governor.service", "plantedge@runtime@safety.service", "plantedge-broker.service"]
    argv = [str(peer("systemd-analyze")), "verify", "--man=no", "--recursive-errors=no", *units]
    answer = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert "plantedge" not in answer.stderr
    assert answer.returncode == 0, answer.stderr


def test_a_process_is_pinned_to_cores_that_exist():
    core = min(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            assert pin(process.pid, (core,))
            assert os.sched_getaffinity(process.pid) == {core}
            assert not pin(process.pid, (1023,))
            assert os.sched_getaffinity(process.pid) == {core}
        finally:
            process.communicate(b"\n", timeout=10)


def test_a_machine_that_is_not_as_its_profile_says_is_told(tmp_path):
    board = Board.model_validate(MINIMAL | {"cores": 1, "affinity": {}, "isolated": []})
    assert [verdict.level for verdict in board_verdicts("box", board, 1, tmp_path)] == [Level.OK]
    (tmp_path / "cpu0" / "cpufreq").mkdir(parents=True)
    (tmp_path / "cpu0" / "cpufreq" / "scaling_governor").write_text("powersave\n")
    (tmp_path / "isolated").write_text("2,4-5\n")
    wanting = board.model_copy(update={"cores": 4096, "isolated": (2, 3, 5)})
    told = {verdict.about: verdict.text for verdict in board_verdicts("box", wanting, 2, tmp_path)}
    assert told.keys() == {"board", "governor", "isolation"}
    assert told["governor"] == "powersave, not performance"
    assert told["isolation"].startswith("core 3 is not isolated")
    assert told["board"] == "2 cameras are configured, the ports of box take 1"
