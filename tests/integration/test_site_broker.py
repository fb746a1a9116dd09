"""What an MES reads at the broker of a site: mosquitto_sub, by TLS, with the broker's own accounts and rights."""

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bus.broker import password_file
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
from schemas.topics import EVENT, MES_RESULT, READING, RESULT, STATUS
from tests.bus.conftest import make_certificates
from tests.device import LINE, Device

pytestmark = pytest.mark.slow
OURS, PASSWORDS, WAIT_S = "plant/v1/s/l/n/", {"edge1": "of the device", "factory": "of the MES"}, 20.0
TAGS = "name,address,type,access,group,unit,deadband\nLine.Speed,hr:0,float32,r,fast,1/min,2\n"
BROKER = """
user root
per_listener_settings false
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
log_type none
listener {port} 127.0.0.1
cafile {folder}/tls/ca.crt
certfile {folder}/tls/server.crt
keyfile {folder}/tls/server.key
require_certificate true
"""
ACL = """
user edge1
topic write plant/v1/s/l/n/mes/#
topic write plant/v1/s/l/n/status/mirror
user factory
topic read #
"""
SETTINGS = """
[mirror]
sinks = ["mes", "site_broker"]
tag_hz = 10
[site_broker]
servers = [{servers}]
user = "edge1"
password_file = "identity/site.password"
ca = "identity/ca.crt"
certificate = "identity/client.crt"
key = "identity/client.key"
keep = 30
"""


