"""A source's metrics: how well scans keep their period, what reached the PLC, and whether in time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from edge.host import metric_names as names
from edge.plc.told import Counters, FailsafeChange, LinkChange, Told
from schemas.messages import Output, Phase, Reading

if TYPE_CHECKING:
    from edge.host.metrics import Metrics


class _Scans:
    """One poll group."""

    def __init__(self, metrics: Metrics, source: str, group: str, period_ms: float) -> None:
        """Make its series."""
        self._count = metrics.counter(names.SCANS, source=source, group=group)
        self._took = metrics.histogram(names.SCAN_SECONDS, source=source, group=group)
        self._jitter = metrics.histogram(names.SCAN_JITTER_SECONDS, source=source, group=group)
        self._period_s = period_ms / 1e3
        self._last_ns = 0

    def scanned(self, reading: Reading) -> None:
        """Count a scan; what is published as Bad while the link is down was none."""
        if not reading.scan_ms:
            self._last_ns = 0
            return
        self._count.inc()
        self._took.observe(reading.scan_ms / 1e3)
        if self._last_ns:
            self._jitter.observe(abs((reading.scan_ns - self._last_ns) / 1e9 - self._period_s))
        self._last_ns = reading.scan_ns


class _Outputs:
    """The outputs of one pipeline; the fail-safe is latched from the start."""

    def __init__(self, metrics: Metrics, pipeline: str) -> None:
        """Make its series."""
        self._count = metrics.counter(names.OUTPUTS, pipeline=pipeline)
        self._failsafes = metrics.counter(names.OUTPUT_FAILSAFES, pipeline=pipeline)
        self._met = metrics.counter(names.SLA_MET, pipeline=pipeline)
        self._missed = metrics.counter(names.SLA_MISSED, pipeline=pipeline)
        self._actuate = metrics.histogram(names.ACTUATE_SECONDS, pipeline=pipeline)
        self._total = metrics.histogram(names.SLA_SECONDS, pipeline=pipeline)
        self.latched = metrics.gauge(names.FAILSAFE_LATCHED, pipeline=pipeline)
        self.latched.set(1)

    def written(self, output: Output) -> None:
        """Count what the PLC has acknowledged."""
        self._count.inc()
        self._actuate.observe(output.actuate_ms / 1e3)
        self._total.observe(output.total_ms / 1e3)
        (self._missed if output.late else self._met).inc()
        if output.failsafe:
            self._failsafes.inc()


class SourceGauges:
    """All that a source's link tells, in numbers."""

    def __init__(
        self, metrics: Metrics, source: str, periods_ms: Mapping[str, float], pipelines: Iterable[str]
    ) -> None:
        """Make the series of its poll groups and of the pipelines whose outputs it writes."""
        self._scans = {group: _Scans(metrics, source, group, period) for group, period in periods_ms.items()}
        self._outputs = {name: _Outputs(metrics, name) for name in pipelines}
        self._up = metrics.gauge(names.LINK_UP, source=source)
        unwritten = {why: metrics.counter(names.DECISIONS_UNWRITTEN, source=source, why=why)
                     for why in ("lost", "expired", "failed", "dropped", "unacknowledged")}  # fmt: skip
        writes = {outcome: metrics.counter(names.WRITES, source=source, outcome=outcome)
                  for outcome in ("done", "failed")}  # fmt: skip
        self._totals = {
            "late_scans": metrics.counter(names.SCAN_OVERRUNS, source=source),
            "losses": metrics.counter(names.LINK_LOSSES, source=source),
            "decisions_lost": unwritten["lost"], "decisions_expired": unwritten["expired"],
            "outputs_failed": unwritten["failed"], "results_dropped": unwritten["dropped"],
            "acks_missed": unwritten["unacknowledged"], "writes": writes["done"], "writes_failed": writes["failed"],
        }  # fmt: skip

    def take(self, told: Told) -> None:
        """Count one thing that the link told."""
        match told:
            case Reading():
                self._scans[told.group].scanned(told)
            case Output() if not told.manual:
                self._outputs[told.pipeline].written(told)
            case LinkChange():
                self._up.set(told.up)
            case FailsafeChange():
                self._outputs[told.pipeline].latched.set(told.change.phase is Phase.NEW)
            case Counters():
                for name, counter in self._totals.items():
                    counter.reach(told.values.get(name, 0))
            case _:
                pass
