"""Data types of TIA Portal: which type of a tag list each one is, and what it takes in a block with standard access.

Source: Siemens, "STEP 7 Professional", Data types: value ranges and sizes; elements over a byte begin at even bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class S7Type:
    """`type` of a tag list, "" with the `reason` where there is none; `size` in bytes, 0 for a bit."""

    type: str
    size: int
    scale: float = 1.0
    unit: str = ""
    reason: str = ""


_NO_S5TIME: Final = (
    "S5Time is three BCD digits with a time base, which no tag type reads; convert it to Time in the PLC"
)
_TYPES: Final = {
    "bool": S7Type("bool", 0), "byte": S7Type("uint8", 1), "word": S7Type("uint16", 2), "dword": S7Type("uint32", 4),
    "lword": S7Type("uint64", 8), "sint": S7Type("int8", 1), "usint": S7Type("uint8", 1), "int": S7Type("int16", 2),
    "uint": S7Type("uint16", 2), "dint": S7Type("int32", 4), "udint": S7Type("uint32", 4), "lint": S7Type("int64", 8),
    "ulint": S7Type("uint64", 8), "real": S7Type("float32", 4), "lreal": S7Type("float64", 8),
    "char": S7Type("uint8", 1), "wchar": S7Type("uint16", 2), "time": S7Type("int32", 4, 1e-3, "s"),
    "ltime": S7Type("int64", 8, 1e-9, "s"), "date": S7Type("uint16", 2, 1.0, "d"),
    "time_of_day": S7Type("uint32", 4, 1e-3, "s"), "ltime_of_day": S7Type("uint64", 8, 1e-9, "s"),
    "date_and_time": S7Type("datetime:dt", 8), "dtl": S7Type("datetime:dtl", 12),
    "date_and_ltime": S7Type("datetime:ldt", 8), "s5time": S7Type("", 2, reason=_NO_S5TIME),
}  # fmt: skip
_OTHER_NAMES: Final = {
    "tod": "time_of_day", "ltod": "ltime_of_day", "dt": "date_and_time", "ldt": "date_and_ltime",
}  # fmt: skip
_TEXT: Final = re.compile(r"^(w?string)(?:\s*\[\s*(\d+)\s*\])?$")
_ARRAY: Final = re.compile(r"^array\s*\[(.+?)\]\s*of\s+(.+)$", re.IGNORECASE | re.DOTALL)
_RANGE: Final = re.compile(r"^\s*(-?\s*\d+)\s*\.\.\s*(-?\s*\d+)\s*$")
_LONGEST: Final = {"string": 254, "wstring": 16_382}


def elementary(name: str) -> S7Type | None:
    """Return what an elementary type or a text is; None for a structure, a user's type, or what S7 doesn't know."""
    key = name.strip().lower()
    if text := _TEXT.match(key):
        length = int(text[2]) if text[2] else 254
        if not 1 <= length <= _LONGEST[text[1]]:
            return None
        wide = text[1] == "wstring"
        return S7Type(f"{text[1]}:{length}", 4 + 2 * length if wide else 2 + length)
    return _TYPES.get(_OTHER_NAMES.get(key, key))


def array_of(name: str) -> tuple[list[tuple[int, int]], str] | None:
    """Return an array's (first, last) of each dimension and the type of its elements, None for anything else.

    Bounds that are constants of the project have no number here: then the list is empty.
    """
    found = _ARRAY.match(name.strip())
    if not found:
        return None
    ranges = [_RANGE.match(part) for part in found[1].split(",")]
    known = [(int(one[1].replace(" ", "")), int(one[2].replace(" ", ""))) for one in ranges if one]
    return (known if len(known) == len(ranges) else []), found[2].strip()
