"""node-opcua writes to a PLC by the whole path: bus, connect, Modbus, read-back; the StatusCode tells the truth."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bus.mosquitto import free_port
from edge.security.passwords import hash_password
from edge.sim import control
from schemas.messages import State
from schemas.topics import EVENT, STATUS
from tests.device import ROOT, Device

CLIENT = Path(__file__).parent.parent / "peers" / "opcua_client.js"
SETPOINT = "Sources/plant/Line.SpeedSetpoint"
SETTINGS = """
[sources.plant]
driver = "modbus"
port = {modbus}
timeout_ms = 200
tags = "plant.csv"
groups = {{ fast = 20, process = 100 }}
[outputs.caps]
source = "plant"
verdict = "Eject.Reject"
armed = "Edge.Armed"
[pipelines.caps]
lane = "safety"
model = "none"
input = {{ source = "plant", group = "fast", tags = ["Line.PartCounter"], length = 1 }}
deadline_ms = 50
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
anonymous = true
users = "users.json"
any_client = true
roles = {{ operator = "operator" }}
tick_ms = 50
"""


@dataclass
class Line:
    """A device with connect and opcua beside a simulated plant."""

    device: Device
    endpoint: str
    plant: Path
    connect: subprocess.Popen[bytes]
    client: Callable[..., Any]

    def held(self) -> dict[str, Any]:
        return control.read_state(self.plant)


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A plant's control socket and port."""
    path = tmp_path / "plant.sock"
    words = ("--control", str(path), "--modbus-port", "0", "--camera-port", "0", "--parts-per-s", "5")
    child = subprocess.Popen([sys.executable, "-m", "edge.sim.plant", *words], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    yield path, json.loads(child.stdout.readline())["modbus_port"]
    child.terminate()
    child.wait(5)
    child.stdout.close()


@pytest.fixture
async def line(
    plant: tuple[Path, int],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    node_module: Callable[[str], Path],
) -> AsyncIterator[Line]:
    modules = node_module("node-opcua-client").parent
    device = Device(tmp_path, ("opcua", "connect-plant", "agent", "cli"))
    port = free_port()
    device.write("plant.csv", (ROOT / "edge/sim/demo/tags/plant.csv").read_text())
    people = {"operator": hash_password("correct horse"), "viewer": hash_password("only looks on")}
    device.write("users.json", json.dumps(people))
    device.add("device.toml", SETTINGS.format(port=port, modbus=plant[1]))

    async def run(user: str = "operator", password: str = "correct horse", **request: object) -> Any:
        asked = {"endpoint": f"opc.tcp://127.0.0.1:{port}", "root": "s/l/n"} | request
        asked |= {"user": user, "password": password} if user else {}
        process = await asyncio.create_subprocess_exec(
            "node", str(CLIENT), json.dumps(asked), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"NODE_PATH": str(modules), "HOME": str(tmp_path_factory.getbasetemp())},
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 40)
        assert process.returncode == 0, err.decode()[-3000:]
        return json.loads(out.decode().splitlines()[-1])

    with device.running():
        connect = device.start("connect@plant")
        device.start("opcua")
        async with device.user("agent") as agent:
            statuses = await agent.hear(STATUS)
            await statuses.until(lambda one: one.process == "opcua" and one.state is State.ACTIVE, 40)
        yield Line(device, f"opc.tcp://127.0.0.1:{port}", plant[0], connect, run)


def write(value: object, path: str = SETPOINT, kind: str = "Float", **more: object) -> dict[str, object]:
    return {"path": path, "type": kind, "value": value} | more


@pytest.mark.slow
async def test_a_write_is_in_the_plc_when_it_is_good_and_its_status_says_why_it_is_not(line: Line) -> None:
    async with line.device.user("cli") as watcher:
        events = await watcher.hear(EVENT)
        done = await line.client(writes=[
            write(450), write(5000), write(450, kind="Double"), write([1, 2]), write(1, "Sources/plant/Line.Speed"),
            write(False, "Edge.Armed", "Boolean"), write(True, "Sources/plant/Edge.Armed", "Boolean"),
            write("x", attribute="DisplayName", kind="String"),
        ])  # fmt: skip
        assert done["writes"] == [
            "Good", "BadOutOfRange", "BadTypeMismatch", "BadTypeMismatch", "BadNotWritable", "BadNodeIdUnknown",
            "BadNotWritable", "BadNotWritable",
        ]  # fmt: skip
        assert done["held"][0] == 450, "what a client reads after Good is what the PLC holds"
        audit = await events.until(lambda event: event.code == "write_done")
        assert (audit.args["origin"], audit.args["on_behalf"]) == ("opcua", "operator")
    wrong = await line.client(user="viewer", password="only looks on", writes=[write(500)])
    nobody = await line.client(user="", password="", writes=[write(500)])
    assert (wrong["writes"], nobody["writes"]) == (["BadUserAccessDenied"], ["BadUserAccessDenied"])
    many = await line.client(writes=[write(400 + turn) for turn in range(8)], together=True)
    assert set(many["writes"]) == {"Good", "BadTooManyOperations"} and many["writes"][0] == "Good"


@pytest.mark.slow
async def test_an_operator_takes_the_outputs_and_gives_them_back(line: Line) -> None:
    mode, verdict = "Pipelines/caps/Mode", "Sources/plant/Eject.Reject"
    async with line.device.user("cli") as watcher:
        events = await watcher.hear(EVENT)
        first = await line.client(writes=[
            write(False, verdict, "Boolean"), write("by hand", mode, "String"), write("manual", mode, "String"),
            write(False, verdict, "Boolean"),
        ])  # fmt: skip
        assert first["writes"] == ["BadNotWritable", "BadOutOfRange", "Good", "Good"]
        assert line.held()["reject"] is False
        taken = await events.until(lambda event: event.code == "outputs_manual")
        assert taken.phase.value == "new" and taken.args["pipeline"] == "caps"
        back = await line.client(writes=[write("auto", mode, "String")], read=[mode])
        assert back["writes"] == ["Good"] and line.held()["reject"] is True, "the fail-safe first"
        assert (await events.until(lambda event: event.code == "outputs_manual" and event.phase.value == "end")).args


@pytest.mark.slow
async def test_without_the_plc_or_connect_a_write_says_so(line: Line) -> None:
    async with line.device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        control.send_fault(line.plant, "cut", 60)
        await statuses.until(lambda one: one.process == "connect-plant" and one.state is State.DEGRADED)
        assert (await line.client(writes=[write(480)]))["writes"] == ["BadNoCommunication"]
        line.connect.kill()
        line.connect.wait(5)
        assert (await line.client(writes=[write(480)]))["writes"] == ["BadTimeout"]
