"""node-opcua against the real process: address space, security, deadbands, and what a client may take at most."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bus.mosquitto import free_port
from bus.typed import Publisher
from edge.opcua_server.access.trust import CLIENTS, USERS, Folders, thumbprint
from edge.opcua_server.address_space.units import CODES, UNECE, unit_id
from edge.security.passwords import hash_password
from schemas.messages import Insight, Quality, Reading, Sample, Slot, State
from schemas.topics import INSIGHT, READING, SLOT_STATE, STATUS
from tests.device import LINE, ROOT, Device
from tests.node_opcua import NodeOpcua, Refused
from tests.opcua_certificates import URI, party, put_list, revocations

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
UP_S = 150.0  # asyncua's address space takes seconds of a core, which other tests may have
SPEED, CURVE, TEXT = "Sources/plc/Line.Speed", "Sources/plc/Curve", "Sources/plc/Text"
TYPES = {
    "bool": "Boolean", "int8": "SByte", "uint8": "Byte", "int16": "Int16", "uint16": "UInt16", "int32": "Int32",
    "uint32": "UInt32", "int64": "Int64", "uint64": "UInt64", "float32": "Float", "float64": "Double",
}  # fmt: skip
TAGS = """name,address,type,access,group,unit,min,max
Line.Speed,hr:0,float32,rw,fast,1/min,0,1200
Curve,hr:10,int16[3],r,fast,bar,,
Text,hr:20,string:8,r,fast,,,
""" + "".join(
    f"T.{kind},{'coil:0' if kind == 'bool' else f'hr:{40 + 4 * n}'},{kind},r,fast,,,\n" for n, kind in enumerate(TYPES)
)
SETTINGS = """
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
users = "users.json"
roles = {{ operator = "operator", "Anna Engineer" = "engineer" }}
tick_ms = 20
limits = {{ connections = 12, sessions = 5, subscriptions = 2, items = 30, all_items = 40 }}
[opcua.machine]
name = "Filler"
manufacturer = "Maker"
serial_number = "F-1"
year_of_construction = 2026
"""


@dataclass
class Server:
    """A device whose opcua process runs, and the client's own certificate, which it trusts."""

    device: Device
    endpoint: str
    files: dict[str, str]
    node: NodeOpcua
    folder: Path
    root: str = "ns=2;s=s/l/n"

    def at(self, path: str) -> str:
        return f"{self.root}/{path}"

    async def connect(self, client: str, **more: Any) -> None:
        await self.node("connect", **({"client": client, "endpoint": self.endpoint, "uri": URI} | self.files | more))

    async def enter(self, client: str, **more: Any) -> None:
        """Open a channel and a session of the same name, as the observer unless told otherwise."""
        user = {"user": "observer", "password": "only looks on"}
        await self.connect(client)
        await self.node("session", client=client, session=client, **(user | more))

    async def leave(self, *clients: str) -> None:
        for client in clients:
            await self.node("disconnect", client=client)


PERSON = party("Anna Engineer", 22, uri="urn:person")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, node_module: Callable[[str], Path]) -> Iterator[Server]:
    modules = node_module("node-opcua-client").parent
    folder = tmp_path_factory.mktemp("conformance")
    device = Device(folder, ("opcua", "connect-plc", "runtime-safety", "agent"))
    port = free_port()
    device.write("tags/plc.csv", TAGS)
    people = {"operator": hash_password("correct horse"), "observer": hash_password("only looks on")}
    device.write("users.json", json.dumps(people))
    device.add("device.toml", LINE + SETTINGS.format(port=port))
    mine = party("PlantEdgeTest", 21)
    for root, who in ((CLIENTS, mine), (USERS, PERSON)):
        lists = Folders(device.home / root)
        lists.make()
        who.put(lists.trusted)
    node = NodeOpcua(modules, folder)
    try:
        with device.running():
            device.start("opcua")
            asyncio.run(_until_up(device))
            yield Server(device, f"opc.tcp://127.0.0.1:{port}", mine.files(folder, "client"), node, folder)
    finally:
        node.stop()


@pytest.fixture(autouse=True)
async def _leave(server: Server) -> AsyncIterator[None]:
    """Whatever a test opened is closed before the next."""
    yield
    await server.node("reset")


async def _until_up(device: Device) -> None:
    async with device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda status: status.process == "opcua" and status.state is State.IDLE, UP_S)


