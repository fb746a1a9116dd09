"""The committed configuration is the generated one, and mosquitto takes it."""

import dataclasses
import re
from pathlib import Path

import pytest

from bus import Address
from bus.broker import password_file
from bus.broker_config import PRODUCTION, FleetBroker, ServerTls, development, device_config, fleet_config
from bus.mosquitto import BrokerProcess, find_broker, free_port, probe
from schemas.topics import TOPICS, Reach
from tests.bus.conftest import make_certificates

ROOT = Path(__file__).resolve().parents[2]
FLEET = FleetBroker(tls=ServerTls(Path("a.crt"), Path("a.key"), Path("ca.crt")), acl=Path("acl"), data=Path("data"))


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_committed_file_is_the_generated_one() -> None:
    assert (ROOT / "mosquitto.conf").read_text() == device_config(PRODUCTION), PRODUCTION.made_by


def test_only_loopback_and_tls_listen_in_production() -> None:
    listeners = [line for line in settings(device_config(PRODUCTION)) if line.startswith("listener")]
    assert listeners == ["listener 1883 127.0.0.1", "listener 0 /run/plantedge/broker/mqtt.sock", "listener 8883"]
    after_tls = device_config(PRODUCTION).partition("listener 8883")[2]
    assert {"certfile", "keyfile", "use_username_as_clientid"} <= {line.split()[0] for line in settings(after_tls)}


@pytest.mark.parametrize("text", [device_config(PRODUCTION), fleet_config(FLEET)], ids=["device", "fleet"])
def test_nobody_is_anonymous_and_no_packet_waits_for_nagle(text: str) -> None:
    assert {"allow_anonymous false", "set_tcp_nodelay true", "sys_interval 0"} <= set(settings(text))


@pytest.mark.parametrize("text", [device_config(PRODUCTION), fleet_config(FLEET)], ids=["device", "fleet"])
def test_every_block_of_settings_says_why(text: str) -> None:
    for block in text.strip().split("\n\n"):
        assert block.startswith("#"), block


def test_the_largest_message_of_the_table_fits_into_a_packet() -> None:
    found = re.search(r"max_packet_size (\d+)", device_config(PRODUCTION))
    assert found
    largest = max(row.max_bytes for row in TOPICS if row.reach is Reach.SITE)
    assert largest + 1_024 < int(found[1]) < 2 * largest


def test_development_stays_in_its_folder_and_on_loopback(tmp_path: Path) -> None:
    text = device_config(development(tmp_path, 12345))
    assert "/etc" not in text
    assert "/run" not in text
    assert re.findall(r"^listener (.*)$", text, re.MULTILINE) == ["12345 127.0.0.1", f"0 {tmp_path}/mqtt.sock"]


def test_a_socket_path_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    assert development(tmp_path / ("x" * 100), 12345).socket is None


def test_mosquitto_takes_every_line_of_the_production_configuration(tmp_path: Path) -> None:
    """Only paths and ports are moved; TLS gets a throw-away certificate."""
    files = make_certificates(tmp_path / "tls").ca.parent
    moved = development(tmp_path, free_port())
    broker = dataclasses.replace(
        PRODUCTION, port=moved.port, passwords=moved.passwords, acl=moved.acl, data=moved.data, socket=moved.socket,
        tls=ServerTls(files / "server.crt", files / "server.key"), tls_port=free_port(), user="root",
    )  # fmt: skip
    moved.passwords.write_text(password_file({"agent": "secret"}))
    moved.acl.write_text("user agent\ntopic read #\n")
    address = Address(port=broker.port, username="agent", password="secret")
    with BrokerProcess(find_broker(tmp_path, allow_install=False)) as process:
        process.start(device_config(broker), tmp_path, address)
        probe(Address(socket=str(broker.socket), username="agent", password="secret"))
        log = process.log_file.read_text()
    assert not re.search(r"(?i)error|unknown|deprecated|recommended", log), log
