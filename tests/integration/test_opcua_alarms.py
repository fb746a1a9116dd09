"""node-opcua hears events and handles alarms of the real process, which what comes over the real bus raises."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bus.mosquitto import free_port
from bus.typed import Publisher
from edge.opcua_server.access.trust import CLIENTS, Folders
from edge.security.passwords import hash_password
from schemas.messages import (
    LINK_LOST,
    Drift,
    Event,
    Insight,
    Latency,
    Outcome,
    Phase,
    Quality,
    Reading,
    Result,
    Sample,
    Severity,
    State,
    Verdict,
)
from schemas.topics import EVENT, INSIGHT, READING, RESULT, STATUS
from tests.device import LINE, Device, User
from tests.node_opcua import NodeOpcua
from tests.opcua_certificates import URI, party

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
UP_S = 200.0
TAGS = "name,address,type,access,group,unit,min,max\nLine.Speed,hr:0,float32,r,fast,1/min,0,1200\n"
SETTINGS = """
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
users = "users.json"
roles = {{ operator = "operator", engineer = "engineer" }}
tick_ms = 20
"""
LOST, DEGRADED, LATE = "Sources/plc/PlcLost", "Pipelines/caps/ModelDegraded", "Pipelines/caps/DeadlineMissed"
STATE = ("ActiveState.Id", "AckedState.Id", "ConfirmedState.Id", "Retain")
SELECT = ["EventId", "EventType", "SourceName", "Message", "Severity", "ConditionName", *STATE, "Comment",
          "ClientUserId", "EnabledState.Id", "ShelvingState.CurrentState"]  # fmt: skip
SERVER, REFRESH = "i=2253", {"object": "i=2782", "method": "i=3875"}
REFRESH_START, REFRESH_END = "ns=0;i=2787", "ns=0;i=2788"


@dataclass
class Server:
    """A device whose opcua process runs, a session of its operator, and who speaks on its bus."""

    device: Device
    endpoint: str
    files: dict[str, str]
    node: NodeOpcua
    child: subprocess.Popen[bytes]
    root: str = "ns=2;s=s/l/n"

    def at(self, path: str) -> str:
        return f"{self.root}/{path}"

    def alarm(self, path: str) -> str:
        return self.at(f"Alarms/{path}")

    def type(self, name: str) -> str:
        return f"ns=2;s=Types/{name}"

    async def enter(self, name: str, user: str, password: str) -> None:
        await self.node("connect", client=name, endpoint=self.endpoint, uri=URI, **self.files)
        await self.node("session", client=name, session=name, user=user, password=password)

    async def kill(self) -> None:
        """Kill the server; the sessions are gone with it."""
        self.child.kill()
        await asyncio.to_thread(self.child.wait, 5)
        await self.node("reset")

    async def start_again(self) -> None:
        self.child = self.device.start("opcua")
        await _until_up(self.device, self.child.pid)
        await self.enter("operator", "operator", "correct horse")
        await self.node("subscribe", session="operator", subscription="s")

    async def refreshed(self) -> dict[str, dict[str, Any]]:
        """What the server says is retained, by the alarms' names."""
        await self.watch("refresh", SERVER)
        number = (await self.node("numbers", subscription="s"))["id"]
        assert await self.node("call", session="operator", **REFRESH, arguments=[["UInt32", number]]) == "Good"
        found: list[Any] = []
        end = time.monotonic() + 15
        while not any(one[1] == REFRESH_END for one in found):
            assert time.monotonic() < end, found
            await asyncio.sleep(0.1)
            found += await self.node("seen", subscription="s", item="refresh")
        told = [dict(zip([*SELECT, "Condition"], one, strict=True)) for one in found]
        return {one["ConditionName"]: one for one in told if one["ConditionName"]}

    async def watch(self, item: str, node: str, **more: Any) -> Any:
        return await self.node("watch", subscription="s", item=item, node=node, select=SELECT, condition=True, **more)

    async def next(self, item: str, count: int = 1) -> list[dict[str, Any]]:
        """Exactly so many events."""
        found: list[Any] = []
        end = time.monotonic() + 15
        while len(found) < count:
            assert time.monotonic() < end, found
            await asyncio.sleep(0.1)
            found += await self.node("seen", subscription="s", item=item)
        assert len(found) == count, found
        return [dict(zip([*SELECT, "Condition"], one, strict=True)) for one in found]

    async def call(self, path: str, method: int, *arguments: Any, session: str = "operator") -> str:
        asked = {"object": self.alarm(path), "method": f"i={method}", "arguments": arguments}
        return str(await self.node("call", session=session, **asked))

    async def handle(self, method: str, path: str, event: Any, comment: str) -> str:
        asked = {"condition": self.alarm(path), "event": bytes(event).hex(), "comment": comment}
        return str(await self.node("handle", session="operator", method=method, **asked))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, node_module: Callable[[str], Path]) -> Iterator[Server]:
    modules = node_module("node-opcua-client").parent
    folder = tmp_path_factory.mktemp("alarms")
    device = Device(folder, ("opcua", "connect-plc", "runtime-safety", "historian", "agent"))
    port = free_port()
    device.write("tags/plc.csv", TAGS)
    people = {
        "operator": hash_password("correct horse"), "observer": hash_password("only looks on"),
        "engineer": hash_password("knows why"),
    }  # fmt: skip
    device.write("users.json", json.dumps(people))
    device.add("device.toml", LINE + SETTINGS.format(port=port))
    mine = party("PlantEdgeTest", 21)
    lists = Folders(device.home / CLIENTS)
    lists.make()
    mine.put(lists.trusted)
    node = NodeOpcua(modules, folder)
    try:
        with device.running():
            child = device.start("opcua")
            asyncio.run(_until_up(device, child.pid))
            yield Server(device, f"opc.tcp://127.0.0.1:{port}", mine.files(folder, "client"), node, child)
    finally:
        node.stop()


