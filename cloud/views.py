"""How folded devices are shown: rows, alerts and details, with reasons in words. Pure."""

from __future__ import annotations

from cloud.device import (
    Alarm,
    AlertState,
    AlertView,
    ConfigDesired,
    Device,
    DeviceDetail,
    DeviceRow,
    DeviceState,
    Happening,
    Request,
)
from schemas.fleet import Health, PipelineHealth

UNACKED = (AlertState.ACTIVE_UNACKED, AlertState.CLEARED_UNACKED)

WORDS = {
    "offline": "No health received",
    "plc_lost": "A PLC does not answer",
    "camera_lost": "A camera does not answer",
    "failsafe": "Outputs are at their fail-safe value",
    "failsafe_active": "Outputs are at their fail-safe value",
    "model_unusable": "A model can't be used",
    "model_rejected": "A new model was rejected",
    "inputs_changed": "A camera or sensor sees other than it did",
    "model_degraded": "A model may decide worse than it did",
    "historian_lagging": "The historian lags behind",
    "historian_quota": "The historian's store is full",
    "process_stopped": "A process has stopped",
    "process_silent": "A process does not answer",
    "clock_not_synced": "The clock is not synchronised",
    "deadlines_missed": "Decisions miss their deadline",
    "config_applied": "New configuration applied",
    "config_rejected": "New configuration was rejected",
    "config_reverted": "New configuration was reverted",
    "write_refused_origin": "A write was refused: not its origin",
}


def words(code: str) -> str:
    """Return a coded reason in words: `model_rejected` -> `Model rejected`."""
    return WORDS.get(code) or code.replace("_", " ").replace("-", " ").capitalize()


def row_of(device: Device) -> DeviceRow:
    """Return the device's row of the grid."""
    health, worst = device.health, _slowest(device.health)
    known = device.models.models if device.models else []
    return DeviceRow(
        node=device.node,
        site=health.site if health else "",
        line=health.line if health else "",
        hardware=health.hardware if health else "",
        software=health.software if health else "",
        versions={model.model: model.version for model in known if model.phase == "active"},
        state=device.state,
        reason=reason_of(device),
        since_ms=_ms(device.since_ns),
        seen_ms=_ms(device.seen_ns),
        p50_ms=worst.p50_ms if worst else None,
        p99_ms=worst.p99_ms if worst else None,
        misses=sum(pipeline.late + pipeline.dropped for pipeline in health.pipelines) if health else 0,
        rate_hz=sum(pipeline.rate_hz for pipeline in health.pipelines) if health else 0.0,
        queue=health.outbox if health else 0,
        cpu=health.cpu_share if health else 0.0,
        memory=health.memory_share if health else 0.0,
        disk=health.disk_share if health else 0.0,
        temperature_c=health.temperature_c if health else None,
        certificate_ms=_ms(health.certificate_until_ns) if health else 0,
        upstream_bytes=health.upstream_bytes_today if health else 0,
        unacked=sum(alarm.state in UNACKED for alarm in device.alerts.values()),
    )


def reason_of(device: Device) -> str:
    """Return why a device is not ok, in words."""
    if device.state is DeviceState.OFFLINE:
        return words("offline") if device.health else "Never reported"
    return "; ".join(words(code) for code in device.health.reasons) if device.health else ""


def alert_view(node: str, alarm: Alarm) -> AlertView:
    """Return one alert as it is shown."""
    return AlertView(
        node=node, key=alarm.key, origin=alarm.origin, code=alarm.code, text=words(alarm.code),
        severity=alarm.severity, state=alarm.state, raised_ms=_ms(alarm.raised_ns), changed_ms=_ms(alarm.changed_ns),
        acked_by=alarm.acked_by, note=alarm.note,
    )  # fmt: skip


def alerts_of(device: Device) -> list[AlertView]:
    """Return a device's alerts that are not closed, the newest change first."""
    shown = [alarm for alarm in device.alerts.values() if alarm.state is not AlertState.CLOSED]
    return [alert_view(device.node, alarm) for alarm in sorted(shown, key=lambda a: -a.changed_ns)]


def detail_of(device: Device, config: ConfigDesired, requests: list[Request], history: list[Happening]) -> DeviceDetail:
    """Return all that is known of a device."""
    health = device.health
    return DeviceDetail(
        row=row_of(device),
        uptime_s=health.uptime_s if health else 0.0,
        links_up=health.links_up if health else 0,
        links_down=health.links_down if health else 0,
        refused=device.refused,
        processes=health.processes if health else [],
        pipelines=health.pipelines if health else [],
        models=device.models.models if device.models else [],
        config=device.models.config if device.models else {},
        config_desired=config,
        ledger=device.ledger,
        alerts=alerts_of(device),
        requests=requests,
        history=history,
    )


def _slowest(health: Health | None) -> PipelineHealth | None:
    return max(health.pipelines, key=lambda pipeline: pipeline.p99_ms, default=None) if health else None


def _ms(time_ns: int) -> int:
    return time_ns // 1_000_000
