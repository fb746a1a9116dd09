"""The command line as a person meets it: real processes, and what it says when something is wrong."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest

import edge
from bus.broker_config import PRODUCTION, device_config
from edge.cli import make_parser
from edge.commands import configure, installation, printed
from edge.commands.doctor import Level, examine
from edge.commands.watch import kept_from_us, readable
from edge.host.ports import PortChoice
from edge.processes import PROCESSES
from edge.settings import load_settings
from schemas.errors import StartError

ROOT = Path(edge.__file__).parent.parent
DEMO = ROOT / "edge" / "sim" / "demo"


def plantedge(*arguments: str | Path, work: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-P", "-m", "edge.cli", *map(str, arguments)]
    full = {**os.environ, "PLANTEDGE_DIR": str(work), "NO_COLOR": "1", **env}
    return subprocess.run(argv, env=full, capture_output=True, text=True, timeout=50, check=False)


@pytest.fixture
def device(tmp_path: Path, free_port: Callable[[], int]) -> Path:
    """A device of one's own: the demo's folder, on ports of this test."""
    home = tmp_path / "device"
    shutil.copytree(DEMO, home)
    text = (home / "device.toml").read_text().replace("opc.tcp://127.0.0.1:4840", f"opc.tcp://127.0.0.1:{free_port()}")
    (home / "device.toml").write_text(text + f"\n[broker]\nport = {free_port()}\n")
    return home


def test_help_is_quick_and_loads_nothing_large(tmp_path: Path) -> None:
    argv = [sys.executable, "-X", "importtime", "-P", "-m", "edge.cli", "--help"]
    before = os.times()
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    spent_s = sum(os.times()[2:4]) - sum(before[2:4])
    assert "doctor" in answer.stdout
    for large in ("pydantic", "msgspec", "numpy", "asyncio", "rich"):
        assert f"| {large}\n" not in answer.stderr.replace("|   ", "| ")
    assert spent_s < 0.15


@pytest.mark.parametrize(
    "words",
    ["opcua list", "opcua user ann", "history query", "model list", "drift status", "identity show", "plc check a.csv"],
)
def test_the_device_may_be_named_before_and_behind_the_action(words: str) -> None:
    command, action, *rest = words.split()
    home = ["--home", "/some/where"]
    for line in ([command, *home, action, *rest], [command, action, *rest, *home]):
        assert make_parser().parse_args(line).home == Path("/some/where")
    assert make_parser().parse_args([command, action, *rest]).home is None


def test_a_user_of_the_demo_is_refused_with_where_users_are_kept(tmp_path: Path, device: Path) -> None:
    shutil.copytree(device, tmp_path / "demo" / "device")
    answer = plantedge("opcua", "user", "ann", work=tmp_path)
    assert answer.returncode == 1
    assert "copy edge/sim/demo, and name the copy with --home" in answer.stderr
    answer = plantedge("opcua", "user", "ann", "--home", device, work=tmp_path)
    assert 'write users = "users.json" in its [opcua] table' in answer.stderr


def test_a_plant_of_ones_own_takes_the_plants_options(tmp_path: Path) -> None:
    answer = plantedge("sim", "plant", "--modbus-port", "many", work=tmp_path)
    assert answer.returncode == 2
    assert "--modbus-port: invalid int value: 'many'" in answer.stderr
    assert "--parts-per-s" in plantedge("sim", "plant", "--help", work=tmp_path).stdout


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Path]:
    """The work folder of a plant that a person has started by hand, on ports of this test."""
    argv = [sys.executable, "-P", "-m", "edge.cli", "sim", "plant", "--modbus-port", "0", "--camera-port", "0"]
    env = {**os.environ, "PLANTEDGE_DIR": str(tmp_path / "work")}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None and child.stdout.readline()
            yield tmp_path / "work"
        finally:
            child.terminate()


@pytest.mark.slow
def test_a_plant_of_ones_own_is_asked_without_a_path(plant: Path) -> None:
    state = json.loads(plantedge("sim", "state", work=plant).stdout)
    assert state["armed"] is False
    port = str(state["ports"]["modbus"])  # taken: this one ends at once, and must leave the first one's socket alone
    again = plantedge("sim", "plant", "--modbus-port", port, "--camera-port", "0", work=plant)
    assert again.returncode == 1
    assert "to ask this one too, give it a --control" in again.stderr
    assert json.loads(plantedge("sim", "rearm", work=plant).stdout)["rearms"] == state["rearms"] + 1


def test_a_plant_says_which_of_its_usual_ports_is_taken(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        answer = plantedge("sim", "plant", "--modbus-port", str(port), "--camera-port", "0", work=tmp_path)
    assert answer.returncode == 1
    assert f"its ports are {port} and 0: does another plant run there?" in answer.stderr
    usage = plantedge("sim", "plant", "--help", work=tmp_path, PLANTEDGE_COMMAND="./run").stdout
    assert usage.startswith("usage: ./run sim plant ")
    assert "default: 5020, as in the example device" in " ".join(usage.split())


def test_an_unknown_command_is_refused_with_those_that_are(tmp_path: Path) -> None:
    answer = plantedge("upp", work=tmp_path)
    assert answer.returncode == 2
    assert "doctor" in answer.stderr


def test_commands_say_that_nothing_runs(tmp_path: Path) -> None:
    status = plantedge("status", work=tmp_path)
    assert (status.returncode, status.stdout.startswith("nothing runs in")) == (3, True)
    assert plantedge("status", "--json", work=tmp_path).stdout == "{}\n"
    down = plantedge("down", work=tmp_path)
    assert (down.returncode, "nothing runs" in down.stdout) == (0, True)
    plant = plantedge("sim", "state", work=tmp_path)
    assert plant.returncode == 1
    assert "plantedge sim plant" in plant.stderr
    logs = plantedge("logs", "runtime", work=tmp_path)
    assert (logs.returncode, "no log of runtime" in logs.stderr) == (1, True)


def test_up_tells_every_problem_of_the_settings_at_once(device: Path, tmp_path: Path) -> None:
    text = (device / "device.toml").read_text().replace('driver = "modbus"', 'driver = "modbsu"')
    (device / "device.toml").write_text(text.replace("lease_ms", "leese_ms"))
    (device / "pipelines" / "line_anomaly.toml").write_text("lane = bulk\n")
    answer = plantedge("up", "--home", device, "--plain", work=tmp_path)
    assert answer.returncode == 78
    assert "did you mean modbus?" in answer.stderr
    assert "unknown key; did you mean lease_ms?" in answer.stderr
    assert "pipelines/line_anomaly.toml:1: not TOML" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_up_tells_what_the_tag_list_and_the_models_lack_before_it_starts_anything(device: Path, tmp_path: Path) -> None:
    shutil.rmtree(device / "models" / "line_anomaly")
    tags, window = device / "tags" / "plant.csv", device / "pipelines" / "line_anomaly.toml"
    tags.write_text(tags.read_text().replace("Line.Speed,ir:0", "Line.Speed,xx:0"))
    window.write_text(window.read_text().replace("Line.Speed", "Line.Sped"))
    answer = plantedge("up", "--home", device, "--plain", work=tmp_path)
    assert answer.returncode == 78
    assert "tags/plant.csv:3: " in answer.stderr
    assert "did you mean Line.Speed?" in answer.stderr
    assert not (device / ".plantedge" / "log" / "broker.log").exists()


def test_a_misspelt_device_is_refused_and_nothing_is_made(device: Path, tmp_path: Path) -> None:
    for command in ("up", "status", "clean"):
        answer = plantedge(command, "--home", tmp_path / "devise", work=tmp_path)
        assert answer.returncode == 1
        assert f"did you mean {device}?" in answer.stderr
    assert not (tmp_path / "devise").exists()


def test_up_tells_who_has_a_port_that_the_device_asks_for(device: Path, tmp_path: Path) -> None:
    port = load_settings(device).broker.port
    with socket.create_server(("127.0.0.1", port)):
        answer = plantedge("up", "--home", device, "--plain", work=tmp_path)
    assert answer.returncode == 1
    assert f"port {port} of the broker (device.toml, broker.port) is taken by " in answer.stderr
    assert f"(process {os.getpid()})" in answer.stderr


def test_up_shows_the_last_words_of_a_broker_that_dies(device: Path, tmp_path: Path) -> None:
    program = tmp_path / "mosquitto"
    program.write_text(
        '#!/bin/sh\n[ "$1" = -h ] && { echo "mosquitto version 2.0.18"; exit 3; }\necho "no luck"; exit 5\n'
    )
    program.chmod(0o755)
    answer = plantedge("up", "--home", device, "--plain", work=tmp_path, PLANTEDGE_BROKER=str(program))
    assert answer.returncode == 1
    assert "broker does not come up: ended with exit status 5" in answer.stderr
    assert "| no luck" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_doctor_tells_a_corrupt_model_and_a_taken_port(device: Path) -> None:
    (device / "models" / "line_anomaly" / "1" / "model.onnx").write_bytes(b"not the file")
    port = load_settings(device).broker.port
    with socket.create_server(("127.0.0.1", port)):
        verdicts = list(examine(device))
    failed = [str(verdict) for verdict in verdicts if verdict.level is Level.FAIL]
    assert len(failed) == 1
    assert "corrupt or of another version" in failed[0]
    (port_verdict,) = [verdict for verdict in verdicts if f"{port} of broker" in verdict.text]
    assert port_verdict.level is Level.WARN
    assert {"python", "packages", "broker", "real time", "clock", "disk", "settings"} <= {one.about for one in verdicts}


def test_doctor_fails_on_settings_that_cannot_be_used(device: Path, tmp_path: Path) -> None:
    (device / "device.toml").write_text("[device]\nsite = 1\n")
    answer = plantedge("doctor", "--home", device, work=tmp_path)
    assert answer.returncode == 1
    assert "device.toml:2: device.site: 1 will not do" in answer.stdout


def test_the_broker_for_production_is_printed(device: Path, tmp_path: Path) -> None:
    assert plantedge("broker", work=tmp_path).stdout == device_config(PRODUCTION)
    acl = plantedge("broker", "--acl", "--home", device, work=tmp_path).stdout
    assert "user connect-plant\n" in acl
    assert "topic write plant/v1/demo/line1/edge1/decision/+" in acl


def test_the_committed_drop_ins_are_those_of_the_table() -> None:
    folder = ROOT / "deploy" / "systemd"
    committed = {str(path.relative_to(folder)): path.read_text() for path in folder.glob("*.service.d/*.conf")}
    assert committed == printed.units()


def test_every_process_of_a_device_has_its_drop_in(device: Path) -> None:
    found = printed.units(device)
    assert "CPUSchedulingPriority=40" in found["plantedge@runtime@safety.service.d/10-table.conf"]
    assert "CPUScheduling" not in found["plantedge@runtime@bulk.service.d/10-table.conf"]
    assert "Nice=10\n" in found["plantedge@opcua.service.d/10-table.conf"]
    assert "Nice" not in found["plantedge@historian.service.d/10-table.conf"]
    assert "WatchdogSec=2\n" in found["plantedge@connect@plant.service.d/10-table.conf"]
    assert len(found) == len(PROCESSES) + 2  # two lanes and three cameras, and no uplink without a fleet


def test_systemd_understands_the_units(tmp_path: Path, peer: Callable[[str], Path], device: Path) -> None:
    for path in (ROOT / "deploy" / "systemd").glob("plantedge*.*"):
        if path.is_file():
            text = path.read_text().replace("/opt/plantedge/bin/plantedge", "/bin/true")
            (tmp_path / path.name).write_text(text.replace("/usr/sbin/mosquitto", "/bin/true"))
    printed.write_units(tmp_path, printed.units(device))
    units = ["plantedge@runtime@safety.service", "plantedge@agent.service", "plantedge-broker.service"]
    argv = [str(peer("systemd-analyze")), "verify", "--man=no", "--recursive-errors=no", *units]
    answer = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert "plantedge" not in answer.stderr
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("package", ["schemas", "bus"])
def test_a_package_of_another_distribution_is_told(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    answer = plantedge("status", work=tmp_path, PYTHONPATH=str(tmp_path))
    assert answer.returncode == 1
    assert f"package {package} comes from {tmp_path / package}" in answer.stderr
    assert "environment of its own" in answer.stderr


def test_a_package_that_was_overwritten_is_told(tmp_path: Path) -> None:
    """An installed wheel whose `schemas` another distribution has written over: only RECORD can tell."""
    site = tmp_path / "site"
    for package in installation.PACKAGES:
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").write_text(f'"""{package} of PlantEdge"""\n')
    (site / "edge" / "commands").mkdir()
    (site / "edge" / "commands" / "__init__.py").touch()
    shutil.copy(installation.__file__, site / "edge" / "commands" / "installation.py")
    info = site / "plantedge-9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plantedge\nVersion: 9\n")
    rows = [
        f"{name}/__init__.py,{installation._digest(site / name / '__init__.py')},1" for name in installation.PACKAGES
    ]
    (info / "RECORD").write_text("\n".join(rows) + "\n")
    code = "from edge.commands.installation import installation_problems; print(installation_problems())"
    argv = [sys.executable, "-S", "-P", "-c", code]

    def told() -> str:
        env = {"PYTHONPATH": str(site)}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=True).stdout

    assert told() == "[]\n"
    (site / "schemas" / "__init__.py").write_text("other = True\n")
    assert "another distribution has overwritten it" in told()


def test_values_on_the_command_line_are_toml_or_text() -> None:
    pairs = ["cap.decision.threshold=0.7", "cap.decision.reject=['a', 'b']", "cap.event=true", "note=some words"]
    decision = {"threshold": 0.7, "reject": ["a", "b"]}
    assert configure.nested(pairs) == {"cap": {"decision": decision, "event": True}, "note": "some words"}
    for wrong in (["threshold"], ["a=1", "a.b=2"]):
        with pytest.raises(StartError):
            configure.nested(wrong)


def test_any_message_is_readable_without_its_schema() -> None:
    name = "plant/v1/s/l/n/"
    packed = msgpack.packb({"schema": "frame/1", "data": b"\0" * 100, "tags": {"a": [1, None]}})
    shown = json.loads(readable(name + "frame/cam1", packed))
    assert shown == {"schema": "frame/1", "data": "<100 bytes>", "tags": {"a": [1, None]}}
    assert json.loads(readable(name + "status/agent", msgspec.json.encode({"state": "idle"}))) == {"state": "idle"}
    assert readable(name + "raw/plc", b"\xc1 no message") == "<12 bytes: b'\\xc1 no message'>"


def test_two_starts_do_not_choose_the_same_port(free_port: Callable[[], int]) -> None:
    port = free_port()
    first, second = PortChoice(), PortChoice()
    try:
        assert first.choose(port) == port
        assert second.choose(port) != port
        first.release()
        with socket.create_server(("127.0.0.1", port)):
            assert first.choose(port) != port
        second.release()
        assert second.choose(port) == port
    finally:
        first.release()
        second.release()


@pytest.mark.parametrize("wanted", ["decision/#", "frame/#", "frame/cam1", "+/cam1/set/x", "desired/+"])
def test_a_topic_that_a_person_may_not_read_is_refused_by_the_table(wanted: str) -> None:
    with pytest.raises(StartError, match=r"goes to [\w, ]+ alone"):
        kept_from_us(wanted)


def test_a_topic_that_does_not_exist_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(StartError, match=r"did you mean inference\?"):
        kept_from_us("inferense/#")
    with pytest.raises(StartError, match=r"'status/agent/x'; there is status/\{process\}"):
        kept_from_us("status/agent/x")


@pytest.mark.parametrize("wanted", ["#", "+/+", "inference/#", "status/agent", "mes/tag/+/+", "config/pipelines/state"])
def test_what_a_person_may_read_is_watched(wanted: str) -> None:
    said = kept_from_us(wanted)
    assert ("decision/{pipeline} goes to connect alone" in said) == (wanted == "+/+")
