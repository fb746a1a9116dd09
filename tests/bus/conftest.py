"""A real mosquitto with a throw-away configuration, a relay that fails on demand, and both kinds of Bus."""

import asyncio
import base64
import contextlib
import datetime
import hashlib
import ipaddress
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bus import Address, MqttVersion, Tls
from bus.client import ControlBus
from bus.hot import HotBus
from bus.session import Session

USER, PASSWORD = "plant", "not-a-secret-7261"
WAIT_S = 8.0


def _password_line() -> str:
    salt = b"plantedge-12"
    key = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), salt, 101, 64)
    return f"{USER}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"


@dataclass
class Broker:
    """mosquitto: `start` and `kill` as often as needed, always on the same port."""

    program: Path
    folder: Path
    port: int
    tls: Tls | None = None
    extra: str = ""
    allow: str = "topic readwrite t/#"
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket_path(self) -> str:
        return str(self.folder / "mqtt.sock")

    @property
    def address(self) -> Address:
        return Address(port=self.port, username=USER, password=PASSWORD, tls=self.tls)

    def _configuration(self) -> str:
        lines = [
            "per_listener_settings false",
            f"password_file {self.folder}/passwords",
            f"acl_file {self.folder}/acl",
            "allow_anonymous false",
            "set_tcp_nodelay true",
            "log_dest stderr",
            "max_queued_messages 20000",
            self.extra,
            f"listener {self.port} 127.0.0.1",
        ]
        if os.geteuid() == 0:
            lines.insert(0, "user root")  # else it changes to a user that may not read the scratch folder
        if self.tls:
            files = self.folder / "tls"
            lines += [f"cafile {files}/ca.crt", f"certfile {files}/server.crt", f"keyfile {files}/server.key"]
            lines += ["require_certificate true"]
        else:
            lines += [f"listener 0 {self.socket_path}"]
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        (self.folder / "passwords").write_text(_password_line())
        (self.folder / "acl").write_text(f"user {USER}\n{self.allow}\n")
        for name in ("passwords", "acl"):
            (self.folder / name).chmod(0o600)
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(self._configuration())
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.program, "-c", configuration], stderr=log)
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert self.process and self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(WAIT_S)
            self.process = None


def _make_broker(program: Path, folder: Path, tls: Tls | None = None, extra: str = "") -> Broker:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Broker(program, folder, port, tls, extra)
    made.start()
    return made


@pytest.fixture
def broker(peer: Callable[[str], Path], tmp_path: Path) -> Iterator[Broker]:
    """A broker that asks for a password; user `plant` may use `t/#` alone."""
    made = _make_broker(peer("mosquitto"), tmp_path)
    yield made
    made.kill()


@pytest.fixture
def tls_broker(peer: Callable[[str], Path], tmp_path: Path) -> Iterator[Broker]:
    """A broker that wants a certificate of its CA from each client, besides the password."""
    made = _make_broker(peer("mosquitto"), tmp_path, tls=make_certificates(tmp_path / "tls"))
    yield made
    made.kill()


# --- certificates -----------------------------------------------------------------------------------------------------


def make_certificates(folder: Path) -> Tls:
    """A CA, a server certificate for 127.0.0.1 and a client certificate, valid for an hour."""
    folder.mkdir()
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("test CA", ca_key, "test CA", ca_key, ca=True)
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, "test CA", ca_key, ca=False)
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return Tls(folder / "ca.crt", folder / "client.crt", folder / "client.key")


def key_usage(ca: bool) -> x509.KeyUsage:
    """What a CA, or else a server or client, may do with its key."""
    never = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=True, key_cert_sign=ca, crl_sign=ca, **never)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    ca: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(key_usage(ca), critical=True)  # Python 3.13 refuses a CA without it
    )
    return builder.sign(issuer_key, hashes.SHA256())


# --- a relay ----------------------------------------------------------------------------------------------------------


class Relay:
    """TCP between a bus and its broker: `freeze` forwards nothing more (a pulled cable), `cut` ends all connections."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._frozen = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.from_broker = bytearray()
        self.from_client = bytearray()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(
            self._pump(reader, far_writer, self.from_client), self._pump(far_reader, writer, self.from_broker)
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                seen += data
                if not self._frozen:
                    writer.write(data)
                    await writer.drain()
        writer.close()
        self._writers.discard(writer)

    def freeze(self) -> None:
        self._frozen = True

    def thaw(self) -> None:
        self._frozen = False

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            self.cut()
            await asyncio.sleep(0)


@pytest.fixture
async def relay(broker: Broker) -> AsyncIterator[Relay]:
    made = Relay(broker.port)
    await made.start()
    yield made
    await made.stop()


# --- both kinds of Bus ------------------------------------------------------------------------------------------------

KINDS: dict[str, tuple[type[Session], MqttVersion]] = {
    "hot": (HotBus, "5"),
    "control": (ControlBus, "5"),
    "hot-311": (HotBus, "3.1.1"),
    "control-311": (ControlBus, "3.1.1"),
}
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "stock": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """Tests of a Bus run on both loops."""
    return LOOPS if "bus" in getattr(item, "fixturenames", ()) else {"stock": LOOPS["stock"]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """ControlBus on uvloop is the least used of the four, and MQTT 3.1.1 seldom used at all: in the slow suite.

    MQTT 3.1.1 can't say some things; then a test is for MQTT 5 alone.
    """
    for item in items:
        old = "-311" in item.name
        if "[uvloop-control" in item.name or old:
            item.add_marker(pytest.mark.slow)
        if old and (only := item.get_closest_marker("mqtt5")):
            item.add_marker(pytest.mark.skip(reason=f"MQTT 3.1.1: {only.args[0]}"))


@pytest.fixture(params=["hot", "control"])
def kind(request: pytest.FixtureRequest) -> str:
    """Every test that asks for `bus` runs once per implementation; the conformance suite asks for all of KINDS."""
    name: str = request.param
    return name


MakeBus = Callable[..., Session]


@pytest.fixture
def bus(kind: str, request: pytest.FixtureRequest) -> MakeBus:
    """`bus("name", will=...)` makes a bus of the kind under test, to the `broker` unless `address` says otherwise."""

    def make(client_id: str, *, address: Address | None = None, port: int = 0, **arguments: Any) -> Session:
        if address is None:
            running: Broker = request.getfixturevalue("broker")
            address = running.address
        if port:
            address = replace(address, port=port)
        arguments.setdefault("connect_timeout_s", WAIT_S)
        made, version = KINDS[kind]
        return made(replace(address, mqtt=version), client_id, **arguments)

    return make


async def eventually(condition: Callable[[], bool], what: str, within_s: float = WAIT_S) -> None:
    """Wait for something that no event tells, such as a broker's state."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.005)


class Inbox:
    """A handler that keeps what it gets; `take` waits for the next one."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, delivery: Any) -> None:
        self.queue.put_nowait(msgspec.structs.replace(delivery, payload=bytes(delivery.payload)))

    async def take(self, within_s: float = WAIT_S) -> Any:
        return await asyncio.wait_for(self.queue.get(), within_s)

    async def payloads(self, count: int, within_s: float = WAIT_S) -> list[bytes]:
        return [(await self.take(within_s)).payload for _ in range(count)]

    @property
    def empty(self) -> bool:
        return self.queue.empty()
