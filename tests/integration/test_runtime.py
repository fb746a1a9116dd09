"""The runtime as a process of its own, behind a real broker."""

import asyncio
import time
from contextlib import asynccontextmanager

import msgspec
import numpy as np
import pytest

from bus.codec import decode, encode
from edge.host.clock import boot_id
from edge.host.durable import write_durably
from edge.inference.drift.baselines import Baselines
from edge.inference.drift.inputs import InputGatherer
from edge.inference.drift.predictions import PredictionGatherer
from edge.inference.drift.subject import Subject, WatchedInput
from edge.models.contract import Contract
from schemas.messages import Frame, Phase, Proof, Quality, Reading, Relearn, Reply, Sample, Slot, State, Verdict
from schemas.topics import (
    DECISION,
    EVENT,
    FRAME,
    INSIGHT,
    READING,
    RELEARN,
    REPLY,
    RESULT,
    SLOT_DESIRED,
    SLOT_STATE,
    STATUS,
)
from tests.device import Device
from tests.edge.small_models import LENGTH, SHAPE, TAGS, seal, write_anomaly, write_classifier

pytestmark = [pytest.mark.alone, pytest.mark.slow]

USERS = ("runtime-safety", "camera-cam1", "connect-plant", "agent", "historian", "cli")
LINE = """
[sources.plant]
driver = "modbus"
tags = "tags/plant.csv"
groups = { slow = 100 }
[outputs.inspect]
source = "plant"
verdict = "Eject"
lease_ms = 400
[cameras.cam1]
driver = "plant"
address = "127.0.0.1:1"
[pipelines.inspect]
lane = "safety"
model = "caps"
input = { frames = "cam1" }
deadline_ms = 2000
decision = { reject = ["bad"] }
"""
WATCH = """
[pipelines.watch]
lane = "safety"
model = "drift"
input = { source = "plant", group = "slow", tags = ["Line.Speed", "Motor.Temperature"], length = 4 }
deadline_ms = 2000
event = true
decision = { threshold = 1.0, clear = 0.8 }
"""
TAG_LIST = """name,address,type,access,group,scale,offset,unit,order,bit,deadband,min,max,failsafe,description
Line.Speed,ir:0,uint16,r,slow,,,,,,,,,,
Motor.Temperature,ir:1,uint16,r,slow,,,,,,,,,,
Eject,coil:0,bool,rw,slow,,,,,,,,,,
"""


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path, USERS)
    made.add("device.toml", LINE)
    made.write("tags/plant.csv", TAG_LIST)
    with made.running():
        yield made


class Line:
    """What a test sees of the line: it plays the camera, the PLC and the agent, and hears what the runtime says."""

    def __init__(self, camera, plc, agent, historian):
        self.camera, self.plc, self.agent, self.historian = camera, plc, agent, historian
        self.epoch = time.time_ns()

    async def listen(self):
        self.decisions = await self.plc.hear(DECISION)
        self.results = await self.historian.hear(RESULT)
        self.events = await self.historian.hear(EVENT)
        self.insights = await self.historian.hear(INSIGHT)
        self.slots = await self.agent.hear(SLOT_STATE)
        self.statuses = await self.agent.hear(STATUS)

    def part(self, seq, brightness=0, **fields):
        defaults = {
            "stream": "cam1", "part_id": seq, "boot": boot_id(), "trigger_ns": time.monotonic_ns(), "time_ns": 0,
            "shape": SHAPE, "dtype": "uint8", "data": memoryview(np.full(SHAPE, brightness, np.uint8).tobytes()),
            "epoch": self.epoch, "seq": seq,
        }  # fmt: skip
        return Frame(**(defaults | fields))

    def shoot(self, seq, brightness=0, **fields):
        self.camera.say(FRAME, self.part(seq, brightness, **fields), stream="cam1")

    def scan(self, seq, *values, quality=Quality.GOOD):
        tags = {tag: Sample(value=value, quality=quality) for tag, value in zip(TAGS, values, strict=True)}
        reading = Reading(
            source="plant", group="slow", boot=boot_id(), scan_ns=time.monotonic_ns(), scan_ms=1.0, time_ns=0,
            tags=tags, epoch=self.epoch, seq=seq,
        )  # fmt: skip
        self.plc.say(READING, reading, source="plant")

    def desire(self, folder, digest=""):
        """Play the agent: this version of this model, which the folder is named for."""
        model = folder.parent.name
        slot = Slot(model=model, version=folder.name, digest=digest, folder=str(folder))
        self.agent.say(SLOT_DESIRED, slot, model=model)

    async def started(self, device, folder):
        """Start the runtime with one model, and wait until it serves."""
        self.desire(folder)
        child = device.start("runtime@safety")
        await self.serving(folder.parent.name, folder.name)
        return child

    async def result(self, seq):
        return await self.results.until(lambda result: result.source_seq == seq)

    async def decided(self, part):
        return await self.decisions.until(lambda decision: decision.part_id == part)

    async def state(self, *states):
        return await self.statuses.until(
            lambda status: status.process == "runtime-safety" and status.state in states, within_s=15
        )

    async def serving(self, model="caps", version="1"):
        await self.slots.until(lambda slot: (slot.model, slot.version, slot.phase) == (model, version, "active"), 15)


