"""Values between the bus and a driver: `coerce` before a write, `native` for the wire, `engineering` after a read.

A driver whose library has Python values of its own (OPC UA, Logix) needs no more; the others find the numbers of bytes
in `edge/plc/tags/binary.py`. What can't be converted raises TagError: the driver makes the tag Bad with that reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import cast

from edge.plc.tags.forms import FLOATS, Form, Kind
from edge.plc.tags.tag import Limit, Native, Tag
from schemas.errors import TagError
from schemas.fields import Value

_Scalar = bool | int | float
_LARGEST = FLOATS["float64"]
_EXACT = 2**53  # the bits of a double that are taken for an integer, as by one flipped bit in OPC UA, are more


# -- towards the PLC --------------------------------------------------------------------------------------------------


def coerce(tag: Tag, value: Value) -> Native:
    """Return `value` as the tag's type, in engineering units; clamped to its range where its `limit` says so.

    Raises:
        TagError: it does not fit: the type, the type's range, or the tag's own range, which the message names.
    """
    form = tag.form
    if form.kind is Kind.TEXT:
        return _text(tag, value)
    if form.kind is Kind.MOMENT:
        return _moment(tag, value)
    one = _bool if form.kind is Kind.BOOL else _number
    if not form.count:
        return one(tag, value)
    if not isinstance(value, list) or len(value) != form.count:
        raise TagError(f"{tag.name} takes a list of {form.count} values, not {_said(value)}")
    return [one(tag, item) for item in value]


def _bool(tag: Tag, value: Value) -> bool:
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise TagError(f"{tag.name} takes true or false, not {value!r}")


def _text(tag: Tag, value: Value) -> str:
    ascii_only = tag.form.element == "string"
    if isinstance(value, str) and _characters(value) <= tag.length and (value.isascii() or not ascii_only):
        return value
    kind = "ASCII text" if ascii_only else "text"
    raise TagError(f"{tag.name} takes {kind} of at most {tag.length} characters, not {value!r}")


def _characters(text: str) -> int:
    """Characters as PLCs count them, which are of 16 bits; a lone half of one is as long as no text may be."""
    try:
        return len(text.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        return 1 << 31


def _moment(tag: Tag, value: Value) -> str:
    if not isinstance(value, str):
        raise TagError(f"{tag.name} takes a time as ISO 8601 text, not {value!r}")
    try:
        return _in_layout(tag.form, datetime.fromisoformat(value))
    except ValueError as error:
        raise TagError(f"{tag.name} takes a time as ISO 8601 text, not {value!r}") from error
    except TagError as error:
        raise TagError(f"{tag.name}: {error}") from error


def _number(tag: Tag, value: Value) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > _LARGEST:
        raise TagError(f"{tag.name} takes a number, not {_said(value)}")
    low, high = bounds(tag)
    if not low <= value <= high:
        if tag.limit is not Limit.CLAMP or low > high:
            raise TagError(f"{tag.name} takes {low:g} to {high:g}{f' {tag.unit}' if tag.unit else ''}, not {value:g}")
        value = min(max(value, low), high)
    if tag.form.kind is Kind.WHOLE and not tag.scaled:
        if value != int(value):
            raise TagError(f"{tag.name} takes whole numbers, not {value!r}")
        return int(value)
    return float(value)


def bounds(tag: Tag) -> tuple[float, float]:
    """What a number may be that is written: the tag's range within what its type can carry."""
    form = tag.form
    low, high = form.low, form.high
    ends = sorted((low * tag.scale + tag.offset, high * tag.scale + tag.offset)) if tag.scaled else [low, high]
    lowest, highest = -math.inf if tag.min is None else tag.min, math.inf if tag.max is None else tag.max
    if form.kind is Kind.WHOLE and not tag.scaled:
        lowest, highest = _whole(lowest, math.ceil), _whole(highest, math.floor)
    return max(ends[0], lowest), min(ends[1], highest)


