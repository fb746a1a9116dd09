"""What a tag's `type` means: its elements, their range, how many there are. Pure; the wire is the drivers' matter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

from schemas.errors import TagError

INTEGERS: Final = {
    "int8": (-(2**7), 2**7 - 1), "uint8": (0, 2**8 - 1), "int16": (-(2**15), 2**15 - 1), "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1), "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1),
}  # fmt: skip
BCD: Final = {"bcd16": (0, 9_999), "bcd32": (0, 99_999_999)}
FLOATS: Final = {"float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}
LAYOUTS: Final = {"": (1, 9999), "dt": (1990, 2089), "dtl": (1970, 2262), "ldt": (1970, 2262)}
TYPES: Final = ("bool", *INTEGERS, *FLOATS, *BCD, "datetime")
EXAMPLES: Final = (*TYPES, "datetime:dtl", "string:16", "wstring:16", "float32[16]")
MAX_CHARACTERS, MAX_COUNT = 16_382, 10_000

_TEXT = re.compile(r"^(w?string):([1-9][0-9]{0,4})$")
_MOMENT = re.compile(r"^datetime(?::(dt|dtl|ldt))?$")
_ARRAY = re.compile(r"^([a-z0-9]+)\[([1-9][0-9]{0,4})\]$")


class Kind(StrEnum):
    """Families of types."""

    BOOL = "bool"
    WHOLE = "whole"
    FLOAT = "float"
    TEXT = "text"
    MOMENT = "moment"


@dataclass(frozen=True)
class Form:
    """What a type means.

    `element`: the type of one element (`float32`, `bcd16`, `string`, `wstring`, `datetime`). `count`: how many an
    array has, 0 where the value is no list. `length`: characters of a text. `layout`: how the PLC holds a moment
    (`dt`, `dtl`, `ldt`; "" is the protocol's own). `low`, `high`: the range of a number, or the years of a moment.
    """

    element: str
    kind: Kind
    count: int = 0
    length: int = 0
    layout: str = ""
    low: float = 0
    high: float = 0

    @property
    def numeric(self) -> bool:
        """Whether elements are numbers, which alone have scale, deadband and range."""
        return self.kind in (Kind.WHOLE, Kind.FLOAT)

    @property
    def bcd(self) -> int:
        """Decimal digits of a BCD number, else 0."""
        return {"bcd16": 4, "bcd32": 8}.get(self.element, 0)


@cache
def form_of(kind: str) -> Form:
    """Return what a type means: `bool`, `int16`, `bcd32`, `string:16`, `datetime:dtl`, `float32[16]`...

    Raises:
        TagError: there is no such type.
    """
    if (text := _TEXT.match(kind)) and int(text[2]) <= MAX_CHARACTERS:
        return Form(text[1], Kind.TEXT, length=int(text[2]))
    if moment := _MOMENT.match(kind):
        layout = moment[1] or ""
        return Form("datetime", Kind.MOMENT, layout=layout, low=LAYOUTS[layout][0], high=LAYOUTS[layout][1])
    array = _ARRAY.match(kind)
    element, count = (array[1], int(array[2])) if array else (kind, 0)
    if count <= MAX_COUNT:
        if element == "bool":
            return Form(element, Kind.BOOL, count)
        if element in FLOATS:
            return Form(element, Kind.FLOAT, count, low=-FLOATS[element], high=FLOATS[element])
        if bounds := INTEGERS.get(element) or BCD.get(element):
            return Form(element, Kind.WHOLE, count, low=bounds[0], high=bounds[1])
    raise TagError(f"type {kind!r} is not known")


def from_bcd(raw: int, digits: int) -> int:
    """Return the number that `digits` binary coded decimals hold.

    Raises:
        TagError: a digit is over 9.
    """
    text = f"{raw:0{digits}x}"
    if not text.isdecimal():
        raise TagError(f"16#{text.upper()} is not BCD")
    return int(text)


def to_bcd(number: int) -> int:
    """Return a number of the type's range as binary coded decimals."""
    return int(str(number), 16)
