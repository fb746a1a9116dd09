"""Tags of Studio 5000 (RSLogix 5000) as CSV: TYPE, SCOPE, NAME, DESCRIPTION, DATATYPE, SPECIFIER, ATTRIBUTES.

The CSV declares no user types: their members are only in the L5X export. Source: Rockwell Automation, 1756-RM014.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import Final

from edge.plc.imports import Export
from edge.plc.imports.logix_types import Expansion, Member, kind_of
from schemas.errors import SettingsError

_COLUMNS: Final = ("TYPE", "SCOPE", "NAME", "DESCRIPTION", "DATATYPE", "SPECIFIER", "ATTRIBUTES")
_ESCAPE: Final = re.compile(r"\$(?:([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_ESCAPED: Final = {"N": " ", "L": " ", "R": " ", "P": " ", "T": " ", "Q": '"'}
_HIDDEN: Final = re.compile(r"ExternalAccess\s*:=\s*None", re.IGNORECASE)
_BIT: Final = re.compile(r"^(.+)\.(\d{1,2})$")


@dataclass(frozen=True)
class _Row:
    """One row under the heading."""

    line: int
    type: str
    scope: str
    name: str
    description: str
    kind: str
    specifier: str
    attributes: str


def read(text: str, export: Export) -> None:
    """Read the rows under the heading.

    Raises:
        SettingsError: there is no such heading.
    """
    rows = _rows(text)
    tags = {(row.scope, row.name.upper()): row for row in rows if row.type == "TAG"}
    expansion = Expansion(export)
    for row in rows:
        if row.type in ("TAG", "ALIAS") and _HIDDEN.search(row.attributes):
            export.leave_out(row.line, row.name, "its external access is None, so the controller shows it to nobody")
        elif row.type == "TAG":
            _take(row, row.kind, expansion)
        elif row.type == "ALIAS":
            _alias(row, tags, expansion)
        elif row.type not in ("COMMENT", "RCOMMENT", "TEXTBOX"):  # these are notes, not tags
            export.leave_out(row.line, row.name, f"a row of the kind {row.type!r}")


def _rows(text: str) -> list[_Row]:
    reader = csv.reader(text.splitlines(keepends=True))
    found: list[_Row] = []
    heading: list[str] = []
    for cells in reader:
        if not heading:
            heading = [cell.strip().upper() for cell in cells] if cells[:3] == list(_COLUMNS[:3]) else []
            continue
        if not any(cells):
            continue
        held = dict(zip(heading, (cell.strip() for cell in cells), strict=False))
        values = [held.get(column, "") for column in _COLUMNS]
        found.append(_Row(reader.line_num, values[0].upper(), values[1], values[2], plain(values[3]), *values[4:]))
    if not heading:
        raise SettingsError([f"1: no tag export: no row {','.join(_COLUMNS[:3])}..."])
    return found


def plain(text: str) -> str:
    """Return a description without its escapes: $N is a new line, $Q a quote, $00B0 a character."""
    found = _ESCAPE.sub(lambda one: chr(int(one[1], 16)) if one[1] else _ESCAPED.get(one[2].upper(), one[2]), text)
    return " ".join(found.split())


def _take(row: _Row, text: str, expansion: Expansion) -> None:
    kind = kind_of(text)
    if kind is None:
        expansion.export.leave_out(row.line, row.name, f"data type {text!r} can't be read")
        return
    expansion.take(Member(row.name, kind[0], kind[1], row.description), row.scope, row.line)


def _alias(row: _Row, tags: dict[tuple[str, str], _Row], expansion: Expansion) -> None:
    """An alias has the type of what it stands for, where that is a whole tag of this export, or a bit of one."""
    base = tags.get((row.scope, row.specifier.upper())) or tags.get(("", row.specifier.upper()))
    if base is not None:
        _take(row, base.kind, expansion)
        return
    bit = _BIT.match(row.specifier)
    word = (tags.get((row.scope, bit[1].upper())) or tags.get(("", bit[1].upper()))) if bit else None
    if word is not None and word.kind.upper() in ("SINT", "INT", "DINT", "LINT"):
        _take(row, "BOOL", expansion)
        return
    reason = f"stands for {row.specifier}, whose type is not in this export; add it by hand with its type"
    expansion.export.leave_out(row.line, row.name, reason)
