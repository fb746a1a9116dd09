"""The fleet's PKI: one EC P-256 CA, the broker's server certificate, and short-lived client certificates.

Files in the fleet's `pki/`: `ca.pem`, `ca.key`, `server.pem`, `server.key`, `fleet-service.pem`, `fleet-service.key`,
and `signed/{node}-{serial}.pem`. Keys have mode 0600. A device's key never comes here: it sends a request (CSR).
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bus.broker import FLEET_SERVICE
from schemas.errors import PlantEdgeError

NODE = r"[a-z0-9-]{1,64}"
DEVICE_LIFE = timedelta(days=90)
CA_LIFE = timedelta(days=3650)
RENEW_BEFORE = timedelta(days=30)  # of our own certificates, made anew when the service starts
_SKEW = timedelta(minutes=5)  # a device's clock may lag behind ours
_MAX_CSR_BYTES = 16_384


class RequestRefused(PlantEdgeError):
    """A certificate request that is not signed; the message says why and what to do."""


@dataclass(frozen=True)
class Pair:
    """Files of one certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """The CA and what it signs. Make it with `load_or_create`."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Hold a CA that was loaded or made."""
        self.folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def load_or_create(cls, folder: Path) -> Authority:
        """Return the CA of `folder`, made on first use."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / "ca.pem").exists():
            key = ec.generate_private_key(ec.SECP256R1())
            _write(folder / "ca.key", _key_pem(key), 0o600)
            _write(folder / "ca.pem", _certificate_pem(_self_signed(key)), 0o644)
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        return cls(folder, certificate, _load_key(folder / "ca.key"))

    @property
    def ca(self) -> Path:
        """The CA's certificate, which every device gets."""
        return self.folder / "ca.pem"

    def server_pair(self, hosts: list[str]) -> Pair:
        """Return the broker's pair, made anew when its hosts changed or its end is near."""
        pair = self._pair("server")
        if not self._usable(pair, hosts):
            san = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            self._make(pair, hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, san)
        return pair

    def service_pair(self) -> Pair:
        """Return the fleet service's own client pair."""
        pair = self._pair(FLEET_SERVICE)
        if not self._usable(pair, None):
            self._make(pair, FLEET_SERVICE, ExtendedKeyUsageOID.CLIENT_AUTH, None)
        return pair

    def sign_device(self, csr_pem: bytes, node: str) -> bytes:
        """Return a 90-day client certificate whose CN is `node`, whatever the request says, as PEM.

        Raises:
            RequestRefused: the node's name, the request's signature or its key.
        """
        if not re.fullmatch(NODE, node) or node == FLEET_SERVICE:
            raise RequestRefused(f"{node!r} can't be a node's name: use [a-z0-9-], 1 to 64 long, not {FLEET_SERVICE!r}")
        key = _public_key_of(csr_pem)
        certificate = self._sign(key, node, DEVICE_LIFE, ExtendedKeyUsageOID.CLIENT_AUTH, None)
        pem = _certificate_pem(certificate)
        signed = self.folder / "signed"
        signed.mkdir(exist_ok=True)
        _write(signed / f"{node}-{certificate.serial_number:x}.pem", pem, 0o644)
        return pem

    def _pair(self, name: str) -> Pair:
        return Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def _usable(self, pair: Pair, hosts: list[str] | None) -> bool:
        if not (pair.certificate.exists() and pair.key.exists()):
            return False
        certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        if certificate.not_valid_after_utc - datetime.now(UTC) < RENEW_BEFORE:
            return False
        return hosts is None or set(_hosts_of(certificate)) == set(hosts)

    def _make(
        self, pair: Pair, name: str, usage: x509.ObjectIdentifier, san: x509.SubjectAlternativeName | None
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key.public_key(), name, DEVICE_LIFE, usage, san)
        _write(pair.key, _key_pem(key), 0o600)
        _write(pair.certificate, _certificate_pem(certificate), 0o644)

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        name: str,
        life: timedelta,
        usage: x509.ObjectIdentifier,
        san: x509.SubjectAlternativeName | None,
    ) -> x509.Certificate:
        builder = _builder(name, key, life).issuer_name(self._certificate.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(ca=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        if san is not None:
            builder = builder.add_extension(san, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    builder = _builder("PlantEdge fleet CA", key.public_key(), CA_LIFE).issuer_name(_name("PlantEdge fleet CA"))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(ca=True), critical=True)
    return builder.sign(key, hashes.SHA256())


def _builder(name: str, key: ec.EllipticCurvePublicKey, life: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]


def _public_key_of(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    if len(csr_pem) > _MAX_CSR_BYTES:
        raise RequestRefused(f"the request has {len(csr_pem)} bytes, at most {_MAX_CSR_BYTES} are read")
    try:
        csr = x509.load_pem_x509_csr(csr_pem)
        key = csr.public_key()
        valid = csr.is_signature_valid
    except Exception as error:  # whatever a hostile request makes the parser raise, it is refused
        raise RequestRefused(f"not a certificate request in PEM: {error}; make one with `plantedge enroll`") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RequestRefused("the request's key is not EC P-256; make it with `plantedge enroll`")
    if not valid:
        raise RequestRefused("the request's signature is wrong: it was changed on its way; send it again")
    return key


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is no EC key")
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, data: bytes, mode: int) -> None:
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
