"""Errors of the REST interface: RFC 9457 problems, each with what to do."""

from __future__ import annotations

import logging
import sqlite3

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cloud.accounts import LoginRefused, TooManyTries
from cloud.commands import Conflict
from cloud.filter import FilterError
from cloud.pki import RequestRefused
from schemas.errors import Oversized

log = logging.getLogger(__name__)


class Problem(Exception):
    """An answer that is not what was asked for; `detail` ends with what to do."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        """Keep the three parts."""
        self.status, self.title, self.detail = status, title, detail
        super().__init__(detail)


_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (TooManyTries, 429, "Too many tries"),
    (LoginRefused, 401, "Login refused"),
    (FilterError, 400, "The filter can't be read"),
    (Conflict, 409, "Changed meanwhile"),
    (Oversized, 413, "Too large"),
    (RequestRefused, 400, "Certificate request refused"),
    (msgspec.DecodeError, 400, "The body can't be read"),
    (UnicodeDecodeError, 400, "The body can't be read"),
    (ClientDisconnect, 400, "The connection ended"),
    (sqlite3.OperationalError, 507, "The store can't be written"),
)
_TITLES = {404: ("Not found", "the interface is under /api/v1; check the address"), 405: ("Method not allowed", "")}


def answer(request: Request, error: Exception) -> Response:
    """Return the problem that an exception means; one that nobody expected is logged."""
    if isinstance(error, Problem):
        return _problem(error.status, error.title, error.detail)
    for kind, status, title in _KINDS:
        if isinstance(error, kind):
            return _problem(status, title, str(error))
    if isinstance(error, HTTPException):
        title, detail = _TITLES.get(error.status_code, (error.detail, ""))
        return _problem(error.status_code, title, detail or f"{request.method} {request.url.path}: {error.detail}")
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _problem(500, "Internal error", "this is a fault of the service: see its log, then report it")


def _problem(status: int, title: str, detail: str) -> Response:
    body = msgspec.json.encode({"title": title, "status": status, "detail": detail})
    return Response(body, status, media_type="application/problem+json")
