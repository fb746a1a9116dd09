"""Who may look at the page, and who may judge: passwords of the users' file, login links, the link of a wall panel."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from bus.typed import RateLimit
from edge.audit.denials import Denied, untold
from edge.operator_page.links import digest, is_panel, use_once
from edge.operator_page.store import PageStore, Session
from edge.security.passwords import NOBODY, matches
from edge.settings import Hmi
from schemas.errors import PlantEdgeError

SESSION_S: Final = 12 * 3600
MOST_SESSIONS: Final = 200
MOST_PASSWORD: Final = 256
_LOGIN: Final = "a login on the operators' page"
Stored = Callable[[Callable[[], None]], Awaitable[None]]


class LoginRefused(PlantEdgeError):
    """A login that was turned down."""


class TooManyTries(LoginRefused):
    """Logins come faster than a person types."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. A panel has no name, may not judge, and changes nothing."""

    name: str
    may_judge: bool
    csrf: str


PANEL: Final = Person(name="", may_judge=False, csrf="")


class People:
    """Sessions and where they come from; `stored` runs what touches the store in its thread."""

    def __init__(
        self, settings: Hmi, users: str, home: Path, store: PageStore, stored: Stored, denied: Denied = untold
    ) -> None:
        """`users`: the file of names and hashes below `home`, "" for none. Logins of before go on."""
        self.denied = denied
        self._judges, self._home, self._store, self._stored = settings.judges, home, store, stored
        self._path = home / users if users else None
        self._hashes: dict[str, str] = {}
        self._read_ns = -1
        self._sessions = {key: held for key, held in store.sessions().items() if time.time() < held.until_s}
        self._tries = RateLimit(0.2, burst=10)

    @property
    def has_users(self) -> bool:
        """Whether anybody can log in by a password."""
        return bool(self._known())

    def _known(self) -> dict[str, str]:
        """The users' file as it is now; one that can't be read lets nobody in."""
        if self._path is None:
            return {}
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns != self._read_ns:
                held = json.loads(self._path.read_bytes())
                self._hashes, self._read_ns = {str(name): str(stored) for name, stored in held.items()}, changed_ns
        except (OSError, ValueError, AttributeError):
            self._hashes, self._read_ns = {}, -1
        return self._hashes

    async def login(self, name: str, password: str) -> tuple[str, Person]:
        """Return the cookie of a user, and who it is.

        Raises:
            TooManyTries: more than 10 tries, and then one in 5 s.
            LoginRefused: no such user, or another password.
        """
        if not self._tries.take():
            raise TooManyTries("too many logins; wait a minute and try again")
        stored = self._known().get(name, NOBODY)
        if not await matches(password[:MOST_PASSWORD], stored):
            self.denied(_LOGIN, name)
            raise LoginRefused("name or password is wrong")
        return await self._begin(name, digest(stored))

    async def login_once(self, secret: str) -> tuple[str, Person]:
        """Return the cookie of a login link, which is used up, and who it is.

        Raises:
            TooManyTries: as `login`.
            LoginRefused: it was used, is older than a day, or never was.
        """
        if not self._tries.take():
            raise TooManyTries("too many logins; wait a minute and try again")
        name = await asyncio.to_thread(use_once, self._home, secret)
        if name is None:
            self.denied(f"{_LOGIN} by a link", "")
            raise LoginRefused("this link was used already or is older than a day; `plantedge hmi` prints another")
        return await self._begin(name, "")

    async def is_panel(self, secret: str) -> bool:
        """Return whether a secret is that of a wall panel; with the same patience as a login."""
        return self._tries.take() and await asyncio.to_thread(is_panel, self._home, secret)

    def by_cookie(self, cookie: str, panel: str) -> Person | None:
        """Return who has a session's cookie, else who has a panel's; None for a stranger."""
        held = self._sessions.get(digest(cookie)) if cookie else None
        if held is not None and time.time() < held.until_s and self._holds(held):
            return self._person(held)
        return PANEL if panel and is_panel(self._home, panel) else None

    def _holds(self, held: Session) -> bool:
        """A session by password ends with the user, or with the password."""
        return not held.proof or hmac.compare_digest(held.proof, digest(self._known().get(held.name, NOBODY)))

    def _person(self, held: Session) -> Person:
        may_judge = not self._judges or held.name in self._judges
        return Person(name=held.name, may_judge=may_judge, csrf=held.csrf)

    async def logout(self, cookie: str) -> None:
        """End a session."""
        await self._end(digest(cookie))

    async def _begin(self, name: str, proof: str) -> tuple[str, Person]:
        for key in [key for key, held in self._sessions.items() if time.time() >= held.until_s]:
            await self._end(key)
        while len(self._sessions) >= MOST_SESSIONS:
            await self._end(next(iter(self._sessions)))
        cookie = secrets.token_urlsafe(32)
        held = Session(name=name, csrf=secrets.token_urlsafe(24), until_s=time.time() + SESSION_S, proof=proof)
        await self._stored(lambda: self._store.put_session(digest(cookie), held))
        self._sessions[digest(cookie)] = held
        return cookie, self._person(held)

    async def _end(self, key: str) -> None:
        self._sessions.pop(key, None)
        await self._stored(lambda: self._store.put_session(key, None))
