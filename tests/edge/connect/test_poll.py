"""Poll groups keep their grid; a late scan is counted and never queued."""

from edge.plc.poll import PollGroup, most_urgent, poll_groups
from edge.plc.tags.lists import Tag

MS = 1_000_000


def group(period_ms: float = 10) -> PollGroup:
    return PollGroup("fast", period_ms, ())


def test_the_grid_does_not_drift_with_the_scans_own_lateness() -> None:
    one = group()
    for turn in range(100):
        one.begin(turn * 10 * MS + 3 * MS)
    assert one.due_ns == 1000 * MS and one.late_scans == 0


def test_missed_scans_are_counted_and_skipped() -> None:
    one = group()
    one.begin(0)
    one.begin(55 * MS)  # 10 was due; 20, 30, 40, 50 are gone
    assert one.late_scans == 4 and one.due_ns == 60 * MS
    one.end(2.5)
    assert one.take_maxima() == (2.5, 45.0) and one.take_maxima() == (0.0, 0.0)


def test_after_a_lost_link_nothing_counts_as_missed() -> None:
    one = group()
    one.restart(10_000 * MS)
    one.begin(10_000 * MS)
    assert one.late_scans == 0 and one.due_ns == 10_010 * MS


def test_of_two_groups_due_together_the_faster_goes_first() -> None:
    slow, fast = group(100), group(10)
    assert most_urgent([slow, fast]) is fast
    fast.begin(0)
    assert most_urgent([slow, fast]) is slow


def test_groups_without_tags_are_not_polled() -> None:
    tags = {name: Tag(name=name, address="hr:0", type="int16", group="slow") for name in "ab"}
    (only,) = poll_groups({"fast": 10, "slow": 100}, tags)
    assert only.name == "slow" and len(only.tags) == 2