async def _until_up(device: Device, pid: int) -> None:
    async with device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda status: status.pid == pid and status.state in (State.IDLE, State.ACTIVE), UP_S)


@pytest.fixture(autouse=True)
async def _entered(server: Server) -> AsyncIterator[None]:
    await server.enter("operator", "operator", "correct horse")
    await server.node("subscribe", session="operator", subscription="s")
    yield
    await server.node("reset")


@pytest.fixture
async def plc(server: Server) -> AsyncIterator[User]:
    async with server.device.user("connect-plc") as user:
        yield user


@pytest.fixture
async def runtime(server: Server) -> AsyncIterator[User]:
    async with server.device.user("runtime-safety") as user:
        yield user


def reach(server: Server, plc: User, *, lost: bool) -> None:
    sample = Sample(value=None, quality=Quality.BAD, reason=f"{LINK_LOST}: no answer") if lost else Sample(value=1.5)
    readings = Publisher(plc.bus, READING, Reading, server.device.place, source="plc")
    tags = {"Line.Speed": sample}
    readings.send(
        Reading(source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=time.time_ns(), tags=tags)
    )


async def window(server: Server, runtime: User, *, late: int = 0, level: str = "ok") -> None:
    insight = Insight(
        pipeline="caps", model="caps", version="3", window_s=10.0, inputs=8, results=8, late=late, dropped={}, gaps=0,
        verdicts={"ok": 6, "nok": 2}, p50_ms=1, p99_ms=2, max_ms=3, score_mean=0.9, time_ns=time.time_ns(),
        drift=Drift(level=level),
    )  # fmt: skip
    await Publisher(runtime.bus, INSIGHT, Insight, server.device.place, pipeline="caps").deliver(insight)


def states(event: dict[str, Any]) -> list[bool]:
    """Active, acked, confirmed, retain."""
    return [event[name] for name in STATE]


