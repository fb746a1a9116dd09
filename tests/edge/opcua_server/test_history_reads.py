"""HistoryRead without a network: ranges, pages, continuation points, bounds, and what is refused, on a real store."""

import asyncio
import contextlib
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer, ServiceError
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_from_binary

from edge.history.points import Point
from edge.history.query import History, Trend
from edge.history.store import FILE, Store
from edge.opcua_server.address_space.nodes import string_id
from edge.opcua_server.history import reads as under_test
from edge.opcua_server.history.aggregates import CALCULATED, FUNCTIONS, INTERPOLATED, NO_DATA, PARTIAL, SUBNORMAL
from edge.opcua_server.history.encoding import encoder
from edge.opcua_server.history.reads import Continuations, HistoryReads
from edge.opcua_server.history.walks import Historized
from edge.opcua_server.limits import CONTINUATIONS, HISTORY_VALUES

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 10**9
OPEN = ua.get_win_epoch()
SPEED, COUNT, TEXT, LATE = (string_id(name, 2) for name in ("speed", "count", "text", "late"))
NODES = {
    "speed": Historized(Trend.tag("plc", "speed"), ua.VariantType.Double),
    "count": Historized(Trend.tag("plc", "count"), ua.VariantType.Int16),
    "text": Historized(Trend.tag("plc", "text"), ua.VariantType.String),
    "late": Historized(Trend.result("caps", "late"), ua.VariantType.Boolean),
}


def after(seconds: float) -> Any:
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "state" / FILE)) as opened:
        yield opened


@pytest.fixture
def reads(tmp_path: Path, store: Store) -> Iterator[HistoryReads]:
    known = {SPEED, COUNT, TEXT, LATE, string_id("other", 2)}
    with contextlib.closing(History(tmp_path)) as opened:
        yield HistoryReads(
            opened, NODES, {}, lambda node: node if node in known else None, lambda kind: frozenset({kind})
        )


def fill(store: Store, seconds: Any, name: str = "speed", **more: str) -> None:
    """One value a second of those given, equal to it."""
    store.add([
        Point(
            "reading,group=fast,source=plc", NOON_NS + round(one * 10**9), 1, round(one * 10**6),
            f"{name}={more.get('value', float(one))}",
        )
        for one in seconds
    ])  # fmt: skip


class Client:
    """Reads as a session does."""

    def __init__(self, reads: HistoryReads) -> None:
        self.reads, self.points = reads, Continuations()

    async def __call__(self, details: Any, *nodes: ua.NodeId, points: Any = (), release: bool = False) -> list[Any]:
        asked = [
            ua.HistoryReadValueId(NodeId=node, ContinuationPoint=points[n] if points else None)
            for n, node in enumerate(nodes)
        ]
        return await self.reads.read(
            ua.HistoryReadParameters(
                HistoryReadDetails=details, TimestampsToReturn=ua.TimestampsToReturn.Source,
                ReleaseContinuationPoints=release, NodesToRead=asked,
            ),
            self.points,
        )  # fmt: skip

    async def raw(self, start: Any, end: Any, most: int = 0, *, bounds: bool = False, node: ua.NodeId = SPEED) -> Any:
        """All pages: the values of each."""
        details = ua.ReadRawModifiedDetails(False, start, end, most, bounds)
        return await self.all(details, node)

    async def all(self, details: Any, node: ua.NodeId = SPEED) -> list[list[Any]]:
        (result,) = await self(details, node)
        found = [values(result)]
        while result.ContinuationPoint:
            (result,) = await self(details, node, points=[result.ContinuationPoint])
            found.append(values(result))
        return found


def values(result: Any) -> list[Any]:
    """Value, seconds after noon, and status of each, as asyncua reads the bytes."""
    assert result.StatusCode.is_good(), result.StatusCode.name
    data = struct_from_binary(ua.HistoryData, Buffer(bytes(result.HistoryData.Body)))
    return [
        (one.Value and one.Value.Value, (one.SourceTimestamp - NOON).total_seconds(),
         one.StatusCode.value if one.StatusCode else 0)
        for one in data.DataValues
    ]  # fmt: skip


