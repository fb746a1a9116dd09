"""Which certificates are trusted: the usual folders, and the checks of OPC 10000-4, 6.1.3. No asyncua, no network.

Below a root: `trusted/certs`, `trusted/crl`, `issuer/certs` (authorities that complete a chain, but are not trusted for
what they issue), `issuer/crl` and `rejected`. DER or PEM, whatever the file's name. A certificate that an authority
issued needs that authority's revocation list: without one, or with one that ran out or can't be read, it is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from schemas.errors import CertificateRefused

CLIENTS: Final = Path("state/opcua/pki")  # of a device folder: applications
USERS: Final = Path("state/opcua/pki-users")  # people who prove themselves by a certificate
LONGEST_CHAIN: Final = 5
KEY_BITS: Final = range(2048, 4097)  # both of our policies: OPC 10000-7, Basic256Sha256 and Aes256-Sha256-RsaPss
SKEW: Final = timedelta(minutes=5)  # a client's clock may be ahead of ours when it makes its certificate
LARGEST_FILE: Final = 1024 * 1024
Found = TypeVar("Found")
_WEAK: Final = frozenset({"md5", "sha1"})


@dataclass(frozen=True)
class Folders:
    """Where certificates lie, below `root`."""

    root: Path

    @property
    def trusted(self) -> Path:
        """Applications, users and authorities that are trusted."""
        return self.root / "trusted" / "certs"

    @property
    def trusted_crl(self) -> Path:
        """Revocation lists of trusted authorities."""
        return self.root / "trusted" / "crl"

    @property
    def issuers(self) -> Path:
        """Authorities that complete a chain."""
        return self.root / "issuer" / "certs"

    @property
    def issuers_crl(self) -> Path:
        """Revocation lists of those."""
        return self.root / "issuer" / "crl"

    @property
    def rejected(self) -> Path:
        """Certificates that were refused, for a person to look at."""
        return self.root / "rejected"

    def all(self) -> tuple[Path, ...]:
        """Return each folder."""
        return self.trusted, self.trusted_crl, self.issuers, self.issuers_crl, self.rejected

    def make(self) -> None:
        """Create those that are missing."""
        for folder in self.all():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Return what changes when a list changes: names, times and sizes; not of what was rejected."""
        found: list[tuple[str, int, int]] = []
        for folder in self.all()[:-1]:
            for path in _files(folder):
                with contextlib.suppress(OSError):  # moved away meanwhile
                    seen = path.stat()
                    found.append((str(path), seen.st_mtime_ns, seen.st_size))
        return tuple(sorted(found))


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError:
        return []


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Return what tells two certificates apart."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


def thumbprint(certificate: x509.Certificate) -> str:
    """Return the SHA-1 of a certificate in hex, which OPC UA tools show; nothing is decided by it."""
    return hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest().upper()


def common_name(certificate: x509.Certificate) -> str:
    """Return the subject's common name, "" without one."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def application_uris(certificate: x509.Certificate) -> list[str]:
    """Return the URIs that a certificate was issued for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def split_chain(data: bytes) -> list[x509.Certificate]:
    """Read certificates that follow each other, as a SenderCertificate holds them: the leaf first.

    Raises:
        CertificateRefused: this is no certificate, or too many of them.
    """
    found: list[x509.Certificate] = []
    while data:
        size = _der_size(data)
        if size == 0 or size > len(data) or len(found) == LONGEST_CHAIN:
            raise CertificateRefused("BadCertificateInvalid", "it is not a chain of DER certificates")
        try:
            found.append(x509.load_der_x509_certificate(data[:size]))
        except (ValueError, x509.InvalidVersion) as error:
            raise CertificateRefused("BadCertificateInvalid", f"it can't be read: {error}") from error
        data = data[size:]
    return found


def _der_size(data: bytes) -> int:
    """Return how long the first DER sequence is, 0 if there is none (X.690, 8.1.3)."""
    if len(data) < 2 or data[0] != 0x30:
        return 0
    if data[1] < 0x80:
        return 2 + data[1]
    count = data[1] & 0x7F
    return 2 + count + int.from_bytes(data[2 : 2 + count]) if 0 < count <= 4 else 0


def read_certificate(path: Path) -> x509.Certificate:
    """Read one certificate, DER or PEM.

    Raises:
        ValueError: it is none.
        OSError: it can't be read.
    """
    data = _content(path)
    try:
        return x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error


def read_list(path: Path) -> x509.CertificateRevocationList:
    """Read one revocation list, DER or PEM.

    Raises:
        ValueError: it is none.
        OSError: it can't be read.
    """
    data = _content(path)
    return x509.load_pem_x509_crl(data) if b"-----BEGIN" in data else x509.load_der_x509_crl(data)


def _content(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE} bytes")
    return path.read_bytes()


