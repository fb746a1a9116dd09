"""Alarms over restarts: what is kept comes back as it was, and what can't be read does not stop the server."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.opcua_server.alarm_store import FILE, AlarmStore
from edge.opcua_server.alarms import MOST_IDS, Alarm, Shelving

HOT = Alarm(severity=500).raised("too hot: 80 °C", 700, 1).told(b"\x00\xff" * 8)
ACKED = HOT.acknowledged(b"\x00\xff" * 8, "on my way", "anna", 2).told(b"2")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlarmStore]:
    made = AlarmStore(tmp_path)
    yield made
    made.close()


async def test_what_is_kept_comes_back_as_it_was(tmp_path: Path, store: AlarmStore) -> None:
    shelved = Alarm(severity=500).shelve(10**9, "bert", 3).told(b"3")
    off = Alarm(severity=500).disable("bert", 4)
    kept = {"a": HOT, "b": ACKED, "c": shelved, "d": off}
    await store.keep(kept)
    found = AlarmStore(tmp_path).read()
    assert found == kept and found["c"].shelving is Shelving.TIMED
    await store.keep({"b": ACKED})
    assert AlarmStore(tmp_path).read() == {"b": ACKED}


def test_what_is_as_it_was_made_need_not_be_kept() -> None:
    new = Alarm(severity=500)
    assert not new.matters and HOT.matters and ACKED.matters and new.disable("anna", 1).matters
    over = ACKED.cleared("", 3)
    assert over.matters and not over.confirm(b"2", None, "anna", 4).matters


async def test_an_alarm_that_comes_and_goes_for_ever_stays_small(store: AlarmStore, tmp_path: Path) -> None:
    alarm = Alarm(severity=500)
    for number in range(1000):
        alarm = alarm.raised("t" * 1000, 700, number).told(number.to_bytes(16, "big"))
        alarm = alarm.cleared("over", number).told(number.to_bytes(16, "little"))
    await store.keep({"a": alarm})
    assert len(AlarmStore(tmp_path).read()["a"].ids) == MOST_IDS and (tmp_path / FILE).stat().st_size < 4_000


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema":"opcua_alarms/1","alarms":{"a":{}}}'])
def test_a_file_that_can_not_be_read_is_put_aside(
    tmp_path: Path, store: AlarmStore, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert store.read() == {}
    assert "begin anew" in caplog.text
    assert not (tmp_path / FILE).exists() and (tmp_path / FILE).with_suffix(".unreadable").read_bytes() == content


async def test_a_disk_that_takes_nothing_is_told_once_and_stops_nobody(
    tmp_path: Path, store: AlarmStore, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        await store.keep({"a": HOT})
        await store.keep({"a": ACKED})
    assert caplog.text.count("can't be written") == 1
    (tmp_path / "state").unlink()
    await store.keep({"a": ACKED})
    assert AlarmStore(tmp_path).read() == {"a": ACKED}
