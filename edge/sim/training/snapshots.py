"""Labelled snapshots of simulated gearboxes for training, choosing and testing `gear_condition`.

Machines (seeds) of training, choosing and testing are different ones, and so are the speeds: those of the test lie in
two bands that the training never saw. A gearbox that turns slower than `SLOW_PPM` is shown without faults only.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.sim.vibration import AXES, CONDITIONS, GEAR_FAULTS, SAMPLES, vibration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

TRAIN_MACHINES: Final = range(11_000_000, 11_003_000)
DEV_MACHINES: Final = range(12_000_000, 12_000_400)
TEST_MACHINES: Final = range(13_000_000, 13_001_500)
HEALTHY_MACHINES: Final = range(13_500_000, 13_502_500)
GOLDEN_MACHINE: Final = 14_000_000
PER_MACHINE: Final = 8
_AT_ONCE: Final = 200

SLOW_PPM: Final = 240.0
TOP_PPM: Final = 900.0
HELD_OUT_PPM: Final = ((430.0, 480.0), (620.0, 700.0))
EARLY: Final = (0.2, 0.45)  # severities
PLAIN: Final = (0.45, 1.0)
_HEALTHY_SHARE: Final = 0.4
_SLOW_SHARE: Final = 0.08


@dataclass(frozen=True)
class Snapshots:
    """Windows [N, SAMPLES, 2] in m/s2, the index of each one's condition [N], and its severity [N], 0 when healthy."""

    windows: NDArray[np.float32]
    labels: NDArray[np.int64]
    severities: NDArray[np.float64]


def training(machines: range) -> Iterator[Snapshots]:
    """Yield `PER_MACHINE` snapshots of each machine, mixed, at all speeds but those that are held out."""
    return _gathered(machines, _trained)


def unseen(machines: range) -> Iterator[Snapshots]:
    """Yield as many at the speeds that were held out; all conditions equally frequent."""
    return _gathered(machines, _tested)


def healthy(machines: range) -> Iterator[Snapshots]:
    """Yield as many of sound machines at all speeds, standstill and held-out ones among them."""
    return _gathered(machines, _sound)


def _gathered(machines: range, draw: Callable[[int], Snapshots]) -> Iterator[Snapshots]:
    """Draw them `_AT_ONCE` machines at a time."""
    with ProcessPoolExecutor(2) as pool:
        for first in range(0, len(machines), _AT_ONCE):
            drawn = list(pool.map(draw, machines[first : first + _AT_ONCE], chunksize=20))
            yield Snapshots(
                np.concatenate([one.windows for one in drawn]),
                np.concatenate([one.labels for one in drawn]),
                np.concatenate([one.severities for one in drawn]),
            )


def _trained(machine: int) -> Snapshots:
    rng = np.random.default_rng((machine, 1))
    return _drawn(machine, rng, lambda: _seen_speed(rng), _HEALTHY_SHARE)


def _tested(machine: int) -> Snapshots:
    rng = np.random.default_rng((machine, 2))
    return _drawn(machine, rng, lambda: float(rng.uniform(*HELD_OUT_PPM[rng.integers(2)])), 1.0 / len(CONDITIONS))


def _sound(machine: int) -> Snapshots:
    rng = np.random.default_rng((machine, 3))
    return _drawn(machine, rng, lambda: float(rng.uniform(0.0, TOP_PPM)), 1.0)


def _seen_speed(rng: np.random.Generator) -> float:
    while True:
        speed = float(rng.uniform(SLOW_PPM, TOP_PPM))
        if not any(low <= speed <= high for low, high in HELD_OUT_PPM):
            return speed


def _drawn(machine: int, rng: np.random.Generator, speed: Callable[[], float], healthy_share: float) -> Snapshots:
    windows = np.empty((PER_MACHINE, SAMPLES, len(AXES)), np.float32)
    labels, severities = np.zeros(PER_MACHINE, np.int64), np.zeros(PER_MACHINE)
    for number in range(PER_MACHINE):
        if rng.random() < healthy_share:
            speed_ppm = float(rng.uniform(0.0, SLOW_PPM)) if rng.random() < _SLOW_SHARE else speed()
            windows[number] = vibration(machine, number, speed_ppm)
            continue
        fault = GEAR_FAULTS[int(rng.integers(len(GEAR_FAULTS)))]
        severities[number] = rng.uniform(EARLY[0], PLAIN[1])
        labels[number] = CONDITIONS.index(fault)
        windows[number] = vibration(machine, number, speed(), fault, float(severities[number]))
    return Snapshots(windows, labels, severities)