class Site:
    """The site's broker."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Make its accounts and certificates."""
        self.port, self.folder = free_port(), folder
        make_certificates(folder / "tls")
        (folder / "passwords").write_text(password_file(PASSWORDS))
        (folder / "acl").write_text(ACL)
        (folder / "site.conf").write_text(BROKER.format(folder=folder, port=self.port))
        for secret in ("passwords", "acl"):
            (folder / secret).chmod(0o600)
        self._program = program
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without anything retained."""
        self._child = subprocess.Popen([self._program, "-c", self.folder / "site.conf"], stderr=subprocess.DEVNULL)
        _until(self._answers)

    def _answers(self) -> bool:
        assert self._child is not None and self._child.poll() is None, "the site's broker has ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it without a word."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(5)
            self._child = None


class Mes:
    """What the MES has read: topic, QoS, whether it was retained, payload."""

    def __init__(self) -> None:
        """Begin without any."""
        self.all: list[dict[str, Any]] = []
        self.more = asyncio.Event()

    async def read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        async for line in child.stdout:
            self.all.append(json.loads(line))
            self.more.set()

    def of(self, below: str) -> list[Any]:
        return [one["payload"] for one in self.all if one["topic"] == OURS + below]

    async def until(self, holds: Callable[[], Any]) -> Any:
        end = time.monotonic() + WAIT_S
        while not (value := holds()):
            self.more.clear()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self.more.wait()
            except TimeoutError:
                raise AssertionError(f"not within {WAIT_S:g} s; the last were {self.all[-5:]}") from None
        return value


@pytest.fixture
def site(peer: Callable[[str], Path], tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site(peer("mosquitto"), folder)
    site.start()
    yield site
    site.kill()


@pytest.fixture
def device(tmp_path: Path, site: Site) -> Iterator[Device]:
    device = Device(tmp_path, ("mirror", "connect-plc", "runtime-safety", "agent", "mes"))
    device.write("tags/plc.csv", TAGS)
    device.write("identity/site.password", PASSWORDS["edge1"] + "\n")
    for name in ("ca.crt", "client.crt", "client.key"):
        device.write(f"identity/{name}", (site.folder / "tls" / name).read_text())
    device.add("device.toml", LINE + SETTINGS.format(servers=f'"127.0.0.1:{site.port}"'))
    with device.running():
        yield device


@pytest.fixture
def mes(site: Site, peer: Callable[[str], Path]) -> Callable[[], Any]:
    program, tls = peer("mosquitto_sub"), site.folder / "tls"

    @asynccontextmanager
    async def reading() -> AsyncIterator[Mes]:
        child = await asyncio.create_subprocess_exec(
            program, "-h", "127.0.0.1", "-p", str(site.port), "-u", "factory", "-P", PASSWORDS["factory"],
            "--cafile", tls / "ca.crt", "--cert", tls / "client.crt", "--key", tls / "client.key", "-q", "1", "-t", "#",
            "-F", '{"topic":"%t","qos":%q,"retained":%r,"payload":%p}', stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        found = Mes()
        task = asyncio.create_task(found.read(child))
        try:
            yield found
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()
            await task

    return reading


def result(number: int) -> Result:
    return Result(
        result_id=f"caps-1-{number}", pipeline="caps", input="cam1", source_epoch=1, source_seq=number, part_id=number,
        outcome=Outcome.RESULT, verdict=Verdict.NOK, label="scratch", score=0.93, scores={}, quality=Quality.GOOD,
        reason="", latency=Latency(ingest=0.1, queue=0.1, preprocess=0, infer=0.2, total=0.75), deadline_ms=50,
        model="caps", version="3", digest="ab" * 32, time_ns=time.time_ns(),
    )  # fmt: skip


@asynccontextmanager
async def speaking(device: Device) -> AsyncIterator[dict[str, Publisher[Any]]]:
    """Publishers of what the mirror reads, once it does."""
    async with device.user("agent") as agent:
        heard = await agent.hear(STATUS, process="mirror")
        await heard.until(lambda status: status.state in (State.IDLE, State.ACTIVE))
    async with device.user("connect-plc") as plc, device.user("runtime-safety") as runtime:
        yield {
            "reading": Publisher(plc.bus, READING, Reading, device.place, source="plc"),
            "event": Publisher(plc.bus, EVENT, Event, device.place, origin="connect-plc", kind="plc_lost"),
            "audit": Publisher(plc.bus, EVENT, Event, device.place, origin="connect-plc", kind="write_done"),
            "result": Publisher(runtime.bus, RESULT, Result, device.place, pipeline="caps"),
        }


def reading(value: float) -> Reading:
    tags = {"Line.Speed": Sample(value=value)}
    return Reading(source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=time.time_ns(), tags=tags)


async def test_an_mes_reads_results_tags_and_events_as_at_the_device_and_nothing_else(
    device: Device, mes: Callable[[], Any]
) -> None:
    settings = (device.home / "device.toml").read_text()
    device.write("device.toml", settings.replace('servers = ["', f'servers = ["127.0.0.1:{free_port()}", "'))
    async with mes() as site, device.user("mes") as local:
        same = await local.hear(MES_RESULT)
        child = device.start("mirror")
        async with speaking(device) as say:
            await site.until(lambda: site.of("status/mirror"))
            await say["result"].deliver(result(7))
            say["reading"].send(reading(480.0))
            lost = Event(key="k", origin="connect-plc", code="plc_lost", phase=Phase.NEW, severity=Severity.ALARM,
                         text="plc: no answer", args={"source": "plc"}, time_ns=time.time_ns())  # fmt: skip
            await say["audit"].deliver(replace(lost, code="write_done", args={"origin": "opcua", "on_behalf": "ann"}))
            await say["event"].deliver(lost)
            (told,) = await site.until(lambda: site.of("mes/result/caps"))
            assert (told["schema"], told["result_id"], told["part_id"], told["verdict"]) == (
                "mes_result/1", "caps-1-7", 7, "nok",
            )  # fmt: skip
            assert (told["time"][-1], told["latency_ms"], told["model"]) == ("Z", 0.75, "caps")
            assert (await same.until()).result_id == told["result_id"]
            tag = (await site.until(lambda: site.of("mes/tag/plc/line_speed")))[0]
            assert (tag["tag"], tag["value"], tag["unit"], tag["quality"]) == ("Line.Speed", 480.0, "1/min", "good")
            (event,) = await site.until(lambda: site.of("mes/event/plc_lost"))
            assert not site.of("mes/event/write_done"), "for auditors"
            assert (event["code"], event["severity"], event["text"]) == ("plc_lost", "alarm", "plc: no answer")
            say["reading"].send(reading(481.0))  # within its deadband
            say["reading"].send(reading(490.0))
            await site.until(lambda: [one["value"] for one in site.of("mes/tag/plc/line_speed")] == [480.0, 490.0])
        assert {one["topic"].removeprefix(OURS).split("/")[0] for one in site.all} == {"mes", "status"}
        assert {one["qos"] for one in site.all} == {1}
        assert site.of("status/mirror")[-1]["state"] in ("active", "idle")
        async with mes() as late:
            await late.until(lambda: late.of("mes/result/caps") and late.of("mes/tag/plc/line_speed"))
            assert all(one["retained"] for one in late.all[:2]) and not late.of("mes/event/plc_lost")
        child.kill()
        await site.until(lambda: site.of("status/mirror")[-1]["state"] == "stopped")
        assert site.of("status/mirror")[-1]["reason"] == "connection lost"


async def test_what_happens_while_the_broker_is_away_comes_when_it_is_back_and_the_oldest_give_way(
    device: Device, site: Site, mes: Callable[[], Any]
) -> None:
    device.start("mirror")
    async with speaking(device) as say:
        async with mes() as before:
            await before.until(lambda: before.of("status/mirror"))
            for number in range(1, 4):
                await say["result"].deliver(result(number))
            await before.until(lambda: len(before.of("mes/result/caps")) == 3)
        site.kill()
        async with device.user("mes") as local:
            heard = await local.hear(MES_RESULT)
            for number in range(4, 45):
                await say["result"].deliver(result(number))
            await heard.until(lambda one: one.result_id == "caps-1-44")  # at the device nothing waits
        say["reading"].send(reading(500.0))
        site.start()
        async with mes() as after:
            await after.until(lambda: any(one["part_id"] == 44 for one in after.of("mes/result/caps")))
            say["reading"].send(reading(501.0))  # within the deadband of what was told before the broker was away
            await after.until(lambda: after.of("mes/tag/plc/line_speed"))
            parts = [one["part_id"] for one in after.of("mes/result/caps")]
            await say["result"].deliver(result(45))
            await after.until(lambda: after.of("mes/result/caps")[-1]["part_id"] == 45)
            seqs = [one["seq"] for one in after.of("mes/result/caps")]
    # The reader may come after the first; some of the oldest were on their way when the broker ended.
    assert parts == sorted(set(parts)), "each once, in their order"
    assert len([part for part in parts if part < 15]) < 11, "of all but the newest thirty some gave way"
    assert seqs[-1] == 45, "and the numbers show what gave way"


async def test_a_broker_that_refuses_us_holds_nobody_up_and_is_tried_again(
    device: Device, mes: Callable[[], Any]
) -> None:
    device.write("identity/site.password", "wrong")
    device.start("mirror")
    async with speaking(device) as say, device.user("mes") as local:
        heard = await local.hear(MES_RESULT)
        await say["result"].deliver(result(1))
        await heard.until(lambda one: one.part_id == 1)
        await asyncio.to_thread(_until, lambda: "refused" in device.log("mirror"))
        said = await local.hear(STATUS, process="mirror")
        await said.until(lambda status: "refused edge1" in status.reason)
        async with mes() as site:
            device.write("identity/site.password", PASSWORDS["edge1"])
            await site.until(lambda: [one["part_id"] for one in site.of("mes/result/caps")] == [1])
        told = len(said.all)
        await said.until(lambda status: status in said.all[told:] and "site broker" not in status.reason)
    assert PASSWORDS["edge1"] not in device.log("mirror") and "wrong" not in device.log("mirror")


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
