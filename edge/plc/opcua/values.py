"""OPC UA's values as the tag list says them, a DataValue as a sample, a checked value as a Variant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, cast

from asyncua import ua

from edge.plc.tags.coercion import engineering, native
from edge.plc.tags.forms import FLOATS, INTEGERS, from_bcd, to_bcd
from edge.plc.tags.lists import Native, Tag
from schemas.errors import TagError
from schemas.messages import Quality, Sample

_NAMELESS: Final = Tag(name="", address="", type="bool")
_GOOD, _UNCERTAIN = 0, 1  # the two highest bits of a status
_KIND = ua.VariantType
_INTEGERS: Final = {
    _KIND.SByte: "int8", _KIND.Byte: "uint8", _KIND.Int16: "int16", _KIND.UInt16: "uint16",
    _KIND.Int32: "int32", _KIND.UInt32: "uint32", _KIND.Int64: "int64", _KIND.UInt64: "uint64",
}  # fmt: skip
_ELEMENTS: Final = {
    _KIND.Boolean: "bool", _KIND.Float: "float32", _KIND.Double: "float64", _KIND.String: "wstring",
    _KIND.LocalizedText: "wstring", _KIND.DateTime: "datetime",
}  # fmt: skip
# Of the types without a value to look at: built-in ones, and what OPC 10000-3 derives from them.
_DERIVED: Final = {29: _KIND.Int32, 290: _KIND.Double, 294: _KIND.DateTime, 295: _KIND.String, 12755: _KIND.Int32}
_HINTS: Final = {
    "BadNodeIdUnknown": "there is no such node", "BadNodeIdInvalid": "there is no such node",
    "BadNotReadable": "the node can't be read", "BadNotWritable": "the node can't be written",
    "BadUserAccessDenied": "the server does not let this user", "BadTypeMismatch": "the node is of another type",
    "BadOutOfRange": "out of the server's range", "BadWriteNotSupported": "the server does not write this",
    "BadAttributeIdInvalid": "the node is no variable", "BadWaitingForInitialData": "no value yet",
}  # fmt: skip


def reason(status: ua.StatusCode) -> str:
    """Return what a status says: its name, its code, and what that means for a tag."""
    code = int(status.value)
    name = str(ua.StatusCode(ua.UInt32(code & 0xFFFF0000)).name)
    hint = _HINTS.get(name)
    return f"{hint} ({name} 0x{code:08X})" if hint else f"{name} 0x{code:08X}"


def sample_of(tag: Tag, held: ua.DataValue) -> Sample:
    """Return what a node holds: Good and Uncertain with their value, Bad without."""
    status = held.StatusCode
    severity = _GOOD if status is None else int(status.value) >> 30
    if severity > _UNCERTAIN or (severity and status is None):
        return Sample(quality=Quality.BAD, reason=reason(cast(ua.StatusCode, status)))
    try:
        value = engineering(tag, _raw(tag, held.Value))
    except TagError as error:
        return Sample(quality=Quality.BAD, reason=str(error))
    if severity == _GOOD or status is None:
        return Sample(value=value)
    return Sample(value=value, quality=Quality.UNCERTAIN, reason=reason(status))


def _raw(tag: Tag, variant: ua.Variant | None) -> object:
    value: object = variant.Value if variant is not None else None
    if variant is None or value is None:
        raise TagError("the node holds no value")
    if variant.Dimensions is not None and len(variant.Dimensions) > 1:
        raise TagError(f"the node is an array of {len(variant.Dimensions)} dimensions; there is no type for it")
    if isinstance(value, bytes):
        if tag.form.element != "uint8":
            raise TagError(f"the node is a ByteString, the tag list says {tag.type}; read it as uint8[{len(value)}]")
        return list(value)
    if isinstance(value, ua.LocalizedText):
        value = value.Text or ""
    if isinstance(value, str) and not _is_text(value):
        raise TagError("the node's text is not UTF-8")
    return _from_bcd(tag, value) if tag.form.bcd else value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _from_bcd(tag: Tag, value: object) -> object:
    if isinstance(value, list):
        return [_from_bcd(tag, item) for item in cast(list[object], value)]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TagError(f"the PLC holds {value!r:.80}, the tag list says {tag.form.element}")
    return from_bcd(value, tag.form.bcd)


def kind_of(tag: Tag, value: ua.DataValue, data_type: ua.DataValue) -> ua.VariantType:
    """Return the type that a node takes: that of the value it holds, else what its DataType attribute says.

    Raises:
        TagError: there is no such node, or its type can't be told.
    """
    held = value.Value
    if held is not None and held.Value is not None and held.VariantType is not _KIND.Null:
        return held.VariantType
    status = data_type.StatusCode
    if status is not None and int(status.value) >> 30 > _UNCERTAIN:
        raise TagError(f"{tag.name}: {reason(status)}")
    node = data_type.Value.Value if data_type.Value is not None else None
    if isinstance(node, ua.NodeId) and not node.NamespaceIndex and isinstance(node.Identifier, int):
        number = node.Identifier
        if 1 <= number <= 21:
            return _KIND(number)
        if number in _DERIVED:
            return _DERIVED[number]
    raise TagError(f"{tag.name}: the node holds no value, and its data type ({node}) does not say what to write")


def type_of(value: ua.DataValue, data_type: ua.DataValue) -> tuple[str, str, int]:
    """Return a variable's type in OPC UA's words, in a tag list's ("" for none), and its elements; -1: no array.

    What it holds tells most; a variable that holds nothing yet has its DataType attribute alone.
    """
    held = value.Value
    if held is None or held.Value is None:
        try:
            kind = kind_of(_NAMELESS, ua.DataValue(), data_type)
        except TagError:
            return "unknown", "", -1
        return kind.name, _element(kind), -1
    kind, items = held.VariantType, cast(object, held.Value)
    if kind is _KIND.ByteString and isinstance(items, bytes):
        return kind.name, "uint8", len(items)
    if isinstance(items, list):
        count = len(cast(list[object], items))
        several = held.Dimensions is not None and len(held.Dimensions) > 1
        return f"{kind.name}[{count}]", "" if several else _element(kind), count
    return kind.name, _element(kind), -1


def _element(kind: ua.VariantType) -> str:
    return _INTEGERS.get(kind) or _ELEMENTS.get(kind, "")


def variant_of(tag: Tag, value: Native, kind: ua.VariantType) -> ua.Variant:
    """Return a value that `coerce` has checked as the type of its node.

    Raises:
        TagError: the node's type can't hold it.
    """
    raw = native(tag, value)
    items: list[object] = list(raw) if isinstance(raw, list) else [raw]
    if tag.form.bcd:
        items = [to_bcd(int(cast(float, item))) for item in items]
    if kind is _KIND.ByteString and tag.form.element == "uint8" and tag.count:
        return ua.Variant(bytes(cast(list[int], items)), kind)
    made = [_item(tag, item, kind) for item in items]
    return ua.Variant(made, kind, is_array=True) if tag.count else ua.Variant(made[0], kind)


def _item(tag: Tag, item: object, kind: ua.VariantType) -> object:
    if isinstance(item, bool):
        if kind is _KIND.Boolean:
            return item
    elif isinstance(item, int | float):
        if kind in _INTEGERS:
            low, high = INTEGERS[_INTEGERS[kind]]
            if low <= item <= high and item == int(item):
                return int(item)
        elif kind is _KIND.Double or (kind is _KIND.Float and abs(item) <= FLOATS["float32"]):
            return float(item)
    elif isinstance(item, str):
        if kind is _KIND.DateTime and tag.form.element == "datetime":
            moment = datetime.fromisoformat(item)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if kind is _KIND.String:
            return item
        if kind is _KIND.LocalizedText:
            return ua.LocalizedText(Text=item)
    raise TagError(f"{tag.name}: the node is {kind.name}, which can't hold {item!r:.80}")
