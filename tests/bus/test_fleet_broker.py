"""The fleet's broker: each node by its certificate, its own rows only, judged by delivery."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bus import Address, Tls
from bus.broker import FLEET_SERVICE, fleet_acl
from bus.broker_config import FleetBroker, ServerTls, fleet_config
from bus.mosquitto import BrokerProcess, find_broker, free_port, probe
from schemas.errors import StartError
from schemas.topics import TOPICS, Reach, Role
from tests.bus.conftest import key_usage

ROWS = tuple(row for row in TOPICS if row.reach is not Reach.SITE)
NODES = ("node-a", "node-b")


class Authority:
    """A CA of this test, which writes PEM files into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self._now = dt.datetime.now(dt.UTC)
        own = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, 0), critical=True)
        own = own.add_extension(key_usage(ca=True), critical=True)
        (folder / "ca.crt").write_bytes(self._pem(own))

    def issue(self, name: str) -> Tls:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = self._builder(subject, key).add_extension(names, critical=False)
        files = Tls(self.folder / "ca.crt", self.folder / f"{name}.crt", self.folder / f"{name}.key")
        files.certificate.write_bytes(self._pem(certificate))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def revoke(self, *names: str) -> Path:
        crl = x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(self._now)
        crl = crl.next_update(self._now + dt.timedelta(days=1))
        for name in names:
            serial = x509.load_pem_x509_certificate((self.folder / f"{name}.crt").read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self._now).build()
            crl = crl.add_revoked_certificate(entry)
        fresh = self.folder / "crl.new"
        fresh.write_bytes(crl.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return fresh.rename(self.folder / "crl.pem")

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - dt.timedelta(minutes=5))
            .not_valid_after(self._now + dt.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _pem(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Fleet:
    """A running fleet broker and the certificates of all who may connect."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.certificates = {name: self.authority.issue(name) for name in (*NODES, FLEET_SERVICE, "witness")}
        server = self.authority.issue("server")
        self.config = FleetBroker(
            tls=ServerTls(server.certificate, server.key, server.ca, self.authority.revoke()),
            acl=folder / "acl", data=folder / "data", host="127.0.0.1", port=free_port(), user="root",
        )  # fmt: skip
        self.config.acl.write_text(
            fleet_acl() + "\npattern read fence\npattern write barrier\nuser witness\ntopic readwrite #\n"
        )
        self.process = BrokerProcess(find_broker(folder, allow_install=False))
        self.process.start(fleet_config(self.config), folder, self.address(FLEET_SERVICE))

    def address(self, name: str) -> Address:
        return Address(host="localhost", port=self.config.port, tls=self.certificates[name])

    @asynccontextmanager
    async def client(self, name: str, identifier: str | None = None) -> AsyncIterator[aiomqtt.Client]:
        files = self.certificates[name]
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.certificate, files.key)
        async with aiomqtt.Client(
            "localhost", self.config.port, tls_context=context, identifier=identifier, timeout=5,
            protocol=aiomqtt.ProtocolVersion.V5,
        ) as client:  # fmt: skip
            yield client


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    running = Fleet(tmp_path_factory.mktemp("fleet"))
    with running.process:
        yield running


async def received_until(client: aiomqtt.Client, fence: str) -> set[tuple[str, str]]:
    found = set()
    async with asyncio.timeout(10):
        async for message in client.messages:
            if message.topic.value == fence:
                return found
            assert isinstance(message.payload, bytes)
            found.add((message.topic.value, message.payload.decode()))
    raise AssertionError("the connection ended")


def role_of(name: str) -> Role:
    return Role.FLEET if name == FLEET_SERVICE else Role.UPLINK


async def test_a_node_says_only_its_own_upstream_rows(fleet: Fleet) -> None:
    topics = {(row.filter(node=node), row, node) for row in ROWS for node in NODES}
    expected = {
        (topic, name)
        for topic, row, node in topics
        for name in (*NODES, FLEET_SERVICE)
        if role_of(name) in row.publishers and name in (node, FLEET_SERVICE)
    }
    assert len(expected) == len(ROWS) * len(NODES)
    async with fleet.client("witness") as witness:
        await witness.subscribe("#")
        for name in (*NODES, FLEET_SERVICE):
            async with fleet.client(name) as client:
                for topic, _, _ in topics:
                    await client.publish(topic, name)
                for forged in (f"fleet/v1/{name}/up/frame", f"fleet/v1/{name}/up", "plant/v1/s/l/n/frame/cam"):
                    await client.publish(forged, name)
                await client.publish("barrier", qos=1)
        await witness.publish("fence")
        got = await received_until(witness, "fence")
    assert {message for message in got if message[0] != "barrier"} == expected


async def test_a_node_hears_only_what_is_for_it(fleet: Fleet) -> None:
    sent = {(row.filter(node=node), row.key): (row, node) for row in ROWS for node in NODES}
    async with fleet.client("witness") as witness:
        clients = {}
        async with asyncio.TaskGroup() as group:
            ready = asyncio.Semaphore(0)

            async def heard(name: str) -> set[tuple[str, str]]:
                async with fleet.client(name) as client:
                    await client.subscribe("#")
                    ready.release()
                    return await received_until(client, "fence")

            for name in (*NODES, FLEET_SERVICE):
                clients[name] = group.create_task(heard(name))
                await asyncio.wait_for(ready.acquire(), 10)
            for topic, payload in sent:
                await witness.publish(topic, payload)
            await witness.publish("fence")
    for name, task in clients.items():
        expected = {
            message
            for message, (row, node) in sent.items()
            if role_of(name) in row.readers and name in (node, FLEET_SERVICE)
        }
        assert task.result() == expected, name


async def test_another_node_can_not_take_over_a_session(fleet: Fleet) -> None:
    down = "fleet/v1/node-a/down/request"
    async with fleet.client("node-a", "node-a") as first:
        await first.subscribe(down)
        async with fleet.client("node-b", "node-a"), fleet.client(FLEET_SERVICE) as service:
            await service.publish(down, "still here", qos=1)
            async with asyncio.timeout(5):
                message = await anext(aiter(first.messages))
    assert message.payload == b"still here"


def test_without_a_certificate_of_our_ca_there_is_no_connection(fleet: Fleet, tmp_path: Path) -> None:
    foreign = Authority(tmp_path).issue("node-a")
    pretender = Tls(fleet.certificates["node-a"].ca, foreign.certificate, foreign.key)
    plain = Address(host="localhost", port=fleet.config.port, username="node-a", password="guess")
    for refused in (Address(host="localhost", port=fleet.config.port, tls=pretender), plain):
        with pytest.raises(OSError) as failure:  # what it says depends on who closes first
            probe(refused)
        assert not isinstance(failure.value, ConnectionRefusedError)
    probe(fleet.address("node-a"))


async def test_a_revoked_node_is_refused_after_a_reload(fleet: Fleet) -> None:
    probe(fleet.address("node-b"))
    fleet.authority.revoke("node-b")
    fleet.process.reload()
    with pytest.raises((OSError, StartError)):
        for _ in range(200):
            probe(fleet.address("node-b"))
            await asyncio.sleep(0.01)
    probe(fleet.address("node-a"))
    fleet.authority.revoke()
    fleet.process.reload()


def test_a_fleet_broker_without_its_ca_is_not_configured(tmp_path: Path) -> None:
    tls = ServerTls(tmp_path / "server.crt", tmp_path / "server.key")
    with pytest.raises(ValueError, match="needs the CA"):
        fleet_config(FleetBroker(tls=tls, acl=tmp_path, data=tmp_path))
