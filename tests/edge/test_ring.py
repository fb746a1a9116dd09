"""The ring keeps what it was given, gives back nothing that was changed, and stays within its quota."""

import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.history.ring import RingReader, RingWriter, segments
from edge.history.sealed import RECORD_HEAD, SEGMENT_HEAD, Item, SealBroken, Sealer, records
from edge.security.device_keys import DeviceKey, DeviceKeys, KeyUnusable

QUOTA = 16_000_000
PIXELS = b"pixels of a part that was rejected"


@pytest.fixture
def keys(tmp_path: Path) -> DeviceKeys:
    return DeviceKeys(tmp_path / "keys")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


@pytest.fixture
def writer(folder: Path, keys: DeviceKeys) -> Iterator[RingWriter]:
    made = RingWriter(folder, keys, QUOTA)
    yield made
    made.close()


def item(number: int, body: bytes = PIXELS) -> Item:
    return Item(f"caps-1-{number}", 1_000 + number, b"head of %d" % number, body)


def names(reader: RingReader) -> list[bytes]:
    return [listed.head for listed in reader.newest_first()]


def read(folder: Path, keys: DeviceKeys) -> RingReader:
    return RingReader(folder, keys)


def test_what_was_added_is_found_and_listed_newest_first(writer: RingWriter, folder: Path, keys: DeviceKeys) -> None:
    writer.add([item(1), item(2)])
    writer.add([item(3)])
    assert read(folder, keys).find("caps-1-2") == item(2)
    assert read(folder, keys).find("caps-1-9") is None
    assert names(read(folder, keys)) == [b"head of 3", b"head of 2", b"head of 1"]


def test_a_writer_that_starts_again_begins_a_segment_with_another_key(
    writer: RingWriter, folder: Path, keys: DeviceKeys
) -> None:
    writer.add([item(1)])
    again = RingWriter(folder, keys, QUOTA)
    again.add([item(1, b"again")])
    again.close()
    first, second = (path.read_bytes() for path in segments(folder))
    assert first[: SEGMENT_HEAD.size] != second[: SEGMENT_HEAD.size], "one salt would use nonces twice"
    found = read(folder, keys).find("caps-1-1")
    assert found is not None
    assert found.body == b"again", "the newest of a name counts"


