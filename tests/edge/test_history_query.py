"""Reading the store beside its writer: order, pages, what held at a time, and no reader that stays."""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.history import parsing
from edge.history.points import Point, PointMaker, key, value
from edge.history.query import HOLD_NS, Datum, History, HistoryError, Page, Trend, count
from edge.history.scan import SCAN, SLICE
from edge.history.store import FILE, Store
from schemas.fields import Value
from schemas.messages import Quality, Reading, Sample
from schemas.topics import Place

SPEED = Trend.tag("plc", "Line.Speed")
END = 2**62
SCAN_OF: dict[str, Any] = {"source": "plc", "group": "fast", "boot": "b", "scan_ns": 0, "scan_ms": 0.1}
PLAIN_VALUES = st.one_of(st.text(), st.booleans(), st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "state" / FILE)) as opened:
        yield opened


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with contextlib.closing(History(tmp_path)) as opened:
        yield opened


def reading(time_ns: int, fields: str, series: str = "reading,group=fast,source=plc") -> Point:
    return Point(series, time_ns, 1, time_ns, fields)


def walk(ask: Callable[[str], Page[Datum]]) -> list[Datum]:
    """All items of all pages."""
    items: list[Datum] = []
    token = ""
    while True:
        found = ask(token)
        items += found.items
        token = found.next
        if not token:
            return items


def test_a_tags_values_come_in_the_order_of_time_with_their_qualities(store: Store, history: History) -> None:
    make = PointMaker(Place("s", "l", "n"))
    said = [Sample(value=1), Sample(value=None, quality=Quality.BAD), Sample(value=2.5, quality=Quality.UNCERTAIN)]
    for number, sample in enumerate([*said, Sample(value=2.5)], 1):
        tags = {"Line.Speed": sample, "Line Speed, set=": Sample(value=number)}
        point = make.reading(Reading(**SCAN_OF, epoch=1, seq=number, time_ns=number, tags=tags))
        assert point is not None
        store.add([point])
    assert history.raw(SPEED, 0, 99).items == [
        Datum(1, 1.0, Quality.GOOD), Datum(2, None, Quality.BAD), Datum(3, 2.5, Quality.UNCERTAIN),
        Datum(4, 2.5, Quality.GOOD),
    ]  # fmt: skip
    assert [one.value for one in history.raw(Trend.tag("plc", "Line Speed, set="), 2, 4).items] == [2.0, 3.0]
    assert not history.raw(Trend.tag("plc", "Line"), 0, 99).items
    assert not history.raw(Trend.tag("other", "Line.Speed"), 0, 99).items


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("every", [2, 3, 7, 64])
def test_a_tag_that_is_in_some_points_only_comes_once(
    store: Store, history: History, every: int, backward: bool
) -> None:
    fields = ["Line.Speed=1.5" if number % every == 0 else "Other=1.5" for number in range(3_000)]
    store.add([reading(number + 1, text) for number, text in enumerate(fields)])
    expected = [number + 1 for number in range(3_000) if number % every == 0][:: -1 if backward else 1]
    for limit in (1, 9, 22, 32, 64, 100, 1_000):
        pages = itertools.islice(_pages(history, limit, backward), 3_001)
        assert [one.time_ns for page in pages for one in page] == expected


def _pages(history: History, limit: int, backward: bool) -> Iterator[list[Datum]]:
    token, first = "", True
    while token or first:
        found = history.raw(SPEED, 0, END, backward=backward, limit=limit, after=token)
        token, first = found.next, False
        yield list(found.items)


