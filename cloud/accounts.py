"""Who may use the REST interface: users, sessions, API tokens, one-time login links, and the rights of each role.

Only hashes of secrets are kept. Sessions are in memory and in the store, so that a restart logs nobody out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from enum import StrEnum
from functools import partial

import msgspec

from bus.typed import RateLimit
from cloud.store import Store
from schemas.errors import PlantEdgeError

SESSION_S = 12 * 3600
ONCE_S = 24 * 3600
ADMIN = "admin"
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
_MAX_PASSWORD = 256
_MAX_SESSIONS = 1_000


class Role(StrEnum):
    """What a person or program may do; each role may do what those before it may."""

    VIEWER = "viewer"  # sees everything
    OPERATOR = "operator"  # acknowledges alerts, pings devices
    ENGINEER = "engineer"  # changes configuration, restarts processes
    ADMIN = "admin"  # makes users, tokens and links

    def may(self, needed: Role) -> bool:
        """Return whether this role includes `needed`."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class LoginRefused(PlantEdgeError):
    """A login that was turned down."""


class TooManyTries(LoginRefused):
    """Logins come faster than a person types."""


class User(msgspec.Struct, frozen=True):
    """A person: scrypt of the password."""

    role: Role
    salt: bytes
    hash: bytes


class Token(msgspec.Struct, frozen=True):
    """An API token, or a one-time link; its id is the SHA-256 of the secret. `until_s` 0: no end."""

    name: str
    role: Role
    until_s: float = 0.0


class Login(msgspec.Struct, frozen=True):
    """A session; its id is the SHA-256 of the cookie."""

    user: str
    role: Role
    csrf: str
    until_s: float


class Accounts:
    """All accounts of one fleet. Reads are from memory, writes go to the store first."""

    def __init__(self, store: Store) -> None:
        """Read what the store holds."""
        self._store = store
        self._users = store.accounts("user", User)
        self._tokens = store.accounts("token", Token)
        self._links = store.accounts("link", Token)
        self._logins = {key: login for key, login in store.accounts("login", Login).items() if _alive(login.until_s)}
        self._tries = RateLimit(0.2, burst=10)

    def first_password(self) -> str:
        """Make the user `admin` with a random password and return it, or "" if there are users already."""
        if self._users:
            return ""
        password = secrets.token_urlsafe(12)
        self._users[ADMIN] = _user(Role.ADMIN, password)
        self._store.put_account("user", ADMIN, self._users[ADMIN])
        return password

    async def add_user(self, name: str, role: Role, password: str = "") -> str:
        """Make a user or change one, with this password or a random one; return the password. Ends their sessions."""
        password = password or secrets.token_urlsafe(12)
        user = await self._store.run(partial(_user, role, password))
        await self._put("user", name, user)
        self._users[name] = user
        for key in [key for key, login in self._logins.items() if login.user == name]:
            await self.logout_key(key)
        return password

    async def add_token(self, name: str, role: Role) -> str:
        """Make an API token and return its secret, which can't be read again."""
        secret = secrets.token_urlsafe(32)
        token = Token(name, role)
        await self._put("token", _digest(secret), token)
        self._tokens[_digest(secret)] = token
        return secret

    def add_run_token(self, name: str, role: Role) -> str:
        """Make an API token that ends with this run of the service; it is never stored."""
        secret = secrets.token_urlsafe(32)
        self._tokens[_digest(secret)] = Token(name, role)
        return secret

    async def add_link(self, role: Role = Role.ADMIN) -> str:
        """Make the secret of a login link that works once, within a day."""
        secret = secrets.token_urlsafe(32)
        link = Token("link", role, time.time() + ONCE_S)
        await self._put("link", _digest(secret), link)
        self._links[_digest(secret)] = link
        return secret

    async def login(self, name: str, password: str) -> tuple[str, Login]:
        """Return the cookie and the session of a user.

        Raises:
            TooManyTries: more than 10 tries, and then one in 5 s.
            LoginRefused: no such user, or another password.
        """
        if not self._tries.take():
            raise TooManyTries("too many logins; wait a minute and try again")
        user = self._users.get(name, _NOBODY)
        found = await self._store.run(partial(_hash, password[:_MAX_PASSWORD], user.salt))
        if not hmac.compare_digest(found, user.hash) or user is _NOBODY:
            raise LoginRefused("user or password is wrong")
        return await self._session(name, user.role)

    async def login_once(self, secret: str) -> tuple[str, Login]:
        """Return the cookie and the session of a login link, which is used up.

        Raises:
            LoginRefused: the link was used, is too old, or never was.
        """
        link = self._links.pop(_digest(secret), None)
        if link is None or not _alive(link.until_s):
            raise LoginRefused("this link was used already or is older than a day; `plantedge-fleet link` makes one")
        await self._put("link", _digest(secret), None)
        return await self._session(ADMIN if link.role is Role.ADMIN else link.name, link.role)

    def by_cookie(self, cookie: str) -> Login | None:
        """Return the live session of a cookie."""
        login = self._logins.get(_digest(cookie)) if cookie else None
        return login if login and _alive(login.until_s) else None

    def by_token(self, secret: str) -> Login | None:
        """Return who an API token speaks for."""
        token = self._tokens.get(_digest(secret)) if secret else None
        return Login(f"token {token.name}", token.role, "", 0.0) if token else None

    async def logout(self, cookie: str) -> None:
        """End a session."""
        await self.logout_key(_digest(cookie))

    async def logout_key(self, key: str) -> None:
        """End a session by its id."""
        self._logins.pop(key, None)
        await self._put("login", key, None)

    async def _session(self, user: str, role: Role) -> tuple[str, Login]:
        for key in [key for key, login in self._logins.items() if not _alive(login.until_s)]:
            await self.logout_key(key)
        while len(self._logins) >= _MAX_SESSIONS:
            await self.logout_key(next(iter(self._logins)))
        cookie = secrets.token_urlsafe(32)
        login = Login(user, role, secrets.token_urlsafe(24), time.time() + SESSION_S)
        await self._put("login", _digest(cookie), login)
        self._logins[_digest(cookie)] = login
        return cookie, login

    async def _put(self, kind: str, key: str, value: object | None) -> None:
        await self._store.run(partial(self._store.put_account, kind, key, value))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_SCRYPT["n"], r=_SCRYPT["r"], p=_SCRYPT["p"])


def _user(role: Role, password: str) -> User:
    salt = secrets.token_bytes(16)
    return User(role, salt, _hash(password, salt))


def _alive(until_s: float) -> bool:
    return until_s == 0 or time.time() < until_s


_NOBODY = User(Role.VIEWER, b"\0" * 16, b"\0" * 64)  # an unknown user takes as long as a known one
