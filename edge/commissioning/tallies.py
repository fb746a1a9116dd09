"""Counts trigger to acknowledged output, and how well poll groups keep their period. Pure."""

from __future__ import annotations

from edge.commissioning.record import Latency, Scans
from edge.line.tally import Percentiles
from schemas.messages import Output, Reading

CURVE_POINTS = 200
FOR_P99, FOR_P999 = 100, 1_000  # of fewer, the percentile would be the largest


class LatencyTally:
    """Trigger to acknowledged output of one pipeline; what was late, and what was fail-safe, counts too."""

    def __init__(self, pipeline: str, deadline_ms: float) -> None:
        """Start empty."""
        self.pipeline, self.deadline_ms = pipeline, deadline_ms
        self._total = Percentiles()
        self._max = 0.0
        self._late = self._failsafe = 0

    def add(self, output: Output) -> None:
        """Count one output."""
        self._total.add(output.total_ms)
        self._max = max(self._max, output.total_ms)
        self._late += output.late
        self._failsafe += output.failsafe

    def found(self) -> Latency:
        """Return what was counted."""
        count = self._total.count
        return Latency(
            pipeline=self.pipeline, deadline_ms=self.deadline_ms, count=count, late=self._late,
            failsafe=self._failsafe, p50_ms=_rounded(self._total.at(0.5)), p99_ms=_share(self._total, 0.99, FOR_P99),
            p999_ms=_share(self._total, 0.999, FOR_P999), max_ms=_rounded(self._max) if count else None,
            curve=thinned(self._total.curve(), CURVE_POINTS),
        )  # fmt: skip


class ScanTally:
    """The scans of one poll group."""

    def __init__(self, source: str, group: str, period_ms: float) -> None:
        """Start empty."""
        self._named = source, group, period_ms
        self._took, self._jitter = Percentiles(), Percentiles()
        self._most = [0.0, 0.0]
        self._last_ns = 0

    def add(self, reading: Reading) -> None:
        """Count one scan; what is published as Bad while the link is down was none."""
        if not reading.scan_ms:
            self.gap()
            return
        self._took.add(reading.scan_ms)
        self._most[0] = max(self._most[0], reading.scan_ms)
        if self._last_ns:
            jitter_ms = abs((reading.scan_ns - self._last_ns) / 1e6 - self._named[2])
            self._jitter.add(jitter_ms)
            self._most[1] = max(self._most[1], jitter_ms)
        self._last_ns = reading.scan_ns

    def gap(self) -> None:
        """Scans are missing: the next one's distance says nothing."""
        self._last_ns = 0

    def found(self) -> Scans:
        """Return what was counted."""
        source, group, period_ms = self._named
        took, jitter = self._took, self._jitter
        return Scans(
            source=source, group=group, period_ms=period_ms, count=took.count, scan_p50_ms=_rounded(took.at(0.5)),
            scan_p99_ms=_share(took, 0.99, FOR_P99), scan_max_ms=_rounded(self._most[0]) if took.count else None,
            jitter_p50_ms=_rounded(jitter.at(0.5)), jitter_p99_ms=_share(jitter, 0.99, FOR_P99),
            jitter_max_ms=_rounded(self._most[1]) if jitter.count else None,
        )  # fmt: skip


def thinned(curve: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Return at most about `most` points of a curve, its first and its last among them."""
    step = max(1, -(-len(curve) // most))
    kept = curve[::step]
    return kept if not curve or kept[-1] == curve[-1] else [*kept, curve[-1]]


def _share(held: Percentiles, share: float, needed: int) -> float | None:
    return _rounded(held.at(share)) if held.count >= needed else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
