"""THE TABLE of views: five pages on a line's history, shown by Grafana over InfluxDB and by `plantedge history plot`.

A panel's curves name a measurement, fields and what is made of them; `edge.history.dashboards` makes InfluxQL of that,
`edge.history.curves` evaluates it over the local store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class How(StrEnum):
    """What is made of a field in each interval."""

    MEAN = "mean"
    LOW = "min"
    HIGH = "max"
    SUM = "sum"
    LAST = "last"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    SHARE = "share"  # the sum of the fields in that of `among`
    LACK = "lack"  # 1 - mean, or 1 - that share
    RATE = "rate"  # of a counter, per second
    RATIO = "ratio"  # what the first counter gained in what the second one did


class Form(StrEnum):
    """How a panel looks."""

    CURVES = "timeseries"
    FIGURE = "stat"
    PARETO = "barchart"
    ROWS = "table"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One curve, or one for each value of the tags in `by`; `where` are tags that it is limited to.

    A field "$tag" is the tag that is chosen in the page. `spare`: there may be none, as on a board without a
    thermometer, or of drift before it is learned.
    """

    of: str
    fields: tuple[str, ...]
    how: How
    by: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    among: tuple[str, ...] = ()
    label: str = ""
    spare: bool = False


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Whole points, the newest first: columns, and a condition on one; `count`: a bar for each value of that column."""

    of: str
    columns: tuple[str, ...]
    where: tuple[str, tuple[str, ...]] | None = None
    count: str = ""
    limit: int = 50


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel; `unit` in Grafana's words, `width` of 24, `most` the end of its axis."""

    title: str
    form: Form
    unit: str = "short"
    width: int = 12
    most: float | None = None
    curves: tuple[Curve, ...] = ()
    rows: Rows | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class View:
    """One page. `marks`: changes of what the first curve's tags say are marked, such as of a model's version."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    marks: Curve | None = None
    chooses_tag: bool = False


_PIPELINE: Final = ("pipeline",)
_MODEL: Final = ("pipeline", "model", "version")
_VERSION: Final = ("pipeline", "version")
_SOURCE: Final = ("source",)
_PROCESS: Final = ("process",)
_MACHINE: Final = (("process", "machine"),)
_VERDICTS: Final = ("ok", "nok", "unknown")
_INSIGHT, _RESULT, _METRIC, _SCAN, _EVENT = "insight", "result", "metric", "scan", "event"


def _sums(of: str, *fields: str) -> tuple[Curve, ...]:
    return tuple(Curve(of=of, fields=(field,), how=How.SUM, label=field) for field in fields)


def _latency(field: str, *hows: How) -> tuple[Curve, ...]:
    return tuple(Curve(of=_RESULT, fields=(field,), how=how, by=_PIPELINE, label=how.value) for how in hows)


_QUALITY: Final = Curve(of=_INSIGHT, fields=("ok",), how=How.SHARE, among=_VERDICTS, label="quality")
_IN_TIME: Final = Curve(of=_INSIGHT, fields=("late", "dropped"), how=How.LACK, among=("inputs",), label="performance")
_ARMED: Final = Curve(of=_METRIC, fields=("failsafe_latched",), how=How.LACK, label="availability")

LINE: Final = View(name="line", title="Line", panels=(
    Panel(title="Availability", form=Form.FIGURE, unit="percentunit", width=8, most=1.0, curves=(_ARMED,),
          text="Share of the time without a latched fail-safe."),
    Panel(title="Performance", form=Form.FIGURE, unit="percentunit", width=8, most=1.0, curves=(_IN_TIME,),
          text="Share of the inputs that were answered before their deadline."),
    Panel(title="Quality", form=Form.FIGURE, unit="percentunit", width=8, most=1.0, curves=(_QUALITY,),
          text="Share of the parts that were good."),
    Panel(title="Availability, performance, quality", form=Form.CURVES, unit="percentunit", most=1.0,
          curves=(_ARMED, _IN_TIME, _QUALITY),
          text="The factors of an OEE, as far as a device can know them: it knows no shift plan and no ideal cycle."),
    Panel(title="Defect rate", form=Form.CURVES, unit="percentunit", curves=(
        Curve(of=_INSIGHT, fields=("nok",), how=How.SHARE, among=_VERDICTS, by=_PIPELINE),)),
    Panel(title="Parts by verdict", form=Form.CURVES, curves=_sums(_INSIGHT, *_VERDICTS),
          text="Parts in each interval of the picture: the longer the time that is shown, the longer the interval."),
    Panel(title="Rejects by cause", form=Form.PARETO, rows=Rows(
        of=_RESULT, columns=("label", "result_id"), where=("verdict", ("nok",)), count="label", limit=5_000)),
    Panel(title="Last rejects", form=Form.ROWS, width=24, rows=Rows(
        of=_RESULT, columns=("pipeline", "part_id", "label", "score", "total_ms", "model", "version", "result_id"),
        where=("verdict", ("nok",)), limit=25)),
))  # fmt: skip
INFERENCE: Final = View(name="inference", title="Inference", panels=(
    Panel(title="From trigger to result, against the deadline", form=Form.CURVES, unit="ms", width=24, curves=(
        *_latency("total_ms", How.P50, How.P95, How.P99),
        Curve(of=_RESULT, fields=("deadline_ms",), how=How.HIGH, by=_PIPELINE, label="deadline"))),
    Panel(title="Where the time goes", form=Form.CURVES, unit="ms", curves=tuple(
        Curve(of=_RESULT, fields=(f"{stage}_ms",), how=How.MEAN, label=stage)
        for stage in ("ingest", "queue", "preprocess", "infer"))),
    Panel(title="Missed: late, dropped, never arrived", form=Form.CURVES,
          curves=_sums(_INSIGHT, "late", "dropped", "gaps")),
    Panel(title="Time in the queue", form=Form.CURVES, unit="ms", curves=_latency("queue_ms", How.P50, How.P99)),
    Panel(title="Inputs that wait", form=Form.CURVES, curves=(
        Curve(of=_METRIC, fields=("inference_pending_request_count",), how=How.HIGH, by=_PIPELINE),)),
    Panel(title="Inputs in a batch", form=Form.CURVES, curves=(
        Curve(of=_METRIC, fields=("inference_count", "inference_exec_count"), how=How.RATIO, by=_PIPELINE),)),
    Panel(title="Answers per second", form=Form.CURVES, unit="ops", curves=(
        Curve(of=_METRIC, fields=("inference_count",), how=How.RATE, by=_PIPELINE),)),
))  # fmt: skip
MODELS: Final = View(name="models", title="Model health", marks=Curve(
    of=_INSIGHT, fields=("results",), how=How.LAST, by=_MODEL), panels=(
    Panel(title="Drift: 1 lies on a learned limit", form=Form.CURVES, width=24, curves=(
        Curve(of=_INSIGHT, fields=("drift_score",), how=How.HIGH, by=_PIPELINE, spare=True),)),
    Panel(title="Score", form=Form.CURVES, curves=(
        Curve(of=_INSIGHT, fields=("score_mean",), how=How.MEAN, by=_VERSION),)),
    Panel(title="Share of rejects, by version", form=Form.CURVES, unit="percentunit", curves=(
        Curve(of=_INSIGHT, fields=("nok",), how=How.SHARE, among=_VERDICTS, by=_VERSION),)),
    Panel(title="Share that no verdict could be given", form=Form.CURVES, unit="percentunit", curves=(
        Curve(of=_INSIGHT, fields=("unknown",), how=How.SHARE, among=_VERDICTS, by=_PIPELINE),)),
    Panel(title="p99 by version", form=Form.CURVES, unit="ms", curves=(
        Curve(of=_INSIGHT, fields=("p99_ms",), how=How.HIGH, by=_VERSION),)),
    Panel(title="Windows", form=Form.ROWS, width=24, rows=Rows(
        of=_INSIGHT, columns=("pipeline", "model", "version", "drift", "drift_score", "score_mean", "results"))),
))  # fmt: skip
PLC: Final = View(name="plc", title="PLC", chooses_tag=True, panels=(
    Panel(title="Tag $tag", form=Form.CURVES, width=24, curves=(
        Curve(of="reading", fields=("$tag",), how=How.MEAN, by=_SOURCE, label="mean"),
        Curve(of="reading", fields=("$tag",), how=How.LOW, by=_SOURCE, label="low"),
        Curve(of="reading", fields=("$tag",), how=How.HIGH, by=_SOURCE, label="high"))),
    Panel(title="Link: 1 while the PLC answers", form=Form.CURVES, most=1.0, curves=(
        Curve(of=_METRIC, fields=("link_up",), how=How.LOW, by=_SOURCE),)),
    Panel(title="Fail-safe: 1 while latched", form=Form.CURVES, most=1.0, curves=(
        Curve(of=_METRIC, fields=("failsafe_latched",), how=How.HIGH, by=_PIPELINE),)),
    Panel(title="Age of the values", form=Form.CURVES, unit="ms", curves=(
        Curve(of=_SCAN, fields=("age_ms",), how=How.HIGH, by=("source", "group")),)),
    Panel(title="Duration of a scan", form=Form.CURVES, unit="ms", curves=(
        Curve(of=_SCAN, fields=("scan_ms",), how=How.HIGH, by=("source", "group")),)),
    Panel(title="Tags that are not Good", form=Form.CURVES, curves=(
        Curve(of=_SCAN, fields=("bad",), how=How.HIGH, by=("source", "group")),)),
    Panel(title="Fail-safe in place of a verdict", form=Form.CURVES, unit="ops", curves=(
        Curve(of=_METRIC, fields=("output_failsafes",), how=How.RATE, by=_PIPELINE),)),
    Panel(title="Links and fail-safes", form=Form.ROWS, width=24, rows=Rows(
        of=_EVENT, columns=("code", "phase", "severity", "text"),
        where=("code", ("plc_lost", "failsafe", "output_refused", "tag_failsafe")))),
))  # fmt: skip
DEVICE: Final = View(name="device", title="Device", panels=(
    Panel(title="Processor, memory, disk", form=Form.CURVES, unit="percentunit", most=1.0, curves=tuple(
        Curve(of=_METRIC, fields=(f"{what}_share",), how=How.MEAN, where=_MACHINE, label=what)
        for what in ("cpu", "memory", "disk"))),
    Panel(title="Temperature", form=Form.CURVES, unit="celsius", curves=(
        Curve(of=_METRIC, fields=("temperature_c",), how=How.HIGH, where=_MACHINE, label="hottest", spare=True),)),
    Panel(title="Memory of each process", form=Form.CURVES, unit="bytes", curves=(
        Curve(of=_METRIC, fields=("resident_bytes",), how=How.HIGH, by=_PROCESS),)),
    Panel(title="Processor of each process: 100% is one core", form=Form.CURVES, unit="percentunit", curves=(
        Curve(of=_METRIC, fields=("cpu_seconds",), how=How.RATE, by=_PROCESS),)),
    Panel(title="Since each process started", form=Form.CURVES, unit="s", curves=(
        Curve(of=_METRIC, fields=("uptime_seconds",), how=How.LOW, by=_PROCESS),)),
    Panel(title="The historian's store", form=Form.CURVES, unit="bytes", curves=(
        Curve(of=_METRIC, fields=("historian_store_bytes",), how=How.LAST, label="store"),)),
    Panel(title="Points that InfluxDB has not got yet", form=Form.CURVES, curves=(
        Curve(of=_METRIC, fields=("historian_archive_behind_rows",), how=How.HIGH, label="behind"),)),
    Panel(title="Points that wait to be stored", form=Form.CURVES, curves=(
        Curve(of=_METRIC, fields=("historian_queue",), how=How.HIGH, label="queue"),)),
    Panel(title="Events", form=Form.ROWS, width=24, rows=Rows(
        of=_EVENT, columns=("origin", "code", "phase", "severity", "text"))),
))  # fmt: skip
VIEWS: Final = (LINE, INFERENCE, MODELS, PLC, DEVICE)
