"""The server's own certificate: signed by itself, made once, renewed by asyncua before it runs out."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.server.server import Server
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

FOLDER: Final = Path("state/opcua")


@dataclass(frozen=True)
class Certificate:
    """The server's own certificate; `until`: when it runs out."""

    der: bytes
    until: datetime


async def give_certificate(server: Server, home: Path, uri: str) -> Certificate:
    """Give the server its key and certificate; the key stays in the device folder."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key, certificate = folder / "key.pem", folder / "certificate.der"
    host = socket.gethostname()
    await setup_self_signed_certificate(
        key, certificate, uri, host, [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
        {"commonName": f"PlantEdge {host}"[:64], "organizationName": "PlantEdge"},
    )  # fmt: skip
    key.chmod(0o600)
    await server.load_certificate(certificate)
    await server.load_private_key(key)
    der = certificate.read_bytes()
    return Certificate(der, x509.load_der_x509_certificate(der).not_valid_after_utc)
