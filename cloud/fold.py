"""The fold: (device, what happened) -> (device, effects). Pure: no clock, no store, no bus.

Latest wins by (epoch, seq) for health, models, ledger and each alert: repeats and stragglers change nothing. A lower
epoch is a device whose clock went back over a restart; it is believed once the epoch before it has fallen silent.
There is no will upstream: a device is offline after `stale_after_s` without health, which a broken link and a dead
device have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from cloud.device import STALE_AFTER_S, Alarm, AlertState, Device, DeviceState
from schemas.fleet import Alert, Health, Ledger, Models, Report, Upstream
from schemas.messages import Phase, Severity

MAX_ALERTS = 64  # per device, closed ones included: they keep a late repeat from opening them again
MAX_REPORTS = 32
MAX_EPOCHS = 8
OFFLINE_KEY = "offline"  # no digest of a device looks like it
FLEET_ORIGIN = "fleet"
_SAME_START_NS = 60_000_000_000  # the publishers of one start of a device differ by less
U = TypeVar("U", bound=Upstream)


@dataclass(frozen=True)
class Arrival:
    """A message of a device. `at_ns`: the fleet's wall clock; `retained`: it was kept by the broker, so it is old."""

    message: Upstream
    at_ns: int
    retained: bool = False


@dataclass(frozen=True)
class Changed:
    """The device's state changed."""

    before: DeviceState
    after: DeviceState


@dataclass(frozen=True)
class Alerted:
    """An alert was raised, changed or closed."""

    alarm: Alarm


@dataclass(frozen=True)
class Answered:
    """A device reported what became of something that the fleet asked for."""

    report: Report


Effect = Changed | Alerted | Answered


def fold(device: Device, arrival: Arrival, stale_after_s: float = STALE_AFTER_S) -> tuple[Device, tuple[Effect, ...]]:
    """Return the device after one message, and what follows from it."""
    match arrival.message:
        case Health() as health:
            return _on_health(device, health, arrival, stale_after_s)
        case Models() as models:
            fresh = _supersedes(device, models, device.models, arrival, stale_after_s)
            return (_seen(msgspec.structs.replace(device, models=models), arrival), ()) if fresh else (device, ())
        case Ledger() as ledger:
            fresh = _supersedes(device, ledger, device.ledger, arrival, stale_after_s)
            return (_seen(msgspec.structs.replace(device, ledger=ledger), arrival), ()) if fresh else (device, ())
        case Alert() as alert:
            return _on_alert(device, alert, arrival)
        case Report() as report:
            return _on_report(device, report, arrival)
        case _:
            raise TypeError(f"the fold does not know {type(arrival.message).__name__}")


def silence(
    device: Device, now_ns: int, listening_since_ns: int, stale_after_s: float = STALE_AFTER_S
) -> tuple[Device, tuple[Effect, ...]]:
    """Return the device as time passes: offline once it is stale.

    `listening_since_ns`: since when the fleet hears at all; silence before it proves nothing.
    """
    deadline_ns = max(device.health_ns, listening_since_ns) + int(stale_after_s * 1e9)
    if device.state is DeviceState.OFFLINE or now_ns <= deadline_ns:
        return device, ()
    device, effects = _to(device, DeviceState.OFFLINE, now_ns)
    alarm = Alarm(
        key=OFFLINE_KEY, origin=FLEET_ORIGIN, code="offline", severity=Severity.ALARM, active=True,
        raised_ns=now_ns, changed_ns=now_ns,
    )  # fmt: skip
    device, alerted = _with_alarm(device, alarm)
    return device, effects + alerted


def acknowledge(device: Device, key: str, by: str, note: str, at_ns: int) -> tuple[Device, tuple[Effect, ...]]:
    """Return the device with one alert acknowledged; without effect where there is nothing to acknowledge."""
    alarm = device.alerts.get(key)
    if alarm is None or alarm.state not in (AlertState.ACTIVE_UNACKED, AlertState.CLEARED_UNACKED):
        return device, ()
    return _with_alarm(device, msgspec.structs.replace(alarm, acked_by=by, note=note, changed_ns=at_ns))


def refuse(device: Device) -> Device:
    """Return the device with one more message that was not of the closed schema."""
    return msgspec.structs.replace(device, refused=device.refused + 1)