@asynccontextmanager
async def line(device):
    async with (
        device.user("camera-cam1") as camera,
        device.user("connect-plant") as plc,
        device.user("agent") as agent,
        device.user("historian") as historian,
    ):
        made = Line(camera, plc, agent, historian)
        await made.listen()
        yield made


async def test_a_frame_becomes_a_decision_and_a_result(device):
    write_classifier(device.home / "models")
    async with line(device) as seen:
        device.start("runtime@safety")
        await seen.serving()
        seen.shoot(1, 0)
        seen.shoot(2, 255)
        assert (await seen.decided(1)).verdict is Verdict.OK
        assert (await seen.decided(2)).verdict is Verdict.NOK
        result = await seen.result(2)
        assert (result.label, result.part_id, result.version, result.outcome) == ("bad", 2, "1", "result")
        assert 0 <= result.latency.infer <= result.latency.total < 2000
        active = await seen.state(State.ACTIVE)
        assert active.counters["gaps"] == 0


async def test_an_idle_line_is_proved_within_its_lease(device):
    async with line(device) as seen:
        await seen.started(device, write_classifier(device.home / "models"))
        await seen.decisions.count(6)
        proofs = seen.decisions.all[:6]
        assert {decision.proof for decision in proofs} == {Proof.SELFTEST}
        assert {decision.part_id for decision in proofs} == {None}
        apart_ms = np.diff([decision.trigger_ns for decision in proofs]) / 1e6
        assert apart_ms.min() > 90
        assert np.median(apart_ms) < 400
        assert (await seen.state(State.IDLE)).reason


async def test_without_a_model_it_says_so_and_every_part_is_unknown(device):
    async with line(device) as seen:
        child = device.start("runtime@safety")
        degraded = await seen.state(State.DEGRADED)
        assert "models/caps" in degraded.reason
        seen.shoot(1)
        decision = await seen.decided(1)
        assert (decision.verdict, decision.reason) == (Verdict.UNKNOWN, "no_model")
        assert (await seen.result(1)).outcome == "dropped"
        assert not [d for d in seen.decisions.all if d.proof is Proof.SELFTEST]
        assert child.poll() is None
        seen.desire(write_classifier(device.home / "models"))
        await seen.serving()
        seen.shoot(2)
        assert (await seen.decided(2)).verdict is Verdict.OK