@pytest.fixture
async def feed(server: Server) -> AsyncIterator[Callable[..., Any]]:
    """`await feed({tag: value}, ...)`: one reading after another, each told before the next."""
    async with server.device.user("connect-plc") as plc:
        readings = Publisher(plc.bus, READING, Reading, server.device.place, source="plc")

        async def send(*values: dict[str, Any], quality: Quality = Quality.GOOD) -> None:
            for one in values:
                tags = {name: Sample(value=held, quality=quality) for name, held in one.items()}
                now = time.time_ns()
                readings.send(
                    Reading(source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=now, tags=tags)
                )
                await asyncio.sleep(0.1)  # five ticks: no two of them become one

        yield send


def plantedge(server: Server, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edge.cli", "opcua", "--home", str(server.device.home), *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def until(ask: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = 15.0) -> Any:
    end = time.monotonic() + seconds
    while not wanted(found := await ask()):
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)
    return found


# -- browse and read --------------------------------------------------------------------------------------------------


async def test_every_type_of_tag_has_its_type_value_and_time(server: Server, feed: Callable[..., Any]) -> None:
    values: dict[str, Any] = {f"T.{kind}": True if kind == "bool" else 100 for kind in TYPES}
    await server.enter("a")
    before = time.time() * 1000
    await feed(values | {"Line.Speed": 612.5, "Curve": [1, -2, 3], "Text": "cap"})
    nodes = [server.at(f"Sources/plc/T.{kind}") for kind in TYPES]
    found = await server.node("read", session="a", nodes=nodes)
    assert [one["type"] for one in found] == list(TYPES.values())
    assert [one["value"] for one in found] == [True, *[100] * (len(TYPES) - 1)]
    speed, curve, text = await server.node("read", session="a", nodes=[server.at(one) for one in (SPEED, CURVE, TEXT)])
    assert (speed["value"], curve["value"], text["value"]) == (612.5, [1, -2, 3], "cap")
    assert speed["status"] == "Good" and -1 <= speed["sourceMs"] - before < 2000
    assert speed["serverMs"] - speed["sourceMs"] < 2000
    await feed({"Line.Speed": 1.0}, quality=Quality.UNCERTAIN)
    assert (await server.node("read", session="a", nodes=[server.at(SPEED)]))[0]["status"] == "Uncertain"
    await server.leave("a")


async def test_units_ranges_and_types_are_those_of_the_tag_list(server: Server) -> None:
    await server.enter("a")
    unit, limits, pressure = await server.node("read", session="a", nodes=[
        server.at(f"{SPEED}/EngineeringUnits"), server.at(f"{SPEED}/EURange"), server.at(f"{CURVE}/EngineeringUnits"),
    ])  # fmt: skip
    assert unit["value"] == {
        "unitId": unit_id(CODES["1/min"]), "namespaceUri": UNECE, "text": "1/min",
    }  # fmt: skip
    assert limits["value"] == [0, 1200] and pressure["value"]["unitId"] == unit_id("BAR")
    below = {one["name"]: one for one in await server.node("browse", session="a", node=server.at("Sources/plc"))}
    kinds = {name: below[name]["type"] for name in ("Line.Speed", "Curve", "Text")}
    assert kinds == {"Line.Speed": "ns=0;i=17570", "Curve": "ns=0;i=17497", "Text": "ns=0;i=63"}
    assert below["Text"]["node"] == server.at(TEXT)
    rank, size = [
        (await server.node("read", session="a", nodes=[server.at(CURVE)], attribute=one))[0]["value"]
        for one in ("ValueRank", "ArrayDimensions")
    ]
    assert (rank, size) == (1, [3])
    levels = await server.node("read", session="a", nodes=[server.at(SPEED), server.at(TEXT)], attribute="AccessLevel")
    assert [one["value"] for one in levels] == [7, 5]
    await server.leave("a")


