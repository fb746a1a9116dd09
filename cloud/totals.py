"""Aggregates of the fleet, moved by one row at a time: nothing is summed over 5,000 devices per message. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from cloud.device import Availability, DeviceRow, DeviceState, Totals
from schemas.topics import UPSTREAM_BUDGET_BYTES


def move(totals: Totals, before: DeviceRow | None, after: DeviceRow) -> Totals:
    """Return the totals after one device's row has changed (`before` None: the device is new)."""
    counts = {state: getattr(totals, state.value) for state in DeviceState}
    counts[after.state] += 1
    if before is not None:
        counts[before.state] -= 1
    return Totals(
        devices=totals.devices + (before is None),
        ok=counts[DeviceState.OK],
        degraded=counts[DeviceState.DEGRADED],
        alarm=counts[DeviceState.ALARM],
        offline=counts[DeviceState.OFFLINE],
        unacked=totals.unacked + after.unacked - (before.unacked if before else 0),
        upstream_bytes=totals.upstream_bytes + _bytes(after) - _bytes(before),
        over_budget=totals.over_budget + _over(after) - _over(before),
        refused=totals.refused,
    )


def elapse(availability: Availability, totals: Totals, seconds: float, now_ns: int) -> Availability:
    """Return the day's availability after `seconds` at these totals; a new UTC day starts from nothing."""
    day = datetime.fromtimestamp(now_ns / 1e9, UTC).date().isoformat()
    if availability.day != day:
        availability = Availability(day=day)
    return Availability(
        day=day,
        up_s=availability.up_s + (totals.ok + totals.degraded) * seconds,
        known_s=availability.known_s + totals.devices * seconds,
    )


def _bytes(row: DeviceRow | None) -> int:
    """Return the bytes that a device has sent today; a silent one's count may be of another day."""
    return row.upstream_bytes if row is not None and row.state is not DeviceState.OFFLINE else 0


def _over(row: DeviceRow | None) -> int:
    return int(_bytes(row) > UPSTREAM_BUDGET_BYTES)
