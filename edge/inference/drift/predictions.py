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
NOTED: Final = 64  # outputs that are summed up together
_TINY: Final = 1e-6
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
    """Sums up the predictions of one window, some dozens at a time: one by one each took more than twice as long."""

    def __init__(self, subject: Subject) -> None:
        """Start empty."""
        self._classifies = subject.kind == "classifier"
        self._labels = len(subject.labels)
        self._norm = 1.0 / math.log(self._labels) if self._labels > 1 else 0.0
        self.clear()

    def clear(self) -> None:
        """Start a window."""
        self._noted: list[NDArray[Any]] = []
        self._rows = 0
        self._unsure = self._unsure_squares = self._score = self._score_squares = 0.0
        self._classes = np.zeros(self._labels, dtype=np.int64)
        self._bins = np.zeros(BINS, dtype=np.int64)

    def see(self, output: NDArray[Any]) -> None:
        """Take the judged output of one input: rows of probabilities, or one score."""
        self._noted.append(output)
        if len(self._noted) >= NOTED:
            self._settle()

    def _settle(self) -> None:
        """Sum up what was noted; a row with a number that is not finite counts for nothing."""
        noted, self._noted = self._noted, []
        if noted and self._classifies:
            self._probabilities(np.concatenate(noted).reshape(-1, self._labels).astype(np.float64))
        elif noted:
            self._scores(np.array([output.reshape(-1)[0] for output in noted], dtype=np.float64))

    def _probabilities(self, rows: NDArray[np.float64]) -> None:
        rows = rows[np.isfinite(rows).all(axis=1)]
        best = rows.max(axis=1)
        unsure = (rows * np.log(np.where(rows > 0.0, rows, 1.0))).sum(axis=1) * -self._norm
        self._unsure += float(unsure.sum())
        self._unsure_squares += float(unsure @ unsure)
        if len(rows):
            self._classes += np.bincount(rows.argmax(axis=1), minlength=self._labels)
        self._count((np.log((best + _TINY) / (np.maximum(1.0 - best, 0.0) + _TINY)) - _ODDS_LOW) / _ODDS_STEP)

    def _scores(self, scores: NDArray[np.float64]) -> None:
        logarithms = np.log(np.maximum(scores[np.isfinite(scores)], _TINY))
        self._score += float(logarithms.sum())
        self._score_squares += float(logarithms @ logarithms)
        self._count((logarithms - _LOG_LOW) / _LOG_STEP)

    def _count(self, places: NDArray[np.float64]) -> None:
        self._bins += np.bincount(places.astype(np.int64).clip(0, BINS - 1), minlength=BINS)
        self._rows += len(places)

    def window(self) -> PredictionWindow:
        """Return what was gathered."""
        self._settle()
        return PredictionWindow(
            self._rows, self._unsure, self._unsure_squares, self._score, self._score_squares, self._classes.tolist(),
            self._bins.tolist(),
        )  # fmt: skip