async def test_an_alarm_lives_from_active_to_confirmed_and_who_acknowledged_is_told_on_the_bus(
    server: Server, plc: User
) -> None:
    reach(server, plc, lost=False)
    await server.watch("all", SERVER)
    await server.watch("source", server.at("Sources/plc"))
    await server.watch("other", server.at("Pipelines/caps"))
    reach(server, plc, lost=True)
    (raised,), (same,) = await server.next("all"), await server.next("source")
    assert same == raised and states(raised) == [True, False, True, True]
    assert raised["Message"] == "plc: link lost: no answer" and raised["SourceName"] == "plc"
    assert (raised["ConditionName"], raised["EventType"], raised["Severity"]) == ("PlcLost", "ns=0;i=10637", 800)
    assert raised["Condition"] == server.alarm(LOST)
    reach(server, plc, lost=True)  # again: nothing new
    async with server.device.user("historian") as historian:
        told = await historian.hear(EVENT)
        assert await server.handle("Acknowledge", LOST, raised["EventId"], "on my way") == "Good"
        audit = await told.until(lambda event: event.code == "alarm_handled")
    assert audit.args == {
        "alarm": f"s/l/n/Alarms/{LOST}", "action": "acknowledge", "by": "operator", "comment": "on my way",
    }  # fmt: skip
    (state,) = await server.next("all")
    assert states(state) == [True, True, False, True]
    assert (state["Comment"], state["ClientUserId"]) == ("on my way", "operator")
    assert state["EventId"] != raised["EventId"]
    assert await server.handle("Acknowledge", LOST, state["EventId"], "") == "BadConditionBranchAlreadyAcked"
    assert await server.handle("Confirm", LOST, b"never told", "") == "BadEventIdUnknown"
    reach(server, plc, lost=False)
    (over,) = await server.next("all")
    assert states(over) == [False, True, False, True] and over["Message"] == "plc: the link is back"
    assert await server.handle("Confirm", LOST, over["EventId"], "cable replaced") == "Good"
    (done,) = await server.next("all")
    assert states(done) == [False, True, True, False] and done["Comment"] == "cable replaced"
    assert await server.handle("AddComment", LOST, done["EventId"], "and tested") == "Good"
    paths = [f"{server.alarm(LOST)}/{name}" for name in ("ActiveState/Id", "AckedState", "Comment", "Retain")]
    await asyncio.sleep(0.3)
    found = await server.node("read", session="operator", nodes=paths)
    assert [one["value"] for one in found] == [False, "Acknowledged", "and tested", False]
    assert not await server.node("seen", subscription="s", item="other")


async def test_a_refresh_tells_what_is_retained_between_its_two_events(
    server: Server, plc: User, runtime: User
) -> None:
    reach(server, plc, lost=True)
    await window(server, runtime, late=2, level="model_degraded")
    await asyncio.sleep(0.5)
    item = await server.watch("all", SERVER)
    await server.watch("pipeline", server.at("Pipelines/caps"))
    assert not await server.node("seen", subscription="s", item="all")
    made = await server.node("subscribe", session="operator", subscription="other")
    number = (await server.node("numbers", subscription="s"))["id"]
    assert await server.node("call", session="operator", **REFRESH, arguments=[["UInt32", number]]) == "Good"
    first, *between, last = await server.next("all", 5)
    assert (first["EventType"], last["EventType"]) == (REFRESH_START, REFRESH_END)
    assert {one["ConditionName"] for one in between} == {"PlcLost", "ModelDegraded", "DeadlineMissed"}
    assert all(one["Retain"] and one["ActiveState.Id"] for one in between)
    assert len(await server.next("pipeline", 4)) == 4
    one = {"object": "i=2782", "method": "i=12912"}
    again = await server.node("call", session="operator", **one, arguments=[["UInt32", number], ["UInt32", item["id"]]])
    assert again == "Good" and len(await server.next("all", 5)) == 5
    assert not await server.node("seen", subscription="s", item="pipeline")
    wrong = await server.node("call", session="operator", **one, arguments=[["UInt32", number], ["UInt32", 99_999]])
    assert wrong == "BadMonitoredItemIdInvalid"
    await server.enter("observer", "observer", "only looks on")
    foreign = await server.node("call", session="observer", **REFRESH, arguments=[["UInt32", made["id"]]])
    assert foreign == "BadSubscriptionIdInvalid"
    reach(server, plc, lost=False)
    await window(server, runtime)
    await server.next("all", 3)


