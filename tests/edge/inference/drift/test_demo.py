"""What a watch sees of the demo's own pipelines: pictures, a graph with many crops, raw vibration."""

from pathlib import Path

import pytest

import edge.sim
from edge.config.drift import Drift
from edge.engines import load_engine
from edge.inference.drift.baselines import Baselines
from edge.inference.drift.subject import subject_of
from edge.inference.drift.watch import DriftWatch
from edge.inference.pipeline import Pipeline
from edge.models.contract import newest_version
from edge.models.loaded import load_model
from edge.settings import load_settings
from edge.sim.parts import PartStream
from edge.sim.tray import TrayStream
from edge.sim.vibration import vibration
from schemas.messages import Frame

DEMO = Path(edge.sim.__file__).parent / "demo"
BOOT, NOW_NS, WINDOW = "thisboot", 1_000_000_000, 25


def watched(name, inputs):
    """Yield what the watch says after each of two windows."""
    settings = load_settings(DEMO).pipelines[name]
    pipeline = Pipeline(name, settings, BOOT, lambda: NOW_NS)
    for model in settings.models:
        folder = DEMO / "models" / model
        pipeline.use(load_model(folder / newest_version(folder), load_engine("cpu")))
    drift = Drift(min_results=20, learn_windows=20)
    watch = DriftWatch(name, drift, Baselines(), lambda a: subject_of(pipeline.graph(a.variant), a.variant))
    for number in range(2 * WINDOW):
        array = inputs(number)
        frame = Frame(
            stream="s", part_id=number, boot=BOOT, trigger_ns=NOW_NS, time_ns=0, shape=array.shape,
            dtype=array.dtype.name, data=memoryview(array.tobytes()), epoch=1, seq=number,
        )  # fmt: skip
        assert pipeline.offer_frame(frame, NOW_NS) is None
        for answer in pipeline.step():
            watch.see(answer)
        if number % WINDOW == WINDOW - 1:
            yield watch.close_window(NOW_NS + number).drift


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("cap_inspection", PartStream(7_000_001).image),
        ("tray_inspection", TrayStream(7_000_001, 0.02).image),
        ("gear_vibration", lambda number: vibration(7_000_001, number, 600.0)),
    ],
)
def test_a_pipeline_of_the_demo_can_be_learned(name, inputs):
    *_, drift = watched(name, inputs)
    assert drift.windows == 2
    assert 0 <= drift.entropy < 0.5
