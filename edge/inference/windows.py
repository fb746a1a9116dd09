"""The last readings of some tags as one tensor, with the quality of what stands in it. Pure.

A Bad value never becomes a number that looks Good: what stands in for it (the last Good value with `hold`, a given one
with `substitute`) makes the window Uncertain; with `skip`, and where nothing can be held, a window that contains it is
refused with the reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from edge.config.pipeline import tag_inputs
from edge.inference.tag_history import number_of
from schemas.messages import Quality, Reading, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.config.pipeline import WindowInput
    from edge.models.contract import Input

_SPAN_TOLERANCE: Final = 0.25  # of the time that a window should span; a scan or two may be missing
_MISSING: Final = Sample(quality=Quality.BAD, reason="not in the reading")


class _Trust(IntEnum):
    """What stands in one cell."""

    GOOD = 0
    UNCERTAIN = 1
    SUBSTITUTED = 2
    HELD = 3
    BAD = 4


_WORDS: Final = {_Trust.UNCERTAIN: "uncertain", _Trust.SUBSTITUTED: "substituted", _Trust.HELD: "held"}


@dataclass(frozen=True, slots=True)
class Window:
    """A tensor of [1, length, tags], oldest first; None when it was refused, `reason` then says why."""

    tensor: NDArray[Any] | None
    quality: Quality
    reason: str


class WindowBuffer:
    """Collects readings of one poll group; `add` says when a window is due."""

    def __init__(self, spec: WindowInput, default: Literal["hold", "skip"] = "skip") -> None:
        """Allocate once. Rows are written twice, so that the last `length` always lie in one piece.

        `default`: the policy of tags that name none.
        """
        self._group, self._length, self._every = spec.group, spec.length, spec.every
        self._request, self._asked = spec.request, False
        self._policies = tag_inputs(spec.tags, default)
        self._tags = [tag.tag for tag in self._policies]
        width = len(self._tags)
        self._values = np.zeros((2 * spec.length, width))
        self._trust = np.full((2 * spec.length, width), _Trust.BAD, dtype=np.uint8)
        self._scans = np.zeros(2 * spec.length, dtype=np.int64)
        self._good: list[tuple[float, int] | None] = [None] * width  # the last Good value and its scan
        self._why = [""] * width
        self._epoch = 0
        self._count = 0

    def add(self, reading: Reading) -> bool:
        """Take a reading; return whether a window is due now. Other groups and repeats change nothing."""
        if reading.group != self._group:
            return False
        if reading.epoch != self._epoch:  # the source started again: what came before is of another run
            self._epoch, self._count, self._asked = reading.epoch, 0, False
        elif reading.scan_ns <= self._scans[(self._count - 1) % self._length]:
            return False
        row = self._count % self._length
        for column, tag in enumerate(self._tags):
            value, trust = self._cell(column, reading.tags.get(tag, _MISSING), reading.scan_ns)
            self._values[row :: self._length, column] = value
            self._trust[row :: self._length, column] = trust
        self._scans[row :: self._length] = reading.scan_ns
        self._count += 1
        due = self._rises(reading) if self._request else (self._count - self._length) % self._every == 0
        return self._count >= self._length and due

    def _rises(self, reading: Reading) -> bool:
        """Whether the PLC asks in this reading; one that can't be read asks nothing and answers nothing."""
        sample = reading.tags.get(self._request, _MISSING)
        if sample.quality is not Quality.GOOD:
            return False
        was, self._asked = self._asked, sample.value is True
        return self._asked and not was

    def _cell(self, column: int, sample: Sample, scan_ns: int) -> tuple[float, _Trust]:
        number, usable = number_of(sample.value)
        if usable and sample.quality is not Quality.BAD:
            if sample.quality is Quality.GOOD:
                self._good[column] = number, scan_ns
                return number, _Trust.GOOD
            self._why[column] = sample.reason or "uncertain"
            return number, _Trust.UNCERTAIN
        self._why[column] = sample.reason or ("bad" if usable else "not a finite number")
        return self._stand_in(column, scan_ns)

    def _stand_in(self, column: int, scan_ns: int) -> tuple[float, _Trust]:
        policy, held = self._policies[column], self._good[column]
        if policy.bad == "substitute" and policy.substitute is not None:
            return policy.substitute, _Trust.SUBSTITUTED
        if policy.bad == "hold" and held is not None:
            if policy.max_age_ms is None or scan_ns - held[1] <= policy.max_age_ms * 1e6:
                return held[0], _Trust.HELD
            self._why[column] += f", held for {policy.max_age_ms:g} ms"
        return math.nan, _Trust.BAD

    def take(self, model: Input | None, dtype: str = "float64") -> Window:
        """Return the window that is due, in the type that the graph takes; `model` says what it knows of it."""
        first = self._count % self._length
        cells = slice(first, first + self._length)
        trust = self._trust[cells]
        worst = int(trust.max())
        column = int(trust.max(axis=0).argmax())
        if worst == _Trust.BAD:
            return self._refuse(column, f"in {int((trust[:, column] == _Trust.BAD).sum())} of {self._length} readings")
        held = (trust == _Trust.HELD).all(axis=0)
        if held.any():
            return self._refuse(int(held.argmax()), "for the whole window, nothing of it is measured")
        values = self._values[cells]
        low, high = _range(dtype)
        outside = ((values < low) | (values > high)).any(axis=0)
        if outside.any():
            return Window(None, Quality.BAD, f"{self._tags[int(outside.argmax())]} does not fit into {dtype}")
        tensor = values.astype(dtype)[None]
        if worst != _Trust.GOOD:
            return Window(
                tensor, Quality.UNCERTAIN, f"{self._tags[column]} {_WORDS[_Trust(worst)]} ({self._why[column]})"
            )
        if model is None:
            return Window(tensor, Quality.GOOD, "")
        reason = self._out_of_range(values, model) or self._wrong_span(cells, model.sample_s)
        return Window(tensor, Quality.UNCERTAIN if reason else Quality.GOOD, reason)

    def _refuse(self, column: int, how_long: str) -> Window:
        return Window(None, Quality.BAD, f"{self._tags[column]} bad {how_long} ({self._why[column]})")

    def _out_of_range(self, values: NDArray[Any], model: Input) -> str:
        """Values that the model has not been made for make no good result, however sure it sounds."""
        for tag, channel, low, high in zip(
            self._tags, model.channels, values.min(axis=0), values.max(axis=0), strict=True
        ):
            if low < channel.low or high > channel.high:
                odd = low if low < channel.low else high
                return f"{tag} is {odd:g}, the model knows {channel.low:g} to {channel.high:g} {channel.unit}"
        return ""

    def _wrong_span(self, cells: slice, sample_s: float | None) -> str:
        """A window of readings that lie too far apart, or too close, is not what the model knows."""
        if sample_s is None or self._length < 2:
            return ""
        scans = self._scans[cells]
        span_s, wanted_s = (int(scans[-1]) - int(scans[0])) / 1e9, sample_s * (self._length - 1)
        if abs(span_s - wanted_s) <= _SPAN_TOLERANCE * wanted_s:
            return ""
        return f"the window spans {span_s:.2f} s, the model expects {wanted_s:.2f} s"


@lru_cache(maxsize=8)
def _range(dtype: str) -> tuple[float, float]:
    kind = np.dtype(dtype)
    info = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    return float(info.min), float(info.max)
