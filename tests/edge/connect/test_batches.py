"""Plain tags of an answer are read by one struct: to the same samples as each alone."""

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from edge.plc.planning import Plans
from edge.plc.s7.points import point_of
from edge.plc.s7.values import placed
from edge.plc.tags.batches import Decoding, Placed, sample_of
from edge.plc.tags.binary import FORMATS
from edge.plc.tags.tag import ORDERS, Tag
from schemas.messages import Quality, Sample

ROOM = 96
LETTERS = {1: "B", 2: "W", 4: "D", 8: "B"}


@st.composite
def tags(draw: st.DrawFn) -> list[Tag]:
    """Numbers anywhere in a data block, over each other too, of all orders, some scaled."""
    found: list[Tag] = []
    for number in range(draw(st.integers(0, 24))):
        kind = draw(st.sampled_from(sorted(FORMATS)))
        size = struct.calcsize(f">{FORMATS[kind]}")
        at = draw(st.integers(0, ROOM - size))
        scale = draw(st.sampled_from([1.0, 1.0, 0.1, 1e300]))
        found.append(
            Tag(
                name=f"t{number}", address=f"DB1.DB{LETTERS[size]}{at}", type=kind,
                order=draw(st.sampled_from(ORDERS)) if size > 1 else "ABCD", scale=scale,
            )
        )  # fmt: skip
    return found


@given(tags(), st.binary(min_size=ROOM, max_size=ROOM))
def test_a_batch_gives_each_tag_what_it_has_alone(some: list[Tag], data: bytes) -> None:
    places = [placed(point_of(tag), 0) for tag in some]
    together = Decoding(places).samples(lambda: data, data)
    alone = {one.tag.name: sample_of(one.read, data) for one in places}
    assert together == alone
    assert all(type(together[name].value) is type(alone[name].value) for name in alone)


def floats(count: int) -> list[Placed[bytes]]:
    return [placed(point_of(Tag(name=f"t{i}", address=f"DB1.DBD{4 * i}", type="float32")), 0) for i in range(count)]


def test_a_float_that_is_none_is_bad_alone() -> None:
    data = struct.pack(">6f", 1.0, math.inf, 2.0, math.nan, -math.inf, 3.0)
    samples = Decoding(floats(6)).samples(lambda: data, data)
    assert [samples[f"t{i}"].quality for i in (1, 3, 4)] == [Quality.BAD] * 3
    assert [samples[f"t{i}"] for i in (0, 2, 5)] == [Sample(value=1.0), Sample(value=2.0), Sample(value=3.0)]


def test_numbers_whose_sum_is_too_large_are_good_all_the_same() -> None:
    places = [placed(point_of(Tag(name=f"t{i}", address=f"DB1.DBB{8 * i}", type="float64")), 0) for i in range(4)]
    data = struct.pack(">4d", *[1.7e308] * 4)
    assert all(sample == Sample(value=1.7e308) for sample in Decoding(places).samples(lambda: data, data).values())


def test_a_plan_is_found_by_its_tuple_and_by_its_names() -> None:
    plans = Plans[str]()
    group, others = (Tag(name="a", address="hr:0", type="int16"),), (Tag(name="b", address="hr:0", type="int16"),)
    plans.keep(group, "of a")
    assert plans.get(group) == "of a" and plans.get(others) is None
    plans.keep(list(others), "of b")
    assert plans.get(list(others)) == plans.get(others) == plans.get(others) == "of b"
    plans.keep(others, "of b in halves")
    assert plans.get(others) == plans.get((*others,)) == "of b in halves"


def test_plans_that_are_asked_for_once_are_not_kept_for_ever() -> None:
    plans = Plans[int]()
    asked = [(Tag(name=f"t{number}", address="hr:0", type="int16"),) for number in range(200)]
    for number, one in enumerate(asked):
        plans.keep(one, number)
        plans.keep(list(one), number)
    assert plans.get(asked[-1]) == 199 and plans.get(asked[0]) is None and plans.get(list(asked[0])) is None
