"""Counts, intervals, drawing and shifts: what the page's numbers rest on."""

import os
import random
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.operator_page.counts import Counts, Kind, Minute, Tally, Trend, kind_of, oee_of
from edge.operator_page.intervals import LEAST, estimate, recall, wilson
from edge.operator_page.judged import fairer, judged_view
from edge.operator_page.parts import Judgement, Really
from edge.operator_page.sampling import Fair, Sample
from edge.operator_page.shifts import shift_at
from schemas.messages import Outcome, Verdict
from tests.edge.operator_page.messages import result

DAY = ("06:00", "14:00", "22:00")


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(*when: int) -> float:
    return time.mktime((*when, 0, 0, 0, -1))


# -- intervals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counted", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(counted: int, of: int, low: float, high: float) -> None:
    """Figures of Newcombe, Statistics in Medicine 17 (1998), table I (81/263), and of the formula by hand."""
    assert wilson(counted, of) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_a_share_lies_in_its_interval(share: tuple[int, int]) -> None:
    counted, of = share
    low, high = wilson(counted, of)
    assert 0 <= low <= counted / of <= high <= 1


def test_too_few_judgements_say_nothing() -> None:
    assert estimate(LEAST - 1, LEAST - 1, LEAST).value is None
    assert estimate(LEAST, LEAST, LEAST).value == 1.0
    assert recall(50, 950, 9, 9, 0, 30).value is None
    assert recall(50, 950, 20, 20, 0, LEAST - 1).value is None


def test_recall_carries_both_shares_over_to_all_parts() -> None:
    found = recall(rejects=100, goods=900, right=18, rejects_judged=20, missed=1, goods_judged=30)
    assert found.value == pytest.approx(90 / (90 + 30))
    assert found.low is not None and found.high is not None
    assert found.low < found.value < found.high
    assert (found.counted, found.of) == (18, 19)


def test_recall_holds_its_interval_as_often_as_it_says() -> None:
    """A line of known recall, judged again and again: the interval holds the truth in 95 % of the cases at least."""
    chance = random.Random(1)
    bad, rejected_if_bad, rejected_if_good = 0.1, 0.8, 0.02
    held = 0
    for _ in range(400):
        parts = [(chance.random() < bad, chance.random()) for _ in range(600)]
        rejects = [is_bad for is_bad, at in parts if at < (rejected_if_bad if is_bad else rejected_if_good)]
        goods = [is_bad for is_bad, at in parts if at >= (rejected_if_bad if is_bad else rejected_if_good)]
        judged = (chance.sample(rejects, 20), chance.sample(goods, 30))
        found = recall(len(rejects), len(goods), sum(judged[0]), 20, sum(judged[1]), 30)
        truth = sum(rejects) / (sum(rejects) + sum(goods))
        held += found.low is not None and found.high is not None and found.low <= truth <= found.high
    assert held >= 0.95 * 400


# -- drawing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [10, 20])
def test_what_is_judged_is_a_fair_sample_whenever_somebody_judged(early: int) -> None:
    """Judged in the middle of the shift and at its end: early and late parts are equally likely to count."""
    chance, counted = random.Random(2), [0, 0]
    for _ in range(600):
        sample, judged = Sample(30), set[str]()
        for part in range(200):
            number = chance.random()
            if number < sample.limit:
                sample.offer(number, str(part))
            if part in (99, 199):
                judged |= set(sample.in_turn()[: early if part == 99 else 10])
        for name in sample.judged(judged.__contains__):
            counted[int(name) >= 100] += 1
    assert sum(counted) >= 600 * 10
    share = counted[0] / sum(counted)
    assert abs(share - 0.5) < 4 * (0.25 / sum(counted)) ** 0.5


def test_a_part_that_is_not_judged_stops_the_count_at_it() -> None:
    sample = Sample(3)
    for number, name in ((0.5, "b"), (0.9, "c"), (0.1, "a"), (0.7, "d")):
        if number < sample.limit:
            sample.offer(number, name)
    assert sample.in_turn() == ["a", "b", "d"]
    assert sample.limit == 0.7
    names = [f"p{place}" for place in range(25)]
    assert filled(names).judged(lambda name: name != "p22") == names[:20]
    assert filled(names).judged(lambda name: name != "p9") == []


def said(**of: Really) -> dict[str, Judgement]:
    return {name: Judgement(result_id=name, really=really, by="ann", at_ms=1) for name, really in of.items()}


def filled(names: list[str]) -> Sample:
    sample = Sample(30)
    for place, name in enumerate(names):
        sample.offer((place + 1) / 100, name)
    return sample


def fair(*names: str) -> Fair:
    return Fair(names=list(names), at_ms=1)


def test_rejects_picked_by_hand_are_called_slanted_until_enough_are_drawn() -> None:
    names = [f"r{place}" for place in range(20)]
    tally = Tally(shift_ms=0, reject=40, good=500)
    by_hand = said(**dict.fromkeys(names[5:19], Really.BAD))
    view = judged_view(tally, by_hand, {}, filled(names), Sample(30))
    assert view.slanted
    assert (view.precision.counted, view.precision.of) == (14, 14)
    drawn = by_hand | said(**dict.fromkeys([*names[:5], names[19]], Really.GOOD))
    tally.fair_rejects = fairer(Fair(), filled(names), drawn, 5)
    view = judged_view(tally, drawn, {}, filled(names), Sample(30))
    assert not view.slanted
    assert (view.precision.counted, view.precision.of) == (14, 20)


