"""A watch over windows of the simulated line's tags, as the shipped line_anomaly takes them."""

from functools import cache

import numpy as np
import pytest

from edge.config.drift import Drift
from edge.inference.drift.baselines import Baselines
from edge.inference.drift.levels import Level
from edge.sim.signals import line_signals
from tests.drifting import Pool, Watched, run, subject

SEED, ROWS, SAMPLED, EVERY_S = 501, 30, 12, 5.0
SETTINGS = Drift(learn_windows=120, min_results=30)


@cache
def hours(first, count):
    """Windows of 3.2 s, one each 5 s, over some hours of the line."""
    starts = np.arange(first * 3600.0, (first + count) * 3600.0, EVERY_S)
    t = starts[:, None] + np.arange(32) * 0.1
    series = np.stack(line_signals(t, SEED), axis=-1)
    series[..., 1:] = np.round(series[..., 1:], 1)
    return series.astype(np.float32)


def windows(inputs):
    shown = Pool.of(subject("line_anomaly"), inputs, run("line_anomaly", inputs), threshold=1.0)
    rng = np.random.default_rng(1)
    for first in range(0, len(inputs) - ROWS + 1, ROWS):
        yield shown.window(first + rng.permutation(ROWS), SAMPLED)


@cache
def learned():
    watched = Watched(subject("line_anomaly"), SETTINGS)
    for window in windows(hours(0, 5.1)):
        watched.see(window, ROWS * EVERY_S)
    assert watched.track.learned
    return watched.track.baselines.file().encode()


def after(inputs):
    watched = Watched(subject("line_anomaly"), SETTINGS, Baselines(learned()))
    for window in windows(inputs):
        watched.see(window, ROWS * EVERY_S)
    return watched


@pytest.mark.slow
def test_a_clean_shift_of_eight_hours_raises_nothing():
    watched = after(hours(6, 8))
    assert watched.steps == []


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        ((2, lambda fill: fill + 3.0), "mean_fill_temperature"),
        ((2, lambda fill: fill + np.random.default_rng(0).normal(0, 0.3, fill.shape)), "step_fill_temperature"),
        ((1, lambda motor: np.full_like(motor, 52.0)), "step_motor_temperature"),
        ((0, lambda speed: speed * 1.5), "mean_speed"),
    ],
)
def test_a_sensor_that_drifts_is_named(change, signal):
    tag, drifted = change
    inputs = hours(6, 0.5).copy()
    inputs[..., tag] = drifted(inputs[..., tag])
    watched = after(inputs)
    assert watched.track.level in (Level.INPUTS_CHANGED, Level.MODEL_DEGRADED)
    assert watched.scores[signal] > 1.0
