import contextlib
import json
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.codec import decode, encode
from schemas import fleet as f
from schemas import messages as m
from schemas.errors import CodecError, Oversized, SchemaMismatch
from schemas.topics import DECISION, RESULT, STATUS, TOPICS, UP_ALERT, UP_HEALTH, Codec, Topic
from tests.bus.examples import EXAMPLES, row_for, stamped
from tests.bus.make_golden import GOLDEN, files_of

ids = pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: type(e).__name__)
CLOSED = [e for e in EXAMPLES if isinstance(e, f.Upstream)]


def _plain(row: Topic, payload: bytes) -> dict[str, Any]:
    """Read by the plain packages that outsiders use."""
    found = msgpack.unpackb(payload) if row.codec is Codec.MSGPACK else json.loads(payload)
    assert isinstance(found, dict)
    return found


def _written(row: Topic, fields: dict[str, Any]) -> bytes:
    packed = msgpack.packb(fields) if row.codec is Codec.MSGPACK else json.dumps(fields).encode()
    assert isinstance(packed, bytes)
    return packed


def _as_version(example: m.Message, version: int, **more: Any) -> tuple[Topic, bytes]:
    row = row_for(type(example))
    fields = _plain(row, encode(row, stamped(example)))
    name = m.schema_of(type(example)).split("/")[0]
    return row, _written(row, fields | {"schema": f"{name}/{version}"} | more)


def test_every_message_of_the_table_has_an_example() -> None:
    assert {kind for row in TOPICS for kind in row.messages} == {type(example) for example in EXAMPLES}


@ids
def test_bytes_are_the_golden_ones(example: m.Message) -> None:
    golden = files_of(type(example))
    assert golden, f"python -m tests.bus.make_golden writes {m.schema_of(type(example))}"
    assert encode(row_for(type(example)), stamped(example)) == golden[-1].read_bytes()
    assert decode(row_for(type(example)), type(example), golden[-1].read_bytes()) == stamped(example)


@ids
def test_all_earlier_golden_bytes_can_be_read(example: m.Message) -> None:
    for path in files_of(type(example)):
        assert decode(row_for(type(example)), type(example), path.read_bytes()).seq == 42


def test_no_golden_file_is_without_its_message() -> None:
    assert sorted(GOLDEN.glob("*.bin")) == sorted(path for e in EXAMPLES for path in files_of(type(e)))


@ids
def test_the_plain_package_reads_every_message(example: m.Message) -> None:
    row = row_for(type(example))
    wanted = msgspec.to_builtins(stamped(example), builtin_types=(bytes,))
    listed = {key: list(value) if isinstance(value, tuple) else value for key, value in wanted.items()}
    assert _plain(row, encode(row, stamped(example))) == listed


@ids
def test_what_the_plain_package_writes_is_read(example: m.Message) -> None:
    row, payload = _as_version(example, 1)
    assert decode(row, type(example), payload) == stamped(example)


@ids
@pytest.mark.parametrize("beside", [-1, 1])
def test_one_version_beside_ours_is_read(example: m.Message, beside: int) -> None:
    ours = int(m.schema_of(type(example)).split("/")[1])
    row, payload = _as_version(example, ours + beside)
    assert decode(row, type(example), payload).seq == 42


@ids
def test_two_versions_beside_ours_are_refused(example: m.Message) -> None:
    ours = int(m.schema_of(type(example)).split("/")[1])
    row, payload = _as_version(example, ours + 2)
    with pytest.raises(SchemaMismatch, match="update the older"):
        decode(row, type(example), payload)


@ids
def test_another_messages_bytes_are_refused(example: m.Message) -> None:
    row = row_for(type(example))
    payload = _written(row, {"schema": "something_else/1", "epoch": 1, "seq": 1})
    with pytest.raises(SchemaMismatch):
        decode(row, type(example), payload)