async def test_the_machine_is_found_by_its_standards_and_a_model_by_its_pipelines(server: Server) -> None:
    await server.enter("a")
    objects = await server.node("browse", session="a", node="i=85")
    machines = next(one for one in objects if one["name"] == "Machines")
    (filler,) = [one for one in await server.node("browse", session="a", node=machines["node"]) if one["index"] == 2]
    plate = [
        one for one in await server.node("browse", session="a", node=filler["node"]) if one["name"] == "Identification"
    ]
    fields = await server.node("browse", session="a", node=plate[0]["node"])
    nodes = {one["name"]: one["node"] for one in fields if one["type"] == "ns=0;i=68"}
    values = [one["value"] for one in await server.node("read", session="a", nodes=list(nodes.values()))]
    assert dict(zip(nodes, values, strict=True)) == {
        "Manufacturer": "Maker", "SerialNumber": "F-1", "ProductInstanceUri": "urn:plantedge:s:l:n:F-1",
        "YearOfConstruction": 2026,
    }  # fmt: skip
    async with server.device.user("runtime-safety") as runtime:
        where = {"model": "caps", "process": "runtime-safety"}
        state = Slot(model="caps", version="3", digest="ab" * 32, phase="active", process="runtime-safety", serving="3")
        await Publisher(runtime.bus, SLOT_STATE, Slot, server.device.place, **where).deliver(state)
        insight = Insight(
            pipeline="caps", model="caps", version="3", window_s=10.0, inputs=8, results=8, late=0, dropped={}, gaps=0,
            verdicts={"ok": 6, "nok": 2}, p50_ms=1, p99_ms=2, max_ms=3, score_mean=0.9, time_ns=time.time_ns(),
        )  # fmt: skip
        await Publisher(runtime.bus, INSIGHT, Insight, server.device.place, pipeline="caps").deliver(insight)
    paths = [server.at(one) for one in ("Models/caps/Version", "Models/caps/Phase", "Pipelines/caps/DefectRate")]
    read = await until(
        lambda: server.node("read", session="a", nodes=paths),
        lambda found: all(one["status"] == "Good" for one in found),
    )
    assert [one["value"] for one in read] == ["3", "active", 0.25]
    (drift,) = await server.node("read", session="a", nodes=[server.at("Pipelines/caps/DriftScore")])
    assert (drift["value"], drift["status"]) == (None, "GoodNoData"), "nothing was learned"
    below = await server.node("browse", session="a", node=server.at("Models/caps"))
    assert server.at("Pipelines/caps") in [one["node"] for one in below]
    await server.leave("a")


# -- subscribe --------------------------------------------------------------------------------------------------------


async def test_deadbands_are_against_what_was_told_last(server: Server, feed: Callable[..., Any]) -> None:
    await server.enter("a")
    await feed({"Line.Speed": 100.0, "Curve": [0, 0, 0]})
    await server.node("subscribe", session="a", subscription="s")
    bands = {"absolute": ["Absolute", 10], "percent": ["Percent", 5]}
    wanted: dict[str, dict[str, Any]] = {"all": {}} | {name: {"deadband": band} for name, band in bands.items()}
    for item, more in wanted.items():
        await server.node("monitor", subscription="s", item=item, node=server.at(SPEED), queue=20, **more)
    await server.node(
        "monitor", subscription="s", item="array", node=server.at(CURVE), queue=20, deadband=["Absolute", 5]
    )
    drift = [100.0 + 6 * step for step in range(1, 14)]
    await feed(*[{"Line.Speed": one} for one in drift], {"Curve": [5, 0, 0]}, {"Curve": [5, 6, 0]})
    await asyncio.sleep(0.5)
    seen = {
        item: [one["value"] for one in await server.node("seen", subscription="s", item=item)]
        for item in (*wanted, "array")
    }
    assert seen["all"] == [100.0, *drift]
    assert seen["absolute"] == [100.0, 112.0, 124.0, 136.0, 148.0, 160.0, 172.0]
    assert seen["percent"] == [100.0, 166.0], "5 % of 0 to 1200 is 60"
    assert seen["array"] == [[0, 0, 0], [5, 6, 0]]
    for node, band in ((TEXT, ["Absolute", 1]), (CURVE, ["Percent", 5]), (SPEED, ["Percent", 101])):
        refused = await server.node("monitor", subscription="s", item="x", node=server.at(node), deadband=band)
        assert "Bad" in refused["error"]
    await server.leave("a")


