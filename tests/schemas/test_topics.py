"""The topic table keeps its promises: everything has two ends, and only bounded metadata can leave the site."""

import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from schemas import messages as m
from schemas import topics as t
from schemas.fields import SLUG
from schemas.topics import TOPICS, Place, Reach, Role, Topic

IDS = [row.key for row in TOPICS]
UPSTREAM = [row for row in TOPICS if row.reach is Reach.UP]
each_row = pytest.mark.parametrize("row", TOPICS, ids=IDS)
slugs = st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True)


def fields_of(row: Topic) -> list[str]:
    return re.findall(r"\{(\w+)\}", row.pattern)


def test_the_table_lists_every_row_once_under_its_own_name() -> None:
    rows = {name: value for name, value in vars(t).items() if isinstance(value, Topic)}
    assert {name: row.key for name, row in rows.items()} == {name: name for name in rows}
    assert sorted(rows) == sorted(IDS)


@each_row
def test_every_topic_has_a_publisher_and_a_reader(row: Topic) -> None:
    assert row.publishers
    assert row.readers
    assert row.publishers != row.readers or len(row.publishers) > 1, "nobody else would hear it"


@each_row
def test_limits_are_limits(row: Topic) -> None:
    assert row.qos in (0, 1)
    assert row.max_bytes > 0
    assert row.max_hz > 0
    assert row.stale_after_s == 0 or row.stale_after_s * row.max_hz >= 1, "it would be stale at its own rate"
    assert row.binds in ("", *fields_of(row))
    assert row.bound in ("publisher", "reader")


@each_row
def test_what_is_retained_is_state(row: Topic) -> None:
    """A retained message is repeated to whoever comes later: only the latest state bears that."""
    assert not row.retain or row.drop is t.Drop.LATEST_WINS
    assert not (row.retain and row.qos == 0)


@each_row
def test_plant_topics_stay_on_the_site_and_fleet_topics_have_a_direction(row: Topic) -> None:
    if row.pattern.startswith(t.PLANT):
        assert row.reach is Reach.SITE
        assert Role.FLEET not in row.publishers | row.readers
    else:
        assert row.pattern.startswith(t.FLEET + ("up/" if row.reach is Reach.UP else "down/"))
        assert row.publishers | row.readers == {Role.UPLINK, Role.FLEET}
        assert row.publishers == {Role.UPLINK if row.reach is Reach.UP else Role.FLEET}


@each_row
@settings(max_examples=15)
@given(data=st.data())
def test_names_filters_and_parse_agree(row: Topic, data: st.DataObject) -> None:
    place = Place(*data.draw(st.tuples(slugs, slugs, slugs)))
    fields = {name: data.draw(slugs) for name in fields_of(row) if name not in place.fields()}
    name = row.name(place, **fields)
    known = {key: value for key, value in place.fields().items() if key in fields_of(row)}
    assert row.parse(name) == known | fields
    assert t.row_of(name) is row, "another row has the same name"
    assert row.filter(place, **fields) == name
    assert matches(row.filter(place), name)
    assert matches(row.filter(), name)
    assert [other.key for other in TOPICS if matches(other.filter(), name)] == [row.key]


def matches(topic_filter: str, name: str) -> bool:
    """MQTT 5, 4.7.1, for filters without `#`."""
    pairs = list(zip(topic_filter.split("/"), name.split("/"), strict=False))
    return topic_filter.count("/") == name.count("/") and all(level in ("+", part) for level, part in pairs)


@pytest.mark.parametrize("bad", ["", "A", "a/b", "a+", "#", "a b", "x" * 65, "a\n", "ä"])
def test_what_is_no_slug_is_refused_in_a_name(bad: str) -> None:
    with pytest.raises(ValueError, match="slug"):
        t.READING.name(Place("s", "l", "n"), source=bad)
    with pytest.raises(ValueError, match="slug"):
        Place("s", "l", bad)


@given(st.text(max_size=200))
def test_a_slug_can_stand_in_a_topic(text: str) -> None:
    assert re.fullmatch(SLUG, t.slug(text))
    assert t.slug(t.slug(text)) == t.slug(text)


def test_a_slug_keeps_what_a_person_reads() -> None:
    assert t.slug("FIC_101.PV") == "fic_101_pv"
    assert t.slug("  ") == "x"


@each_row
def test_every_message_of_the_table_can_be_read(row: Topic) -> None:
    for kind in row.messages:
        msgspec.msgpack.Decoder(kind)
        msgspec.json.Decoder(kind)


# --- what leaves the site -------------------------------------------------------------------------------------------


