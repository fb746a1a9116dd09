"""Trains and tests `line_anomaly`: windows of the simulated line's speed, motor and fill temperature at 10 Hz.

The model learns the signals both as they are and as the demo's tags deliver them (edge/sim/demo/tags/plant.csv: whole
tenths of a degree, a deadband). Fitting, calibration and test use different seeds. The margin was set after other
seeds, not used here any more, had shown 2.4 false alarms a day without one. The test's faults all begin in mid-recipe;
one during a recipe change may be found later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from edge.sim.signals import FAULTS, Fault, line_signals
from edge.sim.training.whitening import Whitening, episodes, windows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

WINDOW: Final = 32
SAMPLE_S: Final = 0.1
FIT_SEEDS: Final = range(10_000, 10_150)
CALIBRATION_SEEDS: Final = range(20_000, 20_060)
TEST_SEEDS: Final = range(70_000, 70_060)

_RESOLUTION: Final = (0.0, 0.1, 0.1)
_DEADBAND: Final = (1.0, 0.2, 0.1)
_HOURS: Final = 2.0
_FIT_STRIDE: Final = 80
_STRIDE: Final = 5  # the demo's pipeline scores every fifth scan
_COSINES: Final = 4
_RIDGE: Final = 1e-4
_MARGIN: Final = 1.15
_GAP: Final = 120
_FAULT_AT_S: Final = 700.0
_PATIENCE_S: Final = 600.0
_SEVERITIES: Final = (("plain", 1.0), ("early", 0.3))


def train() -> Whitening:
    """Fit on clean lines, then set the threshold on other clean lines."""
    fitted = Whitening.fit(np.concatenate([_clean(seed, _FIT_STRIDE) for seed in FIT_SEEDS]), _COSINES, _RIDGE)
    return fitted.calibrated((_clean(seed, _STRIDE) for seed in CALIBRATION_SEEDS), _MARGIN)


def evaluate(score: Callable[[Array], Array]) -> dict[str, float]:
    """Return false alarms a day on clean lines, and per fault the share found in 10 min and the median delay."""
    hours = len(TEST_SEEDS) * _HOURS
    alarms = sum(_false_alarms(score, seed) for seed in TEST_SEEDS)
    figures = {"clean_hours": hours, "false_alarms_per_day": 24.0 * alarms / hours}
    for kind in FAULTS:
        for name, severity in _SEVERITIES:
            delays = np.array([_delay_s(score, seed, Fault(kind, _FAULT_AT_S, severity)) for seed in TEST_SEEDS])
            found = np.isfinite(delays)
            figures[f"{kind}_{name}_found"] = float(found.mean())
            if found.any():
                figures[f"{kind}_{name}_median_delay_s"] = float(np.median(delays[found]))
    return figures


def golden_windows() -> NDArray[np.float32]:
    """Return eight windows [8, W, C] of unseen lines: five clean ones and one of each fault, a minute old."""
    t = np.arange(WINDOW) * SAMPLE_S
    clean = [_as_tags(_series(t + 300.0 * turn, 40_000 + turn, None)) for turn in range(5)]
    faulty = [_as_tags(_series(t + 760.0, 40_010, Fault(kind, _FAULT_AT_S, 0.5))) for kind in FAULTS]
    return np.stack(clean + faulty).astype(np.float32)


def _series(t: NDArray[np.floating], seed: int, fault: Fault | None) -> Array:
    return np.stack(line_signals(t, seed, fault), axis=-1)


def _as_tags(series: Array) -> Array:
    """Return a series [T, C] as the line's tags report it."""
    told = np.empty_like(series)
    for tag, (step, band) in enumerate(zip(_RESOLUTION, _DEADBAND, strict=True)):
        values = np.round(series[:, tag] / step) * step if step else series[:, tag]
        last = float("-inf")
        for index, value in enumerate(values.tolist()):
            last = value if abs(value - last) >= band else last
            told[index, tag] = last
    return told


def _clean(seed: int, stride: int) -> Array:
    """Return windows [M, W, C] of a line without a fault, as it is and as its tags report it."""
    series = _series(np.arange(0.0, _HOURS * 3600.0, SAMPLE_S), seed, None)
    return np.concatenate([windows_of(view, WINDOW, stride) for view in (series, _as_tags(series))])


def _false_alarms(score: Callable[[Array], Array], seed: int) -> int:
    """Alarms of a clean line's tags; those within a minute are one."""
    series = _as_tags(_series(np.arange(0.0, _HOURS * 3600.0, SAMPLE_S), seed, None))
    return len(episodes(score(windows_of(series, WINDOW, _STRIDE)) >= 1.0, _GAP))


def _delay_s(score: Callable[[Array], Array], seed: int, fault: Fault) -> float:
    """Seconds from the fault to the first alarm; infinite when none comes in time."""
    t = fault.start_s + np.arange(-WINDOW, _PATIENCE_S / SAMPLE_S) * SAMPLE_S
    ends = t[WINDOW - 1 :: _STRIDE]
    alarmed = score(windows_of(_as_tags(_series(t, seed, fault)), WINDOW, _STRIDE)) >= 1.0
    alarmed &= ends >= fault.start_s
    return float(ends[alarmed.argmax()] - fault.start_s) if alarmed.any() else float("inf")
