"""A broker's life as our child, and the ladder by which it is found. Real processes throughout."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aiomqtt
import pytest

from bus import Address
from bus.broker import Account, device_acl, password_file
from bus.broker_config import DeviceBroker, development, device_config
from bus.broker_ladder import VARIABLE, _no_service_starts
from bus.broker_program import RungFailed
from bus.mosquitto import BrokerProcess, find_broker, free_port, probe
from schemas.errors import StartError
from schemas.topics import STATUS, Place, Role

PLACE = Place("plant", "line1", "node1")


def wait_until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.01)


class Device:
    """A broker of development with the one account `agent`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: DeviceBroker = development(folder, free_port())
        self.address = Address(port=self.config.port, username="agent", password="secret")
        self.process = BrokerProcess(find_broker(folder, allow_install=False))
        self.set_password("secret")
        self.config.acl.write_text(device_acl(PLACE, [Account("agent", Role.AGENT)]))

    def set_password(self, password: str) -> None:
        self.config.passwords.write_text(password_file({"agent": password}))
        self.config.passwords.chmod(0o600)

    def start(self) -> None:
        self.process.start(device_config(self.config), self.folder, self.address)

    def client(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            "127.0.0.1", self.config.port, username="agent", password="secret", timeout=5,
            protocol=aiomqtt.ProtocolVersion.V5,
        )  # fmt: skip


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    one = Device(tmp_path)
    with one.process:
        yield one


def test_start_returns_when_the_broker_answers_on_tcp_and_on_its_socket(device: Device) -> None:
    device.start()
    probe(device.address)
    probe(Address(socket=str(device.config.socket), username="agent", password="secret"))
    assert device.process.running
    assert os.getpgid(device.process.pid) != os.getpgid(0)


def test_stop_ends_it_and_frees_its_port(device: Device) -> None:
    device.start()
    device.process.stop()
    assert not device.process.running
    assert device.process.pid == 0
    with pytest.raises(ConnectionRefusedError):
        probe(device.address)
    device.process.stop()


@pytest.mark.slow
async def test_what_is_retained_survives_a_killed_broker(device: Device) -> None:
    device.start()
    name = STATUS.name(PLACE, process="agent")
    async with device.client() as client:
        await client.publish(name, "kept", qos=1, retain=True)
    saved = device.config.data / "mosquitto.db"
    wait_until(lambda: saved.exists() and b"kept" in saved.read_bytes())
    os.kill(device.process.pid, signal.SIGKILL)
    wait_until(lambda: not device.process.running)
    device.start()
    async with device.client() as client:
        await client.subscribe(name)
        async with asyncio.timeout(5):
            assert (await anext(aiter(client.messages))).payload == b"kept"


def test_reload_takes_new_passwords(device: Device) -> None:
    device.start()
    device.set_password("another")
    device.process.reload()
    changed = Address(port=device.config.port, username="agent", password="another")

    def accepted() -> bool:
        try:
            probe(changed)
        except StartError:
            return False
        return True

    wait_until(accepted)
    with pytest.raises(StartError, match="refuses 'agent'"):
        probe(device.address)


def test_a_wrong_setting_is_told_with_the_broker_s_own_words(device: Device) -> None:
    with pytest.raises(StartError, match=r"ended at its start.*no_such_setting"):
        device.process.start("no_such_setting 1\n", device.folder, device.address)
    assert not device.process.running


def test_a_taken_port_is_told_even_if_a_broker_answers_there(device: Device, tmp_path: Path) -> None:
    device.start()
    (tmp_path / "second").mkdir()
    second = Device(tmp_path / "second")
    second.config = development(second.folder, device.config.port)
    second.config.passwords.write_text(password_file({"agent": "secret"}))
    second.address = device.address
    with second.process, pytest.raises(StartError, match="already in use"):
        second.start()


def test_a_refused_account_is_told_and_the_broker_is_ended(device: Device) -> None:
    device.set_password("another")
    with pytest.raises(StartError, match="refuses 'agent'"):
        device.start()
    assert not device.process.running


