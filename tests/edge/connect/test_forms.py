"""Types of tags and their values, both ways: what does not fit is refused or Bad, with its reason."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.connectors.modbus import check_address
from edge.plc.modbus.registers import decode, encode
from edge.plc.outputs.write_rules import same_value
from edge.plc.tags.binary import FORMATS, decode_numbers, encode_numbers, size_of
from edge.plc.tags.coercion import coerce, engineering, native
from edge.plc.tags.forms import BCD, INTEGERS, Kind, form_of
from edge.plc.tags.lists import ORDERS, Access, Limit, Tag
from schemas.errors import TagError
from schemas.fields import Value


def tag(kind: str, **fields: Any) -> Tag:
    return Tag(name="T", address=fields.pop("address", "hr:0"), type=kind, **fields)


@pytest.mark.parametrize(("text", "element", "kind", "count", "length", "layout"), [
    ("bool", "bool", Kind.BOOL, 0, 0, ""), ("bool[8]", "bool", Kind.BOOL, 8, 0, ""),
    ("int8", "int8", Kind.WHOLE, 0, 0, ""), ("float32[16]", "float32", Kind.FLOAT, 16, 0, ""),
    ("string:82", "string", Kind.TEXT, 0, 82, ""), ("wstring:254", "wstring", Kind.TEXT, 0, 254, ""),
    ("bcd32[2]", "bcd32", Kind.WHOLE, 2, 0, ""), ("datetime", "datetime", Kind.MOMENT, 0, 0, ""),
    ("datetime:dtl", "datetime", Kind.MOMENT, 0, 0, "dtl"),
])  # fmt: skip
def test_a_type_says_what_its_elements_are(
    text: str, element: str, kind: Kind, count: int, length: int, layout: str
) -> None:
    form = form_of(text)
    assert (form.element, form.kind, form.count, form.length, form.layout) == (element, kind, count, length, layout)


@pytest.mark.parametrize("text", [
    "", "int", "int17", "string", "string:0", "string:16383", "float32[0]", "float32[10001]", "float32[2,3]", "bool[]",
    "datetime:date", "string:4[2]", "datetime[2]", "bcd64",
])  # fmt: skip
def test_other_types_are_not_known(text: str) -> None:
    with pytest.raises(TagError, match="not known"):
        form_of(text)


@pytest.mark.parametrize(("one", "value", "taken"), [
    (tag("int8"), -128, -128), (tag("bcd16"), 9999.0, 9999), (tag("float32[2]"), [1, 2.5], [1.0, 2.5]),
    (tag("bool[2]"), [1, False], [True, False]), (tag("wstring:3"), "µ°€", "µ°€"),
    (tag("uint64"), 2**64 - 1, 2**64 - 1),
    (tag("datetime"), "2024-05-01T12:00:00Z", "2024-05-01T12:00:00Z"),
    (tag("datetime:dt"), "2024-05-01 12:00:00.5", "2024-05-01T12:00:00.500000"),
    (tag("int16", min=0, max=100, limit=Limit.CLAMP), 250, 100),
    (tag("int16", min=0.5, max=9.5, limit=Limit.CLAMP), -3, 1),
    (tag("float32[2]", min=0, max=1, limit=Limit.CLAMP), [-1, 2], [0.0, 1.0]),
    (tag("int16", scale=0.1, limit=Limit.CLAMP), 1e9, 3276.7),
])  # fmt: skip
def test_what_fits_is_taken(one: Tag, value: Value, taken: Value) -> None:
    assert coerce(one, value) == pytest.approx(taken) and type(coerce(one, value)) is type(taken)


@pytest.mark.parametrize(("one", "value", "said"), [
    (tag("uint8"), 256, "0 to 255"), (tag("bcd16"), 10_000, "0 to 9999"), (tag("bcd16"), -1, "0 to 9999"),
    (tag("float32[2]"), [1.0], "a list of 2 values, not a list of 1"), (tag("float32[2]"), 1.0, "a list of 2"),
    (tag("float32"), [1.0], "a number, not a list of 1"), (tag("int16[2]"), [1, 1.5], "whole"),
    (tag("wstring:2"), "abc", "2 characters"), (tag("wstring:1"), "😀", "1 characters"),
    (tag("wstring:3"), "\ud800", "3 characters"), (tag("string:9"), "µ", "ASCII"),
    (tag("datetime"), "soon", "ISO 8601"), (tag("datetime"), 5, "ISO 8601"),
    (tag("datetime:dt"), "1980-01-01", "1990 to 2089"),
    (tag("float64"), 10**400, "beyond all bounds"), (tag("int64"), -(10**400), "beyond all bounds"),
    (tag("int16", limit=Limit.CLAMP), float("nan"), "a number"),
    (tag("int16", limit=Limit.CLAMP), float("inf"), "a number"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(one: Tag, value: Value, said: str) -> None:
    with pytest.raises(TagError, match=said):
        coerce(one, value)


@pytest.mark.parametrize(("one", "raw", "value"), [
    (tag("float32[3]", scale=0.5, offset=1), (2, 4, 6.0), [2.0, 3.0, 4.0]), (tag("bool"), True, True),
    (tag("string:4"), "abcd", "abcd"), (tag("uint64"), 2**64 - 1, 2**64 - 1),
    (tag("datetime"), datetime(2024, 5, 1, tzinfo=UTC), "2024-05-01T00:00:00Z"),
    (tag("datetime:ldt"), "2024-05-01T12:00:00.123456789", "2024-05-01T12:00:00.123456"),
])  # fmt: skip
def test_what_a_plc_holds_is_told_in_engineering_units(one: Tag, raw: object, value: Value) -> None:
    assert engineering(one, raw) == value


@pytest.mark.parametrize(("one", "raw", "said"), [
    (tag("int16"), 40_000, "no int16"), (tag("int16"), 1.0, "no int16"), (tag("int16"), True, "says int16"),
    (tag("bool"), 1, "says bool"), (tag("float32"), float("inf"), "not a number"),
    (tag("float32"), "1", "says float32"), (tag("float64"), 2**53 + 1, "which no float is exactly"),
    (tag("float32[2]"), [1.0, 2.0, 3.0], "3 values, the tag list says 2"), (tag("float32[2]"), 1.0, "no array"),
    (tag("float32[2]"), [1.0, float("nan")], "not a number"), (tag("string:2"), "abc", "3 characters"),
    (tag("string:2"), b"ab", "says string"), (tag("int16"), None, "None"), (tag("datetime"), "soon", "no time"),
    (tag("datetime:dtl"), datetime(1960, 1, 1, tzinfo=UTC), "1970 to 2262"),
])  # fmt: skip
def test_what_a_plc_holds_of_another_type_is_a_reason(one: Tag, raw: object, said: str) -> None:
    with pytest.raises(TagError, match=said):
        engineering(one, raw)


@given(st.data(), st.sampled_from([*INTEGERS, *BCD]), st.integers(0, 4), st.sampled_from(ORDERS))
def test_whole_numbers_and_arrays_of_them_are_read_back_exactly(
    data: st.DataObject, kind: str, count: int, order: str
) -> None:
    one = tag(f"{kind}[{count}]" if count else kind, order=order)
    numbers = st.integers(int(one.form.low), int(one.form.high))
    value = data.draw(st.lists(numbers, min_size=count, max_size=count) if count else numbers)
    assert decode_numbers(one, encode_numbers(one, coerce(one, value))) == value
    assert decode(one, encode(one, coerce(one, value))) == value
    assert same_value(one, value, value)


@given(st.binary(min_size=1, max_size=80), st.sampled_from([*FORMATS]), st.integers(0, 8), st.sampled_from(ORDERS))
def test_any_bytes_are_a_value_of_the_type_or_a_reason(data: bytes, kind: str, count: int, order: str) -> None:
    one = tag(f"{kind}[{count}]" if count else kind, order=order)
    data = (data * 80)[: size_of(one)]
    try:
        value = decode_numbers(one, data)
    except TagError as error:
        assert str(error)
        return
    assert coerce(one, value) == value


@given(st.floats(-1e6, 1e6), st.floats(-100, 100).filter(lambda scale: abs(scale) > 1e-3))
def test_scaled_numbers_lie_on_the_nearest_step(value: float, scale: float) -> None:
    one = tag("int64", scale=scale, offset=7.0)
    raw = native(one, coerce(one, value))
    assert isinstance(raw, int)
    assert same_value(one, value, engineering(one, raw))


@pytest.mark.parametrize(("order", "hexadecimal"), [
    ("ABCD", "0102030405060708"), ("CDAB", "0304010207080506"), ("BADC", "0201040306050807"),
    ("DCBA", "0403020108070605"),
])  # fmt: skip
def test_each_element_of_an_array_has_its_own_byte_order(order: str, hexadecimal: str) -> None:
    one = tag("uint32[2]", order=order)
    assert decode_numbers(one, bytes.fromhex(hexadecimal)) == [0x01020304, 0x05060708]


def test_bcd_is_read_digit_by_digit() -> None:
    assert decode(tag("bcd16"), [0x1234]) == 1234
    assert decode(tag("bcd32", order="CDAB", scale=0.01), [0x5678, 0x1234]) == pytest.approx(123456.78)
    assert encode(tag("bcd16"), 42) == [0x0042]
    with pytest.raises(TagError, match="16#12A4 is not BCD"):
        decode(tag("bcd16"), [0x12A4])


def test_a_small_number_has_a_register_of_its_own() -> None:
    assert decode(tag("int8"), [0xFF80]) == -128 and encode(tag("int8"), -1) == [0xFFFF]
    with pytest.raises(TagError, match="no uint8"):
        decode(tag("uint8"), [0x100])


@pytest.mark.parametrize(("one", "said"), [
    (tag("datetime"), "no datetime"), (tag("wstring:4"), "no wstring"), (tag("float32[63]"), "126 registers"),
    (tag("float32[62]", access=Access.WRITE), "write .123."), (tag("bool[4]"), "can't lie in registers"),
    (tag("bool", bit=16), "0 to 15"), (tag("int16[2]", address="coil:0"), "bits have the type bool"),
    (tag("bool[1969]", address="coil:0", access=Access.WRITE), "write .1968."),
    (tag("bool", address="coil:0", bit=2), "one bit"),
])  # fmt: skip
def test_what_modbus_can_not_hold_or_carry_is_said_before_the_start(one: Tag, said: str) -> None:
    with pytest.raises(TagError, match=said):
        check_address(one)


def test_times_are_the_same_to_the_millisecond() -> None:
    one = tag("datetime:dt")
    assert same_value(one, "2024-05-01T12:00:00.123456", "2024-05-01T12:00:00.123000")
    assert not same_value(one, "2024-05-01T12:00:00.123", "2024-05-01T12:00:00.125")
    assert not same_value(one, "2024-05-01T12:00:00Z", "2024-05-01T12:00:00")
