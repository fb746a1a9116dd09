"""Tag lists: what a source's tags are called, where they lie in the PLC, and what may be done with them.

A list is CSV (first row: the keys of `Tag`) or TOML (`[tags."Line.Speed"]` tables with the same keys). `#` begins a
comment line in both. `load_tags` reports every problem at once, as `file:line: what, what to do`.

`value = raw * scale + offset`. `order` is the byte order of values over two registers and more, in the usual words:
ABCD big-endian, CDAB words swapped, BADC bytes swapped, DCBA little-endian. `min` and `max` bound writes, in
engineering units; a value outside is refused. `string:N` is N characters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import cast

from edge.plc.tag_rows import Row, nearest, read_rows
from schemas.errors import SettingsError, TagError
from schemas.messages import Value

INTEGERS = {
    "int16": (-(2**15), 2**15 - 1), "uint16": (0, 2**16 - 1), "int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1),
}  # fmt: skip
TYPES = ("bool", *INTEGERS, "float32", "float64")
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_STRING = re.compile(r"^string:([1-9][0-9]{0,2})$")
_NAME = re.compile(r"^[^\x00-\x1f/+#]{1,128}$")


class Access(StrEnum):
    """What may be done with a tag from the bus."""

    READ = "r"
    WRITE = "rw"


@dataclass(frozen=True, kw_only=True)
class Tag:
    """One tag. `min`, `max`, `failsafe`, `scale` and `offset` are in engineering units; `line` is where it stands."""

    name: str
    address: str
    type: str
    access: Access = Access.READ
    group: str = ""
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    order: str = "ABCD"
    bit: int | None = None
    deadband: float = 0.0
    min: float | None = None
    max: float | None = None
    failsafe: Value = None
    description: str = ""
    line: int = 0

    @property
    def length(self) -> int:
        """Characters of a string tag, else 0."""
        match = _STRING.match(self.type)
        return int(match[1]) if match else 0

    @property
    def scaled(self) -> bool:
        """Whether raw and engineering values differ."""
        return self.scale != 1.0 or self.offset != 0.0


KEYS = tuple(field.name for field in fields(Tag) if field.name != "line")
CheckAddress = Callable[[Tag], None]


def load_tags(path: Path, groups: Collection[str], check_address: CheckAddress | None = None) -> dict[str, Tag]:
    """Read a tag list; `groups` are the source's poll groups, `check_address` raises TagError for a wrong address.

    Raises:
        SettingsError: every problem of the file.
    """
    problems: list[str] = []
    tags: dict[str, Tag] = {}
    try:
        rows = read_rows(path, KEYS, problems)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{path}: the tag list can't be read ({error}); mend the path or the file"]) from error
    for line, row in rows:
        found: list[str] = []
        tag = _Row(row, line, found).tag(groups)
        if tag is not None and check_address is not None:
            _call(check_address, tag, found)
        if tag is not None and tag.name in tags:
            found.append(f"{tag.name} stands already in line {tags[tag.name].line}; name each tag once")
        elif tag is not None:
            tags[tag.name] = tag
        problems += [f"{path}:{line}: {problem}" for problem in found]
    if not rows and not problems:
        problems.append(f"{path}:1: no tags; add at least one")
    if problems:
        raise SettingsError(problems)
    return tags


def coerce(tag: Tag, value: Value) -> bool | int | float | str:
    """Return `value` as the tag's type, in engineering units.

    Raises:
        TagError: it does not fit: the type, the type's range, or the tag's own range, which the message names.
    """
    if tag.type == "bool":
        if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
            return bool(value)
        raise TagError(f"{tag.name} takes true or false, not {value!r}")
    if tag.length:
        if isinstance(value, str) and len(value) <= tag.length and value.isascii():
            return value
        raise TagError(f"{tag.name} takes ASCII text of at most {tag.length} characters, not {value!r}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TagError(f"{tag.name} takes a number, not {value!r}")
    low, high = _bounds(tag)
    if not low <= value <= high:
        raise TagError(f"{tag.name} takes {low:g} to {high:g}{_unit(tag)}, not {value:g}")
    if tag.type in INTEGERS and not tag.scaled:
        if value != int(value):
            raise TagError(f"{tag.name} takes whole numbers, not {value!r}")
        return int(value)
    return float(value)


def _bounds(tag: Tag) -> tuple[float, float]:
    """What a write may be: the tag's range within what its type can carry."""
    low, high = INTEGERS.get(tag.type, (-math.inf, math.inf))
    if tag.type == "float32":
        low, high = -3.4028234663852886e38, 3.4028234663852886e38
    ends = sorted((low * tag.scale + tag.offset, high * tag.scale + tag.offset)) if tag.scaled else [low, high]
    return max(ends[0], -math.inf if tag.min is None else tag.min), min(
        ends[1], math.inf if tag.max is None else tag.max
    )