def name(result: Any) -> str:
    return str(result.StatusCode.name)


@pytest.fixture
def client(reads: HistoryReads) -> Client:
    return Client(reads)


async def test_a_range_holds_its_start_and_not_its_end_either_way_round(store: Store, client: Client) -> None:
    fill(store, range(10))
    assert [one for one, *_ in (await client.raw(after(2), after(5)))[0]] == [2, 3, 4]
    assert [one for one, *_ in (await client.raw(after(5), after(2)))[0]] == [5, 4, 3]
    assert (await client.raw(after(3), after(3)))[0] == [(3.0, 3.0, 0)]
    assert [one for one, *_ in (await client.raw(after(7), OPEN, 2))[0]] == [7, 8]
    assert [one for one, *_ in (await client.raw(OPEN, after(4), 2))[0]] == [4, 3]


async def test_pages_follow_each_other_and_none_follows_the_last(store: Store, client: Client) -> None:
    fill(store, range(9))
    forward = await client.raw(after(0), after(99), 3)
    assert [[one for one, *_ in page] for page in forward] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    backward = await client.raw(after(99), after(-1), 4)
    assert [[one for one, *_ in page] for page in backward] == [[8, 7, 6, 5], [4, 3, 2, 1], [0]]
    assert len(client.points) == 0


async def test_a_long_range_comes_in_bounded_answers(store: Store, client: Client) -> None:
    count = 2 * HISTORY_VALUES + 500
    fill(store, [one / 100 for one in range(count)])
    found = await client.raw(after(0), after(10_000))
    assert [len(page) for page in found] == [HISTORY_VALUES, HISTORY_VALUES, 500]
    assert [one for page in found for one, *_ in page] == [one / 100 for one in range(count)]


async def test_bounds_are_the_values_around_or_say_that_there_are_none(store: Store, client: Client) -> None:
    fill(store, [1, 3, 5])
    ask = client.raw
    assert (await ask(after(2), after(4), bounds=True))[0] == [(1.0, 1.0, 0), (3.0, 3.0, 0), (5.0, 5.0, 0)]
    assert (await ask(after(4), after(2), bounds=True))[0] == [(5.0, 5.0, 0), (3.0, 3.0, 0), (1.0, 1.0, 0)]
    assert (await ask(after(1), after(5), bounds=True))[0] == [(1.0, 1.0, 0), (3.0, 3.0, 0), (5.0, 5.0, 0)]
    missing = StatusCodes.BadBoundNotFound
    assert (await ask(after(0), after(2), bounds=True))[0] == [(None, 0.0, missing), (1.0, 1.0, 0), (3.0, 3.0, 0)]
    assert (await ask(after(4), after(9), bounds=True))[0] == [(3.0, 3.0, 0), (5.0, 5.0, 0), (None, 9.0, missing)]


async def test_values_have_their_nodes_type_and_what_does_not_fit_says_so(store: Store, client: Client) -> None:
    fill(store, [1], "count", value="7.0")
    fill(store, [2], "count", value="70000.0")
    fill(store, [3], "text", value='"cap"')
    store.add([Point("result,pipeline=caps", NOON_NS, 1, 1, 'late=true,quality="uncertain"')])
    assert (await client.raw(after(0), after(9), node=COUNT))[0] == [
        (7, 1.0, 0), (None, 2.0, StatusCodes.BadTypeMismatch),
    ]  # fmt: skip
    assert (await client.raw(after(0), after(9), node=TEXT))[0] == [("cap", 3.0, 0)]
    assert (await client.raw(after(0), after(9), node=LATE))[0] == [(True, 0.0, StatusCodes.Uncertain)]


