"""The running line, seen by programs that share no code with it: one `plantedge up`, many witnesses.

mosquitto_sub and the plain msgpack package read the bus, node-opcua the server, InfluxQL the history, mbpoll the coil,
and Chromium the fleet page while the PLC's cable is cut.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest
from playwright.async_api import async_playwright

from edge.settings import Settings, load_settings
from edge.supervision.run_state import read_state
from schemas.messages import schema_of
from schemas.topics import Codec, row_of
from tests.conftest import find_node_module, find_program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CLIENT = Path(__file__).parent.parent / "peers" / "opcua_client.js"
BROWSER = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A ready line: its folders and addresses."""

    work: Path
    home: Path
    urls: dict[str, str]

    @property
    def settings(self) -> Settings:
        return load_settings(self.home)

    def password(self, user: str) -> str:
        settings = self.settings
        return str(json.loads((self.home / settings.broker.credentials).read_text())[user])

    def ask(self, *arguments: str) -> str:
        """Run a `plantedge` command beside the line."""
        argv = [sys.executable, "-P", "-m", "edge.cli", *arguments]
        env = {**os.environ, "PLANTEDGE_DIR": str(self.work)}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=40, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    find_program("influxd")
    work = tmp_path_factory.mktemp("line")
    argv = [sys.executable, "-P", "-m", "edge.cli", "up", "--plain", "--influx-local", "--for", "600"]
    with (work / "up.txt").open("wb") as output:
        process = subprocess.Popen(argv, env={**os.environ, "PLANTEDGE_DIR": str(work)}, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 120
        while not ((state := read_state(work)) and state.ready_s is not None):
            assert process.poll() is None, (work / "up.txt").read_text()
            assert time.monotonic() < end, (work / "up.txt").read_text()
            time.sleep(0.2)
        yield Line(work, work / "demo" / "device", dict(state.urls))
    finally:
        process.terminate()
        process.wait(15)


def test_mosquitto_sub_and_plain_msgpack_read_every_message(line: Line) -> None:
    settings = line.settings
    argv = [
        find_program("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(settings.broker.port), "-V", "mqttv5", "-u", "cli",
        "-P", line.password("cli"), "-t", "plant/#", "-C", "400", "-W", "30", "-F", "%t %x",
    ]  # fmt: skip
    printed = subprocess.run(argv, capture_output=True, text=True, timeout=40, check=True).stdout
    seen: dict[str, int] = {}
    for text in printed.splitlines():
        topic, _, payload = text.partition(" ")
        row = row_of(topic)
        assert row is not None, f"{topic} is not in the table"
        raw = bytes.fromhex(payload)
        message: dict[str, Any] = json.loads(raw) if row.codec is Codec.JSON else msgpack.unpackb(raw)
        assert message["schema"] in {schema_of(kind) for kind in row.messages}
        assert message["epoch"] > 0
        seen[row.key] = seen.get(row.key, 0) + 1
    assert {"READING", "RESULT", "OUTPUT", "STATUS", "MES_RESULT", "MES_TAG", "SLOT_STATE"} <= set(seen), seen


def test_an_mes_reader_sees_json_and_neither_frames_nor_raw_data(line: Line) -> None:
    settings = line.settings
    argv = [
        find_program("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(settings.broker.port), "-u", "mes",
        "-P", line.password("mes"), "-t", "#", "-C", "100", "-W", "30", "-F", "%t %p",
    ]  # fmt: skip
    printed = subprocess.run(argv, capture_output=True, text=True, timeout=40, check=True).stdout
    topics = {text.partition(" ")[0] for text in printed.splitlines()}
    assert topics
    assert all(re.search(r"/(mes|status|reply)/", topic) for topic in topics), topics
    result = next(json.loads(text.partition(" ")[2]) for text in printed.splitlines() if "/mes/result/" in text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", result["time"])
    assert result["verdict"] in ("ok", "nok", "unknown")


def test_node_opcua_sees_results_with_quality_and_time(line: Line, tmp_path: Path) -> None:
    modules = find_node_module("node-opcua-client").parent
    place = line.settings.place
    reads = ["Pipelines/cap_inspection/Verdict", "Pipelines/cap_inspection/PartId", "Sources/plant/Line.Speed"]
    asked = {"endpoint": line.urls["OPC UA"], "root": f"{place.site}/{place.line}/{place.node}", "read": reads}
    env = os.environ | {"NODE_PATH": str(modules), "HOME": str(tmp_path)}
    done = subprocess.run(
        ["node", str(CLIENT), json.dumps(asked)], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["security"] == "Basic256Sha256"
    values = answer["values"]
    assert values[reads[0]]["value"] in ("ok", "nok")
    assert values[reads[1]]["value"] > 0
    assert values[reads[2]]["value"] > 100
    for path in reads:
        assert values[path]["status"] == "Good"
        assert abs(values[path]["sourceTimestampMs"] - time.time() * 1000) < 10_000


def test_influxql_finds_the_results_of_the_line(line: Line) -> None:
    influx = line.settings.historian.influx
    assert influx is not None
    query = {"db": influx.database, "q": "select count(result_id) from result where pipeline = 'cap_inspection'"}
    end, count = time.monotonic() + 20, 0
    while count < 20 and time.monotonic() < end:
        with urllib.request.urlopen(f"{influx.url}/query?{urllib.parse.urlencode(query)}", timeout=5) as answer:
            series = json.load(answer)["results"][0].get("series")
        count = series[0]["values"][0][1] if series else 0
        time.sleep(0.5)
    assert count >= 20


def test_mbpoll_sees_the_coil_that_decisions_move(line: Line) -> None:
    port = line.settings.sources["plant"].port
    argv = [find_program("mbpoll"), "-m", "tcp", "-p", str(port), "-t", "0", "-r", "1", "-c", "1", "-1", "127.0.0.1"]
    seen: set[str] = set()
    end = time.monotonic() + 40
    while seen != {"0", "1"} and time.monotonic() < end:
        printed = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True).stdout
        seen |= set(re.findall(r"\[1\]:\s+(\d)", printed))
    assert seen == {"0", "1"}, "good parts clear it, rejects set it"


async def test_a_browser_sees_the_device_lose_its_plc_and_come_back(line: Line) -> None:
    chromium = find_program("chromium")
    node = line.settings.device.node
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(chromium), args=list(BROWSER))
        page = await browser.new_page()
        await page.goto(line.urls["dashboard"])
        await page.goto(urllib.parse.urljoin(line.urls["dashboard"], "/devices"))
        row = page.get_by_role("row").filter(has_text=node)
        await row.wait_for(timeout=20_000)
        await _state(row.inner_text, "ok", 40)
        await asyncio.to_thread(line.ask, "sim", "fault", "cut", "--for", "12")
        await _state(row.inner_text, "alarm", 40)
        await _state(row.inner_text, "ok", 60)
        await browser.close()


async def _state(text: Callable[[], Any], wanted: str, within_s: float) -> None:
    end = time.monotonic() + within_s
    while wanted not in (found := (await text()).lower()):
        assert time.monotonic() < end, f"{wanted} is not in {found!r}"
        await asyncio.sleep(0.2)
