"""Upstream messages with sensible defaults, for the tests of the fleet."""

from typing import Any

from schemas.fleet import Alert, Health, ModelHealth, Models, PipelineHealth, ProcessHealth, Report
from schemas.messages import Phase, Severity, State

SECOND_NS = 1_000_000_000
START_NS = 1_790_000_000 * SECOND_NS


def health(seq: int = 1, epoch: int = START_NS, **fields: Any) -> Health:
    defaults: dict[str, Any] = {
        "time_ns": START_NS, "site": "berlin", "line": "press", "hardware": "x86_64", "software": "0.1.0",
        "state": "ok", "reasons": [], "uptime_s": 60.0, "cpu_share": 0.2, "memory_share": 0.3, "disk_share": 0.4,
        "temperature_c": None, "certificate_until_ns": START_NS + 60 * 86_400 * SECOND_NS,
        "upstream_bytes_today": 1_000_000, "outbox": 0, "links_up": 3, "links_down": 0,
        "processes": [ProcessHealth(process="runtime-safety", state=State.ACTIVE, rss_mb=210.0)],
        "pipelines": [pipeline()],
    }  # fmt: skip
    return Health(epoch=epoch, seq=seq, **{**defaults, **fields})


def pipeline(name: str = "cap_inspection", **fields: Any) -> PipelineHealth:
    defaults: dict[str, Any] = {"rate_hz": 50.0, "p50_ms": 0.9, "p99_ms": 2.5, "late": 0, "dropped": 0}
    return PipelineHealth(pipeline=name, **{**defaults, **fields})


def models(seq: int = 1, epoch: int = START_NS, **versions: str) -> Models:
    held = [
        ModelHealth(model=model, version=version, digest="ab", phase="active") for model, version in versions.items()
    ]
    return Models(epoch=epoch, seq=seq, time_ns=START_NS, models=held, config={"pipelines": 1})


def alert(key: str, phase: Phase, seq: int, epoch: int = START_NS) -> Alert:
    return Alert(
        epoch=epoch, seq=seq, time_ns=START_NS, key=key, origin="connect-line", code="link_down", phase=phase,
        severity=Severity.ALARM,
    )  # fmt: skip


def report(about: str, request_id: str, seq: int = 1, *, ok: bool = True, reason: str = "") -> Report:
    return Report(epoch=START_NS, seq=seq, time_ns=START_NS, about=about, id=request_id, ok=ok, reason=reason)
