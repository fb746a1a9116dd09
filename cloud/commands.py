"""What the fleet asks of devices: desired configuration (retained, its generation only grows) and one-off requests.

The desired state is written before it is sent, and sent again whenever the service starts or its broker comes back: a
broker that lost its retained messages gets them again, and a device ignores a generation that it has.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec

from bus import Bus
from bus.codec import encode
from bus.typed import Publisher
from cloud.device import ConfigDesired, Request
from cloud.fleet import Fleet
from cloud.store import Store
from schemas.errors import BusDisconnected, PlantEdgeError
from schemas.fleet import FleetConfig, FleetRequest, Report
from schemas.topics import DOWN_CONFIG, DOWN_REQUEST, Place

log = logging.getLogger(__name__)
WAITING = "waiting"
_WAITING_MAX = 10_000
_GRACE_MS = 1_000


class Conflict(PlantEdgeError):
    """The configuration was changed by somebody else meanwhile."""


class Commands:
    """Sends down, and follows what becomes of it. Belongs to the service's loop.

    `commit` writes everything that has changed, `unsaved_*` included, and returns when it is on the disk.
    """

    def __init__(self, store: Store, fleet: Fleet, commit: Callable[[], Awaitable[None]]) -> None:
        """Take over what the store held."""
        self.bus: Bus | None = None
        self.unsaved_config: dict[str, ConfigDesired] = {}
        self.unsaved_requests: dict[str, Request] = {}
        self._fleet = fleet
        self._commit = commit
        self._config = store.configs()
        self._waiting = {r.id: r for r in store.requests(limit=_WAITING_MAX) if r.outcome == WAITING}
        self._publishers: dict[str, Publisher[FleetConfig]] = {}
        fleet.answered = self._answered

    def config(self, node: str) -> ConfigDesired:
        """Return what is desired of a device; generation 0 is nothing."""
        return self._config.get(node, ConfigDesired())

    async def set_config(
        self, node: str, sections: dict[str, dict[str, object]], by: str, base: int | None
    ) -> ConfigDesired:
        """Store and send a device's desired configuration: the sections that are given replace those there were.

        Raises:
            Conflict: `base` is not the generation that is there now.
            Oversized: it does not fit into one message.
        """
        now = self.config(node)
        if base is not None and base != now.generation:
            raise Conflict(f"{node} is at generation {now.generation}, not {base}; read it again, then change it")
        desired = ConfigDesired(
            generation=now.generation + 1, sections=now.sections | sections, by=by, changed_ms=_now_ms(),
            outcome="pending",
        )  # fmt: skip
        encode(DOWN_CONFIG, _message(desired))  # too large: refused before anything is kept
        self._config[node] = self.unsaved_config[node] = desired
        try:
            await self._commit()
        except Exception:  # it can't be kept, so it is not wanted: whoever asked is told so
            self._config[node] = now
            self.unsaved_config.pop(node, None)
            raise
        self._fleet.note(node, "config", f"generation {desired.generation}: {', '.join(sections)}", by)
        await self._send(node, desired)
        return self.config(node)

    async def request(self, node: str, verb: str, process: str, ttl_s: float, by: str) -> Request:
        """Send a one-off request; its outcome comes by report, or it expires."""
        expires_ms = _now_ms() + int(ttl_s * 1000)
        request = Request(
            id=f"r{secrets.token_hex(8)}", node=node, verb=verb, process=process, by=by, made_ms=_now_ms(),
            expires_ms=expires_ms,
        )  # fmt: skip
        self._waiting[request.id] = self.unsaved_requests[request.id] = request
        try:
            await self._commit()
        except Exception:  # the same
            del self._waiting[request.id]
            self.unsaved_requests.pop(request.id, None)
            raise
        self._fleet.note(node, "request", verb + (f" {process}" if process else ""), by)
        message = FleetRequest(id=request.id, verb=verb, process=process, expires_ns=expires_ms * 1_000_000)
        if self.bus is None or not self.bus.connected:
            return self._done(request, "failed", "the fleet's broker is away; nothing was sent")
        try:
            await Publisher(self.bus, DOWN_REQUEST, FleetRequest, _place(node)).deliver(message)
        except BusDisconnected:
            return self._done(request, "failed", "the fleet's broker is away; it may or may not have been sent")
        return request

    def expire(self) -> None:
        """Close requests whose time is over."""
        now_ms = _now_ms()
        for request in [r for r in self._waiting.values() if now_ms > r.expires_ms + _GRACE_MS]:
            self._done(request, "expired", "no answer in time")

    async def send_all(self) -> None:
        """Send every device's desired configuration again."""
        for node, desired in list(self._config.items()):
            await self._send(node, desired)

    def _answered(self, node: str, report: Report) -> None:
        request = self._waiting.get(report.id)
        if report.about == "config":
            self._config_answered(node, report)
        elif report.about == "request" and request is not None and request.node == node:
            self._done(request, "done" if report.ok else "failed", report.reason)

    def _config_answered(self, node: str, report: Report) -> None:
        desired = self.config(node)
        if report.id != str(desired.generation) or desired.outcome == "rejected":
            return  # one section's rejection is not covered by the next one's success
        outcome = "applied" if report.ok else "rejected"
        self._config[node] = msgspec.structs.replace(desired, outcome=outcome, reason=report.reason)
        self.unsaved_config[node] = self._config[node]
        why = f" ({report.reason})" if report.reason else ""
        self._fleet.note(node, "config", f"generation {desired.generation} {outcome}{why}")

    def _done(self, request: Request, outcome: str, reason: str) -> Request:
        self._waiting.pop(request.id, None)
        took_ms = _now_ms() - request.made_ms
        done = msgspec.structs.replace(request, outcome=outcome, reason=reason, took_ms=took_ms)
        self.unsaved_requests[request.id] = done
        self._fleet.note(request.node, "request", f"{request.verb} {outcome}" + (f" ({reason})" if reason else ""))
        return done

    async def _send(self, node: str, desired: ConfigDesired) -> None:
        if self.bus is None:
            return
        publisher = self._publishers.get(node)
        if publisher is None:
            publisher = self._publishers[node] = Publisher(self.bus, DOWN_CONFIG, FleetConfig, _place(node))
        try:
            await publisher.deliver(_message(desired))
        except BusDisconnected:
            log.warning("configuration of %s waits: the fleet's broker is away", node)  # sent when it is back


def _message(desired: ConfigDesired) -> FleetConfig:
    return FleetConfig(generation=desired.generation, sections=desired.sections)


def _place(node: str) -> Place:
    return Place(site="fleet", line="fleet", node=node)  # the fleet's topics name the node alone


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
