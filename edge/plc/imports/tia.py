"""PLC tags of TIA Portal as CSV: Name, Path, Data Type, Logical Address, Comment and more, in English or German.

TIA Portal writes a workbook (.xlsx); saved as CSV from there, with commas, semicolons or tabs.
"""

from __future__ import annotations

import csv
import re
from typing import Final

from edge.plc.imports import Export, Found
from edge.plc.imports.s7_types import array_of, elementary
from schemas.errors import SettingsError

_COLUMNS: Final = {
    "name": "name", "data type": "type", "datentyp": "type", "datatype": "type", "logical address": "address",
    "logische adresse": "address", "address": "address", "comment": "comment", "kommentar": "comment",
}  # fmt: skip
_NEEDED: Final = ("name", "type", "address")
_ADDRESS: Final = re.compile(r"^%?([IQMEA])([BWD]?)(\d+)(?:\.([0-7]))?(:P)?$", re.IGNORECASE)
_BLOCK: Final = re.compile(r"^%?DB(\d+)\.DB([XBWD])(\d+)(?:\.([0-7]))?$", re.IGNORECASE)
_GERMAN: Final = {"E": "I", "A": "Q"}


def read(text: str, export: Export) -> None:
    """Read the rows of a table.

    Raises:
        SettingsError: it has no such columns.
    """
    lines = text.splitlines()
    head = next((line for line in lines if line.strip()), "")
    separator = max(",;\t", key=head.count)
    reader = csv.reader(lines, delimiter=separator)
    columns: dict[str, int] = {}
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = _columns(cells, reader.line_num)
            continue
        name, kind, address, comment = (
            cells[at].strip() if (at := columns.get(key, -1)) in range(len(cells)) else ""
            for key in (*_NEEDED, "comment")
        )
        take(export, reader.line_num, name, kind, address, comment)
    if not columns:
        raise SettingsError(["1: it is empty"])


def _columns(cells: list[str], line: int) -> dict[str, int]:
    named = {_COLUMNS.get(cell.strip().lower(), ""): at for at, cell in enumerate(cells)}
    missing = [key for key in _NEEDED if key not in named]
    if missing:
        wanted = "Name, Data Type, Logical Address"
        raise SettingsError([f"{line}: no table of PLC tags: its first row has to name {wanted}"])
    return named


def take(export: Export, line: int, name: str, kind: str, address: str, comment: str) -> None:
    """Take one PLC tag, or leave it out with the reason."""
    array, found = array_of(kind), elementary(kind)
    if array is not None:
        reason = f"{kind} in a tag table; add its elements by hand, or import the data block that holds it"
    elif found is None:
        reason = f"data type {kind!r}: a structure, timer or counter has no value of its own; add its members by hand"
    elif not found.type:
        reason = found.reason
    elif (native := _native(address, found.size)) is None:
        reason = f"address {address!r} is none of I, Q, M or DB that holds a {kind}"
    else:
        export.found.append(
            Found(
                name=name,
                address=native,
                type=found.type,
                line=line,
                scale=found.scale,
                unit=found.unit,
                description=comment,
            )
        )
        return
    export.leave_out(line, name, reason)


def _native(address: str, size: int) -> str | None:
    """Return an address as the driver takes it, None where it can't hold a value of that size (0 is a bit)."""
    if block := _BLOCK.match(address):
        return data_block(int(block[1]), int(block[3]), int(block[4] or 0), size)
    found = _ADDRESS.match(address)
    if not found or found[5]:
        return None
    area = _GERMAN.get(found[1].upper(), found[1].upper())
    byte, bit, letter = found[3], found[4], found[2].upper()
    if size == 0:
        return f"{area}{byte}.{bit}" if bit is not None and not letter else None
    if letter and {"B": 1, "W": 2, "D": 4}[letter] != size:
        return None
    return f"{area}{_LETTERS.get(size, 'B')}{byte}" if letter or bit == "0" else None


_LETTERS: Final = {1: "B", 2: "W", 4: "D"}


def data_block(number: int, byte: int, bit: int, size: int) -> str:
    """Return the address of a value in a data block: by its first byte where S7 has no letter for its size."""
    if size == 0:
        return f"DB{number}.DBX{byte}.{bit}"
    return f"DB{number}.DB{_LETTERS.get(size, 'B')}{byte}"
