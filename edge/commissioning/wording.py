"""What both forms of a report say, in the same words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge.commissioning.progress import figure_text, number
from edge.commissioning.record import Acceptance, Latency, Plc, Program, Row, Scans, Verdict

DISCLAIMER: Final = (
    "This is not a safety function (no SIL, no PL), and this report is not the acceptance of one. People are protected "
    "by the machine's own safety circuit."
)
SIGNED_BY: Final = ("commissioned by (name)", "accepted by (name)")
LATENCY_HEADS: Final = (
    "pipeline", "deadline ms#", "outputs#", "p50 ms#", "p99 ms#", "p99.9 ms#", "max ms#", "late#", "fail-safe#"
)  # fmt: skip
SCAN_HEADS: Final = (
    "source", "group", "period ms#", "scans#", "scan p50#", "p99#", "max ms#", "jitter p50#", "p99#", "max ms#"
)  # fmt: skip
PLC_HEADS: Final = ("source", "driver", "address", "options", "tag list", "tags#", "sha256 of the list=")
PROGRAM_HEADS: Final = ("file", "pipeline", "language", "sha256=")


def steps_of(found: Acceptance) -> list[Row]:
    """Return the rows that are told one by one: what was measured has tables, what was skipped a reason in the list."""
    measured = ("latency-", "scan-")
    return [row for row in found.rows if not row.key.startswith(measured) and row.figures]


def shown_verdict(verdict: Verdict) -> str:
    """Return a verdict as it is printed."""
    return verdict.value if verdict is Verdict.SKIPPED else verdict.value.upper()


def headline(found: Acceptance) -> str:
    """Return whose report it is."""
    subject = found.subject
    kind = "simulated line" if found.simulated else "device"
    return f"{kind} {subject.site} / {subject.line} / {subject.node}, {found.begun}"


def about(found: Acceptance) -> list[tuple[str, str]]:
    """Return the facts at the report's head."""
    subject = found.subject
    facts = [
        ("device", f"{subject.site} / {subject.line} / {subject.node} ({subject.hardware})"),
        ("begun, ended", f"{found.begun}, {found.ended}"),
        ("run by", subject.by or "not said (--by)"),
        ("versions", ", ".join(f"{name} {version}" for name, version in subject.versions.items())),
        ("settings, sha256", subject.settings_sha256),
    ]
    facts += [
        (f"model of {one.pipeline}", f"{one.model} {one.version}, {one.digest or 'no digest told'}")
        for one in subject.models
    ]
    counts = {verdict: len(found.of(verdict)) for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.SKIPPED)}
    return [*facts, ("rows", ", ".join(f"{count} {shown_verdict(verdict)}" for verdict, count in counts.items()))]


def key_figure(row: Row) -> str:
    """Return the figure that a row's verdict hangs on most, or why it was skipped."""
    if row.verdict is Verdict.SKIPPED and row.note:
        return row.note
    failed = [one for one in row.figures if one.verdict is Verdict.FAIL]
    limited = [one for one in row.figures if one.limit is not None]
    judged = [one for one in row.figures if one.verdict is not None]
    chosen = (failed or limited or judged or row.figures)[:1]
    if not chosen:
        return "-"
    return figure_text(chosen[0]) if failed else figure_text(chosen[0]).partition(" (at most")[0]


def latency_cells(one: Latency) -> Sequence[str]:
    """Return a row of the table of latencies."""
    times = (one.p50_ms, one.p99_ms, one.p999_ms, one.max_ms)
    return (
        one.pipeline,
        number(one.deadline_ms),
        number(one.count),
        *map(_ms, times),
        str(one.late),
        str(one.failsafe),
    )


def scan_cells(one: Scans) -> Sequence[str]:
    """Return a row of the table of poll groups."""
    took = (one.scan_p50_ms, one.scan_p99_ms, one.scan_max_ms)
    jitter = (one.jitter_p50_ms, one.jitter_p99_ms, one.jitter_max_ms)
    return (one.source, one.group, number(one.period_ms), number(one.count), *map(_ms, (*took, *jitter)))


def plc_cells(one: Plc) -> Sequence[str]:
    """Return a row of the table of PLCs."""
    options = ", ".join(f"{key} {value}" for key, value in one.options.items())
    return (one.source, one.driver, one.address, options or "-", one.tag_list, str(one.tags), one.tag_list_sha256)


def program_cells(one: Program) -> Sequence[str]:
    """Return a row of the table of programs."""
    return (one.file, one.pipeline, one.language, one.sha256)


def _ms(value: float | None) -> str:
    return "-" if value is None else number(value)
