"""Prometheus text and OpenMetrics, from the metric files of a device's processes and from what the monitor knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from typing import Final

import psutil
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from edge.host import metric_names as names
from edge.host.metric_file import MetricView, age_s
from edge.host.metric_names import Kind, Metric
from schemas.messages import State, Status

PROCESS: Final = "process"


@dataclass(frozen=True)
class Known:
    """What is to be shown: files and last words by process, whether models are ready, (model, version, process)."""

    views: Mapping[str, MetricView]
    statuses: Mapping[str, Status]
    ready: bool
    models: Mapping[str, bool]
    serving: Iterable[tuple[str, str, str]]
    monitor: str


class Families(Collector):
    """Samples by name, each name once, as the text formats want them."""

    def __init__(self) -> None:
        """Start without any."""
        self._found: dict[str, Family] = {}

    def collect(self) -> Iterator[Family]:
        """Return them by name."""
        return iter([self._found[name] for name in sorted(self._found)])

    def add(
        self, name: str, kind: str, text: str, labels: dict[str, str], values: list[float], bounds: tuple[float, ...]
    ) -> None:
        """Add one series; a name that another process uses for another kind is left out."""
        family = self._found.setdefault(name, Family(name, text, kind))
        if family.type != kind:
            return
        if kind == Kind.COUNTER:
            family.add_sample(f"{name}_total", labels, values[0])
        elif kind == Kind.GAUGE:
            family.add_sample(name, labels, values[0])
        else:
            _add_histogram(family, labels, values, bounds)

    def show(self, row: Metric, value: float, **labels: str) -> None:
        """Add what the monitor itself knows."""
        self.add(row.name, row.kind, row.help, labels, [value], ())


def _add_histogram(family: Family, labels: dict[str, str], values: list[float], bounds: tuple[float, ...]) -> None:
    """Buckets in the file are counted apart, those in the text hold the ones below them; the count is their sum."""
    *buckets, total = values
    below = list(accumulate(buckets))
    for bound, count in zip([*bounds, float("inf")], below, strict=True):
        family.add_sample(f"{family.name}_bucket", {**labels, "le": repr(bound) if isfinite(bound) else "+Inf"}, count)
    family.add_sample(f"{family.name}_count", labels, below[-1])
    family.add_sample(f"{family.name}_sum", labels, total)


def families(known: Known, process: str = "") -> Families:
    """Return what a scrape shows, of one process or of all."""
    found = Families()
    for identity, view in known.views.items():
        if process in ("", identity):
            _add_view(found, identity, view)
    for identity, status in known.statuses.items():
        if process in ("", identity):
            for state in State:
                found.show(names.STATE, float(status.state is state), process=identity, state=state.value)
    for model, version, identity in known.serving:
        if process in ("", identity):
            found.show(names.MODEL_SERVING, 1.0, process=identity, model=model, version=version)
    if process in ("", known.monitor):
        _add_device(found, known)
    return found


def _add_view(found: Families, identity: str, view: MetricView) -> None:
    for series in view.refresh():
        labels = {PROCESS: identity} | dict(zip(series.labels, series.values, strict=True))
        found.add(series.name, series.kind, series.help, labels, view.values(series), series.bounds)
    try:
        machine = psutil.Process(view.owner.pid)
        with machine.oneshot():
            times, memory = machine.cpu_times(), machine.memory_info()
    except psutil.Error:  # it has just ended
        return
    found.show(names.RESIDENT_BYTES, memory.rss, process=identity)
    found.show(names.CPU_SECONDS, times.user + times.system, process=identity)
    found.show(names.UPTIME_SECONDS, age_s(view.owner), process=identity)


def _add_device(found: Families, known: Known) -> None:
    found.show(names.DEVICE_READY, float(known.ready), process=known.monitor)
    for model, ready in known.models.items():
        found.show(names.MODEL_READY, float(ready), process=known.monitor, model=model)


def rendered(found: Families, accept: str) -> tuple[bytes, str]:
    """Return the text and its content type: OpenMetrics for who accepts it, else Prometheus' own."""
    encode, kind = choose_encoder(accept)
    return encode(found), kind
