"""A device's identity: its key, its certificate request, and the files of its mutual TLS.

The key is made on the device and never leaves it. Files in the identity folder: `device.key` (0600), `device.csr`,
`device.pem`, `ca.pem`. Only cryptography here: no network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.errors import PlantEdgeError

KEY, CSR, CERTIFICATE, CA = "device.key", "device.csr", "device.pem", "ca.pem"


class IdentityError(PlantEdgeError):
    """A key or certificate that can't be used; the message names the file and says what to do."""


@dataclass(frozen=True)
class Identity:
    """What a device's certificate says. `until_ns`: wall clock, the end of its life."""

    node: str
    serial: int
    from_ns: int
    until_ns: int


def make_request(folder: Path, node: str) -> Path:
    """Make the key (kept if there is one) and a certificate request for `node`; return the request's file."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / KEY).exists():
        _write(folder / KEY, _pem(ec.generate_private_key(ec.SECP256R1())), 0o600)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(_key(folder), hashes.SHA256())
    _write(folder / CSR, csr.public_bytes(serialization.Encoding.PEM), 0o644)
    return folder / CSR


def install(folder: Path, ca_pem: bytes, certificate_pem: bytes, node: str = "") -> Identity:
    """Verify a signed certificate against our key, the CA and the node it shall be of, then write both.

    Raises:
        IdentityError: the certificate is of another key, CA or node, or can't be read.
    """
    certificate, ca = _parse(certificate_pem, "the certificate"), _parse(ca_pem, "the CA's certificate")
    if certificate.public_key() != _key(folder).public_key():
        raise IdentityError(f"the certificate is not of {folder / KEY}; enrol again with {folder / CSR}")
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise IdentityError(f"the certificate is not signed by the CA that came with it ({error})") from error
    if node and _identity(certificate).node != node:
        raise IdentityError(
            f"the certificate is of {_identity(certificate).node}, this device is {node}; enrol it again"
        )
    _write(folder / CA, ca_pem, 0o644)
    _write(folder / CERTIFICATE, certificate_pem, 0o644)
    return _identity(certificate)


def read_identity(folder: Path) -> Identity:
    """Return what the installed certificate says.

    Raises:
        IdentityError: there is none, or it can't be read.
    """
    try:
        return _identity(_parse((folder / CERTIFICATE).read_bytes(), str(folder / CERTIFICATE)))
    except OSError as error:
        raise IdentityError(f"{folder / CERTIFICATE}: {error.strerror}; enrol the device first") from error


def certificate_until_ns(folder: Path) -> int:
    """Return the end of the installed certificate's life (wall clock), 0 where there is none that can be read."""
    try:
        return read_identity(folder).until_ns
    except IdentityError:
        return 0


def _identity(certificate: x509.Certificate) -> Identity:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Identity(
        node=str(names[0].value) if names else "",
        serial=certificate.serial_number,
        from_ns=int(certificate.not_valid_before_utc.timestamp() * 1e9),
        until_ns=int(certificate.not_valid_after_utc.timestamp() * 1e9),
    )


def _parse(pem: bytes, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityError(f"{what} is not a PEM certificate: {error}") from error


def _key(folder: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key((folder / KEY).read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise IdentityError(f"{folder / KEY} can't be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{folder / KEY} is no EC key; remove it and enrol again")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file; it never exists with wider rights than `mode`, nor half written."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
