"""`plantedge commission` as a person starts it: against the simulated line, and guided at a device that runs."""

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.commissioning.record import Verdict
from edge.commissioning.report import read_report
from edge.line.demo import control_socket
from edge.sim import control
from edge.sim.ladder import REARM_PULSE_S
from edge.supervision.run_state import Phase, read_state
from schemas.errors import StartError
from tests.integration.test_up import nothing_left

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(400)]
RUN_S = 300.0
COMMISSION = [sys.executable, "-P", "-m", "edge.cli", "commission"]


def environment(work: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "NO_COLOR")}
    return kept | {"PLANTEDGE_DIR": str(work), "TMPDIR": str(work), "TERM": "xterm"}


def test_the_simulated_line_is_measured_each_fault_pulled_and_no_trace_left(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    argv = [
        *COMMISSION,
        "--simulated",
        "--for",
        "6",
        "--steps",
        "cut,runtime-killed",
        "--report",
        str(folder),
        "--by",
        "<me>",
    ]
    done = subprocess.run(
        argv, env=environment(tmp_path), capture_output=True, text=True, timeout=RUN_S, check=False, cwd=tmp_path
    )
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    found = read_report(folder)
    assert found.simulated and done.returncode in (1, 4), "what was left out is no pass"
    rows = {row.key: row for row in found.rows}
    for key in ("cut", "runtime-killed"):
        figures = {figure.name: figure for figure in rows[key].figures}
        assert figures["parts passed without a fresh OK"].value == 0, rows[key]
        assert figures["stayed latched until the reset"].value is True, rows[key]
        at_ms = figures["PLC at its fail-safe after"].value
        assert isinstance(at_ms, float) and 0 < at_ms < 3_000, rows[key]
        trace = rows[key].trace
        assert trace is not None and any(lane.name == "PLC at fail-safe" and lane.spans for lane in trace.lanes)
        assert any("failsafe new" in event for event in rows[key].events)
    assert rows["broker-hung"].verdict is Verdict.SKIPPED
    assert found.latencies[0].count > 0 and {one.group for one in found.scans} == {"fast", "process"}
    assert found.subject.models and found.subject.models[0].digest
    for program in found.programs:
        assert (folder / program.file).read_text().strip()
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3 and "&lt;me&gt;" in page and "<me>" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "nothing is loaded"
    assert list(tmp_path.glob("plantedge-commission-*")) == []


def test_a_limit_that_is_not_kept_makes_the_exit_status_one(tmp_path: Path) -> None:
    argv = [
        *COMMISSION,
        "--simulated",
        "--for",
        "1",
        "--steps",
        "cut",
        "--limit-ms",
        "1",
        "--report",
        str(tmp_path / "r"),
    ]
    done = subprocess.run(
        argv, env=environment(tmp_path), capture_output=True, text=True, timeout=RUN_S, check=False, cwd=tmp_path
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^FAIL     Cable to the PLC cut: .*\(at most 1\)", done.stdout, re.MULTILINE)
    assert read_report(tmp_path / "r").verdict is Verdict.FAIL


def test_ended_early_it_leaves_nothing_behind(tmp_path: Path) -> None:
    argv = [*COMMISSION, "--simulated", "--report", str(tmp_path / "r")]
    with subprocess.Popen(
        argv, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        work = within(60, lambda: next(tmp_path.glob("plantedge-commission-*"), None))
        within(60, lambda: (state := read_state(work)) and any(one.pid for one in state.children))
        child.terminate()
        _, said = child.communicate(timeout=60)
    assert child.returncode == 130 and "there is no report" in said
    assert not work.exists() and not (tmp_path / "r").exists()
    nothing_left(work)


def within(timeout_s: float, found: Callable[[], Any]) -> Any:
    """The first true value of `found`."""
    end = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The work folder of a running device, whose PLC's reset is pressed by us alone."""
    work = tmp_path_factory.mktemp("device")
    argv = [sys.executable, "-P", "-m", "edge.commissioning.simulated_line"]
    said = work / "up.txt"
    with (
        said.open("wb") as output,
        subprocess.Popen(argv, env=environment(work), stdout=output, stderr=output) as child,
    ):
        try:
            end = time.monotonic() + 150
            while not ((state := read_state(work)) and state.ready_s is not None):
                assert child.poll() is None and time.monotonic() < end, said.read_text()
                with contextlib.suppress(StartError):
                    if not control.read_state(control_socket(work))["armed"]:
                        control.send_rearm(control_socket(work))
                time.sleep(0.2)
            yield work
        finally:
            child.terminate()
            child.wait(30)


class Engineer(threading.Thread):
    """Reads the terminal and does what it says, as `plantedge sim` would."""

    def __init__(self, work: Path, terminal: int) -> None:
        super().__init__(daemon=True)
        self.said = ""
        self.work, self.terminal = work, terminal
        self.control = control_socket(work)
        self._done = 0

    def run(self) -> None:
        while True:
            try:
                ready, _, _ = select.select([self.terminal], [], [], 0.2)
                data = os.read(self.terminal, 4096) if ready else b""
            except OSError:  # the other end has gone
                return
            self.said += data.decode(errors="replace")
            while (end := self.said.find("\n", self._done)) >= 0:
                line, self._done = self.said[self._done : end], end + 1
                self.act(line)

    def act(self, line: str) -> None:
        if "Pull the network cable" in line:
            control.send_fault(self.control, "cut", 60.0)
        elif "Plug it in" in line:
            control.send_clear(self.control)
        elif "Press the reset" in line or "press the reset" in line:
            control.send_rearm(self.control)
        elif "Kill the process runtime-safety" in line:
            time.sleep(REARM_PULSE_S)  # a reset that is still down would free the fail-safe at once
            state = read_state(self.work)
            assert state is not None
            os.kill(
                next(one.pid for one in state.children if one.name == "runtime-safety" and one.phase is Phase.READY), 9
            )
        elif "Kill the device's broker" in line:
            os.write(self.terminal, b"s\n")
        elif "[y/n]" in line:
            os.write(self.terminal, b"y\n")


def test_an_engineer_is_led_through_the_steps_and_the_bus_shows_what_the_device_does(device: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [
        *COMMISSION,
        "--for",
        "12",
        "--steps",
        "cable,runtime,broker",
        "--step-timeout",
        "60",
        "--report",
        str(device / "report"),
    ]
    with subprocess.Popen(
        argv, env=environment(device), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as child:
        os.close(theirs)
        engineer = Engineer(device, ours)
        engineer.start()
        status = child.wait(RUN_S)
    engineer.join(5)
    os.close(ours)
    assert (device / "report" / "report.json").exists(), engineer.said
    found = read_report(device / "report")
    rows = {row.key: row for row in found.rows}
    assert rows["broker-broker"].note == "skipped by the engineer"
    assert rows["stop-plant"].note == "not asked for (--steps)"
    for key in ("cable-plant", "runtime-runtime-safety"):
        figures = {figure.name: figure for figure in rows[key].figures}
        assert figures["stayed latched until the reset"].value is True, engineer.said
        assert figures["fail-safe value and not armed, as read from the PLC"].value is True, engineer.said
        assert figures["released by the reset"].value is True, engineer.said
        assert figures["the PLC rejected every part, says the engineer"].value is True, engineer.said
        latched = next(one for one in rows[key].figures if one.name.startswith("fail-safe latched, from"))
        assert isinstance(latched.value, float) and latched.value < 3_000, engineer.said
    moved = next(
        one for one in rows["signals-cap_inspection"].figures if one.name == "heartbeat, Edge.Heartbeat: moved"
    )
    assert isinstance(moved.value, int) and moved.value > 10
    assert status in (1, 4) and found.verdict in (Verdict.FAIL, Verdict.INCOMPLETE), "a skipped step is no pass"


def test_without_a_terminal_no_step_is_done_and_none_passes(device: Path) -> None:
    argv = [*COMMISSION, "--for", "1", "--report", str(device / "report")]
    done = subprocess.run(
        argv,
        env=environment(device),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = read_report(device / "report")
    physical = [row for row in found.rows if row.note.startswith("no terminal to ask at")]
    assert {row.key for row in physical} == {
        "cable-plant", "stop-plant", "connect-connect-plant", "runtime-runtime-safety", "broker-broker",
    }  # fmt: skip
    assert {row.verdict for row in physical} == {Verdict.SKIPPED}
    assert done.returncode in (1, 4), done.stdout