async def test_nothing_found_is_good_no_data(store: Store, client: Client) -> None:
    fill(store, [1])
    (result,) = await client(ua.ReadRawModifiedDetails(False, after(5), after(9), 0, False), SPEED)
    assert name(result) == "GoodNoData" and not values(result)


async def test_a_continuation_point_is_used_once_belongs_to_its_node_and_can_be_released(
    store: Store, client: Client
) -> None:
    fill(store, range(9))
    details = ua.ReadRawModifiedDetails(False, after(0), after(99), 2, False)
    (first,) = await client(details, SPEED)
    point = first.ContinuationPoint
    assert name((await client(details, COUNT, points=[point]))[0]) == "BadContinuationPointInvalid"
    (second,) = await client(details, SPEED, points=[point])
    assert [one for one, *_ in values(second)] == [2, 3]
    assert name((await client(details, SPEED, points=[point]))[0]) == "BadContinuationPointInvalid"
    assert name((await client(details, SPEED, points=[second.ContinuationPoint], release=True))[0]) == "Good"
    assert name((await client(details, SPEED, points=[second.ContinuationPoint]))[0]) == "BadContinuationPointInvalid"
    assert name((await Client(client.reads)(details, SPEED, points=[point]))[0]) == "BadContinuationPointInvalid"


async def test_a_session_keeps_so_many_points_and_none_for_long(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, range(9))
    details = ua.ReadRawModifiedDetails(False, after(0), after(99), 2, False)
    made = [(await client(details, SPEED))[0].ContinuationPoint for _ in range(CONTINUATIONS + 1)]
    assert len(client.points) == CONTINUATIONS
    assert name((await client(details, SPEED, points=made[:1]))[0]) == "BadContinuationPointInvalid"
    assert name((await client(details, SPEED, points=made[1:2]))[0]) == "Good"
    monkeypatch.setattr(under_test, "CONTINUATION_S", 0.0)
    (result,) = await client(details, SPEED)
    await asyncio.sleep(0.01)
    assert name((await client(details, SPEED, points=[result.ContinuationPoint]))[0]) == "BadContinuationPointInvalid"


def processed(function: str, start: float, end: float, step_ms: float, **more: Any) -> Any:
    kind = ua.NodeId(ua.Int32(FUNCTIONS[function].identifier))
    configuration = ua.AggregateConfiguration(**({"UseServerCapabilitiesDefaults": True} | more))
    return ua.ReadProcessedDetails(after(start), after(end), step_ms, [kind], configuration)


async def test_processed_values_of_tags_hold_until_the_next(store: Store, client: Client) -> None:
    fill(store, [0, 4, 8, 10, 20])
    (found,) = await client.all(processed("TimeAverage", 0, 20, 10_000))
    assert found == [((0 * 4 + 4 * 4 + 8 * 2) / 10, 0.0, CALCULATED), (10.0, 10.0, CALCULATED)]
    (found,) = await client.all(processed("Interpolative", 2, 12, 5_000))
    assert found == [(0.0, 2.0, INTERPOLATED), (4.0, 7.0, INTERPOLATED)]
    (found,) = await client.all(processed("Count", 0, 20, 10_000))
    assert found == [(3, 0.0, CALCULATED), (1, 10.0, CALCULATED)]
    (found,) = await client.all(processed("Average", 20, 0, 10_000))
    assert found == [(20.0, 20.0, CALCULATED), (22 / 3, 10.0, CALCULATED)]


async def test_a_device_that_was_away_is_not_taken_for_one_whose_value_held(store: Store, client: Client) -> None:
    fill(store, [0, 100])
    (found,) = await client.all(processed("TimeAverage", 0, 100, 50_000))
    assert [status for *_, status in found] == [SUBNORMAL | CALCULATED, SUBNORMAL | CALCULATED]
    (found,) = await client.all(processed("Interpolative", 10, 90, 40_000))
    assert [status for *_, status in found] == [INTERPOLATED, SUBNORMAL | INTERPOLATED]