def _whole(number: float, to: Callable[[float], int]) -> float:
    return to(number) if math.isfinite(number) else number


def native(tag: Tag, value: Native) -> Native:
    """Return what goes over the wire for a coerced value: not scaled, whole numbers for whole types."""
    if not tag.scaled:
        return value
    if isinstance(value, list):
        return [_unscaled(tag, item) for item in value]
    return value if isinstance(value, str) else _unscaled(tag, value)


def _unscaled(tag: Tag, value: float) -> int | float:
    raw = (value - tag.offset) / tag.scale
    if tag.form.kind is not Kind.WHOLE:
        return raw
    return int(min(max(round(raw), tag.form.low), tag.form.high))


# -- from the PLC -----------------------------------------------------------------------------------------------------


def engineering(tag: Tag, raw: object) -> Native:
    """Return what a PLC holds (bool, int, float, text, datetime or a list, not scaled) in engineering units.

    Raises:
        TagError: it is not of the tag's type, or no number; the message is the reason of a Bad sample.
    """
    form = tag.form
    if not form.count:
        return _engineered(tag, form, raw)
    if not isinstance(raw, list | tuple):
        raise TagError(f"the PLC holds {_said(raw)}, no array")
    items = cast(list[object], raw)
    if len(items) != form.count:
        raise TagError(f"the PLC holds {len(items)} values, the tag list says {form.count}")
    return [cast(_Scalar, _engineered(tag, form, item)) for item in items]


def _engineered(tag: Tag, form: Form, raw: object) -> bool | int | float | str:
    if isinstance(raw, bool):
        if form.kind is Kind.BOOL:
            return raw
    elif isinstance(raw, int | float) and form.numeric:
        return _scaled(tag, form, raw)
    elif isinstance(raw, str | datetime) and form.kind is Kind.MOMENT:
        return _told_moment(form, raw)
    elif isinstance(raw, str) and form.kind is Kind.TEXT:
        if len(raw) > form.length:
            raise TagError(f"the PLC holds {len(raw)} characters, the tag list says at most {form.length}")
        return raw
    raise TagError(f"the PLC holds {_said(raw)}, the tag list says {form.element}")


def _scaled(tag: Tag, form: Form, raw: int | float) -> int | float:
    if form.kind is Kind.WHOLE and (isinstance(raw, float) or not form.low <= raw <= form.high):
        raise TagError(f"the PLC holds {raw:g}, which is no {form.element}")
    if form.kind is Kind.FLOAT and isinstance(raw, int) and abs(raw) > _EXACT:
        raise TagError(f"the PLC holds the integer {raw}, which no float is exactly")
    value = raw * tag.scale + tag.offset if tag.scaled else raw
    if isinstance(value, float) and not math.isfinite(value):
        raise TagError("not a number")
    return value


def _told_moment(form: Form, raw: str | datetime) -> str:
    try:
        return _in_layout(form, datetime.fromisoformat(raw) if isinstance(raw, str) else raw)
    except ValueError as error:
        raise TagError(f"{raw!r} is no time") from error


def _in_layout(form: Form, moment: datetime) -> str:
    """Return a moment as ISO 8601: with Z in UTC, without where the PLC's clock has no zone."""
    if not form.low <= moment.year <= form.high:
        raise TagError(f"year {moment.year} is not one of {form.low} to {form.high}")
    return moment.isoformat().replace("+00:00", "Z")


def same_moment(one: str, other: str) -> bool:
    """Whether two times in ISO 8601 are the same to the millisecond, which is what DATE_AND_TIME holds."""
    try:
        return abs(datetime.fromisoformat(one) - datetime.fromisoformat(other)) < timedelta(milliseconds=1)
    except (TypeError, ValueError):  # one has a zone, the other none
        return False


def _said(value: object) -> str:
    """What a value is, without its length."""
    if isinstance(value, list | tuple):
        return f"a list of {len(cast(list[object], value))}"
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a number beyond all bounds"
    return f"{value!r:.80}"
