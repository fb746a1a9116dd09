"""Results as the standard's: what each is, which a filter lets through, lists that stand still, and structures."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import variant_from_binary, variant_to_binary

from edge.history.points import PointMaker
from edge.history.query import History, Row
from edge.history.store import FILE, Store
from edge.opcua_server.events.happenings import Source
from edge.opcua_server.vision.archive import KEPT, PAGE, Archive, place_of
from edge.opcua_server.vision.listings import HANDLES, LISTED, LOOKED_PAGES, Handles, Listing
from edge.opcua_server.vision.results import (
    Filter,
    Record,
    ResultState,
    fields_of,
    filter_of,
    live,
    result_ready,
    stored,
)
from edge.opcua_server.vision.structures import Malformed, decode, encode, read_arguments, variant
from edge.opcua_server.vision.table import METHODS, STRUCTURES, Member, members_of
from schemas.messages import Latency, Outcome, Quality, Result, Verdict
from schemas.topics import Place

T = ua.VariantType
INDEX = 3
START_NS = 1_772_366_400_000_000_000
SECOND_NS = START_NS + 1500 * 10**9  # when the camera was started again
EVERYTHING = Filter(0, ())
PLACE = Place("s", "l", "n")


def result(number: int, **changed: Any) -> Result:
    made = Result(
        result_id=f"cap-s-{START_NS:x}-{number}", pipeline="cap-s", input="cam1", source_epoch=START_NS,
        source_seq=number, part_id=number, outcome=Outcome.RESULT, verdict=Verdict.OK, label="cap", score=0.75,
        scores={}, quality=Quality.GOOD, reason="",
        latency=Latency(ingest=1, queue=0.5, preprocess=1, infer=2, total=5), deadline_ms=50, model="caps",
        version="3", digest="", time_ns=START_NS + number * 10**9, recipe="7",
    )  # fmt: skip
    return msgspec.structs.replace(made, **changed)


def row(one: Result) -> Row:
    """What the historian gives back of it."""
    from edge.history import parsing

    point = PointMaker(PLACE).result(one)
    series = parsing.series(1, point.series)
    return Row(point.time_ns, series.measurement, series.tags, parsing.fields(point.fields))


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"part_id": None}, {"recipe": ""}, {"version": ""}, {"verdict": Verdict.NOK, "outcome": Outcome.LATE},
        {"outcome": Outcome.DROPPED, "verdict": Verdict.UNKNOWN, "reason": 'it said "no", twice'},
        {"quality": Quality.BAD, "label": ""},
    ],
)  # fmt: skip
def test_a_result_of_the_store_is_the_one_that_came(changed: dict[str, Any]) -> None:
    one = result(5, **changed)
    assert stored(row(one)) == live(one)
    source = Source(ua.NodeId(), "cap-s")
    then, now = (result_ready(each, source, INDEX, simulated=False) for each in (stored(row(one)), live(one)))
    assert then == now


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, ResultState.COMPLETED), ({"verdict": Verdict.NOK}, ResultState.COMPLETED),
        ({"outcome": Outcome.LATE}, ResultState.COMPLETED), ({"verdict": Verdict.UNKNOWN}, ResultState.FAILED),
        ({"quality": Quality.BAD}, ResultState.FAILED),
        ({"outcome": Outcome.DROPPED, "verdict": Verdict.UNKNOWN}, ResultState.ABORTED),
    ],
)  # fmt: skip
def test_the_state_of_a_result_says_whether_it_was_judged(changed: dict[str, Any], state: ResultState) -> None:
    assert live(result(1, **changed)).state is state


def test_ids_are_left_out_where_there_are_none() -> None:
    without = fields_of(live(result(1, part_id=None, recipe="")), simulated=True)
    assert not {"PartId", "ExternalRecipeId", "MeasId", "ProductId", "ExternalConfigurationId"} & without.keys()
    assert without["InternalRecipeId"] == {"Id": "cap-s"} and without["IsSimulated"] is True
    assert fields_of(live(result(1)), simulated=False)["JobId"] == {"Id": f"cap-s-{START_NS:x}"}


# -- filters ----------------------------------------------------------------------------------------------------------


def asked(state: int = 0, version: str = "", **ids: str) -> Filter:
    """The filter of a call's arguments."""
    _, method = METHODS[7089]
    assert method.inputs is not None
    given: dict[str, Any] = {one.name: {"Id": ids.get(one.name)} for one in method.inputs.members[1:9]}
    given["InternalConfigurationId"]["Version"] = version
    return filter_of(given | {"ResultState": state})


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (asked(), {1, 2, 3}), (asked(1), {1, 2}), (asked(4), {3}), (asked(2), set()), (asked(PartId="2"), {2}),
        (asked(PartId=" 2 "), {2}), (asked(ExternalRecipeId="7"), {1, 3}),
        (asked(InternalRecipeId="cap-s"), {2}), (asked(InternalRecipeId="cap-s/7", PartId="3"), {3}),
        (asked(JobId=f"cap-s-{START_NS:x}"), {1, 2, 3}), (asked(JobId="cap-s-1"), set()),
        (asked(InternalConfigurationId="caps"), {1, 2, 3}),
        (asked(InternalConfigurationId="caps", version="4"), set()), (asked(version="3"), {1, 2, 3}),
        (asked(MeasId="m"), set()), (asked(ProductId="p"), set()), (asked(ExternalConfigurationId="c"), set()),
        (asked(-1), set()),
    ],
)  # fmt: skip
def test_a_filter_lets_through_what_has_all_that_it_names(wanted: Filter, found: set[int]) -> None:
    results = (result(1), result(2, recipe=""), result(3, verdict=Verdict.UNKNOWN))
    assert {one.source_seq for one in results if wanted.passes(live(one))} == found


