"""node-opcua selects recipes and tests models: of the real processes, a simulated PLC and a model that serves."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bus.mosquitto import free_port
from edge.opcua_server.access.trust import CLIENTS, Folders
from edge.security.passwords import hash_password
from edge.sim import control
from schemas.messages import Slot, State
from schemas.topics import EVENT, SLOT_DESIRED, SLOT_STATE, STATUS
from tests.device import ROOT, Device
from tests.edge.slot_line import SlowDisk
from tests.edge.small_models import TAGS, write_anomaly
from tests.node_opcua import NodeOpcua
from tests.opcua_certificates import URI, party

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SETPOINT, UP_S = "Sources/plant/Line.SpeedSetpoint", 100.0
SETTINGS = """
[sources.plant]
driver = "modbus"
port = {modbus}
timeout_ms = 200
tags = "plant.csv"
groups = {{ fast = 20, process = 100 }}
[pipelines.drift]
lane = "safety"
model = "drift"
input = {{ source = "plant", group = "process", tags = {tags}, length = 4 }}
deadline_ms = 5000
recipe = {{ source = "plant", tag = "Line.SpeedSetpoint", choices = {{ "450" = {{}}, "480" = {{}}, "slow" = {{}} }} }}
[pipelines.fixed]
lane = "safety"
model = "drift"
input = {{ source = "plant", group = "process", tags = {tags}, length = 4 }}
deadline_ms = 5000
recipe = {{ source = "plant", tag = "Line.PartCounter", choices = {{ "1" = {{}} }} }}
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
users = "users.json"
roles = {{ operator = "operator", engineer = "engineer" }}
tick_ms = 20
"""
USERS = ("opcua", "connect-plant", "runtime-safety", "historian", "agent", "cli")


@dataclass
class Line:
    """A device whose connect, runtime and opcua run beside a simulated plant, and sessions of its people."""

    device: Device
    plant: Path
    node: NodeOpcua
    endpoint: str
    files: dict[str, str]
    model: Path

    def at(self, path: str) -> str:
        return f"ns=2;s=s/l/n/{path}"

    async def enter(self, name: str) -> None:
        await self.node("connect", client=name, endpoint=self.endpoint, uri=URI, **self.files)
        await self.node("session", client=name, session=name, user=name, password=f"{name} of the line")

    async def call(self, path: str, *arguments: Any, session: str = "operator") -> Any:
        folder, _, _ = path.rpartition("/")
        asked = {"object": self.at(folder), "method": self.at(path), "arguments": arguments}
        return await self.node("invoke", session=session, **asked)

    async def select(self, recipe: Any, pipeline: str = "drift", kind: str = "String", **more: Any) -> Any:
        return await self.call(f"Pipelines/{pipeline}/SelectRecipe", [kind, recipe], **more)

    async def executable(self, path: str, session: str) -> list[bool]:
        asked = {"session": session, "nodes": [self.at(path)]}
        found = [await self.node("read", attribute=one, **asked) for one in ("Executable", "UserExecutable")]
        return [one[0]["value"] for one in found]

    def held(self) -> dict[str, Any]:
        return control.read_state(self.plant)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, node_module: Callable[[str], Path]) -> Iterator[Line]:
    modules = node_module("node-opcua-client").parent
    folder = tmp_path_factory.mktemp("methods")
    plant = folder / "plant.sock"
    words = ("--control", str(plant), "--modbus-port", "0", "--camera-port", "0", "--parts-per-s", "5")
    child = subprocess.Popen([sys.executable, "-m", "edge.sim.plant", *words], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    modbus, port = json.loads(child.stdout.readline())["modbus_port"], free_port()
    device = Device(folder, USERS)
    device.write("plant.csv", (ROOT / "edge/sim/demo/tags/plant.csv").read_text())
    people = {name: hash_password(f"{name} of the line") for name in ("operator", "engineer", "observer")}
    device.write("users.json", json.dumps(people))
    device.add("device.toml", SETTINGS.format(modbus=modbus, port=port, tags=json.dumps(TAGS)))
    model = write_anomaly(device.home / "models")
    mine = party("PlantEdgeTest", 31)
    lists = Folders(device.home / CLIENTS)
    lists.make()
    mine.put(lists.trusted)
    node = NodeOpcua(modules, folder)
    try:
        with device.running():
            for process in ("connect@plant", "runtime@safety", "opcua"):
                device.start(process)
            asyncio.run(_until_up(device))
            yield Line(device, plant, node, f"opc.tcp://127.0.0.1:{port}", mine.files(folder, "client"), model)
    finally:
        node.stop()
        child.terminate()
        child.wait(5)
        child.stdout.close()


async def _until_up(device: Device) -> None:
    async with device.user("agent") as agent:
        statuses, slots = await agent.hear(STATUS), await agent.hear(SLOT_STATE)
        await statuses.until(lambda status: status.process == "opcua" and status.state is State.ACTIVE, UP_S)
        await slots.until(lambda slot: slot.phase == "active", UP_S)


@pytest.fixture(autouse=True)
async def _entered(line: Line) -> AsyncIterator[None]:
    await line.enter("operator")
    yield
    await line.node("reset")


async def test_a_recipe_is_selected_once_the_plc_holds_its_value_and_who_did_so_is_told(line: Line) -> None:
    async with line.device.user("historian") as historian:
        events = await historian.hear(EVENT)
        assert await line.select("480") == {"status": "Good", "arguments": [], "outputs": []}
        assert (await line.node("read", session="operator", nodes=[line.at(SETPOINT)]))[0]["value"] == 480
        written = await events.until(lambda event: event.code == "write_done")
        assert (written.args["value"], written.args["on_behalf"]) == ("480.0", "operator")
        called = await events.until(lambda event: event.code == "method_called")
    assert called.args == {
        "method": "Pipelines/drift/SelectRecipe", "by": "operator", "inputs": "480", "status": "Good",
    }  # fmt: skip
    assert (await line.select("450"))["status"] == "Good"
    assert (await line.node("read", session="operator", nodes=[line.at(SETPOINT)]))[0]["value"] == 450


async def test_what_is_no_recipe_is_refused_and_changes_nothing(line: Line) -> None:
    before = (await line.node("read", session="operator", nodes=[line.at(SETPOINT)]))[0]["value"]
    for unknown in ("460", "", "slow"):
        assert await line.select(unknown) == {
            "status": "BadInvalidArgument", "arguments": ["BadOutOfRange"], "outputs": [],
        }  # fmt: skip
    wrong = await line.select(450, kind="Int32")
    assert (wrong["status"], wrong["arguments"]) == ("BadInvalidArgument", ["BadTypeMismatch"])
    path = "Pipelines/drift/SelectRecipe"
    assert (await line.call(path))["status"] == "BadArgumentsMissing"
    assert (await line.call(path, ["String", "450"], ["String", "450"]))["status"] == "BadTooManyArguments"
    elsewhere = {"object": line.at("Pipelines/fixed"), "method": line.at(path), "arguments": [["String", "450"]]}
    assert (await line.node("invoke", session="operator", **elsewhere))["status"] == "BadMethodInvalid"
    assert (await line.node("read", session="operator", nodes=[line.at(SETPOINT)]))[0]["value"] == before


async def test_who_may_not_write_selects_nothing_and_a_recipe_of_a_read_only_tag_is_nobodys(line: Line) -> None:
    await line.enter("observer")
    async with line.device.user("historian") as historian:
        events = await historian.hear(EVENT)
        assert (await line.select("450", session="observer"))["status"] == "BadUserAccessDenied"
        told = await events.until(lambda event: event.code == "access_denied")
    assert told.args["by"] == "observer" and "SelectRecipe" in told.args["wanted"]
    path, fixed = "Pipelines/drift/SelectRecipe", "Pipelines/fixed/SelectRecipe"
    assert await line.executable(path, "operator") == [True, True]
    assert await line.executable(path, "observer") == [True, False]
    assert (await line.select("1", "fixed"))["status"] == "BadNotWritable"
    assert await line.executable(fixed, "operator") == [False, False]
    assert (await line.call("Models/drift/SelfTest", session="observer"))["status"] == "BadUserAccessDenied"


async def test_a_method_says_what_it_takes_and_gives(line: Line) -> None:
    recipe = await line.node("definition", session="operator", method=line.at("Pipelines/drift/SelectRecipe"))
    assert recipe["inputs"] == [
        ["Recipe", "String", "one of the pipeline's recipes, as its settings name it: 450, 480, slow"]
    ]
    assert recipe["outputs"] == []
    test = await line.node("definition", session="operator", method=line.at("Models/drift/SelfTest"))
    assert [one[:2] for one in test["outputs"]] == [
        ["Passed", "Boolean"], ["Vectors", "UInt32"], ["LargestDeviation", "Double"], ["TookMs", "Double"],
        ["Digest", "String"], ["Version", "String"], ["Process", "String"], ["Reason", "String"],
    ]  # fmt: skip
    below = await line.node("browse", session="operator", node=line.at("Models/drift"))
    assert "SelfTest" in [one["name"] for one in below]


async def test_a_self_test_gives_what_the_runtime_found(line: Line) -> None:
    async with line.device.user("historian") as historian:
        events = await historian.hear(EVENT)
        found = await line.call("Models/drift/SelfTest")
        assert found["status"] == "Good"
        passed, vectors, deviation, took_ms, digest, version, process, reason = found["outputs"]
        assert (passed, vectors, version, process, reason) == (True, 1, "1", "runtime-safety", "")
        assert 0 <= deviation <= 0.001 and took_ms > 0 and digest in (line.model / "model.toml").read_text()
        tested = await events.until(lambda event: event.code == "model_tested")
        assert (tested.args["origin"], tested.args["passed"]) == ("opcua", True)


async def test_a_self_test_that_fails_says_why_with_good(line: Line) -> None:
    model = line.model / "model.onnx"
    whole = model.read_bytes()
    try:
        model.write_bytes(whole[:100])
        found = await line.call("Models/drift/SelfTest")
    finally:
        model.write_bytes(whole)
    assert found["status"] == "Good" and found["outputs"][0] is False and "corrupt" in found["outputs"][-1]


async def test_a_self_test_is_refused_while_another_runs_and_while_a_model_is_loaded(line: Line) -> None:
    await line.enter("engineer")
    disk = SlowDisk(line.model)
    first = asyncio.create_task(line.node("invokeLater", **_self_test(line, "engineer")))
    await disk.reached()
    await first
    assert (await line.call("Models/drift/SelfTest"))["status"] == "BadTooManyOperations"
    await disk.deliver_all()
    assert (await line.node("invoked", session="engineer"))["outputs"][0] is True
    folder = write_anomaly(line.device.home / "models", version="2")
    loading = SlowDisk(folder)
    async with line.device.user("agent") as agent:
        slots = await agent.hear(SLOT_STATE)
        agent.say(SLOT_DESIRED, Slot(model="drift", version="2", digest="", folder=str(folder)), model="drift")
        await loading.reached()
        assert (await line.call("Models/drift/SelfTest"))["status"] == "BadInvalidState"
        await loading.deliver_all()
        await slots.until(lambda slot: slot.phase == "active" and slot.version == "2")
    assert (await line.call("Models/drift/SelfTest"))["outputs"][5] == "2"


async def test_without_the_plc_a_recipe_is_not_selected(line: Line) -> None:
    async with line.device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        control.send_fault(line.plant, "cut", 3)
        await statuses.until(lambda one: one.process == "connect-plant" and one.state is State.DEGRADED)
        assert (await line.select("480"))["status"] == "BadNoCommunication"


def _self_test(line: Line, session: str) -> dict[str, Any]:
    return {"session": session, "object": line.at("Models/drift"), "method": line.at("Models/drift/SelfTest")}
