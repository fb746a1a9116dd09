"""Statistics of what a model says: how unsure it is, which classes it names, how its scores are spread.

Scores are counted in bins that are fixed before anything is learned: a classifier's in the log-odds of its best label,
an anomaly score's in its logarithm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.inference.drift.subject import Subject

BINS: Final = 32
_TINY: Final = 1e-6
_SHORT: Final = 16  # up to so many labels a plain loop is faster than numpy
_ODDS_LOW, _ODDS_STEP = -2.0, 0.5  # log-odds -2 .. 14
_LOG_LOW, _LOG_STEP = -9.0, 0.5  # e^-9 .. e^7


class PredictionWindow(msgspec.Struct, frozen=True, array_like=True):
    """What a model said in one window. `unsure`, `unsure_squares`: sums of each row's normalised entropy (0..1).

    `classes`: how often each label was the likeliest. `bins`: how often a score fell into each bin. Of an anomaly model
    there are `score_sum` and bins alone, of results under the alarm.
    """

    rows: int
    unsure: float
    unsure_squares: float
    score_sum: float
    score_squares: float
    classes: list[int]
    bins: list[int]


class PredictionGatherer:
    """Sums up the predictions of one window."""

    def __init__(self, subject: Subject) -> None:
        """Start empty."""
        self._classifies = subject.kind == "classifier"
        self._labels = len(subject.labels)
        self._norm = 1.0 / math.log(self._labels) if self._labels > 1 else 0.0
        self.clear()

    def clear(self) -> None:
        """Start a window."""
        self.rows = 0
        self._unsure = self._unsure_squares = self._score = self._score_squares = 0.0
        self._classes = [0] * self._labels
        self._bins = [0] * BINS

    def see(self, output: NDArray[Any]) -> None:
        """Take the judged output of one input: rows of probabilities, or one score."""
        if self._classifies:
            for row in output.reshape(-1, self._labels):
                self._probabilities(row)
            return
        score = float(output.reshape(-1)[0])
        if not math.isfinite(score):
            return
        logarithm = math.log(max(score, _TINY))
        self._score += logarithm
        self._score_squares += logarithm * logarithm
        self._count((logarithm - _LOG_LOW) / _LOG_STEP)

    def _probabilities(self, row: NDArray[Any]) -> None:
        chances: list[float] = row.tolist()
        best = max(chances)
        if self._labels <= _SHORT:
            unsure = -sum([p * math.log(p) for p in chances if p > 0.0]) * self._norm
        else:
            unsure = float(-(row * np.log(np.maximum(row, 1e-30))).sum()) * self._norm
        if not math.isfinite(unsure):
            return
        self._unsure += unsure
        self._unsure_squares += unsure * unsure
        self._classes[chances.index(best)] += 1
        self._count((math.log((best + _TINY) / (max(1.0 - best, 0.0) + _TINY)) - _ODDS_LOW) / _ODDS_STEP)

    def _count(self, place: float) -> None:
        self._bins[min(max(int(place), 0), BINS - 1)] += 1
        self.rows += 1

    def window(self) -> PredictionWindow:
        """Return what was gathered."""
        return PredictionWindow(
            self.rows, self._unsure, self._unsure_squares, self._score, self._score_squares, list(self._classes),
            list(self._bins),
        )  # fmt: skip
