"""node-opcua finds, reads and calls the VisionSystems of the real process by the types of OPC 40100-1 alone.

What structures consist of, node-opcua reads from the server; a real `connect` writes recipes into a simulated PLC.
"""

import asyncio
import contextlib
import json
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from pymodbus.client import ModbusTcpClient

from bus.mosquitto import free_port
from bus.typed import Publisher
from edge.audit.deeds import METHOD_CALLED
from edge.history.points import PointMaker
from edge.history.store import FILE, Store
from edge.opcua_server.access.trust import CLIENTS, Folders
from edge.opcua_server.limits import MOST_VISION_CALLS
from edge.opcua_server.vision.instance import SHOWN
from edge.security.passwords import hash_password
from schemas.messages import Latency, Outcome, Quality, Result, Slot, State, Status, Verdict
from schemas.topics import EVENT, RESULT, SLOT_STATE, STATUS
from tests.device import ROOT, Device, User
from tests.node_opcua import NodeOpcua, Refused
from tests.opcua_certificates import URI, party

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
UP_S = 200.0
STORED = 60  # results in the historian's store before the server starts
SETTINGS = """
[sources.plant]
driver = "modbus"
port = {modbus}
timeout_ms = 200
tags = "plant.csv"
groups = {{ fast = 20, process = 50 }}
[cameras.cam1]
driver = "folder"
address = "images"
[cameras.tray1]
driver = "rtsp"
address = "rtsp://127.0.0.1:9/tray"
[pipelines.caps]
model = "caps"
lane = "safety"
input = {{ frames = "cam1" }}
deadline_ms = 50
recipe = {{ source = "plant", tag = "Line.SpeedSetpoint", choices = {{ 450 = {{}}, 600 = {{}} }} }}
[pipelines.trays]
model = "trays"
lane = "bulk"
input = {{ frames = "tray1" }}
deadline_ms = 500
recipe = {{ source = "plant", tag = "Line.PartCounter", choices = {{ 7 = {{}} }}, otherwise = "default" }}
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
anonymous = true
users = "users.json"
roles = {{ operator = "operator", engineer = "engineer" }}
tick_ms = 20
"""
PEOPLE = {"operator": "correct horse", "observer": "only looks on", "engineer": "battery staple"}
MANAGEMENT, RECIPES, MACHINE = "ResultManagement", "RecipeManagement", "VisionStateMachine"
AUTOMATIC = f"{MACHINE}/AutomaticModeStateMachine"
DATA = {"result": 3021, "meas": 3015, "part": 3004, "external": 3002, "internal": 3013, "configuration": 3008,
        "product": 3003, "job": 3016}  # fmt: skip
READY = ["EventType", "SourceName", "Message", "ResultId", "IsPartial", "IsSimulated", "ResultState", "MeasId",
         "PartId", "ExternalRecipeId", "InternalRecipeId", "InternalConfigurationId", "JobId", "CreationTime",
         "ProcessingTimes", "ResultContent"]  # fmt: skip
MOVED = ["EventType", "SourceNode", "Message", "Transition", "FromState", "FromState.Id", "ToState", "ToState.Id"]