def wire_bytes(payload: int, topic: str) -> int:
    """What one QoS 1 message costs on the wire, our side of it, payload included.

    MQTT: fixed header 4, topic 2 + its length, packet id 2, properties 1. TLS 1.2 (the dearer one): 29 per record of
    16 kB. Per segment of 1,448 bytes: Ethernet 18, IP 20, TCP with timestamps 32; one more to acknowledge the PUBACK.
    """
    mqtt = 4 + 2 + len(topic) + 2 + 1 + payload
    tls = mqtt + 29 * -(-mqtt // 16_384)
    return tls + 70 * (-(-tls // 1_448) + 1)


def daily_wire_bytes() -> float:
    longest = {"node": "n" * 64}
    rows = sum(row.max_hz * t.DAY_S * wire_bytes(row.max_bytes, row.filter(**longest)) for row in UPSTREAM)
    pings = t.DAY_S / 60 * (2 + 29 + 2 * 70)  # keepalive 60 s, and the acknowledgement of each answer
    handshakes = 24 * 6_000  # a link that comes and goes every hour: hello, certificate chain, finished, CONNECT
    return rows + pings + handshakes


def test_all_upstream_rows_at_their_limits_stay_under_the_daily_budget() -> None:
    assert t.upstream_bytes_per_day() < daily_wire_bytes() < t.UPSTREAM_BUDGET_BYTES == 50_000_000


@pytest.mark.parametrize("row", UPSTREAM, ids=lambda row: row.key)
def test_upstream_messages_are_closed_and_bounded(row: Topic) -> None:
    for kind in row.messages:
        assert open_ends(inspect.type_info(kind), kind.__name__) == []


def test_no_number_is_more_than_readers_can_hold() -> None:
    """But for what a tag or an argument of an event is: there, each reader looks at the type."""
    kinds = {kind for row in TOPICS for kind in row.messages}
    found = [end for kind in kinds for end in open_ends(inspect.type_info(kind), kind.__name__) if "number" in end]
    assert [end for end in found if not re.search(r"\.(value(\[\])?|args value):", end)] == []


def test_an_open_message_would_be_found() -> None:
    for kind in (m.Reading, m.Frame, m.Result, m.Insight, m.Event, m.Status, m.ConfigState, m.MesResult):
        assert open_ends(inspect.type_info(kind), kind.__name__), kind


def open_ends(kind: inspect.Type, where: str) -> list[str]:
    """Every place below `kind` through which a measured value or a prediction could leave."""
    match kind:
        case inspect.StructType(cls=cls, fields=fields):
            found = [] if cls.__struct_config__.forbid_unknown_fields else [f"{where}: takes unknown fields"]
            return found + [end for f in fields for end in open_ends(f.type, f"{where}.{f.name}")]
        case inspect.StrType(pattern=pattern):
            return [] if pattern and bounded(pattern) else [f"{where}: free text"]
        case inspect.FloatType() | inspect.IntType():
            return [] if kind.ge is not None and kind.le is not None else [f"{where}: number without bounds"]
        case inspect.ListType(item_type=item, max_length=length):
            return ([] if length and length <= 64 else [f"{where}: long list"]) + open_ends(item, f"{where}[]")
        case inspect.DictType(key_type=key, value_type=value, max_length=length):
            ends = open_ends(key, f"{where} key") + open_ends(value, f"{where} value")
            return ([] if length and length <= 64 else [f"{where}: long table"]) + ends
        case inspect.UnionType(types=types):
            return [end for one in types for end in open_ends(one, where)]
        case inspect.BoolType() | inspect.NoneType() | inspect.EnumType():
            return []
        case _:
            return [f"{where}: {type(kind).__name__} can carry anything"]


def bounded(pattern: str) -> bool:
    """Anchored, without `*`, `+` or `{n,}` outside a class, and 64 characters at most per repeat."""
    outside = re.sub(r"\[[^\]]*\]", "C", pattern)
    repeats = [int(high or low) for low, high in re.findall(r"\{(\d+)(?:,(\d+))?\}", outside)]
    endless = re.search(r"[*+.]|\{\d+,\}|\\[a-zA-Z]", outside)
    return pattern[0] == "^" and pattern[-1] == "$" and not endless and max(repeats, default=0) <= 64


@pytest.mark.parametrize("row", UPSTREAM, ids=lambda row: row.key)
def test_an_upstream_message_with_one_more_field_is_refused(row: Topic) -> None:
    for kind in row.messages:
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.json.decode(b'{"pixels": "AAAA"}', type=kind)
