"""`plantedge plc watch`: changes as they come, a link that is lost, the end by hand, and what is summed up."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.commands.plc.watch import Course
from schemas.messages import Quality, Sample
from tests.conftest import ROOT
from tests.edge.plc_commands.conftest import DEMO, Plc, plantedge
from tests.peers.modbus_peer import modbus_peer


def test_a_course_knows_how_far_and_how_fast() -> None:
    course = Course()
    changed = [course.take(Sample(value=value), at) for at, value in ((0.0, 5.0), (1.0, 5.0), (2.0, 9.0), (4.0, 1.0))]
    assert changed == [False, False, True, True]
    assert (course.low, course.high, course.changes, course.good) == (1.0, 9.0, 2, 4)
    assert (course.mean_rate, course.fastest) == (-1.0, 4.0)
    assert not course.take(Sample(quality=Quality.BAD, reason="gone"), 5.0)
    assert course.good == 4 and course.value == 1.0


def test_texts_and_bits_have_changes_and_no_rates() -> None:
    course = Course()
    assert [course.take(Sample(value=value), at) for at, value in enumerate((False, True, True))] == [
        False,
        True,
        False,
    ]
    assert (course.low, course.mean_rate, course.changes) == (None, None, 1)


@pytest.mark.slow
def test_changes_are_lines_with_their_time(plc: Plc, faces: dict[str, str]) -> None:
    words = (
        "--list",
        DEMO / "tags/plant.csv",
        "Plc.Heartbeat",
        "Line.SpeedSetpoint",
        "--period",
        "0.1",
        "--count",
        "8",
    )
    ended = plc("watch", faces["modbus"], *words)
    lines, summary = ended.out.split("\n\n")
    told = [line.split() for line in lines.splitlines()]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", line[0]) for line in told)
    assert [line[1:] for line in told if line[1] == "Line.SpeedSetpoint"] == [["Line.SpeedSetpoint", "600", "1/min"]]
    assert len([line for line in told if line[1] == "Plc.Heartbeat"]) > 3, "it counts"
    row = next(line.split() for line in summary.splitlines() if line.startswith("Line.SpeedSetpoint"))
    assert row[1:7] == ["8", "0", "600", "600", "600", "1/min"]
    assert ended.status == 0 and "8 scans each 0.1 s" in summary


@pytest.mark.slow
def test_a_lost_link_is_bad_and_comes_back(plc: Plc, free_port: Callable[[], int]) -> None:
    with modbus_peer() as (port, child):
        threading.Timer(0.7, child.kill).start()
        ended = plc(
            "watch", f"modbus://127.0.0.1:{port}", "hr:7:uint16", "--period", "0.2", "--for", "2", "--json",
            "--timeout-ms", "200",
        )  # fmt: skip
    told = [json.loads(line) for line in ended.out.splitlines()]
    qualities = [one["tags"][0]["quality"] for one in told[:-1]]
    assert qualities[:2] == ["good", "good"] and qualities[-1] == "bad" and ended.status == 1
    assert told[-2]["tags"][0]["reason"].startswith(f"127.0.0.1:{port}")
    summary = told[-1]["summary"]
    assert summary["link_lost"] == qualities.count("bad") and summary["scans"] == qualities.count("good")


def test_a_plc_that_is_not_there_at_first_ends_at_once(plc: Plc, free_port: Callable[[], int]) -> None:
    ended = plc("watch", f"modbus://127.0.0.1:{free_port()}", "hr:0:uint16", "--for", "30")
    assert ended.status == 1 and "can't be reached" in ended.err


@pytest.mark.slow
def test_on_a_terminal_what_changed_stands_out_and_ctrl_c_sums_up(faces: dict[str, str], tmp_path: Path) -> None:
    words = plantedge(
        "plc", "watch", faces["modbus"], "--list", DEMO / "tags/plant.csv", "Plc.Heartbeat", "Line.Speed",
        "--period", "0.1",
    )  # fmt: skip
    ours, theirs = pty.openpty()
    env = {**os.environ, "PLANTEDGE_DIR": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    argv = [str(word) for word in words]
    with subprocess.Popen(
        argv, env=env, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a run in the background ignores it
    ) as child:  # fmt: skip
        os.close(theirs)
        try:
            seen, end = b"", time.monotonic() + 40
            while time.monotonic() < end and seen.count(b"Ctrl-C ends") < 12:
                if select.select([ours], [], [], 1.0)[0]:
                    seen += os.read(ours, 65536)
            child.send_signal(signal.SIGINT)
            while time.monotonic() < end and b"median" not in seen:
                if select.select([ours], [], [], 1.0)[0]:
                    seen += os.read(ours, 65536)
            status = child.wait(10)
        finally:
            child.kill()
    os.close(ours)
    text = seen.decode()
    assert re.search(r"\x1b\[[0-9;]*43m\d+\x1b\[0m", text), "a counter that changed is on yellow"
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text[text.rindex("changes") :])
    assert re.search(r"Plc\.Heartbeat +\d+ +\d+ ", last) and "0 times; a scan took" in last
    assert status == 0 and "Traceback" not in text