def test_it_ends_with_its_parent_however_that_ends(device: Device) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv of util-linux")
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from bus import Address
        from bus.mosquitto import BrokerProcess, find_broker
        folder, port = Path(sys.argv[1]), int(sys.argv[2])
        text = Path(sys.argv[3]).read_text()
        process = BrokerProcess(find_broker(folder, allow_install=False))
        process.start(text, folder, Address(port=port, username="agent", password="secret"))
        print(process.pid, flush=True)
        time.sleep(60)
        """
    )
    text = device.folder / "text"
    text.write_text(device_config(device.config))
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(device.folder), str(device.config.port), str(text)],
        stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    with parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    wait_until(lambda: not running(pid))


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_something_else_on_the_port_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        with pytest.raises(OSError, match="timed out"):
            probe(Address(port=server.getsockname()[1]), timeout_s=0.1)


def test_free_ports_are_never_given_twice() -> None:
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100


# --- the ladder -----------------------------------------------------------------------------------------------------


def fake_broker(folder: Path, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mosquitto"
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit 3\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_broker_off_the_path_of_a_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/usr/sbin/mosquitto").exists():
        pytest.skip("mosquitto is installed elsewhere")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    said: list[str] = []
    program = find_broker(tmp_path, allow_install=False, say=said.append)
    assert program.path == Path("/usr/sbin/mosquitto")
    assert said == [f"broker: {program}"]


def test_a_named_broker_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = find_broker(tmp_path, allow_install=False).path
    named = tmp_path / "named"
    named.symlink_to(real)
    monkeypatch.setenv(VARIABLE, str(named))
    assert find_broker(tmp_path).path == named


@pytest.mark.parametrize("make", ["nothing", "not executable", "no broker", "too old"])
def test_a_named_broker_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: str) -> None:
    named = tmp_path / "mosquitto"
    if make == "not executable":
        named.write_text("text")
    elif make == "no broker":
        fake_broker(tmp_path, "hello")
    elif make == "too old":
        fake_broker(tmp_path, "mosquitto version 1.6.9")
    monkeypatch.setenv(VARIABLE, str(named))
    with pytest.raises(StartError, match=rf"{VARIABLE}=.*name a mosquitto 2"):
        find_broker(tmp_path)


def test_an_old_broker_is_passed_over_for_the_next_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    fake_broker(old, "mosquitto version 1.6.9")
    fake_broker(new, "mosquitto version 2.0.18")
    program = find_broker(tmp_path, allow_install=False, search=[old, new])
    assert (program.path, program.version) == (new / "mosquitto", "2.0.18")


def test_without_any_broker_every_rung_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(StartError, match=r"(?s)installed: no mosquitto.*unpacked in home: none in.*PLANTEDGE_BROKER"):
        find_broker(tmp_path, allow_install=False, search=[], say=said.append)
    assert len(said) == 2


def test_a_machine_without_apt_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartError, match=r"(?s)apt-get download: no apt-get here.*dnf, apk"):
        find_broker(tmp_path, search=[], as_root=False)


def test_services_stay_stopped_only_meanwhile(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with _no_service_starts(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not policy.exists()
    policy.write_text("#!/bin/sh\nexit 0\n")
    policy.chmod(0o700)
    with pytest.raises(RungFailed), _no_service_starts(policy):
        raise RungFailed("the install failed")
    assert policy.read_text().endswith("exit 0\n")
    assert policy.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_without_root_a_broker_is_unpacked_and_runs(tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt")
    said: list[str] = []
    program = find_broker(tmp_path, search=[], as_root=False, say=said.append)
    assert program.path == tmp_path / "mosquitto/usr/sbin/mosquitto"
    assert find_broker(tmp_path, allow_install=False, search=[]) == program
    device = Device(tmp_path)
    device.process = BrokerProcess(program)
    with device.process:
        device.start()
        probe(device.address)
