"""What happened, as OPC UA's events: their types, and how messages and stored points become such (OPC 10000-5, 6.4).

An event of the past has the same EventId as it had when it was told: it is made of what the historian keeps of it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from types import MappingProxyType
from typing import Final

from asyncua import ua

from edge.audit.deeds import DEEDS
from edge.history.query import Row
from edge.opcua_server.address_space.fields import RESULT, Field
from edge.opcua_server.address_space.nodes import (
    PROPERTY,
    PROPERTY_TYPE,
    SUBTYPE,
    Ids,
    New,
    Nodes,
    standard,
    string_id,
)
from schemas.fields import Value
from schemas.messages import Event, Result, Severity

T = ua.VariantType
SEVERITY: Final[Mapping[str, int]] = MappingProxyType({Severity.INFO: 100, Severity.WARNING: 500, Severity.ALARM: 800})
_REJECTED: Final = 300
_MANDATORY: Final = (standard(Ids.HasModellingRule), standard(Ids.ModellingRule_Mandatory))
DEVICE_EVENT: Final = (
    Field("Code", T.String, "what kind of thing happened"),
    Field("Key", T.String, "joins the phases of one event"),
    Field("Phase", T.String, "`new`, `update` or `end`"),
    Field("Origin", T.String, "the process that says so"),
    Field("Arguments", T.String, "what explains the code, as JSON"),
)
RESULT_EVENT: Final = (
    Field("Pipeline", T.String, "which pipeline judged"),
    *(one for one in RESULT if one.stored or one.name in ("Model", "Version")),
)
AUDIT_EVENT: Final = "DeviceAuditEventType"
# By the name of the type: what it extends, its fields, and what it says.
TYPES: Final[Mapping[str, tuple[int, tuple[Field, ...], str]]] = MappingProxyType({
    "DeviceEventType": (Ids.SystemEventType, DEVICE_EVENT, "an event of the device, as on its bus"),
    AUDIT_EVENT: (Ids.AuditEventType, DEVICE_EVENT, "an event that says who did what"),
    "ResultEventType": (Ids.BaseEventType, RESULT_EVENT, "a part was judged"),
})  # fmt: skip


@dataclass(frozen=True)
class Happening:
    """An event: its type and its fields by their path (`AckedState/Id`).

    `condition`: of which it is a state; `audit`: it says who did what, which auditors alone hear.
    """

    kind: ua.NodeId
    fields: Mapping[str, ua.Variant]
    condition: ua.NodeId | None = None
    audit: bool = False


@dataclass(frozen=True)
class Source:
    """The node that an event is about."""

    node: ua.NodeId
    name: str


SERVER: Final = Source(standard(Ids.Server), "Server")


def event_id(*parts: object) -> bytes:
    """Return an EventId: the same for the same thing."""
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).digest()


def date_time(time_ns: int) -> ua.DateTime:
    """Return a time as events have it."""
    return ua.DateTime.fromtimestamp(time_ns / 1e9, UTC)


def base_fields(
    kind: ua.NodeId, identity: bytes, source: Source, time_ns: int, text: str, severity: int
) -> dict[str, ua.Variant]:
    """Return the fields that every event has (OPC 10000-5, 6.4.2)."""
    at = ua.Variant(date_time(time_ns), T.DateTime)
    return {
        "EventId": ua.Variant(identity, T.ByteString), "EventType": ua.Variant(kind, T.NodeId),
        "SourceNode": ua.Variant(source.node, T.NodeId), "SourceName": ua.Variant(source.name, T.String), "Time": at,
        "ReceiveTime": at, "Message": ua.Variant(ua.LocalizedText(text), T.LocalizedText),
        "Severity": ua.Variant(severity, T.UInt16),
    }  # fmt: skip


def overflow() -> Happening:
    """Return the event that tells of others that were lost (OPC 10000-5, 6.4.33)."""
    kind, now_ns = standard(Ids.EventQueueOverflowEventType), time.time_ns()
    fields = base_fields(kind, secrets.token_bytes(16), SERVER, now_ns, "events were lost: the queue was full", 1)
    return Happening(kind, fields)


class Types:
    """Our event types in an address space."""

    def __init__(self, nodes: Nodes, index: int, uri: str) -> None:
        """Add them below OPC UA's own. `uri`: the server's, which audit events name."""
        self._index, self._uri = index, uri
        for name, (above, fields, text) in TYPES.items():
            where = New(self.node(name), _name(name, index), standard(above), SUBTYPE, None, text)
            nodes.object_type(where)
            for field in fields:
                path = string_id(f"Types/{name}/{field.name}", index)
                new = New(path, _name(field.name, index), self.node(name), PROPERTY, PROPERTY_TYPE, field.text)
                empty = ua.Variant(None if field.variant is T.String else 0, field.variant)
                nodes.variable(new, ua.DataValue(empty), standard(field.variant.value))
                nodes.refer(path, *_MANDATORY)

    def node(self, name: str) -> ua.NodeId:
        """Return the NodeId of a type by its name."""
        return string_id(f"Types/{name}", self._index)

    # -- the device's events ------------------------------------------------------------------------------------------

    def event(self, event: Event, source: Source) -> Happening:
        """Return an event of the bus."""
        return self._device_event(
            source, event.time_ns, event.origin, event.code, event.key, event.phase.value, event.severity.value,
            event.text, event.args,
        )  # fmt: skip

    def stored_event(self, row: Row, source: Source) -> Happening:
        """Return an event that the historian has kept."""
        held = {name: "" if item is None else str(item) for name, item in row.fields.items()}
        arguments = {name.removeprefix("arg_"): item for name, item in row.fields.items() if name.startswith("arg_")}
        return self._device_event(
            source, row.time_ns, row.tags.get("origin", ""), row.tags.get("code", ""), held.get("key", ""),
            held.get("phase", ""), held.get("severity", ""), held.get("text", ""), arguments,
        )  # fmt: skip

    def _device_event(
        self, source: Source, time_ns: int, origin: str, code: str, key: str, phase: str, severity: str, text: str,
        arguments: Mapping[str, Value],
    ) -> Happening:  # fmt: skip
        deed = DEEDS.get(code)
        kind = self.node(AUDIT_EVENT if deed else "DeviceEventType")
        identity = event_id(origin, code, key, phase, time_ns // 1000)
        texts = {"Code": code, "Key": key, "Phase": phase, "Origin": origin, "Arguments": json.dumps(arguments)}
        own = {name: ua.Variant(item, T.String) for name, item in texts.items()}
        base = base_fields(kind, identity, source, time_ns, text, SEVERITY.get(severity, 1))
        if deed is None:
            return Happening(kind, base | own)
        by = next((str(arguments[name]) for name in deed.by if arguments.get(name)), "")
        audit = {
            "ActionTimeStamp": base["Time"], "Status": ua.Variant(deed.succeeded(arguments), T.Boolean),
            "ServerId": ua.Variant(self._uri, T.String), "ClientAuditEntryId": ua.Variant("", T.String),
            "ClientUserId": ua.Variant(by, T.String),
        }  # fmt: skip
        return Happening(kind, base | own | audit, audit=True)

    # -- results ------------------------------------------------------------------------------------------------------

    def result(self, result: Result, source: Source) -> Happening:
        """Return a result as an event."""
        latency = result.latency
        held: dict[str, Value] = {
            "result_id": result.result_id, "part_id": result.part_id, "verdict": result.verdict.value,
            "label": result.label, "score": result.score, "late": result.outcome == "late",
            "outcome": result.outcome.value, "total_ms": latency.total, "ingest_ms": latency.ingest,
            "queue_ms": latency.queue, "preprocess_ms": latency.preprocess, "infer_ms": latency.infer,
        }  # fmt: skip
        tags = {"pipeline": result.pipeline, "model": result.model, "version": result.version or "none"}
        return self._result(source, result.time_ns, tags, held)

    def stored_result(self, row: Row, source: Source) -> Happening:
        """Return a result that the historian has kept, as an event."""
        return self._result(source, row.time_ns, row.tags, row.fields)

    def _result(self, source: Source, time_ns: int, tags: Mapping[str, str], held: Mapping[str, Value]) -> Happening:
        kind = self.node("ResultEventType")
        own = {one.name: _variant(held.get(one.stored), one.variant) for one in RESULT_EVENT if one.stored}
        named = {name: ua.Variant(tags.get(name.lower(), ""), T.String) for name in ("Pipeline", "Model", "Version")}
        verdict = str(held.get("verdict", ""))
        text = f"{tags.get('pipeline', '')}: {verdict} {held.get('label') or ''}".rstrip()
        identity = event_id("result", held.get("result_id", ""))
        severity = _REJECTED if verdict == "nok" else SEVERITY[Severity.INFO]
        return Happening(kind, base_fields(kind, identity, source, time_ns, text, severity) | own | named)


def _variant(value: Value, kind: ua.VariantType) -> ua.Variant:
    return ua.Variant(None) if value is None else ua.Variant(_PLAIN.get(kind, _same)(value), kind)


def _same(value: Value) -> Value:
    return value


_PLAIN: Final[Mapping[ua.VariantType, Callable[[Value], Value]]] = MappingProxyType(
    {T.String: lambda value: str(value), T.Boolean: bool}
)


def _name(name: str, index: int) -> ua.QualifiedName:
    return ua.QualifiedName(name, ua.UInt16(index))