# -- the archive and its lists ----------------------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """A store of three models' results, 2,500 in all, in a camera's two runs."""
    maker, points = PointMaker(PLACE), []
    for n in range(2500):
        later = {"source_epoch": SECOND_NS, "result_id": f"cap-s-{SECOND_NS:x}-{n - 1500}"}
        more = later if n >= 1500 else {}
        points.append(maker.result(result(n, version=str(n % 3), **more))._replace(epoch=1, seq=n))
        points.append(maker.result(result(n, pipeline="other", result_id=f"other-{START_NS:x}-{n}")))
    (tmp_path / "state").mkdir()
    with contextlib.closing(Store(tmp_path / "state" / FILE)) as store:
        store.add(points)
    with contextlib.closing(History(tmp_path)) as history:
        yield history


def ids(found: list[Record]) -> list[str]:
    return [one.result_id for one in found]


def listing(archive: Archive, wanted: Filter = EVERYTHING) -> Listing:
    return Listing("cap-s", wanted, archive.newest_first(START_NS + 10**15))


def test_any_result_of_the_store_is_found_and_no_other(history: History) -> None:
    archive = Archive(history, "cap-s")
    for n in (0, 1, 749, 1499):
        found = archive.find(f"cap-s-{START_NS:x}-{n}", START_NS + 10**15)
        assert found is not None and found.part_id == n
    for n in (0, 999):
        found = archive.find(f"cap-s-{SECOND_NS:x}-{n}", START_NS + 10**15)
        assert found is not None and found.part_id == n + 1500
    for strange in (f"cap-s-{START_NS:x}-1500", f"cap-s-{START_NS + 1:x}-3", f"other-{START_NS:x}-1", "cap-s-0-0",
                    "cap-s-zz-1", "cap-s", "", f"cap-s-1-{'9' * 5000}"):  # fmt: skip
        assert archive.find(strange, START_NS + 10**15) is None, strange


def test_the_place_of_a_result_is_in_its_id() -> None:
    assert place_of("cap-s-1f-12", "cap-s") == (31, 12)
    assert place_of("cap-s-1f-12", "cap") is None and place_of("cap-s-1f-", "cap-s") is None


