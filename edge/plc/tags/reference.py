"""Writes docs/reference/tag-lists.md from the tags' own classes: `python -m edge.plc.tags.reference`.

tests/edge/connect/test_tag_reference.py compares, and loads the page's examples. A driver's part is its `ADDRESSES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields
from enum import EnumMeta
from pathlib import Path
from typing import Any, Final, cast, get_args, get_type_hints

from edge.connectors import driver_names, load_driver
from edge.plc.outputs.tag_failsafes import OWNER_LOST_S
from edge.plc.tags.forms import BCD, FLOATS, INTEGERS, LAYOUTS, MAX_CHARACTERS, MAX_COUNT
from edge.plc.tags.tag import KEYS, Tag

FILE: Final = Path("docs/reference/tag-lists.md")
_ROOT: Final = Path(__file__).resolve().parents[3]
_HEAD: Final = """<!-- Generated, do not edit: python -m edge.plc.tags.reference -->
# Tag lists

A source's tags, in the file that its `tags` names: CSV, whose first row names the keys, or TOML. A line that begins
with `#` is a comment. `plantedge plc check FILE` reports every problem at once, with its line and the nearest key, and
shows how many requests a scan takes. [Import tags](../how-to/import-tags.md) makes a list from a TIA Portal or Studio
5000 export.

```csv
name,address,type,access,group,scale,unit,deadband,min,max,limit,failsafe
Tank.Level,ir:0,uint16,r,process,0.01,m,1%,0,12,,
Tank.Setpoint,hr:10,float32,rw,process,,m,,0,10,clamp,2.5
Tank.Profile,hr:20,float32[8],r,slow,,°C,0.5,,,,
Pump.Fault,hr:40,bool,r,fast,,,,,,,
```

The last row is wrong: a bool in a register needs its `bit`. The same in TOML:

```text
[tags."Pump.Fault"]
address = "hr:40"
type = "bool"
bit = 3
group = "fast"
```
"""
_TYPES: Final = """## Types

| type | holds | value on the bus |
|---|---|---|
| `bool` | one bit | true or false |
{numbers}
| `bcd16`, `bcd32` | binary coded decimals without a sign: 0 to {bcd16:,}, 0 to {bcd32:,} | whole number |
| `string:N` | ASCII text of up to N characters, in the protocol's own form; N to {characters:,} | text |
| `wstring:N` | text of up to N characters of 16 bits, where the protocol has such | text |
| `datetime` | a time in the protocol's own form | ISO 8601 text |
| `datetime:dt`, `datetime:dtl`, `datetime:ldt` | DATE_AND_TIME ({dt}), DTL ({dtl}), LDT ({ldt}) | ISO 8601 text |
| `float32[16]` | an array of bools or numbers, up to {count:,} | list |

A member of a structure (UDT, data block) is an address of its own: there is no type for a structure.

A time has `Z` where the protocol says UTC, and no zone where the PLC's clock has none. Times are read back to the
millisecond.

A value that can't be converted makes its tag Bad, alone, with the reason: a number out of the type's range, a digit of
a BCD number over 9, NaN or infinity in any element, a text that is longer than the list says.

## Order

| order | bytes of the 32-bit number 16#01020304, as they travel |
|---|---|
| `ABCD` | 01 02 03 04: big-endian, as the protocols send it |
| `CDAB` | 03 04 01 02: words of 16 bits swapped |
| `BADC` | 02 01 04 03: bytes of each word swapped |
| `DCBA` | 04 03 02 01: little-endian |

64-bit numbers have four words; each element of an array is turned on its own. In a string, only the bytes of a register
are swapped.

## Writes

Only tags with `access` rw are written. The value is checked against the type, then against `min` and `max`, in
engineering units, in an array element by element. `limit = refuse` turns down what is outside, `clamp` writes the
nearer end and says so in the answer. A value of the wrong type is refused in either case.

`failsafe` is written first after each connection to the PLC, when `connect` stops, and, once `connect` has been without
its broker for {lost_s:g} s, if the tag was written from the bus since. It is not latched. Tags of `[outputs.NAME]`
follow [rules of their own](../explanation/fail-safe.md); a `failsafe` in the list that they would never write is
refused. In CSV, an array's has `;` between its values.

## Deadband

A number that has moved by no more than its deadband since it was last stored or told is neither stored by the historian
nor published on `mes/tag`. Both repeat a tag from time to time, moved or not, and a change of quality always counts. In
an array any element counts. `2%` is a share of `min` to `max`, which then have to be there.

Readings on `raw`, the windows of models, rearm and trigger tags, and the OPC UA server see every scan: an OPC UA client
asks for a deadband with its own subscription.
"""
_PLAIN: Final = {str: "text", float: "number", int: "whole number"}


def reference() -> str:
    """Return the whole page."""
    numbers = "\n".join(
        [f"| `{name}` | {low:,} to {high:,} | whole number |" for name, (low, high) in INTEGERS.items()]
        + [f"| `{name}` | IEEE 754, up to ±{high:.2g} | number |" for name, high in FLOATS.items()]
    )
    years = {name: f"{low} to {high}" for name, (low, high) in LAYOUTS.items() if name}
    text = _TYPES.format(
        numbers=numbers, bcd16=BCD["bcd16"][1], bcd32=BCD["bcd32"][1], characters=MAX_CHARACTERS, count=MAX_COUNT,
        lost_s=OWNER_LOST_S, **years,
    )  # fmt: skip
    return "\n".join([_HEAD, _keys(), text, *_addresses()])


def _keys() -> str:
    hints = get_type_hints(Tag, include_extras=True)
    known = {one.name: one for one in fields(Tag)}
    rows = [_key(known[name], *get_args(hints[name])[:2]) for name in KEYS]
    return "\n".join(["## Keys", "", "| key | value | without it | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _key(field: Field[Any], kind: Any, means: str) -> str:
    return f"| `{field.name}` | {_kind(kind)} | {_default(field)} | {means} |"


def _kind(kind: Any) -> str:
    if isinstance(kind, EnumMeta):
        return " or ".join(f"`{member}`" for member in cast(Iterable[str], kind))
    members = [one for one in get_args(kind) or (kind,) if one is not type(None)]
    return _PLAIN.get(members[0], "text") if len(members) == 1 else "a value of the tag's type"


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return "must be there"
    if field.default in ("", None):
        return ""
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


def _addresses() -> Iterator[str]:
    """What each driver says of its own addresses."""
    for name in driver_names():
        told = getattr(load_driver(name), "ADDRESSES", "")
        if told:
            yield f"## Addresses of `{name}`\n\n{told.strip()}\n"


if __name__ == "__main__":
    (_ROOT / FILE).write_text(reference(), encoding="utf-8")