async def test_a_long_processed_read_goes_on_where_it_paused(
    store: Store, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, [one / 10 for one in range(25_000)])
    monkeypatch.setattr(under_test, "HISTORY_PAGES", 5)
    found = await client.all(processed("Maximum", 0, 2_500, 1_000_000))
    assert len(found) > 4 and [] in found  # an answer without any, within an interval
    whole = [one for page in found for one in page]
    assert [round(value, 1) for value, *_ in whole] == [999.9, 1999.9, 2499.9]
    assert [bool(status & (PARTIAL ^ 0x400)) for *_, status in whole] == [False, False, True]


async def test_at_times_there_are_raw_held_and_unknown_values(store: Store, client: Client) -> None:
    fill(store, [1, 5])
    store.add([Point("reading,group=fast,source=plc", NOON_NS + 7 * 10**9, 1, 99, "speed.quality=0i")])
    store.add([Point("reading,group=fast,source=plc", NOON_NS + 9 * 10**9, 1, 100, "speed=9.0,speed.quality=2i")])
    times = [after(one) for one in (0, 1, 3, 8, 9, 12)]
    (found,) = await client.all(ua.ReadAtTimeDetails(times, False))
    assert found == [
        (None, 0.0, NO_DATA), (1.0, 1.0, 0), (1.0, 3.0, INTERPOLATED), (5.0, 8.0, SUBNORMAL | INTERPOLATED),
        (9.0, 9.0, 0), (9.0, 12.0, SUBNORMAL | INTERPOLATED),
    ]  # fmt: skip
    (found,) = await client.all(ua.ReadAtTimeDetails(times, True))
    assert found[3] == (None, 8.0, NO_DATA)


async def test_what_can_not_be_read_says_why(store: Store, client: Client) -> None:
    fill(store, [1])
    plain = ua.ReadRawModifiedDetails(False, after(0), after(9), 0, False)
    assert name((await client(plain, string_id("other", 2)))[0]) == "BadHistoryOperationUnsupported"
    assert name((await client(plain, string_id("none", 2)))[0]) == "BadNodeIdUnknown"
    modified = ua.ReadRawModifiedDetails(True, after(0), after(9), 0, False)
    assert name((await client(modified, SPEED))[0]) == "BadHistoryOperationUnsupported"
    lone = ua.ReadRawModifiedDetails(False, after(0), OPEN, 0, False)
    assert name((await client(lone, SPEED))[0]) == "BadHistoryOperationInvalid"
    assert name((await client(processed("Average", 0, 9, 1000), TEXT))[0]) == "BadAggregateInvalidInputs"
    shares = {"UseServerCapabilitiesDefaults": False, "PercentDataBad": 10, "PercentDataGood": 10}
    assert name((await client(processed("Average", 0, 9, 1000, **shares), SPEED))[0]) == (
        "BadAggregateConfigurationRejected"
    )
    unknown = processed("Average", 0, 9, 1000)
    unknown.AggregateType = [ua.NodeId(ua.Int32(2341 + 4))]
    assert name((await client(unknown, SPEED))[0]) == "BadAggregateNotSupported"
    with pytest.raises(ServiceError):
        await client(processed("Average", 0, 9, 1000), SPEED, COUNT)


async def test_a_store_that_is_not_there_is_a_resource_that_is_unavailable(tmp_path: Path) -> None:
    reads = HistoryReads(History(tmp_path / "none"), NODES, {}, lambda node: node, lambda kind: frozenset({kind}))
    (result,) = await Client(reads)(ua.ReadRawModifiedDetails(False, after(0), after(9), 0, False), SPEED)
    assert name(result) == "BadResourceUnavailable"


def test_bytes_are_those_of_the_standard() -> None:
    encode = encoder(ua.VariantType.Double)
    assert encode(0, 1.5, 0) == bytes([5, 11]) + struct.pack("<dq", 1.5, 116_444_736_000_000_000)
