"""node-opcua, a client that shares no code with asyncua, reads results, quality and timestamps."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bus.mosquitto import free_port
from bus.typed import Publisher
from edge.security.passwords import hash_password
from schemas.messages import LINK_LOST, Latency, Outcome, Quality, Reading, Result, Sample, State, Verdict
from schemas.topics import READING, RESULT, STATUS
from tests.device import LINE, Device

CLIENT = Path(__file__).parent.parent / "peers" / "opcua_client.js"
TAGS = """name,address,type,access,group,unit,min,max
Line.Speed,hr:0,float32,r,fast,1/min,0,1200
Eject.Reject,coil:0,bool,rw,fast,,,
"""


USERS = ("opcua", "connect-plc", "runtime-safety", "agent")
SETTINGS = """
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
anonymous = true
any_client = true
users = "users.json"
tick_ms = 100
"""


@dataclass
class Server:
    """A device whose opcua process runs."""

    device: Device
    endpoint: str


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    device = Device(tmp_path, USERS)
    port = free_port()
    device.write("tags/plc.csv", TAGS)
    device.write("users.json", json.dumps({"operator": hash_password("correct horse")}))
    device.add("device.toml", LINE + SETTINGS.format(port=port))
    with device.running():
        device.start("opcua")
        yield Server(device, f"opc.tcp://127.0.0.1:{port}")


Client = Callable[..., Any]


@pytest.fixture
def client(server: Server, tmp_path_factory: pytest.TempPathFactory, node_module: Callable[[str], Path]) -> Client:
    modules = node_module("node-opcua-client").parent

    async def run(**request: object) -> Any:
        asked = {
            "subscribed": str(server.device.home / "subscribed"),
            "endpoint": server.endpoint,
            "root": "s/l/n",
        } | request
        process = await asyncio.create_subprocess_exec(
            "node", str(CLIENT), json.dumps(asked), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"NODE_PATH": str(modules), "HOME": str(tmp_path_factory.getbasetemp())},
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 40)
        assert process.returncode == 0, err.decode()[-3000:]
        return json.loads(out.decode().splitlines()[-1])

    return run


def result(number: int) -> Result:
    return Result(
        result_id=f"caps-1-{number}", pipeline="caps", input="cam1", source_epoch=1, source_seq=number, part_id=number,
        outcome=Outcome.RESULT, verdict=Verdict.NOK, label="scratch", score=0.93, scores={}, quality=Quality.GOOD,
        reason="", latency=Latency(ingest=0.1, queue=0.1, preprocess=0, infer=0.2, total=0.75), deadline_ms=50,
        model="caps", version="3", digest="ab" * 32, time_ns=time.time_ns(),
    )  # fmt: skip


def reading(quality: Quality = Quality.GOOD, reason: str = "") -> Reading:
    return Reading(
        source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=time.time_ns(),
        tags={
            "Line.Speed": Sample(value=612.5 if quality is Quality.GOOD else None, quality=quality, reason=reason),
            "Eject.Reject": Sample(value=True),
        },
    )  # fmt: skip


async def until_up(server: Server) -> None:
    async with server.device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda status: status.process == "opcua" and status.state is State.IDLE, 40)


async def feed(server: Server) -> None:
    """A reading and a result, as connect and runtime publish them."""
    place = server.device.place
    async with server.device.user("connect-plc") as plc, server.device.user("runtime-safety") as runtime:
        Publisher(plc.bus, READING, Reading, place, source="plc").send(reading())
        await Publisher(runtime.bus, RESULT, Result, place, pipeline="caps").deliver(result(41))


@pytest.mark.slow
async def test_node_opcua_reads_results_quality_and_timestamps(server: Server, client: Client) -> None:
    await until_up(server)
    before = await client(read=["Sources/plc/Line.Speed"])
    assert before["values"]["Sources/plc/Line.Speed"]["status"] == "BadWaitingForInitialData"
    sent_ms = time.time() * 1000
    await feed(server)
    await asyncio.sleep(0.3)  # three ticks: what a client sees after that is what the server holds
    after = await client(
        read=[
            "Sources/plc/Line.Speed", "Sources/plc/Eject.Reject", "Pipelines/caps/Verdict", "Pipelines/caps/Score",
            "Pipelines/caps/PartId", "Pipelines/caps/LatencyMs", "Pipelines/caps/Rejected", "Health/opcua/State",
        ]
    )  # fmt: skip
    values = after["values"]
    assert after["security"] == "Basic256Sha256"
    assert values["Sources/plc/Line.Speed"]["value"] == 612.5
    assert values["Sources/plc/Line.Speed"]["status"] == "Good"
    assert abs(values["Sources/plc/Line.Speed"]["sourceTimestampMs"] - sent_ms) < 2_000
    assert values["Sources/plc/Eject.Reject"]["value"] is True
    assert values["Pipelines/caps/Verdict"]["value"] == "nok"
    assert values["Pipelines/caps/Score"]["value"] == 0.93
    assert values["Pipelines/caps/PartId"]["value"] == 41
    assert values["Pipelines/caps/LatencyMs"]["value"] == 0.75
    assert values["Pipelines/caps/Rejected"]["value"] == 1
    assert values["Health/opcua/State"]["value"] in ("active", "idle")
    assert after["properties"]["Sources/plc/Line.Speed"] == {"EURange": [0, 1200], "EngineeringUnits": "1/min"}


@pytest.mark.slow
async def test_a_bad_tag_is_bad_in_opcua_and_a_subscriber_is_told(server: Server, client: Client) -> None:
    await until_up(server)
    async with server.device.user("connect-plc") as plc:
        readings = Publisher(plc.bus, READING, Reading, server.device.place, source="plc")
        readings.send(reading())
        watching = asyncio.create_task(
            client(watch="Sources/plc/Line.Speed", until="BadNoCommunication", timeout_ms=15_000)
        )
        while not watching.done():  # the client starts in its own time: Good first, then the link is lost
            readings.send(reading())
            await asyncio.sleep(0.5)
            if (server.device.home / "subscribed").exists():
                readings.send(reading(Quality.BAD, f"{LINK_LOST}: no answer"))
                await asyncio.sleep(0.2)
        watched = await watching
    assert watched["statuses"][0] == "Good"
    assert watched["statuses"][-1] == "BadNoCommunication"


@pytest.mark.slow
async def test_who_may_open_a_session(server: Server, client: Client) -> None:
    await until_up(server)
    none = await client(policy="None", mode="None", read=["Health/opcua/State"])
    assert "BadSecurityModeRejected" in none["error"]
    assert none["endpoints"] >= 3, "discovery works without security"
    sign = await client(mode="Sign", read=["Health/opcua/State"])
    assert "values" in sign
    wrong = await client(user="operator", password="wrong", read=["Health/opcua/State"])
    assert "BadUserAccessDenied" in wrong["error"]
    operator = await client(
        user="operator", password="correct horse", read=["Health/opcua/State"], write="Sources/plc/Line.Speed"
    )
    assert "values" in operator
    assert operator["write"] in ("BadUserAccessDenied", "BadNotWritable")
