"""What a device tells by HTTP, of real processes: ready while data flows, and counters that agree with the bus."""

import asyncio
import itertools
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from edge.host.metric_file import look, metric_folder
from schemas.messages import Outcome, State, Status
from schemas.topics import RESULT, STATUS
from tests.device import INSPECT, Device, Heard, User
from tests.edge.small_models import write_classifier

pytestmark = pytest.mark.slow

PLAYED = ("agent", "historian", "mirror", "opcua")  # by the test: what they do is not asked for here
LINE = """
[cameras.cam1]
driver = "folder"
address = "pictures"
options = {{ rate_hz = 50 }}
[monitor]
port = {port}
window_s = 2.0
"""
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}
Figures = dict[tuple[str, str], float]


@dataclass
class Seen:
    """The device under test, from outside."""

    device: Device
    http: httpx.AsyncClient
    results: Heard
    runtime: "subprocess.Popen[bytes]"
    camera: "subprocess.Popen[bytes]"

    async def until(self, path: str, wanted: Callable[[httpx.Response], bool], within_s: float = 20.0) -> Any:
        """Ask until the answer is the wanted one."""
        end, answer = time.monotonic() + within_s, None
        while time.monotonic() < end:
            try:
                answer = await self.http.get(path)
            except httpx.TransportError:  # it does not listen yet
                await asyncio.sleep(0.05)
                continue
            if wanted(answer):
                return answer.json()
            await asyncio.sleep(0.05)
        raise AssertionError(f"{path}: {answer.text if answer else 'no answer'}")

    async def ready(self) -> None:
        await self.until("/v2/health/ready", lambda answer: answer.status_code == 200)

    async def not_ready(self, why: str) -> None:
        """It says so, and names the cause."""
        await self.until("/v2/health/ready", lambda answer: answer.status_code == 503 and why in answer.text)

    async def figures(self, process: str = "runtime-safety") -> Figures:
        """Values by name and the label that tells series apart."""
        text = (await self.http.get(f"/metrics/{process}", headers=OPENMETRICS)).text
        return {
            (sample.name, sample.labels.get("reason") or sample.labels.get("stage") or ""): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("version") != "" and "le" not in sample.labels
        }


@asynccontextmanager
async def seen(tmp_path: Path, port: int) -> AsyncIterator[Seen]:
    """A camera, a runtime and a monitor that run; the other processes say that they are well."""
    device = Device(tmp_path, ("runtime-safety", "camera-cam1", "monitor", *PLAYED))
    device.add("device.toml", LINE.format(port=port) + INSPECT)
    write_classifier(device.home / "models")
    picture = np.tile(np.arange(8, dtype=np.uint8)[:, None, None] * 8, (1, 8, 3))
    (device.home / "pictures").mkdir()
    Image.fromarray(picture).save(device.home / "pictures" / "1.png")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as http:
        with device.running():
            device.start("monitor")
            async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
                users = {name: await stack.enter_async_context(device.user(name)) for name in PLAYED}
                playing = tasks.create_task(play(users))
                results = await users["historian"].hear(RESULT)
                yield Seen(device, http, results, device.start("runtime@safety"), device.start("camera@cam1"))
                playing.cancel()


async def play(users: dict[str, User]) -> None:
    """Say that they are well, again and again: silence is no health."""
    for seq in itertools.count(1):
        for name, user in users.items():
            user.say(STATUS, Status(process=name, state=State.ACTIVE, epoch=1, seq=seq), process=name)
        await asyncio.sleep(2.0)


async def test_ready_means_that_data_flows_and_counters_agree_with_the_bus(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async with seen(tmp_path, free_port()) as line:
        await line.until("/v2/health/live", lambda answer: answer.status_code == 200)
        await line.ready()
        model = await line.until("/v2/models/caps", lambda answer: answer.status_code == 200)
        assert (model["name"], model["versions"], model["inputs"][0]["datatype"]) == ("caps", ["1"], "UINT8")
        await line.until("/v2/models/caps/versions/1/ready", lambda answer: answer.status_code == 200)
        await line.until("/v2/models/caps/versions/2/ready", lambda answer: answer.status_code == 404)
        await line.results.count(60)

        line.camera.kill()
        await line.not_ready("camera-cam1")
        await agreed(line)

        line.camera = line.device.start("camera@cam1")
        await line.ready()
        line.runtime.kill()
        await line.not_ready("runtime-safety")
        await line.until(
            "/v2/models/caps/ready", lambda answer: answer.status_code == 503 and "is not running" in answer.text
        )
        await line.until("/v2/health/live", lambda answer: answer.status_code == 200)
        assert (await line.http.get("/metrics/runtime-safety")).status_code == 404
        assert list(look(metric_folder(line.device.home), {})) == ["camera-cam1", "monitor"]
        line.device.start("runtime@safety")
        await line.ready()


async def agreed(line: Seen) -> None:
    """Nothing comes in any more: what was counted is what was heard."""
    name = "plantedge_inference_"
    end = time.monotonic() + 10
    while True:
        figures = await line.figures()
        told = {outcome: sum(one.outcome is outcome for one in line.results.all) for outcome in Outcome}
        ran = told[Outcome.RESULT] + told[Outcome.LATE]
        if figures.get((f"{name}request_success_total", "")) == told[Outcome.RESULT] and ran:
            break
        assert time.monotonic() < end, (figures, told)
        await asyncio.sleep(0.1)
    assert figures[f"{name}count_total", ""] == ran
    assert 0 < figures[f"{name}exec_count_total", ""] <= ran
    assert figures.get((f"{name}request_failure_total", "late"), 0) == told[Outcome.LATE]
    for stage in ("ingest", "queue", "preprocess", "infer", "publish", "total"):
        assert figures[f"{name}stage_seconds_count", stage] == ran
    spent_s = sum(one.latency.infer for one in line.results.all if one.outcome is not Outcome.DROPPED) / 1e3
    assert figures[f"{name}stage_seconds_sum", "infer"] == pytest.approx(spent_s)
    assert figures[f"{name}compute_infer_duration_us_total", ""] == pytest.approx(spent_s * 1e6)
    parts = sum(figures[f"{name}stage_seconds_sum", stage] for stage in ("ingest", "queue", "preprocess", "infer"))
    assert parts < figures[f"{name}stage_seconds_sum", "total"]
    assert figures["plantedge_model_serving", ""] == 1
