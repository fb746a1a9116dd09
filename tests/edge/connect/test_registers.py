"""Modbus without a wire: addresses, merged requests, values in registers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.plc.modbus.registers import Area, decode, encode, plan, point_of
from edge.plc.tags.lists import INTEGERS, ORDERS, Access, Tag, coerce
from schemas.errors import TagError


def tag(address: str, kind: str = "uint16", **fields: object) -> Tag:
    return Tag(name=f"{address}-{kind}", address=address, type=kind, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "area", "address", "kind"), [
    ("40001", Area.HOLDING, 0, "uint16"), ("400001", Area.HOLDING, 0, "uint16"),
    ("465536", Area.HOLDING, 65535, "uint16"),
    ("30010", Area.INPUT, 9, "uint16"), ("10001", Area.DISCRETE, 0, "bool"), ("1", Area.COIL, 0, "bool"),
    ("00017", Area.COIL, 16, "bool"), ("hr:0", Area.HOLDING, 0, "uint16"), ("IR:5", Area.INPUT, 5, "uint16"),
    ("di:3", Area.DISCRETE, 3, "bool"), ("coil:3", Area.COIL, 3, "bool"),
])  # fmt: skip
def test_addresses_are_read_in_the_manuals_notation(text: str, area: Area, address: int, kind: str) -> None:
    point = point_of(tag(text, kind))
    assert (point.area, point.address) == (area, address)


@pytest.mark.parametrize("text", ["", "40000", "50001", "hr:65536", "hr:-1", "DB1.DBW0", "4000001", "coil", "0"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(TagError):
        point_of(tag(text))


@pytest.mark.parametrize(("one", "said"), [
    (tag("coil:1", "int16"), "bits have the type bool"), (tag("hr:1", "bool"), "needs its bit"),
    (tag("ir:1", access=Access.WRITE), "only be read"), (tag("hr:65535", "uint32"), "beyond 65535"),
])  # fmt: skip
def test_an_address_has_to_fit_its_type_and_access(one: Tag, said: str) -> None:
    with pytest.raises(TagError, match=said):
        point_of(one)


def requests(*tags: Tag, gap: int = 16) -> list[tuple[Area, int, int]]:
    return [(one.area, one.address, one.count) for one in plan(map(point_of, tags), gap=gap)]


def test_neighbours_and_small_gaps_are_one_request() -> None:
    assert requests(tag("hr:0"), tag("hr:1", "float32"), tag("hr:10")) == [(Area.HOLDING, 0, 11)]
    assert requests(tag("hr:0"), tag("hr:18"), gap=16) == [(Area.HOLDING, 0, 1), (Area.HOLDING, 18, 1)]
    assert requests(tag("hr:0"), tag("hr:17"), gap=16) == [(Area.HOLDING, 0, 18)]


def test_each_table_has_its_own_requests() -> None:
    assert len(requests(tag("hr:0"), tag("ir:0"), tag("coil:0", "bool"), tag("di:0", "bool"))) == 4


def test_a_thousand_registers_take_eight_requests_of_at_most_125() -> None:
    found = requests(*(tag(f"hr:{address}") for address in range(1000)))
    assert [count for _, _, count in found] == [125] * 8


def test_a_value_never_lies_across_two_requests() -> None:
    found = plan([point_of(tag(f"hr:{address}", "float64")) for address in range(0, 1000, 4)], gap=0)
    assert all(
        one.address <= point.address and point.end <= one.address + one.count for one in found for point in one.points
    )
    assert all(one.count <= 125 for one in found)


def test_bits_are_chunked_at_2000() -> None:
    assert [count for _, _, count in requests(*(tag(f"coil:{n}", "bool") for n in range(4500)))] == [2000, 2000, 500]


tags_anywhere = st.lists(
    st.builds(
        lambda address, kind: tag(f"hr:{address}", kind),
        st.integers(0, 3000), st.sampled_from([*INTEGERS, "float32", "float64", "string:9"]),
    ), min_size=1, max_size=60,
)  # fmt: skip


@given(tags_anywhere, st.integers(0, 124), st.integers(10, 125))
def test_every_plan_covers_each_tag_once_within_the_limits(tags: list[Tag], gap: int, most: int) -> None:
    points = [point_of(one) for one in tags]
    made = plan(points, gap=gap, max_registers=most)
    assert sorted(map(id, (p for r in made for p in r.points))) == sorted(map(id, points))
    for one in made:
        assert one.count <= most
        assert (
            min(p.address for p in one.points) == one.address
            and max(p.end for p in one.points) == one.address + one.count
        )


@pytest.mark.parametrize(("order", "words"), [
    ("ABCD", [0x4048, 0xF5C3]), ("CDAB", [0xF5C3, 0x4048]), ("BADC", [0x4840, 0xC3F5]), ("DCBA", [0xC3F5, 0x4840]),
])  # fmt: skip
def test_the_four_byte_orders_of_3_14(order: str, words: list[int]) -> None:
    one = tag("hr:0", "float32", order=order)
    assert decode(one, words) == pytest.approx(3.14, rel=1e-6)
    assert encode(one, 3.14) == words


def test_strings_scaled_numbers_and_bits() -> None:
    assert decode(tag("hr:0", "string:5"), [0x4142, 0x4344, 0x4500]) == "ABCDE"
    assert encode(tag("hr:0", "string:5"), "AB") == [0x4142, 0, 0]
    assert decode(tag("hr:0", "string:4", order="BADC"), [0x4241, 0x4443]) == "ABCD"
    assert decode(tag("hr:0", "int16", scale=0.1, offset=-40.0), [0xFFFF]) == pytest.approx(-40.1)
    assert encode(tag("hr:0", "int16", scale=0.1, offset=-40.0), -40.1) == [0xFFFF]
    assert decode(tag("hr:0", "bool", bit=3), [0b1000]) is True
    assert decode(tag("hr:0", "bool", bit=2), [0b1000]) is False


@pytest.mark.parametrize("words", [[0x7FC0, 0], [0x7F80, 0]])
def test_nan_and_infinity_are_no_values(words: list[int]) -> None:
    with pytest.raises(TagError, match="not a number"):
        decode(tag("hr:0", "float32"), words)


@given(st.data(), st.sampled_from([*INTEGERS]), st.sampled_from(ORDERS))
def test_what_is_written_is_read_back(data: st.DataObject, kind: str, order: str) -> None:
    one = tag("hr:0", kind, order=order, access=Access.WRITE)
    value = data.draw(st.integers(*INTEGERS[kind]))
    assert decode(one, encode(one, coerce(one, value))) == value


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.sampled_from(ORDERS))
def test_floats_are_read_back_as_float32_holds_them(value: float, order: str) -> None:
    one = tag("hr:0", "float32", order=order)
    back = decode(one, encode(one, value))
    assert isinstance(back, float) and math.isclose(back, value, rel_tol=0)
