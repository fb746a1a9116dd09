"""What an acceptance run found: `report.json`, and what report.md and report.html are written from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """Of a figure, of a row, or of a run; a run where nothing failed and something was left out is incomplete."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SKIPPED = "skipped"
    INCOMPLETE = "incomplete"


EXIT_STATUS = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCOMPLETE: 4}


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was measured or looked at. `value` None: it did not happen. `limit`: the most that passes.

    No `verdict`: it is told, and not judged.
    """

    name: str
    value: float | int | bool | str | None
    unit: str = ""
    limit: float | None = None
    verdict: Verdict | None = None


def at_most(name: str, value: float | None, limit: float, unit: str = "ms") -> Figure:
    """Return a figure that has to happen, and be no more than `limit`."""
    passes = value is not None and value <= limit
    return Figure(
        name=name, value=value if value is None else round(value, 1), unit=unit, limit=round(limit, 1),
        verdict=Verdict.PASS if passes else Verdict.FAIL,
    )  # fmt: skip


def holds(name: str, value: bool) -> Figure:
    """Return a figure that has to be true."""
    return Figure(name=name, value=value, verdict=Verdict.PASS if value else Verdict.FAIL)


def told(name: str, value: float | int | bool | str | None, unit: str = "") -> Figure:
    """Return a figure that is not judged."""
    return Figure(name=name, value=round(value, 2) if isinstance(value, float) else value, unit=unit)


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a trace: from when to when something held, in seconds from the fault."""

    name: str
    spans: list[tuple[float, float]]


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A moment of a trace, in seconds from the fault."""

    at_s: float
    text: str


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What the PLC showed around one fault, in seconds from the fault.

    `passed`: when the ejector let parts go by, None where nobody can see that.
    """

    from_s: float
    to_s: float
    lanes: list[Lane]
    marks: list[Mark] = []
    passed: list[float] | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the acceptance: what was done, what was wanted, what was found.

    `events`: what the device told meanwhile. `note`: what a reader has to know, or why it was skipped.
    """

    key: str
    title: str
    done: str
    wanted: str
    verdict: Verdict
    figures: list[Figure] = []
    events: list[str] = []
    note: str = ""
    trace: Trace | None = None


def judged(figures: Iterable[Figure]) -> Verdict:
    """Return what figures make of a row: it fails with one of them, and without any judged figure it shows nothing."""
    verdicts = [figure.verdict for figure in figures if figure.verdict is not None]
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts and set(verdicts) == {Verdict.PASS} else Verdict.SKIPPED


def found(
    key: str, title: str, done: str, wanted: str, figures: Sequence[Figure], *,
    events: Sequence[str] = (), note: str = "", trace: Trace | None = None,
) -> Row:  # fmt: skip
    """Return a row, judged by its figures."""
    return Row(
        key=key, title=title, done=done, wanted=wanted, verdict=judged(figures), figures=list(figures),
        events=list(events), note=note, trace=trace,
    )  # fmt: skip


def skipped(key: str, title: str, why: str, wanted: str = "") -> Row:
    """Return a row that shows nothing, and why."""
    return Row(key=key, title=title, done="nothing", wanted=wanted, verdict=Verdict.SKIPPED, note=why)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Trigger to acknowledged output of one pipeline, milliseconds. None: too few outputs to say.

    `late`: acknowledged after the deadline. `failsafe`: the fail-safe stood in for the verdict. `curve`: (milliseconds,
    share of the outputs that took no longer). Percentiles are right within 1 %, `max_ms` is exact.
    """

    pipeline: str
    deadline_ms: float
    count: int
    late: int
    failsafe: int
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    curve: list[tuple[float, float]] = []


class Scans(msgspec.Struct, frozen=True, kw_only=True):
    """How well one poll group kept its period, milliseconds. Jitter: how far from the period two scans began apart."""

    source: str
    group: str
    period_ms: float
    count: int
    scan_p50_ms: float | None
    scan_p99_ms: float | None
    scan_max_ms: float | None
    jitter_p50_ms: float | None
    jitter_p99_ms: float | None
    jitter_max_ms: float | None


class Plc(msgspec.Struct, frozen=True, kw_only=True):
    """A source of the device, as its settings name it, and its tag list."""

    source: str
    driver: str
    address: str
    options: dict[str, str] = {}
    tag_list: str = ""
    tags: int = 0
    tag_list_sha256: str = ""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program that was written for the PLC; `file` is relative to the report's folder."""

    file: str
    pipeline: str
    language: str
    sha256: str


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """The model that gave the verdicts of a pipeline, as its results named it."""

    pipeline: str
    model: str
    version: str
    digest: str


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was accepted, by what was read from it. `by` is what the command line said, "" where it said nothing."""

    site: str
    line: str
    node: str
    hardware: str
    by: str
    versions: dict[str, str]
    settings_sha256: str
    plcs: list[Plc]
    models: list[Model] = []
    notes: list[str] = []


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. `simulated`: against the simulated plant. Times are ISO 8601 in UTC."""

    schema: str = "acceptance/1"
    simulated: bool
    begun: str
    ended: str
    verdict: Verdict
    subject: Subject
    rows: list[Row]
    latencies: list[Latency] = []
    scans: list[Scans] = []
    programs: list[Program] = []

    def of(self, verdict: Verdict) -> list[Row]:
        """Return the rows with this verdict."""
        return [row for row in self.rows if row.verdict is verdict]


def overall(rows: Sequence[Row]) -> Verdict:
    """Return the verdict of a run: what was skipped was not shown to pass."""
    verdicts = {row.verdict for row in rows}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.INCOMPLETE
