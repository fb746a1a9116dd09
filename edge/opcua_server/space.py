"""The address space: Site/Line/Node -> Sources/<source>/<tag>, Pipelines/<pipeline>/..., Health/<process>.

NodeIds are strings in our namespace that follow the path (`demo/line1/edge1/Sources/plant/Line.Speed`), so they are the
same after a restart. Values are coalesced: at most one write per node and tick, the newest wins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from datetime import UTC
from typing import NamedTuple

from asyncua import ua
from asyncua.common.node import Node
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from edge.plc.tags import Tag
from schemas.messages import LINK_LOST, Insight, Quality, Reading, Result, Sample, Slot, Status, Value
from schemas.topics import Place

NAMESPACE = "urn:plantedge:device"
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


class Field(NamedTuple):
    """A variable of a pipeline or process: browse name and type."""

    name: str
    variant: ua.VariantType
    unit: str = ""


RESULT_FIELDS = (
    Field("ResultId", ua.VariantType.String),
    Field("PartId", ua.VariantType.Int64),
    Field("Verdict", ua.VariantType.String),
    Field("Label", ua.VariantType.String),
    Field("Score", ua.VariantType.Double),
    Field("Late", ua.VariantType.Boolean),
    Field("Outcome", ua.VariantType.String),
    Field("LatencyMs", ua.VariantType.Double, "ms"),
    Field("QueueMs", ua.VariantType.Double, "ms"),
    Field("InferMs", ua.VariantType.Double, "ms"),
    Field("Model", ua.VariantType.String),
    Field("Version", ua.VariantType.String),
    Field("Digest", ua.VariantType.String),
    Field("Accepted", ua.VariantType.UInt64),
    Field("Rejected", ua.VariantType.UInt64),
)
INSIGHT_FIELDS = (
    Field("RatePerSecond", ua.VariantType.Double, "1/s"),
    Field("P50Ms", ua.VariantType.Double, "ms"),
    Field("P99Ms", ua.VariantType.Double, "ms"),
    Field("DriftLevel", ua.VariantType.String),
    Field("LateInWindow", ua.VariantType.Int64),
    Field("DroppedInWindow", ua.VariantType.Int64),
)
SLOT_FIELDS = (Field("SlotPhase", ua.VariantType.String), Field("SlotReason", ua.VariantType.String))
OUTPUT_FIELDS = (Field("Mode", ua.VariantType.String),)
HEALTH_FIELDS = (Field("State", ua.VariantType.String), Field("Reason", ua.VariantType.String))


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


def moment(time_ns: int) -> ua.DateTime:
    """Return a wall-clock time as OPC UA's DateTime (100 ns steps; asyncua takes microseconds)."""
    return ua.DateTime.fromtimestamp(time_ns / 1e9, UTC)