async def test_malformed_input_is_counted_and_changes_nothing(device):
    async with line(device) as seen:
        await seen.started(device, write_classifier(device.home / "models"))
        good = encode(FRAME, seen.part(1))
        foreign = good.replace(b"frame/1", b"frame/9")
        assert foreign != good
        for payload in (b"", b"\xc1", b"\x81", good[:-1], foreign, msgspec.msgpack.encode([1, 2]), bytes(200_000)):
            if len(payload) <= FRAME.max_bytes:
                seen.camera.raw(FRAME, payload, stream="cam1")
            else:
                seen.camera.bus.publish(FRAME.name(device.place, stream="cam1"), payload)
        seen.shoot(2)
        assert (await seen.decided(2)).verdict is Verdict.OK
        status = await seen.statuses.until(lambda s: s.process == "runtime-safety" and s.counters.get("bad", 0) >= 5)
        assert status.state is not State.DEGRADED
        assert len(seen.results.all) == 1


def harmed(models, version, harm):
    """A version that must not serve; returns its folder and the digest that is asked for."""
    folder = write_classifier(models, version=version)
    if harm == "other digest":
        return folder, "0" * 64
    content = (folder / "model.onnx").read_bytes()[:200]
    if harm == "other answers":
        content = (write_classifier(models.parent / "elsewhere", inverted=True) / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content)
    return seal(folder), ""


async def test_a_bad_model_is_rejected_and_the_old_one_goes_on(device):
    models = device.home / "models"
    async with line(device) as seen:
        await seen.started(device, write_classifier(models))
        harms = {"2": "cut short", "3": "other digest", "4": "other answers"}
        for version, harm in harms.items():
            seen.desire(*harmed(models, version, harm))
            rejected = await seen.slots.until(lambda s, v=version: (s.version, s.phase) == (v, "rejected"))
            assert len(rejected.reason) > 20
            seen.shoot(int(version), 255)
            assert (await seen.result(int(version))).version == "1"
            assert (await seen.decided(int(version))).verdict is Verdict.NOK


async def test_a_swap_under_load_answers_every_frame_once(device):
    models = device.home / "models"
    folder = write_classifier(models, version="2", inverted=True)
    async with line(device) as seen:
        await seen.started(device, write_classifier(models))
        count = 300
        for seq in range(1, count + 1):
            seen.shoot(seq, 0)
            if seq == 100:
                seen.desire(folder)
            if seq % 2 == 0:
                await asyncio.sleep(0.005)  # the load: 400 frames a second
        await seen.serving(version="2")
        seen.shoot(count + 1, 0)
        await seen.result(count + 1)
        results = seen.results.all
        assert sorted(result.source_seq for result in results) == list(range(1, count + 2))
        versions = [result.version for result in sorted(results, key=lambda result: result.source_seq)]
        assert versions == sorted(versions)
        assert set(versions) == {"1", "2"}
        verdicts = {d.part_id: d.verdict for d in seen.decisions.all if d.proof is Proof.PART}
        assert len(verdicts) == count + 1
        for result in results:
            wanted = Verdict.OK if result.version == "1" else Verdict.NOK
            assert verdicts[result.source_seq] in (wanted, Verdict.UNKNOWN)
            assert (verdicts[result.source_seq] is Verdict.UNKNOWN) == (result.outcome != "result")


async def feed_an_anomaly(seen):
    """A quiet stretch, an anomaly, a quiet stretch, and one Bad reading; returns the last seq."""
    levels = [0.0] * LENGTH + [3.0] * LENGTH + [0.0] * LENGTH
    for seq, level in enumerate(levels, 1):
        seen.scan(seq, level, level)
    last = len(levels) + 1
    seen.scan(last, 0.0, 0.0, quality=Quality.BAD)
    await seen.result(last)
    return last


