"""The watch of a pipeline over real answers: what it learns from, keeps, forgets and tells."""

import asyncio
import os
import time

import numpy as np
import pytest

from edge.config.pipeline import FrameInput, Pipeline, WindowInput
from edge.engines import load_engine
from edge.host.clock import boot_id
from edge.inference.drift.baselines import MAX_KEYS, Baselines
from edge.inference.drift.inputs import InputWindow
from edge.inference.drift.keeper import Keeper
from edge.inference.drift.levels import Alarm, Level
from edge.inference.drift.limits import Chance, Signal, psi
from edge.inference.drift.subject import subject_of
from edge.inference.drift.watch import DriftWatch
from edge.inference.pipeline import Pipeline as Inference
from edge.models.loaded import load_model
from schemas.messages import Frame, Phase, Quality, Reading, Sample
from tests.edge.small_models import LENGTH, SHAPE, TAGS, write_anomaly, write_classifier

SECOND = 10**9
DRIFT = {"learn_windows": 20, "min_results": 20, "repeat_s": 0}


class Camera:
    """A pipeline of `caps`, whose probability of `bad` is the picture's brightness."""

    def __init__(self, tmp_path, baselines=None, version="1", **drift):
        self.settings = Pipeline(
            model="caps", input=FrameInput(frames="cam1"), deadline_ms=60_000, decision={"reject": ["bad"]},
            drift={**DRIFT, **drift},
        )  # fmt: skip
        self.pipeline = Inference("inspect", self.settings, boot_id())
        self.models = tmp_path / "models"
        self.use(version)
        self.watch = DriftWatch("inspect", self.settings.drift, baselines or Baselines(), self.describe)
        self.rng, self.seq, self.now_ns = np.random.default_rng(1), 0, 0

    def use(self, version, **fields):
        folder = self.models / "caps" / version
        if not folder.exists():
            write_classifier(self.models, version=version, **fields)
        self.pipeline.use(load_model(folder, load_engine("cpu")))

    def describe(self, answer):
        return subject_of(self.pipeline.graph(answer.variant), answer.variant)

    def frame(self, brightness, **fields):
        self.seq += 1
        pixels = np.clip(self.rng.normal(brightness, 12, SHAPE), 0, 255).astype(np.uint8)
        now = time.monotonic_ns()
        defaults = {
            "stream": "cam1", "part_id": self.seq, "boot": boot_id(), "trigger_ns": now, "time_ns": now,
            "shape": SHAPE, "dtype": "uint8", "data": memoryview(pixels.tobytes()), "epoch": 1, "seq": self.seq,
        }  # fmt: skip
        dropped = self.pipeline.offer_frame(Frame(**(defaults | fields)), now)
        return [dropped] if dropped else self.pipeline.step()

    def window(self, brightness=40, count=60, **fields):
        for _ in range(count):
            for answer in self.frame(self.rng.normal(brightness, 3), **fields):
                self.watch.see(answer)
        self.now_ns += 10 * SECOND
        return self.watch.close_window(self.now_ns)

    def windows(self, count, *arguments, **fields):
        return [self.window(*arguments, **fields) for _ in range(count)][-1]


@pytest.fixture
def camera(tmp_path):
    return Camera(tmp_path)


def test_limits_come_with_the_last_window_to_learn_from(camera):
    first = camera.windows(19)
    assert (first.drift.level, first.drift.learned, first.drift.windows, first.drift.of) == ("learning", False, 19, 20)
    last = camera.window()
    assert (last.drift.learned, last.save) == (True, True)
    shown = camera.window().drift
    assert shown.level == "ok"
    assert 0 < shown.entropy < 1
    assert all(signal.score < 1 for signal in shown.signals.values())


def test_a_window_with_too_few_results_waits_for_more(camera):
    assert camera.window(count=10).drift.windows == 0
    assert camera.window(count=10).drift.windows == 1


