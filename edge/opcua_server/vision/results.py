"""A pipeline's results as the standard's (ResultDataType, 12.17), live ones and those that the historian keeps. Pure.

A job of a line that runs is the time in which its camera has counted its pictures without a restart; its id is how a
result's id begins. A configuration is the model that judged, with its version; the external id of a recipe is the value
that the PLC's tag has for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from asyncua import ua

from edge.history.query import Row
from edge.opcua_server.address_space.nodes import numeric
from edge.opcua_server.events.happenings import Happening, Source, base_fields, date_time, event_id
from edge.opcua_server.vision.structures import Fields, variant
from edge.opcua_server.vision.table import EVENT_TYPES, RESULT_READY, Member
from schemas.messages import Outcome, Quality, Result, Verdict

T = ua.VariantType
_SEVERITY: Final = 100
_MS_NS: Final = 1_000_000


class ResultState(IntEnum):
    """Where processing stands (12.19)."""

    UNDEFINED = 0
    COMPLETED = 1
    PROCESSING = 2
    ABORTED = 3
    FAILED = 4


@dataclass(frozen=True, slots=True)
class Record:
    """A result, as far as it is the same whether it came just now or is read from the store. Latencies in ms."""

    result_id: str
    pipeline: str
    part_id: int | None
    outcome: str
    verdict: str
    label: str
    score: float
    quality: str
    reason: str
    recipe: str
    model: str
    version: str
    time_ns: int
    ingest_ms: float
    process_ms: float
    total_ms: float

    @property
    def state(self) -> ResultState:
        """Aborted where the input was dropped, Failed where there is no verdict or the input was Bad."""
        if self.outcome == Outcome.DROPPED:
            return ResultState.ABORTED
        judged = self.verdict != Verdict.UNKNOWN and self.quality != Quality.BAD
        return ResultState.COMPLETED if judged else ResultState.FAILED

    @property
    def job(self) -> str:
        """The id of the job."""
        return self.result_id.rpartition("-")[0]

    @property
    def part(self) -> str:
        """The part's id, "" where the line counts none."""
        return "" if self.part_id is None else str(self.part_id)


def recipe_id(pipeline: str, recipe: str) -> str:
    """Return the internal id of a recipe, system-wide unique; "" is the pipeline as it is written."""
    return f"{pipeline}/{recipe}" if recipe else pipeline


def live(result: Result) -> Record:
    """Return a result of the bus."""
    latency = result.latency
    return Record(
        result.result_id, result.pipeline, result.part_id, result.outcome.value, result.verdict.value, result.label,
        float(result.score), result.quality.value, result.reason, result.recipe, result.model,
        result.version or "none", result.time_ns, latency.ingest, latency.preprocess + latency.infer, latency.total,
    )  # fmt: skip


def stored(row: Row) -> Record:
    """Return a result that the historian has kept."""
    held, tags = row.fields, row.tags

    def text(name: str) -> str:
        return str(held.get(name) or "")

    def number(name: str) -> float:
        found = held.get(name)
        return float(found) if isinstance(found, int | float) else 0.0

    part = held.get("part_id")
    return Record(
        text("result_id"), tags.get("pipeline", ""), part if isinstance(part, int) else None, text("outcome"),
        text("verdict"), text("label"), number("score"), text("quality"), text("reason"), text("recipe"),
        tags.get("model", ""), tags.get("version", ""), row.time_ns, number("ingest_ms"),
        number("preprocess_ms") + number("infer_ms"), number("total_ms"),
    )  # fmt: skip