async def test_the_limit_alarm_has_its_limit_and_its_state(server: Server, runtime: User) -> None:
    await window(server, runtime)
    await server.watch("all", SERVER, ofType="i=9482")
    await window(server, runtime, level="model_degraded")
    (raised,) = await server.next("all")
    assert raised["EventType"] == "ns=0;i=9482" and states(raised)[0] is True
    await asyncio.sleep(0.3)
    names = ("HighLimit", "LimitState/CurrentState", "InputNode")
    found = await server.node("read", session="operator", nodes=[f"{server.alarm(DEGRADED)}/{one}" for one in names])
    assert [one["value"] for one in found] == [1.0, "High", server.at("Pipelines/caps/DriftScore")]
    await window(server, runtime)
    assert states((await server.next("all"))[0])[0] is False


async def test_a_disabled_alarm_is_silent_and_an_enabled_one_tells_what_still_is(server: Server, runtime: User) -> None:
    await window(server, runtime)
    await server.watch("all", SERVER, ofType="i=10637")
    assert await server.call(LATE, 9028) == "Good"
    (off,) = await server.next("all")
    assert off["EnabledState.Id"] is False and off["Retain"] is False
    assert await server.call(LATE, 9028) == "BadConditionAlreadyDisabled"
    await window(server, runtime, late=3)
    await asyncio.sleep(0.5)
    assert await server.call(LATE, 9027) == "Good"
    on, raised = await server.next("all", 2)
    assert states(on)[0] is False and states(raised) == [True, False, True, True]
    await window(server, runtime)
    await server.next("all")


async def test_a_shelved_alarm_says_so_and_comes_back_by_itself(server: Server, runtime: User) -> None:
    await window(server, runtime)
    await server.watch("all", SERVER, ofType="i=10637")
    shelving = f"{LATE}/ShelvingState"
    assert await server.call(shelving, 2949, ["Double", 1500.0]) == "Good"
    first = await server.next("all")
    assert first[0]["ShelvingState.CurrentState"] == "Timed Shelved"
    assert await server.call(shelving, 2949, ["Double", 10.0]) == "BadConditionAlreadyShelved"
    assert (await server.next("all"))[0]["ShelvingState.CurrentState"] == "Unshelved"
    assert await server.call(shelving, 2947) == "BadConditionNotShelved"
    assert await server.call(shelving, 2949, ["Double", 1e12]) == "BadShelvingTimeOutOfRange"
    assert await server.call(shelving, 2949) == "BadArgumentsMissing"


async def test_an_observer_hears_and_refreshes_but_does_not_acknowledge(server: Server) -> None:
    await server.enter("observer", "observer", "only looks on")
    found = await server.call(LOST, 9111, ["ByteString", "00"], ["LocalizedText", "x"], session="observer")
    assert found == "BadUserAccessDenied"
    await server.node("subscribe", session="observer", subscription="o")
    await server.node("watch", subscription="o", item="o", node=SERVER, select=SELECT)
    number = (await server.node("numbers", subscription="o"))["id"]
    assert await server.node("call", session="observer", **REFRESH, arguments=[["UInt32", number]]) == "Good"


async def test_who_did_what_is_told_to_auditors_alone(server: Server, plc: User) -> None:
    select = ["EventType", "ClientUserId", "Status", "2:Code"]
    await server.enter("engineer", "engineer", "knows why")
    watchers = {"engineer": "e", "operator": "o"}
    for session, name in watchers.items():
        await server.node("subscribe", session=session, subscription=name)
        await server.node("watch", subscription=name, item=name, node=SERVER, select=select)
    events = Publisher(plc.bus, EVENT, Event, server.device.place, origin="connect-plc", kind="write_refused")
    for code, args in (("write_refused", {"origin": "opcua", "on_behalf": "operator"}), ("note", {})):
        told = Event(key=code, origin="connect-plc", code=code, phase=Phase.NEW, severity=Severity.INFO, text="",
                     args=args, time_ns=time.time_ns())  # fmt: skip
        await events.deliver(told)
    assert await server.call(LATE, 9028) == "Good" and await server.call(LATE, 9027) == "Good"
    audit = [server.type("DeviceAuditEventType"), "operator"]
    expected = [[*audit, False, "write_refused"], *[[*audit, True, "alarm_handled"]] * 2]
    heard: dict[str, list[Any]] = {"e": [], "o": []}
    end = time.monotonic() + 15
    while len(heard["e"]) < 6 or len(heard["o"]) < 3:  # besides: the note, and the alarm's two states
        assert time.monotonic() < end, heard
        await asyncio.sleep(0.1)
        for name, found in heard.items():
            found += await server.node("seen", subscription=name, item=name)
    assert [one for one in heard["e"] if one[3] not in (None, "note")] == expected
    assert [one[3] for one in heard["o"]] == ["note", None, None]


