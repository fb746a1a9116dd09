"""The address space: Site/Line/Node -> Sources/<source>/<tag>, Pipelines, Models and Health.

NodeIds are strings in our namespace that follow the path (`demo/line1/edge1/Sources/plant/Line.Speed`), so they are the
same after a restart. Values are coalesced: at most one write per node and tick, the newest wins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import UTC

from asyncua import ua
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.address_space.fields import HEALTH, INSIGHT, MODEL, OUTPUT, RESULT, SLOT, Field
from edge.opcua_server.address_space.nodes import COMPONENT, FOLDER, ORGANIZES, Ids, New, Nodes, standard, string_id
from edge.opcua_server.address_space.units import information
from edge.plc.tags.lists import Tag
from schemas.fields import Value
from schemas.messages import LINK_LOST, Insight, Quality, Reading, Result, Sample, Slot, Status
from schemas.topics import Place

YIELD_EVERY = 100  # writes between two turns of the loop: a burst must not starve the sessions
_VARIANTS = {
    "bool": ua.VariantType.Boolean, "int16": ua.VariantType.Int16, "uint16": ua.VariantType.UInt16,
    "int32": ua.VariantType.Int32, "uint32": ua.VariantType.UInt32, "int64": ua.VariantType.Int64,
    "uint64": ua.VariantType.UInt64, "float32": ua.VariantType.Float, "float64": ua.VariantType.Double,
    "int8": ua.VariantType.SByte, "uint8": ua.VariantType.Byte, "bcd16": ua.VariantType.UInt16,
    "bcd32": ua.VariantType.UInt32, "string": ua.VariantType.String, "wstring": ua.VariantType.String,
    "datetime": ua.VariantType.String,  # as the PLC tells it: its clock may have no zone, and UtcTime claims one
}  # fmt: skip
_NO_VALUE_YET = StatusCodes.BadWaitingForInitialData


def status_code(quality: Quality, reason: str) -> ua.StatusCode:
    """Return the StatusCode of a quality, as telling as its reason allows (OPC 10000-4, 7.39)."""
    if quality is Quality.GOOD:
        return _status(StatusCodes.Good)
    if reason.startswith(LINK_LOST):
        return _status(StatusCodes.BadNoCommunication)
    return _status(StatusCodes.Uncertain if quality is Quality.UNCERTAIN else StatusCodes.Bad)


def _status(code: int) -> ua.StatusCode:
    return ua.StatusCode(ua.UInt32(code))


def variant_of(tag: Tag) -> ua.VariantType:
    """Return the type of a tag's node: what the PLC has, Double where it is scaled."""
    return ua.VariantType.Double if tag.scaled else _VARIANTS[tag.form.element]


def _empty(variant: ua.VariantType, count: int) -> ua.Variant:
    """Return what a node holds before its first value: in an array, `count` of it."""
    if count:
        return ua.Variant([0] * count, variant)
    return ua.Variant(None if variant is ua.VariantType.String else 0, variant)


def defect_rate(verdicts: Mapping[str, int]) -> float | None:
    """Return the share of `nok` among what was judged, None if nothing was."""
    judged = verdicts.get("ok", 0) + verdicts.get("nok", 0)
    return verdicts.get("nok", 0) / judged if judged else None


def moment(time_ns: int) -> ua.DateTime:
    """Return a wall-clock time as OPC UA's DateTime (100 ns steps; asyncua takes microseconds)."""
    return ua.DateTime.fromtimestamp(time_ns / 1e9, UTC)


