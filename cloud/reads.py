"""What REST answers to GET, all of it for any role."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloud import filter as filters
from cloud.commands import Commands
from cloud.device import DeviceRow, Matches, Session
from cloud.fleet import Fleet
from cloud.guard import login_of
from cloud.problems import Problem
from cloud.store import Store
from cloud.views import detail_of

MAX_LINES = 500


@dataclass(frozen=True)
class Reads:
    """Handlers of GET."""

    fleet: Fleet
    store: Store
    commands: Commands

    async def healthz(self, request: Request) -> Response:
        """Say whether the service works and hears its devices; for load balancers, without a login."""
        ok = self.fleet.hearing
        return Response(b"ok\n" if ok else b"the fleet's broker is away\n", 200 if ok else 503, media_type="text/plain")

    async def session(self, request: Request) -> Response:
        """Return who asks, and the CSRF token."""
        login = login_of(request)
        return json_response(Session(user=login.user, role=login.role, csrf=login.csrf))

    async def snapshot(self, request: Request) -> Response:
        """Return the whole fleet; its cursor is where the event stream goes on."""
        return json_response(self.fleet.since())

    async def devices(self, request: Request) -> Response:
        """Return the rows that `q` matches, at most `limit`."""
        rows = self._matching(request)
        limit = _bounded(request, "limit", len(self.fleet.rows) or 1)
        return json_response({"total": len(self.fleet.rows), "matched": len(rows), "rows": rows[:limit]})

    async def matches(self, request: Request) -> Response:
        """Return the names of the devices that `q` matches, of how many."""
        rows = self._matching(request)
        nodes = [row.node for row in rows]
        return json_response(Matches(total=len(self.fleet.rows), matched=len(nodes), nodes=nodes))

    async def device(self, request: Request) -> Response:
        """Return all that is known of one device."""
        node = self.known(request)
        requests = await self.store.run(partial(self.store.requests, node))
        history = await self.store.run(partial(self.store.history, node))
        return json_response(detail_of(self.fleet.devices[node], self.commands.config(node), requests, history))

    async def alerts(self, request: Request) -> Response:
        """Return the alerts that are not closed."""
        return json_response(self.fleet.alerts())

    async def history(self, request: Request) -> Response:
        """Return the newest lines of the fleet's history: states, alerts, and what people did."""
        limit = _bounded(request, "limit", 100)
        return json_response(await self.store.run(partial(self.store.history, "", limit)))

    def known(self, request: Request) -> str:
        """Return the node of the path.

        Raises:
            Problem: the fleet has never heard of it.
        """
        node = str(request.path_params["node"])
        if node not in self.fleet.devices:
            raise Problem(404, "No such device", f"{node[:64]!r} has never reported; enrol it and start its uplink")
        return node

    def _matching(self, request: Request) -> list[DeviceRow]:
        found = filters.parse(request.query_params.get("q", ""))
        now_ms = time.time_ns() // 1_000_000
        return [row for row in self.fleet.rows.values() if found.matches(row, now_ms)]


def json_response(value: object, status: int = 200) -> Response:
    """Return `value` as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _bounded(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not 1 <= int(text[:9]) <= 100_000:
        raise Problem(400, "Not a number", f"{name} is a number from 1 to 100000, not {text[:20]!r}")
    return int(text[:9])