@dataclass(frozen=True)
class TrustList:
    """What the folders held when they were read. `problems`: files that could not be."""

    trusted: tuple[x509.Certificate, ...]
    issuers: tuple[x509.Certificate, ...]
    lists: tuple[x509.CertificateRevocationList, ...]
    problems: tuple[str, ...] = ()

    def check(self, sent: Sequence[x509.Certificate], now: datetime | None = None) -> None:
        """Check a certificate and the authorities sent along; those are believed only as far as a trusted one says.

        Raises:
            CertificateRefused: with the StatusCode of the first check that failed, in the order of Part 4, Table 100.
        """
        now = now or datetime.now(UTC)
        chain = self._chain(sent)
        for certificate in chain:
            _check_strength(certificate)
        known = {fingerprint(one) for one in self.trusted}
        if not any(fingerprint(one) in known for one in chain):
            raise CertificateRefused("BadCertificateUntrusted", "neither it nor its authority is trusted")
        for depth, certificate in enumerate(chain):
            _check_time(certificate, now, depth)
        for depth, (certificate, issuer) in enumerate(pairwise(chain)):
            _check_authority(issuer, depth)
            self._check_revoked(certificate, issuer, now, depth)

    def _chain(self, sent: Sequence[x509.Certificate]) -> list[x509.Certificate]:
        chain = [sent[0]]
        while not _issued(chain[-1], chain[-1]):
            if len(chain) == LONGEST_CHAIN:
                raise CertificateRefused("BadCertificateChainIncomplete", f"more than {LONGEST_CHAIN} authorities")
            above = next((one for one in (*self.trusted, *self.issuers, *sent[1:]) if _issued(chain[-1], one)), None)
            if above is None:
                issuer = chain[-1].issuer.rfc4514_string()
                raise CertificateRefused("BadCertificateChainIncomplete", f"its authority is not known: {issuer}")
            chain.append(above)
        return chain

    def _check_revoked(
        self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime, depth: int
    ) -> None:
        part = "" if depth == 0 else "Issuer"
        mine = [one for one in self.lists if one.issuer == issuer.subject and _signed(one, issuer)]
        if any(one.get_revoked_certificate_by_serial_number(certificate.serial_number) for one in mine):
            raise CertificateRefused(f"BadCertificate{part}Revoked", "its authority has revoked it")
        if not any(_holds(one, now) for one in mine):
            raise CertificateRefused(
                f"BadCertificate{part}RevocationUnknown",
                f"there is no revocation list of {issuer.subject.rfc4514_string()} that still holds",
            )


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _signed(revoked: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        return isinstance(key, RSAPublicKey) and revoked.is_signature_valid(key)
    except (ValueError, UnsupportedAlgorithm):
        return False


def _holds(revoked: x509.CertificateRevocationList, now: datetime) -> bool:
    until = revoked.next_update_utc
    return revoked.last_update_utc <= now + SKEW and until is not None and now <= until


def _check_strength(certificate: x509.Certificate) -> None:
    try:
        key, digest = certificate.public_key(), certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateRefused("BadCertificatePolicyCheckFailed", f"its key can't be used: {error}") from error
    if not isinstance(key, RSAPublicKey) or key.key_size not in KEY_BITS:
        raise CertificateRefused("BadCertificatePolicyCheckFailed", "its key is not RSA of 2048 to 4096 bits")
    if digest is None or digest.name in _WEAK:
        raise CertificateRefused("BadCertificatePolicyCheckFailed", "it is signed with a digest weaker than SHA-256")


def _check_time(certificate: x509.Certificate, now: datetime, depth: int) -> None:
    part = "" if depth == 0 else "Issuer"
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first - SKEW <= now <= last:
        raise CertificateRefused(f"BadCertificate{part}TimeInvalid", f"it holds from {first:%F} to {last:%F}")


def _check_authority(issuer: x509.Certificate, below: int) -> None:
    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = _usage(issuer)
    except (x509.ExtensionNotFound, ValueError) as error:
        raise CertificateRefused("BadCertificateIssuerUseNotAllowed", "its authority is no authority") from error
    room = basic.path_length is None or below <= basic.path_length
    if not basic.ca or not room or (usage is not None and not usage.key_cert_sign):
        raise CertificateRefused("BadCertificateIssuerUseNotAllowed", "its authority may not issue it")


def _usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def check_client_use(certificate: x509.Certificate) -> None:
    """Check that a certificate is an application's that connects (OPC 10000-6, 6.2.2).

    Raises:
        CertificateRefused: it is for something else.
    """
    try:
        usage = _usage(certificate)
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise CertificateRefused("BadCertificateUseNotAllowed", "it has no ExtendedKeyUsage") from error
    signs = usage is not None and usage.digital_signature and usage.key_encipherment and usage.data_encipherment
    if not signs or ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        raise CertificateRefused("BadCertificateUseNotAllowed", "it is not for a client's signature and encryption")


def check_user_use(certificate: x509.Certificate) -> None:
    """Check that a certificate may stand for a person: it names one, and signs.

    Raises:
        CertificateRefused: it does not.
    """
    usage = _usage(certificate)
    if not common_name(certificate) or (usage is not None and not usage.digital_signature):
        raise CertificateRefused("BadCertificateUseNotAllowed", "it has no common name, or is not for signatures")


def load(folders: Folders) -> TrustList:
    """Read the folders. What can't be read is left out and told in `problems`."""
    problems: list[str] = []
    return TrustList(
        tuple(_read(folders.trusted, read_certificate, problems)),
        tuple(_read(folders.issuers, read_certificate, problems)),
        tuple(one for at in (folders.trusted_crl, folders.issuers_crl) for one in _read(at, read_list, problems)),
        tuple(problems),
    )


def _read(folder: Path, read: Callable[[Path], Found], problems: list[str]) -> Iterator[Found]:
    for path in _files(folder):
        try:
            yield read(path)
        except (OSError, ValueError) as error:
            problems.append(f"{path}: can't be read ({error}); it counts as not there")
