"""A watch over the shipped cap inspection and a simulated camera: what it says, and what it keeps quiet about."""

from functools import cache

import numpy as np
import pytest

from edge.config.drift import Drift
from edge.inference.drift.baselines import Baselines
from edge.inference.drift.levels import Level
from edge.sim.shifts import PICTURE_SHIFTS
from schemas.messages import Phase
from tests.drifting import Pool, Watched, drawn, pictures, run, subject

pytestmark = pytest.mark.slow  # thousands of pictures go through the model

SEED, ROWS, SAMPLED = 903, 100, 25
SETTINGS = Drift(learn_windows=60)


def pool(images):
    return Pool.of(subject("cap_inspection"), images, run("cap_inspection", images))


@cache
def camera():
    return pictures(SEED, 1, 300)


@cache
def clean():
    return pool(pictures(SEED, 1001, 1200))


@cache
def learned():
    watched, rng = Watched(subject("cap_inspection"), SETTINGS), np.random.default_rng(SEED)
    for _ in range(SETTINGS.learn_windows):
        watched.see(drawn(rng, clean(), ROWS, SAMPLED))
    return watched.track.baselines.file().encode()


def watch():
    watched = Watched(subject("cap_inspection"), SETTINGS, Baselines(learned()))
    assert watched.track.learned
    return watched


def after(images, windows=8):
    watched, rng, shown = watch(), np.random.default_rng(1), pool(images)
    for _ in range(windows):
        watched.see(drawn(rng, shown, ROWS, SAMPLED))
    return watched


def shifted(name, severity):
    return PICTURE_SHIFTS[name](camera(), severity, np.random.default_rng(2))


def test_a_clean_week_raises_nothing():
    watched, rng = watch(), np.random.default_rng(3)
    for _ in range(7 * 86_400 // 100):  # a part a second
        watched.see(drawn(rng, clean(), ROWS, SAMPLED), 100.0)
    assert watched.steps == []
    assert watched.track.level is Level.OK


@pytest.mark.parametrize(
    ("name", "severity"),
    [("sensor_noise", 0.035), ("sensor_noise", 0.1), ("lamp", 2.5), ("haze", 0.3), ("haze", 0.5)],
)
def test_what_costs_accuracy_raises_model_degraded(name, severity):
    watched = after(shifted(name, severity))
    assert watched.track.level is Level.MODEL_DEGRADED
    codes = [step.code for step in watched.steps]
    assert codes.count(Level.MODEL_DEGRADED) == 1
    assert all(step.phase is Phase.NEW and step.worst.score > 1.0 for step in watched.steps)


@pytest.mark.parametrize(
    ("name", "severity"),
    [("lamp", 0.8), ("lamp", 1.25), ("colour_cast", 0.3), ("side_light", 0.4), ("displaced", 4)],
)
def test_what_the_model_was_made_for_changes_the_inputs_only(name, severity):
    watched = after(shifted(name, severity))
    assert watched.track.level is Level.INPUTS_CHANGED
    assert [step.code for step in watched.steps] == [Level.INPUTS_CHANGED]


def test_more_rejects_of_pictures_that_look_as_always_are_no_drift():
    watched = after(pictures(SEED, 1, 300, 0.10))
    assert watched.track.level is Level.OK
    assert watched.scores["mix"] > watched.scores["entropy"]


def test_a_lens_out_of_focus_shows_in_sharpness():
    watched = after(shifted("defocus", 4))
    assert watched.track.level is not Level.OK
    assert max(watched.scores[f"sharpness_{colour}"] for colour in ("red", "green", "blue")) > 1.0
    assert watched.scores["mean_red"] < 1.0


def test_what_comes_back_ends_the_alarm_it_began():
    watched, rng, bright = watch(), np.random.default_rng(1), pool(shifted("lamp", 1.25))
    for _ in range(6):
        watched.see(drawn(rng, bright, ROWS, SAMPLED))
    for _ in range(6):
        watched.see(drawn(rng, clean(), ROWS, SAMPLED))
    assert [step.phase for step in watched.steps] == [Phase.NEW, Phase.END]
    assert len({step.key for step in watched.steps}) == 1
    assert watched.steps[1].seconds > 0


def test_windows_under_an_alarm_are_not_learned_from():
    watched, rng, noisy = watch(), np.random.default_rng(1), pool(shifted("sensor_noise", 0.1))
    before = watched.track.windows
    for _ in range(6):
        watched.see(drawn(rng, noisy, ROWS, SAMPLED))
    assert watched.track.windows == before


def test_an_unclean_window_is_judged_but_not_learned_from():
    watched, rng = Watched(subject("cap_inspection"), SETTINGS), np.random.default_rng(SEED)
    watched.see(drawn(rng, clean(), ROWS, SAMPLED), unclean="bad_quality")
    assert watched.track.windows == 0
    watched.see(drawn(rng, clean(), ROWS, SAMPLED))
    assert watched.track.windows == 1
    assert watched.track.level is Level.LEARNING
