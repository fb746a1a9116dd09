"""What the fleet knows of one device, and how it is shown: frozen data, kept by `cloud.store`, folded by `cloud.fold`.

`Device` is the state of the fold. `DeviceRow`, `AlertView` and the others are what REST, SSE and the page speak;
`cloud.ui_types` writes the page's TypeScript from them. Times that leave by REST are milliseconds of the wall clock:
nanoseconds do not fit into a JavaScript number.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from schemas.fleet import Health, Ledger, ModelHealth, Models, PipelineHealth, ProcessHealth, Report
from schemas.messages import Severity
from schemas.topics import UP_HEALTH

STALE_AFTER_S = UP_HEALTH.stale_after_s


class DeviceState(StrEnum):
    """How a device is; `offline` is what the fleet concludes from silence."""

    OK = "ok"
    DEGRADED = "degraded"
    ALARM = "alarm"
    OFFLINE = "offline"


class AlertState(StrEnum):
    """An alert's life: it leaves the list when it is both acknowledged and cleared."""

    ACTIVE_UNACKED = "active_unacked"
    ACTIVE_ACKED = "active_acked"
    CLEARED_UNACKED = "cleared_unacked"
    CLOSED = "closed"


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of a device as the fold keeps it. `epoch`, `seq`: the message that it was last changed by."""

    key: str
    origin: str
    code: str
    severity: Severity
    active: bool
    raised_ns: int
    changed_ns: int
    epoch: int = 0
    seq: int = 0
    acked_by: str = ""
    note: str = ""

    @property
    def state(self) -> AlertState:
        """Return where in its life the alert is."""
        if self.active:
            return AlertState.ACTIVE_ACKED if self.acked_by else AlertState.ACTIVE_UNACKED
        return AlertState.CLOSED if self.acked_by else AlertState.CLEARED_UNACKED


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the fleet has folded of one device. `*_ns`: the fleet's wall clock, but for those in messages.

    `health_ns`: when health last came, which staleness counts from. `epochs`: publishers' starts that a newer one
    replaced. `refused`: messages that were not of the closed schema.
    """

    node: str
    state: DeviceState = DeviceState.OFFLINE
    since_ns: int = 0
    seen_ns: int = 0
    health_ns: int = 0
    health: Health | None = None
    models: Models | None = None
    ledger: Ledger | None = None
    epochs: tuple[int, ...] = ()
    alerts: dict[str, Alarm] = {}
    reports: tuple[Report, ...] = ()
    refused: int = 0


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the grid. p50 and p99 are those of the pipeline with the highest p99; misses = late + dropped.

    `versions`: model -> version in memory. `reason`: in words, empty when there is none. `certificate_ms`: its end.
    """

    node: str
    site: str = ""
    line: str = ""
    hardware: str = ""
    software: str = ""
    versions: dict[str, str] = {}
    state: DeviceState = DeviceState.OFFLINE
    reason: str = ""
    since_ms: int = 0
    seen_ms: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    misses: int = 0
    rate_hz: float = 0.0
    queue: int = 0
    cpu: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    temperature_c: float | None = None
    certificate_ms: int = 0
    upstream_bytes: int = 0
    unacked: int = 0


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of the fleet."""

    node: str
    key: str
    origin: str
    code: str
    text: str
    severity: Severity
    state: AlertState
    raised_ms: int
    changed_ms: int
    acked_by: str = ""
    note: str = ""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Aggregates over all devices, kept incrementally by `cloud.totals`."""

    devices: int = 0
    ok: int = 0
    degraded: int = 0
    alarm: int = 0
    offline: int = 0
    unacked: int = 0
    upstream_bytes: int = 0
    over_budget: int = 0
    refused: int = 0


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """Device-seconds in ok or degraded, of all device-seconds, of one UTC day."""

    day: str = ""
    up_s: float = 0.0
    known_s: float = 0.0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole fleet, or what changed since a cursor: `full` tells which. Closed alerts are sent once, as closed."""

    cursor: str
    full: bool
    time_ms: int
    stale_after_s: float
    broker: bool
    budget_bytes: int
    totals: Totals
    availability: Availability
    rows: list[DeviceRow]
    alerts: list[AlertView]


class Matches(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices a filter matches, of how many."""

    total: int
    matched: int
    nodes: list[str]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A one-off request and what became of it: waiting, done, failed or expired."""

    id: str
    node: str
    verb: str
    process: str
    by: str
    made_ms: int
    expires_ms: int
    outcome: str = "waiting"
    reason: str = ""
    took_ms: int = 0


class ConfigDesired(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet wants a device's configuration to be. `outcome`: pending, applied, or rejected and why."""

    generation: int = 0
    sections: dict[str, dict[str, object]] = {}
    by: str = ""
    changed_ms: int = 0
    outcome: str = ""
    reason: str = ""


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a device's history: a change of state, an alert, a request, an action of a person."""

    time_ms: int
    node: str
    kind: str
    text: str
    by: str = ""


class DeviceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one device."""

    row: DeviceRow
    uptime_s: float
    links_up: int
    links_down: int
    refused: int
    processes: list[ProcessHealth]
    pipelines: list[PipelineHealth]
    models: list[ModelHealth]
    config: dict[str, int]
    config_desired: ConfigDesired
    ledger: Ledger | None
    alerts: list[AlertView]
    requests: list[Request]
    history: list[Happening]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who is logged in. `csrf` goes into the header X-CSRF-Token of every change."""

    user: str
    role: str
    csrf: str