def test_who_judged_every_reject_knows_the_precision() -> None:
    found = said(a=Really.BAD, b=Really.BAD, c=Really.GOOD)
    view = judged_view(Tally(shift_ms=0, reject=3, good=50), found, {}, filled(["a", "b", "c"]), Sample(30))
    assert not view.slanted
    assert view.precision.value == pytest.approx(2 / 3)


def test_what_could_not_be_told_counts_neither_way() -> None:
    names = [f"g{place}" for place in range(20)]
    goods = said(**dict.fromkeys(names[:18], Really.GOOD), g18=Really.UNSURE, g19=Really.BAD)
    tally = Tally(shift_ms=0, good=500, fair_goods=fair(*names))
    view = judged_view(tally, {}, goods, Sample(30), filled(names))
    assert (view.missed.counted, view.missed.of, view.unsure, view.drawn_judged) == (1, 19, 1, 20)
    assert view.recall.value is None


def test_a_part_that_comes_to_the_front_does_not_take_back_what_was_fair_before_it() -> None:
    names = [f"g{place}" for place in range(25)]
    drawn, goods = filled(names), said(**dict.fromkeys(names[:20], Really.GOOD))
    before = fairer(Fair(), drawn, goods, 5)
    assert (before.names, before.at_ms) == (names[:20], 5)
    drawn.offer(0.001, "late")
    assert fairer(before, drawn, goods, 6) is before
    after = fairer(before, drawn, goods | said(late=Really.BAD), 7)
    assert (after.names, after.at_ms) == (["late", *names[:19]], 7)


# -- counts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "outcome", "kind"),
    [
        (Verdict.OK, Outcome.RESULT, Kind.GOOD),
        (Verdict.OK, Outcome.LATE, Kind.UNKNOWN),
        (Verdict.NOK, Outcome.RESULT, Kind.REJECT),
        (Verdict.NOK, Outcome.LATE, Kind.REJECT),
        (Verdict.UNKNOWN, Outcome.DROPPED, Kind.UNKNOWN),
    ],
)
def test_a_part_counts_as_the_line_sees_it(verdict: Verdict, outcome: Outcome, kind: Kind) -> None:
    assert kind_of(result(1, verdict, outcome=outcome)) is kind


def test_a_repeat_counts_once_and_what_was_missed_is_told() -> None:
    counts = Counts(Tally(shift_ms=0))
    for seq in (1, 2, 2, 1, 5):
        counts.take(result(seq), 1000.0)
    assert (counts.tally.good, counts.tally.missed) == (3, 2)
    counts.take(result(3, epoch=2), 1001.0)  # its runtime was started again; two passed before we heard of it
    assert (counts.tally.good, counts.tally.missed) == (4, 4)


def test_parts_per_minute_are_those_of_the_last_minute() -> None:
    counts = Counts(Tally(shift_ms=0))
    for second in range(120):
        for number in range(2):
            counts.take(result(2 * second + number + 1), 1000.0 + second)
    assert counts.per_minute(1119.5) == pytest.approx(120, abs=3)
    assert counts.per_minute(1200.0) == 0


def test_a_trend_is_told_only_beyond_chance() -> None:
    def trend(before: int, recent: int) -> Trend | None:
        minutes = [Minute(minute, good=100 - before, reject=before) for minute in range(41, 86)]
        minutes += [Minute(minute, good=100 - recent, reject=recent) for minute in range(86, 101)]
        return Counts(Tally(shift_ms=0, minutes=minutes)).trend(100 * 60.0 + 30)

    assert trend(5, 5) is Trend.STEADY
    assert trend(5, 6) is Trend.STEADY
    assert trend(5, 12) is Trend.RISING
    assert trend(12, 5) is Trend.FALLING
    assert Counts(Tally(shift_ms=0)).trend(6000) is None


def test_the_oee_is_the_product_of_its_three_shares() -> None:
    tally = Tally(shift_ms=0, good=90, reject=8, unknown=2, ran_s=300, watched_s=600)
    found = oee_of(tally, 40, 900)
    assert (found.availability, found.performance, found.quality) == (0.5, 0.5, 0.9)
    assert found.oee == pytest.approx(0.225)
    assert found.unwatched_s == 300
    unset = oee_of(tally, 0, 900)
    assert (unset.performance, unset.oee) == (None, None)
    assert oee_of(Tally(shift_ms=0), 40, 900).availability is None


# -- shifts ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("berlin")
def test_a_shift_begins_and_ends_by_the_clock_of_the_device() -> None:
    night = shift_at(DAY, at(2026, 1, 15, 3, 0))
    assert (night.begin_s, night.end_s) == (at(2026, 1, 14, 22, 0), at(2026, 1, 15, 6, 0))
    assert shift_at(DAY, night.end_s).begin_s == night.end_s
    one = shift_at(["06:00"], at(2026, 1, 15, 5, 59))
    assert one.end_s - one.begin_s == 86_400


@pytest.mark.usefixtures("berlin")
def test_a_clock_change_makes_a_shift_longer_or_shorter() -> None:
    autumn, spring = shift_at(DAY, at(2026, 10, 25, 1, 0)), shift_at(DAY, at(2026, 3, 29, 1, 0))
    assert (autumn.end_s - autumn.begin_s, spring.end_s - spring.begin_s) == (9 * 3600, 7 * 3600)


def test_the_zone_is_that_of_the_machine_again() -> None:
    assert os.environ.get("TZ") != "Europe/Berlin"
