"""Values of the standard's types, as Variants and as bytes (OPC 10000-6, 5.2), by the table alone. Pure.

asyncua's registry of structures is the whole interpreter's and is keyed by the namespace's index, which a change of
settings moves; it would take another server's structures for ours.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer, NotEnoughData
from asyncua.ua.ua_binary import pack_uatype, unpack_uatype, variant_to_binary
from asyncua.ua.uaerrors import UaError

from edge.opcua_server.address_space.nodes import Ids, numeric, standard
from edge.opcua_server.vision.table import (
    SIMPLE,
    STRUCTURES,
    TRISTATE,
    TRISTATE_ID,
    Member,
    members_of,
)

T = ua.VariantType
Fields = Mapping[str, Any]  # of a structure by their names; an optional one may be missing
_BUILT_IN: Final[Mapping[str, ua.VariantType]] = MappingProxyType({
    "Boolean": T.Boolean, "Int32": T.Int32, "UInt32": T.UInt32, "String": T.String, "ByteString": T.ByteString,
    "UtcTime": T.DateTime, "Duration": T.Double, "LocalizedText": T.LocalizedText, "BaseDataType": T.Variant,
    TRISTATE: T.Int32,
})  # fmt: skip
_NOTHING: Final[Mapping[ua.VariantType, Callable[[], Any]]] = MappingProxyType(
    {T.Boolean: bool, T.Int32: int, T.UInt32: int, T.Double: float, T.DateTime: ua.get_win_epoch}
)
_UINT32: Final = struct.Struct("<I")
_INT32: Final = struct.Struct("<i")
_MOST: Final = 1000  # elements of an array that a client sends


class Malformed(ValueError):
    """What is not the structure that it says it is."""


def built_in(kind: str) -> ua.VariantType:
    """Return how a type of the table travels."""
    if kind in STRUCTURES:
        return T.ExtensionObject
    return _BUILT_IN[SIMPLE[kind][1] if kind in SIMPLE else kind]


def type_id(kind: str, index: int) -> ua.NodeId:
    """Return the NodeId of a data type of the table or of OPC UA's own; `index`: of the standard's namespace."""
    if kind in STRUCTURES:
        return numeric(STRUCTURES[kind].id, index)
    if kind in SIMPLE:
        return numeric(SIMPLE[kind][0], index)
    return numeric(TRISTATE_ID, index) if kind == TRISTATE else standard(getattr(Ids, kind))


def wrap(kind: str, held: Fields, index: int) -> ua.ExtensionObject:
    """Return a structure as it travels within a Variant."""
    return ua.ExtensionObject(TypeId=numeric(STRUCTURES[kind].binary, index), Body=ua.ByteString(encode(kind, held)))


def variant(member: Member, held: Any, index: int) -> ua.Variant:
    """Return a value of a field or an argument; None is its empty value."""
    kind = built_in(member.type)
    if member.many:
        items = [_single(member.type, one, index) for one in held or ()]
        return ua.Variant(items, kind, is_array=True)
    return ua.Variant(_single(member.type, _empty(member.type) if held is None else held, index), kind)


def _single(kind: str, held: Any, index: int) -> Any:
    return wrap(kind, held, index) if kind in STRUCTURES else held


def _empty(kind: str) -> Any:
    if kind in STRUCTURES:
        return {}
    make = _NOTHING.get(built_in(kind))
    return None if make is None else make()


# -- bytes ------------------------------------------------------------------------------------------------------------


def encode(kind: str, held: Fields) -> bytes:
    """Return a structure's body: which optional fields it has, then those that it has."""
    members = members_of(kind)
    optional = [one for one in members if one.optional]
    has = sum(1 << bit for bit, one in enumerate(optional) if held.get(one.name) is not None)
    parts = [_UINT32.pack(has)] if optional else []
    parts += [_pack(one, held.get(one.name)) for one in members if not one.optional or held.get(one.name) is not None]
    return b"".join(parts)


def _pack(member: Member, held: Any) -> bytes:
    if member.many:
        return _INT32.pack(len(held)) + b"".join(_pack_one(member.type, one) for one in held)
    return _pack_one(member.type, _empty(member.type) if held is None else held)


def _pack_one(kind: str, held: Any) -> bytes:
    if kind in STRUCTURES:
        return encode(kind, held)
    form = built_in(kind)
    if form is T.Variant:
        return variant_to_binary(held)
    return pack_uatype(form, ua.LocalizedText() if held is None and form is T.LocalizedText else held)


def decode(kind: str, body: bytes) -> Fields:
    """Return the fields of a structure that a client has sent.

    Raises:
        Malformed: it is none.
    """
    buffer = Buffer(body)
    try:
        found = _unpack(kind, buffer)
    except (struct.error, NotEnoughData, UaError, ValueError, TypeError, OverflowError, KeyError) as error:
        raise Malformed(f"no {kind}: {error}") from error
    if len(buffer):
        raise Malformed(f"no {kind}: {len(buffer)} bytes more than it has")
    return found


def _unpack(kind: str, buffer: Buffer) -> Fields:
    members = members_of(kind)
    optional = [one.name for one in members if one.optional]
    has = _UINT32.unpack(buffer.read(_UINT32.size))[0] if optional else 0
    if has >> len(optional):
        raise Malformed("it has fields that the structure has not")
    there = {name for bit, name in enumerate(optional) if has >> bit & 1}
    return {one.name: _unpack_one(one, buffer) for one in members if not one.optional or one.name in there}


def _unpack_one(member: Member, buffer: Buffer) -> Any:
    if not member.many:
        return (
            _unpack(member.type, buffer) if member.type in STRUCTURES else unpack_uatype(built_in(member.type), buffer)
        )
    (count,) = _INT32.unpack(buffer.read(_INT32.size))
    if count > _MOST:
        raise Malformed(f"{count} elements; there may be {_MOST}")
    return [_unpack_one(member._replace(many=False), buffer) for _ in range(max(0, count))]


# -- what clients send ------------------------------------------------------------------------------------------------


def read_arguments(members: Sequence[Member], given: Sequence[Any], index: int) -> list[Any] | int:
    """Return what a method is called with, or how far the first argument is that is not what it has to be.

    A structure is its fields; one that is null has none.
    """
    values: list[Any] = []
    for number, (member, one) in enumerate(zip(members, given, strict=True)):
        try:
            values.append(_argument(member, one, index))
        except Malformed:
            return number
    return values


def _argument(member: Member, given: Any, index: int) -> Any:
    held, kind = given.Value, built_in(member.type)
    if held is None or (isinstance(held, ua.ExtensionObject) and held.TypeId.is_null()):
        return [] if member.many else _empty(member.type)
    if given.VariantType is not kind or isinstance(held, list) is not member.many:
        raise Malformed(f"{member.name} is a {given.VariantType.name}")
    if member.type not in STRUCTURES:
        return str(held).strip() if member.type == "TrimmedString" else held
    if not isinstance(held, ua.ExtensionObject) or held.TypeId != numeric(STRUCTURES[member.type].binary, index):
        raise Malformed(f"{member.name} is another structure")
    return decode(member.type, bytes(held.Body or b""))