@pytest.mark.parametrize(
    "spoilt",
    [
        "Line.Speed=2i",
        'Line.Speed="2"',
        "Line.Speed=true",
        "Line.Speed.quality=0i",
        "Other=2.5",
        'A="\\"",Line.Speed=2.5',
    ],
)
def test_a_slice_of_plain_numbers_is_read_as_any_other(store: Store, history: History, spoilt: str) -> None:
    plain = [f"Other=1.5,Line.Speed={number}.5,More=3.5" for number in range(200)]
    mixed = [*plain[:100], spoilt, *plain[100:]]
    for series, texts in (("plain", plain), ("mixed", mixed)):
        points = [reading(number + 1, text, f"reading,source={series}") for number, text in enumerate(texts)]
        store.add(points)
    fast = history.raw(Trend.tag("plain", "Line.Speed"), 0, END).items
    assert [one.value for one in fast] == [number + 0.5 for number in range(200)]
    slow = [one for one in history.raw(Trend.tag("mixed", "Line.Speed"), 0, END).items if one.time_ns != 101]
    assert [one.value for one in slow] == [one.value for one in fast]


def test_a_name_inside_a_text_is_not_that_field(store: Store, history: History) -> None:
    store.add([Point("result,pipeline=a", 5, 1, 1, 'reason="cold,score=9",score=0.5,quality="uncertain"')])
    assert history.raw(Trend.result("a", "score"), 0, 9).items == [Datum(5, 0.5, Quality.UNCERTAIN)]


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.booleans()), max_size=40, unique_by=lambda row: row[:2]
    ),
    limit=st.integers(1, 7), backward=st.booleans(), window=st.tuples(st.integers(-1, 31), st.integers(-1, 32)),
)  # fmt: skip
def test_pages_of_several_series_are_whole_in_order_and_without_repeats(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, str, bool]],
    limit: int,
    backward: bool,
    window: tuple[int, int],
) -> None:
    home = tmp_path_factory.mktemp("home")
    points = [
        reading(time, f"Line.Speed={time}" if ours else "Other=1", f"reading,group={group},source=plc")
        for time, group, ours in rows
    ]
    with contextlib.closing(Store(home / "state" / FILE)) as store:
        store.add(points)
    start, end = window
    with contextlib.closing(History(home)) as history:
        found = walk(lambda token: history.raw(SPEED, start, end, backward=backward, limit=limit, after=token))
        first = history.raw(SPEED, start, end, backward=backward, limit=limit)
    expected = sorted((time for time, _, ours in rows if ours and start <= time < end), reverse=backward)
    assert [one.time_ns for one in found] == expected
    assert len(first.items) == min(limit, len(expected))


def test_what_is_looked_at_is_bounded_and_can_be_resumed_by_another_reader(
    store: Store, history: History, tmp_path: Path
) -> None:
    store.add(reading(time, "Other=1" if time < SCAN + SLICE else "Line.Speed=7") for time in range(SCAN + SLICE + 3))
    first = history.raw(SPEED, 0, END)
    assert not first.items
    assert first.next
    with contextlib.closing(History(tmp_path)) as another:
        assert [one.value for one in another.raw(SPEED, 0, END, after=first.next).items] == [7.0] * 3


def test_a_token_outlives_what_it_points_at(store: Store, history: History) -> None:
    store.add(reading(time, f"Line.Speed={time}") for time in range(10))
    first = history.raw(SPEED, 0, END, limit=5)
    store.drop("reading", 6)
    assert [one.time_ns for one in history.raw(SPEED, 0, END, after=first.next).items] == [6, 7, 8, 9]


def test_no_reader_is_held_between_pages(store: Store, history: History) -> None:
    store.add(reading(time, f"Line.Speed={time}") for time in range(3 * SLICE))
    page = history.raw(SPEED, 0, END, limit=2 * SLICE)
    assert page.next
    store.add([reading(10 * SLICE, "Line.Speed=1")])
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        busy, log, moved = db.execute("pragma wal_checkpoint(truncate)").fetchone()
    assert (busy, log, moved) == (0, 0, 0), "a reader that stays keeps the WAL from being emptied"


