"""Which nodes have a history, and how the address space says so (OPC 10000-11, 5.2 and 5.4)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, cast

from asyncua import ua
from asyncua.server.address_space import AddressSpace
from asyncua.ua.attribute_ids import AttributeIds

from edge.history.query import Trend
from edge.opcua_server.aggregates import FUNCTIONS, Configuration
from edge.opcua_server.fields import INSIGHT, RESULT
from edge.opcua_server.limits import CONTINUATIONS, HISTORY_NODES, HISTORY_VALUES
from edge.opcua_server.nodes import ORGANIZES, Ids, Nodes, read, standard
from edge.opcua_server.space import variant_of
from edge.opcua_server.walks import Historized
from edge.plc.tags.lists import Tag
from edge.settings import Settings

_CONFIGURED: Final = standard(Ids.HasHistoricalConfiguration)
_CONFIGURATION: Final = standard(Ids.DefaultHAConfiguration)
_DEFAULT: Final = Configuration()
_TRUE, _FALSE = (ua.Variant(held, ua.VariantType.Boolean) for held in (True, False))
_SAID: Final[Mapping[int, ua.Variant]] = {
    Ids.HistoryServerCapabilities_AccessHistoryDataCapability: _TRUE,
    Ids.HistoryServerCapabilities_AccessHistoryEventsCapability: _TRUE,
    Ids.HistoryServerCapabilities_MaxReturnDataValues: ua.Variant(HISTORY_VALUES, ua.VariantType.UInt32),
    Ids.HistoryServerCapabilities_MaxReturnEventValues: ua.Variant(HISTORY_VALUES, ua.VariantType.UInt32),
    Ids.HistoryServerCapabilities_ServerTimestampSupported: _FALSE,
    Ids.Server_ServerCapabilities_MaxHistoryContinuationPoints: ua.Variant(CONTINUATIONS, ua.VariantType.UInt16),
    Ids.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData: ua.Variant(
        HISTORY_NODES, ua.VariantType.UInt32
    ),
    Ids.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadEvents: ua.Variant(
        HISTORY_NODES, ua.VariantType.UInt32
    ),
    Ids.DefaultHAConfiguration_Stepped: _TRUE,
    Ids.DefaultHAConfiguration_AggregateConfiguration_TreatUncertainAsBad: ua.Variant(
        _DEFAULT.uncertain_is_bad, ua.VariantType.Boolean
    ),
    Ids.DefaultHAConfiguration_AggregateConfiguration_PercentDataBad: ua.Variant(
        _DEFAULT.percent_bad, ua.VariantType.Byte
    ),
    Ids.DefaultHAConfiguration_AggregateConfiguration_PercentDataGood: ua.Variant(
        _DEFAULT.percent_good, ua.VariantType.Byte
    ),
    Ids.DefaultHAConfiguration_AggregateConfiguration_UseSlopedExtrapolation: _FALSE,
} | {
    getattr(Ids, f"HistoryServerCapabilities_{name}Capability"): _FALSE
    for name in ("InsertData", "ReplaceData", "UpdateData", "DeleteRaw", "DeleteAtTime", "InsertEvent", "ReplaceEvent",
                 "UpdateEvent", "DeleteEvent", "InsertAnnotation")
}  # fmt: skip


def histories(settings: Settings, sources: Mapping[str, Mapping[str, Tag]]) -> dict[str, Historized]:
    """Return what the historian keeps of which node, by path: tags that are no arrays, results and their windows."""
    found: dict[str, Historized] = {}
    for source, tags in sources.items():
        for tag in tags.values():
            if not tag.count:
                found[f"Sources/{source}/{tag.name}"] = Historized(Trend.tag(source, tag.name), variant_of(tag))
    for pipeline in settings.pipelines:
        for measurement, fields in (("result", RESULT), ("insight", INSIGHT)):
            for field in fields:
                if field.stored:
                    trend = Trend(measurement, field.stored, {"pipeline": pipeline})
                    found[f"Pipelines/{pipeline}/{field.name}"] = Historized(trend, field.variant)
    return found


def show_history(space: AddressSpace, nodes: Nodes, values: Iterable[ua.NodeId]) -> None:
    """Say which variables have a history, how it is to be read, and what the server offers for it."""
    for identifier, held in _SAID.items():
        nodes.set(standard(identifier), AttributeIds.Value, held)
    for folder in (Ids.HistoryServerCapabilities_AggregateFunctions, Ids.Server_ServerCapabilities_AggregateFunctions,
                   Ids.DefaultHAConfiguration_AggregateFunctions):  # fmt: skip
        for function in FUNCTIONS.values():
            nodes.refer(standard(folder), ORGANIZES, standard(function.identifier))
    for node in values:
        for attribute in (AttributeIds.AccessLevel, AttributeIds.UserAccessLevel):
            level = cast(int, read(space[node], attribute)) | ua.AccessLevel.HistoryRead.mask
            nodes.set(node, attribute, ua.Variant(level, ua.VariantType.Byte))
        nodes.set(node, AttributeIds.Historizing, _TRUE)
        nodes.refer(node, _CONFIGURED, _CONFIGURATION)


def show_events(
    space: AddressSpace, nodes: Nodes, device: ua.NodeId, recorded: Collection[ua.NodeId], live: Collection[ua.NodeId]
) -> None:
    """Say which objects tell events: the Server all, the device its own and those of `recorded` and `live`.

    All but the `live` ones tell those of the past too.
    """
    server = standard(Ids.Server)
    nodes.refer(server, _NOTIFIER, device)
    for node in (*recorded, *live):
        nodes.refer(device, _NOTIFIER, node)
    for node in (server, device, *recorded, *live):
        held = cast("int | None", read(space[node], AttributeIds.EventNotifier)) or 0
        bits = held | _TELLS | (0 if node in live else _REMEMBERS)
        nodes.set(node, AttributeIds.EventNotifier, ua.Variant(bits, ua.VariantType.Byte))


_NOTIFIER: Final = standard(Ids.HasNotifier)
_TELLS: Final = 1 << ua.EventNotifier.SubscribeToEvents
_REMEMBERS: Final = 1 << ua.EventNotifier.HistoryRead
