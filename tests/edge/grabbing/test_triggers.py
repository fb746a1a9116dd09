"""Triggers of a PLC, and which picture is of which part."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cameras import Picture
from edge.grabbing.pairing import LATE, NO_PICTURE, NO_TRIGGER, Pairing
from edge.grabbing.triggers import DOUBLE, MISSED, MOST_STEPS, NO_NUMBER, Detector, Trigger
from schemas.fields import Value
from schemas.messages import Quality, Reading, Sample

MS = 1_000_000
WAIT = 50 * MS
PIXELS = np.zeros((2, 2, 1), np.uint8)


def reading(scan_ms: int, epoch: int = 1, /, **tags: Value | Sample) -> Reading:
    samples = {tag: value if isinstance(value, Sample) else Sample(value=value) for tag, value in tags.items()}
    return Reading(
        source="plc", group="fast", boot="b", scan_ns=scan_ms * MS, scan_ms=1, time_ns=0, tags=samples, epoch=epoch
    )


def seen(detector: Detector, *values: Value | Sample) -> list[tuple[int, str]]:
    found = [detector.read(reading(at, N=value)) for at, value in enumerate(values, 1)]
    return [(trigger.part_id, trigger.fault) for triggers in found for trigger in triggers]


def test_a_counter_that_moves_is_a_trigger_and_its_first_value_is_not() -> None:
    assert seen(Detector("N"), 7, 7, 8, 8, 9.0) == [(8, ""), (9, "")]


def test_steps_that_were_not_seen_are_missed_parts() -> None:
    assert seen(Detector("N"), 7, 10) == [(8, MISSED), (9, MISSED), (10, "")]


def test_with_a_wired_camera_each_step_is_a_part() -> None:
    assert seen(Detector("N", every=True), 7, 10) == [(8, ""), (9, ""), (10, "")]


@pytest.mark.parametrize(("before", "after"), [(65_535, 0), (32_767, -32_768), (2**32 - 1, 0)])
def test_a_counter_goes_round(before: int, after: int) -> None:
    detector = Detector("N")
    assert seen(detector, before, after) == [(after, "")]
    assert detector.restarts == 0


@pytest.mark.parametrize("after", [0, 500, 7 + MOST_STEPS + 1])
def test_a_counter_that_was_set_is_one_trigger_and_counted(after: int) -> None:
    detector = Detector("N")
    assert seen(detector, 7, after) == [(after, "")]
    assert detector.restarts == 1


def test_a_bit_counts_when_it_rises_and_needs_to_have_been_seen_low() -> None:
    assert seen(Detector("N"), True, False, True, True, False, True) == [(1, ""), (2, "")]


def test_a_bit_that_was_bad_in_between_is_not_believed_to_have_risen() -> None:
    bad = Sample(quality=Quality.BAD, reason="link lost")
    detector = Detector("N")
    assert seen(detector, False, bad) == []
    assert "link lost" in detector.trouble
    assert [t.part_id for t in detector.read(reading(9, N=True))] == []
    assert detector.trouble == ""


def test_a_bits_part_number_comes_from_its_tag() -> None:
    detector = Detector("Bit", "Part")
    given_ = [(False, 40), (True, 41), (False, 41), (True, 41), (False, 43), (True, 43), (False, None), (True, None)]
    found = [t for at, (bit, part) in enumerate(given_, 1) for t in detector.read(reading(at, Bit=bit, Part=part))]
    assert [(t.part_id, t.fault) for t in found] == [(41, ""), (41, DOUBLE), (42, MISSED), (43, ""), (0, NO_NUMBER)]


def test_a_source_that_began_again_makes_no_trigger_of_its_bit_and_still_tells_the_counters_steps() -> None:
    detector, counter = Detector("N"), Detector("N")
    detector.read(reading(5, N=False))
    assert detector.read(reading(1, 2, N=True)) == []
    counter.read(reading(5, N=3))
    assert [t.part_id for t in counter.read(reading(1, 2, N=5))] == [4, 5]


def test_a_scan_that_came_twice_is_one_trigger() -> None:
    detector = Detector("N")
    detector.read(reading(1, N=1))
    again = reading(2, N=2)
    assert len(detector.read(again)) == 1
    assert detector.read(again) == []


def test_what_is_no_number_is_trouble_and_no_trigger() -> None:
    detector = Detector("N")
    assert seen(detector, 1, "two", 2.5) == []
    assert "neither a bit nor a whole number" in detector.trouble


# -- pairing -----------------------------------------------------------------------------------------------------------


def shot(at_ms: int) -> Picture:
    return Picture(99, at_ms * MS, PIXELS)


def told(parts: list) -> list[tuple[int, int, str]]:
    return [(part.picture.part_id, part.picture.trigger_ns // MS, part.fault) for part in parts]


def test_the_first_picture_after_a_trigger_is_its_part_since_the_scan() -> None:
    pairing = Pairing(WAIT, wired=False)
    assert pairing.picture(shot(5)) == []
    assert pairing.trigger(Trigger(7, 10 * MS), 11 * MS) == []
    assert pairing.picture(shot(9)) == []  # taken before the trigger
    assert told(pairing.picture(shot(14))) == [(7, 10, "")]
    assert pairing.picture(shot(18)) == []
    assert pairing.unasked == 3


def test_a_wired_cameras_picture_waits_for_its_part_number() -> None:
    pairing = Pairing(WAIT, wired=True)
    assert pairing.picture(shot(10)) == []
    assert told(pairing.trigger(Trigger(7, 18 * MS), 20 * MS)) == [(7, 10, "")]


def test_a_trigger_without_a_picture_is_a_bad_one_of_that_part_and_lends_it_to_nobody() -> None:
    pairing = Pairing(WAIT, wired=True)
    pairing.trigger(Trigger(7, 10 * MS), 11 * MS)
    assert pairing.overdue(60 * MS) == []
    (fault,) = pairing.overdue(61 * MS)
    assert (fault.picture.part_id, fault.fault, fault.picture.quality) == (7, NO_PICTURE, Quality.BAD)
    pairing.picture(shot(100))
    assert told(pairing.trigger(Trigger(8, 101 * MS), 102 * MS)) == [(8, 100, "")]


def test_a_picture_of_an_unknown_part_shows_nothing() -> None:
    pairing = Pairing(WAIT, wired=True)
    pairing.picture(shot(10))
    (fault,) = pairing.overdue(61 * MS)
    assert (fault.picture.part_id, fault.fault, fault.picture.pixels.size) == (0, NO_TRIGGER, 0)


def test_a_late_trigger_is_a_fault_at_once() -> None:
    (fault,) = Pairing(WAIT, wired=False).trigger(Trigger(7, 10 * MS), 61 * MS)
    assert (fault.picture.part_id, fault.fault) == (7, LATE)
    assert "51 ms late" in fault.picture.reason


@given(
    st.lists(st.tuples(st.sampled_from(["trigger", "picture", "wait"]), st.integers(0, 80)), max_size=200),
    st.booleans(),
)
def test_every_trigger_has_one_answer_and_parts_stay_in_order(steps: list[tuple[str, int]], wired: bool) -> None:
    pairing, now, part, answered = Pairing(WAIT, wired=wired), 0, 0, []
    for what, ms in steps:
        now += ms * MS
        if what == "trigger":
            part += 1
            answered += pairing.trigger(Trigger(part, now), now)
        elif what == "picture":
            answered += pairing.picture(Picture(0, now, PIXELS))
        answered += pairing.overdue(now)
    answered += pairing.overdue(now + 2 * WAIT)
    assert [one.picture.part_id for one in answered if one.picture.part_id] == list(range(1, part + 1))
