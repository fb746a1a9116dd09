"""Results, events and tags as MES and SCADA read them. Pure.

Times are ISO 8601 in UTC; integers over 2^53, which JavaScript and many MES can't hold, travel as strings.
"""

from __future__ import annotations

from datetime import UTC, datetime

from schemas.fields import Value
from schemas.messages import Event, MesEvent, MesResult, Result

_MAX_SAFE_INTEGER = 2**53


def iso_time(time_ns: int) -> str:
    """Return a wall-clock time as ISO 8601 in UTC with milliseconds."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest_ns // 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_safe(value: Value) -> Value:
    """Return `value` with integers over 2^53 as strings, also in lists."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) > _MAX_SAFE_INTEGER:
        return str(value)
    if isinstance(value, list) and any(isinstance(item, int) and abs(item) > _MAX_SAFE_INTEGER for item in value):
        return ",".join(str(item) for item in value)
    return value


def mes_result(result: Result) -> MesResult:
    """Return a result as MES and SCADA read it."""
    part = result.part_id
    return MesResult(
        time=iso_time(result.time_ns), result_id=result.result_id, pipeline=result.pipeline,
        part_id=str(part) if part is not None and part > _MAX_SAFE_INTEGER else part, verdict=result.verdict,
        label=result.label, score=result.score, quality=result.quality, late=result.outcome == "late",
        latency_ms=result.latency.total, model=result.model, version=result.version,
    )  # fmt: skip


def mes_event(event: Event) -> MesEvent:
    """Return an event as MES and SCADA read it."""
    return MesEvent(
        time=iso_time(event.time_ns), key=event.key, origin=event.origin, code=event.code, phase=event.phase,
        severity=event.severity, text=event.text,
    )  # fmt: skip
