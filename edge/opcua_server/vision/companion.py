"""The standard's types in an address space, out of the table."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures carry no types there)

from __future__ import annotations

from typing import Any, Final

from asyncua import ua

from edge.opcua_server.address_space.nodes import (
    COMPONENT,
    PROPERTY,
    PROPERTY_TYPE,
    SUBTYPE,
    Ids,
    New,
    Nodes,
    numeric,
    standard,
)
from edge.opcua_server.vision.structures import type_id, variant
from edge.opcua_server.vision.table import (
    EVENT_TYPES,
    OBJECT_TYPES,
    RESULT_PARTS,
    RESULT_TYPE,
    RESULT_TYPE_ID,
    SIMPLE,
    STRUCTURES,
    TRISTATE,
    TRISTATE_ID,
    TRISTATE_VALUES,
    TRISTATE_VALUES_ID,
    Arguments,
    Kind,
    Member,
    Method,
    ObjectType,
    Part,
    Stage,
    Transition,
    members_of,
)

T = ua.VariantType
_RULE: Final = standard(Ids.HasModellingRule)
_MANDATORY, _OPTIONAL = standard(Ids.ModellingRule_Mandatory), standard(Ids.ModellingRule_Optional)
_ENCODING: Final = standard(Ids.HasEncoding)


class Companion:
    """Adds them; `index` is the standard's namespace's."""

    def __init__(self, nodes: Nodes, index: int) -> None:
        """Add all."""
        self._nodes, self._index = nodes, index
        self._data_types()
        for name, kind in EVENT_TYPES.items():
            self._object_type(name, kind)
        self._result_type()
        for name, kind in OBJECT_TYPES.items():
            self._object_type(name, kind)
        stages = {one.name: one.id for kind in OBJECT_TYPES.values() for one in kind.stages}
        for kind in OBJECT_TYPES.values():
            for one in kind.transitions:
                for reference, stage in ((Ids.FromState, one.source), (Ids.ToState, one.target)):
                    self._nodes.refer(self.id(one.id), standard(reference), self.id(stages[stage]))
                self._nodes.refer(self.id(one.id), standard(Ids.HasEffect), self.type("StateChangedEventType"))

    def type(self, name: str) -> ua.NodeId:
        """Return the NodeId of an object, event or variable type, of the standard or OPC UA's own."""
        if name == RESULT_TYPE:
            return self.id(RESULT_TYPE_ID)
        found = OBJECT_TYPES.get(name) or EVENT_TYPES.get(name)
        return self.id(found.id) if found else standard(getattr(Ids, name))

    def id(self, number: int) -> ua.NodeId:
        """Return a NodeId of the standard's namespace."""
        return numeric(number, self._index)

    def name(self, text: str) -> ua.QualifiedName:
        """Return a browse name of the standard's."""
        return ua.QualifiedName(text, ua.UInt16(self._index))

    # -- data types ---------------------------------------------------------------------------------------------------

    def _data_types(self) -> None:
        for name, (number, base) in SIMPLE.items():
            self._nodes.data_type(
                New(self.id(number), self.name(name), standard(getattr(Ids, base)), SUBTYPE, None), None
            )
        for name, one in STRUCTURES.items():
            above = type_id(one.base, self._index)
            new = New(self.id(one.id), self.name(name), above, SUBTYPE, None)
            self._nodes.data_type(new, self._definition(name), abstract=one.abstract)
            encoding = New(
                self.id(one.binary), _own("Default Binary"), new.node, _ENCODING, standard(Ids.DataTypeEncodingType)
            )
            self._nodes.object(encoding)
        self._tristate()

    def _definition(self, name: str) -> Any:
        members, one = members_of(name), STRUCTURES[name]
        plain, some = ua.StructureType.Structure, ua.StructureType.StructureWithOptionalFields
        return ua.StructureDefinition(
            DefaultEncodingId=self.id(one.binary), BaseDataType=type_id(one.base, self._index),
            StructureType=some if any(member.optional for member in members) else plain,
            Fields=[
                ua.StructureField(
                    Name=member.name, DataType=type_id(member.type, self._index), ValueRank=_rank(member),
                    ArrayDimensions=[ua.UInt32(0)] if member.many else [], IsOptional=member.optional,
                )
                for member in members
            ],
        )  # fmt: skip

    def _tristate(self) -> None:
        node = self.id(TRISTATE_ID)
        fields = [ua.EnumField(Value=number, Name=text) for number, text in enumerate(TRISTATE_VALUES)]
        new = New(node, self.name(TRISTATE), standard(Ids.Enumeration), SUBTYPE, None)
        self._nodes.data_type(new, ua.EnumDefinition(Fields=fields))
        values = [
            ua.EnumValueType(Value=number, DisplayName=ua.LocalizedText(text))
            for number, text in enumerate(TRISTATE_VALUES)
        ]
        below = New(self.id(TRISTATE_VALUES_ID), _own("EnumValues"), node, PROPERTY, PROPERTY_TYPE)
        held = ua.DataValue(ua.Variant(values, T.ExtensionObject))
        self._nodes.variable(below, held, standard(Ids.EnumValueType), len(values))

    # -- types of objects, events and variables -----------------------------------------------------------------------

    def _object_type(self, name: str, kind: ObjectType) -> None:
        node = self._nodes.object_type(New(self.id(kind.id), self.name(name), self.type(kind.base), SUBTYPE, None))
        for part in kind.parts:
            self._part(part, node)
        for method in kind.methods:
            self._method(method, node)
        for stage in kind.stages:
            self._numbered(stage, node, Ids.StateType, "StateNumber")
        for transition in kind.transitions:
            self._numbered(transition, node, Ids.TransitionType, "TransitionNumber")

    def _result_type(self) -> None:
        above = standard(Ids.BaseDataVariableType)
        new = New(self.id(RESULT_TYPE_ID), self.name(RESULT_TYPE), above, SUBTYPE, None)
        node = self._nodes.variable_type(new, type_id("ResultDataType", self._index))
        for part in RESULT_PARTS:
            self._part(part, node)

    def _part(self, part: Part, above: ua.NodeId) -> None:
        node = self.id(part.id)
        if part.kind is Kind.OBJECT:
            self._nodes.object(New(node, self.name(part.name), above, COMPONENT, self.type(part.type)))
        else:
            as_property = part.kind is Kind.PROPERTY
            kind = PROPERTY_TYPE if as_property else standard(Ids.BaseDataVariableType)
            new = New(node, self.name(part.name), above, PROPERTY if as_property else COMPONENT, kind)
            empty = variant(Member(part.name, part.type, many=part.many), None, self._index)
            self._nodes.variable(new, ua.DataValue(empty), type_id(part.type, self._index), int(part.many))
        self._nodes.refer(node, _RULE, _OPTIONAL if part.optional else _MANDATORY)

    def _method(self, method: Method, above: ua.NodeId) -> None:
        new = New(self.id(method.id), self.name(method.name), above, COMPONENT, None)
        node = self._nodes.method(new, method.executable)
        self._nodes.refer(node, _RULE, _OPTIONAL if method.optional else _MANDATORY)
        for name, arguments in (("InputArguments", method.inputs), ("OutputArguments", method.outputs)):
            if arguments is not None:
                self._arguments(name, arguments, node)

    def _arguments(self, name: str, arguments: Arguments, method: ua.NodeId) -> None:
        told = [
            ua.Argument(
                Name=ua.String(one.name), DataType=type_id(one.type, self._index), ValueRank=ua.Int32(_rank(one)),
                ArrayDimensions=[ua.UInt32(0)] if one.many else [],
            )
            for one in arguments.members
        ]  # fmt: skip
        new = New(self.id(arguments.id), _own(name), method, PROPERTY, PROPERTY_TYPE)
        held = ua.DataValue(ua.Variant(told, T.ExtensionObject))
        self._nodes.variable(new, held, standard(Ids.Argument), len(told))
        self._nodes.refer(new.node, _RULE, _MANDATORY)

    def _numbered(self, one: Stage | Transition, above: ua.NodeId, kind: int, name: str) -> None:
        node = self._nodes.object(New(self.id(one.id), self.name(one.name), above, COMPONENT, standard(kind)))
        number = ua.Variant(one.number, T.UInt32)
        self._nodes.property(self.id(one.number_id), _own(name), node, number)
        self._nodes.refer(self.id(one.number_id), _RULE, _MANDATORY)


def _rank(member: Member) -> int:
    return int(ua.ValueRank.OneDimension if member.many else ua.ValueRank.Scalar)


def _own(name: str) -> ua.QualifiedName:
    return ua.QualifiedName(name, ua.UInt16(0))
