"""What the page is told, and of what its types are made (`python -m edge.operator_page.ui_types`). Times are ms."""

from __future__ import annotations

import msgspec

from edge.operator_page.counts import Kind, Oee, Trend
from edge.operator_page.intervals import Estimate
from edge.operator_page.line_state import LineState, Link
from edge.operator_page.parts import Judgement, Really
from schemas.messages import Latency, Quality, Severity, Verdict


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks. `name` "": a wall panel. `node` and `line` say where."""

    name: str
    may_judge: bool
    csrf: str
    site: str
    line: str
    node: str


class PartView(msgspec.Struct, frozen=True, kw_only=True):
    """A part in a list. `picture`: one may be had. `really` "" and `by` "": nobody has judged it."""

    result_id: str
    part: str
    kind: Kind
    verdict: Verdict
    label: str
    score: float
    late: bool
    time_ms: int
    picture: bool
    really: Really | None
    by: str


class PartDetail(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a part. `changeable`: its shift has not ended."""

    part: PartView
    pipeline: str
    scores: dict[str, float]
    quality: Quality
    reason: str
    model: str
    version: str
    latency: Latency
    deadline_ms: float
    changeable: bool
    judgements: list[Judgement]


class ReplayView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of running a part's evidence again. `problem`: why it could not be; `causes`: what is not as it was."""

    same: bool = False
    verdict: str = ""
    label: str = ""
    score: float = 0.0
    engine: str = ""
    causes: list[str] = []
    problem: str = ""


class MinuteView(msgspec.Struct, frozen=True, kw_only=True):
    """One minute of the trend."""

    at_ms: int
    good: int
    reject: int
    unknown: int


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """What the line does, and since when."""

    state: LineState
    why: str
    since_ms: int
    link: Link


class LatencyView(msgspec.Struct, frozen=True, kw_only=True):
    """p99 of `of` parts. `acknowledged`: to the output that the PLC has; else to the published result."""

    p99_ms: float | None
    deadline_ms: float
    of: int
    acknowledged: bool


class JudgedView(msgspec.Struct, frozen=True, kw_only=True):
    """What judgements say of a shift. `slanted`: the rejects were picked by hand, not drawn.

    `missed`: bad ones among the good parts. `drawn_judged` of `drawn` good parts count, as a fair sample of all until
    `fair_until_ms`; `drawn_ready` are judged without a gap, `drawn_waiting` wait.
    """

    precision: Estimate
    missed: Estimate
    recall: Estimate
    slanted: bool
    rejects_judged: int
    rejects_waiting: int
    drawn: int
    drawn_judged: int
    drawn_ready: int
    drawn_waiting: int
    fair_until_ms: int
    unsure: int
    least: int


class StationView(msgspec.Struct, frozen=True, kw_only=True):
    """One pipeline."""

    pipeline: str
    line: LineView
    good: int
    reject: int
    unknown: int
    late: int
    missed: int
    reject_share: Estimate
    trend: Trend | None
    minutes: list[MinuteView]
    per_minute: float
    oee: Oee
    latency: LatencyView
    newest: PartView | None
    rejects: list[PartView]
    judged: JudgedView


class AlarmView(msgspec.Struct, frozen=True, kw_only=True):
    """An event that has not ended."""

    key: str
    text: str
    severity: Severity
    since_ms: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment. `heard_ms`: when the device's bus last said something; `broker`: whether it can.

    `utc_offset_ms`: of the device's own clock, by which its shifts are; a panel may be set to another zone.
    """

    time_ms: int
    utc_offset_ms: int
    heard_ms: int
    broker: bool
    thumbnails: bool
    shift_begin_ms: int
    shift_end_ms: int
    stations: list[StationView]
    alarms: list[AlarmView]
