"""`plantedge plc write --direct`: asks, checks, reads back, and stays away from what a running device holds."""

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.device import WAIT_S, Device
from tests.edge.plc_commands.conftest import Plc
from tests.peers.logix_peer import logix_peer
from tests.peers.modbus_peer import modbus_peer
from tests.peers.s7_peer import s7_peer

LIST = (
    "name,address,type,access,group,unit,min,max,limit\n"
    "Set,hr:30,float32,rw,fast,1/min,60,900,\nSoft,hr:34,float32,rw,fast,,0,10,clamp\nSeen,hr:7,uint16,r,fast,,,,\n"
)


@pytest.fixture
def press(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[tuple[Path, int]]:
    """A device whose source is libmodbus' server."""
    (tmp_path / "plc.csv").write_text(LIST)
    with modbus_peer() as (port, _):
        (tmp_path / "device.toml").write_text(
            '[device]\nsite = "s"\nline = "l"\nnode = "n"\n[sources.press]\ndriver = "modbus"\n'
            f'port = {port}\ntags = "plc.csv"\ngroups = {{ fast = 50 }}\n[broker]\nport = {free_port()}\n'
        )
        yield tmp_path, port


def test_a_direct_write_is_read_back_and_says_what_it_goes_past(plc: Plc, press: tuple[Path, int]) -> None:
    home, _ = press
    ended = plc("write", "press", "Set", "310.5", "--direct", "--yes", "--home", home)
    assert ended.status == 0
    assert ended.out.endswith("-> 310.5 1/min, read back\n") and ended.out.startswith("Set: ")
    assert "no ownership" in ended.err
    assert plc("read", "press", "Set", "--home", home).rows()["Set"][1] == "310.5"


@pytest.mark.parametrize(("tag", "value", "said"), [
    ("Set", "901", "Set takes 60 to 900 1/min, not 901"), ("Set", "quick", "Set takes a number"),
    ("Seen", "1", "Seen is read only in the tag list"), ("S*", "1", "means 3 tags"),
    ("hr:7:uint16", "70000", "takes 0 to 65535"), ("ir:7:uint16", "1", "can only be read"),
])  # fmt: skip
def test_what_may_not_be_written_is_refused_before_the_plc_hears_of_it(
    plc: Plc, press: tuple[Path, int], tag: str, value: str, said: str
) -> None:
    ended = plc("write", "press", tag, value, "--direct", "--yes", "--home", press[0])
    assert (ended.status, ended.out) == (1, "") and said in ended.err
    assert plc("read", "press", "Seen", "--home", press[0]).rows()["Seen"][1] == "7"


def test_a_value_is_clamped_where_the_list_says_so(plc: Plc, press: tuple[Path, int]) -> None:
    ended = plc("write", "press", "Soft", "99", "--direct", "--yes", "--home", press[0])
    assert ended.status == 0 and "clamped to 10" in ended.err and "-> 10, read back" in ended.out


def test_without_a_terminal_nobody_is_asked_and_nothing_written(
    plc: Plc, press: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/null").open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        ended = plc("write", "press", "hr:50:uint16", "7", "--direct", "--home", press[0])
    assert ended.status == 1 and "--yes writes without asking" in ended.err
    assert plc("read", "press", "hr:50:uint16", "--home", press[0]).rows()["hr:50:uint16"][0] == "50"


@pytest.mark.parametrize(("said", "status", "held"), [("yes", 0, "7"), ("y", 1, "50")])
def test_a_person_is_shown_what_will_be_written_and_has_to_agree(
    plc: Plc, press: tuple[Path, int], monkeypatch: pytest.MonkeyPatch, said: str, status: int, held: str
) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "w") as person, os.fdopen(theirs) as terminal:
        print(said, file=person, flush=True)
        monkeypatch.setattr(sys, "stdin", terminal)
        ended = plc("write", "press", "hr:50:uint16", "7", "--direct", "--home", press[0])
    assert ended.status == status and "\n50 -> 7\n" in ended.out and "no ownership" in ended.out
    assert plc("read", "press", "hr:50:uint16", "--home", press[0]).rows()["hr:50:uint16"][0] == held


@pytest.mark.slow
def test_a_source_that_a_running_device_holds_is_left_alone_unless_forced(plc: Plc, press: tuple[Path, int]) -> None:
    home, port = press
    argv = [sys.executable, "-P", "-m", "edge.process", "connect@press", "--home", str(home)]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.DEVNULL) as device:
        try:
            end = time.monotonic() + 20
            words = Path(f"/proc/{device.pid}/cmdline")
            while b"connect@press" not in words.read_bytes() and time.monotonic() < end:
                time.sleep(0.01)
            for target in ("press", f"modbus://localhost:{port}"):
                home_word = ("--home", home) if target == "press" else ()
                tag = "Set" if target == "press" else "hr:30:float32"
                refused = plc("write", target, tag, "100", "--direct", "--yes", *home_word)
                assert refused.status == 1 and refused.out == ""
                assert f"connect@press of {home} (process {device.pid}) holds this PLC" in refused.err
            forced = plc("write", "press", "Set", "100", "--direct", "--yes", "--force", "valve test", "--home", home)
            assert forced.status == 0 and "-> 100 1/min" in forced.out
        finally:
            device.kill()