def test_nothing_readable_lies_on_the_disk_and_nobody_else_may_read_it(
    writer: RingWriter, folder: Path, keys: DeviceKeys
) -> None:
    writer.add([item(1)])
    for path in segments(folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = path.read_bytes()
        assert PIXELS not in content
        assert b"caps-1-1" not in content
        assert b"head of" not in content
    for path in keys.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(keys.folder.stat().st_mode) == 0o700


def test_a_tail_torn_at_any_byte_costs_that_record_alone(writer: RingWriter, folder: Path, keys: DeviceKeys) -> None:
    writer.add([item(1), item(2)])
    writer.close()
    (path,) = segments(folder)
    whole = path.read_bytes()
    _, second = records(whole)
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        wanted = [b"head of 1"] if cut >= second.at else []
        assert names(read(folder, keys)) == wanted, cut
        assert read(folder, keys).find("caps-1-2") is None


def test_a_tail_of_zeros_is_not_believed(writer: RingWriter, folder: Path, keys: DeviceKeys) -> None:
    """After a power cut a file may have its size, but not yet its blocks."""
    writer.add([item(1), item(2)])
    writer.close()
    (path,) = segments(folder)
    whole = path.read_bytes()
    _, second = records(whole)
    for cut in range(second.at, second.end):
        zeroed = whole[:cut] + bytes(len(whole) - cut)
        path.write_bytes(zeroed)
        assert names(read(folder, keys))[-1] == b"head of 1"
        assert read(folder, keys).find("caps-1-1") == item(1)
        assert zeroed == whole or _refused(read(folder, keys), "caps-1-2"), cut


def _refused(reader: RingReader, name: str) -> bool:
    try:
        return reader.find(name) is None
    except SealBroken:
        return True


def test_after_a_torn_tail_the_ring_goes_on(writer: RingWriter, folder: Path, keys: DeviceKeys) -> None:
    writer.add([item(1), item(2)])
    (path,) = segments(folder)
    os.truncate(path, path.stat().st_size - 1)
    again = RingWriter(folder, keys, QUOTA)
    again.add([item(3)])
    again.close()
    assert names(read(folder, keys)) == [b"head of 3", b"head of 1"]


def test_no_changed_byte_is_believed(writer: RingWriter, folder: Path, keys: DeviceKeys) -> None:
    writer.add([item(1), item(2), item(3)])
    writer.close()
    (path,) = segments(folder)
    whole = path.read_bytes()
    second = list(records(whole))[1]
    for at in range(second.at, second.end):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        reader = read(folder, keys)
        assert _refused(reader, "caps-1-2"), at
        assert reader.find("caps-1-1") == item(1), at
        assert reader.find("caps-1-3") == item(3), "the records behind it are not lost with it"
    body = whole[: second.end - 1] + bytes([whole[second.end - 1] ^ 1]) + whole[second.end :]
    path.write_bytes(body)
    with pytest.raises(SealBroken, match=r"changed or damaged.*can't be replayed"):
        read(folder, keys).find("caps-1-2")


def test_a_record_s_head_is_sealed_though_its_checksum_is_made_to_fit(
    writer: RingWriter, folder: Path, keys: DeviceKeys
) -> None:
    """A checksum is for accidents: who changes a record's time, counter or tag can mend that, but not the seal."""
    writer.add([item(1), item(2)])
    writer.close()
    (path,) = segments(folder)
    whole = path.read_bytes()
    first, second = records(whole)
    crc_at = second.at + RECORD_HEAD.size - 4
    for at in range(second.at + 12, crc_at):  # the counter, the time, the tag
        changed = bytearray(whole)
        changed[at] ^= 1
        changed[crc_at : crc_at + 4] = zlib.crc32(changed[second.at : crc_at]).to_bytes(4, "little")
        path.write_bytes(changed)
        assert names(read(folder, keys)) == [b"head of 1"], at
        assert _refused(read(folder, keys), "caps-1-2"), at
    renamed = bytearray(whole)
    renamed[second.at + 28 : crc_at] = first.tag  # as if it were the first one's
    renamed[crc_at : crc_at + 4] = zlib.crc32(renamed[second.at : crc_at]).to_bytes(4, "little")
    path.write_bytes(renamed)
    with pytest.raises(SealBroken):
        read(folder, keys).find("caps-1-1")


def test_no_changed_byte_of_the_segments_head_is_believed(writer: RingWriter, folder: Path, keys: DeviceKeys) -> None:
    writer.add([item(1)])
    writer.close()
    (path,) = segments(folder)
    whole = path.read_bytes()
    for at in range(SEGMENT_HEAD.size):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        reader = read(folder, keys)
        assert names(reader) == []
        assert reader.problems
        assert _refused(reader, "caps-1-1")


def test_records_can_t_change_places(writer: RingWriter, folder: Path, keys: DeviceKeys) -> None:
    """A record that is whole, but at another's place or in another segment, is refused."""
    writer.add([item(1), item(2)])
    writer.close()
    (path,) = segments(folder)
    whole = path.read_bytes()
    first, second = records(whole)
    swapped = whole[: first.at] + whole[second.at : second.end] + whole[first.at : first.end]
    path.write_bytes(swapped)
    assert names(read(folder, keys)) == [b"head of 2"]
    other = Sealer.begin(keys.newest(), 0)
    path.write_bytes(other.head + whole[SEGMENT_HEAD.size :])
    reader = read(folder, keys)
    assert names(reader) == []
    assert reader.problems


def test_without_its_key_a_segment_stays_closed_and_says_which_is_missing(
    writer: RingWriter, folder: Path, keys: DeviceKeys, tmp_path: Path
) -> None:
    writer.add([item(1)])
    stranger = DeviceKeys(tmp_path / "other")
    stranger.make()
    reader = read(folder, stranger)
    assert reader.find("caps-1-1") is None
    assert keys.ids()[0].hex() in reader.problems[0]


def test_the_oldest_segment_goes_when_the_quota_is_reached(folder: Path, keys: DeviceKeys) -> None:
    quota = 4_000_000
    writer = RingWriter(folder, keys, quota)
    body = os.urandom(100_000)
    for number in range(100):
        writer.add([item(number, body)])
        assert sum(path.stat().st_size for path in segments(folder)) == writer.used_bytes <= quota
    writer.close()
    listed = names(read(folder, keys))
    assert listed == [b"head of %d" % number for number in range(99, 99 - len(listed), -1)], "the newest, without a gap"
    assert len(listed) * 100_000 > quota - 1_200_000, "less than a segment and its last record are given up"


def test_a_smaller_quota_holds_from_the_start_on(folder: Path, keys: DeviceKeys) -> None:
    writer = RingWriter(folder, keys, 8_000_000)
    writer.add([item(number, bytes(100_000)) for number in range(70)])
    writer.close()
    RingWriter(folder, keys, 4_000_000).close()
    assert sum(path.stat().st_size for path in segments(folder)) <= 4_000_000
    assert names(read(folder, keys))[0] == b"head of 69"


def test_a_new_key_seals_new_segments_and_the_old_one_opens_the_old_until_they_are_gone(
    folder: Path, keys: DeviceKeys
) -> None:
    first = RingWriter(folder, keys, 4_000_000)
    first.add([item(1)])
    first.close()
    os.utime(next(keys.folder.iterdir()), (0, 0))
    second = RingWriter(folder, keys, 4_000_000, key_age_s=3600)
    second.add([item(2)])
    assert len(keys.ids()) == 2
    assert names(read(folder, keys)) == [b"head of 2", b"head of 1"]
    second.add([item(number, bytes(200_000)) for number in range(3, 40)])
    second.close()
    assert len(keys.ids()) == 1, "a key that seals nothing any more is destroyed"
    assert read(folder, keys).find("caps-1-39") is not None


def test_a_full_disk_loses_what_did_not_fit_and_nothing_else(
    writer: RingWriter, folder: Path, keys: DeviceKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's own limit of a file's size stands in for a full disk: the write ends short, the next one fails."""
    import resource
    import signal

    writer.add([item(1)])
    (path,) = segments(folder)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            writer.add([item(2, bytes(1_000))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    writer.add([item(3)])
    assert names(read(folder, keys)) == [b"head of 3", b"head of 1"]
    assert len(segments(folder)) == 2


def test_reading_goes_on_while_segments_are_removed(folder: Path, keys: DeviceKeys) -> None:
    writer = RingWriter(folder, keys, 4_000_000)
    writer.add([item(number, bytes(100_000)) for number in range(30)])
    reader = read(folder, keys)
    seen = reader.newest_first()
    assert next(seen).head == b"head of 29"
    writer.add([item(number, bytes(100_000)) for number in range(30, 60)])
    writer.close()
    assert [listed.head for listed in seen][-1] != b"head of 0"
    assert reader.problems == []


@given(st.lists(st.tuples(st.text(max_size=30), st.binary(max_size=200), st.binary(max_size=2_000)), max_size=8))
def test_any_bytes_come_back_as_they_were(given: list[tuple[str, bytes, bytes]]) -> None:
    sealer = Sealer.begin(DeviceKey(bytes(8), 0.0, bytes(32)), 5)
    items = [Item(name, -number, head, body) for number, (name, head, body) in enumerate(given)]
    segment = sealer.head + b"".join(map(sealer.seal, items))
    opener = Sealer(DeviceKey(bytes(8), 0.0, bytes(32)), segment[: SEGMENT_HEAD.size])
    found = list(records(segment))
    assert [(opener.open_head(segment, f), opener.open_body(segment, f)) for f in found] == [
        (item.head, item.body) for item in items
    ]
    assert [f.tag for f in found] == [opener.tag(item.name) for item in items]
    assert [f.time_ns for f in found] == [item.time_ns for item in items]


@given(st.binary(max_size=400), st.binary(max_size=300))
def test_no_bytes_hang_or_break_the_reader(junk: bytes, more: bytes) -> None:
    sealer = Sealer.begin(DeviceKey(bytes(8), 0.0, bytes(32)), 5)
    whole = sealer.seal(item(1))
    segment = sealer.head + junk + whole + more + b"REC1" + more
    for found in records(segment):
        assert found.end <= len(segment)
        assert found.at >= SEGMENT_HEAD.size
        assert found.body_at - found.at >= RECORD_HEAD.size


def test_a_key_file_that_others_may_read_or_that_was_changed_is_refused(keys: DeviceKeys) -> None:
    key = keys.make()
    (path,) = keys.folder.iterdir()
    assert key.secret.hex() not in repr(key)
    assert keys.newest() == key
    path.chmod(0o644)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        keys.newest()
    path.chmod(0o600)
    path.write_bytes(bytes(32))
    with pytest.raises(KeyUnusable, match="not the key"):
        keys.newest()
