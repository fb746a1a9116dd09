"""What has not moved by more than its deadband is neither stored nor told again; its quality always is."""

import pytest

from edge.history.points import PointMaker
from edge.mes.tag_changes import REFRESH_S, TagChanges
from edge.plc.tags.deadband import deadbands, moved
from edge.plc.tags.lists import Tag
from schemas.fields import Value
from schemas.messages import Quality, Reading, Sample
from schemas.topics import Place

TAGS = {
    "plc": {
        "Level": Tag(name="Level", address="hr:0", type="float32", deadband=0.2, unit="m"),
        "Count": Tag(name="Count", address="hr:2", type="uint16"),
    }
}


@pytest.mark.parametrize(("last", "value", "deadband", "is_moved"), [
    (20.0, 20.2, 0.2, False), (20.0, 20.201, 0.2, True), (20.0, 19.8, 0.2, False), (5, 6, 0, True), (5, 5, 0, False),
    (5, 6, 1, False), (5, 7, 1, True), (None, 5, 1, True), (5, None, 1, True), (True, False, 5, True),
    ("a", "b", 5, True), ([1.0, 2.0], [1.1, 2.1], 0.2, False), ([1.0, 2.0], [1.0, 2.3], 0.2, True),
    ([1.0], [1.0, 1.0], 0.2, True), (2**64 - 1, 2**64 - 2, 0, True),
])  # fmt: skip
def test_a_number_has_to_move_by_more_than_its_deadband(
    last: Value, value: Value, deadband: float, is_moved: bool
) -> None:
    assert moved(last, value, deadband) is is_moved


def reading(seq: int, level: float, quality: Quality = Quality.GOOD, count: int = 0) -> Reading:
    tags = {"Level": Sample(value=level, quality=quality), "Count": Sample(value=count)}
    return Reading(epoch=1, seq=seq, source="plc", group="g", boot="b", scan_ns=0, scan_ms=1, time_ns=10**18, tags=tags)


def stored(make: PointMaker, one: Reading, now_s: float) -> str:
    point = make.reading(one, now_s)
    return point.fields if point else ""


def test_the_historian_stores_what_has_moved_since_the_last_that_was_stored() -> None:
    make = PointMaker(Place("s", "l", "n"), repeat_s=10.0, deadbands=deadbands(TAGS))
    assert "Level=1.0" in stored(make, reading(1, 1.0), 0.0)
    creeping = [stored(make, reading(2 + step, 1.0 + step * 0.15), 0.1 * step) for step in range(1, 5)]
    assert creeping == ["", "Level=1.3", "", "Level=1.6"], "a slow creep is not hidden"
    assert stored(make, reading(7, 1.6, Quality.BAD), 1.0) == "Level.quality=0i"
    assert stored(make, reading(8, 1.65), 1.1) == "Level=1.65,Level.quality=2i"
    assert "Level" in stored(make, reading(9, 1.65), 11.2), "repeated, moved or not"


def told(changes: TagChanges, one: Reading, now_s: float) -> dict[str, Value]:
    changes.take(one)
    due = changes.due(now_s)
    for key, tag in due.items():
        changes.told(key, tag, now_s)
    return {name: tag.value for (_, name), tag in due.items()}


def test_mes_is_told_what_has_moved_since_it_was_told_last() -> None:
    changes = TagChanges(TAGS)
    assert told(changes, reading(1, 1.0), 0.0) == {"Level": 1.0, "Count": 0}
    assert told(changes, reading(2, 1.15), 0.5) == {}
    assert told(changes, reading(3, 1.3, count=1), 1.0) == {"Level": 1.3, "Count": 1}
    assert told(changes, reading(4, 1.3, Quality.UNCERTAIN, 1), 1.5) == {"Level": 1.3}
    assert told(changes, reading(5, 1.4, Quality.UNCERTAIN, 1), REFRESH_S + 2.0) == {"Level": 1.4, "Count": 1}


def test_mes_is_told_again_what_could_not_be_sent() -> None:
    changes = TagChanges(TAGS)
    changes.take(reading(1, 1.0))
    assert len(changes.due(0.0)) == 2
    assert told(changes, reading(2, 1.0), 0.1) == {"Level": 1.0, "Count": 0}
