"""Links that let somebody in without a password: once, under a name, or for ever and only to look (a wall panel).

A link is a file named by the SHA-256 of its secret, which is kept nowhere. `plantedge hmi` makes it, the page takes it:
both run as the user of the device.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from edge.commands.ownership import give_to_owner_of
from edge.host.durable import write_durably

FOLDER: Final = "state/hmi/links"
ONCE_S: Final = 24 * 3600


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Whom it lets in: `name` for a login, "" for a panel, which has no end."""

    name: str
    until_s: float = 0.0


def digest(secret: str) -> str:
    """Return what a secret is kept as."""
    return hashlib.sha256(secret.encode()).hexdigest()


def make_link(home: Path, name: str = "") -> str:
    """Make a link and return its secret: for a login as `name`, or for a panel."""
    secret = secrets.token_urlsafe(32)
    path = home / FOLDER / digest(secret)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_durably(path, msgspec.json.encode(Link(name=name, until_s=time.time() + ONCE_S if name else 0.0)))
    path.chmod(0o600)
    give_to_owner_of(home, path.parent.parent, path.parent, path)
    return secret


def use_once(home: Path, secret: str) -> str | None:
    """Return the name that a login link stands for, and use it up; None if it was used, is too old, or never was."""
    path = home / FOLDER / digest(secret)
    link = _read(path)
    if link is None or not link.name:
        return None
    try:
        path.unlink()
    except FileNotFoundError:
        return None  # another one was faster
    return link.name if time.time() < link.until_s else None


def is_panel(home: Path, secret: str) -> bool:
    """Return whether a secret lets a panel look."""
    link = _read(home / FOLDER / digest(secret))
    return link is not None and not link.name


def revoke_panels(home: Path) -> int:
    """Remove every panel's link, and logins that are past their time; return how many panels there were."""
    found = 0
    for path in (home / FOLDER).glob("*"):
        link = _read(path)
        panel = link is not None and not link.name
        if link is None or panel or time.time() >= link.until_s:
            path.unlink(missing_ok=True)
        found += panel
    return found


def _read(path: Path) -> Link | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Link)
    except (OSError, msgspec.DecodeError):
        return None