def test_the_alarm_names_the_signal_its_value_and_its_limit(camera):
    camera.windows(22)
    steps = [step for _ in range(6) for step in camera.window(60).steps]
    changed = next(step for step in steps if step.code is Level.INPUTS_CHANGED)
    assert changed.phase is Phase.NEW
    assert changed.worst.name.startswith("mean_")
    assert changed.worst.value > changed.worst.high
    assert changed.worst.score > 1


def test_bad_inputs_and_uncertain_ones_make_a_window_that_is_not_learned_from(camera):
    for quality in (Quality.BAD, Quality.UNCERTAIN):
        for answer in camera.frame(40, quality=quality, reason="lamp is off"):
            camera.watch.see(answer)
        report = camera.window()
        assert report.drift.windows == 0
        assert report.drift.unclean in ("bad_quality", "lamp is off")
    assert camera.window().drift.windows == 1


def test_what_was_learned_survives_a_restart(camera, tmp_path):
    camera.windows(20)
    again = Camera(tmp_path, Baselines(camera.watch.baselines.file().encode()))
    assert again.window().drift.learned


def test_a_new_model_learns_its_answers_anew_and_keeps_the_inputs(camera):
    camera.windows(21)
    camera.use("2", inverted=True)
    after = camera.window().drift
    assert (after.learned, after.windows) == (False, 1)
    assert "mean_r" in after.signals
    assert "entropy" not in after.signals
    assert camera.windows(20).drift.learned


def test_a_model_that_comes_back_finds_what_was_learned_with_it(camera):
    camera.windows(21)
    camera.use("2", inverted=True)
    camera.window()
    camera.use("1")
    assert camera.window().drift.learned


def test_an_alarm_ends_with_the_model_that_it_was_about(camera):
    camera.windows(21)
    steps = [step for _ in range(6) for step in camera.window(127).steps]
    assert Level.MODEL_DEGRADED in {step.code for step in steps}
    camera.use("2", inverted=True)
    ended = [step for step in camera.window(127).steps if step.phase is Phase.END]
    assert [(step.code, step.why) for step in ended] == [(Level.MODEL_DEGRADED, "the model changed")]


def test_learning_anew_ends_the_alarms_and_takes_the_present_as_normal(camera):
    camera.windows(21)
    camera.windows(6, 60)
    ended = camera.watch.relearn(camera.now_ns, "cli")
    assert all(step.phase is Phase.END and step.why == "relearn by cli" for step in ended)
    assert Level.INPUTS_CHANGED in {step.code for step in ended}
    assert camera.windows(21, 60).drift.level == "ok"


def test_events_of_a_level_come_no_sooner_than_they_may(tmp_path):
    camera = Camera(tmp_path, repeat_s=3600)
    camera.windows(21)
    steps = [step for turn in range(8) for _ in range(6) for step in camera.window(60 if turn % 2 else 40).steps]
    told = [step.phase for step in steps if step.code is Level.INPUTS_CHANGED]
    assert told == [Phase.NEW, Phase.END]


def test_an_anomaly_is_neither_learned_from_nor_called_a_worse_model(tmp_path):
    settings = Pipeline(
        model="drift", input=WindowInput(source="plant", group="slow", tags=list(TAGS), length=LENGTH),
        deadline_ms=60_000, decision={"threshold": 1.0}, drift=DRIFT,
    )  # fmt: skip
    pipeline = Inference("watch", settings, boot_id())
    pipeline.use(load_model(write_anomaly(tmp_path / "models"), load_engine("cpu")))
    watch = DriftWatch("watch", settings.drift, Baselines(), lambda _: subject_of(pipeline.graph()))
    rng, seq = np.random.default_rng(1), 0

    def window(level):
        nonlocal seq
        for _ in range(60):
            seq += 1
            now = time.monotonic_ns()
            tags = {tag: Sample(value=float(rng.normal(level, 0.02))) for tag in TAGS}
            reading = Reading(source="plant", group="slow", boot=boot_id(), scan_ns=now, scan_ms=1,
                              time_ns=now, tags=tags, epoch=1, seq=seq)  # fmt: skip
            for answer in [pipeline.offer_reading(reading, now), *pipeline.step()]:
                if answer:
                    watch.see(answer)
        return watch.close_window(seq * SECOND)

    assert window(0.5).drift.windows == 1
    assert window(2.0).drift.unclean == "alarm"
    for _ in range(20):
        window(0.5)
    levels = [window(2.0).drift.level for _ in range(8)]
    assert "inputs_changed" in levels
    assert "model_degraded" not in levels[2:]


