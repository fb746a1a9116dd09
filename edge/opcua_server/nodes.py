"""Puts nodes into asyncua's address space, quickly.

Its own AddNodes compares each new node with all that its parent has, and copies every attribute: 5,000 tags below one
source took minutes. Constant attributes are shared here; only a Value changes.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from asyncua import ua
from asyncua.server.address_space import AddressSpace, AttributeValue, NodeData
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

Ids = ObjectIds
NAMESPACE: Final = "urn:plantedge:device"


def standard(identifier: int) -> ua.NodeId:
    """Return a NodeId of OPC UA's own namespace."""
    return ua.NodeId(ua.Int32(identifier))


def numeric(identifier: int, index: int) -> ua.NodeId:
    """Return a NodeId of a companion standard's namespace."""
    return ua.NodeId(ua.Int32(identifier), ua.Int16(index))


def string_id(text: str, index: int) -> ua.NodeId:
    """Return a NodeId of ours."""
    return ua.NodeId(ua.String(text), ua.Int16(index), ua.NodeIdType.String)


OBJECT, VARIABLE, OBJECT_TYPE = ua.NodeClass.Object, ua.NodeClass.Variable, ua.NodeClass.ObjectType
METHOD = ua.NodeClass.Method
ORGANIZES, COMPONENT = standard(Ids.Organizes), standard(Ids.HasComponent)
PROPERTY, SUBTYPE, TYPED = standard(Ids.HasProperty), standard(Ids.HasSubtype), standard(Ids.HasTypeDefinition)
FOLDER, PROPERTY_TYPE = standard(Ids.FolderType), standard(Ids.PropertyType)


@dataclass(frozen=True)
class New:
    """A node to add: where, as what, and how it is found."""

    node: ua.NodeId
    name: ua.QualifiedName
    parent: ua.NodeId
    reference: ua.NodeId
    type: ua.NodeId | None
    text: str = ""  # its Description