def _unit(tag: Tag) -> str:
    return f" {tag.unit}" if tag.unit else ""


def _call(check: CheckAddress, tag: Tag, found: list[str]) -> None:
    try:
        check(tag)
    except TagError as error:
        found.append(str(error))


class _Row:
    """One row on its way to a Tag; every problem goes to `found`."""

    def __init__(self, row: Row, line: int, found: list[str]) -> None:
        self._row = row
        self._line = line
        self._found = found

    def tag(self, groups: Collection[str]) -> Tag | None:
        """Return the tag, or None where a problem was found."""
        for key in ("name", "address", "type"):
            if not str(self._row.get(key, "")):
                self._found.append(f"{key} is missing")
        kind = str(self._row.get("type", "")).lower()
        tag = Tag(
            name=self._name(), address=str(self._row.get("address", "")), type=self._type(kind),
            access=Access(self._choice("access", str(self._row.get("access", "r")).lower(), ("r", "rw"))),
            group=self._choice("group", str(self._row.get("group", "")), tuple(groups)) if groups else "",
            scale=self._number("scale") or 1.0, offset=self._number("offset") or 0.0,
            unit=str(self._row.get("unit", "")),
            order=self._choice("order", str(self._row.get("order", "ABCD")).upper(), ORDERS), bit=self._bit(),
            deadband=self._number("deadband") or 0.0, min=self._number("min"), max=self._number("max"),
            failsafe=self._failsafe(kind), description=str(self._row.get("description", "")), line=self._line,
        )  # fmt: skip
        self._check(tag)
        if self._found or tag.failsafe is None:
            return None if self._found else tag
        try:
            return replace(tag, failsafe=coerce(tag, tag.failsafe))
        except TagError as error:
            self._found.append(f"failsafe: {error}")
            return None

    def _check(self, tag: Tag) -> None:
        if tag.min is not None and tag.max is not None and tag.min > tag.max:
            self._found.append(f"min {tag.min:g} is over max {tag.max:g}")
        if tag.bit is not None and tag.type != "bool":
            self._found.append(f"bit {tag.bit} of a {tag.type}; a bit in a register has the type bool")
        if tag.scaled and tag.type not in (*INTEGERS, "float32", "float64"):
            self._found.append(f"scale and offset of a {tag.type}; only numbers are scaled")

    def _name(self) -> str:
        name = str(self._row.get("name", ""))
        if name and not _NAME.match(name):
            self._found.append(f"name {name!r} has a control character or one of / + #, or over 128 characters")
        return name

    def _type(self, kind: str) -> str:
        if kind and kind not in TYPES and not _STRING.match(kind):
            self._found.append(f"type {kind!r} is not known; {nearest(kind, (*TYPES, 'string:16'))}")
        return kind

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
        try:
            number = float(cast(str, value)) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            self._found.append(f"{key} {value!r} is not a number")
            return None
        if key == "scale" and number == 0:
            self._found.append("scale 0 would make every value the same")
        return number

    def _bit(self) -> int | None:
        number = self._number("bit")
        if number is not None and number not in range(16):
            self._found.append(f"bit {number:g} is not one of 0 to 15")
            return None
        return None if number is None else int(number)

    def _failsafe(self, kind: str) -> Value:
        value = self._row.get("failsafe")
        if not isinstance(value, str) or _STRING.match(kind):
            return cast(Value, value)
        if kind == "bool":
            return {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value)
        return self._number("failsafe")
