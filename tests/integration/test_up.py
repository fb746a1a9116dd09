"""`plantedge up` end to end: the whole simulated line, from the camera to the fleet service, and its end."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from edge.supervision.run_state import read_state

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(150)]
READY_S = 90.0


def started(work: Path, *arguments: str, **streams: int) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-P", "-m", "edge.cli", "up", *arguments]
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI")}
    env |= {"PLANTEDGE_DIR": str(work), "TERM": "xterm"}
    return subprocess.Popen(argv, env=env, text=True, **streams)  # type: ignore[call-overload,no-any-return]


def asked(work: Path, *arguments: str, timeout_s: float = 40) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-P", "-m", "edge.cli", *arguments]
    env = {**os.environ, "PLANTEDGE_DIR": str(work)}
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)


def marked(work: Path) -> list[str]:
    """Every process that was started below a work folder and still runs, grandchildren too."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PLANTEDGE_RUN") == str(work) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()[:6]))
    return found


def nothing_left(work: Path, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while left := marked(work):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def until_ready(work: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + READY_S
    while not ((state := read_state(work)) and state.ready_s is not None):
        assert process.poll() is None, "it ended before it was ready"
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """A ready demo line without its fleet; the last test that uses it stops it."""
    work = tmp_path_factory.mktemp("line")
    process = started(work, "--plain", "--no-fleet", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_ready(work, process)
        yield work, process
    finally:
        process.kill()
        process.wait()
        nothing_left(work)


@pytest.fixture
def small(tmp_path: Path, free_port: Callable[[], int]) -> Iterator["subprocess.Popen[str]"]:
    """A ready device of one's own that has neither PLC nor camera."""
    home = tmp_path / "device"
    home.mkdir()
    (home / "device.toml").write_text(
        f'[device]\nsite = "s"\nline = "l"\nnode = "n"\n[opcua]\nendpoint = "opc.tcp://127.0.0.1:{free_port()}"\n'
    )
    process = started(tmp_path, "--home", str(home), "--plain", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_ready(home / ".plantedge", process)
        yield process
    finally:
        process.kill()
        process.wait()
        nothing_left(home / ".plantedge")


def test_the_whole_line_works_and_reports_what_was_measured(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    process = started(tmp_path, "--for", "15", "--plain", "--report", str(report), stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=140)
    assert process.returncode == 0, output
    nothing_left(tmp_path)
    lines = output.splitlines()
    assert any(re.fullmatch(r" +\d+\.\d s  ready", line) for line in lines)
    found = json.loads(report.read_bytes())
    assert found["results"] >= 15 * 10
    assert found["lost"] == 0
    assert found["outputs"] > 0
    assert found["correct_rejects"] > 0
    assert found["p50_ms"] < found["p99_ms"]
    assert 0 < found["upstream_bytes"] < 50_000
    assert found["opcua_url"].startswith("opc.tcp://127.0.0.1:")
    assert found["mqtt_url"].startswith("mqtt://")
    assert "/login?once=" in found["dashboard_url"]
    children = {"broker", "plant", "fleet", "agent", "connect-plant", "camera-cam1", "camera-gear1", "camera-tray1",
                "runtime-safety", "runtime-bulk", "opcua", "historian", "mirror", "monitor", "hmi",
                "uplink"}  # fmt: skip
    assert set(found["rss_mb"]) == children | {"up"}
    assert found["restarts"] == dict.fromkeys(children, 0)
    assert {"bus", "opcua", "historian", "plant", "fleet", "monitor", "processes", "ready"} <= set(found["stages"])
    assert json.loads((tmp_path / "run" / "timeline.json").read_bytes())["stages"] == found["stages"]


def test_a_person_can_look(line: tuple[Path, "subprocess.Popen[str]"]) -> None:
    work, _ = line
    status = asked(work, "status")
    assert status.returncode == 0, status.stdout
    assert re.search(r"^runtime-safety +ready", status.stdout, re.MULTILINE)
    watched = asked(work, "watch", "inference/cap_inspection", "--count", "3")
    lines = [line.split(" ", 1) for line in watched.stdout.splitlines()]
    assert [topic for topic, _ in lines] == ["inference/cap_inspection"] * 3
    assert {json.loads(text)["schema"] for _, text in lines} == {"result/1"}
    doctor = asked(work, "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "all 14 are ready" in doctor.stdout
    assert "connect-plant" in asked(work, "logs", "connect-plant", "-n", "50").stdout
    assert json.loads(asked(work, "sim", "state").stdout)["parts"] > 0


def test_a_second_one_is_refused(line: tuple[Path, "subprocess.Popen[str]"]) -> None:
    work, process = line
    second = asked(work, "up", "--plain")
    assert second.returncode == 1
    assert f"already running (process {process.pid}); `plantedge down` stops it" in second.stderr
    assert asked(work, "status").returncode == 0


def test_settings_are_changed_through_the_agent(line: tuple[Path, "subprocess.Popen[str]"]) -> None:
    work, _ = line
    done = asked(work, "config", "set", "pipelines", "cap_inspection.decision.threshold=0.6")
    assert done.returncode == 0, done.stderr
    assert '"threshold": 0.6' in asked(work, "config", "get", "pipelines").stdout
    refused = asked(work, "config", "set", "pipelines", "cap_inspection.decision.threshold='high'")
    assert refused.returncode == 1
    assert "refused" in refused.stderr


def test_killed_processes_come_back_and_the_line_goes_on(line: tuple[Path, "subprocess.Popen[str]"]) -> None:
    work, _ = line
    state = read_state(work)
    assert state is not None
    pids = {child.name: child.pid for child in state.children}
    os.kill(pids["runtime-safety"], signal.SIGKILL)
    os.kill(pids["broker"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        state = read_state(work)
        assert state is not None
        now = {child.name: child for child in state.children}
        fresh = all(now[name].pid not in (0, pids[name]) for name in ("broker", "runtime-safety"))
        if fresh and all(child.phase == "ready" for child in state.children):
            break
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    assert now["broker"].restarts == 1
    watched = asked(work, "watch", "inference/cap_inspection", "--count", "5", "--for", "20")
    assert len(watched.stdout.splitlines()) == 5


def test_ctrl_c_stops_everything_within_five_seconds(line: tuple[Path, "subprocess.Popen[str]"]) -> None:
    work, process = line
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert time.monotonic() - began < 5.0
    nothing_left(work, 0.5)


def test_down_stops_a_device_of_ones_own(tmp_path: Path, small: "subprocess.Popen[str]") -> None:
    began = time.monotonic()
    assert asked(tmp_path, "down", "--home", str(tmp_path / "device")).returncode == 0
    assert time.monotonic() - began < 8.0
    assert small.wait(5) == 0
    nothing_left(tmp_path / "device" / ".plantedge", 0.5)


def test_a_killed_up_leaves_no_process(tmp_path: Path, small: "subprocess.Popen[str]") -> None:
    work = tmp_path / "device" / ".plantedge"
    assert len(marked(work)) >= 5
    small.kill()
    nothing_left(work)


def test_the_live_table_takes_keys_and_gives_the_terminal_back(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = started(tmp_path, "--no-fleet", stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        seen = b""
        deadline = time.monotonic() + READY_S
        while b"settings of" not in seen:
            assert time.monotonic() < deadline, seen.decode()
            seen += _read(ours)
        os.write(ours, b"zzz")  # in a hurry: before there is a table
        while b"cap_inspection" not in seen:
            assert time.monotonic() < deadline, seen.decode()
            seen += _read(ours)
        assert b"zzz" not in seen
        os.write(ours, b"f")
        while b"cable is cut" not in seen:
            assert time.monotonic() < deadline, seen.decode()
            seen += _read(ours)
        os.write(ours, b"q")
        while process.poll() is None:
            assert time.monotonic() < deadline
            _read(ours)
        assert process.returncode == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
        nothing_left(tmp_path)


def _read(descriptor: int) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], 0.2)
    return os.read(descriptor, 65_536) if ready else b""
