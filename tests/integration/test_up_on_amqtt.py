"""The demo line where no mosquitto can be had: on amqtt, the last rung of the broker ladder."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bus.amqtt import find_amqtt
from bus.broker_ladder import VARIABLE
from bus.broker_program import RungFailed
from edge.line.plan import BROKER
from edge.supervision.run_state import read_state
from tests.conftest import PEERS, absent
from tests.integration.test_up import asked, nothing_left, started, until_ready

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder whose ladder has the last rung alone."""
    try:
        program = find_amqtt(PEERS.parent, True, print)
    except RungFailed as failure:
        absent("amqtt", f"it is installed from requirements/amqtt.txt ({failure})")
    (tmp_path / "amqtt").symlink_to(program.path.parent.parent)
    monkeypatch.setenv(VARIABLE, "amqtt")
    return tmp_path


def test_the_demo_becomes_ready_and_loses_nothing(work: Path) -> None:
    report = work / "report.json"
    process = started(work, "--for", "15", "--plain", "--report", str(report), stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=140)
    assert process.returncode == 0, output
    nothing_left(work)
    for said in ("broker: amqtt 0.", "broker of last resort", "install mosquitto 2", "left out: the fleet service"):
        assert said in output
    found = json.loads(report.read_bytes())
    assert found["results"] >= 15 * 10
    assert found["lost"] == 0
    assert found["correct_rejects"] > 0
    assert not {"fleet", "uplink"} & set(found["restarts"])
    assert set(found["restarts"].values()) == {0}, (work / "log" / "up.log").read_text()


def test_a_killed_broker_comes_back_and_what_it_can_t_do_is_said(work: Path) -> None:
    process = started(work, "--plain", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_ready(work, process)
        asking = asked(work, "config", "set", "mirror", "tag_hz=2")
        assert asking.returncode == 1
        assert "need MQTT 5" in asking.stderr and "install mosquitto" in asking.stderr
        assert "warn  broker" in asked(work, "doctor").stdout

        os.kill(_pid(work), signal.SIGKILL)
        deadline = time.monotonic() + 30
        while (watched := asked(work, "watch", "output/#", "--count", "20")).returncode:
            assert time.monotonic() < deadline, watched.stderr
        assert len(watched.stdout.splitlines()) == 20
    finally:
        process.terminate()
        process.wait(30)
        nothing_left(work)


def _pid(work: Path) -> int:
    state = read_state(work)
    assert state
    return next(child.pid for child in state.children if child.name == BROKER)
