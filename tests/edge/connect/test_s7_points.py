"""S7 addresses, what is wrong with them, and how few requests they take."""

from pathlib import Path

import pytest

from edge.connectors.s7 import check_address, planned
from edge.plc.s7.points import multi_reads, point_of, ranges
from edge.plc.tags.lists import Access, Tag, load_tags
from edge.settings import Source
from schemas.errors import SettingsError, TagError


def tag(address: str, kind: str = "uint16", **fields: object) -> Tag:
    return Tag(name=f"{address}.{kind}.{fields.get('bit', '')}", address=address, type=kind, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "kind", "bit", "area", "byte", "at", "size"),
    [
        ("DB1.DBX0.3", "bool", None, "DB1", 0, 3, 1),
        ("%db17.dbw2", "int16", None, "DB17", 2, 0, 2),
        ("DB1.DBB10", "float64", None, "DB1", 10, 0, 8),
        ("DB1.DBB7", "string:254", None, "DB1", 7, 0, 256),
        ("DB1.DBB8", "wstring:3", None, "DB1", 8, 0, 10),
        ("DB1.DBB8", "datetime:dtl", None, "DB1", 8, 0, 12),
        ("DB1.DBD8", "float32[3]", None, "DB1", 8, 0, 12),
        ("DB1.DBX8.6", "bool[4]", None, "DB1", 8, 6, 2),
        ("I0.3", "bool", None, "I0", 0, 3, 1),
        ("E0.3", "bool", None, "I0", 0, 3, 1),
        ("A1.7", "bool", None, "Q0", 1, 7, 1),
        ("MW10", "bool", 3, "M0", 11, 3, 1),
        ("MW10", "bool", 8, "M0", 10, 0, 1),
        ("MD65532", "uint32", None, "M0", 65532, 0, 4),
    ],
)
def test_an_address_is_bytes_of_an_area(
    address: str, kind: str, bit: int | None, area: str, byte: int, at: int, size: int
) -> None:
    point = point_of(tag(address, kind, bit=bit))
    assert (point.area, point.address, point.bit, point.size) == (area, byte, at, size)


@pytest.mark.parametrize(
    ("address", "kind", "fields", "why"),
    [
        ("hr:1", "uint16", {}, "is not S7"),
        ("DB1.DBX0.8", "bool", {}, "is not S7"),
        ("DB0.DBW0", "uint16", {}, "numbers from 1"),
        ("T5", "uint16", {}, "is not S7"),
        ("DB1.DBX0", "bool", {}, "has no bit"),
        ("M0", "bool", {}, "has no bit"),
        ("DB1.DBX0.1", "uint8", {}, "bits have the type bool"),
        ("DB1.DBW0.1", "uint16", {}, "a bit besides"),
        ("DB1.DBW0", "bool", {}, r"needs its bit \(0 to 15\)"),
        ("DB1.DBB0", "bool", {"bit": 8}, r"needs its bit \(0 to 7\)"),
        ("DB1.DBX0.1", "bool", {"bit": 1}, "is one bit"),
        ("DB1.DBB0", "bool[8]", {}, "begins at a bit"),
        ("DB1.DBW0", "float32", {}, "write D for W"),
        ("DB1.DBD0", "float64", {}, "write B for D"),
        ("DB1.DBB0", "datetime", {}, "datetime:dt "),
        ("DB1.DBB0", "string:255", {}, "254 characters"),
        ("DB1.DBB65533", "uint32", {}, "beyond byte 65535"),
        ("I0.0", "bool", {"access": Access.WRITE}, "only be read"),
        ("M0.1", "bool[8]", {"access": Access.WRITE}, "whole bytes"),
        ("M0.0", "bool[7]", {"access": Access.WRITE}, "whole bytes"),
        ("DB1.DBB0", "uint8[453]", {"access": Access.WRITE}, "more than one request"),
    ],
)
def test_a_wrong_address_says_why(address: str, kind: str, fields: dict[str, object], why: str) -> None:
    with pytest.raises(TagError, match=why) as caught:
        check_address(tag(address, kind, **fields))
    assert address in str(caught.value)


def test_every_wrong_address_of_a_list_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("name,address,type\na,DB1.DBW0,float32\nb,DB1.DBW2,int16\nc,DB1.DBX3,bool\n")
    with pytest.raises(SettingsError) as caught:
        load_tags(path, (), check_address)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [f"{path}:2", f"{path}:4"]


def test_neighbours_are_one_item_and_others_fill_a_request() -> None:
    found = ranges([tag(f"DB1.DBW{2 * at}") for at in range(200)], gap=16, pdu=480)
    assert [one.size for one in found] == [400]
    apart = ranges([tag(f"DB{number}.DBW0") for number in range(1, 46)], gap=16, pdu=480)
    assert [len(request) for request in multi_reads(apart, 480, 20)] == [20, 20, 5]


def test_a_tag_larger_than_a_reply_is_read_in_pieces_of_it() -> None:
    (one,) = ranges([tag("DB1.DBB0", "uint8[1000]")], gap=16, pdu=240)
    pieces = sorted((piece.at, piece.size) for request in multi_reads([one], 240, 20) for piece in request)
    assert pieces == [(0, 222), (222, 222), (444, 222), (666, 222), (888, 112)]


def test_no_request_is_larger_than_the_pdu_and_every_byte_comes_once() -> None:
    tags = [tag(f"DB{at % 7 + 1}.DBB{at * 37 % 9000}", f"uint8[{at % 300 + 1}]") for at in range(300)]
    for pdu in (112, 240, 480):
        requests = multi_reads(ranges(tags, 16, pdu), pdu, 20)
        for request in requests:
            assert 12 + 12 * len(request) <= pdu and len(request) <= 20
            assert 14 + sum(4 + piece.size + piece.size % 2 for piece in request) <= pdu
        pieces = [piece for request in requests for piece in request]
        for one in ranges(tags, 16, pdu):
            mine = sorted((p.at, p.size) for p in pieces if p.of.points == one.points)
            assert [at for at, _ in mine] == [sum(size for _, size in mine[:n]) for n in range(len(mine))]
            assert sum(size for _, size in mine) == one.size


def test_the_plan_is_told_before_there_is_a_plc() -> None:
    source = Source(driver="s7", tags="-", groups={}, options={"pdu": 240})
    (one, two) = planned(source, [tag(f"DB1.DBW{2 * at}") for at in range(150)])
    assert (one.tags + two.tags, one.asked, one.answered) == (150, 7 + 12 + 12, 7 + 14 + 4 + 222)
