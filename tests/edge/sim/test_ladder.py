"""The simulated PLC's program: what it does when the edge device does nothing, does it late, or too much."""

from edge.sim.ladder import SHIFT_REGISTER, WATCHDOG_S, DecidedBy, Ladder
from edge.sim.line import Tally


def alive(now_s: float = 1.0) -> Ladder:
    ladder = Ladder(0.0)
    ladder.write_heartbeat(1, now_s)
    ladder.write_armed(True, now_s)
    return ladder


def test_without_any_verdict_a_part_is_rejected_undecided() -> None:
    ladder = alive()
    ladder.enter(1)
    assert ladder.leave(1, 1.1) == (True, DecidedBy.PLC)


def test_what_is_written_while_not_armed_is_the_fail_safe_and_no_verdict() -> None:
    ladder = alive()
    ladder.write_armed(False, 1.0)
    ladder.enter(1)
    ladder.write_part_id(1)
    ladder.write_armed(True, 1.05)
    assert ladder.leave(1, 1.1) == (True, DecidedBy.FAILSAFE)


def test_every_part_is_counted_once() -> None:
    tally = Tally()
    fates = [(good, rejected, by) for good in (True, False) for rejected in (True, False) for by in DecidedBy]
    for good, rejected, by in fates:
        tally.parts += 1
        tally.count(good, rejected, by)
    verdicts = tally.correct_rejects + tally.missed_rejects + tally.false_rejects + tally.correct_passes
    others = tally.undecided_good + tally.undecided_bad + tally.failsafe_good + tally.failsafe_bad
    assert (verdicts, others, verdicts + others) == (4, 8, tally.parts)
    assert tally.false_rejects == 1, "the fail-safe is no wrong verdict"


def test_the_coil_is_latched_for_the_part_that_is_written() -> None:
    ladder = alive()
    for part_id in (1, 2, 3):
        ladder.enter(part_id)
    ladder.reject = False
    ladder.write_part_id(2)
    ladder.reject = True
    ladder.write_part_id(3)
    ladder.reject = False
    assert [ladder.leave(part_id, 1.1) for part_id in (1, 2, 3)] == [
        (True, DecidedBy.PLC),
        (False, DecidedBy.VERDICT),
        (True, DecidedBy.VERDICT),
    ]


def test_a_verdict_for_a_part_that_has_passed_is_late_and_one_for_no_part_is_stray() -> None:
    ladder = alive()
    ladder.enter(1)
    ladder.leave(1, 1.1)
    ladder.write_part_id(1)
    ladder.write_part_id(9)
    assert (ladder.counters.late_writes, ladder.counters.stray_writes) == (1, 1)


def test_a_silent_edge_trips_the_watchdog_once_and_its_verdicts_no_longer_count() -> None:
    ladder = alive(1.0)
    ladder.enter(1)
    ladder.reject = False
    ladder.write_part_id(1)
    assert ladder.leave(1, 1.0 + WATCHDOG_S + 0.01) == (True, DecidedBy.PLC)
    ladder.scan(9.0)
    assert ladder.watchdog_tripped and ladder.counters.watchdog_trips == 1


def test_a_heartbeat_that_stands_still_is_no_heartbeat() -> None:
    ladder = alive(1.0)
    ladder.write_heartbeat(1, 1.4)
    ladder.scan(1.6)
    assert ladder.watchdog_tripped


def test_a_late_heartbeat_lets_nothing_pass_until_the_edge_has_begun_anew_or_the_reset_is_pressed() -> None:
    for by_hand in (False, True):
        ladder = alive(1.0)
        ladder.scan(1.6)
        ladder.write_heartbeat(2, 1.7)
        assert ladder.watchdog_tripped and ladder.safe_since_s == 1.6
        if by_hand:
            ladder.press_reset(1.75)
        else:
            ladder.write_armed(False, 1.75)
            ladder.write_heartbeat(3, 1.8)
        assert not ladder.watchdog_tripped and ladder.counters.watchdog_trips == 1


def test_it_stands_at_the_fail_safe_since_the_watchdog_or_since_the_edge_wrote_it() -> None:
    ladder = alive(1.0)
    ladder.reject = False
    ladder.scan(1.1)
    assert ladder.safe_since_s is None
    ladder.reject = True
    ladder.scan(1.2)
    assert ladder.safe_since_s is None, "a reject of an armed edge is a verdict"
    ladder.write_armed(False, 1.3)
    ladder.scan(1.9)
    assert ladder.watchdog_tripped and ladder.safe_since_s == 1.3


def test_the_reset_is_given_after_half_a_second_of_heartbeats_and_only_while_not_armed() -> None:
    ladder = Ladder(0.0)
    for beat in range(1, 8):
        ladder.write_heartbeat(beat, 1.0 + beat / 10)
        ladder.scan(1.0 + beat / 10)
        assert ladder.rearm(1.0 + beat / 10) is (beat >= 6)
    ladder.write_armed(True, 1.8)
    assert not ladder.rearm(1.81) and ladder.counters.rearms == 1
    ladder.write_armed(False, 1.9)
    ladder.write_heartbeat(8, 1.95)
    assert not ladder.rearm(1.95), "a new reset takes a new half second"


def test_with_manual_re_arming_only_the_button_gives_the_reset() -> None:
    ladder = Ladder(0.0, manual_rearm=True)
    for beat in range(1, 30):
        ladder.write_heartbeat(beat, beat / 10)
        ladder.scan(beat / 10)
    assert not ladder.rearm(3.0)
    ladder.press_reset(3.0)
    assert ladder.rearm(3.1)


def test_the_shift_register_is_bounded() -> None:
    ladder = alive()
    for part_id in range(1, 2000):
        ladder.enter(part_id)
        ladder.write_part_id(part_id)
    assert len(ladder._verdicts) == SHIFT_REGISTER


def test_with_a_cycle_the_program_sees_only_what_stands_there_when_it_runs() -> None:
    ladder = Ladder(0.0, cycle_s=0.05)
    ladder.enter(2)
    ladder.reject = False
    ladder.scan(1.0)
    ladder.write_part_id(1)
    ladder.write_part_id(2)
    ladder.scan(1.04)
    assert not ladder._verdicts
    ladder.scan(1.06)
    assert list(ladder._verdicts) == [2]


def test_with_the_handshake_the_number_latches_and_is_answered_and_part_0_is_nobody() -> None:
    ladder = Ladder(0.0, handshake=True)
    ladder.enter(1)
    ladder.reject = False
    ladder.write_part_id(1)
    assert not ladder._verdicts, "the part's id alone latches nothing"
    ladder.write_result_id(9)
    assert (list(ladder._verdicts), ladder.result_ack) == ([1], 9)
    ladder.write_part_id(0)
    ladder.write_result_id(10)
    assert (list(ladder._verdicts), ladder.result_ack, ladder.counters.stray_writes) == ([1], 10, 0)
