"""`plantedge identity request|install|show`: a device's key and certificate, for its fleet."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

from edge.commands.ownership import give_to_owner_of
from edge.security.identity import CA, CERTIFICATE, CSR, KEY, Identity, install, make_request, read_identity
from edge.settings import Settings, load_settings
from schemas.errors import StartError

_DAY_NS = 86_400 * 10**9


def request(home: Path) -> int:
    """Make the key, which stays here, and a request that the fleet's CA can sign."""
    settings = load_settings(home)
    file = make_request(_folder(home, settings), settings.device.node)
    give_to_owner_of(home, file.parent, file, file.parent / KEY)
    node = settings.device.node
    print(file)
    print(f"carry it to the fleet's server: plantedge-fleet enroll --csr {CSR} --node {node} --out {node}")
    print(f"then bring {node}/{CERTIFICATE} and {CA} back: plantedge identity --home {home} install DIR")
    return 0


def install_answer(home: Path, answer: Path) -> int:
    """Verify what the fleet's CA signed against our key and that CA, then put it in its place.

    Raises:
        StartError: files are missing, or the certificate is of another device.
        IdentityError: of another key or CA.
    """
    settings = load_settings(home)
    folder, node = _folder(home, settings), settings.device.node
    try:
        ca, certificate = (answer / CA).read_bytes(), (answer / CERTIFICATE).read_bytes()
    except OSError as error:
        raise StartError(
            f"{error.filename}: {error.strerror}; the answer of the fleet is {CERTIFICATE} and {CA}"
        ) from error
    found = install(folder, ca, certificate, node)
    give_to_owner_of(home, folder / CA, folder / CERTIFICATE)
    print(_described(found, folder))
    if not settings.uplink.host:
        print("device.toml names no fleet yet: [uplink] host = ...")
    return 0


def show(home: Path) -> int:
    """Print what the certificate says; 1 if its time is over."""
    folder = _folder(home, load_settings(home))
    found = read_identity(folder)
    print(_described(found, folder))
    return 0 if found.until_ns > time.time_ns() else 1


def _folder(home: Path, settings: Settings) -> Path:
    return home / settings.uplink.identity


def _described(identity: Identity, folder: Path) -> str:
    until = datetime.datetime.fromtimestamp(identity.until_ns / 1e9, datetime.UTC)
    days = (identity.until_ns - time.time_ns()) / _DAY_NS
    life = f"for {days:.0f} more days" if days > 0 else "no more: enrol again"
    return f"{identity.node}: certificate {identity.serial:x} in {folder}, good until {until:%Y-%m-%d}, {life}"
