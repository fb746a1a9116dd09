from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.device import AlertState, Availability, Device, DeviceState, Totals
from cloud.fold import MAX_ALERTS, Alerted, Answered, Arrival, Changed, acknowledge, fold, silence
from cloud.totals import elapse, move
from cloud.views import alerts_of, row_of
from schemas.fleet import Upstream
from schemas.messages import Phase
from tests.cloud.fleet_messages import SECOND_NS, START_NS, alert, health, models, pipeline, report

NEW = Device(node="press-7")


def after(device: Device, *messages: Upstream, at_s: float = 0, retained: bool = False) -> Device:
    at_ns = START_NS + int(at_s * SECOND_NS)
    return reduce(lambda d, message: fold(d, Arrival(message, at_ns, retained))[0], messages, device)


def test_the_first_health_brings_a_device_to_its_state_and_says_so() -> None:
    device, effects = fold(NEW, Arrival(health(state="degraded", reasons=["plc_lost"]), START_NS))
    assert effects == (Changed(DeviceState.OFFLINE, DeviceState.DEGRADED),)
    row = row_of(device)
    assert (row.state, row.reason) == (DeviceState.DEGRADED, "A PLC does not answer")
    assert (row.p50_ms, row.p99_ms, row.rate_hz) == (0.9, 2.5, 50.0)


def test_the_row_shows_the_slowest_pipeline_and_sums_rates_and_misses() -> None:
    fast = pipeline("fast", p50_ms=0.1, p99_ms=0.5, rate_hz=10, late=1)
    slow = pipeline("slow", p50_ms=3.0, p99_ms=9.0, rate_hz=5, dropped=2)
    row = row_of(after(NEW, health(pipelines=[fast, slow]), models(caps="1.2.0")))
    assert (row.p50_ms, row.p99_ms, row.rate_hz, row.misses, row.versions) == (3.0, 9.0, 15.0, 3, {"caps": "1.2.0"})


def test_silence_makes_a_device_offline_once_and_health_brings_it_back() -> None:
    device = after(NEW, health())
    assert silence(device, START_NS + 30 * SECOND_NS, 0) == (device, ())
    gone, effects = silence(device, START_NS + 31 * SECOND_NS, 0)
    assert effects[0] == Changed(DeviceState.OK, DeviceState.OFFLINE)
    assert [(view.code, view.state) for view in alerts_of(gone)] == [("offline", AlertState.ACTIVE_UNACKED)]
    assert silence(gone, START_NS + 90 * SECOND_NS, 0) == (gone, ())
    back = after(gone, health(2), at_s=100)
    assert back.state is DeviceState.OK
    assert [view.state for view in alerts_of(back)] == [AlertState.CLEARED_UNACKED]


def test_silence_while_the_fleet_itself_was_deaf_proves_nothing() -> None:
    device = after(NEW, health())
    listening_since = START_NS + 500 * SECOND_NS
    assert silence(device, START_NS + 520 * SECOND_NS, listening_since)[0].state is DeviceState.OK
    assert silence(device, START_NS + 531 * SECOND_NS, listening_since)[0].state is DeviceState.OFFLINE


def test_a_retained_health_of_an_hour_ago_does_not_look_alive() -> None:
    device = after(NEW, health(), at_s=3600, retained=True)
    assert (device.state, device.seen_ns) == (DeviceState.OFFLINE, START_NS)
    assert after(NEW, health(), at_s=5, retained=True).state is DeviceState.OK


def test_a_device_whose_clock_went_back_is_believed_once_its_old_start_is_silent() -> None:
    device = after(NEW, health(9), at_s=0)
    reborn = health(1, epoch=1_000, state="alarm")
    assert after(device, reborn, at_s=5) == device
    assert after(device, reborn, at_s=31).state is DeviceState.ALARM
    late = after(after(device, reborn, at_s=31), health(8), at_s=32)
    assert late.health is not None and late.health.epoch == START_NS  # a higher epoch always wins


def test_an_alert_is_acknowledged_cleared_and_leaves_the_list() -> None:
    raised = after(NEW, alert("ab", Phase.NEW, 1))
    acked, effects = acknowledge(raised, "ab", "maria", "ladder is there", START_NS)
    assert isinstance(effects[0], Alerted)
    assert alerts_of(acked)[0].state is AlertState.ACTIVE_ACKED
    assert alerts_of(after(acked, alert("ab", Phase.END, 2))) == []
    again = alerts_of(after(acked, alert("ab", Phase.END, 2), alert("ab", Phase.NEW, 3)))
    assert [(view.state, view.acked_by) for view in again] == [(AlertState.ACTIVE_UNACKED, "")]