async def test_a_full_queue_says_so_and_keeps_what_was_asked_for(server: Server, feed: Callable[..., Any]) -> None:
    await server.enter("a")
    await feed({"Line.Speed": 1.0})
    await server.node("subscribe", session="a", subscription="s", publishingMs=3000)
    queues: dict[str, dict[str, Any]] = {"newest": {}, "oldest": {"discardOldest": False}, "one": {"queue": 1}}
    for item, more in queues.items():
        await server.node(
            "monitor", **({"subscription": "s", "item": item, "node": server.at(SPEED), "queue": 3} | more)
        )
    await asyncio.sleep(3.2)
    for item in ("newest", "oldest", "one"):
        await server.node("seen", subscription="s", item=item)
    await feed(*[{"Line.Speed": float(value)} for value in range(2, 8)])
    await asyncio.sleep(3.2)
    shown = {
        item: [
            (one["value"], bool(one["code"] & 0x80)) for one in await server.node("seen", subscription="s", item=item)
        ]
        for item in ("newest", "oldest", "one")
    }
    assert shown["newest"] == [(5.0, True), (6.0, False), (7.0, False)]
    assert shown["oldest"] == [(2.0, False), (3.0, False), (7.0, True)]
    assert shown["one"] == [(7.0, False)]
    await server.leave("a")


async def test_a_subscription_ends_with_its_session_and_belongs_to_it(server: Server) -> None:
    await server.enter("a")
    await server.enter("b")
    mine = await server.node("subscribe", session="a", subscription="s")
    assert mine["publishingMs"] == 50
    assert (await server.node("subscribe", session="a", subscription="t", publishingMs=1))["publishingMs"] == 50
    assert await server.node("deleteSubscription", session="b", id=mine["id"]) == ["BadSubscriptionIdInvalid"]
    assert await server.node("transfer", session="b", id=mine["id"]) == ["BadSubscriptionIdInvalid"]
    await server.node("close", session="a", deleteSubscriptions=False)
    await server.node("session", client="a", session="c", user="observer", password="only looks on")
    assert await server.node("deleteSubscription", session="c", id=mine["id"]) == ["BadSubscriptionIdInvalid"]
    await server.leave("a", "b")


async def test_what_a_client_may_take_is_bounded(server: Server) -> None:
    await server.enter("a")
    await server.node("subscribe", session="a", subscription="s", most=7)
    many = [server.at(SPEED)] * 35
    counted = await server.node("monitorMany", session="a", subscription="s", nodes=many)
    assert counted == {"Good": 30, "BadTooManyMonitoredItems": 5}
    await asyncio.sleep(0.5)
    told = [size for message in await server.node("messages", subscription="s") for size in message]
    assert sum(told) == 30 and max(told) == 7, "a message holds as much as was asked for"
    await server.node("subscribe", session="a", subscription="t")
    over = await server.node("monitorMany", session="a", subscription="t", nodes=many)
    assert over == {"Good": 10, "BadTooManyMonitoredItems": 25}, "40 in all"
    with pytest.raises(Refused, match="BadTooManySubscriptions"):
        await server.node("subscribe", session="a", subscription="u")
    with pytest.raises(Refused, match="BadTooManyOperations"):
        await server.node("read", session="a", nodes=[server.at(SPEED)] * 1001)
    for name in "bcde":
        await server.enter(name)
    with pytest.raises(Refused, match="BadTooManySessions"):
        await server.enter("f")
    await server.leave(*"abcdef")


# -- security ---------------------------------------------------------------------------------------------------------


async def test_each_policy_and_mode_is_a_channel_and_none_is_for_discovery(server: Server) -> None:
    for policy in ("Basic256Sha256", "Aes256_Sha256_RsaPss"):
        for mode in ("Sign", "SignAndEncrypt"):
            await server.connect("a", policy=policy, mode=mode)
            await server.node("session", client="a", session="a", user="observer", password="only looks on")
            assert (await server.node("read", session="a", nodes=[server.at("Health/opcua/State")]))[0][
                "status"
            ] == "Good"
            await server.connect("b", policy=policy, mode=mode)
            with pytest.raises(Refused, match="BadUserAccessDenied"):
                await server.node("session", client="b", session="b", user="observer", password="wrong")
            await server.leave("a", "b")
    await server.connect("a", policy="None", mode="None")
    found = await server.node("endpoints", client="a")
    assert [(one["policy"], one["mode"]) for one in found] == [
        ("None", "None"), ("Basic256Sha256", "SignAndEncrypt"), ("Basic256Sha256", "Sign"),
        ("Aes256_Sha256_RsaPss", "SignAndEncrypt"), ("Aes256_Sha256_RsaPss", "Sign"),
    ]  # fmt: skip
    assert all(set(one["tokens"]) == {"Certificate", "UserName"} for one in found), "anonymous is off by default"
    with pytest.raises(Refused, match="BadSecurityModeRejected"):
        await server.node("session", client="a", session="a", user="observer", password="only looks on")
    await server.leave("a")
    for policy in ("Basic128Rsa15", "Basic256", "Aes128_Sha256_RsaOaep"):
        with pytest.raises(Refused):
            await server.connect("x", policy=policy)


