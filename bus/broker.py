"""Who may say and hear what at a broker: accounts, ACLs and password lines, generated from `schemas.topics`.

Pure: text in, text out. `bus.broker_config` makes the rest of a broker's configuration, `bus.mosquitto` runs it.
mosquitto grants every SUBSCRIBE, forbidden ones too, and then delivers nothing: test delivery, never SUBACK.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from schemas.fields import SLUG
from schemas.topics import TOPICS, Place, Reach, Role, Topic

DEVICE_ROLES = (
    Role.AGENT, Role.CONNECT, Role.RUNTIME, Role.CAMERA, Role.OPCUA, Role.HISTORIAN, Role.MIRROR, Role.MONITOR,
    Role.HMI, Role.UPLINK,
)  # fmt: skip
EXTERNAL_ROLES = (Role.MES, Role.CLI)
FLEET_SERVICE = "fleet-service"  # its certificate's CN; no device may be enrolled under it

_GENERATED = "# Generated from schemas/topics.py by bus.broker; do not edit."
# The broker hashes on its one loop: each login of a stranger would stall the line for as long as the hash takes. Our
# passwords are generated (192 bits, see `new_password`), so that many rounds would protect nothing.
_ROUNDS = 101
_SALT_BYTES = 12


class Access(StrEnum):
    """What a line of an ACL allows."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True)
class Account:
    """Who connects: `user` is the identity that topics carry (`status/{process}`, `write/{source}/{origin}`)."""

    user: str
    role: Role

    def __post_init__(self) -> None:
        """Refuse names that can't stand in a topic, and outsiders under the name of a process.

        The client ids of our processes begin with their user name: an outsider of such a name could take one over.
        """
        if not re.fullmatch(SLUG, self.user):
            raise ValueError(f"broker user {self.user!r} is not a slug of [a-z0-9_-], 1 to 64 long")
        if self.role in EXTERNAL_ROLES and self.user.partition("-")[0] in DEVICE_ROLES:
            raise ValueError(f"broker user {self.user!r} is named like a process of the device; choose another name")


@dataclass(frozen=True)
class Grant:
    """One line of an ACL: `topic` is a filter."""

    access: Access
    topic: str


def grants(account: Account, place: Place, rows: Iterable[Topic] = TOPICS) -> tuple[Grant, ...]:
    """Return all that `account` may do at the broker of a device; nothing else is allowed."""
    found: list[Grant] = []
    for row in rows:
        if row.reach is not Reach.SITE:
            continue
        if account.role in row.publishers:
            found.append(Grant(Access.WRITE, _filter(row, place, account.user, "publisher")))
        if account.role in row.readers:
            found.append(Grant(Access.READ, _filter(row, place, account.user, "reader")))
    return tuple(found)


def _filter(row: Topic, place: Place, user: str, side: str) -> str:
    bound = {row.binds: user} if row.binds and row.bound == side else {}
    return row.filter(place, **bound)


def device_acl(place: Place, accounts: Iterable[Account]) -> str:
    """Return the ACL file of a device's broker.

    Raises:
        ValueError: two accounts of one user.
    """
    lines = [_GENERATED]
    seen: set[str] = set()
    for account in accounts:
        if account.user in seen:
            raise ValueError(f"broker user {account.user!r} has two accounts; give each its own name")
        seen.add(account.user)
        lines += ["", f"# {account.role}", f"user {account.user}"]
        lines += [f"topic {grant.access} {grant.topic}" for grant in grants(account, place)]
    return "\n".join(lines) + "\n"


def fleet_acl(rows: Iterable[Topic] = TOPICS) -> str:
    """Return the ACL file of the fleet's broker: `%u` is the CN of a node's certificate.

    A node writes its own `up` rows and reads its own `down` rows; the fleet service does the reverse for all nodes.
    """
    fleet = [row for row in rows if row.reach is not Reach.SITE]
    lines = [_GENERATED, "", f"user {FLEET_SERVICE}"]
    lines += [f"topic {access} {row.filter()}" for row in fleet for access in _accesses(row, Role.FLEET)]
    lines += ["", "# each node by the CN of its certificate"]
    lines += [f"pattern {access} {row.filter(node='%u')}" for row in fleet for access in _accesses(row, Role.UPLINK)]
    return "\n".join(lines) + "\n"


def _accesses(row: Topic, role: Role) -> list[Access]:
    return [Access.WRITE] * (role in row.publishers) + [Access.READ] * (role in row.readers)


def new_password() -> str:
    """Return a new random password of 192 bits."""
    return secrets.token_urlsafe(24)


def password_line(user: str, password: str) -> str:
    """Return a line of mosquitto's password file: `user:$7$rounds$salt$hash`, PBKDF2 with HMAC-SHA-512."""
    if not re.fullmatch(SLUG, user):
        raise ValueError(f"broker user {user!r} is not a slug of [a-z0-9_-], 1 to 64 long")
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS)
    return f"{user}:$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def password_file(passwords: dict[str, str]) -> str:
    """Return a password file for user -> password."""
    return "".join(password_line(user, password) + "\n" for user, password in passwords.items())