def test_old_baselines_give_way():
    kept = Baselines()
    window = InputWindow(1, [1.0], [0.0], [])
    for number in range(MAX_KEYS + 3):
        kept.inputs.add(str(number), window)
    assert kept.inputs.count("2") == 0
    assert kept.inputs.windows(str(MAX_KEYS + 2)) == [window]


async def test_the_keeper_writes_beside_the_loop_and_puts_aside_what_it_cannot_read(tmp_path):
    keeper = Keeper(tmp_path)
    kept = keeper.read("inspect")
    kept.inputs.add("k", InputWindow(1, [1.0], [0.0], []))
    keeper.keep("inspect", kept)
    path = tmp_path / "state" / "drift" / "inspect.json"
    async with asyncio.timeout(5):
        writing = asyncio.create_task(keeper.run())
        await keeper.idle()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    assert Keeper(tmp_path).read("inspect").inputs.count("k") == 1
    path.write_bytes(b'{"schema": "drift_baseline/1", "inputs": {"k": [[1]]}, "predictions": {}}')
    assert keeper.read("inspect").inputs.count("k") == 0
    assert not path.exists()
    assert path.with_suffix(".unreadable").exists()


def test_a_level_has_hysteresis():
    alarm = Alarm(Level.INPUTS_CHANGED, "p", hits=3, of=5, repeat_s=0)

    def see(*scores):
        steps = [alarm.see([Signal("s", score, None, 1.0, score)], turn) for turn, score in enumerate(scores, 1)]
        return [step.phase for step in steps if step]

    assert see(2, 0, 2, 0, 0, 2) == []
    assert see(2) == [Phase.NEW]
    assert Phase.END not in see(0.9, 0.9, 0.9, 0.9, 0.9, 0.9)
    assert see(0.5, 0.5, 0.5, 0.5, 0.5)[-1] is Phase.END


def test_chance_alone_gives_shares_an_index_near_zero():
    rng = np.random.default_rng(1)
    reference = rng.multinomial(100_000, [0.97, 0.01, 0.01, 0.01]).astype(float)
    same = psi(rng.multinomial(100, [0.97, 0.01, 0.01, 0.01], size=500).astype(float), reference)
    other = psi(rng.multinomial(100, [0.7, 0.1, 0.1, 0.1], size=500).astype(float), reference)
    assert np.median(same) < 0.05
    assert np.quantile(other, 0.02) > np.quantile(same, 0.98)


def test_limits_are_wider_where_windows_are_alike_and_where_few_were_seen():
    chance = Chance(0.01, 3, 5)
    assert 3 < chance.deviations(10, 0.0, 120) < 6
    assert chance.deviations(10, 0.9, 120) > chance.deviations(10, 0.0, 120)
    assert chance.deviations(10, 0.0, 20) > chance.deviations(10, 0.0, 120)


async def test_a_disk_that_hangs_does_not_stop_the_lane(tmp_path, caplog):
    """A pipe that nobody reads in place of the file: opening it blocks, as a dying disk does."""
    keeper = Keeper(tmp_path)
    pipe = tmp_path / "state" / "drift" / "inspect.json.new"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    async with asyncio.timeout(5):
        writing = asyncio.create_task(keeper.run())
        keeper.keep("inspect", Baselines())
        idle = asyncio.create_task(keeper.idle())
        longest = 0.0
        for _ in range(50):
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)
        assert not idle.done()
        assert longest < 1.0
        await asyncio.to_thread(lambda: pipe.open("rb").close())
        await idle
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    assert "can't be written" in caplog.text
