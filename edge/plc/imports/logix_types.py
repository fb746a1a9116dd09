"""Data types of Logix controllers: a tag's members down to those that a tag list can name.

Source: Rockwell Automation, "Logix 5000 Controllers I/O and Tag Data" (1756-PM004) and "Import/Export" (1756-RM014).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edge.plc.imports import Export, Found
from edge.plc.tags.forms import MAX_COUNT

_MAX_TAGS: Final = 50_000
_ELEMENTARY: Final = {
    "BOOL": "bool", "BIT": "bool", "SINT": "int8", "INT": "int16", "DINT": "int32", "LINT": "int64", "USINT": "uint8",
    "UINT": "uint16", "UDINT": "uint32", "ULINT": "uint64", "REAL": "float32", "LREAL": "float64",
}  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A member of a structure; `dimensions` are sizes."""

    name: str
    kind: str
    dimensions: tuple[int, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Structure:
    """A type with members; `characters`: it is a text of so many."""

    members: tuple[Member, ...] = ()
    characters: int = 0


def _flags(numbers: str, bits: str) -> Structure:
    made = [Member(name, "DINT") for name in numbers.split()] + [Member(name, "BOOL") for name in bits.split()]
    return Structure(tuple(made))


PREDEFINED: Final[Mapping[str, Structure]] = {
    "STRING": Structure(characters=82), "TIMER": _flags("PRE ACC", "EN TT DN"),
    "COUNTER": _flags("PRE ACC", "CU CD DN OV UN"), "CONTROL": _flags("LEN POS", "EN EU DN EM ER UL IN FD"),
}  # fmt: skip


@dataclass
class Expansion:
    """Takes tags of a controller; `types` are the structures that the export declares, by their names in capitals."""

    export: Export
    types: Mapping[str, Structure] = field(default_factory=dict[str, Structure])
    missing: str = "this export does not declare it; export the controller as L5X"

    def take(self, tag: Member, scope: str, line: int) -> None:
        """Take a tag of a program (`scope`) or of the controller ("")."""
        program = f"Program:{scope}." if scope else ""
        name = f"{scope}.{tag.name}" if scope else tag.name
        self._put(
            Found(name=name, address=f"{program}{tag.name}", type="", line=line, description=tag.description), tag
        )

    def _put(self, at: Found, tag: Member, inside: tuple[str, ...] = ()) -> None:
        kind = tag.kind.upper()
        structure = self.types.get(kind) or PREDEFINED.get(kind)
        if len(self.export.found) >= _MAX_TAGS:
            self.export.leave_out(at.line, at.name, f"over {_MAX_TAGS:,} tags; take parts of it with --only")
        elif kind in _ELEMENTARY:
            self._numbers(at, _ELEMENTARY[kind], tag.dimensions)
        elif structure is None:
            self.export.leave_out(at.line, at.name, f"is a {tag.kind}: {self.missing}")
        elif kind in inside:
            self.export.leave_out(at.line, at.name, f"is a {tag.kind} inside a {tag.kind}")
        elif tag.dimensions:
            for index in _indices(tag.dimensions):
                self._put(_inner(at, index, ""), Member(tag.name, tag.kind), inside)
        elif structure.characters:
            self._found(at, f"string:{structure.characters}")
        else:
            for member in structure.members:
                self._put(_inner(at, f".{member.name}", member.description), member, (*inside, kind))

    def _numbers(self, at: Found, kind: str, dimensions: tuple[int, ...]) -> None:
        """A number, an array, or the rows of an array of several dimensions."""
        if not dimensions:
            self._found(at, kind)
        elif dimensions[-1] > MAX_COUNT:
            self.export.leave_out(at.line, at.name, f"has {dimensions[-1]} elements, a tag at most {MAX_COUNT}")
        elif len(dimensions) == 1:
            self._found(at, f"{kind}[{dimensions[0]}]")
        else:
            for index in _indices(dimensions[:-1]):
                row = _inner(at, index, "")
                address = f"{at.address}{index[:-1]},0]"
                self._found(_moved(row, address), f"{kind}[{dimensions[-1]}]")

    def _found(self, at: Found, kind: str) -> None:
        self.export.found.append(
            Found(name=at.name, address=at.address, type=kind, line=at.line, description=at.description)
        )


def _inner(at: Found, step: str, description: str) -> Found:
    return Found(
        name=at.name + step, address=at.address + step, type="", line=at.line, description=description or at.description
    )


def _moved(at: Found, address: str) -> Found:
    return Found(name=at.name, address=address, type="", line=at.line, description=at.description)


def _indices(dimensions: tuple[int, ...]) -> list[str]:
    """Return `[0,0]`, `[0,1]`...: the last dimension runs fastest; at most as many as tags are taken at all."""
    found: list[str] = []
    for number in range(min(math.prod(dimensions), _MAX_TAGS)):
        rest, index = number, list[str]()
        for size in reversed(dimensions):
            rest, at = divmod(rest, size)
            index.append(str(at))
        found.append(f"[{','.join(reversed(index))}]")
    return found


_KIND: Final = re.compile(r"^([A-Za-z_][\w:]*)(?:\[([\d, ]+)\])?$")


def kind_of(text: str) -> tuple[str, tuple[int, ...]] | None:
    """Return a type and its dimensions: `DINT[4,8]`."""
    found = _KIND.match(text.strip())
    if not found:
        return None
    sizes = tuple(int(size) for size in found[2].split(",")) if found[2] else ()
    return (found[1], sizes) if all(sizes) else None
