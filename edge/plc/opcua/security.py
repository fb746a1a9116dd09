"""What an OPC UA client proves and demands: its own certificate, the server's, and the user's password.

A secured channel proves whose certificate it is, not that it is the right one: that is what `trusted_file` says, and
there is no security without it. Source: OPC 10000-4, 6.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

from schemas.errors import ConnectorError

_PEM = b"-----BEGIN"
OWN_URI = "urn:plantedge:client"


@dataclass(frozen=True)
class Credentials:
    """What was read of the files."""

    certificate: x509.Certificate
    key: RSAPrivateKey
    trusted: tuple[x509.Certificate, ...]

    def __repr__(self) -> str:
        """Say nothing of the key."""
        return "Credentials()"


def read_credentials(certificate: str, key: str, trusted: str) -> Credentials:
    """Read certificate and key (PEM or DER), and what is trusted (PEM, also several; or DER).

    Raises:
        ConnectorError: a file that can't be read, or is not what it should be.
    """
    return Credentials(_certificates(certificate)[0], _key(key), _certificates(trusted))


def read_secret(path: str) -> str:
    """Return the one line of a password file.

    Raises:
        ConnectorError: it can't be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConnectorError(f"password_file {path} can't be read ({type(error).__name__})") from error


def distrust(server: x509.Certificate, trusted: Sequence[x509.Certificate]) -> str:
    """Return why a server's certificate is not trusted; "" if it is.

    One that stands in `trusted` itself is pinned: its dates don't matter, as a PLC's clock often has none. One that is
    issued by an authority in `trusted` has to be valid now.
    """
    if server in trusted:
        return ""
    if not any(_issued(server, authority) for authority in trusted):
        return "neither it nor its issuer is in trusted_file"
    if not server.not_valid_before_utc <= datetime.now(UTC) <= server.not_valid_after_utc:
        return f"it is valid from {server.not_valid_before_utc:%F} to {server.not_valid_after_utc:%F}"
    return ""


def application_uri(certificate: x509.Certificate) -> str:
    """Return the URI that a certificate is made out to; a server compares it with what its client says it is."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return OWN_URI
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if uris else OWN_URI


def _issued(server: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        if not authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        server.verify_directly_issued_by(authority)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    return True


def _certificates(path: str) -> tuple[x509.Certificate, ...]:
    try:
        data = Path(path).read_bytes()
        if _PEM in data:
            return tuple(x509.load_pem_x509_certificates(data))
        return (x509.load_der_x509_certificate(data),)
    except (OSError, ValueError, x509.InvalidVersion) as error:
        raise ConnectorError(f"{path} is no certificate in PEM or DER ({type(error).__name__})") from error


def _key(path: str) -> RSAPrivateKey:
    try:
        data = Path(path).read_bytes()
        key = load_pem_private_key(data, None) if _PEM in data else load_der_private_key(data, None)
    except (OSError, ValueError, TypeError) as error:
        raise ConnectorError(f"key_file {path} is no key without password ({type(error).__name__})") from error
    if not isinstance(key, RSAPrivateKey):
        raise ConnectorError(f"key_file {path} is no RSA key, which OPC UA's policies take")
    return key
