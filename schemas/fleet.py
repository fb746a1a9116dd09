"""Every message on the fleet's bus, as msgspec Structs.

What goes up is closed: no extra fields, no bytes, bounded numbers and short patterned strings only. What is not named
here can't leave the site (tests/schemas/test_topics.py walks the types).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.fields import Slug, Whole
from schemas.messages import Message, Phase, Severity, State

# --- upstream: closed, metadata only --------------------------------------------------------------------------------

Name = Annotated[str, Meta(pattern=r"^[a-z0-9_.+-]{0,64}$")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{0,64}$")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Millis = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0, le=1e7)]
Reason = Annotated[str, Meta(pattern=r"^[a-z_]{0,32}$")]


class UpstreamPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A closed part of an upstream message."""


class Upstream(Message, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A closed message: only what is named here can leave the site."""

    schema: Annotated[str, Meta(pattern=r"^[a-z_]{1,32}/[0-9]{1,4}$")] = ""
    epoch: Whole = 0
    seq: Count = 0
    time_ns: Whole


class ProcessHealth(UpstreamPart, frozen=True, kw_only=True):
    """One process of a device."""

    process: Slug
    state: State
    rss_mb: Annotated[float, Meta(ge=0, le=1e6)]


class PipelineHealth(UpstreamPart, frozen=True, kw_only=True):
    """How one pipeline keeps its deadlines: times and rates, never verdicts."""

    pipeline: Slug
    rate_hz: Rate
    p50_ms: Millis
    p99_ms: Millis
    late: Count
    dropped: Count


class Health(Upstream, frozen=True, kw_only=True):
    """State of a device, the latest wins. `reasons` are codes of what is not well."""

    schema: Annotated[str, Meta(pattern="^health/[0-9]{1,4}$")] = "health/1"
    site: Slug
    line: Slug
    hardware: Name
    software: Name
    state: Annotated[str, Meta(pattern="^(ok|degraded|alarm)$")]
    reasons: Annotated[list[Reason], Meta(max_length=16)]
    uptime_s: Annotated[float, Meta(ge=0, le=1e10)]
    cpu_share: Share
    memory_share: Share
    disk_share: Share
    temperature_c: Annotated[float, Meta(ge=-100, le=300)] | None
    certificate_until_ns: Whole
    upstream_bytes_today: Count
    outbox: Count
    links_up: Count
    links_down: Count
    processes: Annotated[list[ProcessHealth], Meta(max_length=32)]
    pipelines: Annotated[list[PipelineHealth], Meta(max_length=32)]


class ModelHealth(UpstreamPart, frozen=True, kw_only=True):
    """One model slot."""

    model: Slug
    version: Name
    digest: Digest
    phase: Annotated[str, Meta(pattern="^(desired|loading|active|rejected)$")]


class Models(Upstream, frozen=True, kw_only=True):
    """The models that a device has, and the configuration versions that it runs."""

    schema: Annotated[str, Meta(pattern="^models/[0-9]{1,4}$")] = "models/1"
    models: Annotated[list[ModelHealth], Meta(max_length=64)]
    config: Annotated[dict[Slug, Count], Meta(max_length=32)]


class Alert(Upstream, frozen=True, kw_only=True):
    """An event's code and phase; its text and values stay on the site."""

    schema: Annotated[str, Meta(pattern="^alert/[0-9]{1,4}$")] = "alert/1"
    key: Digest
    origin: Slug
    code: Slug
    phase: Phase
    severity: Severity


class Report(Upstream, frozen=True, kw_only=True):
    """What became of something the fleet asked for: a generation of desired state, or a request."""

    schema: Annotated[str, Meta(pattern="^report/[0-9]{1,4}$")] = "report/1"
    about: Annotated[str, Meta(pattern="^(config|models|request)$")]
    id: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}$")]
    ok: bool
    reason: Reason


class LedgerRow(UpstreamPart, frozen=True, kw_only=True):
    """What left under one kind of message: payload and wire bytes."""

    kind: Slug
    messages: Count
    payload_bytes: Count


class Ledger(Upstream, frozen=True, kw_only=True):
    """A day's account of what left the site. `wire_bytes` counts TLS and MQTT framing too."""

    schema: Annotated[str, Meta(pattern="^ledger/[0-9]{1,4}$")] = "ledger/1"
    day: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    wire_bytes: Count
    rows: Annotated[list[LedgerRow], Meta(max_length=16)]


# --- downstream -----------------------------------------------------------------------------------------------------


class FleetDesired(Message, frozen=True, kw_only=True):
    """Desired state of one device, retained; `generation` only grows."""

    schema: str = "fleet_desired/1"
    generation: Whole
    models: dict[str, str] = {}


class FleetConfig(Message, frozen=True, kw_only=True):
    """Desired configuration of one device, retained: section -> values."""

    schema: str = "fleet_config/1"
    generation: Whole
    sections: dict[str, dict[str, object]] = {}


class FleetRequest(Message, frozen=True, kw_only=True):
    """A one-off request, never retained, ignored after `expires_ns` (wall clock)."""

    schema: str = "fleet_request/1"
    id: str
    verb: Annotated[str, Meta(pattern="^ping$")]
    expires_ns: Whole
    process: str = ""
