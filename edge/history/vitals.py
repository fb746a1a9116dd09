"""What a device says of itself over time: the machine, its processes' numbers, and how its sources are read.

The numbers come from the processes' metric files, as the monitor's do, so that asking costs them nothing. Of the many
there are, those are kept that tell a line's state months later; Prometheus has them all.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psutil

from edge.history.points import Point, fields, series_of
from edge.host import metric_names as names
from edge.host.load import read_machine
from edge.host.metric_file import MetricView, age_s, look, metric_folder
from schemas.messages import Quality

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.messages import Reading
    from schemas.topics import Place

PERIOD_S: Final = 10.0
MACHINE: Final = "machine"  # the process of the point that is about the whole device
KEPT: Final = (
    names.INFERENCE_COUNT, names.EXEC_COUNT, names.PENDING, names.REQUEST_SUCCESS, names.REQUEST_FAILURE,
    names.LINK_UP, names.LINK_LOSSES, names.SCANS, names.SCAN_OVERRUNS, names.OUTPUTS, names.OUTPUT_FAILSAFES,
    names.FAILSAFE_LATCHED, names.SLA_MET, names.SLA_MISSED, names.FRAMES, names.TRIGGER_FAULTS, names.ROWS,
    names.READINGS_DROPPED, names.HISTORIAN_QUEUE, names.STORE_BYTES, names.ARCHIVE_BEHIND, names.ARCHIVE_LAG_SECONDS,
)  # fmt: skip
_NAMES: Final = {row.name: row.name.removeprefix(names.PREFIX) for row in KEPT}


@dataclass
class _Scanned:
    """What one poll group did since the last point."""

    last_ns: int
    scans: int = 0
    scan_ms: float = 0.0
    age_ms: float = 0.0
    bad: int = 0
    last: Reading | None = None


class Scans:
    """How old the values of each poll group became: `age_ms` is the longest that a tag went without a Good reading."""

    def __init__(self, place: Place) -> None:
        """Start without any."""
        self._place = place
        self._groups: dict[tuple[str, str], _Scanned] = {}

    def take(self, reading: Reading) -> None:
        """Count a reading in."""
        at = (reading.source, reading.group)
        group = self._groups.get(at)
        if group is None:
            group = self._groups[at] = _Scanned(reading.time_ns)
        since_ms = (reading.time_ns - group.last_ns) / 1e6
        ages = [sample.age_ms for sample in reading.tags.values()]
        group.age_ms = max(group.age_ms, since_ms, *ages)
        group.scan_ms = max(group.scan_ms, reading.scan_ms)
        group.bad = sum(sample.quality is not Quality.GOOD for sample in reading.tags.values())
        group.scans, group.last_ns, group.last = group.scans + 1, reading.time_ns, reading

    def points(self) -> list[Point]:
        """Return a point of each group that was read, and begin anew."""
        made: list[Point] = []
        for (source, name), group in self._groups.items():
            if group.last is None:
                continue
            text = fields(scans=group.scans, scan_ms=group.scan_ms, age_ms=group.age_ms, bad=group.bad)
            series = series_of(self._place, "scan", source=source, group=name)
            made.append(Point(series, group.last_ns, group.last.epoch, group.last.seq, text))
            self._groups[source, name] = _Scanned(group.last_ns)
        return made


class Vitals:
    """Points of the machine and of every process, as they are when it is asked."""

    def __init__(self, place: Place, home: Path) -> None:
        """Look at nothing yet."""
        self._place, self._home = place, home
        self._views: dict[str, MetricView] = {}
        self._epoch = time.time_ns()
        self._seq = 0

    def points(self, now_ns: int) -> list[Point]:
        """Return them."""
        self._seq += 1
        self._views = look(metric_folder(self._home), self._views)
        found: dict[str, dict[str, float]] = {self._series(process=MACHINE): self._machine()}
        for process, view in self._views.items():
            found[self._series(process=process)] = _used(view)
            for series in view.refresh():
                if series.name in _NAMES:
                    labels = dict(zip(series.labels, series.values, strict=True))
                    (number,) = view.values(series)
                    found.setdefault(self._series(process=process, **labels), {})[_NAMES[series.name]] = number
        return [Point(series, now_ns, self._epoch, self._seq, fields(**held)) for series, held in found.items() if held]

    def _series(self, **tags: str) -> str:
        return series_of(self._place, "metric", **tags)

    def _machine(self) -> dict[str, float]:
        now = read_machine(0.0, str(self._home))
        told = {"cpu_share": now.cpu_share, "memory_share": now.memory_share, "disk_share": now.disk_share}
        return told | ({} if now.temperature_c is None else {"temperature_c": float(now.temperature_c)})


def _used(view: MetricView) -> dict[str, float]:
    try:
        machine = psutil.Process(view.owner.pid)
        with machine.oneshot():
            times, memory = machine.cpu_times(), machine.memory_info()
    except psutil.Error:  # it has just ended
        return {}
    return {
        "resident_bytes": float(memory.rss),
        "cpu_seconds": times.user + times.system,
        "uptime_seconds": float(age_s(view.owner)),
    }
