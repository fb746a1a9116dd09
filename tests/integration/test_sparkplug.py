"""The edge node of Sparkplug B, seen by a host that shares no code with it (mqtt.js and sparkplug-payload).

A test names the assertions of Sparkplug 3.0 that it shows in `proves`; `test_what_is_claimed_is_tested` holds the
documentation to them.
"""

import asyncio
import json
import re
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.mosquitto import free_port
from bus.typed import Publisher
from schemas.messages import (
    Event,
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
from schemas.topics import EVENT, READING, RESULT, STATUS
from tests.device import LINE, Device

pytestmark = [pytest.mark.slow]
HOST = Path(__file__).parent.parent / "peers" / "sparkplug_host.js"
ROOT = Path(__file__).parent.parent.parent
NODE = "spBv1.0/s/{}/n"
TAGS = """name,address,type,access,group,unit,min,max,deadband
Line.Speed,hr:0,float32,r,fast,1/min,0,1200,2
Line.Parts,hr:2,uint32,r,fast,,,,
Line.Offset,hr:4,int16,r,fast,,,,
Line.Wide,hr:6,uint64,r,fast,,,,
Line.Name,hr:12,string:8,r,fast,,,,
Line.Zones,hr:20,int16[3],r,fast,,,,
Line.Doors,coil:0,bool[10],r,fast,,,,
Eject.Reject,coil:20,bool,rw,fast,,,,
"""
SETTINGS = """
[mirror]
sinks = ["mes", "sparkplug"]
tag_hz = 10
[sparkplug]
servers = ["127.0.0.1:{port}"]
{more}
"""
WAIT_S = 20.0


def proves(*assertions: str) -> Callable[[Any], Any]:
    """Mark a test with the assertions (`tck-id-…`) that it shows."""

    def mark(test: Any) -> Any:
        test.assertions = assertions
        return test

    return mark


class Site:
    """The site's broker."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Choose a port."""
        self.port = free_port()
        self._program, self._file = program, folder / "site.conf"
        self._file.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nlog_type none\n")
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self._child = subprocess.Popen([self._program, "-c", self._file], stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it without a word."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(5)
            self._child = None


class Host:
    """What the host application has read."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        """Begin without any."""
        self.child = child
        self.all: list[Any] = []
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.child.stdout is not None
        async for line in self.child.stdout:
            self.all.append(json.loads(line))
            self._more.set()

    def say(self, line: str) -> None:
        """Give it an order."""
        assert self.child.stdin is not None
        self.child.stdin.write(f"{line}\n".encode())

    def of(self, kind: str, device: str = "") -> list[Any]:
        """The messages of a kind, of the node or one of its devices, as they came."""
        topic = NODE.format(kind) + (f"/{device}" if device else "")
        return [one for one in self.all if one["topic"] == topic]

    async def until(self, holds: Callable[[], Any], what: str) -> Any:
        """The first true value of a condition over what has come."""
        end = time.monotonic() + WAIT_S
        while not (value := holds()):
            self._more.clear()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self._more.wait()
            except TimeoutError:
                told = [(one["topic"], one.get("payload", {}).get("seq")) for one in self.all[-8:]]
                raise AssertionError(f"{what}: not within {WAIT_S:g} s; the last were {told}") from None
        return value

    async def close(self) -> None:
        """End it."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        await asyncio.wait_for(self.child.wait(), 10)
        await self._reading


@pytest.fixture
def site(peer: Callable[[str], Path], tmp_path: Path) -> Iterator[Site]:
    site = Site(peer("mosquitto"), tmp_path)
    site.start()
    yield site
    site.kill()


@pytest.fixture
def device(tmp_path: Path, site: Site) -> Iterator[Device]:
    device = Device(tmp_path, ("mirror", "connect-plc", "runtime-safety", "agent"))
    device.write("tags/plc.csv", TAGS)
    with device.running():
        yield device


def configure(device: Device, site: Site, more: str = "") -> None:
    device.add("device.toml", LINE + SETTINGS.format(port=site.port, more=more))


Hosts = Callable[[], Any]


@pytest.fixture
def hosts(site: Site, node_module: Callable[[str], Path]) -> Hosts:
    modules = node_module("sparkplug-payload").parent

    @asynccontextmanager
    async def host() -> AsyncIterator[Host]:
        child = await asyncio.create_subprocess_exec(
            "node", str(HOST), str(modules), str(site.port), "scada",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=4_000_000,
        )  # fmt: skip
        host = Host(child)
        try:
            await host.until(lambda: any(one["topic"] == "ready" for one in host.all), "the host's subscription")
            yield host
        finally:
            await host.close()

    return host


def reading(**tags: Any) -> Reading:
    samples = {name.replace("_", ".", 1): Sample(value=value) for name, value in tags.items()}
    return Reading(source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=time.time_ns(), tags=samples)


def result(number: int, verdict: Verdict = Verdict.OK) -> Result:
    return Result(
        result_id=f"caps-1-{number}", pipeline="caps", input="cam1", source_epoch=1, source_seq=number, part_id=number,
        outcome=Outcome.RESULT, verdict=verdict, label="scratch", score=0.93, scores={}, quality=Quality.GOOD,
        reason="", latency=Latency(ingest=0.1, queue=0.1, preprocess=0, infer=0.2, total=0.75), deadline_ms=50,
        model="caps", version="3", digest="ab" * 32, time_ns=time.time_ns(),
    )  # fmt: skip


def event(code: str, phase: Phase) -> Event:
    return Event(
        key=f"connect-plc-{code}", origin="connect-plc", code=code, phase=phase, severity=Severity.ALARM,
        text="plc: no answer", args={"source": "plc"}, time_ns=time.time_ns(),
    )  # fmt: skip


@asynccontextmanager
async def speaking(device: Device) -> AsyncIterator[dict[str, Publisher[Any]]]:
    """Publishers of what the mirror reads."""
    async with device.user("connect-plc") as plc, device.user("runtime-safety") as runtime:
        yield {
            "reading": Publisher(plc.bus, READING, Reading, device.place, source="plc"),
            "event": Publisher(plc.bus, EVENT, Event, device.place, origin="connect-plc", kind="plc_lost"),
            "result": Publisher(runtime.bus, RESULT, Result, device.place, pipeline="caps"),
        }


async def listening(device: Device) -> None:
    """Wait until the mirror reads the device's bus."""
    async with device.user("agent") as agent:
        heard = await agent.hear(STATUS, process="mirror")
        await heard.until(lambda status: status.state is State.IDLE)


def metrics(message: Any) -> dict[str, Any]:
    """Name (or alias, where there is none) -> metric."""
    return {one.get("name") or one["alias"]: one for one in message["payload"]["metrics"]}


def aliases(host: Host, device: str = "plc") -> dict[str, int]:
    return {one["name"]: one["alias"] for one in host.of("DBIRTH", device)[-1]["payload"]["metrics"]}


def told(host: Host, device: str, name: str) -> list[Any]:
    """The values of a metric in the data of a device since its last birth, as they came."""
    alias = aliases(host, device)[name]
    found = [one for message in host.of("DDATA", device) for one in message["payload"]["metrics"]]
    return [one for one in found if one["alias"] == alias]


async def born(host: Host, times: int = 1) -> Any:
    await host.until(lambda: len(host.of("DBIRTH", "caps")) >= times, "births")
    return host.of("NBIRTH")[-1]


def numbers(host: Host) -> list[int]:
    """Sequence numbers of everything the node said, in the order in which it came."""
    kinds = ("NBIRTH", "NDATA", "DBIRTH", "DDATA", "DDEATH")
    return [one["payload"]["seq"] for one in host.all if any(f"/{kind}/" in one["topic"] for kind in kinds)]


# --- births and data --------------------------------------------------------------------------------------------------


@proves(
    "tck-id-topics-nbirth-topic", "tck-id-topics-nbirth-mqtt", "tck-id-topics-nbirth-seq-num",
    "tck-id-topics-nbirth-timestamp", "tck-id-topics-nbirth-metrics", "tck-id-topics-nbirth-bdseq-included",
    "tck-id-topics-nbirth-rebirth-metric", "tck-id-topics-dbirth-topic", "tck-id-topics-dbirth-mqtt",
    "tck-id-topics-dbirth-seq", "tck-id-topics-dbirth-timestamp", "tck-id-topics-dbirth-metric-reqs",
    "tck-id-topics-dbirth-metrics", "tck-id-payloads-alias-uniqueness", "tck-id-payloads-alias-birth-requirement",
    "tck-id-payloads-metric-datatype-req", "tck-id-payloads-name-birth-data-requirement",
    "tck-id-payloads-dbirth-order", "tck-id-payloads-propertyset-quality-value-type",
    "tck-id-payloads-propertyset-quality-value-value",
    "tck-id-operational-behavior-data-commands-rebirth-name-aliases",
)  # fmt: skip
async def test_the_node_is_born_and_then_each_of_its_devices(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site)
    async with hosts() as host:
        device.start("mirror")
        birth = await born(host)
        first = [one for one in host.all if one["topic"].startswith("spBv1.0/")][:3]
        assert [one["topic"] for one in first] == [
            "spBv1.0/s/NBIRTH/n", "spBv1.0/s/DBIRTH/n/plc", "spBv1.0/s/DBIRTH/n/caps",
        ]  # fmt: skip
        assert all(one["qos"] == 0 and not one["retain"] for one in first)
        assert [one["payload"]["seq"] for one in first] == [0, 1, 2]
        node = metrics(birth)
        assert (node["bdSeq"]["value"], node["bdSeq"]["type"]) == (0, "Int64")
        assert node["Node Control/Rebirth"]["value"] is False
        assert node["Node Control/Rebirth"]["type"] == "Boolean"
        assert "alias" not in node["Node Control/Rebirth"]
        assert node["Properties/Software"]["value"].startswith("PlantEdge")
        plc = metrics(first[1])
        assert list(plc) == [line.split(",")[0] for line in TAGS.splitlines()[1:]]
        assert plc["Line.Parts"]["type"] == "UInt32"
        assert plc["Line.Speed"]["properties"]["engUnit"] == {"type": "String", "value": "1/min"}
        assert plc["Line.Speed"]["properties"]["Quality"] == {"type": "Int32", "value": 500}, "no value yet is stale"
        everything = [one for message in first for one in message["payload"]["metrics"] if "alias" in one]
        assert len({one["alias"] for one in everything}) == len(everything)
        now_ms = time.time() * 1000
        assert all(now_ms - 60_000 < one["timestamp"] <= now_ms for one in everything if one["timestamp"])
        assert all(now_ms - 60_000 < one["payload"]["timestamp"] <= now_ms for one in first)


@proves(
    "tck-id-topics-ddata-topic", "tck-id-topics-ddata-mqtt", "tck-id-topics-ddata-seq-num",
    "tck-id-topics-ddata-timestamp", "tck-id-topics-ddata-payload", "tck-id-payloads-alias-data-cmd-requirement",
    "tck-id-payloads-sequence-num-incrementing", "tck-id-payloads-ddata-order", "tck-id-topics-ndata-topic",
    "tck-id-topics-ndata-mqtt", "tck-id-topics-ndata-seq-num", "tck-id-payloads-metric-datatype-value",
)  # fmt: skip
async def test_values_of_every_type_arrive_as_they_were(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site)
    async with hosts() as host, speaking(device) as say:
        device.start("mirror")
        await born(host)
        values: dict[str, Any] = {
            "Line_Speed": 612.5, "Line_Parts": 4_000_000_000, "Line_Offset": -7, "Line_Wide": 2**53 - 1,
            "Line_Name": "Füller", "Line_Zones": [-1, 2, 300], "Eject_Reject": True,
            "Line_Doors": [True, False, True, False, False, False, False, False, False, True],
        }  # fmt: skip
        say["reading"].send(reading(**values))
        say["result"].send(result(7, Verdict.NOK))
        say["event"].send(event("tag_failsafe", Phase.NEW))
        await host.until(lambda: host.of("DDATA", "plc"), "the tags")
        await host.until(lambda: host.of("DDATA", "caps"), "the result")
        await host.until(lambda: host.of("NDATA"), "the event")
        names = {alias: name for name, alias in aliases(host).items()}
        plc = {names[one["alias"]]: one for one in host.of("DDATA", "plc")[0]["payload"]["metrics"]}
        assert all(not one.get("name") for one in host.of("DDATA", "plc")[0]["payload"]["metrics"])
        for name in ("Line.Speed", "Line.Parts", "Line.Wide", "Line.Name", "Eject.Reject"):
            assert plc[name]["value"] == values[name.replace(".", "_")], name
        assert plc["Line.Offset"]["value"] in (-7, 0xFFFF_FFF9)  # the decoder leaves two's complement to its reader
        assert all("properties" not in one for one in plc.values()), "good is not said"
        names = {alias: name for name, alias in aliases(host, "caps").items()}
        caps = {names[one["alias"]]: one["value"] for one in host.of("DDATA", "caps")[0]["payload"]["metrics"]}
        assert (caps["Result/Verdict"], caps["Result/Part"], caps["Result/Score"]) == ("nok", 7, 0.93)
        assert all(one["qos"] == 0 and not one["retain"] for one in host.of("DDATA", "plc") + host.of("NDATA"))
        assert numbers(host) == list(range(len(numbers(host))))


@proves("tck-id-payloads-name-requirement")
async def test_without_aliases_each_metric_is_named(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site, "aliases = false")
    async with hosts() as host, speaking(device) as say:
        device.start("mirror")
        await born(host)
        say["reading"].send(reading(Line_Speed=612.5))
        await host.until(lambda: host.of("DDATA", "plc"), "data")
        (metric,) = host.of("DDATA", "plc")[0]["payload"]["metrics"]
        assert (metric["name"], metric.get("alias")) == ("Line.Speed", None)


async def test_only_what_moved_is_told_and_a_bad_value_is_null(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site)
    async with hosts() as host, speaking(device) as say:
        device.start("mirror")
        await born(host)
        say["reading"].send(reading(Line_Speed=600.0, Line_Parts=1))
        await host.until(lambda: told(host, "plc", "Line.Speed"), "the first value")
        say["reading"].send(reading(Line_Speed=601.0, Line_Parts=2))  # within the deadband of 2
        await host.until(lambda: len(told(host, "plc", "Line.Parts")) == 2, "the part")
        bad = Sample(value=None, quality=Quality.BAD, reason="sensor broken")
        say["reading"].send(
            Reading(
                source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=time.time_ns(),
                tags={"Line.Speed": bad},
            )
        )  # fmt: skip
        await host.until(lambda: len(told(host, "plc", "Line.Speed")) == 2, "the bad one")
        good, then = told(host, "plc", "Line.Speed")
        assert good["value"] == 600.0
        assert then["value"] is None
        assert then["properties"]["Quality"]["value"] == 0


async def test_numbers_go_round_after_255(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site)
    async with hosts() as host, speaking(device) as say:
        device.start("mirror")
        await born(host)
        for number in range(300):
            say["result"].send(result(number))
        await host.until(lambda: len(host.of("DDATA", "caps")) == 300, "300 results")
        assert numbers(host)[:303] == [number % 256 for number in range(303)]


# --- deaths -----------------------------------------------------------------------------------------------------------


@proves("tck-id-topics-ddeath-topic", "tck-id-topics-ddeath-mqtt", "tck-id-topics-ddeath-seq-num",
        "tck-id-operational-behavior-device-ddeath", "tck-id-payloads-ddeath-timestamp")  # fmt: skip
async def test_a_lost_plc_is_a_dead_device_until_it_is_back(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site)
    async with hosts() as host, speaking(device) as say:
        device.start("mirror")
        await born(host)
        say["event"].send(event("plc_lost", Phase.NEW))
        await host.until(lambda: host.of("DDEATH", "plc"), "the device's death")
        say["reading"].send(reading(Line_Parts=5))
        say["event"].send(event("plc_lost", Phase.END))
        await host.until(lambda: len(host.of("DBIRTH", "plc")) == 2, "its birth")
        assert metrics(host.of("DBIRTH", "plc")[1])["Line.Parts"]["value"] == 5
        assert not host.of("DDATA", "plc"), "a dead device says nothing"
        assert numbers(host) == list(range(len(numbers(host))))


@proves("tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath", "tck-id-topics-ndeath-topic",
        "tck-id-topics-ndeath-payload", "tck-id-topics-ndeath-seq", "tck-id-payloads-ndeath-bdseq",
        "tck-id-operational-behavior-edge-node-intentional-disconnect-packet")  # fmt: skip
async def test_a_normal_end_is_said_once(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site)
    async with hosts() as host:
        mirror = device.start("mirror")
        await born(host)
        mirror.terminate()
        assert mirror.wait(10) == 0
        await host.until(lambda: host.of("NDEATH"), "the node's death")
        await asyncio.sleep(0.3)  # a will would come now
        (death,) = host.of("NDEATH")
        assert [one["name"] for one in death["payload"]["metrics"]] == ["bdSeq"]
        assert metrics(death)["bdSeq"]["value"] == metrics(host.of("NBIRTH")[0])["bdSeq"]["value"]
        assert death["payload"].get("seq") is None
        assert not death["retain"]


@proves("tck-id-payloads-ndeath-will-message", "tck-id-topics-nbirth-bdseq-matching")
async def test_a_killed_mirror_is_dead_by_its_will(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site)
    async with hosts() as host:
        mirror = device.start("mirror")
        await born(host)
        mirror.kill()
        await host.until(lambda: host.of("NDEATH"), "the will")
        assert metrics(host.of("NDEATH")[0])["bdSeq"]["value"] == metrics(host.of("NBIRTH")[0])["bdSeq"]["value"]


@proves("tck-id-topics-nbirth-bdseq-increment", "tck-id-message-flow-edge-node-birth-publish-connect")
async def test_what_happened_while_the_broker_was_away_is_told_as_historical(
    device: Device, site: Site, hosts: Hosts
) -> None:
    configure(device, site, 'keep = 200\nprimary_host = "scada"')
    async with speaking(device) as say:
        async with hosts() as host:
            host.say("online 1000")
            device.start("mirror")
            await born(host)
        site.kill()
        await asyncio.sleep(0.5)
        for number in range(250):  # 50 more than are kept
            say["result"].send(result(number))
        await asyncio.sleep(0.5)
        site.start()
        async with hosts() as host:
            host.say("online 2000")
            birth = await born(host)
            await host.until(lambda: len(told(host, "caps", "Result/Part")) >= 200, "what was kept")
            parts = [one["value"] for one in told(host, "caps", "Result/Part") if one.get("isHistorical")]
            assert parts == list(range(50, 250))
            assert metrics(birth)["bdSeq"]["value"] >= 1
            assert numbers(host) == list(range(len(numbers(host))))


@proves("tck-id-payloads-ndeath-will-message-qos", "tck-id-payloads-ndeath-will-message-retain",
        "tck-id-principles-persistence-clean-session-50")  # fmt: skip
async def test_a_session_begins_clean_with_a_will_of_qos_1(device: Device, site: Site) -> None:
    site.kill()
    configure(device, site)
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard.put(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", site.port):
        device.start("mirror")
        packet = await asyncio.wait_for(heard.get(), WAIT_S)
    place = packet.index(b"MQTT") + 4
    version, flags = packet[place], packet[place + 1]
    assert version == 5
    assert flags & 0b0000_0010, "clean start"
    assert flags & 0b0000_0100, "a will"
    assert flags >> 3 & 0b11 == 1, "QoS 1"
    assert not flags & 0b0010_0000, "not retained"
    (length,) = struct.unpack_from(">H", packet, place + 2 + 2 + 1)  # nothing else than where it expects the ids
    assert b"spBv1.0/s/NDEATH/n" in packet, length


# --- the host ---------------------------------------------------------------------------------------------------------


@proves("tck-id-topics-ncmd-topic", "tck-id-operational-behavior-data-commands-rebirth-action-1",
        "tck-id-operational-behavior-data-commands-rebirth-action-2")  # fmt: skip
async def test_a_host_may_ask_for_everything_anew(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site)
    async with hosts() as host, speaking(device) as say:
        device.start("mirror")
        await born(host)
        say["reading"].send(reading(Line_Parts=3))
        await host.until(lambda: told(host, "plc", "Line.Parts"), "data")
        host.say("raw spBv1.0/s/NCMD/n nonsense")
        host.say("raw spBv1.0/s/DCMD/n/plc nonsense")
        host.say("rebirth spBv1.0/s/NCMD/n")
        birth = await born(host, 2)
        assert birth["payload"]["seq"] == 0
        first, second = host.of("NBIRTH")
        assert metrics(first)["bdSeq"]["value"] == metrics(second)["bdSeq"]["value"], "it is the same session"
        assert metrics(host.of("DBIRTH", "plc")[1])["Line.Parts"]["value"] == 3
        assert "not a Sparkplug B payload" in device.log("mirror")
        assert "devices take no commands" in device.log("mirror")


@proves("tck-id-message-flow-edge-node-birth-publish-phid-wait",
        "tck-id-operational-behavior-edge-node-birth-sequence-wait",
        "tck-id-message-flow-edge-node-birth-publish-phid-offline")  # fmt: skip
async def test_without_its_primary_host_the_node_is_silent(device: Device, site: Site, hosts: Hosts) -> None:
    configure(device, site, 'primary_host = "scada"')
    async with hosts() as host, speaking(device) as say:
        device.start("mirror")
        await listening(device)
        say["result"].send(result(1))
        await asyncio.sleep(0.5)
        assert not host.of("NBIRTH")
        host.say("online 1000")
        await born(host)
        await host.until(lambda: told(host, "caps", "Result/Part"), "what was kept")
        assert told(host, "caps", "Result/Part")[0]["isHistorical"]
        host.say("offline 900")  # of a session before
        host.say("offline 1000")
        await host.until(lambda: host.of("NDEATH"), "the node's goodbye")
        await asyncio.sleep(1.0)
        assert len(host.of("NBIRTH")) == 1
        host.say("online 2000")
        birth = await born(host, 2)
        assert metrics(birth)["bdSeq"]["value"] > metrics(host.of("NDEATH")[0])["bdSeq"]["value"]


@proves("tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk")
async def test_the_node_walks_to_the_server_whose_host_is_there(
    device: Device, site: Site, hosts: Hosts, peer: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Site(peer("mosquitto"), tmp_path_factory.mktemp("other"))
    other.start()
    try:
        configure(device, site, 'primary_host = "scada"')
        text = (device.home / "device.toml").read_text()
        both = f'servers = ["127.0.0.1:{other.port}", "127.0.0.1:{site.port}"]'
        device.write("device.toml", text.replace(f'servers = ["127.0.0.1:{site.port}"]', both))
        async with hosts() as host:
            host.say("online 1000")
            device.start("mirror")
            await born(host)
    finally:
        other.kill()


# --- what is claimed --------------------------------------------------------------------------------------------------


def test_what_is_claimed_is_tested() -> None:
    shown = {one for test in list(globals().values()) for one in getattr(test, "assertions", ())}
    page = (ROOT / "docs" / "reference" / "sparkplug.md").read_text()
    assert set(re.findall(r"tck-id-[a-zA-Z0-9_-]+", page)) == shown