@pytest.mark.slow
def test_without_direct_a_url_has_no_write_path(plc: Plc, press: tuple[Path, int]) -> None:
    ended = plc("write", "modbus://127.0.0.1", "hr:0:uint16", "1")
    assert ended.status == 1 and "--direct" in ended.err
    stopped = plc("write", "press", "Set", "100", "--home", press[0])
    assert stopped.status == 1 and "does the device run?" in stopped.err


@pytest.mark.slow
def test_other_protocols_are_written_by_the_same_words(plc: Plc) -> None:
    with s7_peer() as (port, _):
        ended = plc("write", f"s7://127.0.0.1:{port}", "DB2.DBD40:float32", "2.5", "--direct", "--yes")
        assert ended.status == 0 and ended.out.endswith("-> 2.5, read back\n")
        refused = plc("write", f"s7://127.0.0.1:{port}", "DB9.DBD0:float32", "2.5", "--direct", "--yes")
        assert refused.status == 1 and "DB9.DBD0" in refused.err
    with logix_peer() as (port, _):
        url = f"ethernetip://127.0.0.1:{port}"
        assert "-> 7.25, read back" in plc("write", url, "Set:float32", "7.25", "--direct", "--yes").out
        fixed = plc("write", url, "Fixed:float32", "1", "--direct", "--yes")
        assert fixed.status == 1 and "External Access" in fixed.err


@pytest.mark.slow
def test_through_the_running_device_it_goes_by_its_write_path(plc: Plc, tmp_path: Path) -> None:
    device = Device(tmp_path, ("connect-press", "cli"))
    with modbus_peer() as (port, _), device.running():
        device.write("plc.csv", LIST)
        source = f'driver = "modbus"\nport = {port}\ntags = "plc.csv"\ngroups = {{ fast = 50 }}\n'
        device.add("device.toml", f"[sources.press]\n{source}")
        device.start("connect@press")
        words = ("write", "press", "Set", "310.5", "--home", device.home)
        end = time.monotonic() + 2 * WAIT_S
        while (ended := plc(*words)).status and time.monotonic() < end:
            time.sleep(0.1)  # it takes a moment to start
        assert (ended.status, ended.out) == (0, "done: 310.5\n"), ended.err + device.log("connect@press")
        far = plc("write", "press", "Set", "901", "--home", device.home)
        assert far.status == 1 and "refused: Set takes 60 to 900 1/min, not 901" in far.err
        fixed = plc("write", "press", "Seen", "1", "--home", device.home)
        assert fixed.status == 1 and "refused: Seen is read only" in fixed.err
