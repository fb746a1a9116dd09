"""Vibration of the filler's gearbox as an accelerometer on its housing reads it. SYNTHETIC: formulas, not records.

A four-pole motor turns a pinion whose bearing wears; the line's speed is the motor's. `vibration(seed, number, ...)` is
one snapshot: `seed` is one machine (its structure, its bearing, its surroundings), `number` one moment of it. Nothing
else is remembered, so that training, a replay and the simulated plant see the same machine.

- rotation: residual imbalance at once per turn (force grows with the square of the speed), a little at twice and three
  times; gear mesh at 23 times with sidebands at the turn; mains hum; the surroundings' noise; knocks of bottles.
- imbalance: more at once per turn, in radial direction before all.
- bearing: a pit in a race is struck at BPFO or BPFI of a 6205 (9 balls of 7.94 mm on 39.04 mm), each strike rings the
  housing's resonance; the intervals slip by 1 %; a pit in the inner race is loud only where it passes the load.
- looseness: harmonics and half-orders of the turn, clipped at the stop, restless from turn to turn, and more noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Series = NDArray[np.float64]

GearFault = Literal["imbalance", "bearing", "looseness"]
Condition = Literal["healthy", "imbalance", "bearing", "looseness"]
GEAR_FAULTS: Final[tuple[GearFault, ...]] = ("imbalance", "bearing", "looseness")
CONDITIONS: Final[tuple[Condition, ...]] = ("healthy", *GEAR_FAULTS)

RATE_HZ: Final = 6400.0
SAMPLES: Final = 4096  # 0.64 s: twelve to eighteen turns
AXES: Final = ("radial", "axial")
TURN_HZ: Final = 24.5  # of the motor at the line's full speed
FULL_PPM: Final = 600.0
BPFO: Final = 3.585  # strikes per turn of a pit in the outer race
BPFI: Final = 5.415  # in the inner race
TEETH: Final = 23

_T: Final = np.arange(SAMPLES) / RATE_HZ
_RING: Final = np.arange(160) / RATE_HZ  # a strike has died away after 25 ms
_MAINS_HZ: Final = 100.0  # magnetic hum: twice the mains frequency
_SLIP: Final = 0.01
RANGE: Final = 160.0  # the sensor's, m/s2


@dataclass(frozen=True)
class _Machine:
    """What stays with one machine. Accelerations in m/s2 at full speed."""

    residual: float
    mesh: float
    sidebands: float
    hum: float
    noise: float
    knocks_hz: float
    axial: float
    resonance_hz: float
    damping: float
    strikes_per_turn: float


@dataclass(frozen=True)
class _Moment:
    """One snapshot while it is made: `turns` are the shaft's since it began, `pace` 1 at full speed."""

    rng: np.random.Generator
    machine: _Machine
    turn_hz: float
    pace: float
    turns: Series


def vibration(
    seed: int, number: int, speed_ppm: float, fault: GearFault | None = None, severity: float = 1.0
) -> NDArray[np.float32]:
    """Return one snapshot in m/s2, float32 [SAMPLES, 2]: radial, axial. `severity`: 0.15 early, 1 plain."""
    rng = np.random.default_rng((seed, number, 7))
    pace = max(speed_ppm, 0.0) / FULL_PPM
    turn_hz = TURN_HZ * pace * float(rng.uniform(0.985, 1.0))  # an induction motor slips under load
    turns = turn_hz * (_T + rng.normal(0.0, 0.004) * _T * _T) + rng.uniform(0.0, 1.0)
    moment = _Moment(rng, _machine(seed), turn_hz, pace, turns)
    radial, axial = _rotation(moment)
    ringing = _knocks(moment)
    grown = severity if fault else 0.0
    if fault == "imbalance":
        push = grown * rng.uniform(1.8, 2.6) * pace**2
        radial += push * _wave(moment, 1.0)
        axial += 0.25 * push * _wave(moment, 1.0)
    elif fault == "bearing":
        ringing = ringing + grown * _strikes(moment)
    elif fault == "looseness":
        loose = grown * _rattle(moment)
        radial, axial = radial + loose, axial + 0.5 * loose
    radial += ringing
    axial += moment.machine.axial * ringing
    rest = 1.0 + 0.6 * grown * (fault == "looseness")
    both = np.stack([radial + rest * _noise(moment), axial + rest * _noise(moment)], axis=-1)
    return np.clip(both, -RANGE, RANGE).astype(np.float32)


@lru_cache(maxsize=256)
def _machine(seed: int) -> _Machine:
    rng = np.random.default_rng((seed, 0, 8))
    return _Machine(
        residual=float(rng.uniform(0.05, 0.35)),
        mesh=float(rng.uniform(0.5, 1.6)),
        sidebands=float(rng.uniform(0.05, 0.3)),
        hum=float(rng.uniform(0.02, 0.12)),
        noise=float(rng.uniform(0.15, 0.4)),
        knocks_hz=float(rng.uniform(0.0, 8.0)),
        axial=float(rng.uniform(0.35, 0.8)),
        resonance_hz=float(rng.uniform(1900.0, 2700.0)),
        damping=float(rng.uniform(0.03, 0.07)),
        strikes_per_turn=BPFO if rng.random() < 0.6 else BPFI,
    )


