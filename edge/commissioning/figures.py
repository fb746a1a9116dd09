"""What is wanted of latencies and scans, as rows of the acceptance. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from edge.commissioning.record import Figure, Latency, Row, Scans, Verdict, at_most, found, told
from edge.commissioning.tallies import FOR_P99, FOR_P999


def latency_row(latency: Latency, for_s: float) -> Row:
    """Return the row of one pipeline: 99 of 100 outputs are acknowledged before the deadline."""
    few = f"of fewer than {FOR_P99} outputs there is no p99: send more parts, or measure longer"
    enough = latency.count >= FOR_P99
    figures = [
        Figure(name="outputs", value=latency.count, verdict=Verdict.PASS if enough else Verdict.SKIPPED),
        told("p50", latency.p50_ms, "ms"),
        at_most("p99", latency.p99_ms, latency.deadline_ms) if enough else told("p99", None, "ms"),
        told("p99.9" if latency.count >= FOR_P999 else f"p99.9, needs {FOR_P999:,} outputs", latency.p999_ms, "ms"),
        told("max", latency.max_ms, "ms"),
        told("late", latency.late),
        told("fail-safe in place of the verdict", latency.failsafe),
    ]
    return found(
        f"latency-{latency.pipeline}", f"Trigger to acknowledged output, {latency.pipeline}",
        f"parts passed for {for_s:g} s", f"p99 within the deadline of {latency.deadline_ms:g} ms", figures,
        note="" if enough else few,
    )  # fmt: skip


def scan_row(scans: Scans) -> Row:
    """Return the row of one poll group: 99 of 100 scans are done within their period."""
    enough = scans.count >= FOR_P99
    figures = [
        Figure(name="scans", value=scans.count, verdict=Verdict.PASS if enough else Verdict.SKIPPED),
        told("scan p50", scans.scan_p50_ms, "ms"),
        at_most("scan p99", scans.scan_p99_ms, scans.period_ms) if enough else told("scan p99", None, "ms"),
        told("scan max", scans.scan_max_ms, "ms"),
        told("jitter p50", scans.jitter_p50_ms, "ms"),
        told("jitter p99", scans.jitter_p99_ms, "ms"),
        told("jitter max", scans.jitter_max_ms, "ms"),
    ]
    return found(
        f"scan-{scans.source}-{scans.group}", f"Poll group {scans.group} of {scans.source}",
        f"every {scans.period_ms:g} ms", f"p99 of a scan within its period of {scans.period_ms:g} ms", figures,
        note="" if enough else f"fewer than {FOR_P99} scans: measure longer",
    )  # fmt: skip


def measured_rows(latencies: Iterable[Latency], scans: Iterable[Scans], for_s: float) -> list[Row]:
    """Return the rows of all that was measured."""
    return [*(latency_row(one, for_s) for one in latencies), *(scan_row(one) for one in scans)]
