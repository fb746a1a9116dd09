"""Signals of the simulated bottling line as functions of time. SYNTHETIC: formulas, not records of a machine.

`line_signals(t_s, seed)` can be asked for any instant in any order: nothing is integrated step by step, so a restarted
simulator, a replay and the training of the demo model all see the same line.

- speed, parts per minute: the recipe changes every 20 min over a 15 s ramp; small fluctuation; encoder noise.
- motor temperature, deg C: follows the load with a lag of 90 s, over a slow ambient drift; sensor noise.
- fill temperature, deg C: the product's setpoint, a slow controller oscillation, a little colder at full speed; noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Series = NDArray[np.float64]

FaultKind = Literal["overheat", "jam", "fill_drift"]
FAULTS: Final[tuple[FaultKind, ...]] = ("overheat", "jam", "fill_drift")

_RECIPE_S: Final = 1200.0
_RAMP_S: Final = 15.0
_RECIPES_PPM: Final = np.array([480.0, 540.0, 600.0])
_FULL_PPM: Final = 600.0
_LAG_S: Final = 90.0
_LAG_POINTS: Final = 24
_NOISE_HZ: Final = 20.0  # the sensors' noise changes this often


@dataclass(frozen=True)
class Fault:
    """A fault that begins at `start_s` and stays. `severity` 1 is a plain case, 0.2 an early one."""

    kind: FaultKind
    start_s: float
    severity: float = 1.0


class LineSignals(NamedTuple):
    """One value per asked instant, in the order of the `line_anomaly` model's channels."""

    speed_ppm: Series
    motor_c: Series
    fill_c: Series


def line_signals(t_s: ArrayLike, seed: int, fault: Fault | None = None) -> LineSignals:
    """Return the line's signals at `t_s` (seconds, >= 0; a number or an array, whose shape the answers take)."""
    t = np.asarray(t_s, dtype=np.float64)
    ages = np.linspace(0.0, 4.0, _LAG_POINTS) * _LAG_S
    weights = np.exp(-ages / _LAG_S)
    past = _speed(t[..., None] - ages, seed, fault)
    load = (past / _FULL_PPM) @ (weights / weights.sum())
    motor = 36.0 + 22.0 * load + 1.2 * _drift(t, seed, 2, 900.0) + 0.15 * _noise(t, seed, 3)
    fill = 18.0 - 0.5 * load + 0.25 * _drift(t, seed, 4, 60.0) + 0.3 * _drift(t, seed, 5, 1500.0)
    fill = fill + 0.05 * _noise(t, seed, 6)
    if fault is not None:
        since = np.maximum(t - fault.start_s, 0.0)
        motor = motor + _extra_heat(since, fault)
        if fault.kind == "fill_drift":
            fill = fill + fault.severity * np.minimum(0.02 * since, 6.0)
    return LineSignals(_speed(t, seed, fault) + 1.5 * _noise(t, seed, 1), motor, fill)


def _speed(t: Series, seed: int, fault: Fault | None) -> Series:
    """Speed without encoder noise. A jam drags the line down within seconds to what its severity leaves."""
    block = np.floor(t / _RECIPE_S)
    now, before = _recipe(block, seed), _recipe(block - 1, seed)
    ramp = np.clip((t - block * _RECIPE_S) / _RAMP_S, 0.0, 1.0)
    speed = (before + (now - before) * ramp) * (1.0 + 0.008 * _drift(t, seed, 7, 25.0))
    if fault is not None and fault.kind == "jam":
        left = 1.0 - 0.95 * min(fault.severity, 1.0)
        since = np.maximum(t - fault.start_s, 0.0)
        speed = speed * (left + (1.0 - left) * np.exp(-since / 2.0))
    return np.asarray(speed)


def _extra_heat(since: Series, fault: Fault) -> Series:
    """Degrees above normal: a failing bearing heats slowly, a stalled motor somewhat faster and less."""
    if fault.kind == "overheat":
        return np.asarray(fault.severity * 30.0 * (1.0 - np.exp(-since / 180.0)))
    if fault.kind == "jam":
        return np.asarray(fault.severity * 12.0 * (1.0 - np.exp(-since / 60.0)))
    return np.zeros_like(since)


def _recipe(block: Series, seed: int) -> Series:
    return _RECIPES_PPM[(_hash(block, seed, 8) * len(_RECIPES_PPM)).astype(np.intp)]


def _drift(t: Series, seed: int, channel: int, period_s: float) -> Series:
    """Smooth random wander of standard deviation 1, with a new direction about every `period_s`."""
    place = t / period_s
    step = np.floor(place)
    part = place - step
    ease = part * part * (3.0 - 2.0 * part)
    low, high = _hash(step, seed, channel), _hash(step + 1, seed, channel)
    return np.asarray((low + (high - low) * ease - 0.5) * 4.0)


def _noise(t: Series, seed: int, channel: int) -> Series:
    """White noise, standard deviation 1, one draw per sensor sample."""
    step = np.floor(t * _NOISE_HZ)
    return np.asarray(sum(_hash(step, seed, channel * 16 + turn) for turn in (1, 2, 3, 4)) * 1.7320508 - 3.4641016)


def _hash(step: Series, seed: int, channel: int) -> Series:
    """Return numbers in [0, 1) that depend on step, seed and channel alone (splitmix64's finaliser)."""
    salt = (seed * 0x9E3779B97F4A7C15 + channel * 0xD1B54A32D192ED03) & 0xFFFFFFFFFFFFFFFF
    x = np.atleast_1d(step).astype(np.int64).astype(np.uint64) ^ np.uint64(salt)  # scalars would warn of the wrap
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(np.shape(step))
