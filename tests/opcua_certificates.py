"""Certificates of OPC UA applications, users and authorities for tests, and revocation lists."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

URI = "urn:plantedge:test"


@cache
def key(number: int, bits: int = 2048) -> RSAPrivateKey:
    """A key, the same at each call: they are slow to make."""
    return generate_private_key(65537, bits)


@dataclass(frozen=True)
class Party:
    """Somebody with a certificate."""

    certificate: x509.Certificate
    key: RSAPrivateKey

    def files(self, folder: Path, name: str) -> dict[str, str]:
        """Write both as PEM; their paths, as the conformance client takes them."""
        certificate, secret = folder / f"{name}.pem", folder / f"{name}.key.pem"
        certificate.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        secret.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return {"certificate": str(certificate), "key": str(secret)}

    def put(self, folder: Path) -> Path:
        """Write the certificate into a folder, DER."""
        path = folder / f"{self.certificate.serial_number:x}.der"
        path.write_bytes(self.certificate.public_bytes(Encoding.DER))
        return path


def party(
    name: str,
    number: int,
    issuer: Party | None = None,
    *,
    uri: str = URI,
    authority: bool = False,
    path_length: int | None = None,
    days: tuple[float, float] = (-1, 30),
    bits: int = 2048,
    client: bool = True,
    encipher: bool = True,
) -> Party:
    """Make a certificate: signed by itself, or by `issuer`; `days` from now until when it holds."""
    own, now = key(number, bits), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    above = issuer.certificate.subject if issuer else subject
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=encipher, data_encipherment=encipher,
        key_agreement=False, key_cert_sign=authority, crl_sign=authority, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    extended = [ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH]
    builder = (
        x509.CertificateBuilder(above, subject, own.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(authority, path_length if authority else None), critical=True)
        .add_extension(usage, critical=True)
    )
    if not authority:
        names = [x509.UniformResourceIdentifier(uri), x509.DNSName("localhost")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    signer = issuer.key if issuer else own
    return Party(builder.sign(signer, hashes.SHA256()), own)


def revocations(
    issuer: Party, revoked: Iterable[Party] = (), days: tuple[float, float] = (-1, 30)
) -> x509.CertificateRevocationList:
    """Make an authority's revocation list."""
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(
        issuer.certificate.subject, now + timedelta(days=days[0]), now + timedelta(days=days[1])
    )
    for one in revoked:
        entry = x509.RevokedCertificateBuilder(one.certificate.serial_number, now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256())


def put_list(folder: Path, name: str, held: x509.CertificateRevocationList) -> Path:
    """Write a revocation list into a folder."""
    path = folder / f"{name}.crl"
    path.write_bytes(held.public_bytes(Encoding.DER))
    return path