async def test_a_session_that_becomes_an_observers_is_not_told_what_its_engineer_might_hear(server: Server) -> None:
    await server.enter("engineer", "engineer", "knows why")
    await server.node("subscribe", session="engineer", subscription="slow", publishingMs=3000)
    await server.node("watch", subscription="slow", item="slow", node=SERVER, select=["2:Code", "ConditionName"])
    await asyncio.sleep(0.5)  # its first message is on its way, the next one comes seconds later
    assert await server.call(LATE, 9028) == "Good"
    who = {"client": "engineer", "session": "engineer", "user": "observer", "password": "only looks on"}
    assert await server.node("become", **who) == "Good"
    assert await server.call(LATE, 9027) == "Good"
    found: list[Any] = []
    end = time.monotonic() + 15
    while not found:
        assert time.monotonic() < end
        await asyncio.sleep(0.2)
        found = await server.node("seen", subscription="slow", item="slow")
    assert found == [[None, "DeadlineMissed"]], "what came since, without who did it"


async def test_results_and_the_devices_events_are_told_to_those_who_ask_for_them(
    server: Server, plc: User, runtime: User
) -> None:
    place = server.device.place
    select = ["SourceName", "Message", "Severity", "2:Verdict", "2:Score", "2:PartId", "2:Code"]
    kinds = {"result": "ResultEventType", "device": "DeviceEventType"}
    for item, kind in kinds.items():
        await server.node("watch", subscription="s", item=item, node=SERVER, select=select,
                          ofType=server.type(kind))  # fmt: skip
    await server.node(
        "watch", subscription="s", item="like", node=server.root, select=select, like=["Message", "c_ps%"]
    )
    result = Result(
        result_id="caps-1-7", pipeline="caps", input="cam1", source_epoch=1, source_seq=7, part_id=7,
        outcome=Outcome.RESULT, verdict=Verdict.NOK, label="scratch", score=0.93, scores={}, quality=Quality.GOOD,
        reason="", latency=Latency(ingest=0.1, queue=0.1, preprocess=0, infer=0.2, total=0.75), deadline_ms=50,
        model="caps", version="3", digest="ab" * 32, time_ns=time.time_ns(),
    )  # fmt: skip
    await Publisher(runtime.bus, RESULT, Result, place, pipeline="caps").deliver(result)
    event = Event(
        key="k", origin="connect-plc", code="plc_lost", phase=Phase.NEW, severity=Severity.ALARM, text="plc: gone",
        args={"source": "plc"}, time_ns=time.time_ns(),
    )  # fmt: skip
    await Publisher(plc.bus, EVENT, Event, place, origin="connect-plc", kind="plc_lost").deliver(event)
    expected: dict[str, list[list[Any]]] = {
        "result": [["caps", "caps: nok scratch", 300, "nok", 0.93, 7, None]],
        "device": [["n", "plc: gone", 800, None, None, None, "plc_lost"]],
    }
    as_vision = ["caps", "caps: nok scratch", 100, None, None, None, None]  # its PartId is the other standard's
    expected["like"] = [*expected["result"], as_vision]
    for item, events in expected.items():
        found: list[Any] = []
        while len(found) < len(events):
            await asyncio.sleep(0.1)
            found += await server.node("seen", subscription="s", item=item)
        assert found == events


