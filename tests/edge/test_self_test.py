"""A runtime that tests a model which serves, while it serves: who may ask, one at a time, and what is found."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.codec import encode
from edge.models.self_test_client import ask_self_tests, worst_of
from edge.settings import load_settings
from schemas.errors import RequestTimeout
from schemas.messages import Outcome
from schemas.self_test import SelfTest, SelfTestCode, SelfTestReport
from schemas.topics import SELF_TEST, SELF_TEST_REPORT
from tests.device import Device, User
from tests.edge.slot_line import LINE, USERS, SlotLine, SlowDisk, slot_line
from tests.edge.small_models import write_classifier

RUNTIME = "runtime-safety"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(tmp_path, (*USERS, "opcua", "mes"))
    made.add("device.toml", LINE)
    with made.running():
        yield made


async def ask(device: Device, user: User, origin: str = "cli", timeout_s: float = 20.0) -> SelfTestReport:
    (report,) = await ask_self_tests(user.bus, load_settings(device.home), "caps", origin=origin, timeout_s=timeout_s)
    return report


async def serving(line: SlotLine, version: str = "1") -> Path:
    folder = write_classifier(line.models, version=version)
    line.desire(folder)
    await line.said("active", version)
    return folder


async def test_it_says_how_far_each_answer_is_off_while_every_frame_is_answered_in_time(device: Device) -> None:
    async with slot_line(device) as line, device.user("cli") as cli:
        folder = await serving(line)
        asked = asyncio.create_task(ask(device, cli))
        while not asked.done():
            line.shoot()
            await asyncio.sleep(0.005)
        report = await asked
        assert (report.code, report.passed, report.reason) == (SelfTestCode.DONE, True, "")
        assert (report.model, report.version, report.process, report.vectors) == ("caps", "1", RUNTIME, 2)
        assert report.deviation is not None and report.deviation <= report.tolerance == 0.001
        assert report.digest in (folder / "model.toml").read_text() and report.took_ms > 0
        assert {result.outcome for result in await line.answered()} == {Outcome.RESULT}
        told = await line.events.until(lambda event: event.code == "model_tested")
        assert (told.args["origin"], told.args["passed"], told.severity.value) == ("cli", True, "info")


async def test_files_that_have_changed_under_a_model_that_serves_are_found(device: Device) -> None:
    async with slot_line(device) as line, device.user("opcua") as opcua:
        folder = await serving(line)
        content = bytearray((folder / "model.onnx").read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "model.onnx").write_bytes(content)
        report = await ask(device, opcua, "opcua")
        assert report.code is SelfTestCode.DONE and not report.passed and report.deviation is None
        assert "corrupt or of another version" in report.reason
        line.shoot()
        assert (await line.result(1)).version == "1", "what is in memory serves on"
        told = await line.events.until(lambda event: event.code == "model_tested")
        assert (told.args["origin"], told.severity.value) == ("opcua", "alarm")


async def test_an_answer_that_is_off_fails_with_its_deviation(device: Device) -> None:
    async with slot_line(device) as line, device.user("cli") as cli:
        folder = await serving(line)
        wrong = write_classifier(device.home / "elsewhere", inverted=True)
        golden = (wrong / "golden.npz").read_bytes()
        held = folder / "golden.npz"
        contract = folder / "model.toml"
        digests = [_digest(path) for path in (held, wrong / "golden.npz")]
        held.write_bytes(golden)
        contract.write_text(contract.read_text().replace(*digests))
        report = await ask(device, cli)
        assert not report.passed and report.vectors == 2
        assert report.deviation is not None and report.deviation > 0.1
        assert "away from its golden vector" in report.reason


async def test_it_is_refused_while_a_model_is_loaded_while_none_serves_and_while_another_runs(device: Device) -> None:
    async with slot_line(device) as line, device.user("cli") as cli, device.user("opcua") as opcua:
        await line.said("rejected", "")  # there is no version yet
        assert (await ask(device, cli)).code is SelfTestCode.NOT_SERVED
        folder = await serving(line)
        disk = SlowDisk(folder)
        first = asyncio.create_task(ask(device, cli))
        await disk.reached()
        second = await ask(device, opcua, "opcua")
        assert (second.code, second.passed, second.version) == (SelfTestCode.BUSY, False, "")
        await disk.deliver_all()
        assert (await first).code is SelfTestCode.DONE
        other = SlowDisk(write_classifier(line.models, version="2", inverted=True))
        line.desire(line.models / "caps" / "2")
        await other.reached()
        refused = await ask(device, cli)
        assert refused.code is SelfTestCode.LOADING and "ask again when it serves" in refused.reason
        await other.deliver_all()
        await line.said("active", "2")


async def test_nobody_but_the_table_says_may_ask_and_the_answer_goes_to_who_asked(device: Device) -> None:
    async with (
        slot_line(device) as line, device.user("cli") as cli, device.user("opcua") as opcua, device.user("mes") as mes,
    ):  # fmt: skip
        await serving(line)
        for user, origin in ((mes, "mes"), (mes, "cli"), (cli, "opcua")):
            with pytest.raises(RequestTimeout):
                await ask(device, user, origin, timeout_s=0.5)
        overheard = await opcua.hear(SELF_TEST_REPORT)
        request = encode(SELF_TEST, SelfTest(request_id="r", model="caps"))
        topic = SELF_TEST.name(device.place, process=RUNTIME, origin="cli")
        with pytest.raises(RequestTimeout):
            elsewhere = SELF_TEST_REPORT.name(device.place, origin="opcua")
            await cli.bus.request(topic, request, reply_to=elsewhere, timeout_s=0.5)
        assert (await ask(device, cli)).passed and not overheard.all


def test_of_two_runtimes_the_worse_answer_counts() -> None:
    good = SelfTestReport(request_id="1", model="m", process="a", code=SelfTestCode.DONE, passed=True, deviation=0.1)
    off = SelfTestReport(request_id="1", model="m", process="b", code=SelfTestCode.DONE, passed=True, deviation=0.2)
    failed = SelfTestReport(request_id="1", model="m", process="c", code=SelfTestCode.DONE)
    busy = SelfTestReport(request_id="1", model="m", process="d", code=SelfTestCode.BUSY)
    assert worst_of([off, good]) is off and worst_of([failed, off]) is failed and worst_of([failed, busy, good]) is busy


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
