"""What of a value's moves is told, and which filters are refused."""

import math
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.subscriptions.deadband import FilterRefused, Sieve, moved, sieve_of

ABSOLUTE, PERCENT = ua.DeadbandType.Absolute, ua.DeadbandType.Percent


def value(held: Any, code: int = StatusCodes.Good, at: int = 0) -> ua.DataValue:
    stamp = ua.DateTime.fromtimestamp(at)  # only compared
    return ua.DataValue(ua.Variant(held), StatusCode=ua.StatusCode(ua.UInt32(code)), SourceTimestamp=stamp)


def told(sieve: Sieve, values: list[Any]) -> list[Any]:
    """The values that pass, each compared with the last one that did."""
    last, found = None, []
    for one in values:
        if sieve.passes(last, value(one)):
            last = value(one)
            found.append(one)
    return found


def given(kind: int, size: float, trigger: ua.DataChangeTrigger = ua.DataChangeTrigger.StatusValue) -> Any:
    return ua.DataChangeFilter(Trigger=trigger, DeadbandType=ua.UInt32(kind), DeadbandValue=size)


def test_a_slow_drift_is_told_when_it_exceeds_the_deadband_and_then_again() -> None:
    drift = [step * 0.4 for step in range(12)]
    assert told(Sieve(deadband=1.0), drift) == pytest.approx([0.0, 1.2, 2.4, 3.6])


def test_exactly_the_deadband_is_not_told() -> None:
    assert told(Sieve(deadband=2.0), [0, 2, -2, 2.5, 0.5, 0.4]) == [0, 2.5, 0.4]


def test_a_percent_deadband_is_a_share_of_the_range() -> None:
    sieve = sieve_of(given(PERCENT, 10), 0.0, (-100.0, 100.0))
    assert sieve.deadband == 20
    assert told(sieve, [0, 19, 20, 21]) == [0, 21]


def test_an_array_is_told_when_one_element_has_moved_or_its_length_changes() -> None:
    assert told(Sieve(deadband=1.0), [[0, 0], [1, 1], [0, 1.5], [0, 1.5, 0]]) == [[0, 0], [0, 1.5], [0, 1.5, 0]]


def test_no_number_is_one_value_and_a_number_after_it_is_news() -> None:
    nan = math.nan
    assert len(told(Sieve(deadband=1.0), [0.0, nan, nan, 0.0])) == 3
    assert moved(None, 1.0, 5.0) and not moved("a", "a", 5.0) and moved("a", "b", 5.0)


def test_a_status_is_always_told_and_a_timestamp_only_on_request() -> None:
    bad = value(None, StatusCodes.BadNoCommunication)
    for trigger in ua.DataChangeTrigger:
        assert Sieve(trigger, 100.0).passes(value(1.0), bad)
    assert not Sieve(ua.DataChangeTrigger.Status).passes(value(1.0), value(2.0))
    assert not Sieve().passes(value(1.0, at=1), value(1.0, at=2))
    assert Sieve(ua.DataChangeTrigger.StatusValueTimestamp).passes(value(1.0, at=1), value(1.0, at=2))


@pytest.mark.parametrize(("wanted", "held", "limits", "code"), [
    (given(ABSOLUTE, 1), "text", None, StatusCodes.BadFilterNotAllowed),
    (given(ABSOLUTE, 1), True, None, StatusCodes.BadFilterNotAllowed),
    (given(PERCENT, 1), 0.0, None, StatusCodes.BadMonitoredItemFilterUnsupported),
    (given(PERCENT, 101), 0.0, (0, 1), StatusCodes.BadDeadbandFilterInvalid),
    (given(ABSOLUTE, -1), 0.0, (0, 1), StatusCodes.BadDeadbandFilterInvalid),
    (given(ABSOLUTE, math.nan), 0.0, (0, 1), StatusCodes.BadDeadbandFilterInvalid),
    (given(ABSOLUTE, math.inf), 0.0, (0, 1), StatusCodes.BadDeadbandFilterInvalid),
    (given(7, 1), 0.0, (0, 1), StatusCodes.BadDeadbandFilterInvalid),
    (ua.EventFilter(), 0.0, (0, 1), StatusCodes.BadFilterNotAllowed),
])  # fmt: skip
def test_a_filter_that_does_not_fit_is_refused(wanted: Any, held: Any, limits: Any, code: int) -> None:
    with pytest.raises(FilterRefused) as error:
        sieve_of(wanted, held, limits)
    assert error.value.code == code


def test_no_filter_and_an_empty_one_let_every_change_through() -> None:
    assert sieve_of(None, "x", None) == sieve_of(ua.ExtensionObject(), "x", None) == Sieve()
    assert sieve_of(given(ua.DeadbandType.None_, 5), "x", None) == Sieve()
