"""Messages as time-series points: series in line protocol, fields in line protocol, and what makes a repeat harmless.

Only low-cardinality tags go into a series (site, line, node, source, pipeline, model, version, origin, code); ids
travel as fields. Source: InfluxDB line protocol reference (escaping of measurement, keys and string fields).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.plc.tags.deadband import moved
from schemas.fields import Value
from schemas.messages import Event, Insight, Output, Quality, Reading, Result, Sample
from schemas.topics import Place

REPEAT_S = 10.0  # an unchanged tag is stored again this often
QUALITY = {Quality.BAD: 0, Quality.UNCERTAIN: 1, Quality.GOOD: 2}
_KEY = re.compile(r"([,= ])")


class Point(NamedTuple):
    """One point: `series` and `fields` in line protocol; epoch and seq are its publisher's and make it unique."""

    series: str
    time_ns: int
    epoch: int
    seq: int
    fields: str


def key(name: str) -> str:
    """Escape a measurement, tag or field key, or a tag value."""
    return _KEY.sub(r"\\\1", name.replace("\n", " ")) or "none"


def value(item: Value) -> str:
    """Return a field's value; None and lists have no field type of their own and become strings."""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float):
        return repr(item) if item == item and abs(item) != float("inf") else '"nan"'
    if isinstance(item, int):
        return f"{item}i" if -(2**63) <= item < 2**63 else f'"{item}"'
    text = "" if item is None else str(item)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def fields(**items: Value) -> str:
    """Return a field set."""
    return ",".join(f"{name}={value(item)}" for name, item in items.items() if item is not None)


@dataclass
class PointMaker:
    """Makes points of messages of one device; keeps each tag's last value to store changes only.

    `deadbands`: (source, tag) -> how far a number has to move to be a change.
    """

    place: Place
    repeat_s: float = REPEAT_S
    deadbands: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    _last: dict[tuple[str, str], tuple[Value, Quality, float]] = field(
        default_factory=dict[tuple[str, str], tuple[Value, Quality, float]]
    )

    def result(self, result: Result) -> Point:
        """Return a result's point."""
        series = self._series("result", pipeline=result.pipeline, model=result.model, version=result.version or "none")
        latency = result.latency
        text = fields(
            result_id=result.result_id, part_id=result.part_id, outcome=result.outcome.value,
            verdict=result.verdict.value, label=result.label, score=float(result.score), quality=result.quality.value,
            reason=result.reason or None, recipe=result.recipe or None, late=result.outcome == "late",
            total_ms=float(latency.total), ingest_ms=float(latency.ingest), queue_ms=float(latency.queue),
            preprocess_ms=float(latency.preprocess), infer_ms=float(latency.infer),
            deadline_ms=float(result.deadline_ms),
        )  # fmt: skip
        return Point(series, result.time_ns, result.epoch, result.seq, text)

    def output(self, output: Output) -> Point:
        """Return the point of an acknowledged output."""
        text = fields(
            result_id=output.result_id, part_id=output.part_id, verdict=output.verdict.value, failsafe=output.failsafe,
            actuate_ms=float(output.actuate_ms), total_ms=float(output.total_ms), late=output.late,
        )  # fmt: skip
        return Point(self._series("output", pipeline=output.pipeline), output.time_ns, output.epoch, output.seq, text)

    def insight(self, insight: Insight) -> Point:
        """Return an insight window's point."""
        text = fields(
            inputs=insight.inputs, results=insight.results, late=insight.late, gaps=insight.gaps,
            dropped=sum(insight.dropped.values()), p50_ms=float(insight.p50_ms), p99_ms=float(insight.p99_ms),
            max_ms=float(insight.max_ms), score_mean=float(insight.score_mean), ok=insight.verdicts.get("ok", 0),
            nok=insight.verdicts.get("nok", 0), unknown=insight.verdicts.get("unknown", 0),
            drift=insight.drift.level, entropy=insight.drift.entropy,
            drift_score=max((signal.score for signal in insight.drift.signals.values()), default=None),
        )  # fmt: skip
        series = self._series("insight", pipeline=insight.pipeline, model=insight.model, version=insight.version)
        return Point(series, insight.time_ns, insight.epoch, insight.seq, text)

    def event(self, event: Event) -> Point:
        """Return an event's point."""
        text = fields(
            key=event.key, phase=event.phase.value, severity=event.severity.value, text=event.text[:1000],
            **{f"arg_{name}": item for name, item in sorted(event.args.items()) if name.isidentifier()},
        )  # fmt: skip
        series = self._series("event", origin=event.origin, code=event.code)
        return Point(series, event.time_ns, event.epoch, event.seq, text)

    def reading(self, reading: Reading, now_s: float | None = None) -> Point | None:
        """Return a point of the tags that changed or are due again, None when there is none."""
        now = time.monotonic() if now_s is None else now_s
        parts: list[str] = []
        for name, sample in reading.tags.items():
            at = (reading.source, name)
            last = self._last.get(at)
            fresh = last is not None and last[1] is sample.quality and now - last[2] < self.repeat_s
            if last is not None and fresh and not moved(last[0], sample.value, self.deadbands.get(at, 0.0)):
                continue
            self._last[at] = (sample.value, sample.quality, now)
            parts += _sample_fields(name, sample, last)
        if not parts:
            return None
        series = self._series("reading", source=reading.source, group=reading.group)
        return Point(series, reading.time_ns, reading.epoch, reading.seq, ",".join(parts))

    def _series(self, measurement: str, **tags: str) -> str:
        return series_of(self.place, measurement, **tags)


def series_of(place: Place, measurement: str, **tags: str) -> str:
    """Return a series: a measurement, where the device stands, and further tags of few values."""
    return measurement + "".join(f",{name}={key(text)}" for name, text in sorted((place.fields() | tags).items()))


def _sample_fields(name: str, sample: Sample, last: tuple[Value, Quality, float] | None) -> list[str]:
    """Return a tag's value if it can be trusted, and its quality when that changed or is not Good."""
    parts: list[str] = []
    if sample.value is not None and sample.quality is not Quality.BAD:
        parts.append(f"{key(name)}={value(_one_type(sample.value))}")
    if last is None or last[1] is not sample.quality or sample.quality is not Quality.GOOD:
        parts.append(f"{key(name)}.quality={QUALITY[sample.quality]}i")
    return parts


def _one_type(item: Value) -> Value:
    """Return numbers as floats: a field keeps its first type for ever in InfluxDB, and a tag's may be mended."""
    return float(item) if isinstance(item, int) and not isinstance(item, bool) else item
