"""What the node reports, and what each of it was last: tags under their sources, results under their pipelines.

Sparkplug devices are the sources and the pipelines; a metric's alias is unique over the whole node, and its definition
never changes while the process lives. A text that is a moment stays a text: a PLC's clock may have no zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from edge.plc.tags.deadband import moved
from edge.plc.tags.lists import Tag
from edge.sparkplug.payload import DataType, Metric, Quality
from schemas.fields import Value
from schemas.messages import Event, Result, Sample
from schemas.messages import Quality as SiteQuality

_TYPES: Final = {
    "bool": DataType.BOOLEAN, "int8": DataType.INT8, "int16": DataType.INT16, "int32": DataType.INT32,
    "int64": DataType.INT64, "uint8": DataType.UINT8, "uint16": DataType.UINT16, "uint32": DataType.UINT32,
    "uint64": DataType.UINT64, "float32": DataType.FLOAT, "float64": DataType.DOUBLE, "bcd16": DataType.UINT16,
    "bcd32": DataType.UINT32,
}  # fmt: skip
_ARRAY_OFFSET: Final = DataType.INT8_ARRAY - DataType.INT8
BDSEQ: Final = "bdSeq"
REBIRTH: Final = "Node Control/Rebirth"
_NODE: Final = (
    (BDSEQ, DataType.INT64), (REBIRTH, DataType.BOOLEAN), ("Event/Key", DataType.STRING),
    ("Event/Code", DataType.STRING), ("Event/Phase", DataType.STRING), ("Event/Severity", DataType.STRING),
    ("Event/Text", DataType.STRING),
)  # fmt: skip
_RESULT: Final = (
    ("Result/Id", DataType.STRING), ("Result/Part", DataType.INT64), ("Result/Verdict", DataType.STRING),
    ("Result/Label", DataType.STRING), ("Result/Score", DataType.DOUBLE), ("Result/Late", DataType.BOOLEAN),
    ("Result/LatencyMs", DataType.DOUBLE), ("Model/Name", DataType.STRING), ("Model/Version", DataType.STRING),
)  # fmt: skip


@dataclass(eq=False)
class Held:
    """A metric as it is born, its newest value, and what was told last."""

    name: str
    alias: int | None
    type: DataType
    properties: Mapping[str, str | float] = field(default_factory=dict[str, str | float])
    value: Value = None
    quality: Quality = Quality.STALE
    time_ms: int = 0
    deadband: float = 0.0
    _told: tuple[Value, Quality] = (None, Quality.STALE)

    def take(self, value: Value, quality: Quality, time_ms: int) -> None:
        """Hold a newer value; a Bad one has none."""
        self.value, self.quality, self.time_ms = value, quality, time_ms

    @property
    def due(self) -> bool:
        """Whether it is another than what was told last, a number by more than its deadband."""
        value, quality = self._told
        return quality is not self.quality or moved(value, self.value, self.deadband)

    def born(self, now_ms: int, aliases: bool) -> Metric:
        """Tell it whole, as births do; one that never had a value is null and stale."""
        self._told = self.value, self.quality
        return Metric(
            self.type, self.value, self.time_ms or now_ms, name=self.name, alias=self.alias if aliases else None,
            quality=self.quality, properties=self.properties,
        )  # fmt: skip

    def changed(self, aliases: bool) -> Metric:
        """Tell its value, as data does."""
        self._told = self.value, self.quality
        return Metric(
            self.type, self.value, self.time_ms, name="" if aliases else self.name,
            alias=self.alias if aliases else None, quality=self.quality,
        )  # fmt: skip


class Table:
    """The node's own metrics, and those of each device. `lists` are the sources' tags."""

    def __init__(
        self, lists: Mapping[str, Mapping[str, Tag]], pipelines: Iterable[str], properties: Mapping[str, str]
    ) -> None:
        """Number everything that may ever be reported, from 1; a pipeline named as a source gets a name of its own.

        `properties`: what the node says of itself.
        """
        self._next = 1
        self.node = {name: self._held(name, kind) for name, kind in _NODE}
        self.node[REBIRTH].alias = None  # hosts name it always (6.4.9, rebirth-name-aliases)
        self.node[REBIRTH].take(False, Quality.GOOD, 0)
        for name, text in properties.items():
            self.node[name] = self._held(f"Properties/{name}", DataType.STRING)
            self.node[name].take(text, Quality.GOOD, 0)
        self.sources = {source: self._tags(tags.values()) for source, tags in lists.items()}
        self.pipelines: dict[str, dict[str, Held]] = {}
        self._devices = {name: name if name not in lists else f"{name}-pipeline" for name in pipelines}
        for name in self._devices:
            self.pipelines[name] = {metric: self._held(metric, kind) for metric, kind in _RESULT}

    @property
    def devices(self) -> dict[str, list[Held]]:
        """Device id -> its metrics, in the order of their aliases."""
        found = {source: list(tags.values()) for source, tags in self.sources.items()}
        return found | {self._devices[name]: list(held.values()) for name, held in self.pipelines.items()}

    def device_of(self, pipeline: str) -> str:
        """Return a pipeline's device id."""
        return self._devices[pipeline]

    def take_sample(self, source: str, tag: str, sample: Sample, time_ms: int) -> Held | None:
        """Hold a tag's value; None for a tag that is in no list."""
        held = self.sources.get(source, {}).get(tag)
        if held is not None:
            bad = sample.quality is SiteQuality.BAD
            held.take(None if bad else sample.value, _quality(sample.quality), time_ms)
        return held

    def take_result(self, result: Result) -> list[Held]:
        """Hold a result; [] for a pipeline that is not in the settings."""
        held = self.pipelines.get(result.pipeline)
        if held is None:
            return []
        values: dict[str, Value] = {
            "Result/Id": result.result_id, "Result/Part": result.part_id, "Result/Verdict": result.verdict.value,
            "Result/Label": result.label, "Result/Score": result.score, "Result/Late": result.outcome == "late",
            "Result/LatencyMs": result.latency.total, "Model/Name": result.model, "Model/Version": result.version,
        }  # fmt: skip
        quality, time_ms = _quality(result.quality), result.time_ns // 1_000_000
        for name, value in values.items():
            held[name].take(value, quality if name.startswith("Result/") else Quality.GOOD, time_ms)
        return list(held.values())

    def take_event(self, event: Event) -> list[Held]:
        """Hold an event as the node's newest."""
        values = {
            "Event/Key": event.key, "Event/Code": event.code, "Event/Phase": event.phase.value,
            "Event/Severity": event.severity.value, "Event/Text": event.text,
        }  # fmt: skip
        for name, value in values.items():
            self.node[name].take(value, Quality.GOOD, event.time_ns // 1_000_000)
        return [self.node[name] for name in values]

    def _tags(self, tags: Iterable[Tag]) -> dict[str, Held]:
        return {tag.name: self._held(tag.name, type_of(tag), _properties(tag), tag.deadband) for tag in tags}

    def _held(
        self, name: str, kind: DataType, properties: Mapping[str, str | float] | None = None, deadband: float = 0.0
    ) -> Held:
        held = Held(name, self._next, kind, properties or {}, deadband=deadband)
        self._next += 1
        return held


def type_of(tag: Tag) -> DataType:
    """Return what a tag's values are: what the PLC has, Double where they are scaled, String for texts and moments."""
    found = _TYPES.get(tag.form.element, DataType.STRING)
    if tag.scaled:
        found = DataType.DOUBLE
    return DataType(found + _ARRAY_OFFSET) if tag.count else found


def historical(metrics: Iterable[Metric]) -> list[Metric]:
    """Return metrics as of the past: kept while the host could not take them (6.4.2, is_historical)."""
    return [replace(metric, historical=True) for metric in metrics]


def _properties(tag: Tag) -> dict[str, str | float]:
    """Return a tag's unit and range under the names that hosts look for."""
    found: dict[str, str | float] = {}
    if tag.unit:
        found["engUnit"] = tag.unit
    if tag.min is not None:
        found["engLow"] = float(tag.min)
    if tag.max is not None:
        found["engHigh"] = float(tag.max)
    if tag.description:
        found["documentation"] = tag.description
    return found


def _quality(quality: SiteQuality) -> Quality:
    """Return the nearest of the three that there are; an uncertain value is a value that may be old."""
    return {SiteQuality.GOOD: Quality.GOOD, SiteQuality.UNCERTAIN: Quality.STALE}.get(quality, Quality.BAD)