class Space:
    """Builds the nodes and writes the newest values into them, tick by tick."""

    def __init__(self, server: Server, index: int, place: Place) -> None:
        """Start without nodes; `index` is our namespace's."""
        self._server = server
        self._index = index
        self._root = f"{place.site}/{place.line}/{place.node}"
        self._place = place
        self._folders: dict[str, Node] = {}
        self._types: dict[str, ua.VariantType] = {}
        self._pending: dict[str, ua.DataValue] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self.writes = 0

    # -- building -----------------------------------------------------------------------------------------------------

    async def build(
        self,
        sources: Mapping[str, Mapping[str, Tag]],
        pipelines: list[str],
        processes: list[str],
        outputs: Collection[str] = (),
    ) -> None:
        """Create all nodes; each waits for its first value. `outputs`: the pipelines that have some."""
        for source, tags in sources.items():
            for tag in tags.values():
                await self._variable(
                    f"Sources/{source}", tag.name, variant_of(tag), tag.unit, (tag.min, tag.max), tag.count
                )
        for pipeline in pipelines:
            for field in RESULT_FIELDS + INSIGHT_FIELDS + SLOT_FIELDS:
                await self._variable(f"Pipelines/{pipeline}", field.name, field.variant, field.unit)
            for field in OUTPUT_FIELDS if pipeline in outputs else ():
                await self._variable(f"Pipelines/{pipeline}", field.name, field.variant, field.unit)
        for process in processes:
            for field in HEALTH_FIELDS:
                await self._variable(f"Health/{process}", field.name, field.variant, field.unit)

    async def _folder(self, path: str) -> Node:
        known = self._folders.get(path)
        if known is not None:
            return known
        above, _, name = path.rpartition("/")
        parent = await self._folder(above) if above else await self._device()
        node = await parent.add_folder(self._node_id(path), ua.QualifiedName(name, self._index))
        self._folders[path] = node
        return node

    async def _device(self) -> Node:
        known = self._folders.get("")
        if known is not None:
            return known
        parent, path = self._server.nodes.objects, ""
        for name in (self._place.site, self._place.line, self._place.node):
            path = f"{path}/{name}" if path else name
            parent = await parent.add_folder(self._string_id(path), ua.QualifiedName(name, self._index))
        self._folders[""] = parent
        return parent

    async def _variable(
        self,
        folder: str,
        name: str,
        variant: ua.VariantType,
        unit: str = "",
        limits: tuple[float | None, float | None] = (None, None),
        count: int = 0,
    ) -> None:
        parent = await self._folder(folder)
        path = f"{folder}/{name}"
        empty = _empty(variant, count)
        node = await parent.add_variable(
            self._node_id(path), ua.QualifiedName(name, self._index), empty, datatype=ua.NodeId(ua.Int32(variant.value))
        )
        if count:
            rank = ua.Variant(ua.Int32(ua.ValueRank.OneDimension), ua.VariantType.Int32)
            await self._server.write_attribute_value(node.nodeid, ua.DataValue(rank), AttributeIds.ValueRank)
            size = ua.Variant([ua.UInt32(count)], ua.VariantType.UInt32)
            await self._server.write_attribute_value(node.nodeid, ua.DataValue(size), AttributeIds.ArrayDimensions)
        self._types[path] = variant
        waiting = ua.DataValue(empty, StatusCode=_status(_NO_VALUE_YET))
        await self._server.write_attribute_value(node.nodeid, waiting)
        if unit:
            described = ua.EUInformation(DisplayName=ua.LocalizedText(unit), Description=ua.LocalizedText(unit))
            await self._property(node, path, "EngineeringUnits", ua.Variant(described, ua.VariantType.ExtensionObject))
        low, high = limits
        if low is not None and high is not None:
            bounds = ua.Variant(ua.Range(Low=low, High=high), ua.VariantType.ExtensionObject)
            await self._property(node, path, "EURange", bounds)

    async def allow_writes(self, paths: Collection[str]) -> None:
        """Show nodes as writable: their AccessLevel; who may is told by the StatusCode of a Write."""
        for path in paths:
            await self._server.get_node(self._node_id(path)).set_writable()

    def identifier(self, path: str) -> str:
        """Return the identifier of the node at a path."""
        return f"{self._root}/{path}"

    async def hold(self, path: str, value: Value) -> None:
        """Show at once what the PLC was read back to hold: a client that wrote reads it next."""
        self._put(path, value, moment(time.time_ns()), status_code(Quality.GOOD, ""))
        await self.write_pending()

    async def _property(self, node: Node, path: str, name: str, value: ua.Variant) -> None:
        await node.add_property(self._node_id(f"{path}/{name}"), ua.QualifiedName(name, 0), value)

    def _node_id(self, path: str) -> ua.NodeId:
        return self._string_id(f"{self._root}/{path}")

    def _string_id(self, text: str) -> ua.NodeId:
        return ua.NodeId(ua.String(text), ua.Int16(self._index), ua.NodeIdType.String)

    # -- values -------------------------------------------------------------------------------------------------------

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
            "Outcome": result.outcome.value, "LatencyMs": result.latency.total, "QueueMs": result.latency.queue,
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
            "DriftLevel": insight.drift.level,
        }  # fmt: skip
        self._put_all(f"Pipelines/{insight.pipeline}", values, moment(insight.time_ns))

    def slot(self, slot: Slot, pipeline: str, time_ns: int) -> None:
        """Take what the runtime of a pipeline has loaded for it."""
        values: dict[str, Value] = {"SlotPhase": slot.phase, "SlotReason": slot.reason}
        self._put_all(f"Pipelines/{pipeline}", values, moment(time_ns))

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
        content = None if value is None else ua.Variant(value, variant)  # asyncua refuses a Null variant here
        self._pending[path] = ua.DataValue(content, StatusCode=status, SourceTimestamp=at)

    async def write_pending(self) -> int:
        """Write the newest value of each changed node; return how many."""
        pending, self._pending = self._pending, {}
        for count, (path, value) in enumerate(pending.items(), start=1):
            await self._server.write_attribute_value(self._node_id(path), value)
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)
        self.writes += len(pending)
        return len(pending)
