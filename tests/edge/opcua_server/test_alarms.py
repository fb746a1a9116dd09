"""The life of an alarm, as OPC 10000-9 tells it in B.1.2 and B.1.3, and what can't be done in which state."""

from collections.abc import Callable

import pytest
from asyncua.ua.status_codes import StatusCodes
from hypothesis import given
from hypothesis import strategies as st

from edge.opcua_server.events.alarms import LONGEST_SHELVED_NS, MOST_IDS, Alarm, AlarmRefused, Shelving

CALM = Alarm(severity=500)
HOT = CALM.raised("too hot", 700, 1).told(b"1")


def refused(do: Callable[[], object]) -> int:
    with pytest.raises(AlarmRefused) as caught:
        do()
    return caught.value.code


def seen(alarm: Alarm) -> tuple[bool, bool, bool, bool]:
    return alarm.active, alarm.acked, alarm.confirmed, alarm.retain


def test_acknowledged_while_active_and_confirmed_when_it_is_over() -> None:
    """Table B.1 with the confirm column: active, acked, confirmed, retain."""
    assert seen(CALM) == (False, True, True, False)
    assert seen(HOT) == (True, False, True, True)
    acked = HOT.acknowledged(b"1", "on my way", "anna", 2).told(b"2")
    assert seen(acked) == (True, True, False, True) and (acked.comment, acked.by) == ("on my way", "anna")
    over = acked.cleared("cool again", 3).told(b"3")
    assert seen(over) == (False, True, False, True)
    done = over.confirm(b"3", None, "bert", 4)
    assert seen(done) == (False, True, True, False) and (done.comment, done.by) == ("on my way", "bert")


def test_one_that_is_over_is_kept_until_it_is_acknowledged() -> None:
    over = HOT.cleared("cool again", 2).told(b"2")
    assert seen(over) == (False, False, True, True)
    assert seen(over.acknowledged(b"1", "", "anna", 3)) == (False, True, False, True)


def test_what_was_acknowledged_can_not_be_again_nor_by_an_event_of_before() -> None:
    acked = HOT.acknowledged(b"1", None, "anna", 2).told(b"2")
    assert refused(lambda: acked.acknowledged(b"2", None, "anna", 3)) == StatusCodes.BadConditionBranchAlreadyAcked
    assert refused(lambda: HOT.acknowledged(b"9", None, "anna", 3)) == StatusCodes.BadEventIdUnknown
    again = acked.cleared("", 3).told(b"3").raised("hot again", 700, 4).told(b"4")
    assert refused(lambda: again.acknowledged(b"1", None, "anna", 5)) == StatusCodes.BadEventIdUnknown
    assert again.acknowledged(b"4", None, "anna", 5).acked
    assert refused(lambda: HOT.confirm(b"1", None, "anna", 2)) == StatusCodes.BadConditionBranchAlreadyConfirmed


def test_one_that_comes_again_unacknowledged_can_be_acknowledged_by_its_first_event() -> None:
    again = HOT.cleared("", 2).told(b"2").raised("hot again", 700, 3).told(b"3")
    assert seen(again) == (True, False, True, True)
    assert again.acknowledged(b"1", None, "anna", 4).acked


def test_another_text_or_severity_is_news_and_the_same_is_none() -> None:
    assert HOT.raised("too hot", 700, 9) is HOT
    worse = HOT.raised("burning", 900, 2)
    assert (worse.severity, worse.last_severity, worse.active_ns, worse.time_ns) == (900, 700, 1, 2)
    assert CALM.cleared("", 5) is CALM


def test_a_disabled_alarm_is_raised_by_nothing_and_has_nothing_to_acknowledge() -> None:
    off = HOT.disable("anna", 2).told(b"2")
    assert seen(off) == (False, True, True, False)
    assert off.raised("too hot", 700, 3) is off
    assert refused(lambda: off.acknowledged(b"1", None, "anna", 3)) == StatusCodes.BadConditionDisabled
    assert refused(lambda: off.commented(b"1", "", "anna", 3)) == StatusCodes.BadConditionDisabled
    assert refused(lambda: off.disable("anna", 3)) == StatusCodes.BadConditionAlreadyDisabled
    assert refused(lambda: off.shelve(1, "anna", 3)) == StatusCodes.BadConditionDisabled
    assert off.enable("anna", 4).raised("too hot", 700, 5).active
    assert refused(lambda: HOT.enable("anna", 3)) == StatusCodes.BadConditionAlreadyEnabled


def test_shelved_for_a_time_or_until_it_is_over() -> None:
    timed = HOT.shelve(100, "anna", 10)
    assert timed.shelving is Shelving.TIMED and timed.passed(109) is timed and not timed.passed(110).shelved
    once = HOT.shelve(None, "anna", 10)
    assert once.cleared("", 11).shelving is Shelving.UNSHELVED
    assert timed.cleared("", 11).shelving is Shelving.TIMED
    assert timed.shelve(None, "anna", 12).shelving is Shelving.ONE_SHOT
    assert refused(lambda: timed.shelve(5, "anna", 12)) == StatusCodes.BadConditionAlreadyShelved
    assert refused(lambda: HOT.unshelve("anna", 12)) == StatusCodes.BadConditionNotShelved
    for out in (0, -1, LONGEST_SHELVED_NS + 1):
        assert refused(lambda out=out: HOT.shelve(out, "anna", 12)) == StatusCodes.BadShelvingTimeOutOfRange  # type: ignore[misc]  # a default binds it


DOINGS: list[Callable[[Alarm, int], Alarm]] = [
    lambda one, now: one.raised("a", 500, now), lambda one, now: one.raised("b", 900, now),
    lambda one, now: one.cleared("", now), lambda one, now: one.acknowledged(one.ids[-1], None, "x", now),
    lambda one, now: one.confirm(one.ids[-1], "c", "x", now), lambda one, now: one.disable("x", now),
    lambda one, now: one.enable("x", now), lambda one, now: one.shelve(7, "x", now),
    lambda one, now: one.shelve(None, "x", now), lambda one, now: one.unshelve("x", now),
    lambda one, now: one.passed(now),
]  # fmt: skip


@given(st.lists(st.sampled_from(DOINGS), max_size=200))
def test_whatever_befalls_it_an_alarm_stays_consistent_and_small(doings: list[Callable[[Alarm, int], Alarm]]) -> None:
    alarm = CALM
    for now, do in enumerate(doings, 1):
        try:
            after = do(alarm, now)
        except (AlarmRefused, IndexError):
            continue
        alarm = after.told(str(now).encode()) if after is not alarm else alarm
        assert len(alarm.ids) <= MOST_IDS
        assert alarm.acked or alarm.confirmed, "nothing is to be confirmed before it is acknowledged"
        assert alarm.retain == (alarm.enabled and (alarm.active or not (alarm.acked and alarm.confirmed)))
        assert alarm.enabled or not (alarm.active or alarm.shelved)