def _on_health(
    device: Device, health: Health, arrival: Arrival, stale_after_s: float
) -> tuple[Device, tuple[Effect, ...]]:
    if not _supersedes(device, health, device.health, arrival, stale_after_s):
        return device, ()
    epochs = device.epochs
    if device.health is not None and device.health.epoch != health.epoch:
        epochs = (*epochs, device.health.epoch)[-MAX_EPOCHS:]
    at_ns = min(arrival.at_ns, health.time_ns) if arrival.retained else arrival.at_ns
    device = msgspec.structs.replace(device, health=health, epochs=epochs, health_ns=at_ns)
    device = _seen(device, Arrival(health, at_ns))
    if arrival.at_ns - at_ns > stale_after_s * 1e9:  # retained, and older than a device may be silent
        return device, ()
    device, effects = _to(device, DeviceState(health.state), arrival.at_ns)
    offline = device.alerts.get(OFFLINE_KEY)
    if offline is not None and offline.active:
        cleared = msgspec.structs.replace(offline, active=False, changed_ns=arrival.at_ns)
        device, alerted = _with_alarm(device, cleared)
        effects += alerted
    return device, effects


def _on_alert(device: Device, alert: Alert, arrival: Arrival) -> tuple[Device, tuple[Effect, ...]]:
    known = device.alerts.get(alert.key)
    if known is not None and not _alert_supersedes(device, alert, known):
        return device, ()
    active = alert.phase is not Phase.END
    kept = known if known is not None and (known.active or not active) else None  # else it is raised (again)
    alarm = Alarm(
        key=alert.key, origin=alert.origin, code=alert.code, severity=alert.severity, active=active,
        raised_ns=kept.raised_ns if kept else arrival.at_ns, changed_ns=arrival.at_ns,
        epoch=alert.epoch, seq=alert.seq, acked_by=kept.acked_by if kept else "", note=kept.note if kept else "",
    )  # fmt: skip
    return _with_alarm(_seen(device, arrival), alarm)


def _alert_supersedes(device: Device, alert: Alert, known: Alarm) -> bool:
    if device.health is not None and known.epoch > device.health.epoch + _SAME_START_NS:
        return alert.epoch != known.epoch  # a start whose clock ran ahead, and that the fold has given up
    return (alert.epoch, alert.seq) > (known.epoch, known.seq)


def _on_report(device: Device, report: Report, arrival: Arrival) -> tuple[Device, tuple[Effect, ...]]:
    if report in device.reports:
        return device, ()
    device = msgspec.structs.replace(device, reports=(*device.reports, report)[-MAX_REPORTS:])
    return _seen(device, arrival), (Answered(report),)


def _supersedes(device: Device, new: U, old: U | None, arrival: Arrival, stale_after_s: float) -> bool:
    if old is None:
        return True
    if new.epoch == old.epoch:
        return new.seq > old.seq
    if new.epoch > old.epoch:
        return True
    silent = arrival.at_ns - (device.health_ns or device.seen_ns) > stale_after_s * 1e9
    return silent and not arrival.retained and new.epoch not in device.epochs


def _to(device: Device, state: DeviceState, at_ns: int) -> tuple[Device, tuple[Effect, ...]]:
    if device.state is state:
        return device, ()
    return msgspec.structs.replace(device, state=state, since_ns=at_ns), (Changed(device.state, state),)


def _seen(device: Device, arrival: Arrival) -> Device:
    return msgspec.structs.replace(device, seen_ns=max(device.seen_ns, arrival.at_ns))


def _with_alarm(device: Device, alarm: Alarm) -> tuple[Device, tuple[Effect, ...]]:
    alerts = device.alerts | {alarm.key: alarm}
    effects: tuple[Effect, ...] = (Alerted(alarm),)
    while len(alerts) > MAX_ALERTS:  # closed ones first, then the oldest
        oldest = min(alerts.values(), key=lambda a: (a.state is not AlertState.CLOSED, a.changed_ns))
        del alerts[oldest.key]
        if oldest.state is not AlertState.CLOSED:
            effects += (Alerted(msgspec.structs.replace(oldest, active=False, acked_by=FLEET_ORIGIN)),)
    return msgspec.structs.replace(device, alerts=alerts), effects