@dataclass
class Line:
    """A device whose opcua and connect run beside a simulated plant, and sessions of all its people."""

    device: Device
    endpoint: str
    files: dict[str, str]
    node: NodeOpcua
    modbus: int  # the port of the plant's controller
    index: int = 0

    def at(self, path: str, pipeline: str = "caps") -> str:
        return f"ns=2;s=s/l/n/VisionSystems/{pipeline}" + (f"/{path}" if path else "")

    def standard(self, number: int) -> str:
        return f"ns={self.index};i={number}"

    def structure(self, kind: str, text: str | None = None, **more: str) -> list[Any]:
        """An argument; without a text the null structure."""
        fields = None if text is None else {"id": text} | more
        return ["Structure", self.standard(DATA[kind]), fields]

    async def enter(self, user: str = "") -> None:
        name = user or "anonymous"
        await self.node("connect", client=name, endpoint=self.endpoint, uri=URI, **self.files)
        who = {"user": user, "password": PEOPLE[user]} if user else {}
        told = await self.node("session", client=name, session=name, **who)
        self.index = told["namespaces"].index("http://opcfoundation.org/UA/MachineVision")

    async def call(
        self, path: str, method: int, *arguments: list[Any], by: str = "observer", pipeline: str = "caps"
    ) -> Any:
        where = {"object": self.at(path, pipeline), "method": self.standard(method)}
        return await self.node("invokeDeep", session=by, arguments=arguments, **where)

    async def result_by_id(self, result_id: str) -> dict[str, Any]:
        asked = [self.structure("result", result_id), ["Int32", 0]]
        answer = await self.call(MANAGEMENT, 7026, *asked)
        assert answer["status"] == "Good", answer
        handle, result, error = answer["outputs"]
        return {"handle": handle, "error": error} | result

    async def listed(
        self, *, state: int = 0, most: int = 0, start: int = 0, by: str = "observer", **ids: str
    ) -> dict[str, Any]:
        kinds = ("meas", "part", "external", "internal", "configuration", "configuration", "product", "job")
        names = ("meas", "part", "external", "internal", "their_configuration", "configuration", "product", "job")
        wanted = [self.structure(kind, ids.get(name)) for kind, name in zip(kinds, names, strict=True)]
        page = [["UInt32", most], ["UInt32", start], ["Int32", 30_000]]
        answer = await self.call(MANAGEMENT, 7089, ["Int32", state], *wanted, *page, by=by)
        if answer["status"] != "Good":
            return {"status": answer["status"]}
        over, count, handle, results, error = answer["outputs"]
        assert count == len(results)
        ids_found = [one["resultId"]["id"] for one in results]
        return {"complete": over, "ids": ids_found, "handle": handle, "error": error, "results": results}

    async def next(self, item: str, count: int = 1) -> list[list[Any]]:
        """Exactly so many events."""
        found: list[Any] = []
        end = time.monotonic() + 15
        while len(found) < count:
            assert time.monotonic() < end, found
            await asyncio.sleep(0.05)
            found += await self.node("seen", subscription="s", item=item)
        assert len(found) == count, found
        return found

    async def until(self, node: str, value: object) -> None:
        """Until a node has a value."""
        end = time.monotonic() + 15
        while True:
            (found,) = await self.node("readDeep", session="observer", nodes=[node])
            if found["value"] == value:
                return
            assert time.monotonic() < end, (node, found)
            await asyncio.sleep(0.05)


def result(number: int, *, verdict: Verdict = Verdict.OK, recipe: str = "450", time_ns: int = 0) -> Result:
    return Result(
        result_id=f"caps-1f-{number}", pipeline="caps", input="cam1", source_epoch=0x1F, source_seq=number,
        part_id=1000 + number, outcome=Outcome.RESULT, verdict=verdict, label="scratch", score=0.93, scores={},
        quality=Quality.GOOD, reason="", latency=Latency(ingest=2, queue=0.5, preprocess=1, infer=4, total=8),
        deadline_ms=50, model="caps", version="3", digest="ab" * 32, time_ns=time_ns or time.time_ns(), recipe=recipe,
    )  # fmt: skip


def fill(device: Device) -> None:
    """What the historian has kept: a part a second, every fifth was not judged."""
    maker, start_ns = PointMaker(device.place), time.time_ns() - 3600 * 10**9
    points = []
    for n in range(STORED):
        judged = Verdict.UNKNOWN if n % 5 == 0 else Verdict.OK
        one = result(n, verdict=judged, recipe="600" if n >= STORED // 2 else "450", time_ns=start_ns + n * 10**9)
        points.append(maker.result(one)._replace(epoch=1, seq=n))
    with contextlib.closing(Store(device.home / "state" / FILE)) as store:
        store.add(points)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, node_module: Callable[[str], Path]) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("vision")
    users = ("opcua", "connect-plant", "camera-cam1", "runtime-safety", "historian", "agent")
    device, port, plant = Device(folder, users), free_port(), folder / "plant.sock"
    words = ("--control", str(plant), "--modbus-port", "0", "--camera-port", "0", "--parts-per-s", "5")
    child = subprocess.Popen([sys.executable, "-m", "edge.sim.plant", *words], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    modbus = json.loads(child.stdout.readline())["modbus_port"]
    device.write("plant.csv", (ROOT / "edge/sim/demo/tags/plant.csv").read_text())
    device.write("users.json", json.dumps({name: hash_password(secret) for name, secret in PEOPLE.items()}))
    device.add("device.toml", SETTINGS.format(port=port, modbus=modbus))
    fill(device)
    mine = party("PlantEdgeTest", 22)
    lists = Folders(device.home / CLIENTS)
    lists.make()
    mine.put(lists.trusted)
    node = NodeOpcua(node_module("node-opcua-client").parent, folder)
    try:
        with device.running():
            device.start("connect@plant")
            device.start("opcua")
            asyncio.run(_until_up(device))
            yield Line(device, f"opc.tcp://127.0.0.1:{port}", mine.files(folder, "client"), node, modbus)
    finally:
        node.stop()
        child.terminate()
        child.wait(5)
        child.stdout.close()


async def _until_up(device: Device) -> None:
    async with device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda status: status.process == "opcua" and status.state is State.ACTIVE, UP_S)