class Nodes:
    """Adds nodes below nodes that are there."""

    def __init__(self, space: AddressSpace) -> None:
        """Add to `space`."""
        self._space = space
        self._shared: dict[tuple[Hashable, ua.VariantType], ua.DataValue] = {}

    def _constant(self, value: Hashable, variant: ua.VariantType) -> AttributeValue:
        known = self._shared.get((value, variant))
        if known is None:
            known = self._shared[value, variant] = ua.DataValue(ua.Variant(value, variant))
        return AttributeValue(known)

    def object(self, new: New) -> ua.NodeId:
        """Add an object."""
        data = self._begin(new, OBJECT)
        data.attributes[AttributeIds.EventNotifier] = self._constant(0, ua.VariantType.Byte)
        return new.node

    def object_type(self, new: New, *, abstract: bool = False) -> ua.NodeId:
        """Add an object type."""
        data = self._begin(new, OBJECT_TYPE)
        data.attributes[AttributeIds.IsAbstract] = self._constant(abstract, ua.VariantType.Boolean)
        return new.node

    def variable(self, new: New, value: ua.DataValue, kind: ua.NodeId, count: int = 0) -> ua.NodeId:
        """Add a variable of a data type, an array where `count` is not 0; clients may read it."""
        data = self._begin(new, VARIABLE)
        rank = ua.ValueRank.OneDimension if count else ua.ValueRank.Scalar
        attributes = data.attributes
        attributes[AttributeIds.Value] = AttributeValue(value)
        attributes[AttributeIds.DataType] = self._constant(kind, ua.VariantType.NodeId)
        attributes[AttributeIds.ValueRank] = self._constant(int(rank), ua.VariantType.Int32)
        if count:
            size = ua.Variant([ua.UInt32(count)], ua.VariantType.UInt32)
            attributes[AttributeIds.ArrayDimensions] = AttributeValue(ua.DataValue(size))
        for attribute in (AttributeIds.AccessLevel, AttributeIds.UserAccessLevel):
            attributes[attribute] = self._constant(ua.AccessLevel.CurrentRead.mask, ua.VariantType.Byte)
        attributes[AttributeIds.Historizing] = self._constant(False, ua.VariantType.Boolean)
        return new.node

    def method(self, new: New, executable: bool) -> ua.NodeId:
        """Add a method; whether a user may call it is asked of the session."""
        data = self._begin(new, METHOD)
        for attribute in (AttributeIds.Executable, AttributeIds.UserExecutable):
            data.attributes[attribute] = self._constant(executable, ua.VariantType.Boolean)
        return new.node

    def property(self, node: ua.NodeId, name: ua.QualifiedName, parent: ua.NodeId, value: ua.Variant) -> ua.NodeId:
        """Add a property; its data type is the value's."""
        held = cast("list[object]", value.Value) if isinstance(value.Value, list) else []
        one = held[0] if held else value.Value
        kind = getattr(one, "data_type", None) if value.VariantType is _STRUCTURE else None
        new = New(node, name, parent, PROPERTY, PROPERTY_TYPE)
        return self.variable(new, ua.DataValue(value), kind or standard(value.VariantType.value), len(held))

    async def write(self, node: ua.NodeId, value: ua.DataValue) -> None:
        """Write the Value of a variable and tell whoever watches it.

        asyncua's own writing refuses Null on a node that is not Null, which is how no value looks.
        """
        held = self._space[node].attributes[AttributeIds.Value]
        held.value = value
        for handle, told in list(held.datachange_callbacks.items()):
            await told(handle, value)

    def refer(self, source: ua.NodeId, reference: ua.NodeId, target: ua.NodeId) -> None:
        """Let a node refer to another one, as well as to its own children."""
        ahead, back = self._space[source], self._space[target]
        ahead.references.append(_description(back, reference, forward=True))
        back.references.append(_description(ahead, reference, forward=False))

    def set(self, node: ua.NodeId, attribute: AttributeIds, value: ua.Variant) -> None:
        """Set an attribute, before clients are there to be told."""
        self._space[node].attributes[attribute] = self._constant(cast(Hashable, value.Value), value.VariantType)

    def _begin(self, new: New, node_class: ua.NodeClass) -> NodeData:
        data = NodeData(new.node)
        name = new.name.Name or ""
        own: Sequence[tuple[int, object, ua.VariantType]] = (
            (AttributeIds.NodeId, new.node, ua.VariantType.NodeId),
            (AttributeIds.BrowseName, new.name, ua.VariantType.QualifiedName),
            (AttributeIds.DisplayName, ua.LocalizedText(name), ua.VariantType.LocalizedText),
            (AttributeIds.Description, ua.LocalizedText(new.text), ua.VariantType.LocalizedText),
        )
        for attribute, value, variant in own:
            data.attributes[AttributeIds(attribute)] = AttributeValue(ua.DataValue(ua.Variant(value, variant)))
        data.attributes[AttributeIds.NodeClass] = self._constant(node_class, ua.VariantType.Int32)
        for attribute in (AttributeIds.WriteMask, AttributeIds.UserWriteMask):
            data.attributes[attribute] = self._constant(0, ua.VariantType.UInt32)
        self._space[new.node] = data
        if new.type is not None:
            data.references.append(_description(self._space[new.type], TYPED, forward=True))
        self.refer(new.parent, new.reference, new.node)
        return data


_STRUCTURE: Final = ua.VariantType.ExtensionObject


def read(data: NodeData, attribute: int) -> object:
    """Return an attribute's value, None for nothing."""
    value = data.attributes[AttributeIds(attribute)].value
    return None if value is None or value.Value is None else value.Value.Value


def typed(data: NodeData) -> ua.NodeId:
    """Return a node's type definition, null for none."""
    return next((one.NodeId for one in data.references if one.ReferenceTypeId == TYPED), ua.NodeId())


def _description(of: NodeData, reference: ua.NodeId, *, forward: bool) -> ua.ReferenceDescription:
    of_class = cast(ua.NodeClass, read(of, AttributeIds.NodeClass))
    return ua.ReferenceDescription(
        ReferenceTypeId=reference, IsForward=forward, NodeId=of.nodeid, BrowseName=read(of, AttributeIds.BrowseName),
        DisplayName=read(of, AttributeIds.DisplayName), NodeClass=of_class,
        TypeDefinition=typed(of),
    )  # fmt: skip


def supertypes(space: AddressSpace) -> Callable[[ua.NodeId], frozenset[ua.NodeId]]:
    """Return what finds all types that a type is one of, itself first; types do not change while the server runs."""
    known: dict[ua.NodeId, frozenset[ua.NodeId]] = {}

    def find(kind: ua.NodeId) -> frozenset[ua.NodeId]:
        found = known.get(kind)
        if found is None:
            references = space[kind].references if kind in space else []
            parents = [one.NodeId for one in references if one.ReferenceTypeId == SUBTYPE and not one.IsForward]
            found = known[kind] = frozenset({kind}).union(*(find(parent) for parent in parents))
        return found

    return find