async def test_lost_events_are_told_and_a_wrong_filter_is_refused(server: Server, plc: User) -> None:
    await server.node("subscribe", session="operator", subscription="slow", publishingMs=3000)
    asked = {"subscription": "slow", "node": SERVER, "select": ["Message", "EventType"]}
    await server.node("watch", **asked, item="few", queue=2)
    await asyncio.sleep(0.5)
    events = Publisher(plc.bus, EVENT, Event, server.device.place, origin="connect-plc", kind="note")
    for number in range(4):
        await events.deliver(
            Event(key="k", origin="connect-plc", code="note", phase=Phase.NEW, severity=Severity.INFO,
                  text=f"note {number}", args={}, time_ns=time.time_ns())
        )  # fmt: skip
    found: list[Any] = []
    while len(found) < 3:
        await asyncio.sleep(0.2)
        found += await server.node("seen", subscription="slow", item="few")
    assert found[0][1] == "ns=0;i=3035" and [one[0] for one in found[1:]] == ["note 2", "note 3"]
    refused = await server.node("watch", **asked, item="none", operator="InView")
    assert "BadFilterOperatorUnsupported" in refused["error"]


async def test_the_certificates_alarm_knows_until_when_it_is_good(server: Server) -> None:
    at = server.alarm("Server/CertificateExpiring")
    nodes = [f"{at}/{one}" for one in ("ActiveState/Id", "ExpirationLimit", "Certificate")]
    active, limit, certificate = await server.node("read", session="operator", nodes=nodes)
    assert (active["value"], limit["value"]) == (False, 30 * 86_400_000)
    own = (server.device.home / "state/opcua/certificate.der").read_bytes()
    assert bytes(certificate["value"]) == own


async def test_a_server_that_is_killed_knows_what_was_acknowledged_and_shelved(
    server: Server, plc: User, runtime: User
) -> None:
    reach(server, plc, lost=False)
    await window(server, runtime)
    await server.watch("all", SERVER)
    reach(server, plc, lost=True)
    await window(server, runtime, late=2, level="model_degraded")
    raised = {one["ConditionName"]: one for one in await server.next("all", 3)}
    assert await server.handle("Acknowledge", LOST, raised["PlcLost"]["EventId"], "cable ordered") == "Good"
    assert await server.call(f"{LATE}/ShelvingState", 2949, ["Double", 600_000.0]) == "Good"
    before = await server.next("all", 2)
    acked = next(one for one in before if one["ConditionName"] == "PlcLost")
    await server.kill()
    await server.start_again()
    reach(server, plc, lost=True)  # still, as it says in other words with each poll
    kept = await server.refreshed()
    assert kept["PlcLost"] == acked, "the same state, under the same EventId"
    assert states(kept["PlcLost"]) == [True, True, False, True] and kept["PlcLost"]["Comment"] == "cable ordered"
    assert kept["DeadlineMissed"]["ShelvingState.CurrentState"] == "Timed Shelved"
    assert states(kept["ModelDegraded"]) == [True, False, True, True]
    assert await server.handle("Acknowledge", LOST, acked["EventId"], "") == "BadConditionBranchAlreadyAcked"
    assert await server.handle("Acknowledge", DEGRADED, raised["ModelDegraded"]["EventId"], "") == "Good"
    assert await server.handle("Confirm", LOST, acked["EventId"], "cable replaced") == "Good"
    await server.kill()
    await window(server, runtime)  # while it is away; it finds the retained window
    await server.start_again()
    reach(server, plc, lost=False)
    await asyncio.sleep(1.0)
    over = await server.refreshed()
    assert set(over) == {"ModelDegraded", "DeadlineMissed"}, "what is over and confirmed is past"
    assert states(over["ModelDegraded"]) == [False, True, False, True], "to be confirmed"
    assert states(over["DeadlineMissed"]) == [False, False, True, True], "to be acknowledged"
    assert await server.handle("Confirm", DEGRADED, over["ModelDegraded"]["EventId"], "") == "Good"
    assert await server.call(f"{LATE}/ShelvingState", 2947) == "Good", "it was still shelved"
