"""`plantedge opcua list|trust|reject`: whose certificates the OPC UA server takes, without a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge.commands.ownership import give_to_owner_of
from edge.host.durable import write_durably
from edge.opcua_server.access.rejected import file_name
from edge.opcua_server.access.trust import (
    CLIENTS,
    USERS,
    Folders,
    application_uris,
    common_name,
    read_certificate,
    read_list,
    thumbprint,
)
from schemas.errors import StartError

SHORTEST: Final = 6  # characters of a thumbprint
_FIRST: Final = {
    "applications": "connect a client, and it is among those that were refused; or `plantedge opcua trust FILE`",
    "users": "`plantedge opcua trust --users FILE` takes a user's certificate",
}


def show(home: Path) -> int:
    """Print each certificate with its thumbprint, and each revocation list."""
    for kind, root in (("applications", CLIENTS), ("users", USERS)):
        folders = Folders(home / root)
        print(f"{kind} ({folders.root})")
        for state, folder in (
            ("trusted", folders.trusted),
            ("issuer", folders.issuers),
            ("rejected", folders.rejected),
        ):
            for _, certificate in _certificates(folder):
                print(f"  {state:9}{_line(certificate)}")
        for folder in (folders.trusted_crl, folders.issuers_crl):
            for path in _files(folder):
                print(f"  crl      {_crl_line(path)}")
        if not any(_files(folder) for folder in folders.all()):
            print(f"  none yet: {_FIRST[kind]}")
    return 0


def trust(home: Path, what: str, *, users: bool, issuer: bool) -> int:
    """Trust one that was refused, or what a file holds.

    Raises:
        StartError: there is no such certificate, or the file holds none.
    """
    folders = _folders(home, users=users)
    path = Path(what)
    if path.is_file():
        done = _add(home, folders, path, issuer=issuer)
    else:
        at, certificate = _find(what, folders.rejected)
        target = folders.issuers if issuer else folders.trusted
        done = _put(home, target, certificate)
        at.unlink()
    print(f"{done}; a running OPC UA server takes it up within seconds")
    return 0


def reject(home: Path, what: str, *, users: bool) -> int:
    """Trust a certificate no longer: it is then among those that were refused.

    Raises:
        StartError: there is no such certificate.
    """
    folders = _folders(home, users=users)
    at, certificate = _find(what, folders.trusted, folders.issuers)
    _put(home, folders.rejected, certificate)
    at.unlink()
    print(f"{common_name(certificate)} [{thumbprint(certificate)}] is not trusted any more; its connections end")
    return 0


def _folders(home: Path, *, users: bool) -> Folders:
    folders = Folders(home / (USERS if users else CLIENTS))
    folders.make()
    for folder in (folders.root, *folders.all()):
        give_to_owner_of(home, folder)
    return folders


def _add(home: Path, folders: Folders, path: Path, *, issuer: bool) -> str:
    try:
        return _put(home, folders.issuers if issuer else folders.trusted, read_certificate(path))
    except ValueError:
        pass
    try:
        revoked = read_list(path)
    except ValueError as error:
        raise StartError(f"{path} holds neither a certificate nor a revocation list, DER or PEM") from error
    target = (folders.issuers_crl if issuer else folders.trusted_crl) / f"{path.stem}.crl"
    write_durably(target, revoked.public_bytes(Encoding.DER))
    give_to_owner_of(home, target)
    return f"revocation list of {revoked.issuer.rfc4514_string()} is in {target}"


def _put(home: Path, folder: Path, certificate: x509.Certificate) -> str:
    path = folder / file_name(certificate)
    write_durably(path, certificate.public_bytes(Encoding.DER))
    give_to_owner_of(home, path)
    return f"{common_name(certificate)} [{thumbprint(certificate)}] is in {folder}"


def _find(what: str, *folders: Path) -> tuple[Path, x509.Certificate]:
    wanted = what.replace(":", "").replace(" ", "").upper()
    found = [
        (path, one) for folder in folders for path, one in _certificates(folder) if thumbprint(one).startswith(wanted)
    ]
    if "." in what or "/" in what:  # no thumbprint has these
        raise StartError(f"there is no file {what}")
    if len(wanted) < SHORTEST or len(found) != 1:
        where = " or ".join(str(folder) for folder in folders)
        raise StartError(
            f"{what!r} names {len(found)} certificates in {where}, and is no file; `plantedge opcua list` shows their "
            f"thumbprints, {SHORTEST} characters or more of one are enough"
        )
    return found[0]


def _certificates(folder: Path) -> Iterator[tuple[Path, x509.Certificate]]:
    for path in _files(folder):
        found = _attempt(read_certificate, path)
        if isinstance(found, x509.Certificate):
            yield path, found
        else:
            print(f"  {path}: {found}")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))


def _attempt(read: Callable[[Path], object], path: Path) -> object:
    try:
        return read(path)
    except (OSError, ValueError) as error:
        return f"can't be read ({error}); it counts as not there"


def _line(certificate: x509.Certificate) -> str:
    until = certificate.not_valid_after_utc
    ended = " (ran out)" if until < datetime.now(UTC) else ""
    uris = ", ".join(application_uris(certificate))
    return f"{thumbprint(certificate)}  {common_name(certificate)}  {uris}  until {until:%Y-%m-%d}{ended}"


def _crl_line(path: Path) -> str:
    found = _attempt(read_list, path)
    if not isinstance(found, x509.CertificateRevocationList):
        return f"{path}: {found}"
    until = found.next_update_utc
    ended = until is None or until < datetime.now(UTC)
    return (
        f"{found.issuer.rfc4514_string()}: {len(found)} revoked, until {until:%Y-%m-%d}"
        + (" (ran out: what this authority issued is refused)" if ended else "")
        if until is not None
        else f"{found.issuer.rfc4514_string()}: without an end, which counts as run out"
    )