def _wave(moment: _Moment, order: float) -> Series:
    """A sine of `order` per turn, amplitude 1, at a phase of its own."""
    return np.asarray(np.sin(2.0 * np.pi * (order * moment.turns + moment.rng.uniform())))


def _rotation(moment: _Moment) -> tuple[Series, Series]:
    """What a sound machine does: radial, axial."""
    rng, machine, pace = moment.rng, moment.machine, moment.pace
    load = pace * rng.uniform(0.85, 1.15)
    radial = machine.residual * pace**2 * _wave(moment, 1.0)
    for order, share in ((2.0, 0.35), (3.0, 0.15)):
        radial += machine.residual * pace**2 * share * rng.uniform(0.5, 1.0) * _wave(moment, order)
    mesh = np.zeros(SAMPLES)
    for harmonic, share in ((1, 1.0), (2, 0.45), (3, 0.2)):
        beat = 1.0 + machine.sidebands * _wave(moment, 1.0)
        mesh += machine.mesh * load * share * beat * _wave(moment, float(harmonic * TEETH))
    hum = machine.hum * np.sin(2.0 * np.pi * (_MAINS_HZ * _T + rng.uniform()))
    return radial + mesh + hum, 0.3 * radial + 0.7 * mesh + hum


def _noise(moment: _Moment) -> Series:
    """Broadband noise that grows with the speed, and a rumble below 300 Hz."""
    rng, level = moment.rng, moment.machine.noise * (0.35 + 0.65 * moment.pace)
    white = rng.standard_normal(SAMPLES)
    rumble = np.interp(np.arange(SAMPLES), np.arange(0, SAMPLES + 20, 20), rng.standard_normal(SAMPLES // 20 + 2))
    return np.asarray(level * (white + 0.5 * rumble))


def _ring(moment: _Moment) -> Series:
    """What the sensor reads of one strike: the housing's resonance dies away, its first peak is about 1."""
    swing = 2.0 * np.pi * moment.machine.resonance_hz
    return np.asarray(np.exp(-moment.machine.damping * swing * _RING) * np.sin(swing * _RING))


def _ringing(moment: _Moment, at_s: Series, force: Series) -> Series:
    """Strikes of `force` at `at_s` (from 25 ms before the window on) through the housing."""
    before = len(_RING)
    train = np.zeros(SAMPLES + before)
    place = ((at_s + before / RATE_HZ) * RATE_HZ).astype(np.intp)
    inside = (place >= 0) & (place < len(train))
    np.add.at(train, place[inside], force[inside])
    return np.asarray(np.convolve(train, _ring(moment))[before : before + SAMPLES])


def _knocks(moment: _Moment) -> Series:
    """Bottles knock on the star wheel now and then: single strikes that mean nothing."""
    rng = moment.rng
    count = int(rng.poisson(moment.machine.knocks_hz * moment.pace * SAMPLES / RATE_HZ))
    if not count:
        return np.zeros(SAMPLES)
    return _ringing(moment, rng.uniform(0.0, _T[-1], count), rng.uniform(0.5, 4.0, count))


def _strikes(moment: _Moment) -> Series:
    """The balls run over a pit, at severity 1."""
    rng, rate = moment.rng, moment.machine.strikes_per_turn
    if moment.turn_hz < 0.5:
        return np.zeros(SAMPLES)
    period_s = 1.0 / (rate * moment.turn_hz)
    steps = rng.normal(1.0, _SLIP, int((_T[-1] + 0.03) / period_s) + 2) * period_s
    at_s = np.cumsum(steps) - 0.03 - rng.uniform(0.0, period_s)
    force = rng.uniform(5.0, 7.0) * moment.pace * rng.uniform(0.75, 1.25, len(at_s))
    if rate == BPFI:
        loaded = np.cos(2.0 * np.pi * (moment.turn_hz * at_s + rng.uniform()))
        force = force * np.clip(0.35 + 0.9 * loaded, 0.1, None)
    return _ringing(moment, at_s, force)


def _rattle(moment: _Moment) -> Series:
    """A foot that lifts off and comes down again, at severity 1."""
    rng, push = moment.rng, moment.pace**1.5
    shake = np.zeros(SAMPLES)
    for half_turns in range(1, 13):
        share = rng.uniform(0.25, 0.8) * (1.3 if half_turns % 2 == 0 else 0.8) / (1.0 + 0.12 * half_turns)
        shake += share * _wave(moment, half_turns / 2.0)
    first, last = float(np.floor(moment.turns[0])), float(np.ceil(moment.turns[-1]))
    knots = np.arange(first, last + 1.0)
    restless = np.interp(moment.turns, knots, rng.uniform(0.6, 1.3, len(knots)))
    return np.asarray(push * np.clip(1.2 * shake * restless, -2.2, 2.2))
