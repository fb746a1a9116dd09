"""One row of a tag list on its way to a `Tag`: every problem of the row at once."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Final, cast

from edge.plc.tags.coercion import bounds, coerce
from edge.plc.tags.forms import EXAMPLES, Form, Kind, form_of
from edge.plc.tags.rows import Row, nearest
from edge.plc.tags.tag import ORDERS, Access, Limit, Tag
from schemas.errors import TagError
from schemas.fields import Value

_NAME: Final = re.compile(r"^[^\x00-\x1f/+#]{1,128}$")
_TRUTH: Final[dict[str, Value]] = {"true": True, "1": True, "false": False, "0": False}
_BITS: Final = 64


def parse_row(row: Row, line: int, groups: Collection[str], found: list[str]) -> Tag | None:
    """Return the tag of a row, or None where a problem went to `found`."""
    return _Row(row, line, found).tag(groups)


class _Row:
    """One row on its way to a Tag; every problem goes to `found`."""

    def __init__(self, row: Row, line: int, found: list[str]) -> None:
        self._row = row
        self._line = line
        self._found = found

    def tag(self, groups: Collection[str]) -> Tag | None:
        """Return the tag, or None where a problem was found."""
        for key in ("name", "address", "type"):
            if not self._text(key):
                self._found.append(f"{key} is missing")
        kind = self._text("type").lower()
        form = self._form(kind)
        low, high = self._number("min"), self._number("max")
        tag = Tag(
            name=self._name(), address=self._text("address"), type=kind,
            access=Access(self._choice("access", self._text("access", "r").lower(), tuple(Access))),
            group=self._choice("group", self._text("group"), tuple(groups)) if groups else self._text("group"),
            scale=self._number("scale") or 1.0, offset=self._number("offset") or 0.0, unit=self._text("unit"),
            order=self._choice("order", self._text("order", "ABCD").upper(), ORDERS), bit=self._bit(),
            deadband=self._deadband(low, high), min=low, max=high,
            limit=Limit(self._choice("limit", self._text("limit", "refuse").lower(), tuple(Limit))),
            description=self._text("description"), line=self._line,
        )  # fmt: skip
        if low is not None and high is not None and low > high:
            self._found.append(f"min {low:g} is over max {high:g}")
        if form is not None:
            self._check(tag, form)
            tag = self._with_failsafe(tag, form)
        return None if self._found else tag

    def _check(self, tag: Tag, form: Form) -> None:
        """What does not go together."""
        if tag.bit is not None and tag.type != "bool":
            self._found.append(f"bit {tag.bit} of a {tag.type}; a bit in a register has the type bool")
        if form.numeric:
            lowest, highest = bounds(tag)
            if lowest > highest and (tag.min or 0) <= (tag.max or math.inf):
                self._found.append(f"no {tag.type} lies between min and max with this scale and offset")
            return
        if tag.scaled:
            self._found.append(f"scale and offset of a {tag.type}; only numbers are scaled")
        for key in ("min", "max", "deadband", "limit"):
            if self._text(key):
                self._found.append(f"{key} of a {tag.type}; only numbers have one")

    def _text(self, key: str, default: str = "") -> str:
        value = self._row.get(key)
        return default if value is None else str(value)

    def _name(self) -> str:
        name = self._text("name")
        if name and not _NAME.match(name):
            self._found.append(f"name {name!r} has a control character or one of / + #, or over 128 characters")
        return name

    def _form(self, kind: str) -> Form | None:
        try:
            return form_of(kind) if kind else None
        except TagError as error:
            self._found.append(f"{error}; {nearest(kind, EXAMPLES)}")
            return None

    def _choice(self, key: str, value: str, allowed: tuple[str, ...]) -> str:
        if value in allowed:
            return value
        said = f"{key} {value!r} is not known" if value else f"{key} is missing"
        self._found.append(f"{said}; {nearest(value, allowed)}")
        return allowed[0]

    def _number(self, key: str) -> float | None:
        value = self._row.get(key)
        if value is None:
            return None
        number = _number_of(value)
        if number is None:
            self._found.append(f"{key} {value!r} is not a number")
        elif key == "scale" and number == 0:
            self._found.append("scale 0 would make every value the same")
        return number

    def _bit(self) -> int | None:
        number = self._number("bit")
        if number is not None and number not in range(_BITS):
            self._found.append(f"bit {number:g} is not one of 0 to {_BITS - 1}")
            return None
        return None if number is None else int(number)

    def _deadband(self, low: float | None, high: float | None) -> float:
        """Return the deadband in engineering units; a percentage is of the tag's range."""
        text = self._text("deadband").strip()
        if not text.endswith("%"):
            number = self._number("deadband") or 0.0
        else:
            share = _number_of(text[:-1])
            if share is None or share > 100:
                self._found.append(f"deadband {text!r} is not a percentage of 0 to 100")
                return 0.0
            if low is None or high is None:
                self._found.append(f"deadband {text} is a share of the range; give the tag min and max")
                return 0.0
            number = share / 100 * abs(high - low)
        if number < 0:
            self._found.append(f"deadband {text} is negative")
        return number

    def _with_failsafe(self, tag: Tag, form: Form) -> Tag:
        given = self._row.get("failsafe")
        if given is None:
            return tag
        try:
            value = coerce(replace(tag, limit=Limit.REFUSE), _failsafe_of(given, form))
        except TagError as error:
            self._found.append(f"failsafe: {error}")
            return tag
        if tag.access is not Access.WRITE:
            self._found.append("failsafe of a tag that is read only; it takes access rw")
        return replace(tag, failsafe=value)


def _number_of(value: object) -> float | None:
    try:
        number = float(cast(str, value)) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _failsafe_of(given: object, form: Form) -> Value:
    """Return what a row's text stands for; a TOML value stands for itself. An array in CSV has `;` between values."""
    if not isinstance(given, str) or form.kind in (Kind.TEXT, Kind.MOMENT):
        return cast(Value, given)
    if not form.count:
        return _scalar_of(given, form)
    return cast(Value, [_scalar_of(item.strip(), form) for item in given.split(";")])


def _scalar_of(text: str, form: Form) -> Value:
    if form.kind is Kind.BOOL:
        return _TRUTH.get(text.lower(), text)
    if form.kind is Kind.WHOLE and text.lstrip("+-").isdecimal():
        return int(text)  # 64 bits are more than a float holds
    number = _number_of(text)
    return text if number is None else number
