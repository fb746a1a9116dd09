"""Whether a value has moved enough to be told (OPC 10000-4, 7.22.2 and 10000-8, 6.2). Pure.

It is compared with the value that was told last: a slow drift adds up and is told once it exceeds the deadband. asyncua
compares with the sample before, so that a drift is never told, and takes no notice of a percent deadband.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncua import ua
from asyncua.ua import uaprotocol_auto
from asyncua.ua.status_codes import StatusCodes

Number = bool | int | float
CHANGE_FILTER: Final = uaprotocol_auto.DataChangeFilter  # what bytes become; `ua.DataChangeFilter` is a child of it


@dataclass(frozen=True)
class Sieve:
    """What of an item's values passes. `deadband` is in the value's own unit, 0 for none."""

    trigger: ua.DataChangeTrigger = ua.DataChangeTrigger.StatusValue
    deadband: float = 0.0

    def passes(self, told: ua.DataValue | None, now: ua.DataValue) -> bool:
        """Whether `now` is to be told after `told`."""
        if told is None or told.StatusCode != now.StatusCode:
            return True
        if self.trigger is ua.DataChangeTrigger.Status:
            return False
        if moved(content(told), content(now), self.deadband):
            return True
        return self.trigger is ua.DataChangeTrigger.StatusValueTimestamp and told.SourceTimestamp != now.SourceTimestamp


def content(value: ua.DataValue) -> object:
    """Return what a DataValue carries, None for nothing."""
    return None if value.Value is None else value.Value.Value


def moved(told: object, now: object, deadband: float) -> bool:
    """Whether a value has moved by more than the deadband; an array, when one of its elements has."""
    if isinstance(told, list) and isinstance(now, list):
        return len(told) != len(now) or any(moved(a, b, deadband) for a, b in zip(told, now, strict=True))
    if not isinstance(told, Number) or not isinstance(now, Number):
        return told != now
    if math.isnan(told) or math.isnan(now):
        return math.isnan(told) is not math.isnan(now)
    return told != now if deadband == 0 else abs(now - told) > deadband


class FilterRefused(Exception):
    """A filter that can't be used; `code` is its StatusCode."""

    def __init__(self, code: int) -> None:
        """Keep the code."""
        super().__init__(ua.StatusCode(ua.UInt32(code)).name)
        self.code = code


def sieve_of(given: object, value: object, limits: Sequence[float] | None) -> Sieve:
    """Return the sieve that a client's filter asks for, on a node with this value and range (EURange), None without.

    Raises:
        FilterRefused: the filter does not fit the node, or its deadband is no number that a deadband can be.
    """
    if given is None or (isinstance(given, ua.ExtensionObject) and given.Body is None):
        return Sieve()
    if not isinstance(given, CHANGE_FILTER):
        raise FilterRefused(StatusCodes.BadFilterNotAllowed)
    trigger, kind, size = ua.DataChangeTrigger(given.Trigger), given.DeadbandType, float(given.DeadbandValue)
    if kind == ua.DeadbandType.None_:
        return Sieve(trigger)
    if not _numeric(value):
        raise FilterRefused(StatusCodes.BadFilterNotAllowed)
    if kind == ua.DeadbandType.Absolute and 0 <= size < math.inf:
        return Sieve(trigger, size)
    if kind == ua.DeadbandType.Percent and 0 <= size <= 100:
        if limits is None:
            raise FilterRefused(StatusCodes.BadMonitoredItemFilterUnsupported)
        return Sieve(trigger, size / 100 * (limits[1] - limits[0]))
    raise FilterRefused(StatusCodes.BadDeadbandFilterInvalid)


def _numeric(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, int | float) and not isinstance(first, bool)
