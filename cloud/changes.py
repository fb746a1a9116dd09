"""What REST changes, each by at least the role that `cloud.rest` names, and each with a line in the history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cloud.accounts import Accounts, Login, LoginRefused, Role
from cloud.commands import Commands
from cloud.device import Session
from cloud.fleet import Fleet
from cloud.guard import COOKIE, body_of, login_of, set_cookie
from cloud.pki import Authority
from cloud.problems import Problem
from cloud.reads import Reads, json_response
from schemas.fields import SLUG

_Short = Annotated[str, Meta(min_length=1, max_length=256)]
_Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A closed body of a change."""


class LoginBody(Body, frozen=True):
    """User and password."""

    user: _Short
    password: _Short


class AckBody(Body, frozen=True):
    """A note for an acknowledgement."""

    note: Annotated[str, Meta(max_length=500)] = ""


class RequestBody(Body, frozen=True):
    """A one-off request; it expires after `ttl_s`."""

    verb: Annotated[str, Meta(pattern="^ping$")]
    process: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{0,64}$")] = ""
    ttl_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0


class ConfigBody(Body, frozen=True):
    """Sections of configuration; `base` is the generation that the writer has seen."""

    sections: Annotated[dict[Annotated[str, Meta(pattern=SLUG)], dict[str, object]], Meta(min_length=1, max_length=32)]
    base: int | None = None


class UserBody(Body, frozen=True):
    """A user to make or to change; without a password one is made."""

    name: _Name
    role: Role
    password: Annotated[str, Meta(max_length=256)] = ""


class TokenBody(Body, frozen=True):
    """An API token to make."""

    name: _Name
    role: Role


class LinkBody(Body, frozen=True):
    """A one-time login link to make."""

    role: Role = Role.ADMIN


class CsrBody(Body, frozen=True):
    """A certificate request in PEM."""

    csr: Annotated[str, Meta(max_length=16_384)]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Handlers of POST, and of the login link. `commit` returns when what changed is on the disk."""

    fleet: Fleet
    reads: Reads
    accounts: Accounts
    commands: Commands
    authority: Authority
    commit: Callable[[], Awaitable[None]]
    secure: bool = False

    async def login(self, request: Request) -> Response:
        """Log in by user and password."""
        body = msgspec.json.decode(await body_of(request), type=LoginBody)
        cookie, login = await self.accounts.login(body.user, body.password)
        return self._logged_in(json_response(_session(login)), cookie, login)

    async def login_once(self, request: Request) -> Response:
        """Log in by a link that works once, and go to the page, which says so when the link is used up."""
        if request.method == "HEAD":  # a preview must not use the link up
            raise Problem(405, "Method not allowed", "open the link in a browser")
        try:
            cookie, login = await self.accounts.login_once(request.query_params.get("once", ""))
        except LoginRefused:
            if "text/html" in request.headers.get("accept", ""):
                return RedirectResponse("/?link=used", 303)
            raise
        return self._logged_in(RedirectResponse("/", 303), cookie, login)

    async def logout(self, request: Request) -> Response:
        """End the session."""
        await self.accounts.logout(request.cookies.get(COOKIE, ""))
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, path="/")
        return response

    async def acknowledge(self, request: Request) -> Response:
        """Acknowledge an alert."""
        node, key = self.reads.known(request), str(request.path_params["key"])
        body = msgspec.json.decode(await body_of(request), type=AckBody)
        if not self.fleet.acknowledge(node, key, login_of(request).user, body.note):
            raise Problem(409, "Nothing to acknowledge", f"{node} has no unacknowledged alert {key[:64]!r}; reload")
        await self.commit()
        return Response(status_code=204)

    async def request(self, request: Request) -> Response:
        """Send a device a one-off request."""
        node = self.reads.known(request)
        body = msgspec.json.decode(await body_of(request), type=RequestBody)
        made = await self.commands.request(node, body.verb, body.process, body.ttl_s, login_of(request).user)
        return json_response(made, 202)

    async def configure(self, request: Request) -> Response:
        """Set a device's desired configuration."""
        node = self.reads.known(request)
        body = msgspec.json.decode(await body_of(request), type=ConfigBody)
        desired = await self.commands.set_config(node, body.sections, login_of(request).user, body.base)
        return json_response(desired, 202)

    async def enroll(self, request: Request) -> Response:
        """Sign a device's certificate request."""
        body = msgspec.json.decode(await body_of(request), type=CsrBody)
        node = str(request.path_params["node"])
        pem = self.authority.sign_device(body.csr.encode(), node)
        self.fleet.note(node, "enrolled", "a certificate was signed", login_of(request).user)
        await self.commit()
        return json_response({"certificate": pem.decode(), "ca": self.authority.ca.read_text()}, 201)

    async def add_user(self, request: Request) -> Response:
        """Make a user or change one; the answer is the only place of a password that was made."""
        body = msgspec.json.decode(await body_of(request), type=UserBody)
        password = await self.accounts.add_user(body.name, body.role, body.password)
        await self._noted("user", f"{body.name} is {body.role}", request)
        return json_response({"name": body.name, "role": body.role, "password": "" if body.password else password}, 201)

    async def add_token(self, request: Request) -> Response:
        """Make an API token; the answer is the only place of its secret."""
        body = msgspec.json.decode(await body_of(request), type=TokenBody)
        secret = await self.accounts.add_token(body.name, body.role)
        await self._noted("token", f"{body.name} is {body.role}", request)
        return json_response({"name": body.name, "role": body.role, "token": secret}, 201)

    async def add_link(self, request: Request) -> Response:
        """Make a login link that works once."""
        body = msgspec.json.decode(await body_of(request), type=LinkBody)
        secret = await self.accounts.add_link(body.role)
        return json_response({"path": f"/login?once={secret}"}, 201)

    async def _noted(self, kind: str, text: str, request: Request) -> None:
        self.fleet.note("", kind, text, login_of(request).user)
        await self.commit()

    def _logged_in(self, response: Response, cookie: str, login: Login) -> Response:
        set_cookie(response, cookie, secure=self.secure)
        self.fleet.note("", "login", str(login.role), login.user)
        return response


def _session(login: Login) -> Session:
    return Session(user=login.user, role=login.role, csrf=login.csrf)