@pytest.fixture(autouse=True)
async def _entered(line: Line) -> AsyncIterator[None]:
    for user in ("observer", "operator"):
        await line.enter(user)
    await line.node("subscribe", session="observer", subscription="s")
    yield
    await line.node("reset")


@pytest.fixture
async def runtime(line: Line) -> AsyncIterator[User]:
    async with line.device.user("runtime-safety") as user:
        yield user


@pytest.fixture
async def camera(line: Line) -> AsyncIterator[User]:
    async with line.device.user("camera-cam1") as user:
        yield user


async def judge(line: Line, runtime: User, *results: Result) -> None:
    publisher = Publisher(runtime.bus, RESULT, Result, line.device.place, pipeline="caps")
    for one in results:
        await publisher.deliver(one)


def says(user: User, process: str, state: State, reason: str = "") -> None:
    status = Status(process=process, state=state, reason=reason, time_ns=time.time_ns())
    user.say(STATUS, status, process=process)


def serves(runtime: User, version: str, phase: str = "active", reason: str = "") -> None:
    slot = Slot(
        model="caps", version="3", digest="ab" * 32, phase=phase, reason=reason, process="runtime-safety",
        serving=version,
    )  # fmt: skip
    runtime.say(SLOT_STATE, slot, model="caps", process="runtime-safety")


async def test_a_client_that_knows_the_standard_finds_each_camera_pipeline_by_the_types(line: Line) -> None:
    systems = await line.node("browse", session="observer", node="ns=2;s=s/l/n/VisionSystems")
    found = {one["name"]: one["node"] for one in systems if one["type"] == line.standard(1003)}
    assert found == {"caps": line.at(""), "trays": line.at("", "trays")}
    parts = await line.node("browse", session="observer", node=found["caps"])
    types = {one["name"]: one["type"] for one in parts if one["reference"] == "ns=0;i=47"}
    wanted = {"VisionStateMachine": 1017, "ResultManagement": 1007, "RecipeManagement": 1004}
    assert types == {name: line.standard(number) for name, number in wanted.items()}
    below = {one["name"]: one for one in await line.node("browse", session="observer", node=line.at(MANAGEMENT))}
    methods = {"GetResultById": 7026, "GetResultComponentsById": 7007, "GetResultListFiltered": 7089,
               "ReleaseResultHandle": 7090}  # fmt: skip
    assert {name: below[name]["node"] for name in methods} == {
        name: line.standard(number) for name, number in methods.items()
    }
    machine = await line.node("browse", session="observer", node=line.at(MACHINE))
    states = {one["name"]: one["node"] for one in machine if one["type"] == "ns=0;i=2307"}
    numbers = {"Preoperational": 5028, "Halted": 5029, "Error": 5030, "Operational": 5031}
    assert states == {name: line.standard(number) for name, number in numbers.items()}
    results = await line.node("browse", session="observer", node=line.at(f"{MANAGEMENT}/Results"))
    assert [one["type"] for one in results if one["index"] == 2] == [line.standard(2002)] * SHOWN


