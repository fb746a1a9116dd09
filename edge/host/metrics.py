"""A process's numbers, in a small file in memory that the monitor reads: no server, no lock, no rendering here.

An increment is one load, one add and one store of an aligned double in a mapping (70 ns), an observation a bisection
and two of them (160 ns; tests/bench/metrics.py). A series has one writing thread. The file (`edge/host/metric_file.py`)
holds what each number means beside it. Where it can't be made, or is full, numbers are kept in private memory: a
process never fails for its metrics.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from edge.host.metric_file import MetricFile, Series, metric_folder
from edge.host.metric_names import SERIES_DROPPED, Kind, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger(__name__)
_LABEL_LENGTH: Final = 128


class Counter:
    """A number that only grows."""

    __slots__ = ("_cells", "_index")

    def __init__(self, cells: memoryview[float], index: int) -> None:
        """Count in one cell."""
        self._cells, self._index = cells, index

    def inc(self, by: float = 1.0) -> None:
        """Add."""
        self._cells[self._index] += by

    def reach(self, total: float) -> None:
        """Set to a total that is counted elsewhere."""
        self._cells[self._index] = total


class Gauge:
    """A number that comes and goes."""

    __slots__ = ("_cells", "_index")

    def __init__(self, cells: memoryview[float], index: int) -> None:
        """Show one cell."""
        self._cells, self._index = cells, index

    def set(self, value: float) -> None:
        """Set it."""
        self._cells[self._index] = value


class Histogram:
    """How often a value was up to each bound; then how often it was over all of them; then the sum of all values."""

    __slots__ = ("_bounds", "_cells", "_index", "_sum")

    def __init__(self, cells: memoryview[float], index: int, bounds: tuple[float, ...]) -> None:
        """Count in `len(bounds) + 2` cells."""
        self._cells, self._index, self._bounds = cells, index, bounds
        self._sum = index + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Count a value. The bucket comes first: a reader between the two stores sees a sum that is one behind."""
        cells = self._cells
        cells[self._index + bisect_left(self._bounds, value)] += 1.0
        cells[self._sum] += value

    def merge(self, counts: Sequence[float], total: float) -> None:
        """Count many values at once: how many in each bucket, the one above all last, and their sum."""
        cells, index = self._cells, self._index
        for offset, count in enumerate(counts):
            if count:
                cells[index + offset] += count
        cells[self._sum] += total


class Metrics:
    """Where a process declares its series; the same row with the same labels is the same series."""

    def __init__(self, file: MetricFile | None = None) -> None:
        """Without a file the numbers are this process's own."""
        self._file = file
        self._made: dict[tuple[str, tuple[str, ...]], Counter | Gauge | Histogram] = {}
        self._dropped = 0
        self._dropped_cells, self._dropped_index = _private(1), 0
        self._dropped_cells, self._dropped_index = self._place(SERIES_DROPPED, ())

    def counter(self, row: Metric, **labels: str) -> Counter:
        """Return a counter."""
        found = self._series(row, labels)
        if not isinstance(found, Counter):
            raise TypeError(f"{row.name} is a {row.kind}; see edge/host/metric_names.py")
        return found

    def gauge(self, row: Metric, **labels: str) -> Gauge:
        """Return a gauge."""
        found = self._series(row, labels)
        if not isinstance(found, Gauge):
            raise TypeError(f"{row.name} is a {row.kind}; see edge/host/metric_names.py")
        return found

    def histogram(self, row: Metric, **labels: str) -> Histogram:
        """Return a histogram."""
        found = self._series(row, labels)
        if not isinstance(found, Histogram):
            raise TypeError(f"{row.name} is a {row.kind}; see edge/host/metric_names.py")
        return found

    def close(self) -> None:
        """Remove the file; handles that are still held go on counting for nobody."""
        if self._file is not None:
            self._file.remove()

    def _series(self, row: Metric, labels: dict[str, str]) -> Counter | Gauge | Histogram:
        if labels.keys() != set(row.labels):
            raise TypeError(f"{row.name} has the labels {row.labels}, given are {tuple(labels)}")
        values = tuple(labels[name][:_LABEL_LENGTH] for name in row.labels)
        found = self._made.get((row.name, values))
        if found is None:
            found = self._made[row.name, values] = self._make(row, values)
        return found

    def _make(self, row: Metric, values: tuple[str, ...]) -> Counter | Gauge | Histogram:
        cells, index = self._place(row, values)
        match row.kind:
            case Kind.COUNTER:
                return Counter(cells, index)
            case Kind.GAUGE:
                return Gauge(cells, index)
            case Kind.HISTOGRAM:
                return Histogram(cells, index, row.buckets)

    def _place(self, row: Metric, values: tuple[str, ...]) -> tuple[memoryview[float], int]:
        """Return where a new series' numbers are: in the file, or in private memory."""
        series = Series(
            name=row.name, kind=row.kind.value, help=row.help, labels=row.labels, values=values, bounds=row.buckets
        )
        index = self._file.add(series) if self._file is not None else None
        if self._file is not None and index is not None:
            return self._file.cells, index
        if self._file is not None:
            if not self._dropped:
                log.warning("%s is full: %s and what comes after it is not shown", self._file.path, row.name)
            self._dropped += 1
            self._dropped_cells[self._dropped_index] = self._dropped
        return _private(series.width), 0


def _private(cells: int) -> memoryview[float]:
    return memoryview(bytearray(8 * cells)).cast("d")


def open_metrics(home: Path, identity: str) -> Metrics:
    """Return the metrics of one process of a device, in a file where one can be made."""
    try:
        return Metrics(MetricFile(metric_folder(home) / f"{identity}.bin", identity))
    except OSError as error:
        log.warning("%s: metrics are not shown: %s", identity, error)
        return Metrics()
