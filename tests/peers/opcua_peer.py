"""`opcua_server.js` run as a process, with certificates made for it and its client."""

import atexit
import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge.connectors.opcua import open_connector
from edge.settings import Source
from tests.conftest import find_node_module, find_program

SERVER = Path(__file__).with_name("opcua_server.js")
USER, PASSWORD = "operator", "correct horse"


@dataclass(frozen=True)
class OpcUaPeer:
    """A running server: its port, its process, the folder of certificates, the index of its namespace."""

    port: int
    child: subprocess.Popen[str]
    folder: Path
    index: int


@cache
def _key(_name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def write_certificate(folder: Path, name: str, uri: str) -> None:
    """NAME.pem and NAME.key, signed by itself."""
    key = _key(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=True, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    alternatives = [
        x509.UniformResourceIdentifier(uri),
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
    ]
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.key").write_bytes(private)


@contextlib.contextmanager
def opcua_peer(**ask: object) -> Iterator[OpcUaPeer]:
    """A running server that trusts client.pem and not stranger.pem, both in its folder."""
    node, modules = find_program("node"), find_node_module("node-opcua-server").parent
    with tempfile.TemporaryDirectory(prefix="plantedge-opcua-") as scratch:
        folder = Path(scratch)
        for name in ("server", "client", "stranger"):
            write_certificate(folder, name, f"urn:plantedge:test:{name}")
        words = {
            "folder": scratch, "certificate": str(folder / "server.pem"), "key": str(folder / "server.key"),
            "trusted": [str(folder / "client.pem")], "user": USER, "password": PASSWORD,
        } | ask  # fmt: skip
        env = os.environ | {"NODE_PATH": str(modules), "HOME": scratch}
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(
                [node, SERVER, json.dumps(words)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env,
            ) as child,
        ):  # fmt: skip
            try:
                assert child.stdout is not None
                line = next((line for line in child.stdout if line.startswith('{"port"')), "")
                assert line, (folder / "log").read_text()[-3000:]
                told = json.loads(line)
                yield OpcUaPeer(told["port"], child, folder, told["index"])
            finally:
                child.kill()


_shared: list[tuple[contextlib.ExitStack, OpcUaPeer]] = []


def _end_shared() -> None:
    while _shared:
        _shared.pop()[0].close()


atexit.register(_end_shared)


@contextlib.contextmanager
def shared_opcua_peer() -> Iterator[OpcUaPeer]:
    """One server for many tests, which takes seconds to start; made anew where a test has killed it."""
    if not _shared or _shared[0][1].child.poll() is not None:
        _end_shared()
        stack = contextlib.ExitStack()
        server = stack.enter_context(opcua_peer(most=20))
        _shared.append((stack, server))
        # The first session of a fresh node takes longer than a PLC's may.
        first = open_connector(
            Source(driver="opcua", port=server.port, tags="-", groups={}, timeout_ms=4000, options={"connect_ms": 4000})
        )
        first.connect()
        first.close()
    yield _shared[0][1]
