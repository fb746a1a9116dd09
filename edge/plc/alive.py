"""Whether a PLC that answers is alive: a counter of its program that stands still is a CPU in STOP, or a dead gateway.

Pure; times are nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge.plc.tags.lists import Tag
from edge.settings import Source
from schemas.fields import Value
from schemas.messages import Quality, Sample

_MS = 1_000_000


class Alive:
    """Watches one tag. `still`: it has been found to stand still and has not moved since."""

    def __init__(self, tag: Tag, within_ms: float) -> None:
        """It has to change within `within_ms`."""
        self.tag = tag
        self.within_ms = within_ms
        self.still = False
        self._value: Value = None
        self._moved_ns = 0

    @property
    def reason(self) -> str:
        """What is told of a tag that stands still."""
        return (
            f"the PLC's heartbeat stands still: {self.tag.name} has not moved for {self.within_ms:g} ms; is its "
            "program running?"
        )

    def restart(self, now_ns: int) -> None:
        """A link was opened: time begins anew."""
        self._moved_ns = now_ns

    def see(self, samples: Mapping[str, Sample], now_ns: int) -> bool:
        """Take what a scan has read; return whether the tag stands still."""
        sample = samples.get(self.tag.name)
        if sample is not None and sample.quality is Quality.GOOD and sample.value != self._value:
            self._value, self._moved_ns, self.still = sample.value, now_ns, False
        elif now_ns - self._moved_ns > self.within_ms * _MS:
            self.still = True
        return self.still


def alive_problems(source: Source, tags: Mapping[str, Tag]) -> list[str]:
    """Return what is wrong with a source's `alive`."""
    tag = tags.get(source.alive)
    if not source.alive:
        return []
    if tag is None:
        return [f"alive {source.alive!r} is not in the source's tag list; add it there"]
    period_ms = source.groups.get(tag.group, 0.0)
    if 2 * period_ms > source.alive_ms:
        return [f"alive_ms {source.alive_ms:g} is under two periods of {tag.name} ({period_ms:g} ms); make it longer"]
    return []


def alive_of(source: Source, tags: Mapping[str, Tag]) -> Alive | None:
    """Return the watch of a source whose settings `alive_problems` found right; None where none is wanted."""
    return Alive(tags[source.alive], source.alive_ms) if source.alive else None
