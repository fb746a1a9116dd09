"""What an outsider, or a reader that hangs, can't do to the others at a device's broker."""

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from bus import Address, packets
from bus.broker import Account, device_acl, password_file
from bus.broker_config import MEMORY_LIMIT_BYTES, PRODUCTION, DeviceBroker, ServerTls, development, device_config
from bus.mosquitto import BrokerProcess, find_broker, free_port, probe
from schemas import topics as t
from schemas.topics import Place, Role
from tests.bus.conftest import make_certificates

PLACE = Place("plant", "line1", "node1")
PASSWORDS = {"runtime-bulk": "one", "camera-cap": "two", "connect-line": "three", "scada": "four"}
ROLES = {"runtime-bulk": Role.RUNTIME, "camera-cap": Role.CAMERA, "connect-line": Role.CONNECT, "scada": Role.MES}
SMALL_LIMIT = 32 * 2**20
FRAME_BYTES = 150_000
DISCONNECT = b"\xe0\0"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DeviceBroker, BrokerProcess]]:
    """The production profile on free ports, with a memory limit that a test can reach."""
    folder = tmp_path_factory.mktemp("limits")
    files = make_certificates(folder / "tls").ca.parent
    moved = development(folder, free_port())
    config = dataclasses.replace(
        PRODUCTION, port=moved.port, passwords=moved.passwords, acl=moved.acl, data=moved.data, socket=moved.socket,
        tls=ServerTls(files / "server.crt", files / "server.key"), tls_port=free_port(), user="root",
    )  # fmt: skip
    config.passwords.write_text(password_file(PASSWORDS))
    config.passwords.chmod(0o600)
    config.acl.write_text(device_acl(PLACE, [Account(user, role) for user, role in ROLES.items()]))
    text = device_config(config).replace(f"memory_limit {MEMORY_LIMIT_BYTES}", f"memory_limit {SMALL_LIMIT}")
    assert str(SMALL_LIMIT) in text
    address = Address(port=config.port, username="connect-line", password="three")
    with BrokerProcess(find_broker(folder, allow_install=False)) as process:
        process.start(text, folder, address)
        yield config, process


def client_of(config: DeviceBroker, user: str, identifier: str, *, outside: bool = False) -> aiomqtt.Client:
    assert config.tls
    ca = str(config.tls.certificate.with_name("ca.crt"))
    return aiomqtt.Client(
        "127.0.0.1", config.tls_port if outside else config.port,
        username=user, password=PASSWORDS[user], identifier=identifier, timeout=5,
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=ssl.create_default_context(cafile=ca) if outside else None,
    )  # fmt: skip


async def test_an_outsider_can_not_take_over_a_process_by_its_client_id(
    broker: tuple[DeviceBroker, BrokerProcess],
) -> None:
    config, _ = broker
    decision = t.DECISION.name(PLACE, pipeline="p1")
    async with client_of(config, "connect-line", "connect-line") as process:
        await process.subscribe(decision, qos=1)
        async with (
            client_of(config, "scada", "connect-line", outside=True) as outsider,
            client_of(config, "runtime-bulk", "runtime-bulk") as runtime,
        ):
            await outsider.publish(decision, "forged", qos=1)
            await runtime.publish(decision, "real", qos=1)
            async with asyncio.timeout(5):
                message = await anext(aiter(process.messages))
    assert message.payload == b"real"


def test_the_outer_listener_speaks_tls_only(broker: tuple[DeviceBroker, BrokerProcess]) -> None:
    config, _ = broker
    with pytest.raises(OSError, match=r"(?i)answer|reset|timed out"):
        probe(Address(port=config.tls_port, username="scada", password="four"), timeout_s=1)


@pytest.mark.slow
def test_no_new_connection_is_taken_for_a_silent_one(broker: tuple[DeviceBroker, BrokerProcess]) -> None:
    # mosquitto 2.0.21 did so at every tick of its clock's second while max_keepalive was 60.
    config, process = broker
    address = Address(port=config.port, username="connect-line", password=PASSWORDS["connect-line"])
    end = time.monotonic() + 3
    while time.monotonic() < end:
        probe(address, timeout_s=2)
    assert "exceeded timeout" not in process.log_file.read_text()


@pytest.mark.slow
async def test_a_hung_reader_of_frames_costs_neither_memory_nor_the_scalars(
    broker: tuple[DeviceBroker, BrokerProcess],
) -> None:
    config, process = broker
    frame, decision = t.FRAME.name(PLACE, stream="s1"), t.DECISION.name(PLACE, pipeline="p1")
    with hung_reader(config.port, "runtime-bulk", t.FRAME.filter(PLACE)):
        async with client_of(config, "runtime-bulk", "r") as runtime, client_of(config, "connect-line", "c") as connect:
            await connect.subscribe(decision, qos=1)
            arrived = aiter(connect.messages)
            for number in range(30):
                await asyncio.to_thread(flood, config.port, frame, 20)
                await runtime.publish(decision, str(number), qos=1)
                async with asyncio.timeout(5):
                    assert (await anext(arrived)).payload == str(number).encode()
    log = process.log_file.read_text()
    assert "out of memory" in log, "the flood of 90 MB never reached the limit"
    assert resident_bytes(process.pid) < 3 * SMALL_LIMIT


def flood(port: int, topic: str, frames: int) -> None:
    """Publish frames of 150 kB; the broker may cut us off (after which aiomqtt waits out its 5 s)."""
    frame = packets.publish_head(packets.topic_bytes(topic), FRAME_BYTES, 0, False, False, 0, b"") + bytes(FRAME_BYTES)
    with connected(port, "camera-cap") as link, contextlib.suppress(ConnectionError):
        for _ in range(frames):
            link.sendall(frame)
        link.sendall(DISCONNECT)
        link.recv(64)  # the broker closes once it has read all


def hung_reader(port: int, user: str, topic_filter: str) -> socket.socket:
    """A connection that subscribes and never reads again."""
    link = connected(port, user)
    link.sendall(packets.subscribe(1, topic_filter, 0, 0))
    link.recv(64)
    return link


def connected(port: int, user: str) -> socket.socket:
    """A bare connection that the broker has taken; each wait ends after 5 s."""
    link = socket.create_connection(("127.0.0.1", port), 5)
    link.sendall(packets.connect(f"bare {user}", user, PASSWORDS[user], None, 60, 0, 2**28 - 1))
    assert link.recv(64)[0] == 0x20, "no CONNACK"
    return link


def resident_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
