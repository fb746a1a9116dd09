"""What a device may say of itself upstream: a pure fold of status, insight, slots and coded events.

Only what `schemas.fleet.Upstream` names can come out of here: states, times, rates, versions and codes; no tag, no
verdict, no score, no text. An event leaves only if its code is in `ALERT_CODES`: anomaly events, which are
predictions, are not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from edge.host.load import Machine
from edge.models.slot_states import worst
from edge.settings import Settings
from schemas.fleet import Alert, Health, ModelHealth, Models, PipelineHealth, ProcessHealth
from schemas.messages import ConfigState, Event, Insight, Phase, Severity, Slot, State, Status
from schemas.topics import INSIGHT, STATUS

ALERT_CODES = frozenset(
    {
        "plc_lost",
        "camera_lost",
        "failsafe",
        "output_refused",
        "selftest",
        "model_unusable",
        "model_rejected",
        "inputs_changed",
        "model_degraded",
        "config_reverted",
        "config_rejected",
        "config_applied",
        "historian_lagging",
        "historian_quota",
    }
)
_REASON = {
    "plc_lost": "plc_lost",
    "camera_lost": "camera_lost",
    "failsafe": "failsafe_active",
    "output_refused": "output_refused",
    "selftest": "selftest_failed",
    "model_unusable": "model_unusable",
    "model_rejected": "model_rejected",
    "historian_lagging": "historian_lagging",
    "historian_quota": "historian_quota",
}
_DRIFTED = frozenset({"inputs_changed", "model_degraded"})


@dataclass
class _Seen:
    """The latest of each thing, with the monotonic second in which it came."""

    statuses: dict[str, tuple[Status, float]] = field(default_factory=dict[str, tuple[Status, float]])
    insights: dict[str, tuple[Insight, float]] = field(default_factory=dict[str, tuple[Insight, float]])
    slots: dict[str, dict[str, Slot]] = field(default_factory=dict[str, dict[str, Slot]])  # by model and runtime
    alarms: dict[str, Event] = field(default_factory=dict[str, Event])
    config: dict[str, int] = field(default_factory=dict[str, int])


class DeviceView:
    """Everything the uplink has seen, and the messages made of it."""

    def __init__(self, settings: Settings, software: str) -> None:
        """Start having seen nothing."""
        self._settings = settings
        self._software = software
        self._seen = _Seen()

    def status(self, status: Status, now_s: float) -> bool:
        """Take a process's status; return whether its state changed."""
        before = self._seen.statuses.get(status.process)
        self._seen.statuses[status.process] = (status, now_s)
        return before is None or before[0].state is not status.state

    def insight(self, insight: Insight, now_s: float) -> None:
        """Take a pipeline's window."""
        self._seen.insights[insight.pipeline] = (insight, now_s)

    def slot(self, slot: Slot) -> None:
        """Take what became of a model in one runtime."""
        self._seen.slots.setdefault(slot.model, {})[slot.process] = slot

    def config(self, state: ConfigState) -> None:
        """Take a section's version."""
        self._seen.config[state.section] = state.version

    def event(self, event: Event, time_ns: int) -> Alert | None:
        """Take an event; return the alert that may leave, None for what stays on the site."""
        if event.code not in ALERT_CODES:
            return None
        if event.phase is Phase.END:
            self._seen.alarms.pop(event.key, None)
        elif event.severity is not Severity.INFO:
            self._seen.alarms[event.key] = event
        return Alert(
            key=hashlib.sha256(event.key.encode()).hexdigest()[:16], origin=event.origin, code=event.code,
            phase=event.phase, severity=event.severity, time_ns=time_ns,
        )  # fmt: skip

    def models(self, time_ns: int) -> Models:
        """Return configuration versions, and each model as in the runtime that is furthest from serving it."""
        slots = [worst(states.values()) for _, states in sorted(self._seen.slots.items())][:64]
        return Models(
            time_ns=time_ns, config=dict(sorted(self._seen.config.items())[:32]),
            models=[
                ModelHealth(model=slot.model, version=slot.version, digest=slot.digest, phase=slot.phase)
                for slot in slots
            ],
        )  # fmt: skip

    def health(
        self, machine: Machine, now_s: float, time_ns: int, certificate_until_ns: int, outbox: int, bytes_today: int
    ) -> Health:
        """Return the device's health now."""
        state, reasons = self._verdict(now_s)
        links = [s for name, (s, _) in self._seen.statuses.items() if name.startswith(("connect", "camera"))]
        up = sum(status.state in (State.ACTIVE, State.IDLE) for status in links)
        device = self._settings.device
        return Health(
            time_ns=time_ns, site=device.site, line=device.line, hardware=device.hardware, software=self._software,
            state=state, reasons=reasons, uptime_s=machine.uptime_s, cpu_share=machine.cpu_share,
            memory_share=machine.memory_share, disk_share=machine.disk_share, temperature_c=machine.temperature_c,
            certificate_until_ns=certificate_until_ns, upstream_bytes_today=bytes_today, outbox=outbox, links_up=up,
            links_down=len(links) - up, processes=self._processes(), pipelines=self._pipelines(now_s),
        )  # fmt: skip

    def _verdict(self, now_s: float) -> tuple[str, list[str]]:
        alarms = {_REASON[event.code] for event in self._seen.alarms.values() if event.code in _REASON}
        soft: set[str] = set()
        for status, seen_s in self._seen.statuses.values():
            if status.state is State.STOPPED:
                alarms.add("process_stopped")
            elif now_s - seen_s > STATUS.stale_after_s:
                alarms.add("process_silent")
            elif status.state is State.DEGRADED:
                soft.add(f"{status.process.split('-')[0]}_degraded")
            if status.clock_synced is False:
                soft.add("clock_not_synced")
        fresh = [i for i, seen_s in self._seen.insights.values() if now_s - seen_s < INSIGHT.stale_after_s]
        if any(insight.late for insight in fresh):
            soft.add("deadlines_missed")
        soft |= {insight.drift.level for insight in fresh} & _DRIFTED
        reasons = (sorted(alarms) + sorted(soft - alarms))[:16]
        notable = soft - {"clock_not_synced", "deadlines_missed", "inputs_changed"}
        return ("alarm" if alarms else "degraded" if notable else "ok"), reasons

    def _processes(self) -> list[ProcessHealth]:
        statuses = [status for status, _ in self._seen.statuses.values()]
        statuses.sort(key=lambda status: status.process)
        return [ProcessHealth(process=s.process, state=s.state, rss_mb=round(s.rss_mb, 1)) for s in statuses[:32]]

    def _pipelines(self, now_s: float) -> list[PipelineHealth]:
        fresh = [i for i, seen_s in self._seen.insights.values() if now_s - seen_s < INSIGHT.stale_after_s]
        fresh.sort(key=lambda insight: insight.pipeline)
        return [
            PipelineHealth(
                pipeline=i.pipeline, rate_hz=round(i.results / i.window_s, 2) if i.window_s else 0.0,
                p50_ms=round(i.p50_ms, 3), p99_ms=round(i.p99_ms, 3), late=i.late, dropped=sum(i.dropped.values()),
            )
            for i in fresh[:32]
        ]  # fmt: skip
