"""node-opcua reads history from the real process, which reads it from a real store."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bus.mosquitto import free_port
from edge.history.points import Point
from edge.history.store import FILE, Store
from edge.opcua_server.access.trust import CLIENTS, Folders
from edge.opcua_server.history.aggregates import FUNCTIONS
from edge.opcua_server.limits import HISTORY_VALUES
from edge.security.passwords import hash_password
from schemas.messages import State
from schemas.topics import STATUS
from tests.device import LINE, Device
from tests.node_opcua import NodeOpcua, Refused
from tests.opcua_certificates import URI, party

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
UP_S = 200.0
START_MS = 1_772_366_400_000  # 2026-03-01 12:00:00 UTC
MANY = 120_000  # values, ten a second
SPEED, SCORE = "Sources/plc/Line.Speed", "Pipelines/caps/Score"
TAGS = "name,address,type,access,group,unit,min,max\nLine.Speed,hr:0,float32,r,fast,1/min,0,1200\n"
SETTINGS = """
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
users = "users.json"
anonymous = true
roles = {{ engineer = "engineer" }}
"""


@dataclass
class Server:
    """A device whose opcua process runs."""

    endpoint: str
    files: dict[str, str]
    node: NodeOpcua
    pid: int
    root: str = "ns=2;s=s/l/n"

    def at(self, path: str) -> str:
        return f"{self.root}/{path}"

    def memory_mb(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096 / 1e6

    async def read(self, kind: str, *paths: str, start: float = 0.0, end: float | None = None, **more: Any) -> Any:
        """One HistoryRead; times in seconds after START_MS."""
        span = {"startMs": START_MS + start * 1000, "endMs": None if end is None else START_MS + end * 1000}
        nodes = [path if path.startswith("i=") else self.at(path) for path in paths]
        return await self.node("historyRead", session="a", kind=kind, nodes=nodes, **(span | more))


def fill(home: Path) -> None:
    place = "line=l,node=n"
    readings = (
        Point(
            f"reading,group=fast,{place},site=s,source=plc",
            START_MS * 10**6 + n * 10**8,
            1,
            n,
            f"Line.Speed={n % 100}.5",
        )
        for n in range(MANY)
    )
    results = (
        Point(
            f"result,{place},model=caps,pipeline=caps,site=s,version=3",
            START_MS * 10**6 + n * 10**9,
            1,
            n,
            f'result_id="caps-1-{n}",part_id={n}i,outcome="result",verdict="{"nok" if n % 5 == 0 else "ok"}",'
            f'label="cap",score=0.{n:02},quality="good",late=false,total_ms=1.5',
        )
        for n in range(50)
    )
    happened = [("connect-plc", "plc_lost"), ("runtime-safety", "selftest")] * 4
    events = (
        Point(
            f"event,code={code},{place},origin={origin},site=s", START_MS * 10**6 + n * 10**9, 1, n,
            f'key="{code}",phase="{"end" if n % 2 else "new"}",severity="alarm",text="{code} {n}",arg_n={n}i',
        )
        for n, (origin, code) in enumerate(happened)
    )  # fmt: skip
    audits = (
        Point(
            f"event,code={code},{place},origin={origin},site=s", START_MS * 10**6 + (100 + n) * 10**9, 1, 100 + n,
            f'key="{n}",phase="new",severity="info",text="{code}",{who}',
        )
        for n, (origin, code, who) in enumerate([
            ("opcua", "alarm_handled", 'arg_by="anna"'), ("connect-plc", "write_refused", 'arg_on_behalf="bert"'),
            ("connect-plc", "plc_lost", 'arg_source="plc"'), ("opcua", "method_called", 'arg_by="anna"'),
        ])
    )  # fmt: skip
    with contextlib.closing(Store(home / "state" / FILE)) as store:
        for some in (readings, results, events, audits):
            store.add(some)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, node_module: Callable[[str], Path]) -> Iterator[Server]:
    modules = node_module("node-opcua-client").parent
    folder = tmp_path_factory.mktemp("history")
    device = Device(folder, ("opcua", "agent"))
    port = free_port()
    device.write("tags/plc.csv", TAGS)
    device.write(
        "users.json", json.dumps({"observer": hash_password("only looks on"), "engineer": hash_password("knows why")})
    )
    device.add("device.toml", LINE + SETTINGS.format(port=port))
    fill(device.home)
    mine = party("PlantEdgeTest", 21)
    lists = Folders(device.home / CLIENTS)
    lists.make()
    mine.put(lists.trusted)
    node = NodeOpcua(modules, folder)
    try:
        with device.running():
            child = device.start("opcua")
            asyncio.run(_until_up(device))
            yield Server(f"opc.tcp://127.0.0.1:{port}", mine.files(folder, "client"), node, child.pid)
    finally:
        node.stop()


async def _until_up(device: Device) -> None:
    async with device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda status: status.process == "opcua" and status.state is State.IDLE, UP_S)


@pytest.fixture(autouse=True)
async def _entered(server: Server) -> AsyncIterator[None]:
    """A session `a` of the observer; whatever a test opened is closed before the next."""
    await server.node("connect", client="a", endpoint=server.endpoint, uri=URI, **server.files)
    await server.node("session", client="a", session="a", user="observer", password="only looks on")
    yield
    await server.node("reset")


async def test_nodes_say_that_they_have_a_history_and_the_server_how_it_is_read(server: Server) -> None:
    speed = server.at(SPEED)
    level, historizing = [
        (await server.node("read", session="a", nodes=[speed], attribute=one))[0]["value"]
        for one in ("UserAccessLevel", "Historizing")
    ]
    assert level & 4 and historizing is True
    notifier = await server.node("read", session="a", nodes=["i=2253", server.root], attribute="EventNotifier")
    assert [one["value"] for one in notifier] == [5, 5]
    stepped, data, events, most = await server.node("read", session="a", nodes=[
        "i=32644", "i=11193", "i=11242", "i=11273",
    ])  # fmt: skip
    assert [one["value"] for one in (stepped, data, events, most)] == [True, True, True, HISTORY_VALUES]
    offered = await server.node("browse", session="a", node="i=11201")
    assert {one["name"] for one in offered} == {*FUNCTIONS, "FolderType"}
    below = await server.node("browse", session="a", node=speed)
    assert "ns=0;i=32637" in [one["node"] for one in below]


async def test_raw_values_come_in_pages_both_ways_and_with_bounds(server: Server) -> None:
    pages, point = [], None
    for _ in range(3):
        (found,) = await server.read("raw", SPEED, end=2.0, most=8, points=point and [point])
        pages.append([one["value"] for one in found["values"]])
        point = found["point"]
    assert pages == [[n + 0.5 for n in range(from_, to)] for from_, to in ((0, 8), (8, 16), (16, 20))]
    assert point is None
    (found,) = await server.read("raw", SPEED, start=2.0, end=1.5)
    assert [one["value"] for one in found["values"]] == [20.5, 19.5, 18.5, 17.5, 16.5]
    assert found["values"][0]["sourceMs"] == START_MS + 2_000 and found["values"][0]["status"] == "Good"
    (found,) = await server.read("raw", SPEED, start=-5.0, end=0.15, bounds=True)
    assert [(one["value"], one["status"]) for one in found["values"]] == [
        (None, "BadBoundNotFound"), (0.5, "Good"), (1.5, "Good"), (2.5, "Good"),
    ]  # fmt: skip
    first, second = await server.read("raw", SPEED, SCORE, end=3.0, most=2)
    assert [one["value"] for one in second["values"]] == [0.0, 0.01] and len(first["values"]) == 2
    released = await server.read("raw", SPEED, SCORE, end=3.0, points=[first["point"], second["point"]], release=True)
    assert [one["status"] for one in released] == ["Good", "Good"]
    (gone,) = await server.read("raw", SPEED, end=3.0, points=[first["point"]])
    assert gone["status"] == "BadContinuationPointInvalid"


async def test_a_hundred_thousand_values_pass_without_staying_in_memory(server: Server) -> None:
    await server.read("raw", SPEED, end=20_000.0)
    before, count, point = server.memory_mb(), 0, None
    while True:
        (found,) = await server.read("raw", SPEED, end=20_000.0, points=point and [point])
        assert len(found["values"]) <= HISTORY_VALUES
        count, point = count + len(found["values"]), found["point"]
        if point is None:
            break
    assert count == MANY
    assert server.memory_mb() - before < 30


async def test_aggregates_are_those_of_the_intervals(server: Server) -> None:
    asked = {name: f"i={function.identifier}" for name, function in FUNCTIONS.items()}
    found = await server.read("processed", *[SPEED] * len(asked), end=20.0, stepMs=10_000, aggregates=[*asked.values()])
    values = {name: [one["value"] for one in result["values"]] for name, result in zip(asked, found, strict=True)}
    assert values == {
        "Interpolative": [0.5, 0.5], "Average": [50.0, 50.0], "TimeAverage": [50.0, 50.0], "Minimum": [0.5, 0.5],
        "Maximum": [99.5, 99.5], "Count": [100, 100], "Start": [0.5, 0.5], "End": [99.5, 99.5],
    }  # fmt: skip
    codes = [one["code"] & 0x41F for one in found[1]["values"]]
    assert codes == [0x401, 0x401], "calculated"
    (whole,) = await server.read("processed", SPEED, end=MANY / 10, stepMs=0, aggregates=[asked["Average"]])
    while whole["point"]:
        assert not whole["values"], "it goes on within the one interval"
        (whole,) = await server.read("processed", SPEED, points=[whole["point"]], end=MANY / 10, stepMs=0,
                                     aggregates=[asked["Average"]])  # fmt: skip
    assert [one["value"] for one in whole["values"]] == [50.0]
    with pytest.raises(Refused, match="BadAggregateListMismatch"):
        await server.read("processed", SPEED, end=20.0, stepMs=10_000, aggregates=[])


async def test_values_at_times_are_raw_or_interpolated(server: Server) -> None:
    times = [START_MS + one for one in (200, 250, -5_000)]
    (found,) = await server.read("at", SPEED, timesMs=times)
    assert [one["value"] for one in found["values"]] == [2.5, 2.5, None]
    assert [one["code"] for one in found["values"]] == [0, 0x402, 0x809B0000]


async def test_events_of_the_device_and_results_of_a_pipeline_are_told_of_the_past(server: Server) -> None:
    select = ["SourceName", "Message", "Severity", "2:Code", "2:Arguments", "2:NoSuchField"]
    ask: dict[str, Any] = {"select": select, "end": 60.0}
    (found,) = await server.read("events", "i=2253", **ask)
    assert found["status"] == "Good" and len(found["events"]) == 8
    assert found["events"][0] == ["n", "plc_lost 0", 800, "plc_lost", '{"n": 0}', None]
    (found,) = await server.read("events", "i=2253", **ask, like=["Message", "selftest%"])
    assert [one[1] for one in found["events"]] == ["selftest 1", "selftest 3", "selftest 5", "selftest 7"]
    (found,) = await server.read("events", "i=2253", **ask, ofType="i=2130", most=5)  # SystemEventType: a supertype
    assert len(found["events"]) == 5 and found["point"]
    (rest,) = await server.read("events", "i=2253", **ask, ofType="i=2130", most=5, points=[found["point"]])
    assert len(rest["events"]) == 3 and rest["point"] is None
    (none,) = await server.read("events", "i=2253", **ask, ofType="i=2041000")
    assert none["status"] == "GoodNoData"
    ask["select"] = ["2:ResultId", "2:Verdict", "2:Score", "2:PartId", "Severity"]
    (found,) = await server.read("events", "Pipelines/caps", **ask)
    assert len(found["events"]) == 50
    assert found["events"][5] == ["caps-1-5", "nok", 0.05, 5, 300]


async def test_who_did_what_is_told_of_the_past_to_auditors_alone(server: Server) -> None:
    ask: dict[str, Any] = {"select": ["2:Code", "ClientUserId", "Status"], "start": 100.0, "end": 200.0}
    (found,) = await server.read("events", "i=2253", **ask)
    assert found["events"] == [["plc_lost", None, None]]
    await server.node("connect", client="b", endpoint=server.endpoint, uri=URI, **server.files)
    await server.node("session", client="b", session="a", user="engineer", password="knows why")
    (found,) = await server.read("events", "i=2253", **ask)
    assert found["events"] == [
        ["alarm_handled", "anna", True], ["write_refused", "bert", False], ["plc_lost", None, None],
        ["method_called", "anna", True],
    ]  # fmt: skip
    (only,) = await server.read("events", "i=2253", **ask, ofType="i=2052")  # AuditEventType
    assert len(only["events"]) == 3


async def test_who_may_not_read_history_is_told_so(server: Server) -> None:
    await server.node("connect", client="b", endpoint=server.endpoint, uri=URI, **server.files)
    await server.node("session", client="b", session="a")
    (found,) = await server.read("raw", SPEED, end=2.0)
    assert found["status"] == "BadUserAccessDenied"
