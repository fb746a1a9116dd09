"""What a process said and heard on the bus, by row of the topic table: for its status and its metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from edge.host import metric_names as names

if TYPE_CHECKING:
    from bus import Bus
    from bus.typed import TypedStats
    from edge.host.metrics import Metrics
    from schemas.topics import Topic

IN: Final = "in"
OUT: Final = "out"
_TOLD: Final = ("messages", "gaps", "bad", "limited", "dropped")  # what a status says
_ROWS: Final = {
    "gaps": (names.BUS_GAPS, IN), "repeats": (names.BUS_REPEATS, IN), "bad": (names.BUS_BAD, IN),
    "limited": (names.BUS_LIMITED, OUT), "dropped": (names.BUS_DROPPED, OUT),
}  # fmt: skip


class Traffic:
    """The counters of all typed ends and buses of one process."""

    def __init__(self) -> None:
        """Start without any."""
        self._ends: dict[tuple[str, str], list[TypedStats]] = {}
        self._buses: list[Bus] = []

    def published(self, topic: Topic, stats: TypedStats) -> None:
        """Count a publisher."""
        self._ends.setdefault((topic.key, OUT), []).append(stats)

    def heard(self, topic: Topic, stats: TypedStats) -> None:
        """Count a reader."""
        self._ends.setdefault((topic.key, IN), []).append(stats)

    def over(self, bus: Bus) -> Bus:
        """Count a bus, and return it."""
        self._buses.append(bus)
        return bus

    def totals(self) -> dict[str, float]:
        """Return what a status says: everything together."""
        ends = [stats for several in self._ends.values() for stats in several]
        return {name: float(_sum(ends, name)) for name in _TOLD}

    def show(self, metrics: Metrics) -> None:
        """Bring the metrics up to date."""
        for (topic, direction), ends in self._ends.items():
            messages = metrics.counter(names.BUS_MESSAGES, topic=topic, direction=direction)
            messages.reach(_sum(ends, "messages"))
            for name, (row, side) in _ROWS.items():
                if side == direction:
                    metrics.counter(row, topic=topic).reach(_sum(ends, name))
        stats = [bus.stats for bus in self._buses]
        metrics.counter(names.BUS_CONNECTS).reach(sum(one.connects for one in stats))
        metrics.counter(names.BUS_BYTES, direction=IN).reach(sum(one.bytes_in for one in stats))
        metrics.counter(names.BUS_BYTES, direction=OUT).reach(sum(one.bytes_out for one in stats))


def _sum(ends: Iterable[TypedStats], name: str) -> int:
    return sum(getattr(stats, name) for stats in ends)
