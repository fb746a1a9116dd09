"""The REST interface as one Starlette application: every route, and the role that it needs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route

from cloud.accounts import Accounts, Role
from cloud.changes import Changes
from cloud.guard import Guard, Shield
from cloud.page import STATIC, page_routes
from cloud.problems import answer
from cloud.reads import Reads
from cloud.stream import Streams


def application(
    accounts: Accounts,
    reads: Reads,
    changes: Changes,
    streams: Streams,
    *,
    hosts: Iterable[str] = (),
    static: Path = STATIC,
) -> Starlette:
    """Return the application; `hosts` are further names under which it may be asked."""
    guard = Guard(accounts)
    gets = {
        "/session": reads.session,
        "/snapshot": reads.snapshot,
        "/events": streams.serve,
        "/devices": reads.devices,
        "/matches": reads.matches,
        "/devices/{node}": reads.device,
        "/alerts": reads.alerts,
        "/history": reads.history,
    }
    posts = {
        "/logout": (Role.VIEWER, changes.logout),
        "/alerts/{node}/{key}/ack": (Role.OPERATOR, changes.acknowledge),
        "/devices/{node}/requests": (Role.OPERATOR, changes.request),
        "/devices/{node}/config": (Role.ENGINEER, changes.configure),
        "/devices/{node}/certificate": (Role.ADMIN, changes.enroll),
        "/users": (Role.ADMIN, changes.add_user),
        "/tokens": (Role.ADMIN, changes.add_token),
        "/links": (Role.ADMIN, changes.add_link),
    }
    routes = [
        Route("/healthz", guard.anyone(reads.healthz), methods=["GET"]),
        Route("/login", guard.anyone(changes.login_once), methods=["GET"]),
        Route("/api/v1/login", guard.anyone(changes.login), methods=["POST"]),
        *(Route(f"/api/v1{path}", guard.needs(Role.VIEWER, get), methods=["GET"]) for path, get in gets.items()),
        *(Route(f"/api/v1{path}", guard.needs(role, post), methods=["POST"]) for path, (role, post) in posts.items()),
        *page_routes(static),
    ]
    middleware = [
        Middleware(Shield, hosts=tuple(hosts)),
        Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=4),
    ]
    return Starlette(routes=routes, middleware=middleware, exception_handlers={HTTPException: answer})
