"""What stands before every route: who asks, with which role, from which page, and the headers of every answer."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.accounts import SESSION_S, Accounts, Login, Role
from cloud.problems import Problem, answer

COOKIE = "plantedge_session"
MAX_BODY = 131_072
_LOCAL = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

Handler = Callable[[Request], Awaitable[Response]]


class Guard:
    """Wraps handlers; a handler then finds who asks in `login_of(request)`."""

    def __init__(self, accounts: Accounts) -> None:
        """Ask these accounts."""
        self._accounts = accounts

    def needs(self, role: Role, handler: Handler) -> Handler:
        """Return `handler` for those of at least `role`; changes by cookie need the CSRF token too."""

        async def guarded(request: Request) -> Response:
            try:
                request.state.login = self._admit(request, role)
                return await handler(request)
            except Exception as error:  # noqa: BLE001 - every error becomes a problem, unexpected ones are logged
                return answer(request, error)

        return guarded

    def anyone(self, handler: Handler) -> Handler:
        """Return `handler` for everyone, but from our own page only where a browser says where it comes from."""

        async def guarded(request: Request) -> Response:
            try:
                _same_origin(request)
                return await handler(request)
            except Exception as error:  # noqa: BLE001 - the same
                return answer(request, error)

        return guarded

    def _admit(self, request: Request, role: Role) -> Login:
        login = self._who(request)
        if login is None:
            raise Problem(401, "Not logged in", "log in, or send `Authorization: Bearer TOKEN`")
        if not login.role.may(role):
            raise Problem(403, "Not allowed", f"this needs the role {role}; {login.user} is {login.role}")
        if request.method != "GET" and login.csrf:
            _same_origin(request)
            if not hmac.compare_digest(request.headers.get("x-csrf-token", "").encode(), login.csrf.encode()):
                raise Problem(403, "CSRF token is missing", "send X-CSRF-Token with the value from /api/v1/session")
        return login

    def _who(self, request: Request) -> Login | None:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._accounts.by_token(secret.strip())
        return self._accounts.by_cookie(request.cookies.get(COOKIE, ""))


def login_of(request: Request) -> Login:
    """Return who asks; only behind `Guard.needs`."""
    login = request.state.login
    assert isinstance(login, Login)  # noqa: S101 - Guard.needs has set it
    return login


def set_cookie(response: Response, cookie: str, *, secure: bool) -> None:
    """Give a session to a browser."""
    response.set_cookie(COOKIE, cookie, SESSION_S, path="/", secure=secure, httponly=True, samesite="strict")


async def body_of(request: Request) -> bytes:
    """Return the body of a change, at most 128 kB of JSON.

    Raises:
        Problem: too large, or not declared as JSON (a form of another site can't declare that).
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Problem(415, "Not JSON", "send the body with Content-Type: application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Problem(413, "Too large", f"send at most {MAX_BODY} bytes")
    return bytes(body)


def _same_origin(request: Request) -> None:
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Problem(403, "Another site", f"changes come from this page only, not from {origin[:100]}")


class Shield:
    """ASGI middleware: refuses foreign Host headers (DNS rebinding) and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        """Answer to loopback names and to `hosts`."""
        self._app = app
        self._hosts = frozenset((*_LOCAL, *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        secret = scope["path"].startswith(("/api/", "/login"))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if secret:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        if not self._is_ours(Headers(scope=scope).get("host", "")):
            wrong = Problem(421, "Unknown host", "use the address that plantedge-fleet printed, or --public-url")
            await answer(Request(scope), wrong)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _is_ours(self, host: str) -> bool:
        try:
            return (urlsplit(f"//{host}").hostname or "") in self._hosts
        except ValueError:
            return False