@ids
def test_unknown_fields_are_ignored_except_in_closed_messages(example: m.Message) -> None:
    row, payload = _as_version(example, 1, a_field_of_tomorrow=[1, {"a": 2}])
    if isinstance(example, f.Upstream):
        with pytest.raises(CodecError, match="a_field_of_tomorrow"):
            decode(row, type(example), payload)
    else:
        assert decode(row, type(example), payload) == stamped(example)


@pytest.mark.parametrize("example", [e for e in CLOSED if not isinstance(e, f.Alert | f.Report)], ids=str)
def test_parts_of_closed_messages_are_closed(example: f.Upstream) -> None:
    row = row_for(type(example))
    fields = _plain(row, encode(row, stamped(example)))
    parts = next(value for value in fields.values() if isinstance(value, list) and value and isinstance(value[0], dict))
    parts[0]["recipe"] = "secret"
    with pytest.raises(CodecError, match="recipe"):
        decode(row, type(example), _written(row, fields))


@pytest.mark.parametrize("field", ["site", "hardware", "software"])
def test_free_text_does_not_fit_a_closed_message(field: str) -> None:
    health = next(e for e in EXAMPLES if isinstance(e, f.Health))
    row, payload = _as_version(health, 1, **{field: "Recipe 7: 12 kg sugar"})
    with pytest.raises(CodecError):
        decode(row, f.Health, payload)


def test_the_rows_size_bounds_both_ways() -> None:
    status = m.Status(process="connect", state=m.State.DEGRADED, reason="x" * STATUS.max_bytes)
    with pytest.raises(Oversized, match="STATUS"):
        encode(STATUS, status)
    with pytest.raises(Oversized, match="STATUS"):
        decode(STATUS, m.Status, b" " * (STATUS.max_bytes + 1))


@pytest.mark.parametrize("name", ["epoch", "seq", "time_ns", "source_epoch", "source_seq"])
@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -1])
def test_a_number_that_no_database_holds_is_refused(name: str, number: int) -> None:
    example = next(one for one in EXAMPLES if isinstance(one, m.Result))  # the historian ended with it
    with pytest.raises(CodecError):
        decode(RESULT, m.Result, msgspec.msgpack.encode(msgspec.structs.replace(example, **{name: number})))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_a_duration_that_is_none_is_refused(number: float) -> None:
    example = next(one for one in EXAMPLES if isinstance(one, m.Result))  # the OPC UA server ended with it
    latency = msgspec.structs.replace(example.latency, total=number)
    with pytest.raises(CodecError):
        decode(RESULT, m.Result, msgspec.msgpack.encode(msgspec.structs.replace(example, latency=latency)))


def test_a_view_is_read_like_bytes() -> None:
    decision = next(e for e in EXAMPLES if isinstance(e, m.Decision))
    assert decode(DECISION, m.Decision, memoryview(bytearray(encode(DECISION, decision)))) == decision


@given(payload=st.binary(max_size=400))
def test_bytes_from_anywhere_raise_nothing_but_codec_errors(payload: bytes) -> None:
    for row in (DECISION, STATUS, UP_HEALTH):
        with pytest.raises(CodecError):
            decode(row, row.message, payload)


@given(data=st.data())
def test_damaged_messages_raise_nothing_but_codec_errors(data: st.DataObject) -> None:
    example = data.draw(st.sampled_from(EXAMPLES))
    row = row_for(type(example))
    payload = bytearray(encode(row, stamped(example)))
    for at in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=4)):
        payload[at] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(payload)))
    with contextlib.suppress(CodecError):
        decode(row, type(example), bytes(payload[:cut]))


@pytest.mark.parametrize("row", [DECISION, STATUS, UP_ALERT], ids=lambda row: row.key)
def test_deep_nesting_is_a_codec_error(row: Topic) -> None:
    depth = min(row.max_bytes // 2 - 20, 3_000)
    deep = b"[" * depth if row.codec is Codec.JSON else b"\x91" * depth
    wrapped = b'{"x":' + deep if row.codec is Codec.JSON else b"\x81\xa1x" + deep
    with pytest.raises(CodecError):
        decode(row, row.message, wrapped)
