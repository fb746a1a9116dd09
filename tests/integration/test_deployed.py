"""A device that systemd supervises: its accounts, its identity, its users, and what the commands say of it."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cloud.pki import Authority
from edge.opcua_server.access.people import read_people
from edge.settings import OpcUa
from schemas.messages import State
from schemas.topics import STATUS
from tests.device import Device

pytestmark = pytest.mark.slow

DEVICE = """
[device]
site = "s"
line = "l"
node = "press-7"
[broker]
credentials = "broker/credentials.json"
[opcua]
users = "users.json"
"""


def plantedge(*arguments: "str | Path", said: str = "") -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-P", "-m", "edge.cli", *map(str, arguments)]
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(argv, env=env, input=said, capture_output=True, text=True, timeout=50, check=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "device"
    home.mkdir()
    (home / "device.toml").write_text(DEVICE)
    return home


def test_accounts_are_made_once_and_kept(home: Path) -> None:
    first = plantedge("accounts", "--home", home)
    assert first.returncode == 0, first.stderr
    folder = home / "broker"
    held = json.loads((folder / "credentials.json").read_text())
    assert {"agent", "opcua", "historian", "mirror", "monitor", "cli", "mes"} == set(held)
    assert {line.partition(":")[0] for line in (folder / "passwords").read_text().splitlines()} == set(held)
    assert "user agent\n" in (folder / "acl").read_text()
    assert not any(password in (folder / "passwords").read_text() for password in held.values())
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}
    assert "nothing changed" in plantedge("accounts", "--home", home).stdout
    (home / "device.toml").write_text(DEVICE + '[uplink]\nhost = "fleet"\n')
    assert "systemctl reload" in plantedge("accounts", "--home", home).stdout
    more = json.loads((folder / "credentials.json").read_text())
    assert more == held | {"uplink": more["uplink"]}


def test_accounts_of_a_device_without_a_broker_of_its_own_are_left_to_up(home: Path) -> None:
    (home / "device.toml").write_text(DEVICE.replace("credentials", "# credentials"))
    answer = plantedge("accounts", "--home", home)
    assert answer.returncode == 1
    assert "names no credentials in [broker]" in answer.stderr


def test_a_device_gets_its_identity_by_a_request_and_an_answer(home: Path, tmp_path: Path) -> None:
    asked = plantedge("identity", "--home", home, "request")
    assert "plantedge-fleet enroll --csr device.csr --node press-7" in asked.stdout
    assert stat.S_IMODE((home / "identity" / "device.key").stat().st_mode) == 0o600
    authority = Authority.load_or_create(tmp_path / "pki")
    answer = tmp_path / "press-7"
    answer.mkdir()
    (answer / "device.pem").write_bytes(
        authority.sign_device((home / "identity" / "device.csr").read_bytes(), "press-7")
    )
    (answer / "ca.pem").write_bytes(authority.ca.read_bytes())
    installed = plantedge("identity", "--home", home, "install", answer)
    assert installed.returncode == 0, installed.stderr
    assert "press-7: certificate " in plantedge("identity", "--home", home, "show").stdout


def test_an_answer_for_another_device_is_refused_and_not_installed(home: Path, tmp_path: Path) -> None:
    plantedge("identity", "--home", home, "request")
    authority = Authority.load_or_create(tmp_path / "pki")
    (tmp_path / "device.pem").write_bytes(
        authority.sign_device((home / "identity" / "device.csr").read_bytes(), "press-8")
    )
    (tmp_path / "ca.pem").write_bytes(authority.ca.read_bytes())
    refused = plantedge("identity", "--home", home, "install", tmp_path)
    assert refused.returncode == 1
    assert "the certificate is of press-8, this device is press-7" in refused.stderr
    assert plantedge("identity", "--home", home, "show").returncode == 1


async def test_an_opcua_user_is_added_without_the_password_in_the_arguments(home: Path) -> None:
    short = plantedge("opcua", "--home", home, "user", "scada", said="short\n")
    assert (short.returncode, "at least 8 characters" in short.stderr) == (1, True)
    assert not (home / "users.json").exists()
    added = plantedge("opcua", "--home", home, "user", "scada", said="correct horse\n")
    assert "scada added" in added.stdout
    assert stat.S_IMODE((home / "users.json").stat().st_mode) == 0o600
    assert "correct horse" not in (home / "users.json").read_text()
    people = read_people(OpcUa(users="users.json"), home)
    assert await people.known("scada", "correct horse") is not None
    assert await people.known("scada", "correct house") is None
    plantedge("opcua", "--home", home, "user", "scada", "--remove")
    assert json.loads((home / "users.json").read_text()) == {}


@pytest.mark.slow
async def test_status_and_doctor_ask_the_devices_own_broker(tmp_path: Path) -> None:
    device = Device(tmp_path, ("agent", "mirror", "historian", "opcua", "cli"))
    with device.running():
        (device.home / "models").mkdir()
        async with device.user("cli") as person:
            statuses = await person.hear(STATUS)
            for name in ("agent", "mirror"):
                device.start(name)
            well = {"agent": State.ACTIVE, "mirror": State.IDLE}
            for wanted in well.items():
                await statuses.until(lambda one, wanted=wanted: (one.process, one.state) == wanted)  # type: ignore[misc]
        shown = plantedge("status", "--home", device.home)
        assert shown.returncode == 1, shown.stderr
        lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
        assert " active " in lines["agent"]
        assert lines["historian"].endswith("has never spoken")
        told = json.loads(plantedge("status", "--home", device.home, "--json").stdout)
        assert set(told["processes"]) == {"agent", "mirror"}
        examined = plantedge("doctor", "--home", device.home).stdout
        assert "of broker is ours" in examined
        assert "historian: has never spoken" in examined
    stopped = plantedge("status", "--home", device.home)
    assert stopped.returncode == 3
    assert "no MQTT broker at" in stopped.stderr or "does not answer" in stopped.stderr