async def test_readings_become_windows_and_an_anomaly_is_one_event(device):
    device.add("device.toml", WATCH)
    async with line(device) as seen:
        await seen.started(device, write_anomaly(device.home / "models"))
        last = await feed_an_anomaly(seen)
        result = await seen.result(2 * LENGTH)
        assert (result.verdict, result.label, result.input) == (Verdict.NOK, "anomaly", "plant")
        assert result.score == pytest.approx(3.0)
        new = await seen.events.until(lambda event: event.code == "anomaly" and event.phase is Phase.NEW)
        end = await seen.events.until(lambda event: event.code == "anomaly" and event.phase is Phase.END)
        assert new.key == end.key
        dropped = await seen.result(last)
        assert (dropped.outcome, dropped.verdict, dropped.quality) == ("dropped", "unknown", "bad")


@pytest.mark.slow
async def test_an_insight_accounts_for_every_input_of_its_window(device):
    device.add("device.toml", WATCH)
    async with line(device) as seen:
        await seen.started(device, write_anomaly(device.home / "models"))
        last = await feed_an_anomaly(seen)
        insight = await seen.insights.until(lambda found: found.pipeline == "watch" and found.inputs > 0, 25)
        windows = last - LENGTH + 1
        assert (insight.inputs, insight.results, insight.dropped) == (windows, windows - 1, {"bad_quality": 1})
        assert sum(insight.verdicts.values()) == insight.results
        assert 0 < insight.p50_ms <= insight.p99_ms <= insight.max_ms


DRIFT = """
[pipelines.inspect.drift]
min_results = 20
learn_windows = 20
alarm_windows = 1
of_windows = 1
"""


def learned_in_the_dark(home, digest):
    """Write what a runtime would have kept: twenty clean windows of nearly black pictures."""
    said, rng = subject(digest), np.random.default_rng(1)
    kept, inputs, predictions = Baselines(), InputGatherer(said.inputs), PredictionGatherer(said)
    for _ in range(20):
        for _ in range(30):
            inputs.see({"input": rng.integers(0, 20, (1, *SHAPE)).astype(np.uint8)})
            predictions.see(np.array([[0.96, 0.04]], dtype=np.float32))
        kept.inputs.add(said.inputs_key, inputs.window())
        kept.predictions.add(said.predictions_key, predictions.window())
        inputs.clear()
        predictions.clear()
    write_durably(home / "state" / "drift" / "inspect.json", kept.file().encode())


def subject(digest):
    """What a runtime makes of the `caps` model."""
    channels = ("r", "g", "b")
    inputs = (WatchedInput("input", "uint8", SHAPE, channels, (255.0,) * 3),)
    return Subject(inputs, "classifier", ("ok", "bad"), "model.probabilities", (digest,))


async def test_drift_is_told_as_an_event_until_the_pipeline_is_asked_to_learn_anew(device):
    device.add("device.toml", DRIFT)
    folder = write_classifier(device.home / "models")
    learned_in_the_dark(device.home, Contract.load(folder).sha256)
    async with line(device) as seen, device.user("cli") as person:
        device.start("runtime@safety")
        await seen.serving()
        for seq in range(1, 41):
            seen.shoot(seq, 90)
            await seen.result(seq)
        new = await seen.events.until(lambda event: event.code == "inputs_changed", 15)
        assert (new.phase, new.severity, new.args["pipeline"]) == (Phase.NEW, "warning", "inspect")
        assert new.args["value"] > new.args["high"]
        insight = await seen.insights.until(lambda found: found.pipeline == "inspect", 15)
        assert insight.drift.learned
        assert insight.drift.level in ("inputs_changed", "model_degraded")
        assert insight.drift.signals[new.args["signal"]].score > 1
        topic = RELEARN.name(device.place, pipeline="inspect", origin="cli")
        payload = encode(RELEARN, Relearn(request_id="r-1", epoch=1, seq=1))
        reply_to = REPLY.name(device.place, origin="cli")
        came = await person.bus.request(topic, payload, reply_to=reply_to, timeout_s=5)
        answer = decode(REPLY, Reply, came.payload)
        assert (answer.request_id, answer.ok, answer.value) == ("r-1", True, "inspect")
        end = await seen.events.until(lambda event: event.key == new.key and event.phase is Phase.END)
        assert "relearn by cli" in end.text
