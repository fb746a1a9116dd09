"""The fleet in memory: devices by the fold, rows, totals, and what changed since a reader's cursor.

A reader never has a queue: it says up to which version it knows the fleet, and gets the latest state of what changed
since. So a slow reader gets fewer, coalesced changes, and memory stays bounded by the number of devices.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

from cloud import fold as f
from cloud.device import (
    STALE_AFTER_S,
    AlertState,
    AlertView,
    Availability,
    Device,
    DeviceRow,
    Happening,
    Snapshot,
    Totals,
)  # fmt: skip
from cloud.totals import elapse, move
from cloud.views import alert_view, alerts_of, row_of, words
from schemas.fleet import Report
from schemas.topics import UPSTREAM_BUDGET_BYTES

MAX_DEVICES = 20_000  # the broker admits only enrolled nodes; this bounds a mistake in enrolment
_CLOSED_KEPT = 1_000


class Fleet:
    """All devices. Single-threaded: it belongs to the service's loop."""

    def __init__(self, stale_after_s: float = STALE_AFTER_S, clock: Callable[[], int] = time.time_ns) -> None:
        """Start empty, hearing nothing."""
        self.devices: dict[str, Device] = {}
        self.rows: dict[str, DeviceRow] = {}
        self.totals = Totals()
        self.availability = Availability()
        self.stale_after_s = stale_after_s
        self.answered: Callable[[str, Report], None] = lambda node, report: None
        self.dirty: set[str] = set()
        self.happenings: list[Happening] = []
        self._clock = clock
        self._epoch = clock()
        self._version = 0
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._alerts: OrderedDict[tuple[str, str], tuple[int, AlertView]] = OrderedDict()
        self._closed: deque[tuple[str, str]] = deque()
        self._forgotten = 0  # a cursor below it has missed the end of an alert
        self._listening_since_ns: int | None = None
        self._ticked_ns = 0

    # -- what happens -------------------------------------------------------------------------------------------------

    def load(self, devices: list[Device], availability: Availability) -> None:
        """Take over what the store held."""
        self.availability = availability
        self.totals = Totals(refused=sum(device.refused for device in devices))
        for device in devices:
            self._take(device)
            for view in alerts_of(device):
                self._show_alert(view)

    def listening(self, connected: bool) -> None:
        """Note whether the fleet hears its devices: while it does not, their silence proves nothing."""
        self._listening_since_ns = self._clock() if connected else None
        self._ticked_ns = self._clock()

    def arrive(self, node: str, arrival: f.Arrival) -> bool:
        """Fold a message in; return False if it changed nothing (a repeat, or one device too many)."""
        device = self._device(node)
        if device is None:
            return False
        after, effects = f.fold(device, arrival, self.stale_after_s)
        return self._apply(device, after, effects)

    def refuse(self, node: str) -> None:
        """Count a message of a device that is not of the closed schema."""
        self.totals = msgspec.structs.replace(self.totals, refused=self.totals.refused + 1)
        if (device := self._device(node)) is not None:
            self._apply(device, f.refuse(device), ())

    def acknowledge(self, node: str, key: str, by: str, note: str) -> bool:
        """Acknowledge an alert; return False if there is nothing to acknowledge."""
        device = self.devices.get(node)
        if device is None:
            return False
        after, effects = f.acknowledge(device, key, by, note, self._clock())
        return self._apply(device, after, effects, by)

    def tick(self) -> None:
        """Let time pass: silent devices go offline, availability is counted."""
        now_ns = self._clock()
        if self._listening_since_ns is None:
            return
        elapsed_s = max(0.0, (now_ns - self._ticked_ns) / 1e9)
        self.availability = elapse(self.availability, self.totals, min(elapsed_s, 10.0), now_ns)
        self._ticked_ns = now_ns
        for device in list(self.devices.values()):
            after, effects = f.silence(device, now_ns, self._listening_since_ns, self.stale_after_s)
            if effects:
                self._apply(device, after, effects)

    # -- what readers get ---------------------------------------------------------------------------------------------

    @property
    def hearing(self) -> bool:
        """Whether the fleet is connected to its broker."""
        return self._listening_since_ns is not None

    @property
    def cursor(self) -> str:
        """What a reader that knows everything holds."""
        return f"{self._epoch:x}-{self._version}"

    def since(self, cursor: str = "") -> Snapshot:
        """Return what changed since `cursor`, or everything when it is empty, of another start or unreadable."""
        version = self._version_of(cursor)
        full = version is None
        nodes = list(self.rows) if version is None else _newer(self._changed, version)
        views = [view for at, view in self._alerts.values() if version is None or at > version]
        return Snapshot(
            cursor=self.cursor, full=full, time_ms=self._clock() // 1_000_000, stale_after_s=self.stale_after_s,
            broker=self.hearing, budget_bytes=UPSTREAM_BUDGET_BYTES, totals=self.totals,
            availability=self.availability, rows=[self.rows[node] for node in nodes],
            alerts=[view for view in views if not (full and view.state is AlertState.CLOSED)],
        )  # fmt: skip

    def alerts(self) -> list[AlertView]:
        """Return the alerts that are not closed, the newest change first."""
        views = (view for _, view in self._alerts.values() if view.state is not AlertState.CLOSED)
        return sorted(views, key=lambda view: -view.changed_ms)

    def note(self, node: str, kind: str, text: str, by: str = "") -> None:
        """Add a line to the history."""
        now_ms = self._clock() // 1_000_000
        self.happenings.append(Happening(time_ms=now_ms, node=node, kind=kind, text=text, by=by))

    def _version_of(self, cursor: str) -> int | None:
        epoch, _, version = cursor.partition("-")
        if (
            epoch != f"{self._epoch:x}"
            or not version.isdecimal()
            or not self._forgotten <= int(version) <= self._version
        ):
            return None
        return int(version)

    # -- how it is kept -----------------------------------------------------------------------------------------------

    def _device(self, node: str) -> Device | None:
        known = self.devices.get(node)
        if known is None and len(self.devices) < MAX_DEVICES:
            return Device(node=node)
        return known

    def _apply(self, before: Device, after: Device, effects: tuple[f.Effect, ...], by: str = "") -> bool:
        if after is before:
            return False
        self._take(after)
        self.dirty.add(after.node)
        for effect in effects:
            self._follow(after, effect, by)
        return True

    def _take(self, device: Device) -> None:
        row, known = row_of(device), self.rows.get(device.node)
        self.devices[device.node] = device
        if row == known:
            return
        self.rows[device.node] = row
        self.totals = move(self.totals, known, row)
        self._changed[device.node] = self._next()
        self._changed.move_to_end(device.node)

    def _follow(self, device: Device, effect: f.Effect, by: str) -> None:
        match effect:
            case f.Changed(before, after):
                why = self.rows[device.node].reason
                self.note(device.node, "state", f"{after.value}, was {before.value}" + (f": {why}" if why else ""))
            case f.Alerted(alarm):
                view = alert_view(device.node, alarm)
                self._show_alert(view)
                what = "acknowledged" if by else "raised" if alarm.active else "cleared"
                self.note(device.node, "alert", f"{words(alarm.code)}: {what}", by)
            case f.Answered(report):
                self.answered(device.node, report)

    def _show_alert(self, view: AlertView) -> None:
        key = (view.node, view.key)
        self._alerts[key] = (self._next(), view)
        self._alerts.move_to_end(key)
        if view.state is AlertState.CLOSED:
            self._closed.append(key)
        if len(self._closed) > _CLOSED_KEPT:
            self._forget(self._closed.popleft())

    def _forget(self, key: tuple[str, str]) -> None:
        version, view = self._alerts.get(key, (0, None))
        if view is not None and view.state is AlertState.CLOSED:
            del self._alerts[key]
            self._forgotten = max(self._forgotten, version)

    def _next(self) -> int:
        self._version += 1
        return self._version


def _newer(changed: OrderedDict[str, int], version: int) -> list[str]:
    """Return the keys that changed after `version`; the dict is in order of change."""
    found: list[str] = []
    for key in reversed(changed):
        if changed[key] <= version:
            break
        found.append(key)
    return found
