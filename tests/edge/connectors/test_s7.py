"""What only S7 has: PDUs and items, what is refused, texts and times both ways; on two servers."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.connectors.s7 import S7Connector, open_connector
from edge.plc.tags.coercion import coerce, same_moment
from edge.plc.tags.forms import INTEGERS
from edge.plc.tags.lists import Access, Tag
from edge.settings import Source
from schemas.errors import SettingsError, TagError
from schemas.messages import Quality, Sample
from tests.peers.s7_peer import libsnap7, s7_peer

TIMEOUT_MS = 500


def tag(address: str, kind: str = "uint16", **fields: object) -> Tag:
    name = f"{address}.{kind}.{fields.get('bit', '')}.{fields.get('order', '')}"
    return Tag(name=name, address=address, type=kind, **fields)  # type: ignore[arg-type]


def rw(address: str, kind: str = "uint16", **fields: object) -> Tag:
    return tag(address, kind, access=Access.WRITE, **fields)


def source(port: int, timeout_ms: int = TIMEOUT_MS, **options: int | str) -> Source:
    return Source(driver="s7", port=port, tags="-", groups={}, timeout_ms=timeout_ms, options=options)


def opened(port: int, **options: int | str) -> S7Connector:
    made = open_connector(source(port, **options))
    made.connect()
    return made


def read(connector: S7Connector, *tags: Tag) -> dict[str, Sample]:
    return {name: sample for part in connector.read(tags) for name, sample in part.items()}


def value(connector: S7Connector, one: Tag) -> object:
    sample = read(connector, one)[one.name]
    assert sample.quality is Quality.GOOD, sample.reason
    return sample.value


@pytest.fixture(scope="module", params=["python-snap7", "libsnap7"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with s7_peer(libsnap7() if request.param == "libsnap7" else "") as (port, _):
        yield port


@pytest.fixture(scope="module")
def connector(port: int) -> Iterator[S7Connector]:
    made = opened(port)
    yield made
    made.close()


@pytest.fixture
def c_server() -> Iterator[int]:
    with s7_peer(libsnap7(), pdu=240) as (port, _):
        yield port


NUMBERS = [
    *((kind, st.integers(low, high)) for kind, (low, high) in INTEGERS.items()),
    ("float32", st.floats(width=32, allow_nan=False, allow_infinity=False)),
    ("float64", st.floats(allow_nan=False, allow_infinity=False)),
    ("bcd16", st.integers(0, 9999)), ("bcd32", st.integers(0, 99_999_999)),
    ("float32[5]", st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=5, max_size=5)),
    ("int16[9]", st.lists(st.integers(-32768, 32767), min_size=9, max_size=9)),
    ("bool[16]", st.lists(st.booleans(), min_size=16, max_size=16)),
    ("string:20", st.text(st.characters(max_codepoint=127), max_size=20)),
    ("wstring:20", st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values"), NUMBERS, ids=[kind for kind, _ in NUMBERS])
def test_every_type_comes_back_as_it_was_written(
    connector: S7Connector, kind: str, values: st.SearchStrategy[object]
) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values, st.sampled_from(["ABCD", "CDAB", "BADC", "DCBA"]), st.integers(100, 131))
    def both_ways(given_value: object, order: str, byte: int) -> None:
        header = {"s": b"\x14\0", "w": b"\0\x14\0\0"}.get(kind[0], b"")
        if header and "int" not in kind:
            connector.write(rw(f"DB2.DBB{byte}", f"uint8[{len(header)}]"), list(header))
        address = f"DB2.DBX{byte}.0" if kind.startswith("bool") else f"DB2.DBB{byte}"
        one = rw(address, kind, order=order)
        connector.write(one, coerce(one, given_value))  # type: ignore[arg-type]
        assert value(connector, one) == given_value

    both_ways()


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [("datetime:dt", 1990, 2089), ("datetime:dtl", 1970, 2261), ("datetime:ldt", 1970, 2261)],
)
def test_every_time_comes_back_to_the_millisecond(connector: S7Connector, kind: str, first: int, last: int) -> None:

    one = rw("DB2.DBB301", kind)

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.datetimes(datetime.fromisoformat(f"{first}-01-01"), datetime.fromisoformat(f"{last}-12-31")))
    def both_ways(moment: datetime) -> None:
        connector.write(one, coerce(one, moment.isoformat()))
        assert same_moment(str(value(connector, one)), moment.isoformat())

    both_ways()


def test_times_are_the_bytes_that_siemens_documents(connector: S7Connector) -> None:
    connector.write(rw("DB2.DBB400", "datetime:dt"), "2026-11-22T07:08:09.123000")
    assert value(connector, tag("DB2.DBB400", "uint8[8]")) == [0x26, 0x11, 0x22, 7, 8, 9, 0x12, 0x31]  # a Sunday
    connector.write(rw("DB2.DBB400", "datetime:dtl"), "2026-11-22T07:08:09.5")
    assert value(connector, tag("DB2.DBB400", "uint8[8]")) == [0x07, 0xEA, 11, 22, 1, 7, 8, 9]
    assert value(connector, tag("DB2.DBD408", "uint32")) == 500_000_000


def test_what_is_no_time_and_no_text_is_bad_alone(connector: S7Connector) -> None:
    connector.write(rw("DB2.DBB500", "uint8[24]"), [0xFF] * 8 + [0] * 16)
    wrong = [tag("DB2.DBB500", "datetime:dt"), tag("DB2.DBB508", "datetime:dtl"), tag("DB2.DBW500", "bcd16")]
    samples = read(connector, *wrong, tag("DB2.DBB508", "uint8"))
    assert [samples[one.name].quality for one in wrong] == [Quality.BAD] * 3
    assert samples["DB2.DBB508.uint8.."].value == 0
    connector.write(rw("DB2.DBB500", "uint8[4]"), [2, 3, 65, 66])
    assert "over its room" in read(connector, tag("DB2.DBB500", "string:8"))["DB2.DBB500.string:8.."].reason


def test_a_text_is_not_written_over_what_lies_behind_it(connector: S7Connector) -> None:
    connector.write(rw("DB2.DBB520", "uint8[6]"), [3, 0, 0, 0, 0, 77])
    with pytest.raises(TagError, match="room for 3 characters"):
        connector.write(rw("DB2.DBB520", "string:8"), "four")
    connector.write(rw("DB2.DBB520", "string:8"), "abc")
    assert value(connector, tag("DB2.DBB520", "uint8[6]")) == [3, 3, 97, 98, 99, 77]


def test_a_time_with_a_zone_is_refused(connector: S7Connector) -> None:
    with pytest.raises(TagError, match="no zone"):
        connector.write(rw("DB2.DBB400", "datetime:dtl"), "2026-01-01T00:00:00Z")


def test_a_thousand_words_take_as_few_requests_as_the_pdu_allows(port: int) -> None:
    made = opened(port)
    words = [tag(f"DB2.DBW{2 * at}") for at in range(1000)]
    samples = read(made, *words)
    assert made.requests == 5  # 2000 bytes, 462 in each reply
    assert [samples[one.name].value for one in words[:128]] == [2 * n << 8 | 2 * n + 1 for n in range(50)] + [
        samples[one.name].value for one in words[50:128]
    ]
    made.close()


def test_flags_inputs_outputs_and_blocks_share_a_request(port: int) -> None:
    made = opened(port)
    samples = read(made, tag("MB9", "uint8"), tag("IB9", "uint8"), tag("QB9", "uint8"), tag("DB1.DBB9", "uint8"))
    assert made.requests == 1 and {sample.value for sample in samples.values()} == {9}
    made.close()


def test_one_missing_block_spoils_nothing_and_the_split_is_kept(port: int) -> None:
    made = opened(port)
    good = [tag(f"DB1.DBW{at}") for at in range(0, 100, 2)]
    bad = [tag("DB9.DBW0"), tag("DB1.DBW100"), tag("DB1.DBW102"), tag("MW256")]
    first = read(made, *good, *bad)
    asked = made.requests
    assert [first[one.name].value for one in good] == [n << 8 | n + 1 for n in range(0, 100, 2)]
    assert all(first[one.name].quality is Quality.BAD and "16#" in first[one.name].reason for one in bad)
    assert "no such data block" in first[bad[0].name].reason
    assert read(made, *good, *bad) == first
    assert made.requests - asked == 1 < asked
    made.close()


def test_a_value_larger_than_a_reply_comes_whole(connector: S7Connector) -> None:
    assert value(connector, tag("DB2.DBB4096", "uint8[2000]")) == [n % 256 for n in range(2000)]


def test_every_problem_of_the_options_is_reported() -> None:
    with pytest.raises(SettingsError) as caught:
        open_connector(source(1, rack=9, slot=40, connection="x", pdu=10))
    assert len(caught.value.problems) == 4


def test_a_plc_that_takes_less_is_asked_for_less(c_server: int) -> None:
    made = opened(c_server, pdu=240)
    assert made.pdu == 240
    assert value(made, tag("DB2.DBB1024", "uint8[1000]")) == [n % 256 for n in range(1000)]
    with pytest.raises(TagError, match="takes 212 in one request"):
        made.write(rw("DB2.DBB0", "uint8[300]"), [0] * 300)
    made.close()


def test_a_bit_is_written_without_touching_its_neighbours(c_server: int) -> None:
    made = opened(c_server)
    made.write(rw("MB20", "uint8"), 0b0101_0101)
    made.write(rw("M20.1", "bool"), True)
    made.write(rw("MW20", "bool", bit=8), False)
    assert value(made, tag("MB20", "uint8")) == 0b0101_0110
    made.close()
