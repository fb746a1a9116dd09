"""`fleet.json` in a fleet's home: what a running service says of itself to commands and to `plantedge up`."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from schemas.errors import StartError

FILE = "fleet.json"


class FleetFile(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses, process id, CA; `token` ends with the service, `login` is a link that works once."""

    url: str
    login: str
    mqtt_host: str
    mqtt_port: int
    ca: str
    pid: int
    token: str


def write_fleet_file(home: Path, file: FleetFile) -> None:
    """Write it for its owner only."""
    aside = home / f"{FILE}.new"
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(msgspec.json.format(msgspec.json.encode(file)) + b"\n")
    aside.replace(home / FILE)


def read_fleet_file(home: Path) -> FleetFile:
    """Return what the service of this home says.

    Raises:
        StartError: no service runs there.
    """
    try:
        return msgspec.json.decode((home / FILE).read_bytes(), type=FleetFile)
    except (OSError, msgspec.DecodeError) as error:
        raise StartError(
            f"{home / FILE}: no fleet service runs there; start it with `plantedge-fleet serve`"
        ) from error


def remove_fleet_file(home: Path) -> None:
    """Say that the service has ended."""
    (home / FILE).unlink(missing_ok=True)
