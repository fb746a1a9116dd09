"""Limits learned from clean windows of this device: a robust centre and width per signal, with a stated rate of alarms.

A limit is the widest of three: so many deviations that the stated number of false alarms a week is kept (with normal
windows; how alike one is to the next is learned), a fifth more than what nineteen of twenty clean windows did, and a
floor under which a change matters to nobody. The first is never more than twice as far as any clean window went: the
speeds of a line with three of them deviate widely, and never go beyond. Deviations are taken from the 5 % and 95 %
quantiles, to each side its own; a bad window among the clean ones does little. docs/explanation/drift.md shows how
that holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

from edge.inference.drift.inputs import floors, layout_floor, signal_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.inference.drift.inputs import InputWindow
    from edge.inference.drift.predictions import PredictionWindow
    from edge.inference.drift.subject import Subject

    Array = NDArray[np.float64]

ENTROPY_FLOOR: Final = 0.03  # of 1: what a classifier may always grow less sure by
MIX_FLOOR: Final = 0.1  # PSI: "no change" by convention
SCORES_FLOOR: Final = 1.0  # PSI of a classifier's sureness, which differs between products that it sorts equally well
LOG_SCORE_FLOOR: Final = 0.4  # an anomaly score may always grow by half, or fall by a third
_SCORE_GROUPS: Final = 10
_QUANTILES: Final = (0.05, 0.5, 0.95)
_SPREAD: Final = 1.6449  # deviations from the median to the others, of a normal distribution
_LEAST_SIDE: Final = 0.75  # of the mean deviation: the narrower side of a lopsided signal
_SEEN: Final = 1.2
_FURTHEST: Final = 2.0
_DEVIATION_ERROR: Final = 1.3  # a deviation learned from n windows is known to about this / sqrt(n), on the safe side
_LEAST_TAUGHT: Final = 8.0
_MOST_ALIKE: Final = 0.98
_WEEK_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Signal:
    """One statistic of a window against its limits; a score of 1 lies on the nearer limit. None: no limit there."""

    name: str
    value: float
    low: float | None
    high: float | None
    score: float


@dataclass(frozen=True, slots=True)
class Chance:
    """How often chance alone may raise a level: `hits` of `of` windows over a limit, `per_week`."""

    per_week: float
    hits: int
    of: int
    window_s: float = 10.0

    def deviations(self, signals: int, likeness: float, windows: int) -> float:
        """Return the limit in deviations, for one of `signals` that was learned from `windows`.

        `likeness` (0..1): the correlation of a window with the next. The more alike they are, the less it says that
        several in a row are over a limit, and the fewer windows it were that really taught something.
        """
        hits = 1.0 + (self.hits - 1) * (1.0 - likeness)
        chances = _WEEK_S / self.window_s * (1.0 - likeness) * math.comb(self.of, self.hits)
        one_of_them = (self.per_week / max(chances, 1.0)) ** (1.0 / hits)
        z = NormalDist().inv_cdf(1.0 - min(one_of_them, 0.2) / max(1, signals) / 2.0)
        taught = max(_LEAST_TAUGHT, windows * (1.0 - likeness) / (1.0 + likeness))
        return z * (1.0 + _DEVIATION_ERROR / math.sqrt(taught))


def psi(counts: Array, reference: Array) -> Array:
    """Return the population stability index along the last axis, less what chance alone is expected to give."""
    bins = counts.shape[-1]
    n, of = counts.sum(-1, keepdims=True), reference.sum(-1, keepdims=True)
    now, then = (counts + 0.5) / (n + 0.5 * bins), (reference + 0.5) / (of + 0.5 * bins)
    found = ((now - then) * np.log(now / then)).sum(-1)
    chance = (bins - 1) * (1.0 / np.maximum(n, 1.0) + 1.0 / np.maximum(of, 1.0))[..., 0]
    return np.asarray(np.maximum(found - chance, 0.0))


@dataclass(frozen=True)
class _Width:
    """What clean windows did, column by column: the centre, and to each side (0: down, 1: up) a deviation.

    `z`: the limit in deviations. `seen`, `furthest`: what nineteen of twenty kept within, and all.
    """

    centre: Array
    sigma: Array
    seen: Array
    furthest: Array
    z: Array

    @classmethod
    def of(cls, values: Array, chance: Chance, signals: int) -> _Width:
        """Learn from [windows, columns], in the order of time."""
        low, centre, high = np.quantile(values, _QUANTILES, axis=0)
        both = (high - low) / (2.0 * _SPREAD)
        sides = np.stack([centre - low, high - centre]) / _SPREAD
        seen, furthest = np.quantile(np.abs(values - centre), [_QUANTILES[-1], 1.0], axis=0)
        z = np.array([chance.deviations(signals, alike, len(values)) for alike in _likeness(values).tolist()])
        return cls(centre, np.maximum(sides, _LEAST_SIDE * both), seen, furthest, z)

    def halves(self, more: Array, floor: Array) -> Array:
        """Return how far it may go down and up, [2, columns]; `more`: the variance that a smaller sample adds."""
        by_chance = np.minimum(
            self.z * np.sqrt(self.sigma**2 + more), _FURTHEST * self.furthest + self.z * np.sqrt(more)
        )
        return np.maximum(np.maximum(by_chance, _SEEN * self.seen), floor)

    def top(self, more: float = 0.0, floor: float = 0.0) -> float:
        """Return the upper limit of a single column."""
        return float(self.centre[0] + self.halves(np.array([more]), np.array([floor]))[1, 0])


class InputLimits:
    """What is normal of the inputs."""

    def __init__(self, subject: Subject, windows: Sequence[InputWindow], chance: Chance) -> None:
        """Learn from windows in the order of time."""
        self._names = signal_names(subject.inputs)
        signals = len(self._names) + 1
        self._width = _Width.of(np.array([window.means for window in windows]), chance, signals)
        self._variance = np.median([window.variances for window in windows], axis=0)
        self._sampled = float(np.median([window.sampled for window in windows]))
        self._floors = floors(subject.inputs, self._width.centre)
        layouts = np.array([window.layout for window in windows])
        self._layout = np.median(layouts, axis=0)
        self._layout_width: _Width | None = None
        if layouts.size:
            self._layout_width = _Width.of(_distance(layouts, self._layout)[:, None], chance, signals)
        self._layout_floor = layout_floor(subject.inputs)

    def judge(self, window: InputWindow) -> list[Signal]:
        """Return every signal of a window."""
        more = self._variance * max(0.0, 1.0 / window.sampled - 1.0 / self._sampled)
        down, up = self._width.halves(more, self._floors).tolist()
        found = [
            _two_sided(name, value, centre, below, above)
            for name, value, centre, below, above in zip(
                self._names, window.means, self._width.centre.tolist(), down, up, strict=True
            )
        ]
        if self._layout_width is not None:
            distance = float(_distance(np.array(window.layout), self._layout))
            high = math.sqrt(max(1.0, self._sampled / window.sampled)) * self._layout_width.top(0.0, self._layout_floor)
            found.append(Signal("layout", distance, None, high, distance / high))
        return found


class PredictionLimits:
    """What is normal of the predictions."""

    def __init__(self, subject: Subject, windows: Sequence[PredictionWindow], chance: Chance) -> None:
        """Learn from windows in the order of time."""
        self._classifies = subject.kind == "classifier"
        signals = 3 if self._classifies else 1
        rows = np.array([float(window.rows) for window in windows])
        self._rows = float(np.median(rows))
        means = np.array([_mean(window, self._classifies) for window in windows])
        self._mean = _Width.of(means[:, None], chance, signals)
        squares = sum((w.unsure_squares if self._classifies else w.score_squares) for w in windows)
        total = sum((w.unsure if self._classifies else w.score_sum) for w in windows)
        self._variance = max(0.0, float(squares / rows.sum() - (total / rows.sum()) ** 2))
        if self._classifies:
            bins = np.array([window.bins for window in windows], dtype=np.float64)
            classes = np.array([window.classes for window in windows], dtype=np.float64)
            self._starts = _groups(bins.sum(0))
            self._scores = _Shares(self._grouped(bins), chance, signals)
            self._mix = _Shares(classes, chance, signals)

    def judge(self, window: PredictionWindow) -> list[Signal]:
        """Return every signal of a window; the first is the one that counts by itself."""
        more = self._variance * max(0.0, 1.0 / window.rows - 1.0 / self._rows)
        value, centre = _mean(window, self._classifies), float(self._mean.centre[0])
        if not self._classifies:
            down, up = self._mean.halves(np.array([more]), np.array([LOG_SCORE_FLOOR]))[:, 0].tolist()
            score = max((centre - value) / down, (value - centre) / up)
            return [Signal("score", math.exp(value), math.exp(centre - down), math.exp(centre + up), score)]
        high = self._mean.top(more, ENTROPY_FLOOR)
        return [
            Signal("entropy", value, None, high, max(0.0, (value - centre) / (high - centre))),
            self._scores.judge("scores", self._grouped(np.array(window.bins, dtype=np.float64)), SCORES_FLOOR),
            self._mix.judge("mix", np.array(window.classes, dtype=np.float64), MIX_FLOOR),
        ]

    def _grouped(self, bins: Array) -> Array:
        return np.asarray(np.add.reduceat(bins, self._starts, axis=-1))


class _Shares:
    """How far the shares of a histogram lie from the learned ones."""

    def __init__(self, counts: Array, chance: Chance, signals: int) -> None:
        """Learn from [windows, bins]: each window is compared with all the others."""
        self._reference = counts.sum(0)
        self._rows = float(np.median(counts.sum(1)))
        self._width = _Width.of(psi(counts, self._reference - counts)[:, None], chance, signals)

    def judge(self, name: str, counts: Array, floor: float) -> Signal:
        """Return the signal; a smaller window is given the room that chance takes in it."""
        value = float(psi(counts, self._reference))
        fewer = max(0.0, 1.0 / max(1.0, float(counts.sum())) - 1.0 / self._rows)
        high = max(self._width.top(2.0 * max(1, len(counts) - 1) * fewer**2), floor)
        return Signal(name, value, None, high, value / high)


def _two_sided(name: str, value: float, centre: float, below: float, above: float) -> Signal:
    score = max((centre - value) / below, (value - centre) / above)
    return Signal(name, value, centre - below, centre + above, score)


def _mean(window: PredictionWindow, classifies: bool) -> float:
    return (window.unsure if classifies else window.score_sum) / max(1, window.rows)


def _distance(layouts: Array, reference: Array) -> Array:
    return np.asarray(np.sqrt(((layouts - reference) ** 2).mean(-1)))


def _groups(bins: Array) -> NDArray[np.intp]:
    """Where groups of bins begin: each holds about a tenth of what was seen; the empty ends join their neighbours."""
    share = np.cumsum(bins) / bins.sum()
    place = np.minimum((np.concatenate([[0.0], share[:-1]]) * _SCORE_GROUPS).astype(int), _SCORE_GROUPS - 1)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return np.asarray(starts, dtype=np.intp)


def _likeness(values: Array) -> Array:
    """The correlation of each column with itself one window later, less what chance gives unrelated windows."""
    away = values - values.mean(0)
    power = (away * away).sum(0)
    found = (away[1:] * away[:-1]).sum(0) / np.where(power > 0.0, power, 1.0)
    return np.asarray(np.clip(found - 2.0 / math.sqrt(len(values)), 0.0, _MOST_ALIKE))
