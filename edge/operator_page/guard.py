"""What stands before every path of the page: who asks, from which site, and the headers of every answer."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.operator_page.page import NoSuchPart, NotChangeable
from edge.operator_page.people import SESSION_S, LoginRefused, People, Person, TooManyTries
from edge.operator_page.replays import ReplayBusy

log = logging.getLogger(__name__)
COOKIE: Final = "plantedge_operator"  # cookies know no ports: the fleet's page may be on the same host
PANEL_COOKIE: Final = "plantedge_panel"
PANEL_S: Final = 365 * 86_400
MOST_BODY: Final = 4_096
BODY_S: Final = 10.0  # within which it has to be here
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
Handler = Callable[[Request], Awaitable[Response]]


class Problem(Exception):
    """An answer that is not what was asked for; `detail` ends with what to do."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        """Keep the three parts."""
        self.status, self.title, self.detail = status, title, detail
        super().__init__(detail)


_KINDS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (TooManyTries, 429, "Too many tries"),
    (LoginRefused, 401, "Login refused"),
    (NoSuchPart, 404, "Not there"),
    (NotChangeable, 409, "Can't be judged"),
    (ReplayBusy, 409, "Busy"),
    (msgspec.DecodeError, 400, "The body can't be read"),
    (UnicodeDecodeError, 400, "The body can't be read"),
    (ClientDisconnect, 400, "The connection ended"),
)


def answer(request: Request, error: Exception) -> Response:
    """Return the problem (RFC 9457) that an exception means; one that nobody expected is logged."""
    if isinstance(error, Problem):
        return _problem(error.status, error.title, error.detail)
    for kind, status, title in _KINDS:
        if isinstance(error, kind):
            return _problem(status, title, str(error))
    if isinstance(error, HTTPException):
        return _problem(error.status_code, error.detail, "check the address")
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _problem(500, "Internal error", "this is a fault of the page: `plantedge logs hmi` has more")


def _problem(status: int, title: str, detail: str) -> Response:
    body = msgspec.json.encode({"title": title, "status": status, "detail": detail})
    return Response(body, status, media_type="application/problem+json")


class Guard:
    """Wraps handlers; behind `looks` and `judges` a handler finds who asks in `person_of(request)`."""

    def __init__(self, people: People) -> None:
        """Ask these people."""
        self._people = people

    def anyone(self, handler: Handler) -> Handler:
        """Return `handler` for everyone, but not from another site."""

        async def guarded(request: Request) -> Response:
            try:
                _same_origin(request)
                return await handler(request)
            except Exception as error:  # noqa: BLE001 - every error becomes a problem, unexpected ones are logged
                return answer(request, error)

        return guarded

    def looks(self, handler: Handler) -> Handler:
        """Return `handler` for whoever may look."""

        async def guarded(request: Request) -> Response:
            request.state.person = self._admit(request)
            return await handler(request)

        return self.anyone(guarded)

    def changes(self, handler: Handler, *, judging: bool = True) -> Handler:
        """Return `handler` for people who are logged in, with the CSRF token; `judging`: for those who may judge."""

        async def guarded(request: Request) -> Response:
            person = request.state.person = self._admit(request)
            if not person.name or (judging and not person.may_judge):
                self._people.denied(f"{request.url.path} of the operators' page", person.name)
                raise Problem(403, "Not allowed", "this page may only look; log in as somebody who may judge")
            if not hmac.compare_digest(request.headers.get("x-csrf-token", "").encode(), person.csrf.encode()):
                raise Problem(403, "CSRF token is missing", "reload the page and try again")
            return await handler(request)

        return self.anyone(guarded)

    def _admit(self, request: Request) -> Person:
        person = self._people.by_cookie(request.cookies.get(COOKIE, ""), request.cookies.get(PANEL_COOKIE, ""))
        if person is None:
            raise Problem(401, "Not logged in", "log in")
        return person


def person_of(request: Request) -> Person:
    """Return who asks; only behind `Guard.looks` and `Guard.changes`."""
    person = request.state.person
    assert isinstance(person, Person)  # noqa: S101 - the guard has set it
    return person


def set_cookie(response: Response, name: str, value: str, *, secure: bool) -> None:
    """Give a session, or a panel's link, to a browser."""
    age_s = SESSION_S if name == COOKIE else PANEL_S
    response.set_cookie(name, value, age_s, path="/", secure=secure, httponly=True, samesite="strict")


async def body_of(request: Request) -> bytes:
    """Return the body of a change, at most 4 kB of JSON.

    Raises:
        Problem: too large, too slow, or not declared as JSON (a form of another site can't declare that).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Problem(415, "Not JSON", "send the body with Content-Type: application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BODY:
                    raise Problem(413, "Too large", f"send at most {MOST_BODY} bytes")
    except TimeoutError:
        raise Problem(408, "Too slow", "send it again") from None
    return bytes(body)


def _same_origin(request: Request) -> None:
    """Refuse what another site's page asks for; a link that a person follows may come from anywhere."""
    origin, fetch_site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
    other = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    navigates = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
    if other or (fetch_site in ("cross-site", "same-site") and not navigates):
        raise Problem(403, "Another site", "this page answers itself alone")


class Shield:
    """ASGI middleware: refuses names that are not ours (DNS rebinding), and puts the headers on every answer.

    An address in digits is always taken: no name leads a browser to it.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        """Answer to addresses, to `localhost` and to `hosts`."""
        self._app = app
        self._hosts = frozenset({"localhost", *hosts})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if not self._is_ours(Headers(scope=scope).get("host", "")):
            wrong = Problem(421, "Unknown host", "use the address that `plantedge hmi` prints, or add it to hmi.hosts")
            await answer(Request(scope), wrong)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._hosts or bool(ipaddress.ip_address(name))
        except ValueError:
            return False