def test_acknowledging_what_is_not_there_changes_nothing() -> None:
    assert acknowledge(NEW, "ab", "maria", "", START_NS) == (NEW, ())


def test_an_alert_of_a_start_whose_clock_ran_ahead_can_still_end() -> None:
    ahead = START_NS + 86_400 * SECOND_NS
    device = after(NEW, health(5, epoch=ahead), alert("ab", Phase.NEW, 1, epoch=ahead))
    device = after(device, health(1), at_s=60)  # reborn with the right time
    assert alerts_of(after(device, alert("ab", Phase.END, 1), at_s=61))[0].state is AlertState.CLEARED_UNACKED


def test_alerts_are_bounded_and_closed_ones_go_first() -> None:
    device = after(NEW, alert("00", Phase.NEW, 1))
    device, _ = acknowledge(device, "00", "maria", "", START_NS)
    device = after(device, alert("00", Phase.END, 2), *(alert(f"{n:04x}", Phase.NEW, n + 3) for n in range(MAX_ALERTS)))
    assert len(device.alerts) == MAX_ALERTS
    assert "00" not in device.alerts


def test_a_report_is_answered_once() -> None:
    answer = report("request", "r1")
    device, effects = fold(NEW, Arrival(answer, START_NS))
    assert effects == (Answered(answer),)
    assert fold(device, Arrival(answer, START_NS))[1] == ()


KEYS = ("0a", "0b", "0c")
STARTS = (START_NS, START_NS + SECOND_NS)
states = st.sampled_from(["ok", "degraded", "alarm"])
phases = st.sampled_from([Phase.NEW, Phase.UPDATE, Phase.END])
marks = st.tuples(st.sampled_from(STARTS), st.integers(1, 20))


@st.composite
def histories(draw: st.DrawFn) -> list[Upstream]:
    """Distinct messages of two starts of a device, some of them repeated, in any order."""
    found: list[Upstream] = []
    for epoch, seq in draw(st.lists(marks, unique=True, max_size=8)):
        found.append(health(seq, epoch, state=draw(states), upstream_bytes_today=draw(st.integers(0, 10**8))))
    for epoch, seq in draw(st.lists(marks, unique=True, max_size=8)):
        found.append(alert(draw(st.sampled_from(KEYS)), draw(phases), seq, epoch))
    for epoch, seq in draw(st.lists(marks, unique=True, max_size=4)):
        found.append(models(seq, epoch, caps=f"1.{seq}.0"))
    return found


@given(data=st.data(), history=histories())
def test_order_and_repeats_do_not_change_what_is_known_at_the_end(data: st.DataObject, history: list[Upstream]) -> None:
    repeats = data.draw(st.lists(st.sampled_from(history), max_size=6)) if history else []
    shuffled = data.draw(st.permutations(history + repeats))
    straight, mixed = after(NEW, *sorted(history, key=lambda m: (m.epoch, m.seq))), after(NEW, *shuffled)
    assert (mixed.state, mixed.health, mixed.models) == (straight.state, straight.health, straight.models)
    active = {key: (alarm.active, alarm.seq) for key, alarm in straight.alerts.items()}
    assert {key: (alarm.active, alarm.seq) for key, alarm in mixed.alerts.items()} == active


@given(histories=st.dictionaries(st.sampled_from(["a", "b", "c"]), histories(), max_size=3), gone=st.booleans())
def test_incremental_totals_equal_a_count_from_scratch(histories: dict[str, list[Upstream]], gone: bool) -> None:
    totals, rows = Totals(), {}
    for node, history in histories.items():
        device = Device(node=node)
        for message in history:
            device, _ = fold(device, Arrival(message, START_NS))
            totals, rows[node] = move(totals, rows.get(node), row_of(device)), row_of(device)
        if gone:
            device, _ = silence(device, START_NS + 60 * SECOND_NS, 0)
            totals, rows[node] = move(totals, rows.get(node), row_of(device)), row_of(device)
    assert totals == reduce(lambda t, row: move(t, None, row), rows.values(), Totals())
    assert totals.devices == totals.ok + totals.degraded + totals.alarm + totals.offline == len(rows)


def test_availability_counts_device_time_in_ok_or_degraded_and_starts_anew_each_day() -> None:
    totals = Totals(devices=4, ok=2, degraded=1, alarm=1)
    today = elapse(Availability(), totals, 10, START_NS)
    assert (today.up_s, today.known_s) == (30, 40)
    tomorrow = elapse(today, totals, 1, START_NS + 86_400 * SECOND_NS)
    assert (tomorrow.up_s, tomorrow.known_s) == (3, 4)


def test_a_message_that_is_not_upstream_is_refused() -> None:
    with pytest.raises(TypeError, match="does not know"):
        fold(NEW, Arrival(Upstream(time_ns=0), START_NS))
