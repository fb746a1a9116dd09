"""What the drift watch notices, how soon, and what it cries over: shipped models under changes of camera and sensors.

Each device learns from its own clean windows. Then: a simulated week of clean windows, drawn from pictures that it has
not learned from; camera changes of rising severity, each with the accuracy that it really costs (on as many fine parts
as defective ones); a clean day and drifting sensors for `line_anomaly`. At the end, what a result costs the lane.
Nothing here needs a bus. The last line is JSON; the exit status is 1 when a target is missed.
"""

import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge.config.drift import Drift
from edge.inference.drift.baselines import Baselines
from edge.inference.drift.inputs import InputGatherer
from edge.inference.drift.levels import Level
from edge.inference.drift.predictions import PredictionGatherer
from edge.inference.drift.subject import watched_input
from edge.sim.shifts import PICTURE_SHIFTS, chipped
from edge.sim.signals import FAULTS, Fault, line_signals
from schemas.messages import Phase
from tests.bench.drift_shown import draw, show_auc, show_cases
from tests.bench.shown import Targets, arguments, finish
from tests.drifting import Pool, Watched, drawn, faulty, pictures, run, subject

CAP, LINE = "cap_inspection", "line_anomaly"
ROWS, SAMPLED, WINDOWS = 100, 25, 12
WEEK = 60_480
CAMERAS, LINES = 950, 600  # the first seeds; the watch's constants were chosen on 900 to 909 and 500 to 505
BALANCED, SHOWN = 300, 300
SEVERITIES = {
    "lamp": (0.9, 0.8, 0.6, 0.4, 0.25, 1.1, 1.25, 1.6, 2.5), "side_light": (0.2, 0.4, 0.7, 0.9),
    "colour_cast": (0.1, 0.3, 0.6), "defocus": (1, 2, 4, 8), "motion_blur": (1, 3, 8, 16),
    "sensor_noise": (0.01, 0.02, 0.035, 0.05, 0.1), "haze": (0.1, 0.2, 0.3, 0.5), "displaced": (1, 2, 4, 8, 14),
}  # fmt: skip
SAMPLE_S, READINGS, EVERY_S = 0.1, 32, 2.0
SENSOR = Drift(learn_windows=120, min_results=75)  # 150 s, as 300 results of the demo's two a second
NOISE = np.random.default_rng(0)
SENSOR_DRIFTS = {
    "fill +1 °C": (2, lambda x: x + 1.0), "fill +2 °C": (2, lambda x: x + 2.0), "motor +4 °C": (1, lambda x: x + 4.0),
    "motor +8 °C": (1, lambda x: x + 8.0), "motor gain 0.9": (1, lambda x: x * 0.9),
    "motor stuck": (1, lambda x: np.full_like(x, 52.0)), "speed +5 %": (0, lambda x: x * 1.05),
    "speed +25 %": (0, lambda x: x * 1.25), "fill noise 0.1": (2, lambda x: x + NOISE.normal(0, 0.1, x.shape)),
    "fill noise 0.3": (2, lambda x: x + NOISE.normal(0, 0.3, x.shape)),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One device under one change: what it cost (accuracy, 0..1), the gravest that the watch said, and when first."""

    name: str
    severity: str
    loss: float
    level: Level
    windows: dict[str, int]
    scores: dict[str, float] = field(default_factory=dict)


def judged(
    name: str, severity: object, loss: float, learned: bytes, what: str, windows: Any, settings: Drift, seconds: float
) -> Case:
    """Let a device that has learned see windows."""
    watched = Watched(subject(what), settings, Baselines(learned))
    first: dict[str, int] = {}
    scores: list[dict[str, float]] = []
    for turn, window in enumerate(windows, 1):
        watched.see(window, seconds)
        first.setdefault(watched.track.level.value, turn)
        scores.append(watched.scores)
    names = {key for row in scores for key in row}
    medians = {key: statistics.median(row.get(key, 0.0) for row in scores) for key in names}
    gravest = max((Level(level) for level in first), key=list(Level).index)
    return Case(name, str(severity), loss, gravest, first, medians)


# -- cameras -----------------------------------------------------------------------------------------------------------


def pool(images: Any) -> Pool:
    """The statistics of pictures."""
    return Pool.of(subject(CAP), images, run(CAP, images))


def accuracy(images: Any, bad: Any) -> float:
    """The share of parts that are sorted rightly into fine and defective."""
    return float(((1.0 - run(CAP, images)[:, 0] >= 0.5) == bad).mean())


def camera(seed: int) -> tuple[int, list[Case]]:
    """One device: false alarms of its clean week, and every change."""
    settings, rng = Drift(), np.random.default_rng(seed)
    base, unseen = pool(pictures(seed, 1, 6_000)), pool(pictures(seed, 10_001, 3_000))
    watched = Watched(subject(CAP), settings)
    for _ in range(settings.learn_windows):
        watched.see(drawn(rng, base, ROWS, SAMPLED))
    learned = watched.track.baselines.file().encode()
    for _ in range(WEEK):
        watched.see(drawn(rng, unseen, ROWS, SAMPLED))
    alarms = sum(step.phase is Phase.NEW for step in watched.steps)

    parts, bad = pictures(seed, 20_001, BALANCED, 0.5), faulty(seed, 20_001, BALANCED, 0.5)
    line, before = pictures(seed, 30_001, SHOWN), accuracy(parts, bad)

    def case(name: str, severity: object, images: Any, truth: Any, shown: Any) -> Case:
        changed = pool(shown)
        windows = [drawn(rng, changed, ROWS, SAMPLED) for _ in range(WINDOWS)]
        return judged(name, severity, before - accuracy(images, truth), learned, CAP, windows, settings, 10.0)

    cases = [case("none", "", parts, bad, line)]
    for name, severities in SEVERITIES.items():
        shift = PICTURE_SHIFTS[name]
        cases += [case(name, s, shift(parts, s, rng), bad, shift(line, s, rng)) for s in severities]
    for size in (0.2, 0.6, 1.0):  # a tenth of the parts has a defect that the model has never seen
        shown, fine = line.copy(), parts[~bad]
        shown[::10] = chipped(line[::10], size, rng)
        both = np.concatenate([fine, chipped(fine, size, rng)])
        cases.append(case("new defect", size, both, np.arange(len(both)) >= len(fine), shown))
    for rate in (0.05, 0.1, 0.3):
        cases.append(case("more defects", rate, parts, bad, pictures(seed, 40_001, SHOWN, rate)))
    other = seed + 5_000
    cases.append(case("other product", "", pictures(other, 1, BALANCED, 0.5), faulty(other, 1, BALANCED, 0.5),
                      pictures(other, 10_001, SHOWN)))  # fmt: skip
    return alarms, cases


# -- sensors -----------------------------------------------------------------------------------------------------------


def readings(seed: int, starts: Any, fault: Fault | None = None) -> Any:
    """Windows of the line's tags that begin at some seconds."""
    series = np.stack(line_signals(starts[:, None] + np.arange(READINGS) * SAMPLE_S, seed, fault), axis=-1)
    series[..., 1:] = np.round(series[..., 1:], 1)
    return series.astype(np.float32)


def drift_windows(inputs: Any) -> Any:
    """Yield windows in the order of time."""
    shown, rng = Pool.of(subject(LINE), inputs, run(LINE, inputs), threshold=1.0), np.random.default_rng(1)
    for first in range(0, len(inputs) - SENSOR.min_results + 1, SENSOR.min_results):
        yield shown.window(first + rng.permutation(SENSOR.min_results), SAMPLED)


def sensors(seed: int) -> tuple[int, list[Case]]:
    """One device: false alarms of the day after it has learned, and every drift."""
    seconds = SENSOR.min_results * EVERY_S
    watched, learned = Watched(subject(LINE), SENSOR), b""
    for hour in range(0, 29, 4):
        for window in drift_windows(readings(seed, np.arange(hour * 3600.0, (hour + 4) * 3600.0, EVERY_S))):
            watched.see(window, seconds)
            if watched.track.learned and not learned:
                learned = watched.track.baselines.file().encode()
    alarms = sum(step.phase is Phase.NEW for step in watched.steps)
    hour = readings(seed, np.arange(120_000.0, 123_600.0, EVERY_S))
    fine = readings(seed + 1_000, np.arange(0.0, 7_200.0, 25.0))
    ill = np.concatenate(
        [readings(seed + 1_000, np.arange(760.0, 1_300.0, 10.0), Fault(k, 700.0, 0.5)) for k in FAULTS]
    )

    def right(change: Any = lambda x: x, tag: int = 0) -> float:
        told = [inputs.copy() for inputs in (fine, ill)]
        for inputs in told:
            inputs[..., tag] = change(inputs[..., tag])
        scores = [run(LINE, inputs).ravel() for inputs in told]
        return float(((scores[0] < 1.0).mean() + (scores[1] >= 1.0).mean()) / 2)

    before, cases = right(), []
    for name, (tag, change) in SENSOR_DRIFTS.items():
        inputs = hour.copy()
        inputs[..., tag] = change(inputs[..., tag])
        loss = before - right(change, tag)
        cases.append(judged(name, "", loss, learned, LINE, list(drift_windows(inputs)), SENSOR, seconds))
    return alarms, cases


# -- cost --------------------------------------------------------------------------------------------------------------


def each_us(work: Any, times: int) -> float:
    """Processor time of one call, the median of rounds."""
    rounds: list[float] = []
    for _ in range(9):
        before = time.thread_time_ns()
        for _ in range(times):
            work()
        rounds.append((time.thread_time_ns() - before) / times / 1e3)
    return statistics.median(rounds)


def costs() -> dict[str, float]:
    """Microseconds on the lane: to look at an input, an answer's statistics, a result when a quarter is looked at."""
    what, rng = subject(CAP), np.random.default_rng(1)
    small = rng.integers(0, 255, (1, 64, 64, 3)).astype(np.uint8)
    large = rng.integers(0, 255, (1, 1024, 1280, 3)).astype(np.uint8)
    said = run(CAP, small)
    inputs, predictions = InputGatherer(what.inputs), PredictionGatherer(what)
    of_large = InputGatherer([watched_input("input", "uint8", (1024, 1280, 3), None)])
    look, answer = each_us(lambda: inputs.see({"input": small}), 300), each_us(lambda: predictions.see(said), 2_000)
    watched, shown = Watched(what, Drift(learn_windows=20)), pool(pictures(1, 1, 300))
    for _ in range(20):
        watched.see(drawn(rng, shown, ROWS, SAMPLED))
    window = drawn(rng, shown, ROWS, SAMPLED)
    return {
        "look_us": look, "look_1280_us": each_us(lambda: of_large.see({"input": large}), 100), "answer_us": answer,
        "result_us": answer + SAMPLED / ROWS * look, "judge_us": each_us(lambda: watched.see(window), 100),
    }  # fmt: skip


def main() -> int:
    """Run it all."""
    parser = arguments("drift", __doc__)
    parser.add_argument("--devices", type=int, default=6, metavar="N", help="cameras and lines of other seeds (6)")
    given, console, targets = parser.parse_args(), Console(), Targets()
    cameras = [camera(seed) for seed in range(CAMERAS, CAMERAS + given.devices)]
    lines = [sensors(seed) for seed in range(LINES, LINES + given.devices)]
    seen = [case for _, cases in cameras for case in cases]
    console.print(
        show_cases("cap_inspection: camera", seen),
        show_cases("line_anomaly: sensors", [c for _, cs in lines for c in cs]),
    )
    figures = show_auc(console, seen)
    false = {"camera_weeks": sum(alarms for alarms, _ in cameras), "line_days": sum(alarms for alarms, _ in lines)}
    cost = costs()
    table = Table(title="false alarms and cost")
    for column in ("what", "figure", "target"):
        table.add_column(column)
    rows = (
        (f"false alarms in {given.devices} clean weeks of a camera", false["camera_weeks"], 0),
        (f"false alarms in {given.devices} clean days of a line", false["line_days"], 0),
    )
    for name, count, most in rows:
        table.add_row(name, targets.cell(name, str(count), count <= most), f"<= {most}")
    table.add_row(
        "a result, us on the lane", targets.cell("cost", f"{cost['result_us']:.1f}", cost["result_us"] < 30), "< 30"
    )
    for name in ("look_us", "look_1280_us", "answer_us", "judge_us"):
        table.add_row(name.removesuffix("_us").replace("_", " ") + ", us", f"{cost[name]:.1f}", "")
    console.print(table)
    draw(seen, given.plots, console)
    targets.say(console)
    finish({"devices": given.devices, "false_alarms": false, "auc": figures, "cost": cost,
            "levels": Counter(case.level.value for case in seen)})  # fmt: skip
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main())
