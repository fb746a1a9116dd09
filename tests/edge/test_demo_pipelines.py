"""The demo's pipelines as its files have them, with their real models, on inputs whose truth the simulator knows."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import edge.sim
from edge.engines import load_engine
from edge.inference.pipeline import Pipeline
from edge.inference.work import Answer
from edge.models.contract import newest_version
from edge.models.loaded import LoadedModel, load_model
from edge.settings import Settings, load_settings
from edge.sim.tray import TrayStream
from edge.sim.vibration import GEAR_FAULTS, GearFault, vibration
from schemas.messages import Frame, Outcome, Verdict

DEMO = Path(edge.sim.__file__).parent / "demo"
BOOT, NOW_NS = "thisboot", 1_000_000_000


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(DEMO)


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, LoadedModel]]:
    folders = {folder.name: folder for folder in (DEMO / "models").iterdir()}
    engine = load_engine("cpu")
    loaded = {name: load_model(folder / newest_version(folder), engine) for name, folder in folders.items()}
    yield loaded
    for one in loaded.values():
        one.session.close()


def pipeline(name: str, settings: Settings, models: dict[str, LoadedModel]) -> Pipeline:
    made = Pipeline(name, settings.pipelines[name], BOOT, lambda: NOW_NS)
    for model in settings.pipelines[name].models:
        made.use(models[model])
    return made


def answer(made: Pipeline, array: np.ndarray, stream: str) -> Answer:
    frame = Frame(
        stream=stream, part_id=1, boot=BOOT, trigger_ns=NOW_NS, time_ns=0, shape=array.shape, dtype=array.dtype.name,
        data=memoryview(array.tobytes()), epoch=1, seq=1,
    )  # fmt: skip
    assert made.offer_frame(frame, NOW_NS) is None
    (found,) = made.step()
    return found


def outputs_of(found: Answer) -> Mapping[str, np.ndarray]:
    assert found.outputs is not None
    return found.outputs


def test_each_pipeline_is_fed_by_something_that_the_demo_has(settings: Settings) -> None:
    streams = {camera.stream or name for name, camera in settings.cameras.items()}
    fed = {getattr(one.input, "frames", "") or one.input.source for one in settings.pipelines.values()}  # type: ignore[union-attr]  # either has one of them
    assert fed == streams | set(settings.sources)


@pytest.mark.slow
@pytest.mark.parametrize("defect_rate", [0.0, 0.4])
def test_a_tray_is_rejected_when_a_bottle_on_it_is_bad(
    settings: Settings, models: dict[str, LoadedModel], defect_rate: float
) -> None:
    made = pipeline("tray_inspection", settings, models)
    right = counted = 0
    for seed in range(7_000_000, 7_000_015):  # batches that neither training nor the published figures used
        stream = TrayStream(seed, defect_rate)
        for number in range(4):
            tray = stream.tray(number)
            found = answer(made, stream.image(number), "tray1")
            assert found.result.outcome is Outcome.RESULT
            right += found.decision.verdict is (Verdict.OK if tray.good else Verdict.NOK)
            counted += len(outputs_of(found)["boxes.boxes"]) == len(tray.whole)
    assert counted >= 59
    assert right >= 54  # of 60: 97 % less three standard deviations


def test_a_table_without_a_bottle_is_fine(settings: Settings, models: dict[str, LoadedModel]) -> None:
    made = pipeline("tray_inspection", settings, models)
    stream = TrayStream(7_100_000)
    empty = next(number for number in range(400) if not stream.tray(number).whole)
    found = answer(made, stream.image(empty), "tray1")
    assert found.decision.verdict is Verdict.OK
    assert len(outputs_of(found)["boxes.boxes"]) == 0


@pytest.mark.parametrize("fault", GEAR_FAULTS)
def test_a_worn_gearbox_is_called_what_it_is_at_every_speed(
    settings: Settings, models: dict[str, LoadedModel], fault: GearFault
) -> None:
    made = pipeline("gear_vibration", settings, models)
    named = 0
    for seed in range(7_000_000, 7_000_010):
        for number, speed_ppm in enumerate((300.0, 455.0, 600.0, 660.0, 800.0)):
            found = answer(made, vibration(seed, number, speed_ppm, fault, 0.8), "gear1")
            named += found.result.label == fault and found.decision.verdict is Verdict.NOK
    assert named >= 47


def test_a_sound_gearbox_raises_no_alarm_in_two_hundred_snapshots(
    settings: Settings, models: dict[str, LoadedModel]
) -> None:
    made = pipeline("gear_vibration", settings, models)
    alarms = 0
    for number in range(200):
        found = answer(made, vibration(7_000_100 + number % 25, number, 4.0 * number), "gear1")
        alarms += found.decision.verdict is not Verdict.OK
    assert alarms <= 1


def test_the_demos_own_gearbox_is_found_sound_while_it_is(settings: Settings, models: dict[str, LoadedModel]) -> None:
    made = pipeline("gear_vibration", settings, models)
    verdicts = [
        answer(made, vibration(1, number, 480.0 + 0.4 * number), "gear1").result.verdict for number in range(300)
    ]
    assert set(verdicts) == {Verdict.OK}