def test_memory_keeps_the_newest_and_a_list_has_each_result_once(history: History) -> None:
    archive = Archive(history, "cap-s")
    for n in range(2400, 2400 + KEPT + 1):
        archive.add(live(result(n, result_id=f"cap-s-{SECOND_NS:x}-{n - 1500}")))
    assert archive.kept(f"cap-s-{SECOND_NS:x}-900") is None, "it gave way, and is in the store"
    one = listing(archive)
    pages = [one.go_on(0, LISTED) for _ in range(10)]
    found = list(itertools.chain.from_iterable(ids(page) for page, _ in pages))
    assert len(found) == len(set(found)) == 2400 + KEPT + 1
    assert found[0] == f"cap-s-{SECOND_NS:x}-{900 + KEPT}" and found[-1] == f"cap-s-{START_NS:x}-0"
    assert [over for _, over in pages].index(True) == len(found) // LISTED


def test_a_page_skips_what_comes_before_it(history: History) -> None:
    archive = Archive(history, "cap-s")
    wanted = Filter(0, (("InternalConfigurationId", "caps"),), version="1")
    every, over = listing(archive, wanted).go_on(0, 10_000)
    assert over and len(every) == 833 and {one.version for one in every} == {"1"}
    assert listing(archive, wanted).go_on(700, 50) == (every[700:750], False)
    assert listing(archive, wanted).go_on(800, 50) == (every[800:], True)
    assert listing(archive, wanted).go_on(900, 50) == ([], True)


def test_one_answer_looks_at_so_much_of_the_store_and_no_more() -> None:
    looked: list[int] = []

    def walk() -> Iterator[Record | None]:
        for number in range(1000 * PAGE):
            looked.append(number)
            yield None if number % 10 == 9 else live(result(number))

    one = Listing("cap-s", Filter(2, ()), walk())
    assert one.go_on(0, 10) == ([], False) and len(looked) == LOOKED_PAGES * 10
    assert one.go_on(0, 10) == ([], False) and len(looked) == 2 * LOOKED_PAGES * 10


def test_a_list_is_gone_on_with_where_it_stands_by_the_same_question_alone() -> None:
    handles, one = Handles(), Listing("cap-s", EVERYTHING, iter([]), next=25)
    handle = handles.keep(one, 0)
    assert handles.following("cap-s", EVERYTHING, 25) == (handle, one)
    assert handles.following("cap-s", EVERYTHING, 50) is None
    assert handles.following("other", EVERYTHING, 25) is None
    assert handles.following("cap-s", Filter(1, ()), 25) is None
    assert handles.release(handle) and not handles.release(handle)
    assert handles.following("cap-s", EVERYTHING, 25) is None


def test_a_list_outlives_the_handles_of_single_results() -> None:
    handles, one = Handles(), Listing("cap-s", EVERYTHING, iter([]), next=25)
    handle = handles.keep(one, 0)
    for _ in range(3 * HANDLES):
        handles.keep(None, 0)
    assert handles.following("cap-s", EVERYTHING, 25) == (handle, one)
    for number in range(HANDLES):
        handles.keep(Listing("cap-s", EVERYTHING, iter([]), next=number), 0)
    assert handles.following("cap-s", EVERYTHING, 25) is None and len(handles) == HANDLES


def test_a_session_holds_so_many_handles_and_none_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    handles = Handles()
    kept = [handles.keep(None, -1) for _ in range(HANDLES + 3)]
    assert len(handles) == HANDLES and len(set(kept)) == len(kept)
    assert not handles.release(kept[2]) and handles.release(kept[3])
    short = handles.keep(None, 1)
    clock = itertools.count(10**9)
    monkeypatch.setattr("edge.opcua_server.vision.listings.time.monotonic", lambda: float(next(clock)))
    handles.keep(None, 0)
    assert len(handles) == 1 and not handles.release(short)


# -- structures -------------------------------------------------------------------------------------------------------