def test_the_value_at_a_time_is_the_last_one_until_then(store: Store, history: History) -> None:
    store.add([reading(1_000, "Line.Speed=1"), reading(2_000, "Other=5"), reading(3_000, "Line.Speed.quality=0i")])
    times = [999, 1_000, 2_500, 3_000, 1_000 + HOLD_NS]
    assert history.at(SPEED, times) == [
        Datum(999, None, Quality.BAD), Datum(1_000, 1.0, Quality.GOOD), Datum(2_500, 1.0, Quality.GOOD),
        Datum(3_000, None, Quality.BAD), Datum(1_000 + HOLD_NS, None, Quality.BAD),
    ]  # fmt: skip


def test_a_value_is_not_known_after_the_device_was_away(store: Store, history: History) -> None:
    store.add([reading(1_000, "Line.Speed=1")])
    good, away = history.at(SPEED, [1_000 + HOLD_NS, 1_001 + HOLD_NS])
    assert (good.quality, away.quality) == (Quality.GOOD, Quality.BAD)


def test_whole_points_are_found_by_their_tags(store: Store, history: History) -> None:
    store.add([
        Point("event,code=failsafe,origin=connect-plc", 5, 1, 1, 'key="k",phase="new",arg_n=3i,text="a \\"b\\", c=d"'),
        Point("event,code=plc_lost,origin=connect-plc", 6, 1, 2, 'key="l"'),
        Point("result,pipeline=a", 7, 1, 3, "late=true"),
    ])  # fmt: skip
    (row,) = history.rows("event", 0, 9, where={"code": "failsafe"}).items
    assert (row.time_ns, row.tags["origin"]) == (5, "connect-plc")
    assert row.fields == {"key": "k", "phase": "new", "arg_n": 3, "text": 'a "b", c=d'}
    assert [one.time_ns for one in history.rows("event", 0, 9, backward=True).items] == [6, 5]
    assert history.extent() == (5, 7)
    assert history.extent("event") == (5, 6)
    assert history.extent("insight") is None


def test_a_reader_sees_series_that_began_after_it(store: Store, history: History) -> None:
    store.add([reading(1, "Line.Speed=1")])
    assert len(history.raw(SPEED, 0, 9).items) == 1
    store.add([reading(2, "Line.Speed=2", "reading,group=slow,source=plc")])
    assert len(history.raw(SPEED, 0, 9).items) == 2


async def test_many_threads_may_ask_at_once(store: Store, history: History) -> None:
    store.add(reading(time, f"Line.Speed={time}") for time in range(2_000))
    pages = await asyncio.gather(*(asyncio.to_thread(history.raw, SPEED, 0, END) for _ in range(8)))
    assert {len(page.items) for page in pages} == {2_000}


def test_what_can_not_be_read_is_said(tmp_path: Path, history: History, store: Store) -> None:
    with pytest.raises(HistoryError, match="the historian makes it"):
        History(tmp_path / "nowhere").series()
    assert count(tmp_path / "nowhere", "result") == 0
    with pytest.raises(HistoryError, match="no position"):
        history.raw(SPEED, 0, 9, after="tomorrow")
    (tmp_path / "b" / "state").mkdir(parents=True)
    (tmp_path / "b" / "state" / FILE).write_text("no store" * 100)
    with pytest.raises(HistoryError, match="is it a store"):
        History(tmp_path / "b").series()


@given(st.dictionaries(st.text(min_size=1), PLAIN_VALUES, min_size=1, max_size=5))
def test_fields_are_read_as_they_were_written(items: dict[str, Value]) -> None:
    told = {name.replace("\n", " "): held for name, held in items.items() if not name.endswith("\\")}
    text = ",".join(f"{key(name)}={value(held)}" for name, held in told.items())
    expected = {name: held.replace("\n", " ") if isinstance(held, str) else held for name, held in told.items()}
    assert parsing.fields(text) == expected


def test_series_are_read_as_they_were_written() -> None:
    one = parsing.series(3, "reading,group=fast\\ one,source=a\\,b\\=c")
    assert (one.id, one.measurement) == (3, "reading")
    assert one.tags == {"group": "fast one", "source": "a,b=c"}
