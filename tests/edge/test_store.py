from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.history.forward import Forwarder
from edge.history.points import Point
from edge.history.query import count
from edge.history.store import FILE, Store
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
    times = [stored.line.rsplit(" ", 1)[1] for stored in store.after(0, 10)]
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
    assert store.drop_before("result", 35) == 3
    assert store.drop_oldest("result") == 2
    assert (count(tmp_path, "result"), count(tmp_path, "event")) == (0, 1)


class Archive:
    """An archive with faults on demand; keyed by series and time, as InfluxDB is."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.away = False
        self.refuses = ""

    def write(self, batch: list[str]) -> None:
        if self.away:
            raise ArchiveError("away")
        if self.refuses and any(self.refuses in line for line in batch):
            raise LinesRefused("refused")
        for line in batch:
            series, fields, time_ns = line.split(" ")
            self.held[f"{series} {time_ns}"] = fields

    def close(self) -> None:
        pass


def test_an_outage_loses_nothing_and_repeats_nothing(store: Store) -> None:
    archive = Archive()
    forwarder = Forwarder(store, archive)
    store.add([point(n, time_ns=n) for n in range(1, 101)])
    archive.away = True
    with pytest.raises(ArchiveError):
        forwarder.forward_once(store)
    store.add([point(n, time_ns=n) for n in range(101, 151)])
    archive.away = False
    assert forwarder.forward_once(store) == 150
    assert len(archive.held) == 150
    assert forwarder.forward_once(store) == 0


def test_a_refused_point_does_not_hold_up_the_others(store: Store) -> None:
    archive = Archive()
    archive.refuses = "n=13i"
    forwarder = Forwarder(store, archive)
    store.add([point(n, time_ns=n) for n in range(1, 51)])
    forwarder.forward_once(store)
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