class Space:
    """Builds the nodes and writes the newest values into them, tick by tick."""

    def __init__(self, server: Server, index: int, place: Place) -> None:
        """Start without nodes; `index` is our namespace's, `root` what the identifiers of its nodes begin with."""
        self._server = server
        self.index = index
        self.root = self._root = f"{place.site}/{place.line}/{place.node}"
        self._place = place
        self.nodes = self._nodes = Nodes(server.iserver.aspace)
        self._folders: dict[str, ua.NodeId] = {}
        self._types: dict[str, ua.VariantType] = {}
        self._values: dict[str, ua.NodeId] = {}
        self._pending: dict[str, ua.DataValue] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self.writes = 0

    # -- building -----------------------------------------------------------------------------------------------------

    def build(
        self,
        sources: Mapping[str, Mapping[str, Tag]],
        pipelines: Mapping[str, Collection[str]],
        processes: Collection[str],
        outputs: Collection[str] = (),
    ) -> None:
        """Create all nodes; each waits for its first value.

        `pipelines`: each with its models; `outputs`: the pipelines that have some.
        """
        for source, tags in sources.items():
            self._folder(f"Sources/{source}")
            for tag in tags.values():
                self._tag(f"Sources/{source}", tag)
        for pipeline in pipelines:
            fields = (*RESULT, *INSIGHT, *SLOT, *(OUTPUT if pipeline in outputs else ()))
            self._fields(f"Pipelines/{pipeline}", fields)
        for model in sorted({model for models in pipelines.values() for model in models}):
            self._fields(f"Models/{model}", MODEL)
            for pipeline, models in pipelines.items():
                if model in models:
                    self._nodes.refer(self._folder(f"Models/{model}"), ORGANIZES, self._folder(f"Pipelines/{pipeline}"))
        for process in processes:
            self._fields(f"Health/{process}", HEALTH)

    def _folder(self, path: str) -> ua.NodeId:
        known = self._folders.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition("/")
        parent = self._folder(above) if above else self._device()
        made = self._nodes.object(New(self._node_id(path), self._name(name), parent, ORGANIZES, FOLDER))
        self._folders[path] = made
        return made

    def _device(self) -> ua.NodeId:
        known = self._folders.get("")
        if known is not None:
            return known
        parent, path = standard(Ids.ObjectsFolder), ""
        for name in (self._place.site, self._place.line, self._place.node):
            path = f"{path}/{name}" if path else name
            new = New(string_id(path, self.index), self._name(name), parent, ORGANIZES, FOLDER)
            parent = self._nodes.object(new)
        self._folders[""] = parent
        return parent

    def _fields(self, folder: str, fields: Collection[Field]) -> None:
        for field in fields:
            kind = standard(Ids.AnalogUnitType if field.unit else Ids.BaseDataVariableType)
            node = self._variable(f"{folder}/{field.name}", field.variant, kind, field.text)
            self._unit(node, f"{folder}/{field.name}", field.unit)

    def _tag(self, folder: str, tag: Tag) -> None:
        path, limits = f"{folder}/{tag.name}", (tag.min, tag.max)
        ranged = tag.min is not None and tag.max is not None and variant_of(tag) is not ua.VariantType.Boolean
        kind = {
            (True, True): Ids.AnalogUnitRangeType, (True, False): Ids.AnalogItemType,
            (False, True): Ids.AnalogUnitType, (False, False): Ids.BaseDataVariableType,
        }[ranged, bool(tag.unit)]  # fmt: skip
        node = self._variable(path, variant_of(tag), standard(kind), tag.description, tag.count)
        self._unit(node, path, tag.unit)
        if ranged:
            bounds = ua.Variant(ua.Range(Low=limits[0], High=limits[1]), ua.VariantType.ExtensionObject)
            self._property(node, path, "EURange", bounds)

    def _variable(self, path: str, variant: ua.VariantType, kind: ua.NodeId, text: str, count: int = 0) -> ua.NodeId:
        folder, _, name = path.rpartition("/")
        new = New(self._node_id(path), self._name(name), self._folder(folder), COMPONENT, kind, text)
        self._types[path] = variant
        self._values[path] = new.node
        waiting = ua.DataValue(_empty(variant, count), StatusCode=_status(_NO_VALUE_YET))
        return self._nodes.variable(new, waiting, standard(variant.value), count)

    def _unit(self, node: ua.NodeId, path: str, unit: str) -> None:
        if unit:
            described = ua.Variant(information(unit), ua.VariantType.ExtensionObject)
            self._property(node, path, "EngineeringUnits", described)

    def _property(self, node: ua.NodeId, path: str, name: str, value: ua.Variant) -> None:
        self._nodes.property(self._node_id(f"{path}/{name}"), ua.QualifiedName(name, ua.UInt16(0)), node, value)

    async def allow_writes(self, paths: Collection[str]) -> None:
        """Show nodes as writable: their AccessLevel; who may is told by the StatusCode of a Write."""
        for path in paths:
            await self._server.get_node(self._node_id(path)).set_writable()

    @property
    def device(self) -> ua.NodeId:
        """The device's own object."""
        return string_id(self._root, self.index)

    def node(self, path: str) -> ua.NodeId:
        """Return the NodeId of what stands at a path."""
        return self._node_id(path)

    def folder(self, path: str) -> ua.NodeId:
        """Return the folder at a path, made where it is not there yet."""
        return self._folder(path)

    def identifier(self, path: str) -> str:
        """Return the identifier of the node at a path."""
        return f"{self._root}/{path}"

    def _node_id(self, path: str) -> ua.NodeId:
        return string_id(f"{self._root}/{path}", self.index)

    def _name(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, ua.UInt16(self.index))

    # -- values -------------------------------------------------------------------------------------------------------

    async def hold(self, path: str, value: Value) -> None:
        """Show at once what the PLC was read back to hold: a client that wrote reads it next."""
        self._put(path, value, moment(time.time_ns()), status_code(Quality.GOOD, ""))
        await self.write_pending()

    def reading(self, reading: Reading) -> None:
        """Take one poll's samples."""
        at = moment(reading.time_ns)
        for name, sample in reading.tags.items():
            self._sample(f"Sources/{reading.source}/{name}", sample, at)

    def _sample(self, path: str, sample: Sample, at: ua.DateTime) -> None:
        status = status_code(sample.quality, sample.reason)
        self._put(path, sample.value, at, status)

    def result(self, result: Result) -> None:
        """Take a result; Accepted and Rejected count since the server's start."""
        folder, at = f"Pipelines/{result.pipeline}", moment(result.time_ns)
        kind = {"ok": "Accepted", "nok": "Rejected"}.get(result.verdict.value)
        if kind is not None:
            self._counts[(folder, kind)] = self._counts.get((folder, kind), 0) + 1
        status = status_code(result.quality, result.reason)
        values: dict[str, Value] = {
            "ResultId": result.result_id, "PartId": result.part_id, "Verdict": result.verdict.value,
            "Label": result.label, "Score": result.score, "Late": result.outcome == "late",
            "Outcome": result.outcome.value, "LatencyMs": result.latency.total, "IngestMs": result.latency.ingest,
            "QueueMs": result.latency.queue, "PreprocessMs": result.latency.preprocess,
            "InferMs": result.latency.infer, "Model": result.model, "Version": result.version,
            "Digest": result.digest,
        }  # fmt: skip
        for name, value in values.items():
            self._put(f"{folder}/{name}", value, at, status)
        for name in ("Accepted", "Rejected"):
            self._put(f"{folder}/{name}", self._counts.get((folder, name), 0), at, status_code(Quality.GOOD, ""))

    def insight(self, insight: Insight) -> None:
        """Take a pipeline's window."""
        values: dict[str, Value] = {
            "RatePerSecond": insight.results / insight.window_s if insight.window_s else 0.0, "P50Ms": insight.p50_ms,
            "P99Ms": insight.p99_ms, "LateInWindow": insight.late, "DroppedInWindow": sum(insight.dropped.values()),
            "DriftLevel": insight.drift.level, "DefectRate": defect_rate(insight.verdicts),
            "DriftScore": max((one.score for one in insight.drift.signals.values()), default=None),
        }  # fmt: skip
        self._put_all(f"Pipelines/{insight.pipeline}", values, moment(insight.time_ns))

    def slot(self, slot: Slot, pipeline: str, time_ns: int) -> None:
        """Take what the runtime of a pipeline has loaded for it."""
        values: dict[str, Value] = {"SlotPhase": slot.phase, "SlotReason": slot.reason}
        self._put_all(f"Pipelines/{pipeline}", values, moment(time_ns))

    def model(self, slot: Slot, time_ns: int) -> None:
        """Take what became of a model's slot."""
        values: dict[str, Value] = {
            "Version": slot.serving, "Digest": slot.digest, "Phase": slot.phase, "Reason": slot.reason,
            "Process": slot.process,
        }  # fmt: skip
        self._put_all(f"Models/{slot.model}", values, moment(time_ns))

    def status(self, status: Status) -> None:
        """Take a process's state."""
        values: dict[str, Value] = {"State": status.state.value, "Reason": status.reason}
        self._put_all(f"Health/{status.process}", values, moment(status.time_ns))

    def mode(self, pipeline: str, manual: bool, time_ns: int) -> None:
        """Take who owns a pipeline's outputs."""
        self._put_all(f"Pipelines/{pipeline}", {"Mode": "manual" if manual else "auto"}, moment(time_ns))

    def _put_all(self, folder: str, values: Mapping[str, Value], at: ua.DateTime) -> None:
        for name, value in values.items():
            self._put(f"{folder}/{name}", value, at, status_code(Quality.GOOD, ""))

    def _put(self, path: str, value: Value, at: ua.DateTime, status: ua.StatusCode) -> None:
        variant = self._types.get(path)
        if variant is None:
            return
        if value is None and not status.is_bad():
            status = _status(StatusCodes.GoodNoData)
        nothing = value is None or status.is_bad()  # Part 4, 7.11: with a Bad status there is no value
        content = ua.Variant() if nothing else ua.Variant(value, variant)
        self._pending[path] = ua.DataValue(content, StatusCode=status, SourceTimestamp=at)

    async def write_pending(self) -> int:
        """Write the newest value of each changed node; return how many."""
        pending, self._pending = self._pending, {}
        now = moment(time.time_ns())
        for count, (path, value) in enumerate(pending.items(), start=1):
            value.ServerTimestamp = now
            await self._nodes.write(self._values[path], value)
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        self.writes += len(pending)
        return len(pending)