def fields_of(record: Record, *, simulated: bool) -> dict[str, Any]:
    """Return what a result has of ResultDataType's fields, by their names."""
    started = date_time(record.time_ns - int(record.total_ms * _MS_NS))
    found: dict[str, Any] = {
        "ResultId": {"Id": record.result_id}, "HasTransferableDataOnFile": False, "IsPartial": False,
        "IsSimulated": simulated, "ResultState": int(record.state),
        "InternalRecipeId": {"Id": recipe_id(record.pipeline, record.recipe)},
        "InternalConfigurationId": {"Id": record.model, "Version": record.version},
        "JobId": {"Id": record.job}, "CreationTime": date_time(record.time_ns),
        "ProcessingTimes": {
            "StartTime": started, "EndTime": date_time(record.time_ns), "AcquisitionDuration": record.ingest_ms,
            "ProcessingDuration": record.process_ms,
        },
        "ResultContent": _content(record),
    }  # fmt: skip
    if record.part:
        found["PartId"] = {"Id": record.part}
    if record.recipe:
        found["ExternalRecipeId"] = {"Id": record.recipe}
    return found


def _content(record: Record) -> list[ua.Variant]:
    """Return what was judged as KeyValuePairs: the standard leaves the content to the application."""
    held = {
        "Verdict": ua.Variant(record.verdict, T.String), "Label": ua.Variant(record.label, T.String),
        "Score": ua.Variant(record.score, T.Double), "Quality": ua.Variant(record.quality, T.String),
        "Reason": ua.Variant(record.reason, T.String), "Outcome": ua.Variant(record.outcome, T.String),
        "LatencyMs": ua.Variant(record.total_ms, T.Double),
    }  # fmt: skip
    return [
        ua.Variant(ua.KeyValuePair(ua.QualifiedName(name, ua.UInt16(0)), value), T.ExtensionObject)
        for name, value in held.items()
    ]


UNKNOWN: Final[Fields] = {"ResultState": int(ResultState.UNDEFINED)}  # what stands for a result that there is not


def result_ready(record: Record, source: Source, index: int, *, simulated: bool) -> Happening:
    """Return the event that tells of a result (8.3.8.4): for one of the past the same as when it was told."""
    kind = numeric(EVENT_TYPES[RESULT_READY].id, index)
    held = fields_of(record, simulated=simulated)
    own = {
        part.name: variant(Member(part.name, part.type, many=part.many), held[part.name], index)
        for part in EVENT_TYPES[RESULT_READY].parts
        if part.name in held
    }
    text = f"{record.pipeline}: {record.verdict} {record.label}".rstrip()
    identity = event_id("result ready", record.result_id)
    return Happening(kind, base_fields(kind, identity, source, record.time_ns, text, _SEVERITY) | own)


# -- filters ----------------------------------------------------------------------------------------------------------

Wanted = Callable[[Record], bool]
_IDS: Final[Mapping[str, Callable[[Record], str]]] = {
    "PartId": lambda one: one.part, "ExternalRecipeId": lambda one: one.recipe,
    "InternalRecipeId": lambda one: recipe_id(one.pipeline, one.recipe), "JobId": lambda one: one.job,
    "InternalConfigurationId": lambda one: one.model,
    # Nobody gives these to a line that runs by itself: a filter by one finds nothing.
    "MeasId": lambda _: "", "ProductId": lambda _: "", "ExternalConfigurationId": lambda _: "",
}  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """Which results are wanted (7.10.2.3): those of a state, 0 for any, and with these ids."""

    state: int
    ids: tuple[tuple[str, str], ...]
    version: str = ""  # of the configuration

    def passes(self, record: Record) -> bool:
        """Whether a result is wanted."""
        if self.state not in (0, record.state) or self.version not in ("", record.version):
            return False
        return all(_IDS[name](record) == wanted for name, wanted in self.ids)


def filter_of(given: Mapping[str, Any]) -> Filter:
    """Return the filter of GetResultListFiltered's arguments; an id that is empty does not count."""
    ids = ((name, str(given[name].get("Id") or "").strip()) for name in _IDS)
    version = str(given["InternalConfigurationId"].get("Version") or "").strip()
    return Filter(int(given["ResultState"]), tuple((name, text) for name, text in ids if text), version)