async def test_a_result_is_told_shown_and_returned_alike(line: Line, runtime: User) -> None:
    kind, own = line.standard(1024), READY.index("ResultId")
    select = [*READY[:own], *(f"{line.index}:{name}" for name in READY[own:])]
    for item, node in (("system", line.at("")), ("server", "i=2253"), ("other", line.at("", "trays"))):
        await line.node("watch", subscription="s", item=item, node=node, select=select, ofType=kind, deep=True)
    made = result(STORED + 1, verdict=Verdict.NOK)
    await judge(line, runtime, made)
    (told,), (same,) = await line.next("system"), await line.next("server")
    event = dict(zip(READY, told, strict=True))
    assert same == told and event["EventType"] == kind and event["SourceName"] == "caps"
    assert event["ResultId"] == {"id": made.result_id} and event["JobId"] == {"id": "caps-1f"}
    assert (event["IsPartial"], event["IsSimulated"], event["ResultState"], event["MeasId"]) == (False, True, 1, None)
    assert event["PartId"]["id"] == str(made.part_id)
    assert (event["ExternalRecipeId"]["id"], event["InternalRecipeId"]["id"]) == ("450", "caps/450")
    assert (event["InternalConfigurationId"]["id"], event["InternalConfigurationId"]["version"]) == ("caps", "3")
    assert event["CreationTime"] == made.time_ns // 10**6
    times = event["ProcessingTimes"]
    assert times["endTime"] - times["startTime"] == 8 and times["processingDuration"] == 5
    content = {one["key"]: one["value"] for one in event["ResultContent"]}
    assert (content["Verdict"], content["Label"], content["Score"]) == ("nok", "scratch", 0.93)
    found = await line.result_by_id(made.result_id)
    pairs = {"resultId": "ResultId", "partId": "PartId", "jobId": "JobId", "resultState": "ResultState",
             "processingTimes": "ProcessingTimes", "resultContent": "ResultContent"}  # fmt: skip
    assert {name: found[name] for name in pairs} == {name: event[other] for name, other in pairs.items()}
    assert found["error"] == 0 and found["handle"] > 0
    asked = [line.structure("result", made.result_id), ["Int32", 0]]
    parts = (await line.call(MANAGEMENT, 7007, *asked))["outputs"]
    assert (parts[0], parts[4], parts[6]["id"], parts[12]["id"], parts[16]) == (False, 1, "1061", "caps-1f", 0)
    await line.until(f"{line.at(MANAGEMENT)}/Results/Result1/ResultId", {"id": made.result_id})
    (whole,) = await line.node("readDeep", session="observer", nodes=[line.at(f"{MANAGEMENT}/Results/Result1")])
    assert whole["value"]["resultId"] == {"id": made.result_id} and whole["status"] == "Good"
    assert not await line.node("seen", subscription="s", item="other")


async def test_asyncuas_client_takes_and_gives_results_as_classes(line: Line, runtime: User) -> None:
    """As docs/how-to/connect-scada.md has it."""
    made = result(77)
    await judge(line, runtime, made)
    client = Client(line.endpoint, timeout=30.0)
    client.application_uri = URI
    client.set_user("observer")
    client.set_password(PEOPLE["observer"])
    await client.set_security(SecurityPolicyBasic256Sha256, line.files["certificate"], line.files["key"])
    async with client:
        vision = await client.get_namespace_index("http://opcfoundation.org/UA/MachineVision")
        ua.register_basetype("VisionTrimmedString", ua.NodeId(3017, vision), ua.String)  # type: ignore[no-untyped-call]
        kinds = await client.load_data_type_definitions()
        asked = kinds["ResultIdDataType"](Id=made.result_id)
        management = client.get_node(line.at(MANAGEMENT))
        method = ua.NodeId(7026, vision)
        _, found, error = await management.call_method(method, asked, ua.Variant(0, ua.VariantType.Int32))
    assert error == 0 and type(found) is kinds["ResultDataType"]
    assert (found.ResultId.Id, found.PartId.Id, found.ResultState) == (made.result_id, str(made.part_id), 1)


