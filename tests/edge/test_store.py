import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.history.buckets import Aggregate
from edge.history.forward import BACKFILL_BATCH, BATCH, Forwarder
from edge.history.points import Point
from edge.history.query import count
from edge.history.store import FILE, Store, Tier
from edge.sinks import ArchiveError, LinesRefused


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state" / FILE)
    yield opened
    opened.close()


def point(seq: int, *, epoch: int = 1, time_ns: int = 1_000, series: str = "result,pipeline=a") -> Point:
    return Point(series, time_ns, epoch, seq, f"n={seq}i")


def test_a_repeat_is_stored_once(store: Store) -> None:
    assert store.add([point(1), point(2), point(1)]) == 2
    assert store.add([point(2), point(3)]) == 1


def test_points_of_one_instant_all_stay(store: Store) -> None:
    assert store.add([point(1), point(2), point(3)]) == 3
    batch = store.after(0, 10)
    assert batch
    times = [line.rsplit(" ", 1)[1] for line in batch.text.split("\n")]
    assert times == ["1000", "1001", "1002"]


def test_a_publisher_that_starts_again_is_not_a_repeat(store: Store) -> None:
    assert store.add([point(1, epoch=1), point(1, epoch=2, time_ns=2_000)]) == 2


def test_what_was_stored_survives_a_new_writer(store: Store, tmp_path: Path) -> None:
    store.add([point(1)])
    store.close()
    again = Store(tmp_path / "state" / FILE)
    assert again.add([point(1), point(2)]) == 1
    again.close()


def test_oldest_of_a_measurement_go_first(store: Store, tmp_path: Path) -> None:
    store.add([point(n, time_ns=n * 10) for n in range(1, 6)])
    store.add([point(1, series="event,code=x")])
    assert store.drop("result", 35) == 3
    assert store.drop("result") == 2
    assert (count(tmp_path, "result"), count(tmp_path, "event")) == (0, 1)


class Archive:
    """An archive with faults on demand; keyed by series and time, as InfluxDB is."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.away = False
        self.refuses = ""

    def write(self, text: str) -> None:
        batch = text.split("\n")
        if self.away:
            raise ArchiveError("away")
        if self.refuses and any(self.refuses in line for line in batch):
            raise LinesRefused("refused")
        for line in batch:
            series, fields, time_ns = line.split(" ")
            self.held[f"{series} {time_ns}"] = fields

    def times(self) -> list[int]:
        return sorted(int(name.rpartition(" ")[2]) for name in self.held)

    def close(self) -> None:
        pass


def test_an_outage_loses_nothing_and_repeats_nothing(store: Store) -> None:
    archive = Archive()
    forwarder = Forwarder(store, archive, 1e6)
    store.add([point(n, time_ns=n) for n in range(1, 101)])
    archive.away = True
    with pytest.raises(ArchiveError):
        forwarder.forward_once(store, 0.0)
    store.add([point(n, time_ns=n) for n in range(101, 151)])
    archive.away = False
    assert forwarder.forward_once(store, 0.0) == 150
    assert len(archive.held) == 150
    assert forwarder.forward_once(store, 0.0) == 0


def test_after_an_outage_what_comes_now_goes_first_and_the_rest_follows_oldest_first(store: Store) -> None:
    archive, per_s = Archive(), 1_000.0
    forwarder = Forwarder(store, archive, per_s)
    piled_up = 3 * BATCH
    store.add(point(n, time_ns=n) for n in range(1, piled_up + 1))
    forwarder.forward_once(store, 0.0)
    store.add([point(piled_up + 1, time_ns=piled_up + 1)])
    assert forwarder.forward_once(store, 0.1) == 1
    assert archive.times() == [*range(1, BACKFILL_BATCH + 1), piled_up + 1]
    assert forwarder.state.behind == piled_up - BACKFILL_BATCH
    due_s = BACKFILL_BATCH / per_s
    assert forwarder.forward_once(store, due_s - 0.01) == 0
    assert len(archive.held) == BACKFILL_BATCH + 1, "no faster than it is told"
    again = Forwarder(store, archive, per_s)  # killed in between: the gap is in the store
    for step in range(8):
        again.forward_once(store, step * due_s)
    assert archive.times() == list(range(1, piled_up + 2))
    assert (again.state.behind, again.state.lost, store.gaps()) == (0, 0, [])


def test_what_went_by_quota_before_the_archive_had_it_is_counted(store: Store) -> None:
    archive = Archive()
    forwarder = Forwarder(store, archive, 1e6)
    store.add([point(n, time_ns=n) for n in range(1, 11)])
    forwarder.forward_once(store, 0.0)
    store.add([point(n, time_ns=n) for n in range(11, 31)])
    store.drop("result", 26)
    forwarder.forward_once(store, 0.0)
    assert (archive.times(), forwarder.state.lost) == ([*range(1, 11), *range(26, 31)], 15)


def test_an_id_is_not_given_twice_though_the_newest_points_are_gone(store: Store, tmp_path: Path) -> None:
    archive = Archive()
    store.add([point(n, time_ns=n) for n in range(1, 11)])
    Forwarder(store, archive, 1e6).forward_once(store, 0.0)
    store.drop("result")
    store.close()
    with contextlib.closing(Store(tmp_path / "state" / FILE)) as again:
        again.add([point(11, time_ns=11)])
        Forwarder(again, archive, 1e6).forward_once(again, 0.0)
    assert archive.times() == list(range(1, 12)), "a cursor that stands on a higher id would pass it over"


def test_room_that_is_free_goes_back_to_the_disk(store: Store) -> None:
    store.add(Point("result,pipeline=a", n, 1, n, "x" * 500) for n in range(4_000))
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
        before = store.path.stat().st_size
        while store.drop("result"):
            pass
        store.give_back()
        db.execute("pragma wal_checkpoint(truncate)")
    assert store.path.stat().st_size < before / 4


def test_oldest_aggregates_go_first(store: Store) -> None:
    store.add([point(1)])
    store.keep(
        Tier.SECOND, 1, [Aggregate(name, at, 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) for name in "ab" for at in range(90)]
    )
    store.keep(Tier.MINUTE, 1, [Aggregate("a", 0, 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)])
    assert store.drop_buckets(Tier.SECOND, 10) == 20
    assert store.drop_buckets(Tier.SECOND, 10) == 0
    assert store.drop_buckets(Tier.SECOND) == 120
    assert store.drop_buckets(Tier.SECOND) == 40
    assert store.drop_buckets(Tier.MINUTE) == 1


def test_a_refused_point_does_not_hold_up_the_others(store: Store) -> None:
    archive = Archive()
    archive.refuses = "n=13i"
    forwarder = Forwarder(store, archive, 1e6)
    store.add([point(n, time_ns=n) for n in range(1, 51)])
    forwarder.forward_once(store, 0.0)
    assert len(archive.held) == 49
    assert forwarder.state.refused == 1
    assert forwarder.state.written == 49


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(0, 5)), max_size=60))
def test_each_epoch_and_seq_is_held_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[tuple[int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("store")
    store = Store(path / "state" / FILE)
    new = sum(store.add([point(seq, epoch=epoch, time_ns=time_ns)]) for epoch, seq, time_ns in deliveries)
    assert new == count(path, "result") == len({(epoch, seq) for epoch, seq, _ in deliveries})
    store.close()