def whole() -> dict[str, Any]:
    """A ResultDataType with all of its fields."""
    identity = {"Id": "x", "Version": "1", "Hash": b"\x01\x02", "HashAlgorithm": "SHA-256",
                "Description": ua.LocalizedText("a thing")}  # fmt: skip
    plain = {"Id": "y", "Description": ua.LocalizedText("of a kind")}
    held = fields_of(live(result(1)), simulated=True)
    return held | {
        "MeasId": plain, "PartId": plain, "ProductId": plain, "ExternalRecipeId": identity,
        "InternalRecipeId": identity, "ExternalConfigurationId": identity, "InternalConfigurationId": identity,
    }  # fmt: skip


def test_what_is_encoded_is_decoded_again() -> None:
    held = whole()
    assert set(held) == {one.name for one in members_of("ResultDataType")}
    assert decode("ResultDataType", encode("ResultDataType", held)) == held
    some = fields_of(live(result(1, part_id=None)), simulated=False)
    assert decode("ResultDataType", encode("ResultDataType", some)) == some


def test_asyncua_reads_what_we_encode_by_the_definition_alone() -> None:
    """The bytes by another hand: the fields of BinaryIdBaseDataType, mask first (OPC 10000-6, 5.2.7)."""
    assert encode("RecipeIdInternalDataType", {"Id": "r", "Hash": b"\x09"}) == (
        b"\x02\x00\x00\x00" + b"\x01\x00\x00\x00r" + b"\x01\x00\x00\x00\x09"
    )
    assert encode("JobIdDataType", {"Id": None}) == b"\xff\xff\xff\xff"


@pytest.mark.parametrize("kind", STRUCTURES)
def test_bytes_that_are_cut_or_too_many_are_no_structure(kind: str) -> None:
    body = encode(kind, whole() if kind == "ResultDataType" else {})
    for wrong in (body + b"\x00", *(body[:length] for length in range(len(body)))):
        with pytest.raises(Malformed):
            decode(kind, wrong)


def test_a_field_that_the_structure_has_not_and_an_endless_array_are_refused() -> None:
    with pytest.raises(Malformed, match="has not"):
        decode("MeasIdDataType", b"\x02\x00\x00\x00\x00\x00\x00\x00")
    body = encode("ResultDataType", whole() | {"ResultContent": []})
    with pytest.raises(Malformed, match="elements"):
        decode("ResultDataType", body[:-4] + b"\xff\xff\xff\x7f")


def test_arguments_are_read_and_the_first_wrong_one_is_named() -> None:
    members = (Member("A", "ResultIdDataType"), Member("B", "Handle"), Member("C", "BaseDataType", many=True))

    def sent(*values: ua.Variant) -> list[ua.Variant]:
        return [variant_from_binary(Buffer(variant_to_binary(one))) for one in values]

    good = sent(
        variant(members[0], {"Id": "x"}, INDEX), ua.Variant(7, T.UInt32),
        ua.Variant([ua.Variant(1.5, T.Double)], T.Variant),
    )  # fmt: skip
    read = read_arguments(members, good, INDEX)
    assert isinstance(read, list) and read[:2] == [{"Id": "x"}, 7] and [one.Value for one in read[2]] == [1.5]
    empty = read_arguments(members, sent(ua.Variant(), ua.Variant(), ua.Variant()), INDEX)
    assert empty == [{}, 0, []]
    null = sent(ua.Variant(ua.ExtensionObject(), T.ExtensionObject), *good[1:])
    assert isinstance(read_arguments(members, null, INDEX), list)
    assert read_arguments(members, good, INDEX + 1) == 0, "another namespace's structure"
    assert read_arguments(members, [good[0], ua.Variant(7, T.Int32), good[2]], INDEX) == 1
    assert read_arguments(members, [good[0], good[1], ua.Variant(1.5, T.Double)], INDEX) == 2
    cut = ua.Variant(ua.ExtensionObject(TypeId=good[0].Value.TypeId, Body=b"\x05\x00\x00\x00x"), T.ExtensionObject)
    assert read_arguments(members, [cut, *good[1:]], INDEX) == 0
