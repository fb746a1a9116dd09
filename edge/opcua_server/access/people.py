"""Who a session is, and what each role may do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509

from edge.security.passwords import NOBODY, matches
from edge.settings import OpcUa
from schemas.errors import SettingsError


class Right(StrEnum):
    """What a session may be allowed to do."""

    READ = "read"  # browse, read, subscribe
    HISTORY = "history"
    WRITE = "write"
    CALL = "call"
    AUDIT = "audit"  # hear who did what


class Role(StrEnum):
    """What a person is to this device."""

    ANONYMOUS = "anonymous"
    OBSERVER = "observer"
    OPERATOR = "operator"
    ENGINEER = "engineer"


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = MappingProxyType({
    Role.ANONYMOUS: frozenset({Right.READ}),
    Role.OBSERVER: frozenset({Right.READ, Right.HISTORY}),
    Role.OPERATOR: frozenset({Right.READ, Right.HISTORY, Right.WRITE, Right.CALL}),
    Role.ENGINEER: frozenset(Right),
})  # fmt: skip


@dataclass
class Person(User):
    """asyncua's user with a role of ours. `name` is "" for an anonymous one."""

    role: UserRole = UserRole.User
    name: str | None = ""
    duty: Role = Role.ANONYMOUS
    chain: tuple[x509.Certificate, ...] = ()  # what proves it, where that is a certificate

    def may(self, right: Right) -> bool:
        """Whether the person's role has a right."""
        return right in RIGHTS[self.duty]


@dataclass(frozen=True)
class People:
    """Names with their passwords' hashes, and roles; whoever has no role observes."""

    hashes: Mapping[str, str] = field(repr=False)
    roles: Mapping[str, Role]

    async def known(self, name: str, password: str) -> Person | None:
        """Return who has this password, None if nobody has. As slow for a name that is not there."""
        return self.person(name) if await matches(password, self.hashes.get(name, NOBODY)) else None

    def person(self, name: str, chain: Sequence[x509.Certificate] = ()) -> Person:
        """Return who has this name, once that is proven."""
        return Person(name=name, duty=self.roles.get(name, Role.OBSERVER), chain=tuple(chain))


def read_people(settings: OpcUa, home: Path) -> People:
    """Read the users' file: JSON of name -> `salt$hash` (edge/security/passwords.py).

    Raises:
        SettingsError: the file can't be read.
    """
    hashes: dict[str, str] = {}
    if settings.users:
        path = home / settings.users
        try:
            hashes = {str(name): str(stored) for name, stored in json.loads(path.read_text()).items()}
        except (OSError, ValueError, AttributeError) as error:
            raise SettingsError([f"{path}: opcua.users can't be read ({error}); JSON of name -> hash"]) from error
    return People(hashes, {name: Role(role) for name, role in settings.roles.items()})
