"""The last values of some tags by the time of their scan: what stood in the PLC when a part was triggered. Pure.

Used for tags that are joined to frames and for the tag that selects a recipe. A value counts at its scan, never at its
arrival, so that a late message changes no decision about an earlier part.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from schemas.fields import Value
from schemas.messages import Quality, Reading, Sample

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from edge.config.pipeline import TagInput
    from edge.models.contract import Input

_KEPT: Final = 64  # scans of each tag; at 20 ms a bit over a second


class Past(NamedTuple):
    """A tag's sample at some time, and its scan; `sample` is None where nothing was known yet."""

    sample: Sample | None
    scan_ns: int


class TagHistory:
    """Keeps samples of the tags of one source, all of one run of that source."""

    def __init__(self, tags: Iterable[str]) -> None:
        """Start without a value."""
        self._samples: dict[str, deque[Past]] = {tag: deque(maxlen=_KEPT) for tag in tags}
        self._good: dict[str, deque[Past]] = {tag: deque(maxlen=_KEPT) for tag in self._samples}
        self._epoch = 0

    def add(self, reading: Reading) -> None:
        """Take what a reading says of our tags; scans that are older than the newest change nothing."""
        if reading.epoch != self._epoch:  # the source started again: what came before is of another run
            self._epoch = reading.epoch
            for kept in (*self._samples.values(), *self._good.values()):
                kept.clear()
        for tag, kept in self._samples.items():
            sample = reading.tags.get(tag)
            if sample is None or (kept and reading.scan_ns <= kept[-1].scan_ns):
                continue
            kept.append(Past(sample, reading.scan_ns))
            if sample.quality is Quality.GOOD:
                self._good[tag].append(kept[-1])

    def at(self, tag: str, time_ns: int) -> Past:
        """Return the newest sample whose scan began at or before a time."""
        return _at(self._samples[tag], time_ns)

    def good_at(self, tag: str, time_ns: int) -> Past:
        """Return the newest Good sample whose scan began at or before a time."""
        return _at(self._good[tag], time_ns)


def _at(kept: deque[Past], time_ns: int) -> Past:
    for past in reversed(kept):
        if past.scan_ns <= time_ns:
            return past
    return Past(None, 0)


@dataclass(frozen=True, slots=True)
class Joined:
    """Tags as a tensor of [1, tags]; None when they were refused, `reason` then says why."""

    tensor: NDArray[Any] | None
    quality: Quality
    reason: str


class Joiner:
    """Puts the tags together that go with a frame."""

    def __init__(self, tags: Sequence[TagInput], max_age_ms: float) -> None:
        """`max_age_ms`: how old a Good value may be at the trigger."""
        self.history = TagHistory(tag.tag for tag in tags)
        self._tags, self._max_age_ns = tuple(tags), int(max_age_ms * 1e6)

    def at(self, trigger_ns: int, model: Input | None) -> Joined:
        """Return the values at a trigger; what is not Good makes the whole Uncertain, or is refused."""
        row = np.empty((1, len(self._tags)), np.float32)
        reason = ""
        for column, tag in enumerate(self._tags):
            number, why, refused = self._value(tag, trigger_ns)
            if refused:
                return Joined(None, Quality.BAD, why)
            row[0, column] = number
            reason = reason or why or _out_of_range(tag.tag, number, column, model)
        return Joined(row, Quality.UNCERTAIN if reason else Quality.GOOD, reason)

    def _value(self, tag: TagInput, trigger_ns: int) -> tuple[float, str, bool]:
        """One tag's number, why it is not Good, and whether it is refused."""
        past = self.history.at(tag.tag, trigger_ns)
        why = self._problem(past, trigger_ns)
        if past.sample and (not why or self._only_uncertain(past, trigger_ns)):
            return number_of(past.sample.value)[0], f"{tag.tag} uncertain ({why})" if why else "", False
        if tag.bad == "substitute" and tag.substitute is not None:
            return tag.substitute, f"{tag.tag} substituted ({why})", False
        if tag.bad == "hold":
            held = self.history.good_at(tag.tag, trigger_ns)
            number, usable = number_of(held.sample.value if held.sample else None)
            limit_ns = tag.max_age_ms * 1e6 if tag.max_age_ms else math.inf
            if usable and trigger_ns - held.scan_ns <= limit_ns:
                return number, f"{tag.tag} held ({why})", False
        return math.nan, f"{tag.tag} bad ({why})", True

    def _only_uncertain(self, past: Past, trigger_ns: int) -> bool:
        sample = past.sample
        fresh = trigger_ns - past.scan_ns <= self._max_age_ns
        return sample is not None and sample.quality is Quality.UNCERTAIN and fresh and number_of(sample.value)[1]

    def _problem(self, past: Past, trigger_ns: int) -> str:
        sample = past.sample
        if sample is None:
            return "no value yet"
        age_ns = trigger_ns - past.scan_ns
        if age_ns > self._max_age_ns:
            return f"{age_ns / 1e6:.0f} ms old at the trigger"
        if not number_of(sample.value)[1]:
            return sample.reason or "not a finite number"
        if sample.quality is not Quality.GOOD:
            return sample.reason or sample.quality.value
        return ""


def number_of(value: Value) -> tuple[float, bool]:
    """Return a value as a number, and whether it is one that is finite."""
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value), True
    return math.nan, False


def _out_of_range(tag: str, number: float, column: int, model: Input | None) -> str:
    """A value that the model has not been made for makes no good result."""
    if model is None:
        return ""
    channel = model.channels[column]
    if channel.low <= number <= channel.high:
        return ""
    return f"{tag} is {number:g}, the model knows {channel.low:g} to {channel.high:g} {channel.unit}"