async def test_a_stranger_is_refused_trusted_and_refused_again_without_a_restart(server: Server) -> None:
    stranger = party("Stranger", 23)
    files = stranger.files(server.folder, "stranger")
    with pytest.raises(Refused):
        await server.connect("x", **files)
    shown = plantedge(server, "list")
    print_ = thumbprint(stranger.certificate)
    assert f"rejected {print_}  Stranger  {URI}" in shown
    plantedge(server, "trust", print_[:10])

    async def enters() -> bool:
        try:
            await server.connect("x", **files)
        except Refused:
            return False
        return True

    await until(enters, bool)
    await server.node("session", client="x", session="x", user="observer", password="only looks on")
    plantedge(server, "reject", print_[:10])
    await until(lambda: server.node("lost", client="x"), bool)
    with pytest.raises(Refused):
        await server.connect("y", **files)
    await server.leave("x")


async def test_an_authoritys_clients_are_let_in_until_it_revokes_them(server: Server) -> None:
    authority = party("Plant authority", 24, authority=True)
    client, other = party("Issued", 25, authority), party("Other", 26, authority)
    lists = Folders(server.device.home / CLIENTS)
    authority.put(lists.trusted)
    put_list(lists.trusted_crl, "plant", revocations(authority, [other]))
    files, revoked = client.files(server.folder, "issued"), other.files(server.folder, "other")

    async def enters() -> bool:
        try:
            await server.connect("x", **files)
        except Refused:
            return False
        return True

    await until(enters, bool)
    with pytest.raises(Refused):
        await server.connect("y", **revoked)
    await server.node("session", client="x", session="x", user="observer", password="only looks on")
    put_list(lists.trusted_crl, "plant", revocations(authority, [client, other]))
    await until(lambda: server.node("lost", client="x"), bool)
    await server.leave("x")


async def test_a_certificate_that_does_not_fit_is_no_client(server: Server) -> None:
    lists = Folders(server.device.home / CLIENTS)
    wrong = {"old": party("Old", 27, days=(-9, -1)), "server": party("Server", 28, client=False)}
    for one in wrong.values():
        one.put(lists.trusted)
    await asyncio.sleep(3.0)  # the server has looked
    for name, one in wrong.items():
        with pytest.raises(Refused):
            await server.connect("x", **one.files(server.folder, name))


async def test_a_role_says_who_writes_calls_and_reads_history(server: Server) -> None:
    await server.connect("a")
    with pytest.raises(Refused, match="ANONYMOUS"):
        await server.node("session", client="a", session="a")  # the endpoint does not offer it
    stranger = party("Mallory", 29, uri="urn:person").files(server.folder, "mallory")
    with pytest.raises(Refused, match="BadIdentityTokenRejected"):
        await server.node("session", client="a", session="a", **stranger)
    who = {
        "observer": {"user": "observer", "password": "only looks on"},
        "operator": {"user": "operator", "password": "correct horse"},
        "engineer": PERSON.files(server.folder, "person"),
    }
    found: dict[str, Any] = {}
    for role, proof in who.items():
        await server.connect(role)
        await server.node("session", client=role, session=role, **proof)
        node, server_object = server.at(SPEED), {"object": "i=2253", "method": "i=12886"}  # SetSubscriptionDurable
        found[role] = (
            await server.node("write", session=role, node=node, type="Float", value=1.0),
            await server.node("call", session=role, **server_object, arguments=[["UInt32", 1], ["UInt32", 1]]),
            await server.node("history", session=role, node=node),
        )
        await server.leave(role)
    await server.leave("a")
    denied = "BadUserAccessDenied"
    assert found["observer"][:2] == (denied, denied) and found["observer"][2] != denied
    for role in ("operator", "engineer"):
        assert found[role][0] == "BadTimeout", "it went to the connector, which is not there"
        assert denied not in found[role]