async def test_a_result_of_the_store_is_found_by_its_id_and_an_unknown_one_is_said_to_be_so(line: Line) -> None:
    for number in (0, 1, STORED // 2, STORED - 1):
        found = await line.result_by_id(f"caps-1f-{number}")
        assert found["resultId"] == {"id": f"caps-1f-{number}"} and found["error"] == 0
        assert found["partId"]["id"] == str(1000 + number)
        assert found["internalRecipeId"]["id"] == ("caps/600" if number >= STORED // 2 else "caps/450")
        assert found["resultState"] == (4 if number % 5 == 0 else 1)
    for strange in ("caps-1f-999999", "trays-1f-1", "caps-zz-1", "", "x" * 5000):
        found = await line.result_by_id(strange)
        assert (found["error"], found["resultState"], found["handle"]) == (-1, 0, 0), strange


async def test_a_list_is_filtered_and_paged_over_memory_and_store(line: Line, runtime: User) -> None:
    await judge(line, runtime, result(200, recipe="600"), result(201))
    await asyncio.sleep(0.2)
    every = await line.listed()
    ids = every["ids"]
    stored = [f"caps-1f-{n}" for n in reversed(range(STORED))]
    assert ids[:2] == ["caps-1f-201", "caps-1f-200"] and ids[-STORED:] == stored and every["complete"] is True
    assert len(ids) == len(set(ids)) and every["error"] == 0
    pages, start = [], 0
    while True:
        page = await line.listed(most=25, start=start)
        pages += page["ids"]
        if start == 0:
            await judge(line, runtime, result(202))  # what comes meanwhile does not move the pages
            await asyncio.sleep(0.2)
        start += 25
        if page["complete"]:
            break
    assert pages == ids
    failed = await line.listed(state=4)
    assert failed["ids"] == [one for one in stored if int(one.rpartition("-")[2]) % 5 == 0]
    assert (await line.listed(part="1007"))["ids"] == ["caps-1f-7"]
    half = await line.listed(external="600", job="caps-1f")
    assert set(half["ids"]) == {f"caps-1f-{n}" for n in range(STORED // 2, STORED)} | {"caps-1f-200"}
    assert (await line.listed(internal="caps/600"))["ids"] == half["ids"]
    assert (await line.listed(configuration="caps", most=1))["ids"] == ["caps-1f-202"]
    for nobodys in ("meas", "product", "their_configuration"):
        nothing = await line.listed(**{nobodys: "x"})
        assert (nothing["ids"], nothing["complete"], nothing["error"]) == ([], True, 0)
    assert (await line.listed(state=2))["ids"] == []
    far = await line.listed(start=STORED, most=500)
    assert far["complete"] and far["ids"] == (["caps-1f-202", *ids])[STORED:]


async def test_a_handle_is_let_go_of_once_and_by_its_own_session_alone(line: Line) -> None:
    handle = (await line.listed(most=5))["handle"]
    release = [["UInt32", handle]]
    assert (await line.call(MANAGEMENT, 7090, *release, by="operator"))["outputs"] == [-1]
    assert (await line.call(MANAGEMENT, 7090, *release))["outputs"] == [0]
    assert (await line.call(MANAGEMENT, 7090, *release))["outputs"] == [-1]


async def test_what_is_no_call_of_the_standard_is_refused_for_what_is_wrong_with_it(line: Line) -> None:
    one = line.structure("result", "caps-1f-1")
    assert (await line.call(MANAGEMENT, 7026, one))["status"] == "BadArgumentsMissing"
    assert (await line.call(MANAGEMENT, 7026, one, ["Int32", 0], ["Int32", 0]))["status"] == "BadTooManyArguments"
    for strange in (["String", "caps-1f-1"], line.structure("job", "caps-1f-1")):
        answer = await line.call(MANAGEMENT, 7026, strange, ["Int32", 0])
        assert (answer["status"], answer["inputs"]) == ("BadInvalidArgument", ["BadTypeMismatch", "Good"])
    assert (await line.call(MANAGEMENT, 7015, one, one))["status"] == "BadMethodInvalid"
    assert (await line.call(MANAGEMENT, 9999))["status"] == "BadMethodInvalid"
    assert (await line.call("Nothing", 7026, one, ["Int32", 0]))["status"] == "BadNodeIdUnknown"
    many = [{"object": line.at(MANAGEMENT), "method": line.standard(7090)}] * (MOST_VISION_CALLS + 1)
    with pytest.raises(Refused, match="BadTooManyOperations"):
        await line.node("callAll", session="observer", calls=many, arguments=[["UInt32", 1]])
    counted = await line.node("callAll", session="observer", calls=many[1:], arguments=[["UInt32", 1]])
    assert counted == ["Good"] * MOST_VISION_CALLS


async def test_the_states_follow_camera_runtime_model_and_recipe_and_each_transition_is_told(
    line: Line, runtime: User, camera: User
) -> None:
    state, mode = line.at(f"{MACHINE}/CurrentState"), line.at(f"{AUTOMATIC}/CurrentState")
    await line.until(state, "Preoperational")
    wanted = {"node": "ns=2;s=s/l/n/Sources/plant/Line.SpeedSetpoint", "type": "Float", "value": 500}
    assert await line.node("write", session="operator", **wanted) == "Good"  # none of the recipes
    for recipe in ("450", "600"):
        await line.until(line.at(f"{RECIPES}/Recipes/{recipe}/IsPrepared"), value=False)
    kind = line.standard(1018)
    await line.node("watch", subscription="s", item="moves", node="i=2253", select=MOVED, ofType=kind, deep=True)

    async def moved(count: int) -> list[tuple[str, str]]:
        return [(one[4], one[6]) for one in await line.next("moves", count)]

    says(camera, "camera-cam1", State.IDLE, "no picture yet")
    says(runtime, "runtime-safety", State.IDLE)
    serves(runtime, "3")
    first = (await line.next("moves"))[0]
    event = dict(zip(MOVED, first, strict=True))
    assert (event["Transition"], event["FromState"], event["ToState"]) == (
        "PreoperationalToOperationalAuto", "Preoperational", "Operational",
    )  # fmt: skip
    assert (event["FromState.Id"], event["ToState.Id"]) == (line.standard(5028), line.standard(5031))
    assert event["SourceNode"] == line.at(MACHINE)
    await line.until(mode, "Initialized")
    assert await prepare(line, "450") == ("Good", [{"id": "caps/450"}, True, 0])
    assert await moved(1) == [("Initialized", "Ready")]
    says(camera, "camera-cam1", State.ACTIVE)
    assert await moved(1) == [("Ready", "ContinuousExecution")]
    await line.until(f"{mode}/Id", line.standard(5059))
    await line.until(f"{line.at(AUTOMATIC)}/LastTransition", "ReadyToContinuousExecutionAuto")
    says(camera, "camera-cam1", State.DEGRADED, "the cable is out")
    assert await moved(1) == [("Operational", "Error")]
    await line.until(state, "Error")
    (gone,) = await line.node("readDeep", session="observer", nodes=[mode])
    assert gone["status"] == "BadStateNotActive"
    says(camera, "camera-cam1", State.STOPPED, "stopped by a person")
    assert await moved(1) == [("Error", "Halted")]
    says(camera, "camera-cam1", State.ACTIVE)
    assert await moved(4) == [
        ("Halted", "Preoperational"), ("Preoperational", "Operational"), ("Initialized", "Ready"),
        ("Ready", "ContinuousExecution"),
    ]  # fmt: skip
    serves(runtime, "", "rejected", "golden vectors differ")
    assert await moved(1) == [("Operational", "Error")]
    serves(runtime, "3", "rejected", "the next one does not fit")  # the one before serves
    assert await moved(3) == [("Error", "Operational"), ("Initialized", "Ready"), ("Ready", "ContinuousExecution")]


async def test_nobody_starts_or_stops_a_line_from_here(line: Line) -> None:
    cause = [["Int32", 1], ["String", "because"]]
    start = [line.structure("meas"), line.structure("part"), line.structure("external"), line.structure("product")]
    calls: list[tuple[str, int, list[Any]]] = [
        (MACHINE, 7094, cause), (MACHINE, 7093, cause), (MACHINE, 7095, []), (AUTOMATIC, 7097, cause),
        (AUTOMATIC, 7096, cause), (AUTOMATIC, 7009, start), (AUTOMATIC, 7098, start),
    ]  # fmt: skip
    await line.enter("engineer")
    for path, method, arguments in calls:
        assert (await line.call(path, method, *arguments, by="engineer"))["status"] == "BadNotExecutable"
        assert (await line.call(path, method, *arguments))["status"] == "BadUserAccessDenied"
    nodes = [line.standard(method) for _, method, _ in calls]
    told = await line.node("read", session="observer", nodes=nodes, attribute="Executable")
    assert [one["value"] for one in told] == [False] * len(calls)
    for user, may in (("engineer", [True, True]), ("observer", [True, False]), ("engineer", [True, True])):
        reads_and_prepares = [line.standard(7026), line.standard(7015)]
        told = await line.node("read", session=user, nodes=reads_and_prepares, attribute="UserExecutable")
        assert [one["value"] for one in told] == may, user


async def prepare(line: Line, external: str | None = None, internal: str | None = None, by: str = "operator") -> Any:
    asked = [line.structure("external", external), line.structure("internal", internal)]
    answer = await line.call(RECIPES, 7015, *asked, by=by)
    outputs = [
        {"id": one["id"]} if isinstance(one, dict) else one for one in answer["outputs"]
    ]  # without what is empty of it
    return answer["status"], outputs


async def test_a_recipe_is_prepared_in_the_plc_by_those_who_may_and_told_by_all_names(line: Line) -> None:
    def setpoint() -> float:
        with ModbusTcpClient("127.0.0.1", port=line.modbus, timeout=5) as client:
            return float(
                struct.unpack(">f", struct.pack(">2H", *client.read_holding_registers(10, count=2).registers))[0]
            )

    assert (await prepare(line, "600", by="observer"))[0] == "BadUserAccessDenied"
    await line.enter("")
    assert (await prepare(line, "600", by="anonymous"))[0] == "BadUserAccessDenied"
    assert (await line.listed(by="anonymous"))["status"] == "BadUserAccessDenied"
    kind = line.standard(1022)
    select = ["ExternalId", "InternalId", "Message"]
    await line.node("watch", subscription="s", item="p", node=line.at(""), select=select, ofType=kind, deep=True)
    await line.enter("engineer")
    async with line.device.user("historian") as watcher:
        heard = await watcher.hear(EVENT)
        assert await prepare(line, "600", by="engineer") == ("Good", [{"id": "caps/600"}, True, 0])
        deed = await heard.until(lambda event: event.code == METHOD_CALLED)
    assert (deed.args["by"], deed.args["inputs"], deed.args["status"]) == ("engineer", "600", "Good")
    assert setpoint() == 600
    ((external, internal, _),) = await line.next("p")
    assert (external["id"], internal["id"]) == ("600", "caps/600")
    shown = line.at(f"{RECIPES}/Recipes")
    await line.until(f"{shown}/600/IsPrepared", True)
    await line.until(f"{shown}/450/IsPrepared", False)
    assert await prepare(line, "600", "caps/450") == ("Good", [{"id": "caps/450"}, True, 0])  # the internal id wins
    assert setpoint() == 450
    await line.until(f"{shown}/450/IsPrepared", True)
    assert (await line.call(f"{RECIPES}/Recipes/600", 7064, by="operator"))["outputs"] == [True, 0]
    assert setpoint() == 600
    assert await prepare(line, "900") == ("Good", [{"id": None}, False, -1])  # no recipe of that name
    revert = [line.structure("external", "600"), line.structure("internal")]
    assert (await line.call(RECIPES, 7055, *revert, by="operator"))["status"] == "BadNotExecutable"
    await line.until(f"{shown}/600/IsPrepared", True)


async def test_recipes_are_listed_and_one_whose_tag_is_read_only_is_not_prepared(line: Line) -> None:
    async def names(state: int, external: str | None = None, product: str | None = None) -> list[Any]:
        asked = [line.structure("external", external), line.structure("product", product), ["Int32", state]]
        page = [["UInt32", 0], ["UInt32", 0], ["Int32", 0]]
        answer = await line.call(RECIPES, 7014, *asked, *page, by="observer")
        over, count, _, found, error = answer["outputs"]
        assert (over, count, error) == (True, len(found), 0)
        return [one["id"] for one in found]

    assert (await prepare(line, "450"))[0] == "Good"
    await line.until(line.at(f"{RECIPES}/Recipes/450/IsPrepared"), True)
    assert await names(2) == ["caps/450", "caps/600"]
    assert (await names(1), await names(0)) == (["caps/450"], ["caps/600"])
    assert (await names(2, "600"), await names(2, product="x")) == (["caps/600"], [])
    read_only = await line.call(f"{RECIPES}/Recipes/7", 7064, by="operator", pipeline="trays")
    assert read_only["status"] == "BadNotWritable"


async def test_past_results_are_told_again_as_they_were(line: Line, runtime: User) -> None:
    kind = line.standard(1024)
    select = ["EventId", "Message", "ResultState"]
    await line.node("watch", subscription="s", item="now", node=line.at(""), select=select, ofType=kind)
    made = result(300, time_ns=time.time_ns() // 1000 * 1000)  # as finely as OPC UA tells it
    maker = PointMaker(line.device.place)
    with contextlib.closing(Store(line.device.home / "state" / FILE)) as store:
        store.add([maker.result(made)._replace(epoch=2, seq=300)])
    await judge(line, runtime, made)
    (told,) = await line.next("now")
    span = {"startMs": made.time_ns // 10**6 - 1, "endMs": made.time_ns // 10**6 + 1}
    past = await line.node("historyRead", session="observer", kind="events", nodes=[line.at("")], select=select, **span)
    assert past[0]["status"] == "Good" and past[0]["events"] == [told]
